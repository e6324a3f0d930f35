import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Notification } from '@udrbd/control';
import t from 'tap';
import { run } from './run.js';
import { captureIo, type FakeEngine, startFakeEngine } from './testing/fake-engine.js';
import { readGolden, readVector, wordsOf } from './testing/golden.js';
import { parseNotifications, parseSnapshot } from './testing/state-file.js';

let engine: FakeEngine;
t.beforeEach(async () => {
  engine = await startFakeEngine();
});
t.afterEach(() => engine.close());

const env = () => ({ UDRBD_RUN_DIR: engine.runDir, UDRBD_NO_START: '1' });

async function outcome(argv: readonly string[], stdin: readonly string[] = []) {
  const io = captureIo(env(), stdin);
  const status = await run(argv, io);
  return { status, stdout: io.out, stderr: io.err };
}

t.test('every return code has its text and its exit status', async (t) => {
  for (const line of readVector('v9.34/return-codes.txt').split('\n')) {
    const match = /^code (-?\d+)\texit (\d+)\tstdout 0 bytes\tstderr (['"])(.*)\3$/.exec(line);
    if (match === null) continue;
    const stderr = match[4]!.replace(/\\(.)/g, (_, letter: string) => ({ n: '\n', t: '\t' })[letter] ?? letter);
    engine.answer = () => ({ code: Number(match[1]) });
    t.strictSame(await outcome(['primary', 'r0']), { status: Number(match[2]), stdout: '', stderr }, `code ${match[1]}`);
  }
});

t.test('usage errors', async (t) => {
  for (const { command, remark, stdout, stderr, status } of readGolden('v9.34/usage-errors.txt')) {
    const reply = /^engine reply (-?\d+), info text: (.*)$/.exec(remark);
    engine.answer = () => (reply === null ? { code: 101 } : { code: Number(reply[1]), info: [reply[2]!] });
    t.strictSame(await outcome(wordsOf(command)), { status, stdout, stderr }, command);
  }
});

t.test('queries', async (t) => {
  for (const scenario of 'healthy fresh alone connecting synctarget syncsource verify pausedsync detached diskless suspended three noconn nodev none nonames compat84'.split(
    ' ',
  )) {
    engine.snapshot = parseSnapshot(readVector(`scenarios/${scenario}.state`));
    engine.initial = [{ action: 'exists', kind: '-' }];
    for (const { command, stdout, stderr, status } of readGolden(`v9.34/${scenario}.txt`)) {
      if (/events2|wait-|show --json|^down/.test(command)) continue;
      t.strictSame(await outcome(wordsOf(command)), { status, stdout, stderr }, `${scenario}: ${command}`);
    }
  }
});

t.test('healthy: commands that wait', async (t) => {
  engine.snapshot = parseSnapshot(readVector('scenarios/healthy.state'));
  engine.initial = parseNotifications(readVector('scenarios/ev_exists.state'));
  for (const { command, stdout, stderr, status } of readGolden('v9.34/healthy.txt')) {
    if (!/wait-|^down|events2/.test(command)) continue;
    t.strictSame(await outcome(wordsOf(command)), { status, stdout, stderr }, command);
  }
});

t.test('without an engine', async (t) => {
  const nobody = { UDRBD_RUN_DIR: '/nonexistent', UDRBD_NO_START: '1' };
  const missing = 'Failed to modprobe drbd (No such file or directory)\n';
  for (const [command, status] of [
    ['status', 20],
    ['role r0', 20],
    ['events2 --now', 20],
    ['bogus', 20],
    ['status --bogus', 20],
    ['new-resource r0 0', 20],
    ['down r0', 0],
    ['secondary r0', 0],
    ['disconnect r0 1', 0],
    ['detach 0', 0],
  ] as const) {
    const io = captureIo(nobody);
    t.equal(await run(wordsOf(command), io), status, command);
    t.strictSame([io.out, io.err], ['', missing], command);
  }
  const idle = { UDRBD_RUN_DIR: '/nonexistent' };
  for (const [command, status, stdout] of [
    ['status', 0, '# No currently configured DRBD found.\n'],
    ['show', 0, '# No currently configured DRBD found.\n'],
    ['status --json', 0, '[\n]\n\n'],
    ['events2 --now', 0, 'exists -\n'],
    ['down all', 0, ''],
    ['wait-connect-resource r0', 0, ''],
    ['role r0', 10, ''],
  ] as const) {
    const io = captureIo(idle);
    t.equal(await run(wordsOf(command), io), status, `${command}, none was ever started`);
    t.equal(io.out, stdout, command);
  }
});

t.test('an engine that speaks another language', async (t) => {
  engine.controlVersion = 7;
  for (const command of ['status', 'down', 'primary r0']) {
    t.strictSame(await outcome(wordsOf(command)), {
      status: 20,
      stdout: '',
      stderr: 'API mismatch!\n\tAPI version drbdsetup: 1 engine: 7\n\tengine 0.1.0, pid 4711: restart it\n',
    });
  }
  t.strictSame(engine.requests, [], 'nothing was asked of it');
});

t.test('an engine that turns us away', async (t) => {
  engine.refusal = 'too many clients';
  const stderr = "Could not connect to 'drbd' generic netlink family\nthe engine turned us away: too many clients\n";
  t.strictSame(await outcome(['status']), { status: 20, stdout: '', stderr });
  t.strictSame(await outcome(['down', 'r0']), { status: 20, stdout: '', stderr }, 'there may be something to take down');
});

t.test('an engine that does not say what there is has not said that there is nothing', async (t) => {
  engine.snapshotRefusal = 162;
  for (const [object, command] of [
    ['all', 'status'],
    ['r0', 'status r0'],
    ['all', 'show'],
    ['all', 'down all'],
    ['r0', 'role r0'],
    ['all', 'metrics'],
  ] as const) {
    const stderr = `${object}: error receiving config reply\nnot now\n`;
    t.strictSame(await outcome(wordsOf(command)), { status: 20, stdout: '', stderr }, command);
  }
});

t.test('an engine that can not be started', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'drbdsetup-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const program = join(directory, 'engine.cjs');
  writeFileSync(program, 'process.exit(3)\n');
  const io = captureIo({ UDRBD_RUN_DIR: directory, UDRBD_ENGINE: program });
  t.equal(await run(['new-resource', 'r0', '0'], io), 20);
  t.equal(
    io.err,
    `Could not connect to 'drbd' generic netlink family\nudrbd-engine ended with exit status 3; see ${directory}/engine.log\n`,
  );
});

t.test('an engine is started on demand', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'drbdsetup-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const program = join(directory, 'engine.cjs');
  writeFileSync(
    program,
    `require('node:net').createServer((socket) => {
      socket.on('data', (line) => {
        socket.end(JSON.stringify({ id: JSON.parse(line).id, code: 158, info: [] }) + '\\n');
        process.exit(0);
      });
    }).listen(process.env.UDRBD_RUN_DIR + '/control.sock');`,
  );
  const io = captureIo({ UDRBD_RUN_DIR: directory, UDRBD_ENGINE: program });
  const status = await run(['primary', 'r0'], io);
  t.ok(status === 10 || status === 121, 'the fake may exit before its answer is out, but it was there');
});

