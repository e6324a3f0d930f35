import t from 'tap';
import type { Terminal } from './command-io.js';
import { bar, clock, progressLine } from './progress-bar.js';
import { run } from './run.js';
import { captureIo, startFakeEngine } from './testing/fake-engine.js';
import { readVector } from './testing/golden.js';
import { parseNotifications, parseSnapshot } from './testing/state-file.js';
import { screen, watchedLines } from './watch-status.js';

const syncing = parseSnapshot(readVector('scenarios/synctarget.state')).resources;
const three = parseSnapshot(readVector('scenarios/three.state')).resources;
const style = { verbose: 0, statistics: false, colored: false, stdoutIsTty: true, width: 80 };

t.test('bars', async (t) => {
  t.equal(bar(0, 10), '[..........]');
  t.equal(bar(0.05, 10), '[..........]');
  t.equal(bar(0.1, 10), '[>.........]');
  t.equal(bar(0.55, 10), '[====>.....]');
  t.equal(bar(1, 10), '[=========>]');
  t.equal(clock(0), '0:00:00');
  t.equal(clock(360_061), '100:01:01');
  const { statistics } = syncing[0]!.connections[0]!.peerDevices[0]!;
  t.match(progressLine(statistics, 72), /^\[=+>\.+\] {2}50\.0 % {2}\d+\.\d\d MiB\/s {2}\d:\d\d:\d\d left$/);
  for (const width of [38, 49, 50, 60, 72, 300]) t.ok(progressLine(statistics, width)!.length <= Math.min(width, 90), `${width}`);
  t.match(progressLine(statistics, 38), /^50\.0 % .* left$/);
  t.match(progressLine({ ...statistics, outOfSync: 1, rsDb1Sectors: 0 }, 72), / 99\.9 % .* -:--:-- left$/, 'not 100 before the end');
  t.equal(progressLine({ ...statistics, rsTotal: 0 }, 72), undefined);
});

t.test('screens', async (t) => {
  const lines = watchedLines(syncing, style, 80);
  t.match(lines.join('\n'), /\n {4}replication:SyncTarget peer-disk:UpToDate done:50\.00\n {8}\[=+>\.+\] /);
  const all = screen(lines, { columns: 80, rows: 12, top: 0 });
  t.equal(all.length, 12);
  t.equal(all.at(-1), 'q quits');
  const many = watchedLines(three, style, 80);
  const part = screen(many, { columns: 80, rows: 5, top: 2 });
  t.strictSame(part.slice(0, 4), many.slice(2, 6));
  t.equal(part.at(-1), `q quits, j and k move; 2 lines above, ${many.length - 6} below`);
  t.strictSame(watchedLines([], style, 80), ['# No currently configured DRBD found.']);
  for (const columns of [50, 60, 80]) {
    const wide = watchedLines(three, { ...style, verbose: 1, statistics: true }, columns).filter((line) => line.length > columns);
    t.strictSame(wide, [], `${columns} columns are enough`);
  }
});

async function watch(keys: readonly string[], rows = 6, hangUp = false) {
  const engine = await startFakeEngine();
  engine.snapshot = { resources: three };
  let press: (keys: string) => void = () => undefined;
  let released = 0;
  const rest = [...keys];
  const terminal: Terminal = {
    columns: 80,
    rows,
    onKeys: (listener) => {
      press = listener;
    },
    onResize: () => undefined,
    release: () => {
      released += 1;
    },
  };
  const frames: string[] = [];
  const io = captureIo({ UDRBD_RUN_DIR: engine.runDir, UDRBD_NO_START: '1' }, [], (text) => {
    if (!text.startsWith('\x1b[H')) return;
    frames.push(text);
    if (hangUp) engine.hangUp();
    const key = rest.shift();
    if (key !== undefined) setImmediate(() => press(key));
  });
  const status = await run(['status', '--watch'], {
    ...io,
    stdoutIsTty: true,
    columns: 80,
    openTerminal: () => terminal,
    stdout: io.stdout.bind(io),
    stderr: io.stderr.bind(io),
  });
  await engine.close();
  return { status, out: io.out, err: io.err, frames, released };
}

t.test('the terminal is as before, however it ends', async (t) => {
  for (const key of ['q', 'Q', '\x03']) {
    const { status, out, err, released } = await watch([key]);
    t.strictSame([status, err, released], [0, '', 1]);
    t.ok(out.startsWith('\x1b[?1049h\x1b[?25l\x1b[?7l') && out.endsWith('\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l'), 'in a screen of its own');
  }
  const gone = await watch([], 6, true);
  t.strictSame([gone.status, gone.err, gone.released], [121, 'all: module unloaded\n', 1]);
  t.ok(gone.out.endsWith('\x1b[?1049l'));
});

