// The harness itself: what a run reports is what happened in the guest.
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { repository } from './cache.js';
import { cpio } from './cpio.js';
import { compareFigures, parseFigures } from './figures.js';
import { parseChecks } from './guest-checks.js';
import { runVm } from './machine.js';
import { runPair } from './pair.js';

const folder = t.testdir({
  'speak.sh': `echo first; sleep 2; echo second >&2; printf '%s|' "$@" "$VM" "$VM_NODE" > /out/words; printf 'a\\0\\0b'; exit 7\n`,
  'speak.ts': `const words: readonly string[] = process.argv.slice(2);\nconsole.log(words.join('+'), process.platform);\nprocess.exit(9);\n`,
  // A panic leaves no time for the copier in the guest.
  'panic.sh': 'echo before; sleep 5; echo c > /proc/sysrq-trigger; sleep 60\n',
  'power-off.sh': 'echo before; poweroff -f; sleep 60\n',
  'stuck.sh': 'echo before; sleep 1000\n',
  'straggler.sh': 'sleep 1000 & echo done; exit 0\n',
  'pair.sh': `
    for try in $(seq 100); do ping -c 1 -W 1 $VM_PEER_ADDRESS > /dev/null && break; sleep 0.1; done
    if [ $VM_NODE = 0 ]; then
      httpd -p 7000 -h /etc; nc -l -p 7001
    else
      until wget -q -O /tmp/got http://vm0:7000/hostname-of-0; do sleep 0.1; done
      cat /tmp/got
      until nc vm0 7001 < /dev/null; do sleep 0.1; done
    fi 2> /dev/null
    exit $VM_NODE\n`,
});

t.test('status, words, results and live output', async (t) => {
  const seen: { at: number; text: string }[] = [];
  const out = mkdtempSync(join(folder, 'out-'));
  const args = ["it's", '', 'a b', '$HOME'];
  const onOutput = (chunk: Buffer): void => void seen.push({ at: Date.now(), text: chunk.toString() });
  const result = await runVm({ script: join(folder, 'speak.sh'), args, out, onOutput, timeout: 300 });
  t.same(result.end, { kind: 'exited', status: 7 });
  t.equal(result.output, 'first\nsecond\na\0\0b', 'every byte arrives, the end marker does not');
  t.equal(readFileSync(join(out, 'words'), 'utf8'), "it's||a b|$HOME|1||", 'arguments are not split or expanded; /out comes back');
  const [first, second] = ['first', 'second'].map((word) => seen.find((each) => each.text.includes(word))?.at ?? 0);
  t.ok(second! - first! > 1000, 'output comes while the command runs');
  t.same(result.complaints, []);
  t.match(result.logs, /logs/, 'a failed run keeps its logs');
});

t.test('TypeScript, through the command', async (t) => {
  const run = promisify(execFile)(join(repository, 'scripts/vm'), ['--timeout', '120', '--', join(folder, 'speak.ts'), 'x', 'y']);
  const failure = await run.then(
    () => undefined,
    (error: { code: number; stdout: string; stderr: string }) => error,
  );
  t.equal(failure?.code, 9);
  t.equal(failure?.stdout, 'x+y linux\n');
  t.match(failure?.stderr, /the script exited with status 9 .*logs in /);
});

t.test('a machine that does not come to its end', async (t) => {
  const [panic, powerOff] = await Promise.all(
    ['panic.sh', 'power-off.sh'].map((name) => runVm({ script: join(folder, name), timeout: 300 })),
  );
  t.match(panic?.end, { kind: 'panic', message: /sysrq/i });
  t.equal(panic?.output, 'before\n');
  t.match(panic?.complaints, [/panic/]);
  t.match(powerOff?.end, { kind: 'died', message: /before the command/ });

  const [stuck, straggler] = await Promise.all([
    runVm({ script: join(folder, 'stuck.sh'), timeout: 45 }),
    runVm({ script: join(folder, 'straggler.sh'), timeout: 300 }),
  ]);
  t.same(stuck.end, { kind: 'timeout', seconds: 45 });
  t.match(stuck.console, /out of time/, 'the console says what was running');
  t.same(straggler.end, { kind: 'exited', status: 0 }, 'a daemon left behind does not hold the machine up');
});

t.test('two machines', async (t) => {
  const hostname = join(folder, 'hostname');
  writeFileSync(hostname, 'hello from 0\n');
  const lines: string[] = [];
  const script = join(folder, 'pair.sh');
  const onLine = (node: 0 | 1, line: string): void => void lines.push(`${node} ${line}`);
  const [a, b] = await runPair({ scripts: [script, script], files: { '/etc/hostname-of-0': hostname }, timeout: 300, onLine });
  t.same(a.end, { kind: 'exited', status: 0 });
  t.same(b.end, { kind: 'exited', status: 1 });
  t.same(lines, ['1 hello from 0']);
});

t.test('usage errors', async (t) => {
  for (const args of [[], ['--net', 'x'], ['--mem', 'many', 'true'], ['pair', 'one.sh'], ['--colour', 'red', 'true']]) {
    const failure = await promisify(execFile)(join(repository, 'scripts/vm'), args).catch(
      (error: { code: number; stderr: string }) => error,
    );
    t.match(failure, { code: 64, stderr: /usage: scripts\/vm/ }, args.join(' '));
  }
});

t.test('archive and check lines', async (t) => {
  const archive = cpio([
    { path: 'a/b', content: 'text', mode: 0o755 },
    { path: 'c', kind: 'folder' },
  ]);
  const names = [...archive.toString('latin1').matchAll(/070701[0-9a-f]{104}([^\0]+)\0/g)].map((match) => match[1]);
  t.same(names, ['a', 'a/b', 'c', 'TRAILER!!!']);
  t.equal(archive.length % 512, 0);
  const { checks, complete } = parseChecks('ok 1 - fine\nnot ok 2 - bad\n# why\n# exit status 1\nok 3 - other # SKIP no disk\n1..3\n');
  t.ok(complete);
  t.same(
    checks.map(({ name, ok, skip, detail }) => [name, ok, skip, detail]),
    [
      ['fine', true, undefined, ''],
      ['bad', false, undefined, 'why\nexit status 1\n'],
      ['other', true, 'no disk', ''],
    ],
  );
});

t.test('figures', async (t) => {
  const line = (device: string, iops: number): string => JSON.stringify({ device, job: 'randwrite:4k:1', iops, mibps: 1, lat_us: 9 });
  const figures = parseFigures(
    ['noise', line('/dev/a', 100), line('/dev/b', 200), line('/dev/a', 300), line('/dev/b', 300), ''].join('\n'),
  );
  t.same(compareFigures(figures, '/dev/a', '/dev/b'), [{ job: 'randwrite:4k:1', iops: 200, otherIops: 250, ratio: 0.75 }]);
  t.throws(() => compareFigures(figures, '/dev/a', '/dev/c'), /not run on both/);
});
