import { COMMAND, P_CONNECTION_FEATURES } from '@udrbd/wire';
import t, { type Test } from 'tap';
import { OP } from './requests.js';
import { clock, type MemoryNode, Pair } from './testing/pair.js';

const block = (fill: number, bytes = 4096): Uint8Array => new Uint8Array(bytes).fill(fill);
const FAST = { 'resync-rate': 4_000_000, 'c-plan-ahead': 0 };
const TOGETHER = 'Connected(Established) Primary/Primary UpToDate/UpToDate';

/** In sync, both Primary; `b` accepted the meta stream and decides. A handler that knows nothing leaves a node frozen. */
function primaries(exitCode = 1): Pair {
  const pair = new Pair(4096);
  pair.configure({ 'max-buffers': 20000, 'allow-two-primaries': true, fencing: 'resource-and-stonith' }, FAST);
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(5000);
  pair.b.control({ command: 'primary', force: false });
  pair.run(100);
  for (const node of pair.nodes) {
    node.logs.length = 0;
    node.exitCodes['fence-peer'] = exitCode;
  }
  return pair;
}

const snapshot = (node: MemoryNode) => node.core.snapshot(clock.now);
const current = (node: MemoryNode): bigint => snapshot(node).volumes[0]!.currentUuid & ~1n;
const outOfSync = (node: MemoryNode): number => snapshot(node).connections[0]!.peerDevices[0]!.outOfSyncSectors;
const said = (pair: Pair, text: RegExp): boolean => pair.nodes.some(({ logs }) => logs.some((line) => text.test(line)));
const done = (node: MemoryNode, slot: number): number | undefined => node.completions.find((c) => c.slot === slot)?.errno;
const areEqual = (pair: Pair): boolean => {
  const bytes = snapshot(pair.a).volumes[0]!.sizeSectors * 512;
  return Buffer.from(pair.a.disk.subarray(0, bytes)).equals(Buffer.from(pair.b.disk.subarray(0, bytes)));
};
const allSlotsAreBack = (pair: Pair): boolean =>
  pair.nodes.every(({ core }) => core.requests.freeApplicationSlots === 64 && core.requests.freePeerSlots === 64);

/** Nothing that is sent from here on arrives; the link breaks. */
function breakUnsent(pair: Pair): void {
  for (const node of pair.nodes) node.core.settle(clock.now);
  for (const node of pair.nodes) node.linked = false;
  pair.rest();
  for (const node of pair.nodes) node.linked = true;
  pair.partition();
}

/** Whole again, without a resync and without a new generation. */
function isAsBefore(t: Test, pair: Pair, generation: bigint): void {
  t.equal(pair.state(pair.a), TOGETHER);
  t.equal(pair.state(pair.b), TOGETHER);
  t.strictSame(pair.nodes.map(current), [generation, generation]);
  t.notOk(said(pair, /Split-Brain|Began resync|Aborting/));
  t.strictSame(pair.nodes.map(outOfSync), [0, 0]);
  t.ok(areEqual(pair));
  t.ok(allSlotsAreBack(pair));
}

for (const [what, ofA, ofB] of [
  ['different blocks', [0, 4096], [64, 4096]],
  ['the same block', [0, 4096], [0, 4096]],
  ['one within the other', [0, 16384], [8, 4096]],
  ['one beyond the other', [0, 8192], [8, 8192]],
] as const) {
  t.test(`both frozen with a write in flight, ${what}: both are done when the link is back`, async (t) => {
    const pair = primaries();
    const generation = current(pair.a);
    const slots = [pair.a.submit(OP.Write, ofA[0], block(0xaa, ofA[1])), pair.b.submit(OP.Write, ofB[0], block(0xbb, ofB[1]))];
    breakUnsent(pair);
    t.ok(pair.nodes.every((node) => snapshot(node).suspendedFencing));
    t.notOk(areEqual(pair));
    pair.run(3000);
    t.strictSame([done(pair.a, slots[0]!), done(pair.b, slots[1]!)], [undefined, undefined]);
    pair.heal();
    pair.run(5000);
    t.strictSame([done(pair.a, slots[0]!), done(pair.b, slots[1]!)], [0, 0]);
    isAsBefore(t, pair, generation);
  });
}

t.test('only one of them had something in flight', async (t) => {
  const pair = primaries();
  const generation = current(pair.a);
  const slot = pair.a.submit(OP.Write, 0, block(0xaa));
  breakUnsent(pair);
  const later = pair.a.submit(OP.Write, 0, block(0xcc));
  pair.heal();
  pair.run(5000);
  t.strictSame([done(pair.a, slot), done(pair.a, later)], [0, 0]);
  t.equal(pair.b.disk[0], 0xcc, 'in the order in which they were issued');
  isAsBefore(t, pair, generation);
});

