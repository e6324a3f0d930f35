/**
 * Streams into a core in every state of its connection: two cores talk to each other, and some packets on the way to one of them are changed,
 * doubled, lost, or replaced by others. Whatever comes, the core does not throw, comes to rest, gives everything back, and its own disk is served.
 */

import { type ControlRequest, OP } from '../../packages/replication/src/index.js';
import { type MemoryNode, Pair } from '../../packages/replication/src/testing/pair.js';
import { FF, HEADER_KIND, MAGIC_80, MAGIC_95 } from '../../packages/wire/src/index.js';
import { type FieldAt, mutateBytes, Prng } from './mutate.js';
import { type Fuzzer, holds, type Target } from './target.js';
import { fieldsOf, type RecordedPacket, recordedPackets } from './wire-targets.js';

const SECTORS = 1024;
const BLOCK = 4096;

type Attack = (stream: number, bytes: Uint8Array) => Uint8Array;

/** Fields of the first packet of what arrives. */
function fieldsIn(bytes: Uint8Array): readonly FieldAt[] {
  if (bytes.length < 8) return [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0) === MAGIC_80) return fieldsOf(view.getUint16(4), HEADER_KIND.H80);
  if (view.getUint16(0) === MAGIC_95) return fieldsOf(view.getUint16(2), HEADER_KIND.H95);
  return fieldsOf(view.getUint16(6), HEADER_KIND.H100);
}

/** A packet of another conversation, with the header that this one uses. */
function foreign(prng: Prng, recorded: readonly RecordedPacket[]): Uint8Array {
  const packet = prng.pick(recorded);
  return prng.chance(60) ? mutateBytes(prng, packet.bytes, packet.fields, 1 << 16) : packet.bytes.slice();
}

function attack(prng: Prng, recorded: readonly RecordedPacket[]): Attack {
  const begins = prng.below(prng.pick([1, 4, 12, 40]));
  const rate = prng.pick([5, 30, 100]);
  let left = 1 + prng.below(8);
  let number = 0;
  return (_stream, bytes) => {
    if (number++ < begins || left === 0 || !prng.chance(rate)) return bytes;
    left--;
    switch (prng.below(8)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return mutateBytes(prng, bytes, fieldsIn(bytes));
      case 4:
        return Buffer.concat([bytes, bytes]);
      case 5:
        return new Uint8Array(0);
      case 6:
        return foreign(prng, recorded);
      default:
        return prng.chance(50) ? Buffer.concat([foreign(prng, recorded), bytes]) : Buffer.concat([bytes, foreign(prng, recorded)]);
    }
  };
}

/** Everything that arrives at a node goes through the attack. */
function intercept(node: MemoryNode, change: Attack): void {
  const deliver = node.deliver.bind(node);
  node.deliver = (stream, bytes) => deliver(stream, bytes.length === 0 ? bytes : change(stream, bytes));
}

/** Commands to either node, requests of its application, and time. */
function step(prng: Prng, pair: Pair): void {
  const node = prng.pick(pair.nodes);
  const say = (request: ControlRequest): void => void node.control(request);
  const connection = 0;
  const volume = 0;
  switch (prng.below(16)) {
    case 0:
      return say({ command: 'primary', force: prng.chance(50) });
    case 1:
      return say({ command: 'secondary', openVolumes: [], force: false });
    case 2:
      return say({ command: 'disconnect', connection, force: prng.chance(50) });
    case 3:
    case 4:
      for (const each of pair.nodes) each.control({ command: 'connect', connection, tentative: false, discardMyData: prng.chance(10) });
      return;
    case 5:
      return say({ command: 'invalidate', volume });
    case 6:
      return say({ command: 'invalidate-remote', connection, volume });
    case 7:
      return say({ command: 'verify', connection, volume, start: 0, stop: undefined });
    case 8:
      return say({ command: prng.chance(50) ? 'pause-sync' : 'resume-sync', connection, volume });
    case 9:
      pair.partition();
      return pair.heal();
    case 10:
      return pair.run(prng.pick([10, 500, 6000]));
    case 11:
      return say({ command: 'resize', volume, size: prng.pick([0, 500]), assumePeerHasSpace: prng.chance(20), assumeClean: false });
    case 12:
      return say({ command: 'new-current-uuid', volume, clearBitmap: prng.chance(70), forceResync: prng.chance(30) });
    default: {
      const primary = pair.nodes.find((each) => each.core.snapshot(0).role === 'Primary') ?? node;
      if (!primary.core.ioReady(volume) || primary.core.requests.freeApplicationSlots < 8) return;
      const op = prng.pick([OP.Write, OP.Write, OP.Write, OP.Read, OP.Discard, OP.WriteZeroes, OP.Flush]);
      const end = Math.min(SECTORS, primary.core.snapshot(0).volumes[0]!.sizeSectors) & ~7;
      if (end < 16) return;
      const sector = op === OP.Flush ? 0 : 8 * prng.below(end / 8 - 1);
      const length = op === OP.Flush ? 0 : BLOCK;
      primary.submit(op, sector, op === OP.Write ? new Uint8Array(BLOCK).fill(prng.below(256)) : length);
    }
  }
}

