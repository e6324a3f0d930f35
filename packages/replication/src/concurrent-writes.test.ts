import {
  COMMAND,
  HEADER_KIND,
  pBarrierNumber,
  pDataBlockIdHigh,
  pDataBlockIdLow,
  pDataSector,
  putHeader,
  putPBarrierAck,
  putPBlockAck,
  putPData,
} from '@udrbd/wire';
import t from 'tap';
import { STREAM } from './host.js';
import { OP } from './requests.js';
import { clock, type MemoryNode, Pair } from './testing/pair.js';

const block = (fill: number, bytes = 4096): Uint8Array => new Uint8Array(bytes).fill(fill);
const FAST = { 'resync-rate': 4_000_000, 'c-plan-ahead': 0 };

/** In sync, both Primary; `b` accepted the meta stream and decides. */
function primaries(net: Record<string, string | number | boolean> = {}): Pair {
  const pair = new Pair(4096);
  pair.configure({ 'max-buffers': 20000, 'allow-two-primaries': true, ...net }, FAST);
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(5000);
  pair.b.control({ command: 'primary', force: false });
  pair.run(100);
  return pair;
}

const done = (node: MemoryNode, slot: number): number | undefined => node.completions.find((c) => c.slot === slot)?.errno;
const bytesOf = (pair: Pair): number => pair.a.core.snapshot(clock.now).volumes[0]!.sizeSectors * 512;
const areEqual = (pair: Pair): boolean =>
  Buffer.from(pair.a.disk.subarray(0, bytesOf(pair))).equals(Buffer.from(pair.b.disk.subarray(0, bytesOf(pair))));
const allSlotsAreBack = (pair: Pair): boolean =>
  pair.nodes.every(({ core }) => core.requests.freeApplicationSlots === 64 && core.requests.freePeerSlots === 64);

/** First byte of each of the blocks. */
const blocks = (node: MemoryNode, sector: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => node.disk[sector * 512 + i * 4096]!);

t.test('two Primaries, and what is refused while they are', async (t) => {
  const pair = primaries();
  t.equal(pair.state(pair.a), 'Connected(Established) Primary/Primary UpToDate/UpToDate');
  t.equal(pair.state(pair.b), 'Connected(Established) Primary/Primary UpToDate/UpToDate');
  const asks = (options: Record<string, string | boolean>): string => {
    const op = pair.a.control({ command: 'net-options', connection: 0, options, setDefaults: false });
    pair.rest();
    return pair.a.code(op);
  };
  t.equal(asks({ 'allow-two-primaries': false }), 'ERR_NEED_ALLOW_TWO_PRI');
  t.equal(asks({ protocol: 'A' }), 'ERR_NOT_PROTO_C');
  const slots = [pair.a.submit(OP.Write, 0, block(1)), pair.b.submit(OP.Write, 64, block(2))];
  pair.rest();
  t.strictSame([done(pair.a, slots[0]!), done(pair.b, slots[1]!)], [0, 0]);
  t.ok(areEqual(pair));
  pair.b.control({ command: 'secondary', openVolumes: [], force: false });
  pair.run(100);
  t.equal(asks({ 'allow-two-primaries': false }), 'ok');
});

t.test('the setting is made on one node and holds on both; a Primary less, and the second one is refused again', async (t) => {
  const pair = new Pair();
  pair.configure({ 'max-buffers': 20000 }, FAST);
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(5000);
  const refused = pair.b.control({ command: 'primary', force: false });
  pair.run(2000);
  t.equal(pair.b.code(refused), 'SS_TWO_PRIMARIES');
  pair.a.control({ command: 'net-options', connection: 0, options: { 'allow-two-primaries': true }, setDefaults: false });
  pair.rest();
  const allowed = pair.b.control({ command: 'primary', force: false });
  pair.rest();
  t.equal(pair.b.code(allowed), 'ok');
  const [a, b] = pair.nodes.map((node) => node.core.snapshot(clock.now).volumes[0]!.currentUuid);
  t.equal(a, b, 'one generation, with the bit of a Primary on both');
});

t.test('both are promoted at the same moment', async (t) => {
  const pair = primaries();
  for (const node of pair.nodes) node.control({ command: 'secondary', openVolumes: [], force: false });
  pair.run(100);
  t.match(pair.state(pair.a), /Secondary\/Secondary/);
  const ops = pair.nodes.map((node) => node.control({ command: 'primary', force: false }));
  pair.run(3000);
  t.strictSame(
    pair.nodes.map((node, i) => node.code(ops[i]!)),
    ['ok', 'ok'],
  );
  t.match(pair.state(pair.a), /Primary\/Primary/);
});