t.test('moving', async (t) => {
  const tops = (frames: readonly string[]) => frames.map((frame) => Number(/; (\d+) lines above/.exec(frame)?.[1]));
  const last = watchedLines(three, { ...style, colored: true }, 80).length - 5;
  t.strictSame(tops((await watch(['j', '\x1b[B', 'k', 'x', 'jj', ' ', ' ', ' ', ' ', 'b', 'k', 'q'])).frames), [
    ...[0, 1, 2, 1, 1, 2, 3, 8, Math.min(13, last), Math.min(18, last), Math.min(23, last)],
    ...[Math.min(23, last) - 5, Math.min(23, last) - 6],
  ]);
});

t.test('not without a terminal', async (t) => {
  const engine = await startFakeEngine();
  t.teardown(() => engine.close());
  const io = captureIo({ UDRBD_RUN_DIR: engine.runDir, UDRBD_NO_START: '1' });
  t.equal(await run(['status', '--watch'], io), 20);
  t.strictSame([io.out, io.err], ['', '--watch needs a terminal\n']);
  const unknown = captureIo({ UDRBD_RUN_DIR: engine.runDir, UDRBD_NO_START: '1' });
  t.equal(await run(['status', 'r9', '--watch'], unknown), 10);
  t.strictSame([unknown.out, unknown.err], ['', 'r9: No such resource\n']);
});

t.test('wait-sync shows a bar on a terminal and nothing elsewhere', async (t) => {
  const engine = await startFakeEngine();
  t.teardown(() => engine.close());
  engine.snapshot = { resources: syncing };
  const exists = parseNotifications(readVector('scenarios/ev_exists.state'));
  const told = (replicationState: 'SyncTarget' | 'Established') =>
    exists.map((event) =>
      event.kind === 'peer-device' && 'state' in event ? { ...event, state: { ...event.state, replicationState } } : event,
    );
  engine.initial = told('SyncTarget');
  const io = captureIo({ UDRBD_RUN_DIR: engine.runDir, UDRBD_NO_START: '1' }, [], () => {
    if (io.out.includes('left')) engine.notify(...told('Established').filter(({ kind }) => kind === 'peer-device'));
  });
  t.equal(
    await run(['wait-sync-resource', 'r0'], {
      ...io,
      stdoutIsTty: true,
      columns: 70,
      stdout: io.stdout.bind(io),
      stderr: io.stderr.bind(io),
    }),
    0,
  );
  t.match(io.out, /^\rr0 beta\/0: \[=+>\.+\] {2}50\.0 % .* left\x1b\[K\r\x1b\[K$/, 'one line, gone in the end');
  t.ok(/\r([^\x1b]*)/.exec(io.out)![1]!.length < 70);

  engine.initial = told('Established');
  for (const stdoutIsTty of [true, false]) {
    const quiet = captureIo({ UDRBD_RUN_DIR: engine.runDir, UDRBD_NO_START: '1' });
    t.equal(await run(['wait-sync-resource', 'r0'], { ...quiet, stdoutIsTty, stdout: quiet.stdout.bind(quiet) }), 0);
    t.equal(quiet.out, '', 'what takes no time shows nothing');
  }
});

t.test('metrics', async (t) => {
  const engine = await startFakeEngine();
  t.teardown(() => engine.close());
  engine.snapshot = { resources: syncing };
  const io = captureIo({ UDRBD_RUN_DIR: engine.runDir, UDRBD_NO_START: '1' });
  t.equal(await run(['metrics'], io), 0);
  const lines = io.out.split('\n');
  for (const line of [
    'drbd_resource_resources 1',
    'drbd_resource_role{name="r0",drbd_resource_role="Secondary"} 1',
    'drbd_resource_role{name="r0",drbd_resource_role="Primary"} 0',
    'drbd_connection_state{name="r0",conn_name="beta",peer_node_id="1",drbd_connection_state="Connected"} 1',
    'drbd_device_state{name="r0",volume="0",minor="0",drbd_device_state="Inconsistent"} 1',
    'drbd_device_quorum{name="r0",volume="0",minor="0"} 1',
  ]) {
    t.ok(lines.includes(line), line);
  }
  t.match(io.out, /^drbd_peerdevice_syncdone_ratio\{name="r0",conn_name="beta",peer_node_id="1",volume="0"\} 0\.4999\d+$/m);
  const idle = captureIo({ UDRBD_RUN_DIR: '/nonexistent' });
  t.equal(await run(['metrics'], idle), 0);
  t.match(idle.out, /^udrbd_up 0$/m);
  await run(['help'], idle);
  t.notMatch(idle.out, /metrics - /, 'the list of commands is stock');
});
