/** A shared secret is where it has to be, and nowhere else; a name is a name for handlers, whatever a shell would make of it. */
import { execFile } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { bundleEngine, EngineProcess } from './engine-process.js';
import { freePort } from './free-port.js';
import { createImage } from './images.js';
import { NbdClient } from './nbd-client.js';

const SECRET = 'Kyrie-7-eleison';
const run = promisify(execFile);
const command = (name: string): readonly string[] => [
  '--import=tsx',
  '--conditions=udrbd-source',
  fileURLToPath(new URL(`../../packages/${name}/src/main.ts`, import.meta.url)),
];

/** Command lines and environments of all processes but this one. */
function processes(): string[] {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return [];
    try {
      return ['cmdline', 'environ'].map((file) => readFileSync(`/proc/${pid}/${file}`, 'utf8'));
    } catch {
      return []; // gone
    }
  });
}

t.test('secrets and names', async (t) => {
  const dir = mkdtempSync(`${tmpdir()}/udrbd-`);
  const program = await bundleEngine(`${dir}/bundle`);
  const engine = new EngineProcess(program, `${dir}/run`, { UDRBD_USERMODE_HELPER: `${dir}/helper` });
  t.teardown(async () => {
    await engine.stop('SIGKILL');
    rmSync(dir, { recursive: true });
  });
  writeFileSync(`${dir}/helper`, `#!/bin/sh\nprintf '%s|' "$@" >> ${dir}/handled\n`, { mode: 0o755 });
  createImage(`${dir}/disk`, 8 << 20);
  writeFileSync(
    `${dir}/drbd.conf`,
    `global { usage-count no; }
resource r0 {
  net { cram-hmac-alg sha256; shared-secret "${SECRET}"; }
  device minor 0; disk ${dir}/disk; meta-disk internal;
  on alpha { node-id 0; address 127.0.0.1:${await freePort()}; }
  on beta { node-id 1; address 127.0.0.1:${await freePort()}; }
}
`,
  );
  await engine.start();
  const env = {
    PATH: process.env.PATH,
    UDRBD_RUN_DIR: `${dir}/run`,
    UDRBD_STATE_DIR: dir,
    UDRBD_LOCK_DIR: dir,
    UDRBD_NODE: 'alpha',
  };
  const said = async (name: string, ...argv: string[]): Promise<string> => {
    const { stdout, stderr } = await run(process.execPath, [...command(name), ...argv], { env });
    return stdout + stderr;
  };
  const seen: string[] = [];
  const watch = setInterval(() => seen.push(...processes()), 25);
  const up = await said('drbdadm', '-c', `${dir}/drbd.conf`, 'up', 'r0');
  clearInterval(watch);
  t.ok(seen.length > 100, 'somebody looked');
  t.notOk(
    seen.some((text) => text.includes(SECRET)),
    'drbdadm up: in no command line and no environment',
  );

  const texts: Record<string, string> = { 'drbdadm up': up, 'the log': engine.log, 'proc/drbd': engine.proc() };
  for (const argv of ['status --verbose --statistics', 'status --json', 'events2 --now --statistics', 'metrics']) {
    texts[`drbdsetup ${argv}`] = await said('drbdsetup', ...argv.split(' '));
  }
  for (const [what, text] of Object.entries(texts)) {
    t.notMatch(text, SECRET, what);
  }
  t.match(await said('drbdsetup', 'show', 'r0'), SECRET, 'show has it, as stock has');
  const journal = `${dir}/run/journal.json`;
  t.match(readFileSync(journal, 'utf8'), SECRET, 'so does the journal');
  for (const file of readdirSync(`${dir}/run`, { recursive: true, encoding: 'utf8' })) {
    // What is a link leads to the configuration, which is not the engine's.
    const status = lstatSync(`${dir}/run/${file}`);
    if (!status.isFile()) continue;
    const isSecret = readFileSync(`${dir}/run/${file}`, 'utf8').includes(SECRET);
    t.notOk(isSecret && (status.mode & 0o077) !== 0, `${file}: mode ${(status.mode & 0o777).toString(8)}`);
  }
  t.equal(statSync(`${dir}/run`).mode & 0o777, 0o700, 'nobody else gets that far');
  t.equal(statSync(`${dir}/run/control.sock`).mode & 0o777, 0o600);

  await t.test('a name that a shell would run', async (t) => {
    const resource = `$(touch\${IFS}pwned);\`touch\${IFS}pwned\`|"touch\${IFS}pwned"&'*`;
    mkdirSync(`${dir}/other`);
    createImage(`${dir}/other/disk`, 8 << 20);
    const disk = { backingDev: `${dir}/other/disk`, metaDev: `${dir}/other/disk`, metaIndex: -3 };
    await engine.ask('new-resource', { resource, nodeId: 0, options: {} });
    await engine.ask('new-minor', { resource, minor: 5, volume: 0, options: {} });
    await engine.ask('attach', { minor: 5, ...disk, options: { 'on-io-error': 'call-local-io-error' } });
    await engine.ask('primary', { resource, force: true });
    const nbd = await NbdClient.open(`${dir}/run/nbd/5.sock`);
    // A meta-data write that is still on its way makes the file long again.
    for (let tries = 0; !existsSync(`${dir}/handled`) && tries < 100; tries++) {
      truncateSync(disk.backingDev, 1 << 20);
      await nbd.read(4 << 20, 4096).catch(() => undefined);
      await sleep(50);
    }
    nbd.destroy();
    t.ok(existsSync(`${dir}/handled`), 'a handler ran');
    t.ok(readFileSync(`${dir}/handled`, 'utf8').includes(`local-io-error|${resource}|`), 'with the name as it is');
    for (const where of ['', dir, process.cwd()]) t.notOk(existsSync(`${where}/pwned`));
  });
  t.notMatch(engine.log, /internal error/);
});