t.test('a link that breaks again before the write has arrived', async (t) => {
  const pair = primaries();
  const generation = current(pair.a);
  const slot = pair.a.submit(OP.Write, 0, block(0xaa));
  breakUnsent(pair);
  pair.b.holdWrites = true;
  pair.heal();
  t.equal(done(pair.a, slot), undefined);
  pair.partition();
  pair.b.holdWrites = false;
  for (const held of pair.b.heldWrites.splice(0)) pair.b.core.diskDone(clock.now, held, 0);
  pair.rest();
  pair.heal();
  pair.run(5000);
  t.equal(done(pair.a, slot), 0);
  isAsBefore(t, pair, generation);
});

t.test('a write that waited for the activity log when the link broke', async (t) => {
  const pair = primaries();
  const generation = current(pair.a);
  pair.a.holdMeta = true;
  const slot = pair.a.submit(OP.Write, 0, block(0xaa));
  pair.rest();
  t.equal(pair.a.heldMeta.length, 1);
  pair.partition();
  pair.a.holdMeta = false;
  for (const token of pair.a.heldMeta.splice(0)) pair.a.core.metaDone(clock.now, token, 0);
  pair.rest();
  t.equal(pair.a.disk[0], 0xaa);
  t.equal(done(pair.a, slot), undefined);
  pair.heal();
  pair.run(5000);
  t.equal(done(pair.a, slot), 0);
  isAsBefore(t, pair, generation);
});

t.test('a write that was acked, but not its epoch: the peer has flushed before it takes the link', async (t) => {
  const pair = primaries();
  const generation = current(pair.a);
  pair.b.holdFlushes = true;
  const slot = pair.a.submit(OP.Write, 0, block(0xaa));
  pair.rest();
  t.equal(done(pair.a, slot), 0);
  pair.partition();
  pair.heal();
  t.notMatch(pair.state(pair.a), /^Connected/, 'not before the flush');
  pair.b.holdFlushes = false;
  for (const connection of pair.b.heldFlushes.splice(0)) pair.b.core.epochFlushed(clock.now, connection, 0, 0);
  pair.run(5000);
  isAsBefore(t, pair, generation);
});

