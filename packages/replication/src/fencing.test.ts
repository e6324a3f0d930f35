import t from 'tap';
import { OP } from './requests.js';
import { clock, type MemoryNode, Pair } from './testing/pair.js';

const block = (fill: number, bytes = 4096): Uint8Array => new Uint8Array(bytes).fill(fill);
const FAST = { 'resync-rate': 4_000_000, 'c-plan-ahead': 0 };

/** In sync, with `a` as Primary. */
function synced(fencing: string, exitCode: number): Pair {
  const pair = new Pair();
  pair.configure({ 'max-buffers': 20000, fencing }, FAST);
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(5000);
  for (const node of pair.nodes) {
    node.helpers.length = 0;
    node.exitCodes['fence-peer'] = exitCode;
  }
  return pair;
}

const current = (node: MemoryNode): bigint => node.core.snapshot(clock.now).volumes[0]!.currentUuid;
const peerDisk = (node: MemoryNode): string => node.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.peerDiskState;
const ownDisk = (node: MemoryNode): string => node.core.snapshot(clock.now).volumes[0]!.diskState;
const isFrozen = (node: MemoryNode): boolean => node.core.snapshot(clock.now).suspendedFencing;
const said = (node: MemoryNode, text: string): boolean => node.logs.some((line) => line.includes(text));
const isWritten = (pair: Pair, slot: number): boolean => pair.a.completions.some((done) => done.slot === slot && done.errno === 0);
const areEqual = (pair: Pair): boolean => {
  const bytes = pair.a.core.snapshot(clock.now).volumes[0]!.sizeSectors * 512;
  return Buffer.from(pair.a.disk.subarray(0, bytes)).equals(Buffer.from(pair.b.disk.subarray(0, bytes)));
};

t.test('dont-care: nobody is fenced', async (t) => {
  const pair = synced('dont-care', 4);
  pair.partition();
  t.strictSame(pair.a.helpers, []);
  t.equal(peerDisk(pair.a), 'DUnknown');
});

t.test('resource-only: writes go on while the handler runs', async (t) => {
  const pair = synced('resource-only', 4);
  pair.a.holdHelpers = true;
  const before = current(pair.a);
  pair.partition();
  t.strictSame(pair.a.helpers, ['fence-peer']);
  t.strictSame(pair.b.helpers, [], 'a Secondary fences nobody');
  t.not(current(pair.a), before, 'a new generation at once');
  const slot = pair.a.submit(OP.Write, 80, block(1));
  pair.rest();
  t.ok(isWritten(pair, slot));
  pair.a.core.helperDone(clock.now, pair.a.heldHelpers[0]!, 4);
  pair.rest();
  t.equal(peerDisk(pair.a), 'Outdated');
  t.ok(said(pair.a, 'fence-peer helper returned 4 (peer was fenced)'));
});