const lastRequest = () => engine.requests.at(-1);

t.test('what configuration commands send', async (t) => {
  const backing = join(engine.runDir, 'disk.img');
  writeFileSync(backing, '');
  const sent = async (line: string) => {
    const { status, stderr } = await outcome(wordsOf(line));
    t.strictSame([status, stderr], [0, ''], line);
    const { id: _, ...request } = lastRequest()!;
    return request;
  };
  t.strictSame(await sent('--force primary r0'), { command: 'primary', resource: 'r0', force: true }, 'old order of words');
  t.strictSame(await sent('primary r0 --overwrite-data-of-peer'), { command: 'primary', resource: 'r0', force: true });
  t.strictSame(await sent('primary --force=no r0'), { command: 'primary', resource: 'r0', force: false });
  t.strictSame(await sent('new-resource r0 1 --quorum=majority --on-no-quorum io-error --peer-ack-window=2M --auto-promote=no'), {
    command: 'new-resource',
    resource: 'r0',
    nodeId: 1,
    options: { quorum: 'majority', 'on-no-quorum': 'io-error', 'peer-ack-window': 4096, 'auto-promote': false },
  });
  t.strictSame(await sent('resource-options --on-no-quorum suspend-io --on-no-data suspend-io r0'), {
    command: 'resource-options',
    resource: 'r0',
    options: { 'on-no-quorum': 'suspend-io', 'on-no-data-accessible': 'suspend-io' },
    setDefaults: false,
  });
  t.strictSame(await sent('new-peer r0 1 --_name=beta --protocol=c --shared-secret=x --allow-two-primaries'), {
    command: 'new-peer',
    resource: 'r0',
    peerNodeId: 1,
    options: { _name: 'beta', protocol: 'C', 'shared-secret': 'x', 'allow-two-primaries': true },
  });
  t.strictSame(await sent('new-path r0 1 local:ipv4:192.0.2.1:7789 peer:ipv6:[2001:db8::2]'), {
    command: 'new-path',
    resource: 'r0',
    peerNodeId: 1,
    local: { family: 'ipv4', address: '192.0.2.1', port: 7789 },
    remote: { family: 'ipv6', address: '2001:db8::2', port: 7788 },
  });
  t.strictSame(await sent(`attach /dev/drbd7 ${backing} ${backing} internal --resync-after=-1 --size=1G`), {
    command: 'attach',
    minor: 7,
    backingDev: backing,
    metaDev: backing,
    metaIndex: -3,
    options: { 'resync-after': -1, size: 2097152 },
  });
  t.strictSame(await sent('peer-device-options r0 1 0 --set-defaults --c-max-rate=200M'), {
    command: 'peer-device-options',
    resource: 'r0',
    peerNodeId: 1,
    volume: 0,
    options: { 'c-max-rate': 204800 },
    setDefaults: true,
  });
  t.strictSame(await sent('new-minor r0 1048575 3 --diskless'), {
    command: 'new-minor',
    resource: 'r0',
    minor: 1048575,
    volume: 3,
    options: { diskless: true },
  });
  t.strictSame(await sent('invalidate 0 --reset-bitmap=no'), { command: 'invalidate', minor: 0, resetBitmap: false });
  t.strictSame(await sent('verify r0 1 0 --start=1M'), { command: 'verify', resource: 'r0', peerNodeId: 1, volume: 0, start: 2048 });
  t.strictSame(await sent('forget-peer r0 3'), { command: 'forget-peer', resource: 'r0', peerNodeId: 3 });
  t.strictSame(await sent('connect r0 1 --dry-run'), {
    command: 'connect',
    resource: 'r0',
    peerNodeId: 1,
    tentative: true,
    discardMyData: false,
  });
});