type Range = [sector: number, bytes: number];
/** The write of each node, and what both disks hold afterwards: 0xaa of the resolver, 0xbb of the other one. */
const CROSSINGS: readonly { name: string; resolver: Range; other: Range; disks: number[] }[] = [
  { name: 'equal ranges: the resolver wins', resolver: [0, 4096], other: [0, 4096], disks: [0xaa, 0, 0] },
  { name: "within the resolver's: superseded", resolver: [0, 12288], other: [8, 4096], disks: [0xaa, 0xaa, 0xaa] },
  { name: "around the resolver's: written again after it", resolver: [8, 4096], other: [0, 12288], disks: [0xbb, 0xbb, 0xbb] },
  { name: 'partly, behind', resolver: [0, 8192], other: [8, 8192], disks: [0xaa, 0xbb, 0xbb] },
  { name: 'partly, before', resolver: [8, 8192], other: [0, 8192], disks: [0xbb, 0xbb, 0xaa] },
  { name: 'beside each other', resolver: [0, 4096], other: [8, 4096], disks: [0xaa, 0xbb, 0] },
  { name: 'half a block each', resolver: [0, 2048], other: [4, 2048], disks: [0xaa, 0, 0] },
];

for (const { name, resolver, other, disks } of CROSSINGS) {
  for (const ops of ['write/write', 'write/discard', 'zeroes/write'] as const) {
    t.test(`writes cross: ${name}, ${ops}`, async (t) => {
      const pair = primaries();
      const put = (node: MemoryNode, op: string, [sector, length]: Range, fill: number): number =>
        op === 'write'
          ? node.submit(OP.Write, sector, block(fill, length))
          : node.submit(op === 'discard' ? OP.Discard : OP.WriteZeroes, sector, length);
      const [first, second] = ops.split('/') as [string, string];
      const slots = [put(pair.b, first, resolver, 0xaa), put(pair.a, second, other, 0xbb)];
      pair.rest();
      t.strictSame([done(pair.b, slots[0]!), done(pair.a, slots[1]!)], [0, 0], 'both are done');
      const value = (fill: number): number => ((fill === 0xaa ? first : second) === 'write' ? fill : 0);
      if (name !== 'half a block each') t.strictSame(blocks(pair.a, 0, 3), disks.map(value));
      t.ok(areEqual(pair));
      pair.run(2000);
      t.ok(allSlotsAreBack(pair));
      t.equal(pair.a.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.outOfSyncSectors, 0);
    });
  }
}

t.test('a kernel is not asked to write again: its write goes to the disk before ours, which goes there twice', async (t) => {
  for (const { resolver, other, disks } of CROSSINGS.slice(0, 6)) {
    const pair = primaries();
    for (const { core } of pair.nodes) core.connections[0]!.isPeerGenuine = true;
    const slots = [
      pair.b.submit(OP.Write, resolver[0], block(0xaa, resolver[1])),
      pair.a.submit(OP.Write, other[0], block(0xbb, other[1])),
    ];
    pair.rest();
    t.strictSame([done(pair.b, slots[0]!), done(pair.a, slots[1]!)], [0, 0]);
    // The resolver's blocks are the resolver's, whoever reaches further.
    const [first, count] = [resolver[0] / 8, resolver[1] / 4096];
    t.strictSame(
      blocks(pair.a, 0, 3),
      disks.map((byte, i) => (i >= first && i < first + count ? 0xaa : byte)),
    );
    t.ok(areEqual(pair));
    t.notOk(pair.b.core.connections[0]!.turnedDown.some(({ isRetry }) => isRetry));
    pair.run(2000);
    t.ok(allSlotsAreBack(pair));
  }
});