t.test(
  'the other one has stepped down meanwhile: nobody knows what else it went through, and it gets all that was in flight',
  async (t) => {
    const pair = primaries();
    const generation = current(pair.a);
    pair.b.holdFlushes = true;
    const acked = pair.a.submit(OP.Write, 16, block(0xab));
    pair.rest();
    pair.b.holdFlushes = false;
    const slot = pair.a.submit(OP.Write, 0, block(0xaa));
    breakUnsent(pair);
    for (const connection of pair.b.heldFlushes.splice(0)) pair.b.core.epochFlushed(clock.now, connection, 0, 0);
    pair.rest();
    const op = pair.b.control({ command: 'secondary', openVolumes: [], force: false });
    pair.run(100);
    t.equal(pair.b.code(op), 'ok');
    pair.heal();
    pair.run(8000);
    t.ok(said(pair, /Aborting Connect/));
    t.ok(said(pair, /Began resync as SyncSource \(will sync 8 KB/), 'the one that was acked as well');
    t.strictSame([done(pair.a, slot), done(pair.a, acked)], [0, 0]);
    t.not(current(pair.a), generation);
    t.equal(pair.state(pair.a), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
    t.ok(areEqual(pair));
    t.ok(allSlotsAreBack(pair));
  },
);

t.test('a discard that would start over, and the other one comes back without taking discards: refused, and marked', async (t) => {
  const pair = primaries();
  const { a } = pair;
  const slot = a.submit(OP.Discard, 0, block(0));
  breakUnsent(pair);
  for (const node of pair.nodes) {
    node.mangle = (stream, bytes) => {
      const packet = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      if (packet.getUint16(4) === COMMAND.P_CONNECTION_FEATURES) packet.setUint32(8 + P_CONNECTION_FEATURES.at.feature_flags.offset, 0);
      return [{ stream, bytes }];
    };
  }
  pair.heal();
  pair.run(8000);
  t.equal(done(a, slot), 95);
  t.equal(outOfSync(a), 8);
  t.ok(allSlotsAreBack(pair));
  // An extent that is still in use would wait for ever.
  t.equal(a.core.volumes.get(0)!.disk!.activityLog.usedCount, 0);
});

t.test('I/O goes on without the other one: marked, in a generation of its own', async (t) => {
  for (const how of ['resume-io', 'fenced'] as const) {
    const pair = primaries(how === 'fenced' ? 7 : 1);
    const generation = current(pair.a);
    pair.a.holdHelpers = true;
    pair.b.holdHelpers = true;
    const slot = pair.a.submit(OP.Write, 0, block(0xaa));
    breakUnsent(pair);
    t.equal(done(pair.a, slot), undefined);
    if (how === 'fenced') pair.a.core.helperDone(clock.now, pair.a.heldHelpers[0]!, 7);
    else pair.a.control({ command: 'resume-io' });
    pair.rest();
    t.equal(done(pair.a, slot), 0, how);
    t.not(current(pair.a), generation);
    t.equal(outOfSync(pair.a), 8);
  }
});

t.test('both are told that the other one is gone: that is a split brain, as it has to be', async (t) => {
  const pair = primaries(7);
  const slots = [pair.a.submit(OP.Write, 0, block(0xaa)), pair.b.submit(OP.Write, 64, block(0xbb))];
  breakUnsent(pair);
  pair.run(100);
  t.strictSame([done(pair.a, slots[0]!), done(pair.b, slots[1]!)], [0, 0]);
  pair.heal();
  pair.run(1000);
  t.ok(said(pair, /Split-Brain detected but unresolved/));
});

t.test('a frozen Primary that is demoted by force fails what was in flight, and leaves it marked', async (t) => {
  const pair = primaries();
  const slot = pair.a.submit(OP.Write, 0, block(0xaa));
  breakUnsent(pair);
  const op = pair.a.control({ command: 'secondary', openVolumes: [0], force: true });
  pair.run(100);
  t.equal(pair.a.code(op), 'ok');
  t.equal(done(pair.a, slot), 5);
  t.equal(outOfSync(pair.a), 8);
  pair.a.control({ command: 'closed' });
  pair.heal();
  pair.run(8000);
  t.equal(pair.state(pair.b), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
  t.ok(areEqual(pair));
});

t.test(
  'demoted by force when the other one is back, and a kept write is about to start over: it does, and only its application sees it fail',
  async (t) => {
    const pair = primaries();
    pair.a.holdWrites = true;
    const slot = pair.a.submit(OP.Write, 0, block(0xaa));
    breakUnsent(pair);
    pair.heal();
    pair.run(100);
    t.equal(pair.state(pair.a), TOGETHER);
    const op = pair.a.control({ command: 'secondary', openVolumes: [0], force: true });
    pair.rest();
    t.equal(pair.a.code(op), 'pending', 'the own disk has not answered');
    pair.a.holdWrites = false;
    for (const held of pair.a.heldWrites.splice(0)) pair.a.core.diskDone(clock.now, held, 0);
    pair.run(100);
    t.equal(pair.a.code(op), 'ok');
    t.equal(done(pair.a, slot), 5);
    t.equal(pair.state(pair.b), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
    t.strictSame(pair.nodes.map(outOfSync), [0, 0]);
    t.ok(areEqual(pair));
    t.ok(allSlotsAreBack(pair));
  },
);

t.test('demoted by force, and the other one is back before the own disk has answered: what has failed reaches it afterwards', async (t) => {
  const pair = primaries();
  pair.a.holdWrites = true;
  const slots = [pair.a.submit(OP.Write, 0, block(0xaa)), pair.a.submit(OP.Write, 64, block(0xaa))];
  breakUnsent(pair);
  // That one waits for nothing but the other node, and fails at once.
  pair.a.core.diskDone(clock.now, pair.a.heldWrites.shift()!, 0);
  const op = pair.a.control({ command: 'secondary', openVolumes: [0], force: true });
  pair.heal();
  pair.run(3000);
  t.equal(pair.a.code(op), 'pending');
  t.strictSame(
    slots.map((slot) => done(pair.a, slot)),
    [5, undefined],
  );
  pair.a.holdWrites = false;
  for (const held of pair.a.heldWrites.splice(0)) pair.a.core.diskDone(clock.now, held, 0);
  pair.run(8000);
  t.equal(pair.a.code(op), 'ok');
  t.equal(pair.state(pair.b), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
  t.strictSame(pair.nodes.map(outOfSync), [0, 0]);
  t.ok(areEqual(pair));
  t.ok(allSlotsAreBack(pair));
});