t.test('arguments that are refused before anything is sent', async (t) => {
  const refused = async (line: string) => {
    const { status, stderr } = await outcome(wordsOf(line));
    return [status, stderr];
  };
  t.strictSame(await refused('attach 0 /nonexistent /nonexistent internal'), [
    20,
    "Can not open device '/nonexistent': No such file or directory\n",
  ]);
  t.strictSame(await refused('attach 0 /dev/null /dev/null internal'), [20, '/dev/null is not a block device!\n']);
  t.strictSame(await refused('attach 0'), [20, "Missing argument 'lower_dev'\n"]);
  t.strictSame(await refused('new-path r0 1 ipv6:[::1 1.2.3.4'), [20, 'unexpected ipv6 format: [::1\n']);
  t.strictSame(await refused('down r0 a b'), [132, 'Excess arguments: b\n']);
  t.strictSame((await run(['primary', ''], captureIo(env()))).valueOf(), 1);
  t.equal(engine.requests.length, 0);
});

t.test('a transient state is asked again', async (t) => {
  let asked = 0;
  engine.answer = () => ({ code: ++asked < 3 ? -18 : 1 });
  t.strictSame(await outcome(['primary', 'r0']), { status: 0, stdout: '', stderr: '' });
  t.equal(asked, 3);
});