t.test('the link breaks while a write goes beneath ours', async (t) => {
  for (const isBegun of [false, true]) {
    const pair = primaries();
    for (const { core } of pair.nodes) core.connections[0]!.isPeerGenuine = true;
    pair.b.holdWrites = true;
    const own = pair.b.submit(OP.Write, 0, block(0xaa, 8192));
    const other = pair.a.submit(OP.Write, 8, block(0xbb, 8192));
    pair.rest();
    if (isBegun) for (const slot of pair.b.heldWrites.splice(0)) pair.b.core.diskDone(clock.now, slot, 0);
    pair.rest();
    pair.partition();
    pair.b.holdWrites = false;
    for (const slot of pair.b.heldWrites.splice(0)) pair.b.core.diskDone(clock.now, slot, 0);
    pair.rest();
    t.strictSame([done(pair.b, own), done(pair.a, other)], [0, 0]);
    t.strictSame(blocks(pair.b, 0, 3), isBegun ? [0xaa, 0xbb, 0xbb] : [0xaa, 0xaa, 0]);
    t.equal(pair.b.core.requests.freePeerSlots, 64);
    t.ok(pair.b.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.outOfSyncSectors >= 16);
  }
});

t.test('the texts of the log', async (t) => {
  const pair = primaries();
  pair.b.submit(OP.Write, 0, block(1, 8192));
  pair.a.submit(OP.Write, 8, block(2, 8192));
  pair.rest();
  t.match(
    pair.b.logs.find((line) => line.includes('Concurrent')),
    /: Concurrent writes detected: local=0s \+8192, remote=8s \+8192, assuming remote came first$/,
  );
  t.match(
    pair.a.logs.find((line) => line.includes('Concurrent')),
    /: Concurrent writes detected: local=8s \+8192, remote=0s \+8192$/,
  );
  pair.run(6000);
  pair.b.submit(OP.Write, 0, block(1, 8192));
  pair.a.submit(OP.Write, 8, block(2));
  pair.rest();
  t.match(pair.b.logs.filter((line) => line.includes('Concurrent')).at(-1), /assuming local came first$/);
});

t.test("the resolver's slow disk does not make it turn down what came after its own write was answered", async (t) => {
  const pair = primaries();
  pair.b.holdWrites = true;
  const own = pair.b.submit(OP.Write, 0, block(0xaa));
  pair.rest();
  t.equal(pair.a.disk[0], 0xaa, 'the peer has it, and said so');
  const later = pair.a.submit(OP.Write, 0, block(0xbb));
  pair.rest();
  t.equal(done(pair.a, later), undefined, 'it waits for the disk of the resolver');
  pair.b.holdWrites = false;
  for (const slot of pair.b.heldWrites.splice(0)) pair.b.core.diskDone(clock.now, slot, 0);
  pair.rest();
  t.strictSame([done(pair.b, own), done(pair.a, later)], [0, 0]);
  t.strictSame([pair.b.disk[0], pair.a.disk[0]], [0xbb, 0xbb]);
});

for (const isPeerGenuine of [false, true]) {
  t.test(`many writes to a few blocks from both sides end equal, the peer ${isPeerGenuine ? 'a kernel' : 'one of ours'}`, async (t) => {
    const pair = primaries({ 'max-epoch-size': 20 });
    let seed = 7;
    pair.b.core.connections[0]!.isPeerGenuine = isPeerGenuine;
    const below = (n: number): number => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return (seed >>> 8) % n;
    };
    for (let round = 0; round < 300; round++) {
      for (const node of pair.nodes) {
        for (let i = below(4); i > 0; i--) {
          if (node.core.requests.freeApplicationSlots < 8) continue;
          const sector = below(24);
          const op = below(10) === 0 ? OP.Discard : OP.Write;
          node.submit(op, sector, op === OP.Write ? block(1 + below(255), 512 * (1 + below(20))) : 512 * (1 + below(20)));
        }
        if (below(3) > 0) node.step();
      }
      if (below(10) === 0) pair.rest();
    }
    pair.run(3000);
    t.ok(areEqual(pair));
    t.ok(allSlotsAreBack(pair));
    t.ok(pair.nodes.every(({ completions }) => completions.every(({ errno }) => errno === 0)));
    t.match(pair.state(pair.a), /^Connected\(Established\) Primary\/Primary/);
  });
}

t.test('the link breaks while a conflict is undecided: what is not known to be equal is marked', async (t) => {
  const pair = primaries();
  pair.a.holdWrites = true;
  const [own, other] = [pair.b.submit(OP.Write, 0, block(0xaa, 8192)), pair.a.submit(OP.Write, 8, block(0xbb, 8192))];
  pair.rest();
  t.strictSame([done(pair.b, own), done(pair.a, other)], [undefined, undefined]);
  pair.partition();
  pair.a.holdWrites = false;
  for (const slot of pair.a.heldWrites.splice(0)) pair.a.core.diskDone(clock.now, slot, 0);
  pair.rest();
  t.strictSame([done(pair.b, own), done(pair.a, other)], [0, 0]);
  const marked = pair.nodes.map((node) => node.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.outOfSyncSectors);
  t.ok(marked[1]! >= 16, 'what the resolver wrote');
  t.ok(marked[0]! >= 16, 'what the other wrote');
  t.strictSame(blocks(pair.a, 8, 2), [0xbb, 0xbb], 'what was never begun is not written over it');
  t.equal(pair.a.core.requests.freePeerSlots, 64);
  pair.heal();
  pair.run(1000);
  t.match(pair.a.logs.join('\n'), /Split-Brain detected but unresolved, dropping connection!/);
  t.match(pair.state(pair.b), /^StandAlone/);
});

