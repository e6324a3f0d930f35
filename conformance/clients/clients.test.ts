/** Clients that were written for the kernel's DRBD, unmodified, on our engine: drbdmon on a terminal, stock drbdadm, Prometheus. */
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { configure } from '../engine/configure.js';
import { bundleEngine, EngineProcess } from '../engine/engine-process.js';
import { freePort } from '../engine/free-port.js';
import { createImage } from '../engine/images.js';
import { installPrograms } from './programs.js';

const SIZE = 24 << 20;
const dir = mkdtempSync(`${tmpdir()}/udrbd-`);
t.teardown(() => rmSync(dir, { recursive: true }));
const [program, sbin] = await Promise.all([bundleEngine(`${dir}/bundle`), installPrograms(dir)]);
const a = new EngineProcess(program, `${dir}/a`, { UDRBD_METRICS: `${dir}/metrics.sock` });
const b = new EngineProcess(program, `${dir}/b`);
t.teardown(() => Promise.allSettled([a.stop('SIGKILL'), b.stop('SIGKILL')]));
createImage(`${dir}/a.img`, SIZE);
createImage(`${dir}/b.img`, SIZE);
const [portA, portB] = [await freePort(), await freePort()];
await Promise.all([a.start(), b.start()]);
await configure(a, 0, `${dir}/a.img`, portA, portB);
await configure(b, 1, `${dir}/b.img`, portB, portA);