t.test('a minor that exists is refused here, as stock finds its block device', async (t) => {
  engine.snapshot = parseSnapshot(readVector('scenarios/healthy.state'));
  t.strictSame(await outcome(['new-minor', 'r0', '0', '0']), {
    status: 10,
    stdout: '',
    stderr:
      "new-minor r0 0 0: sysfs node '/sys/devices/virtual/block/drbd0' (already? still?) exists\nr0: Failure: (161) Minor or volume exists already (delete it first)\n",
  });
});

t.test('down all goes on after a failure and forgets what went down', async (t) => {
  engine.snapshot = parseSnapshot(readVector('scenarios/three.state'));
  engine.answer = (request) =>
    'resource' in request && request.resource === 'db' ? { code: -12, info: ['failed to demote'] } : { code: 101 };
  t.strictSame(await outcome(['down']), {
    status: 11,
    stdout: '',
    stderr: 'db: State change failed: (-12) Device is held open by someone\nadditional info from kernel:\nfailed to demote\n',
  });
  t.strictSame(
    engine.requests.filter(({ command }) => command === 'down').map((request) => 'resource' in request && request.resource),
    ['db', 'web'],
  );
});

t.test('events2 follows until the engine is gone', async (t) => {
  engine.initial = parseNotifications(readVector('scenarios/ev_exists.state'));
  const lost = parseNotifications(readVector('scenarios/ev_lost.state'));
  const changes = lost.slice(lost.findIndex(({ kind }) => kind === '-') + 1);
  const expected = readGolden('v9.34/ev_lost.txt').find(({ command }) => command === 'events2')!.stdout;
  const io = captureIo(env(), [], () => {
    if (io.out.endsWith('exists -\n')) engine.notify(...changes);
    if (io.out === expected) engine.hangUp();
  });
  t.equal(await run(['events2', 'all'], io), 121);
  t.strictSame([io.out, io.err], [expected, 'all: module unloaded\n']);
});

t.test('events2 --poll', async (t) => {
  engine.initial = parseNotifications(readVector('scenarios/ev_exists.state'));
  const once = readGolden('v9.34/ev_exists.txt').find(({ command }) => command === 'events2 --now')!.stdout;
  t.strictSame(await outcome(['events2', '--now', '--poll'], ['n', '']), { status: 0, stdout: once + once, stderr: '' });
  t.strictSame(await outcome(['events2', '--poll'], ['n', 'q']), { status: 0, stdout: once, stderr: '' });
  const io = captureIo(env());
  const bytes = ['nn\n', 'n', '\n', 'x', 'n'];
  t.equal(await run(['events2', '--now', '--poll'], { ...io, stdout: io.stdout.bind(io), readText: async () => bytes.shift() ?? null }), 0);
  t.strictSame([io.out, bytes], [once.repeat(4), ['n']], 'byte by byte, lines do not matter');
});

const peerDevice = (replicationState: 'Off' | 'Established' | 'SyncTarget'): Notification[] =>
  engine.initial
    .filter((event) => event.kind === 'peer-device')
    .map((event) =>
      'state' in event ? { ...event, action: 'change', continues: false, state: { ...event.state, replicationState } } : event,
    ) as Notification[];

const disconnected = (connectionState: 'Connecting' | 'StandAlone'): Notification[] => [
  ...engine.initial
    .slice(0, -1)
    .map(
      (event) =>
        (event.kind === 'connection' && 'state' in event
          ? { ...event, state: { connectionState, role: 'Unknown' } }
          : event.kind === 'peer-device' && 'state' in event
            ? { ...event, state: { ...event.state, replicationState: 'Off' } }
            : event) as Notification,
    ),
  { action: 'exists', kind: '-' },
];