/** Two Primaries that lost each other, each with a write of its own; b has more of them. */
function parted(net: Record<string, string>): Pair {
  const pair = primaries(net);
  pair.partition();
  pair.a.submit(OP.Write, 0, block(0xaa));
  pair.b.submit(OP.Write, 0, block(0xbb));
  pair.b.submit(OP.Write, 64, block(0xbb));
  pair.rest();
  pair.heal();
  return pair;
}

t.test('a split brain of two Primaries: policies, and what becomes of the loser', async (t) => {
  const least = { 'after-sb-0pri': 'discard-least-changes' };
  const none = parted({});
  none.run(1000);
  t.match(none.state(none.a), /^StandAlone\(Off\) Primary/);
  t.match(none.state(none.b), /^StandAlone\(Off\) Primary/);
  t.ok(none.a.helpers.includes('split-brain') && none.b.helpers.includes('split-brain'));

  const called = parted({ ...least, 'after-sb-2pri': 'call-pri-lost-after-sb' });
  called.run(1000);
  t.match(called.state(called.a), /^StandAlone/);
  t.ok(called.a.helpers.includes('pri-lost-after-sb'));
  t.notOk(called.b.helpers.includes('pri-lost-after-sb'));

  const violent = parted({ ...least, 'after-sb-2pri': 'violently-as0p', 'rr-conflict': 'violently' });
  violent.run(5000);
  t.equal(violent.state(violent.a), 'Connected(Established) Primary/Primary UpToDate/UpToDate');
  t.ok(areEqual(violent));
  t.equal(violent.a.disk[0], 0xbb);
});

t.test('rr-conflict retry-connect: the loser comes back, and is taken when it has stepped down', async (t) => {
  const pair = parted({
    'after-sb-0pri': 'discard-least-changes',
    'after-sb-1pri': 'consensus',
    'after-sb-2pri': 'violently-as0p',
    'rr-conflict': 'retry-connect',
  });
  pair.run(3500);
  t.match(pair.state(pair.a), /^(?!StandAlone)/, 'it goes on trying');
  t.ok(pair.a.logs.filter((line) => line.includes('I shall become SyncTarget, but I am primary!')).length > 1);
  pair.a.control({ command: 'secondary', openVolumes: [], force: false });
  pair.run(8000);
  t.equal(pair.state(pair.a), 'Connected(Established) Secondary/Primary UpToDate/UpToDate');
  t.ok(areEqual(pair));
});

t.test('a node is promoted when what its lost peer sent is on its disk', async (t) => {
  const pair = new Pair(4096);
  pair.configure({ 'max-buffers': 20000 }, FAST);
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(5000);
  pair.b.holdWrites = true;
  pair.a.submit(OP.Write, 0, block(0xaa));
  pair.rest();
  pair.partition();
  const op = pair.b.control({ command: 'primary', force: false });
  pair.run(500);
  t.equal(pair.b.code(op), 'pending');
  pair.b.holdWrites = false;
  for (const slot of pair.b.heldWrites.splice(0)) pair.b.core.diskDone(clock.now, slot, 0);
  pair.run(500);
  t.equal(pair.b.code(op), 'ok');
});

t.test('parted by agreement: what the peer sent before it left does not land on what is written here afterwards', async (t) => {
  const pair = primaries();
  pair.a.holdFlushes = true;
  pair.b.submit(OP.Write, 64, block(1));
  pair.rest();
  // Behind the barrier of the first one.
  const behind = pair.b.submit(OP.Write, 0, block(0xbb));
  pair.rest();
  t.equal(done(pair.b, behind), undefined);
  // The answer does not get through, and the link stands.
  pair.b.deliver = () => {};
  pair.b.control({ command: 'disconnect', connection: 0, force: false });
  pair.rest();
  t.match(pair.state(pair.a), /^TearDown/);
  const own = pair.a.submit(OP.Write, 0, block(0xaa));
  pair.rest();
  t.equal(done(pair.a, own), 0);
  pair.a.holdFlushes = false;
  for (const connection of pair.a.heldFlushes.splice(0)) pair.a.core.epochFlushed(clock.now, connection, 0, 0);
  pair.rest();
  t.equal(pair.a.disk[0], 0xaa);
  pair.partition();
  t.equal(pair.a.disk[0], 0xaa);
  t.ok(pair.a.core.requests.freePeerSlots === 64);
});

