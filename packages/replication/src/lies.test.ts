// A peer that says what it should not: what was found by conversations with changed packets (conformance/wire/mutations.ts).
import { COMMAND, HEADER_KIND, putHeader, putPBarrierAck } from '@udrbd/wire';
import t from 'tap';
import { STREAM } from './host.js';
import { OP } from './requests.js';
import { clock, type MemoryNode, Pair } from './testing/pair.js';

function synced(net: Record<string, string | boolean> = {}): Pair {
  const pair = new Pair();
  pair.configure({ protocol: 'C', ...net });
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(30_000);
  return pair;
}

/** A packet of 8 bytes behind an h100 header. */
function packet(command: number, put: (view: DataView, at: number) => void): Uint8Array {
  const bytes = new Uint8Array(24);
  const view = new DataView(bytes.buffer);
  putHeader(view, 0, HEADER_KIND.H100, 0, command, 8);
  put(view, 16);
  return bytes;
}

const request = (mask: number, val: number): Uint8Array =>
  packet(COMMAND.P_STATE_CHG_REQ, (view, at) => {
    view.setUint32(at, mask);
    view.setUint32(at + 4, val);
  });

/** Codes of the answers to state change requests. */
function answersOf(node: MemoryNode): number[] {
  const codes: number[] = [];
  node.onSend = (_stream, view) => {
    if (view.getUint16(6) === COMMAND.P_STATE_CHG_REPLY) codes.push(view.getInt32(16));
  };
  return codes;
}

t.test('state changes that no node asks for are refused', async (t) => {
  const { a, b } = synced();
  const codes = answersOf(b);
  const before = b.core.snapshot(clock.now).volumes[0]!.diskState;
  const asked = [
    [0x1f0, 0x1f0, 'a mask as connection state'],
    [0x1f0, 22 << 4, 'Ahead'],
    [0x1f0, 10 << 4, 'Connected'],
    [0x00c, 0x004, 'our role'],
    [0x1e000, 0x10000, 'our disk UpToDate'],
    [0x1e000, 0, 'our disk Diskless'],
    [0x1e00, 0x1e00, 'a mask as state of its disk'],
    [0x1e00, 0x0600, 'Negotiating'],
    [3, 3, 'a mask as role'],
    [0x1f0, 7 << 4, 'TearDown, which has a packet of its own'],
  ] as const;
  for (const [mask, val] of asked) {
    b.deliver(STREAM.Data, request(mask, val));
    b.step();
  }
  t.strictSame(
    codes,
    asked.map(() => -17),
  );
  t.equal(b.core.snapshot(clock.now).volumes[0]!.diskState, before);
  t.equal(b.core.role, 2);
  a.step();
});

t.test('a state with masks in it ends the link', async (t) => {
  for (const state of [0x1f0, 0x1e00, 0x1e000, 3]) {
    const pair = synced();
    const bytes = packet(COMMAND.P_STATE, (view, at) => view.setUint32(at, state)).subarray(0, 20);
    new DataView(bytes.buffer).setUint32(8, 4);
    pair.b.deliver(STREAM.Data, bytes);
    pair.run(5000);
    t.match(pair.b.logs.join('\n'), /bad state 0x/);
    t.match(pair.state(pair.b), /^Connected/, 'and a new one begins');
  }
});

const barrierAck = (epoch: number, size: number): Uint8Array =>
  packet(COMMAND.P_BARRIER_ACK, (view, at) => putPBarrierAck(view, at, epoch, size));

t.test('an epoch is not acked before its writes', async (t) => {
  const pair = synced();
  const { a, b } = pair;
  b.holdWrites = true;
  const slot = a.submit(OP.Write, 8, new Uint8Array(4096).fill(1));
  pair.rest();
  // As a flush does it: the epoch is closed.
  a.submit(OP.Flush, 0, 0);
  pair.rest();
  a.deliver(STREAM.Meta, barrierAck(a.core.requests.epoch[slot]!, 1));
  pair.rest();
  t.match(a.logs.join('\n'), /BAD! BarrierAck #\d+ received, but a write of it has no ack!/);
  b.holdWrites = false;
  for (const held of b.heldWrites.splice(0)) b.core.diskDone(clock.now, held, 0);
  pair.run(10_000);
  t.ok(
    a.completions.some((c) => c.slot === slot && c.errno === 0),
    'it completes all the same',
  );
  t.equal(pair.state(a), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
  t.equal(a.core.requests.freeApplicationSlots, a.core.requests.applicationSlots, 'no slot is lost');
});

t.test('the link ends before the host has told that an acked write was sent', async (t) => {
  for (const protocol of ['A', 'C']) {
    const pair = synced({ protocol });
    const { a } = pair;
    a.holdSendDone = true;
    const slot = a.submit(OP.Write, 8, new Uint8Array(4096).fill(1));
    pair.rest();
    a.submit(OP.Flush, 0, 0);
    pair.run(100);
    t.equal(a.core.connections[0]!.logHead, -1, 'the epoch is acked');
    t.notOk(a.completions.some((c) => c.slot === slot));
    a.cut('network-failure', 'network-failure');
    a.holdSendDone = false;
    pair.run(10_000);
    t.ok(
      a.completions.some((c) => c.slot === slot && c.errno === 0),
      `protocol ${protocol}`,
    );
    t.equal(a.core.requests.freeApplicationSlots, a.core.requests.applicationSlots);
  }
});

t.test('a write that waited while the disk went is refused', async (t) => {
  const pair = synced();
  const { a, b } = pair;
  b.holdWrites = true;
  a.submit(OP.Write, 8, new Uint8Array(4096).fill(1));
  pair.rest();
  // Behind the first one, to the same block.
  a.submit(OP.Write, 8, new Uint8Array(4096).fill(2));
  pair.rest();
  b.control({ command: 'detach', volume: 0, force: true });
  pair.rest();
  b.holdWrites = false;
  b.diskReturns();
  pair.run(5000);
  t.strictSame(b.stray, []);
  t.match(pair.state(b), /Diskless/);
  t.equal(a.completions.filter(({ errno }) => errno === 0).length, 2);
});

t.test('packets for volumes that are not there fill no log', async (t) => {
  const { a, b } = synced();
  const said = (): string[] => b.logs.filter((line) => line.includes('which is not configured locally'));
  const state = new Uint8Array(20);
  const view = new DataView(state.buffer);
  for (let volume = 1; volume <= 1000; volume++) {
    putHeader(view, 0, HEADER_KIND.H100, volume, COMMAND.P_STATE, 4);
    b.deliver(STREAM.Data, state);
    b.step();
  }
  t.equal(said().length, 10);
  t.match(said()[9], /volume 10, which is not configured locally$/);
  clock.now += 5000;
  b.deliver(STREAM.Data, state);
  b.step();
  t.match(said()[10], /volume 1000, which is not configured locally \(and 990 more since the last line like this\)$/);
  t.ok(a.linked, 'it is no reason to part');
});