t.test('waiting', async (t) => {
  engine.snapshot = parseSnapshot(readVector('scenarios/connecting.state'));
  engine.initial = parseNotifications(readVector('scenarios/ev_exists.state'));
  engine.initial = disconnected('Connecting');
  const status = async (line: string, ...later: Notification[]) => {
    const waiting = outcome(wordsOf(line));
    if (later.length > 0) setTimeout(() => engine.notify(...later), 100);
    return (await waiting).status;
  };
  t.equal(await status('wait-connect-resource r0', ...peerDevice('SyncTarget')), 0, 'a resync is a connection');
  t.equal(await status('wait-sync-resource r0', ...peerDevice('SyncTarget'), ...peerDevice('Established')), 0);
  t.equal(await status('wait-connect-volume r0 1 7'), 0, 'nothing to wait for');
  t.equal(await status('wait-connect-connection r0 9'), 0, 'nothing to wait for');
  t.equal(await status('wait-connect-volume r0 1 0', ...peerDevice('Established')), 0);
  engine.timeoutType = 2;
  const timedOut = ['wait-connect-resource r0 -t1', 'wait-sync-resource r0 -t 1', 'wait-connect-resource r0 --outdated-wfc-timeout=1'];
  t.strictSame(await Promise.all(timedOut.map((line) => status(line))), [5, 5, 5], 'time is up');

  engine.initial = disconnected('StandAlone');
  t.equal(await status('wait-connect-resource r0'), 0, 'nobody tries to connect');
  const patient = await outcome(['wait-connect-resource', 'r0', '--wait-after-sb=yes', '--outdated-wfc-timeout=1']);
  t.equal(patient.status, 5);
  t.match(
    patient.stderr,
    "\ndrbd r0 connection to peer-id 1 ('beta') is StandAlone, but I'm configured to wait anways (--wait-after-sb)\n",
  );
});

t.test('connect and disconnect with the addresses of the peer, as DRBD 8.4 has them', async (t) => {
  const operations = () => engine.requests.splice(0).map(({ id: _id, ...request }) => request);
  const local = { family: 'ipv4', address: '192.0.2.1', port: 7788 } as const;
  const remote = { family: 'ipv4', address: '192.0.2.2', port: 7789 } as const;
  const silent = { status: 0, stdout: '', stderr: '' };
  const words = ['r0', '192.0.2.1', 'ipv4:192.0.2.2:7789'];
  t.strictSame(await outcome(['connect', ...words, '--protocol=C', '--discard-my-data']), silent);
  const [peer, path, connect] = operations();
  const { peerNodeId } = peer as { peerNodeId: number };
  t.strictSame(
    [peer, path, connect],
    [
      { command: 'new-peer', resource: 'r0', peerNodeId, options: { protocol: 'C', _name: 'remote' } },
      { command: 'new-path', resource: 'r0', peerNodeId, local, remote },
      { command: 'connect', resource: 'r0', peerNodeId, tentative: false, discardMyData: true },
    ],
  );
  t.strictSame(await outcome(['connect', 'r0', ...words.slice(1).reverse()]), silent);
  t.strictSame((operations()[0] as { peerNodeId: number }).peerNodeId, 1 - peerNodeId, 'the other node gets the other number');

  t.strictSame(await outcome(['disconnect', ...words]), silent);
  t.strictSame(operations(), [
    { command: 'disconnect', resource: 'r0', peerNodeId, force: false },
    { command: 'del-peer', resource: 'r0', peerNodeId, force: false },
  ]);

  engine.answer = ({ command }) => (command === 'new-path' ? { code: 102 } : { code: 101 });
  t.strictSame(await outcome(['connect', ...words]), {
    status: 10,
    stdout: '',
    stderr: 'r0: Failure: (102) Local address(port) already in use.\n',
  });
  t.strictSame(
    operations().map(({ command }) => command),
    ['new-peer', 'new-path', 'del-peer'],
    'nothing is left of it',
  );
  t.match(await outcome(['connect', 'r0', '192.0.2.1']), { status: 20, stderr: 'Missing argument 3 to command\n' });
  t.match(await outcome(['connect', ...words, 'x']), { status: 20, stderr: 'Excess arguments: x\n' });
  t.match(
    await outcome(['connect', 'r0', '1', '--protocol=C']),
    { status: 20, stdout: /^drbdsetup - / },
    'no net options beside a node id',
  );
  t.strictSame(operations(), []);
});