t.test(
  'a node is demoted by force while its write is turned down: the write is carried through, one that has not begun fails',
  async (t) => {
    const pair = primaries();
    pair.b.hold(STREAM.Data);
    const [own, other] = [pair.b.submit(OP.Write, 8, block(0xaa)), pair.a.submit(OP.Write, 0, block(0xbb, 12288))];
    pair.rest();
    const behind = pair.a.submit(OP.Write, 8, block(0xcc, 12288));
    pair.rest();
    const op = pair.a.control({ command: 'secondary', openVolumes: [0], force: true });
    pair.rest();
    t.equal(pair.a.code(op), 'pending', 'it waits for the write of the other node');
    pair.b.arrive(STREAM.Data);
    pair.rest();
    t.equal(pair.a.code(op), 'ok');
    t.strictSame([done(pair.b, own), done(pair.a, other), done(pair.a, behind)], [0, 5, 5]);
    for (const node of pair.nodes) t.strictSame(blocks(node, 0, 4), [0xbb, 0xbb, 0xbb, 0]);
    t.ok(areEqual(pair));
    for (const { core } of pair.nodes) t.equal(core.snapshot(clock.now).connections[0]!.peerDevices[0]!.outOfSyncSectors, 0);
    pair.run(2000);
    t.ok(allSlotsAreBack(pair));
  },
);

t.test('two resolvers turn each other down: a write that nobody replaces is sent again', async (t) => {
  // A kernel turns a write down for one that we have answered already, as long as its own disk works on that.
  const pair = primaries();
  pair.a.core.connections[0]!.resolveConflicts = true;
  const slots = [pair.a.submit(OP.Write, 0, block(0xaa)), pair.b.submit(OP.Write, 0, block(0xbb))];
  pair.rest();
  t.strictSame([done(pair.a, slots[0]!), done(pair.b, slots[1]!)], [undefined, undefined], 'each waits for the other one');
  pair.run(1000);
  pair.a.core.connections[0]!.resolveConflicts = false;
  pair.run(3000);
  t.strictSame([done(pair.a, slots[0]!), done(pair.b, slots[1]!)], [0, 0]);
  t.ok(areEqual(pair));
  t.ok(allSlotsAreBack(pair));
});

/** A packet of a crafted peer. */
function packetOf(command: number, length: number, put: (view: DataView, at: number) => void): Uint8Array {
  const bytes = new Uint8Array(16 + length).fill(0xee);
  const view = new DataView(bytes.buffer);
  put(view, putHeader(view, 0, HEADER_KIND.H100, 0, command, length));
  return bytes;
}

const dataPacket = (sector: number, lengthBytes: number, id: number, seq: number): Uint8Array =>
  packetOf(COMMAND.P_DATA, 24 + lengthBytes, (view, at) => putPData(view, at, sector, 0, id, seq, 0));

/** `a` opposite a kernel that decides, and that says what the test says. */
function oppositeKernel() {
  const pair = primaries();
  const { a } = pair;
  a.core.connections[0]!.isPeerGenuine = true;
  a.hold(STREAM.Data);
  a.hold(STREAM.Meta);
  const writes: { readonly sector: number; readonly idHigh: number; readonly idLow: number; readonly bytes: number }[] = [];
  const barriers: number[] = [];
  a.onSend = (_stream, view) => {
    if (view.getUint16(6) === COMMAND.P_BARRIER) barriers.push(pBarrierNumber(view, 16));
    if (view.getUint16(6) !== COMMAND.P_DATA) return;
    const bytes = view.getUint32(8) - 24;
    writes.push({ sector: pDataSector(view, 16), idHigh: pDataBlockIdHigh(view, 16), idLow: pDataBlockIdLow(view, 16), bytes });
  };
  let seq = a.core.connections[0]!.peerDevices[0]!.peerSeq;
  const answers = (command: number, nth: number): void => {
    const { sector, idHigh, idLow, bytes } = writes[nth]!;
    a.deliver(
      STREAM.Meta,
      packetOf(command, 24, (view, at) => putPBlockAck(view, at, sector, idHigh, idLow, bytes, ++seq)),
    );
    pair.rest();
  };
  const itWrites = (sector: number, bytes: number): void => {
    a.deliver(STREAM.Data, dataPacket(sector, bytes, 0x77, ++seq));
    pair.rest();
  };
  const acksBarrier = (barrier: number, size: number): void => {
    a.deliver(
      STREAM.Meta,
      packetOf(COMMAND.P_BARRIER_ACK, 8, (view, at) => putPBarrierAck(view, at, barrier, size)),
    );
    pair.rest();
  };
  return { pair, a, writes, barriers, answers, itWrites, acksBarrier };
}