const env = {
  ...process.env,
  PATH: `${sbin}:${process.env.PATH}`,
  TERM: 'xterm',
  LC_ALL: 'C.UTF-8',
  UDRBD_RUN_DIR: a.runDir,
  UDRBD_NO_START: '1',
  __DRBD_NODE__: 'node0',
  DRBD_DRIVER_VERSION_OVERRIDE: '9.2.0',
};
interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}
const call = (name: string, ...argv: string[]): Promise<Outcome> =>
  new Promise((resolve) => {
    execFile(`${sbin}/${name}`, argv, { env, timeout: 30_000 }, (error, stdout, stderr) => {
      resolve({ status: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
const setup = (line: string): Promise<Outcome> => call('drbdsetup', ...line.split(' '));

/** A terminal of its own, as text. */
class Screen {
  readonly #server = `udrbd-${process.pid}-${Math.floor(performance.now())}`;
  constructor(command: string) {
    this.#tmux('-f', '/dev/null', 'new-session', '-d', '-x', '100', '-y', '24', `${command}; echo "exit status $?"; sleep 60`);
  }
  #tmux(...argv: string[]): string {
    return execFileSync('tmux', ['-L', this.#server, ...argv], { env, encoding: 'utf8' });
  }
  text(): string {
    return this.#tmux('capture-pane', '-p');
  }
  keys(keys: string): void {
    this.#tmux('send-keys', keys);
  }
  async until(wanted: RegExp, ms = 15_000): Promise<string> {
    for (let waited = 0; ; waited += 100) {
      const text = this.text();
      if (wanted.test(text) || waited > ms) return text;
      await sleep(100);
    }
  }
  close(): void {
    this.#tmux('kill-server');
  }
}
const hasTmux = spawnSync('tmux', ['-V']).status === 0;

t.test('drbdmon shows what the engine tells, as it changes', { skip: !hasTmux && 'no tmux' }, async (t) => {
  const screen = new Screen(`${sbin}/drbdmon`);
  t.teardown(() => screen.close());
  const before = await screen.until(/node1 +Connecting|node1 +StandAlone/);
  t.match(before, /DrbdMon v9\.22\.0/);
  t.match(before, /RES: r0 +Secondary\n.* 0: +0 +Inconsistent\n.*node1 +(StandAlone|Connecting)/);
  for (const [engine, peerNodeId] of [
    [a, 1],
    [b, 0],
  ] as const) {
    await engine.ask('connect', { resource: 'r0', peerNodeId, tentative: false, discardMyData: false });
  }
  t.match(await screen.until(/node1 +Connected/), /node1 +Connected +Secondary\n +\S* +0 +Inconsistent/);
  t.strictSame(await setup('primary --force r0'), { status: 0, stdout: '', stderr: '' });
  t.strictSame(await setup('wait-sync-resource r0'), { status: 0, stdout: '', stderr: '' });
  const after = await screen.until(/^(?![\s\S]*Inconsistent)[\s\S]*RES: r0 +\S?Primary/);
  t.match(after, /RES: r0 +\S?Primary/);
  t.notMatch(after, /Inconsistent|error/i);
  await setup('disconnect r0 1');
  t.match(await screen.until(/StandAlone/), /node1 +StandAlone/);
  await setup('connect r0 1');
  t.match(await screen.until(/node1 +Connected/), /node1 +Connected|RES: r0/);
  screen.keys('q');
  t.match(await screen.until(/exit status/), /exit status 0/);
});

t.test('status --watch leaves the terminal as it was', { skip: !hasTmux && 'no tmux' }, async (t) => {
  for (const key of ['q', 'C-c']) {
    const screen = new Screen(`echo before; ${sbin}/drbdsetup status --watch`);
    t.match(await screen.until(/q quits/), /^r0 role:\w+\n {2}disk:\w+ open:no\n {2}node1 .*\n(?:.*\n)*q quits\n$/);
    screen.keys(key);
    t.match(await screen.until(/exit status/), /^before\nexit status 0\n+$/);
    screen.close();
  }
});

t.test('stock drbdadm drives our drbdsetup', async (t) => {
  const site = (host: string, id: number, port: number): string =>
    `on ${host} { node-id ${id}; address 127.0.0.1:${port}; volume 0 { device minor ${id}; disk ${dir}/${host}.img; meta-disk internal; } }\n`;
  const conf = `${dir}/r0.conf`;
  writeFileSync(conf, `global { usage-count no; }\nresource r0 {\n${site('node0', 0, portA)}${site('node1', 1, portB)}}\n`);
  const adm = async (line: string): Promise<Outcome> => {
    const { status, stdout, stderr } = await call('drbdadm', '-c', conf, ...line.split(' '));
    return {
      status,
      stdout,
      stderr: stderr.replace(/\n {3}found __DRBD_NODE__ in environment\n {3}PRETENDING that I am >>node0<<\n\n/, ''),
    };
  };
  const says = (stdout: string): Outcome => ({ status: 0, stdout, stderr: '' });
  t.strictSame(await adm('wait-connect r0'), says(''));
  t.strictSame(await adm('primary --force r0'), says(''));
  t.strictSame(await adm('wait-sync r0'), says(''));
  t.strictSame(await adm('role r0'), says('Primary\n'));
  t.strictSame(await adm('cstate r0'), says('Connected\n'));
  t.strictSame(await adm('dstate r0'), says('UpToDate/UpToDate\n'));
  t.strictSame(
    await adm('status r0'),
    says('r0 role:Primary\n  disk:UpToDate open:no\n  node1 role:Secondary\n    peer-disk:UpToDate\n\n'),
  );
  t.match(await adm('get-gi r0'), { status: 0, stdout: /^[0-9A-F]{16}:0{16}:[0-9A-F]{16}:[0-9A-F]{16}:1:1:1:0:0:0:0:1:0:0:0:1\n$/ });
  for (const line of ['secondary r0', 'primary r0', 'pause-sync r0', 'resume-sync r0', 'disconnect r0'])
    t.strictSame(await adm(line), says(''), line);
  t.strictSame(await adm('cstate r0'), says('StandAlone\n'));
  t.strictSame(await adm('connect r0'), says(''));
  const twice = await adm('connect r0');
  t.strictSame(
    [twice.status, twice.stderr],
    [
      10,
      `r0: Failure: (125) Device has a net-config (use disconnect first)\nCommand '${sbin}/drbdsetup connect r0 1' terminated with exit code 10\n`,
    ],
  );
  // The release of this drbdadm does not know a word that drbdsetup prints since 9.32.
  t.match((await adm('-d adjust r0')).stderr, /but got '_cstate'/);
});

t.test('metrics over HTTP', async (t) => {
  t.strictSame(await setup('wait-sync-resource r0'), { status: 0, stdout: '', stderr: '' });
  const text = await new Promise<string>((resolve, reject) => {
    request({ socketPath: `${dir}/metrics.sock`, path: '/metrics', agent: false }, (response) => {
      let body = '';
      response.on('data', (bytes) => {
        body += String(bytes);
      });
      response.on('end', () => resolve(body));
    })
      .on('error', reject)
      .end();
  });
  t.match(text, /^drbd_device_state\{name="r0",volume="0",minor="0",drbd_device_state="UpToDate"\} 1$/m);
  t.match(text, /^drbd_resource_role\{name="r0",drbd_resource_role="Primary"\} 1$/m);
  const counters = (of: string) => of.replace(/^(drbd_\w+(?:bytes\w*|writes_total|pending)\{.*\}) \d+$/gm, '$1');
  t.equal(counters((await setup('metrics')).stdout), counters(text), 'the command prints the same');
});

t.test('events2 ends with its reader, events or not', async (t) => {
  const script = `${sbin}/drbdsetup events2 r0 | grep -q -m1 may_promote`;
  const began = performance.now();
  t.equal(spawnSync('sh', ['-c', script], { env, timeout: 20_000 }).status, 0);
  const alone = spawnSync('sh', ['-c', `{ ${sbin}/drbdsetup events2; echo "$?" >&2; } | { read line; sleep 1; }`], {
    env,
    timeout: 20_000,
    encoding: 'utf8',
  });
  t.equal(alone.stderr, '0\n');
  t.ok(performance.now() - began < 15_000);
});

t.test('names, peers and disks that come and go', async (t) => {
  const stream = execFile(`${sbin}/drbdsetup`, ['events2', 'all'], { env });
  let events = '';
  stream.stdout!.on('data', (text) => {
    events += String(text);
  });
  const saw = async (wanted: RegExp): Promise<void> => {
    for (let waited = 0; !wanted.test(events) && waited < 10_000; waited += 20) await sleep(20);
    t.match(events, wanted);
  };
  await saw(/^exists -$/m);
  const done: Outcome = { status: 0, stdout: '', stderr: '' };
  t.strictSame(await setup('rename-resource r0 web'), done);
  await saw(/^rename resource name:r0 new_name:web$/m);
  t.strictSame(await setup('role web'), { ...done, stdout: 'Primary\n' });
  t.strictSame(await setup('role r0'), { status: 10, stdout: '', stderr: 'r0: Unknown resource\n' });
  t.strictSame(await setup('new-resource r0 0'), done);
  t.match(await setup('rename-resource web r0'), {
    status: 10,
    stderr:
      /^web: Failure: \(174\) Already exists \n\nadditional info from kernel:\nCannot rename to r0: a resource with that name already exists\n\n$|^web: Failure: \(174\) Already exists\n/,
  });
  t.strictSame(await setup('del-resource r0'), done);
  await saw(/^destroy resource name:r0$/m);
  t.match(await setup('invalidate-remote web 1 0 --reset-bitmap=no'), {
    status: 10,
    stderr: /\(175\).*\n\nadditional info from kernel:\nNeed protocol level 120 /,
  });
  t.match(await setup('forget-peer web 1'), { status: 10, stderr: /^web: Failure: \(125\)/ });
  t.strictSame(await setup('secondary web'), done);
  t.strictSame(await setup('del-peer web 1'), done);
  await saw(/^destroy connection name:web peer-node-id:1 conn-name:node1$/m);
  t.strictSame(await setup('forget-peer web 1'), done);
  t.match(await setup('forget-peer web 1'), { status: 10, stderr: /^web: Failure: \(171\) Invalid peer-node-id/ });
  t.match(await setup('forget-peer web 0'), { status: 10, stderr: /\(171\)/ });
  t.match(await setup('forget-peer web 32'), { status: 10, stderr: /\(171\)|\(162\)/ });
  t.strictSame(await setup('detach 0 --diskless'), done);
  await saw(/^change device name:web volume:0 minor:0 backing_dev:none disk:Diskless client:yes /m);
  t.match((await setup('show web')).stdout, /disk\t\t\tnone;/);
  t.strictSame(await setup('down web'), done);
  await saw(/^destroy resource name:web$/m);
  t.notMatch(events, /^(?:create|change|destroy|rename) .*\n(?:.*\n)*exists -$/m);
  stream.kill();
});