for (const [exitCode, disk, text] of [
  [3, 'Inconsistent', 'fence-peer helper returned 3 (peer is inconsistent or worse)'],
  [4, 'Outdated', 'fence-peer helper returned 4 (peer was fenced)'],
  [5, 'Outdated', 'fence-peer helper returned 5 (peer is unreachable, assumed to be dead)'],
  [7, 'Outdated', 'fence-peer helper returned 7 (peer was stonithed)'],
] as const) {
  t.test(`resource-and-stonith: frozen until the handler returns ${exitCode}`, async (t) => {
    const pair = synced('resource-and-stonith', exitCode);
    pair.a.holdHelpers = true;
    const before = current(pair.a);
    pair.partition();
    t.ok(isFrozen(pair.a));
    const slot = pair.a.submit(OP.Write, 80, block(2));
    pair.rest();
    t.notOk(isWritten(pair, slot), 'the write waits');
    t.equal(current(pair.a), before, 'no new generation while frozen');
    pair.a.core.helperDone(clock.now, pair.a.heldHelpers[0]!, exitCode);
    pair.rest();
    t.equal(peerDisk(pair.a), disk);
    t.ok(said(pair.a, text));
    t.notOk(isFrozen(pair.a));
    t.not(current(pair.a), before);
    t.ok(isWritten(pair, slot));
    pair.a.holdHelpers = false;
    pair.heal();
    pair.run(5000);
    t.equal(pair.state(pair.a), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
    t.ok(areEqual(pair));
    t.ok(pair.a.helpers.includes('unfence-peer'));
  });
}

for (const [exitCode, text] of [
  [6, 'fence-peer helper returned 6 (peer is active)'],
  [1, 'fence-peer helper broken, returned 1'],
  [0, 'fence-peer helper broken, returned 0'],
  [-1, 'fence-peer helper broken, returned 0'],
] as const) {
  t.test(`resource-and-stonith: ${exitCode} leaves it frozen; the way back thaws it`, async (t) => {
    const pair = synced('resource-and-stonith', exitCode);
    const before = current(pair.a);
    pair.partition();
    const slot = pair.a.submit(OP.Write, 80, block(3));
    pair.rest();
    t.ok(said(pair.a, text));
    t.ok(isFrozen(pair.a));
    t.equal(ownDisk(pair.a), 'UpToDate', 'a Primary is not outdated');
    t.notOk(isWritten(pair, slot));
    pair.heal();
    pair.run(2000);
    t.notOk(isFrozen(pair.a));
    t.equal(current(pair.a), before, 'nothing was written: the same generation');
    t.ok(isWritten(pair, slot));
    t.equal(pair.state(pair.a), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
    t.ok(areEqual(pair));
  });
}

t.test('a write in flight when the link breaks reaches the peer after the freeze', async (t) => {
  const pair = synced('resource-and-stonith', 1);
  // On the way, but never delivered.
  const slot = pair.a.submit(OP.Write, 160, block(4));
  pair.a.core.settle(clock.now);
  pair.a.linked = false;
  pair.b.linked = false;
  pair.rest();
  pair.a.linked = true;
  pair.b.linked = true;
  pair.partition();
  t.ok(isFrozen(pair.a));
  t.notOk(isWritten(pair, slot));
  t.not(pair.b.disk[160 * 512], 4);
  pair.heal();
  pair.run(5000);
  t.ok(isWritten(pair, slot));
  t.equal(pair.b.disk[160 * 512], 4);
  t.equal(pair.state(pair.a), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
  t.equal(pair.a.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.outOfSyncSectors, 0);
});

t.test('a peer that came back while the handler ran is left alone', async (t) => {
  const pair = synced('resource-and-stonith', 4);
  pair.a.holdHelpers = true;
  pair.partition();
  const [token] = pair.a.heldHelpers;
  pair.a.holdHelpers = false;
  pair.heal();
  pair.run(1000);
  pair.a.core.helperDone(clock.now, token!, 4);
  pair.rest();
  t.equal(pair.state(pair.a), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
});

t.test('resume-io goes on without the peer, in a generation of its own', async (t) => {
  const pair = synced('resource-and-stonith', 1);
  const before = current(pair.a);
  pair.partition();
  const slot = pair.a.submit(OP.Write, 80, block(5));
  pair.rest();
  const op = pair.a.control({ command: 'resume-io' });
  pair.rest();
  t.equal(pair.a.code(op), 'ok');
  t.ok(isWritten(pair, slot));
  t.not(current(pair.a), before);
});

t.test('resume-io while a returned peer compares generations: writes wait for its verdict', async (t) => {
  for (const fails of [false, true]) {
    const pair = synced('dont-care', 4);
    pair.a.control({ command: 'suspend-io' });
    pair.partition();
    // Byte by byte, until `a` has told its generations and knows none of `b`.
    const held: [stream: 0 | 1, bytes: Uint8Array][] = [];
    const deliver = pair.a.deliver.bind(pair.a);
    pair.a.deliver = (stream, bytes) => {
      for (let i = 0; i < bytes.length; i++) {
        if (pair.state(pair.a).startsWith('Connected(Off)')) return void held.push([stream, bytes.subarray(i)]);
        deliver(stream, bytes.subarray(i, i + 1));
      }
    };
    pair.heal();
    t.match(pair.state(pair.a), /^Connected\(Off\)/);
    const before = current(pair.a);
    pair.a.control({ command: 'resume-io' });
    const slot = pair.a.submit(OP.Write, 80, block(9));
    pair.rest();
    t.notOk(isWritten(pair, slot));
    pair.a.deliver = deliver;
    if (fails) pair.partition();
    else for (const [stream, bytes] of held) deliver(stream, bytes);
    pair.run(1000);
    t.ok(isWritten(pair, slot));
    t.equal(current(pair.a) === before, !fails, 'a new generation only without the peer');
    if (fails) pair.heal();
    pair.run(5000);
    t.ok(areEqual(pair));
  }
});

t.test('promotion fences first', async (t) => {
  const pair = synced('resource-only', 4);
  pair.a.control({ command: 'secondary', openVolumes: [], force: false });
  pair.run(1000);
  pair.partition();
  t.strictSame(pair.b.helpers, []);
  const op = pair.b.control({ command: 'primary', force: false });
  pair.rest();
  t.equal(pair.b.code(op), 'ok');
  t.strictSame(pair.b.helpers, ['fence-peer']);
  t.equal(peerDisk(pair.b), 'Outdated');
  t.equal(pair.state(pair.b).split(' ')[1], 'Primary/Unknown');
});

t.test('promotion is refused when the peer cannot be fenced, after four tries', async (t) => {
  const pair = synced('resource-only', 1);
  pair.a.control({ command: 'secondary', openVolumes: [], force: false });
  pair.run(1000);
  pair.partition();
  const op = pair.b.control({ command: 'primary', force: false });
  pair.rest();
  t.equal(pair.b.code(op), 'SS_PRIMARY_NOP');
  t.strictSame(pair.b.helpers, Array(4).fill('fence-peer'));

  const forced = pair.b.control({ command: 'primary', force: true });
  pair.rest();
  t.equal(pair.b.code(forced), 'ok');
  t.ok(said(pair.b, 'Forced into split brain situation!'));
  t.equal(peerDisk(pair.b), 'Outdated');
});

t.test('a resync read that waits for a write of a frozen device does not keep the link', async (t) => {
  const pair = synced('dont-care', 0);
  pair.partition();
  pair.a.holdWrites = true;
  pair.a.submit(OP.Write, 80, block(4));
  pair.rest();
  pair.a.control({ command: 'suspend-io' });
  pair.a.holdWrites = false;
  for (const slot of pair.a.heldWrites.splice(0)) pair.a.core.diskDone(clock.now, slot, 0);
  pair.rest();
  t.strictSame(pair.a.completions, [], 'held back');
  pair.heal();
  pair.run(1000);
  t.match(pair.state(pair.a), /^Connected\(SyncSource\)/);
  const operation = pair.a.control({ command: 'disconnect', connection: 0, force: false });
  pair.run(1000);
  t.equal(pair.a.code(operation), 'ok');
  t.match(pair.state(pair.a), /^StandAlone/);
});