t.test('a kernel never acks an epoch in which it turned a write down: the ack of the next one is not out of order', async (t) => {
  for (const command of [COMMAND.P_SUPERSEDED, COMMAND.P_RETRY_WRITE]) {
    const { pair, a, writes, barriers, answers, itWrites, acksBarrier } = oppositeKernel();
    const slots = [a.submit(OP.Write, 0, block(1)), a.submit(OP.Write, 64, block(2))];
    pair.rest();
    t.equal(a.core.requests.epoch[slots[0]!], a.core.requests.epoch[slots[1]!], 'both are of one epoch');
    answers(command, 0);
    itWrites(0, 4096);
    answers(COMMAND.P_WRITE_ACK, 1);
    if (command === COMMAND.P_RETRY_WRITE) {
      t.equal(writes.length, 3, 'sent again');
      answers(COMMAND.P_WRITE_ACK, 2);
    }
    t.strictSame([done(a, slots[0]!), done(a, slots[1]!)], [0, 0]);
    t.equal(a.disk[0], command === COMMAND.P_SUPERSEDED ? 0xee : 1, 'the last one is where it belongs');
    const last = a.submit(OP.Write, 128, block(3));
    pair.rest();
    answers(COMMAND.P_WRITE_ACK, writes.length - 1);
    t.equal(done(a, last), 0);
    a.submit(OP.Flush, 0, 0);
    pair.rest();
    // Of the first epoch nothing is said.
    for (const [i, barrier] of barriers.entries()) if (i > 0) acksBarrier(barrier, 1);
    t.notMatch(a.logs.join('\n'), /BAD!|PingAck|conn\( Connected ->/);
    t.ok(a.linked, 'the connection stands');
    t.equal(a.core.connections[0]!.logHead, -1, 'nothing of it is waited for');
    t.equal(a.core.requests.freeApplicationSlots, 64);
  }
});

t.test('a kernel asks for a write again whose rival we have written and acked long ago', async (t) => {
  const { pair, a, writes, answers, itWrites } = oppositeKernel();
  const slot = a.submit(OP.Write, 0, block(1, 8192));
  pair.rest();
  itWrites(8, 8192);
  answers(COMMAND.P_RETRY_WRITE, 0);
  pair.run(1000);
  t.equal(writes.length, 2, 'nothing else has to happen: it is sent again');
  answers(COMMAND.P_WRITE_ACK, 1);
  t.equal(done(a, slot), 0);
  t.ok(a.linked);
});

t.test('a peer that writes on and on where ours has no answer yet is remembered within bounds', async (t) => {
  const pair = primaries();
  const { b } = pair;
  const c = b.core.connections[0]!;
  // Ours does not arrive, so that it is not answered; nor do our answers, which nobody has asked for.
  b.hold(STREAM.Data);
  b.hold(STREAM.Meta);
  b.submit(OP.Write, 0, block(0xbb));
  pair.rest();
  const seq = c.peerDevices[0]!.peerSeq;
  let most = 0;
  for (let i = 1; i <= 1000; i++) {
    b.deliver(STREAM.Data, dataPacket(0, 512, i, seq + i));
    pair.rest();
    most = Math.max(most, c.turnedDown.length);
  }
  t.ok(most >= 64 && most <= 128, `${most} turned down`);
  t.ok(b.incoming[STREAM.Data].length > 800 * 552, 'the rest waits');
  b.arrive(STREAM.Data);
  pair.rest();
  t.equal(c.turnedDown.length, 0, 'ours is answered: all are past it');
  t.equal(b.incoming[STREAM.Data].length, 0, 'and what waited has come');
  t.equal(b.disk[0], 0xee);
});