function converse(prng: Prng, recorded: readonly RecordedPacket[]): Pair {
  // DRBD 8.4 is the usual peer.
  const pair = new Pair(SECTORS, prng.chance(30) ? { min: 86, max: prng.pick([95, 96, 97, 98, 99, 100]) } : undefined);
  const algorithms = ['', '', 'sha1', 'crc32c'];
  pair.configure(
    {
      protocol: prng.pick(['A', 'B', 'C']),
      'data-integrity-alg': prng.pick(algorithms),
      'csums-alg': prng.pick(algorithms),
      'verify-alg': prng.pick(['sha1', 'crc32c']),
      'use-rle': prng.chance(50),
      'allow-two-primaries': false,
      'cram-hmac-alg': prng.chance(20) ? 'sha1' : '',
      'shared-secret': 'secret',
      'after-sb-0pri': prng.pick(['disconnect', 'discard-zero-changes', 'discard-least-changes']),
      'rr-conflict': prng.pick(['disconnect', 'retry-connect']),
      'on-congestion': 'block',
    },
    { 'resync-rate': prng.pick([100, 4_000_000]), 'c-plan-ahead': prng.pick([0, 20]) },
  );
  if (prng.chance(75)) prepare(prng, pair);
  intercept(pair.a, attack(prng, recorded));
  if (prng.chance(30)) intercept(pair.b, attack(prng, recorded));
  pair.connect();
  for (let n = 2 + prng.below(20); n > 0; n--) {
    step(prng, pair);
    pair.rest();
  }
  return pair;
}

/** Before anything goes wrong: two nodes that are in sync, then one of what may go on between them. */
function prepare(prng: Prng, pair: Pair): void {
  const [first, second] = prng.chance(50) ? [pair.a, pair.b] : [pair.b, pair.a];
  pair.connect();
  first.control({ command: 'primary', force: true });
  pair.run(30_000);
  switch (prng.below(6)) {
    case 0:
      first.control({ command: 'secondary', openVolumes: [], force: false });
      break;
    case 1:
      // A resync follows when they meet again.
      pair.partition();
      for (let n = prng.below(12); n > 0; n--) first.submit(OP.Write, 8 * prng.below(100), new Uint8Array(BLOCK).fill(n));
      pair.rest();
      if (prng.chance(50)) pair.heal();
      break;
    case 2:
      second.control({ command: 'verify', connection: 0, volume: 0, start: 0, stop: undefined });
      break;
    case 3:
      second.control({ command: 'invalidate', volume: 0 });
      break;
    case 4:
      first.control({ command: 'detach', volume: 0, force: false });
      break;
    default:
      for (let n = prng.below(8); n > 0; n--) first.submit(OP.Write, 8 * prng.below(100), new Uint8Array(BLOCK).fill(n));
  }
  pair.rest();
}

/** Without a peer everything has to come to an end. */
function settle(pair: Pair): void {
  pair.run(3000);
  for (const node of pair.nodes) node.control({ command: 'disconnect', connection: 0, force: true });
  pair.rest();
  pair.partition();
  pair.run(70_000);
  for (const node of pair.nodes) {
    const snapshot = node.core.snapshot(0);
    const { requests } = node.core;
    const volume = snapshot.volumes[0]!;
    holds(snapshot.connections[0]!.state === 'StandAlone', `${node.name} is ${snapshot.connections[0]!.state} after disconnect --force`);
    holds(requests.freePeerSlots === requests.capacity - requests.applicationSlots, `${node.name}: slots of the peer are given back`);
    const isWaiting = snapshot.suspendedFencing || snapshot.suspendedUser || snapshot.suspendedNoData;
    if (!isWaiting)
      holds(requests.freeApplicationSlots === requests.applicationSlots, `${node.name}: all requests of the application have ended`);
    // Who has no disk has but the peer's word.
    if (volume.diskState === 'Diskless') holds(Number.isSafeInteger(volume.sizeSectors), `${node.name}: a size`);
    else holds(volume.sizeSectors <= SECTORS, `${node.name}: the device is no larger than its disk`);
  }
}

export const conversations: Target = {
  name: 'conversations',
  what: 'streams into a core in every state of a connection, changed on their way',
  short: 80,
  open: (): Fuzzer => {
    const recorded = recordedPackets().filter(({ apv, features }) => apv >= 100 && (features & FF.WSAME) !== 0);
    const kinds = recorded.length > 0 ? recorded : recordedPackets();
    return {
      input: (seed) => new TextEncoder().encode(`conversation ${seed}\n`),
      run: (seed) => settle(converse(new Prng(seed), kinds)),
    };
  },
};
