/**
 * Conversations of two nodes in which one of them says what it should not: fields changed, packets left out, doubled, moved,
 * invented. The other one may refuse and begin anew, but it keeps these promises:
 *
 * - it does not throw, and comes to rest
 * - it reads and writes within its device only
 * - it acks no write of the peer that is not on its disk, and completes no write of its application that is not on its good disk
 * - what it remembers is bounded by its slots
 * - afterwards it can be taken down, and has every slot back
 *
 * Two kinds: live ones between two cores, with an administrator and applications, and the recorded ones of two kernels, where ours
 * sits in the place of one of the two.
 */

import { MDF } from '@udrbd/metadata';
import {
  COMMAND,
  D84,
  DRBD_PROT,
  decodeHeader,
  decodeStruct,
  HEADER_KIND,
  type HeaderKind,
  headerBytesOf,
  headerKindOf,
  MAGIC_100,
  P_PROTOCOL,
  P_REQ_STATE,
  P_RS_PARAM_89,
  P_SIZES,
  P_STATE,
  P_UUIDS,
  PACKETS,
  PacketHeader,
  type Placed,
  packetNameOf,
  putHeader,
  readName,
  STRUCTURES,
  unpackState,
} from '@udrbd/wire';
import { EFFECT, OP, STREAM, type Stream } from '../../packages/replication/src/index.js';
import { DISK, ROLE } from '../../packages/replication/src/state-view.js';
import { clock, digestOf, MemoryNode, network, Pair, type SentPacket } from '../../packages/replication/src/testing/pair.js';
import { Prng } from '../drbdmeta/operations.js';
import { type Conversation, conversations, type RecordedPacket } from './recordings.js';

/** A promise that was not kept. */
export class PromiseBroken extends Error {
  override readonly name = 'PromiseBroken';
}

function holds(condition: boolean, what: () => string): asserts condition {
  if (!condition) throw new PromiseBroken(what());
}

const SECTORS = 1024;
const COMMANDS = Object.values(PACKETS).map(({ command }) => command);
const STRUCTURE_BY_COMMAND = new Map<number, readonly Placed[]>(
  Object.entries(STRUCTURES).map(([name, table]) => [COMMAND[name as keyof typeof COMMAND], Object.values(table.at) as Placed[]]),
);

// --- mutations -----------------------------------------------------------------------------------------------------------

const EDGES = [
  0,
  1,
  2,
  7,
  8,
  511,
  512,
  4095,
  4096,
  8192,
  0xffff,
  0x1_0000,
  128 << 10,
  1 << 20,
  128 << 20,
  0x7fff_ffff,
  0x8000_0000,
  0xffff_ffff,
];

/** Near the end of the device, an edge, close to what it was, a bit of it, or anything. */
function changeField(prng: Prng, bytes: Uint8Array, offset: number, width: number): void {
  if (offset + width > bytes.length || width > 8) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const low = width === 8 ? offset + 4 : offset;
  const set = (value: number): void => {
    if (width === 8) view.setUint32(offset, prng.chance(10) ? 0xffff_ffff : 0);
    if (width === 1) view.setUint8(low, value);
    else if (width === 2) view.setUint16(low, value);
    else view.setUint32(low, value >>> 0);
  };
  switch (prng.below(5)) {
    case 0:
      return set(SECTORS - prng.below(200));
    case 1:
      return set(prng.pick(EDGES));
    case 2:
      return set(
        (width === 1 ? view.getUint8(low) : width === 2 ? view.getUint16(low) : view.getUint32(low)) + prng.pick([-8, -1, 1, 8, 512]),
      );
    case 3:
      bytes[offset + prng.below(width)]! ^= 1 << prng.below(8);
      return;
    default:
      for (let i = 0; i < width; i++) bytes[offset + i] = prng.below(256);
  }
}

/** A packet of any kind, with anything in its fields. */
function invented(prng: Prng, kind: HeaderKind): Uint8Array {
  const name = packetNameOf(prng.pick(COMMANDS))!;
  const { command, size, tail } = PACKETS[name];
  const extra = tail === 'none' ? 0 : tail === 'data' ? 512 * prng.below(9) : prng.below(64);
  const bytes = new Uint8Array(headerBytesOf(kind) + size + extra);
  putHeader(new DataView(bytes.buffer), 0, kind, prng.chance(90) ? 0 : prng.below(3), command & 0xffff, size + extra);
  for (const { offset, width } of STRUCTURE_BY_COMMAND.get(command) ?? []) changeField(prng, bytes, headerBytesOf(kind) + offset, width);
  for (let i = bytes.length - extra; i < bytes.length; i++) bytes[i] = prng.below(256);
  return bytes;
}

const REMEMBERED = 20;

/** Keeps some packets to be said again later. */
function remember(packets: SentPacket[], place: number, packet: SentPacket): void {
  if (packets.length < REMEMBERED) packets.push(packet);
  else packets[place % REMEMBERED] = packet;
}

/** @returns what takes the place of a packet */
function mutate(prng: Prng, stream: Stream, packet: Uint8Array, kind: HeaderKind, remembered: readonly SentPacket[]): SentPacket[] {
  const header = new PacketHeader();
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const isWhole = decodeHeader(view, 0, packet.length, kind, header) === 0;
  const same = { stream, bytes: packet };
  const bytes = new Uint8Array(packet);
  const changed = { stream, bytes };
  const roll = prng.below(100);
  if (roll < 55) {
    const fields = isWhole ? (STRUCTURE_BY_COMMAND.get(header.command) ?? []) : [];
    if (fields.length === 0) changeField(prng, bytes, 4 * prng.below(4), prng.pick([2, 4]));
    for (let n = prng.chance(75) ? 1 : 2 + prng.below(3); n > 0 && fields.length > 0; n--) {
      const { offset, width } = prng.pick(fields);
      changeField(prng, bytes, header.headerBytes + offset, width);
    }
    return [changed];
  }
  if (roll < 62) {
    changeField(prng, bytes, prng.pick([0, 2, 4, 6, 8, 12]), prng.pick([2, 4]));
    return [changed];
  }
  if (roll < 68) {
    // Any byte, the payload included.
    bytes[prng.below(bytes.length)]! ^= 1 << prng.below(8);
    return [changed];
  }
  if (roll < 74) return [];
  if (roll < 80) return Array.from({ length: prng.chance(95) ? 2 : 300 }, () => same);
  if (roll < 84) return [{ stream: stream === STREAM.Data ? STREAM.Meta : STREAM.Data, bytes }];
  if (roll < 88) return [{ stream, bytes: bytes.subarray(0, prng.below(bytes.length)) }];
  if (roll < 94 && remembered.length > 0) return prng.chance(50) ? [same, prng.pick(remembered)] : [prng.pick(remembered), same];
  return [same, { stream: prng.chance(50) ? STREAM.Data : STREAM.Meta, bytes: invented(prng, kind) }];
}

// --- promises ------------------------------------------------------------------------------------------------------------

/** Watches one node. */
class Witness {
  readonly #node: MemoryNode;
  /** Writes of the peer that are on the disk and were not acked, by place. */
  readonly #written = new Map<string, number>();
  /** Slots of the application whose write has gone to the disk. */
  readonly #local = new Set<number>();
  #answerable = 0;
  #barrierAcked = 0;

  constructor(node: MemoryNode) {
    this.#node = node;
    node.onEffect = (kind, slot, value) => this.#effect(kind, slot, value);
    const header = new PacketHeader();
    node.onSend = (stream, view) => {
      if (stream === STREAM.Meta) this.#sent(view, header);
    };
  }

  #effect(kind: number, slot: number, value: number): void {
    const { core } = this.#node;
    const { requests } = core;
    const sector = requests.sector[slot]!;
    const length = requests.lengthBytes[slot]!;
    const isPeer = slot >= requests.applicationSlots;
    switch (kind) {
      case EFFECT.DiskRead:
      case EFFECT.DiskWrite:
      case EFFECT.DiskDiscard:
      case EFFECT.DiskWriteZeroes: {
        const volume = core.volumes.get(requests.volume[slot]!)!;
        const end = sector + length / 512;
        const isInside = sector >= 0 && length > 0 && Number.isInteger(end) && end <= (volume.disk?.usableSectors ?? 0);
        holds(isInside, () => `disk effect ${kind} at sector ${sector}, ${length} bytes, usable ${volume.disk?.usableSectors}`);
        if (kind === EFFECT.DiskRead) return;
        if (!isPeer) {
          this.#local.add(slot);
          return;
        }
        const place = `${sector}+${length}`;
        this.#written.set(place, (this.#written.get(place) ?? 0) + 1);
        this.#answerable++;
        return;
      }
      case EFFECT.AllocateBuffer:
        holds(value <= 1 << 20, () => `a buffer of ${value} bytes`);
        return;
      case EFFECT.Complete: {
        const volume = core.volumes.get(requests.volume[slot]!);
        const isGood = volume === undefined || volume.diskState !== DISK.UpToDate || this.#local.delete(slot);
        // The slot may be in use again only after its answer: what it is about is still there.
        if (value === 0 && requests.op[slot] === OP.Write) holds(isGood, () => `write of slot ${slot} completed, and not on the disk`);
        this.#local.delete(slot);
      }
    }
  }

  #sent(view: DataView, header: PacketHeader): void {
    const kind = this.#node.core.connections[0]!.headerKind;
    if (decodeHeader(view, 0, view.byteLength, kind, header) !== 0) throw new PromiseBroken('we sent something that is no packet');
    const at = header.headerBytes;
    switch (header.command) {
      case COMMAND.P_WRITE_ACK:
      case COMMAND.P_RS_WRITE_ACK: {
        const place = `${view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4)}+${view.getUint32(at + 16)}`;
        const left = this.#written.get(place) ?? 0;
        holds(left > 0, () => `write ${place} acked, and not on the disk`);
        this.#written.set(place, left - 1);
        return;
      }
      case COMMAND.P_NEG_ACK:
        this.#answerable++;
        return;
      case COMMAND.P_BARRIER_ACK:
        this.#barrierAcked += view.getUint32(at + 4);
        holds(this.#barrierAcked <= this.#answerable, () => `barriers acked for ${this.#barrierAcked} writes of ${this.#answerable}`);
    }
  }

  /** What may grow is bounded. */
  checkMemory(): void {
    const { core, buffers } = this.#node;
    const { capacity } = core.requests;
    holds(buffers.size <= capacity, () => `${buffers.size} buffers`);
    for (const c of core.connections) {
      if (c === undefined) continue;
      const lists = {
        receiveEpochs: c.receiveEpochs,
        dueBarrierAcks: c.dueBarrierAcks,
        turnedDown: c.turnedDown,
        beneath: c.beneath,
        heldReads: c.heldReads,
        flushWaiters: c.flushWaiters,
      };
      for (const [name, list] of Object.entries(lists)) holds(list.length <= capacity + 1, () => `${list.length} ${name}`);
      for (const pd of c.peerDevices) {
        const own = {
          contested: pd.contested,
          resyncRequests: pd.resyncRequests,
          verifyRequests: pd.verifyRequests,
          verifyWaiting: pd.verifyWaiting,
        };
        for (const [name, list] of Object.entries(own)) holds(list.length <= capacity, () => `${list.length} ${name}`);
      }
    }
  }

  /** It can be taken down, and nothing is left. */
  takeDown(run: (ms: number) => void): void {
    const node = this.#node;
    const { core } = node;
    const steps = [
      { command: 'resume-io' },
      { command: 'disconnect', connection: 0, force: true },
      { command: 'secondary', openVolumes: [], force: true },
      { command: 'closed' },
      { command: 'detach', volume: 0, force: true },
      { command: 'del-peer', connection: 0 },
      { command: 'del-minor', volume: 0 },
    ] as const;
    for (const step of steps) {
      const operation = node.control(step);
      run(3000);
      const code = node.code(operation);
      holds(code === 'ok' || (step.command === 'detach' && code === 'SS_NOTHING_TO_DO'), () => `${step.command}: ${code}`);
    }
    const { freePeerSlots, freeApplicationSlots, capacity, applicationSlots } = core.requests;
    holds(freePeerSlots === capacity - applicationSlots, () => `${capacity - applicationSlots - freePeerSlots} slots of the peer are lost`);
    holds(freeApplicationSlots === applicationSlots, () => `${applicationSlots - freeApplicationSlots} slots of the application are lost`);
  }
}

// --- live conversations --------------------------------------------------------------------------------------------------

const VERSIONS = [101, 101, 101, 100, 97, 96, 95] as const;

function netOptions(prng: Prng, version: number): Record<string, string | number | boolean> {
  const protocol = prng.pick(['A', 'B', 'C', 'C'] as const);
  const twoPrimaries = protocol === 'C' && version >= 100 && prng.chance(40);
  return {
    protocol,
    'allow-two-primaries': twoPrimaries,
    'after-sb-0pri': prng.pick(['disconnect', 'discard-zero-changes', 'discard-least-changes', 'discard-younger-primary']),
    'after-sb-1pri': prng.pick(['disconnect', 'consensus', 'discard-secondary']),
    'always-asbp': prng.chance(50),
    'rr-conflict': prng.pick(['disconnect', 'retry-connect']),
    'verify-alg': prng.pick(['', 'crc32c', 'sha1']),
    'csums-alg': prng.pick(['', 'crc32c', 'md5']),
    'data-integrity-alg': prng.pick(['', '', '', 'crc32c']),
    'use-rle': prng.chance(50),
    ...(prng.chance(15) ? { 'cram-hmac-alg': 'sha1', 'shared-secret': 'of both' } : {}),
    ...(protocol === 'A' ? { 'on-congestion': prng.pick(['block', 'pull-ahead']), 'congestion-fill': 16 } : {}),
  };
}

interface Liar {
  mutations: number;
  isLying: boolean;
}

/** From now on a node lies now and then, most about what it says seldom. */
function makeLiar(prng: Prng, node: MemoryNode, most: number): Liar {
  const liar: Liar = { mutations: 0, isLying: true };
  const said = new Map<number, number>();
  const remembered: SentPacket[] = [];
  node.mangle = (stream, packet) => {
    const same = [{ stream, bytes: packet }];
    const kind = packet[0] === 0x86 ? HEADER_KIND.H100 : HEADER_KIND.H95;
    const command =
      kind === HEADER_KIND.H100
        ? packet[6]! * 256 + packet[7]!
        : packet[1] === 0x5a
          ? packet[2]! * 256 + packet[3]!
          : packet[4]! * 256 + packet[5]!;
    const times = said.get(command) ?? 0;
    said.set(command, times + 1);
    if (packet.length < 5000) remember(remembered, prng.below(REMEMBERED), { stream, bytes: packet });
    const isDue = liar.isLying && liar.mutations < most && prng.below(100 + times * 10) < 15;
    if (!isDue) return same;
    liar.mutations++;
    return mutate(prng, stream, packet, kind, remembered);
  };
  return liar;
}

/** What an administrator and the applications do; refusals are as good as anything else. */
function act(prng: Prng, pair: Pair): void {
  const { a, b } = pair;
  const node = prng.pick([a, b]);
  const sector = 8 * prng.below(60);
  const volume = node.core.volumes.get(0)!;
  const some = [8, 16, 64, 300].filter((sectors) => sector + sectors <= volume.sizeSectors);
  const write = (who: MemoryNode): void => {
    if (who.core.role !== ROLE.Primary || some.length === 0 || who.core.requests.freeApplicationSlots < 4) return;
    const sectors = prng.pick(some);
    const op = prng.pick([OP.Write, OP.Write, OP.Write, OP.Write, OP.Discard, OP.WriteZeroes, OP.Flush, OP.Read]);
    who.submit(
      op,
      op === OP.Flush ? 0 : sector,
      op === OP.Write ? new Uint8Array(sectors * 512).fill(prng.below(256)) : op === OP.Flush ? 0 : sectors * 512,
    );
  };
  for (const each of [a, b]) {
    const c = each.core.connections[0]!;
    if (c.linkRequested || c.closing || !prng.chance(80)) continue;
    each.control({
      command: 'connect',
      connection: 0,
      tentative: prng.chance(3),
      discardMyData: each.core.role !== ROLE.Primary && prng.chance(30),
    });
  }
  switch (prng.below(16)) {
    case 0:
      node.control({ command: 'primary', force: prng.chance(50) });
      break;
    case 1:
      node.control({ command: 'secondary', openVolumes: [], force: false });
      break;
    case 2:
      node.control({ command: 'disconnect', connection: 0, force: prng.chance(30) });
      break;
    case 3:
      network.isDown = true;
      node.cut('network-failure', 'network-failure');
      pair.run(50);
      for (const each of [a, b]) write(each);
      pair.run(50);
      network.isDown = false;
      a.connect();
      break;
    case 4:
      node.control({
        command: 'verify',
        connection: 0,
        volume: 0,
        start: prng.pick([undefined, 0, 64]),
        stop: prng.pick([undefined, 200]),
      });
      break;
    case 5:
      node.control({ command: 'invalidate', volume: 0 });
      break;
    case 6:
      node.control({ command: 'invalidate-remote', connection: 0, volume: 0 });
      break;
    case 7:
      node.control({ command: prng.pick(['pause-sync', 'resume-sync', 'resume-sync'] as const), connection: 0, volume: 0 });
      break;
    case 8:
      if (volume.disk === undefined) node.control({ command: 'attach', volume: 0, disk: node.backing(node.metaDataOnDisk()) });
      else node.control({ command: 'detach', volume: 0, force: prng.chance(30) });
      break;
    case 9:
      node.control({
        command: 'net-options',
        connection: 0,
        options: { 'csums-alg': prng.pick(['', 'sha1']), protocol: prng.pick(['A', 'B', 'C']) },
        setDefaults: false,
      });
      break;
    case 10:
      node.control({
        command: 'resize',
        volume: 0,
        size: prng.pick([0, 400, 600]),
        assumePeerHasSpace: false,
        assumeClean: prng.chance(50),
      });
      break;
    case 11:
      node.failNextWrite = 5;
      break;
    default:
      for (let n = 1 + prng.below(6); n > 0; n--) for (const each of [a, b]) write(each);
  }
}

/** One conversation with a liar. @returns how many lies it told. @throws PromiseBroken, or what the core has thrown */
export function liveConversation(seed: number): number {
  const prng = new Prng(seed);
  const version = prng.pick(VERSIONS);
  const pair = new Pair(SECTORS, { min: 95, max: version });
  const { a, b } = pair;
  pair.configure(netOptions(prng, version), { 'c-plan-ahead': 0, 'resync-rate': prng.pick([500, 100_000]) });
  const witness = new Witness(b);
  const [honest, early] = [prng.chance(70), prng.chance(50)];
  const liar = makeLiar(prng, a, 24);
  liar.isLying = !honest;
  pair.connect();
  (early ? a : b).control({ command: 'primary', force: true });
  pair.run(honest ? 5000 : 500);
  liar.isLying = true;
  for (let turn = 0; turn < 14; turn++) {
    act(prng, pair);
    pair.run(prng.pick([10, 120, 1200]));
    witness.checkMemory();
  }
  liar.isLying = false;
  network.isDown = false;
  a.control({ command: 'disconnect', connection: 0, force: true });
  pair.run(100);
  witness.takeDown((ms) => pair.run(ms));
  return liar.mutations;
}

// --- recorded conversations ----------------------------------------------------------------------------------------------

const viewOf = ({ buffer, byteOffset, byteLength }: Uint8Array): DataView => new DataView(buffer, byteOffset, byteLength);

/** What a packet is about, behind a header of `headerBytes`. */
interface Body {
  readonly view: DataView;
  readonly at: number;
  readonly end: number;
}

const SECRET = Uint8Array.from('S3cr3t', (c) => c.charCodeAt(0));
/** Flag of P_UUIDS: both disks are declared equal. */
const UUID_SKIPS_SYNC = 8;
/** Largest recorded disk that is made. */
const DISK_SECTORS_MAX = 1 << 21;

/** The recorded conversations that ours can lead in the place of one of the two kernels. */
export const RECORDED: readonly Conversation[] = conversations().filter(
  ({ apv, packets }) => apv >= 95 && packets.some((p) => p.name === 'P_STATE'),
);

/** Writes that we have sent between two barriers, and what was answered. */
interface SentEpoch {
  barrier: Uint8Array;
  writes: number;
  answered: number;
  turnedDown: number;
}

const emptyEpoch = (): SentEpoch => ({ barrier: new Uint8Array(4), writes: 0, answered: 0, turnedDown: 0 });

/** Bytes of a digest that stands in front of whole sectors. */
const digestLength = (bytes: number): number => bytes % 512;

/** The digest that the host of the core makes, in the place of the recorded one. */
function ownDigest(bytes: Uint8Array, at: number): void {
  const length = digestLength(bytes.length - at);
  if (length > 0) bytes.set(digestOf(bytes.subarray(at + length), length), at);
}

/** Ours has one volume only. */
const isAboutAnotherVolume = (packet: DataView): boolean =>
  packet.getUint32(0) === MAGIC_100 && packet.getUint16(4) !== 0 && packet.getUint16(4) !== 0xffff;

/** Ours in the place of one of the two: does what that one did, and hears what the other one said. */
class Replay {
  readonly node: MemoryNode;
  readonly witness: Witness;
  readonly #talk: Conversation;
  readonly #own: 'a' | 'b';
  readonly #headerBytes: number;
  /** What of ours waits for an answer: handles by sector, epochs and requests in order. */
  readonly #handles = new Map<number, Uint8Array>();
  readonly #reads = new Map<number, Uint8Array>();
  readonly #epochs: SentEpoch[] = [];
  #epoch = emptyEpoch();
  /** The epoch of the last write to a sector. */
  readonly #epochOf = new Map<number, SentEpoch>();
  /** Writes are acked one by one: protocol B or C. */
  #hasAcks = true;
  /** The last number of the other node's writes and acks, which are counted together. */
  #seq = 0;
  #pings = 0;
  #challenge: Uint8Array | undefined;
  readonly #requests: { readonly sector: Uint8Array; readonly size: number }[] = [];

  constructor(talk: Conversation, own: 'a' | 'b') {
    this.#talk = talk;
    this.#own = own;
    this.#headerBytes = headerBytesOf(headerKindOf(talk.apv));
    const sizes = this.#first('P_SIZES');
    const sectors = sizes === undefined ? 2048 : sizes.view.getUint32(sizes.at + 4) || sizes.view.getUint32(sizes.at + 20) || 2048;
    clock.now = 0;
    network.isDown = false;
    this.node = new MemoryNode('ours', 0, Math.min(sectors, DISK_SECTORS_MAX) + 512, { min: 95, max: Math.min(talk.apv, 101) });
    this.witness = new Witness(this.node);
    const watch = this.node.onSend;
    this.node.onSend = (stream, view) => {
      watch(stream, view);
      this.#noteSent(view);
    };
  }

  #body({ bytes }: RecordedPacket): Body {
    return { view: viewOf(bytes), at: this.#headerBytes, end: bytes.length };
  }

  /** The first packet of this kind that the node in whose place we are has sent. */
  #first(name: string): Body | undefined {
    const packet = this.#talk.packets.find((p) => p.from === this.#own && p.name === name);
    return packet === undefined ? undefined : this.#body(packet);
  }

  /** Sets up what that node had: settings, generations, disk. */
  begin(): void {
    const { node } = this;
    const protocol = this.#first('P_PROTOCOL');
    const options: Record<string, string | number | boolean> = { _name: 'theirs' };
    const settings = protocol && decodeStruct(P_PROTOCOL, protocol.view, protocol.at, protocol.end);
    if (protocol !== undefined && settings?.ok) {
      options.protocol = Object.entries(DRBD_PROT).find(([, value]) => value === settings.value.protocol)?.[0] ?? 'C';
      this.#hasAcks = options.protocol !== 'A';
      options['allow-two-primaries'] = settings.value.two_primaries !== 0 && options.protocol === 'C';
      options['data-integrity-alg'] =
        readName(protocol.view, protocol.at + P_PROTOCOL.size, protocol.end - protocol.at - P_PROTOCOL.size) ?? '';
    }
    const param = this.#first('P_SYNC_PARAM89');
    const algorithms = param && decodeStruct(P_RS_PARAM_89, param.view, param.at, param.end);
    if (algorithms?.ok) {
      options['verify-alg'] = algorithms.value.verify_alg;
      options['csums-alg'] = algorithms.value.csums_alg;
    }
    node.control({ command: 'new-minor', volume: 0, minor: 0, options: {} });
    node.control({ command: 'new-peer', connection: 0, peerNodeId: 1, options });
    node.control({
      command: 'peer-device-options',
      connection: 0,
      volume: 0,
      options: { 'c-plan-ahead': 0, 'resync-rate': 100_000 },
      setDefaults: false,
    });
    const [uuids, state, sizes] = [this.#first('P_UUIDS'), this.#first('P_STATE'), this.#first('P_SIZES')];
    const known = uuids && decodeStruct(P_UUIDS, uuids.view, uuids.at, uuids.end);
    if (known?.ok) {
      const disk = node.backing();
      const { metaData: md } = disk;
      md.current_uuid = known.value.current;
      md.peers[1]!.bitmap_uuid = known.value.bitmap;
      md.history_uuids[0] = known.value.history0;
      md.history_uuids[1] = known.value.history1;
      const was = state && decodeStruct(P_STATE, state.view, state.at, state.end);
      if (was?.ok && unpackState(was.value.state).disk >= D84.Consistent) md.flags |= MDF.CONSISTENT | MDF.WAS_UP_TO_DATE;
      const told = sizes && decodeStruct(P_SIZES, sizes.view, sizes.at, sizes.end);
      if (told?.ok) md.effective_size = Math.min(told.value.c_size, disk.usableSectors);
      node.control({ command: 'attach', volume: 0, disk });
    }
    this.run(50);
    const role = state === undefined ? 0 : state.view.getUint32(state.at) & 3;
    if (role === ROLE.Primary) node.control({ command: 'primary', force: false });
    if (this.#talk.packets.some((p) => p.name === 'P_AUTH_CHALLENGE')) {
      const net = { 'cram-hmac-alg': 'sha1', 'shared-secret': Buffer.from(SECRET).toString('latin1') };
      node.control({ command: 'net-options', connection: 0, options: net, setDefaults: false });
    }
    this.run(50);
    node.control({ command: 'connect', connection: 0, tentative: false, discardMyData: false });
    this.run(10);
    node.linked = true;
    node.core.linkUp(clock.now, 0, this.#talk.metaOpener !== this.#own);
    this.run(10);
  }

  get isUp(): boolean {
    return this.node.linked && this.node.core.connections[0]?.phase !== 'none';
  }

  run(ms: number): void {
    const { node } = this;
    const pong = new Uint8Array(this.#headerBytes);
    putHeader(viewOf(pong), 0, headerKindOf(this.#talk.apv), 0, COMMAND.P_PING_ACK, 0);
    const rest = (): void => {
      for (let i = 0; node.step() || this.#pings > 0; i++) {
        if (i > 10_000) throw new PromiseBroken('does not come to rest');
        for (; this.#pings > 0; this.#pings--) if (this.isUp) node.deliver(STREAM.Meta, pong);
      }
    };
    const end = clock.now + ms;
    for (rest(); node.core.deadline <= end; rest()) {
      clock.now = Math.max(clock.now, node.core.deadline);
      node.core.tick(clock.now);
    }
    clock.now = end;
    if (node.core.connections[0]?.phase === 'none') node.linked = false;
  }

  #noteSent(view: DataView): void {
    const header = new PacketHeader();
    if (decodeHeader(view, 0, view.byteLength, this.node.core.connections[0]!.headerKind, header) !== 0) return;
    const bytes = new Uint8Array(view.buffer);
    const at = header.headerBytes;
    switch (header.command) {
      case COMMAND.P_DATA:
      case COMMAND.P_TRIM:
      case COMMAND.P_ZEROES:
        this.#epoch.writes++;
        this.#epochOf.set(view.getUint32(at + 4), this.#epoch);
        this.#handles.set(view.getUint32(at + 4), bytes.slice(at + 8, at + 16));
        return;
      case COMMAND.P_DATA_REQUEST:
        this.#reads.set(view.getUint32(at + 4), bytes.slice(at + 8, at + 16));
        return;
      case COMMAND.P_BARRIER:
        this.#epoch.barrier = bytes.slice(at, at + 4);
        this.#epochs.push(this.#epoch);
        this.#epoch = emptyEpoch();
        return;
      case COMMAND.P_PING:
        this.#pings++;
        return;
      case COMMAND.P_AUTH_CHALLENGE:
        this.#challenge = bytes.slice(at, at + header.length);
        return;
      case COMMAND.P_RS_DATA_REQUEST:
      case COMMAND.P_CSUM_RS_REQUEST:
      case COMMAND.P_OV_REQUEST:
        this.#requests.push({ sector: bytes.slice(at, at + 8), size: view.getUint32(at + 16) });
    }
  }

  /** What the recorded node did, seen by what it sent. */
  act(packet: RecordedPacket): void {
    const { node } = this;
    const body = this.#body(packet);
    if (isAboutAnotherVolume(body.view)) return;
    const { requests } = node.core;
    const sector = body.end >= body.at + 8 ? body.view.getUint32(body.at + 4) : 0;
    const submit = (op: number, bytes: Uint8Array | number): void => {
      if (requests.freeApplicationSlots > 1) node.submit(op, sector, bytes);
    };
    switch (packet.name) {
      case 'P_DATA':
        return submit(OP.Write, packet.bytes.slice(body.at + 24 + digestLength(packet.bytes.length - body.at - 24)));
      case 'P_TRIM':
        return submit(OP.Discard, body.view.getUint32(body.at + 24));
      case 'P_ZEROES':
        return submit(OP.WriteZeroes, body.view.getUint32(body.at + 24));
      case 'P_DATA_REQUEST':
        return submit(OP.Read, body.view.getUint32(body.at + 16));
      case 'P_UUIDS':
        if ((body.view.getUint32(body.at + 44) & UUID_SKIPS_SYNC) !== 0)
          node.control({ command: 'new-current-uuid', volume: 0, clearBitmap: true, forceResync: false });
        return;
      case 'P_STATE':
        if (node.core.role === ROLE.Primary && (body.view.getUint32(body.at) & 3) === 2)
          node.control({ command: 'secondary', openVolumes: [], force: false });
        return;
      case 'P_STATE_CHG_REQ':
      case 'P_CONN_ST_CHG_REQ': {
        const wanted = decodeStruct(P_REQ_STATE, body.view, body.at, body.end);
        if (!wanted.ok) return;
        const { mask, val } = wanted.value;
        if ((mask & 3) === 3 && (val & 3) === 1) node.control({ command: 'primary', force: (mask & 0x1e00) !== 0 });
        else if ((mask & 0x1f0) === 0x1f0) {
          const conn = (val >> 4) & 31;
          if (conn === 1) node.control({ command: 'disconnect', connection: 0, force: false });
          else if (conn === 11) node.control({ command: 'invalidate-remote', connection: 0, volume: 0 });
          else if (conn === 12) node.control({ command: 'invalidate', volume: 0 });
          else if (conn === 18) node.control({ command: 'verify', connection: 0, volume: 0, start: 0, stop: undefined });
        } else if ((mask & 0x1e00) === 0x1e00) node.control({ command: 'detach', volume: 0, force: false });
      }
    }
  }

  /** The packet as the other node would have said it to us; undefined when it answers what we did not ask. */
  said(packet: RecordedPacket): Uint8Array | undefined {
    const bytes = packet.bytes.slice();
    const view = viewOf(bytes);
    const at = this.#headerBytes;
    if (isAboutAnotherVolume(view)) return undefined;
    switch (packet.name) {
      case 'P_WRITE_ACK':
      case 'P_RECV_ACK':
      case 'P_NEG_ACK':
      case 'P_RS_WRITE_ACK':
      case 'P_SUPERSEDED':
      case 'P_RETRY_WRITE': {
        if (view.getUint32(at + 8) !== 0xffff_ffff) {
          const sector = view.getUint32(at + 4);
          const handle = this.#handles.get(sector);
          if (handle === undefined) return undefined;
          bytes.set(handle, at + 8);
          this.#handles.delete(sector);
          const epoch = this.#epochOf.get(sector);
          if (epoch !== undefined) epoch.answered++;
          if (epoch !== undefined && (packet.name === 'P_SUPERSEDED' || packet.name === 'P_RETRY_WRITE')) epoch.turnedDown++;
        }
        view.setUint32(at + 20, ++this.#seq);
        return bytes;
      }
      case 'P_DATA_REPLY':
      case 'P_NEG_DREPLY': {
        const sector = view.getUint32(at + 4);
        const handle = this.#reads.get(sector);
        if (handle === undefined) return undefined;
        this.#reads.delete(sector);
        bytes.set(handle, at + 8);
        if (packet.name === 'P_NEG_DREPLY') view.setUint32(at + 20, ++this.#seq);
        else ownDigest(bytes, at + 24);
        return bytes;
      }
      case 'P_RS_THIN_REQ':
        view.setUint16(6, COMMAND.P_RS_DATA_REQUEST);
        return bytes;
      case 'P_DATA':
      case 'P_TRIM':
      case 'P_ZEROES':
        view.setUint32(at + 16, ++this.#seq);
        if (packet.name === 'P_DATA') ownDigest(bytes, at + 24);
        return bytes;
      case 'P_BARRIER_ACK': {
        // A kernel never acks an epoch in which it turned a write down; the others when all of their writes have their acks.
        while (this.#epochs[0] !== undefined && this.#epochs[0].turnedDown > 0) this.#epochs.shift();
        const epoch = this.#epochs[0];
        if (epoch === undefined || (this.#hasAcks && epoch.answered < epoch.writes)) return undefined;
        this.#epochs.shift();
        bytes.set(epoch.barrier, at);
        view.setUint32(at + 4, epoch.writes);
        return bytes;
      }
      case 'P_RS_IS_IN_SYNC':
      case 'P_NEG_RS_DREPLY':
      case 'P_OV_REPLY':
      case 'P_RS_CANCEL': {
        const asked = this.#requests.shift();
        if (asked === undefined) return undefined;
        bytes.set(asked.sector, at);
        view.setUint32(at + 16, asked.size);
        if (packet.name !== 'P_OV_REPLY') view.setUint32(at + 20, ++this.#seq);
        return bytes;
      }
      case 'P_OV_RESULT':
        view.setUint32(at + 20, ++this.#seq);
        return bytes;
      case 'P_RS_DEALLOCATED':
      case 'P_RS_DATA_REPLY': {
        if (this.#requests.length === 0) this.run(120);
        const asked = this.#requests.shift();
        if (asked === undefined) return undefined;
        const isWhole = packet.name === 'P_RS_DATA_REPLY';
        const length = 24 + (isWhole ? digestLength(bytes.length - at - 24) : 0) + asked.size;
        const reply = new Uint8Array(at + length);
        putHeader(viewOf(reply), 0, headerKindOf(this.#talk.apv), 0, COMMAND.P_RS_DATA_REPLY, length);
        if (isWhole) reply.set(bytes.subarray(at, at + 24), at);
        else viewOf(reply).setUint32(at + 12, 0xffff_ffff);
        reply.set(asked.sector, at);
        ownDigest(reply, at + 24);
        return reply;
      }
      case 'P_CONNECTION_FEATURES':
        // A proxy has changed some of them.
        viewOf(bytes).setUint32(12, this.#talk.features);
        return bytes;
      case 'P_AUTH_RESPONSE': {
        const response = this.node.core.hmac('sha1', SECRET, this.#challenge ?? new Uint8Array(64))!;
        const packet = new Uint8Array(at + response.length);
        putHeader(viewOf(packet), 0, headerKindOf(this.#talk.apv), 0, COMMAND.P_AUTH_RESPONSE, response.length);
        packet.set(response, at);
        return packet;
      }
      case 'P_INITIAL_DATA':
      case 'P_INITIAL_META':
      case 'P_PING_ACK':
        // The link does that.
        return undefined;
      default:
        return bytes;
    }
  }
}

/** What became of a recorded conversation. */
export interface ReplayResult {
  readonly mutations: number;
  /** Packets that ours has heard. */
  readonly heard: number;
  /** Those that were left when ours had ended the connection. */
  readonly left: number;
  readonly logs: readonly string[];
}

/** A recorded conversation with up to `most` lies of the other node. @throws PromiseBroken, or what the core has thrown */
export function recordedConversation(seed: number, most = 6): ReplayResult {
  const prng = new Prng(seed);
  return converse(prng.pick(RECORDED), prng.pick(['a', 'b'] as const), prng, most);
}

/** The same without lies. @param own - in whose place ours is */
export const honestConversation = (talk: Conversation, own: 'a' | 'b'): ReplayResult => converse(talk, own, new Prng(1), 0);

function converse(talk: Conversation, own: 'a' | 'b', prng: Prng, most: number): ReplayResult {
  const replay = new Replay(talk, own);
  const kind = headerKindOf(talk.apv);
  const remembered: SentPacket[] = [];
  const theirs = talk.packets.filter((p) => p.from !== own).length;
  let [mutations, heard, left] = [0, 0, 0];
  replay.begin();
  for (const packet of talk.packets) {
    if (!replay.isUp) {
      if (packet.from !== own) left++;
      continue;
    }
    if (packet.from === own) {
      replay.act(packet);
      continue;
    }
    const bytes = replay.said(packet);
    if (bytes === undefined) continue;
    const stream = packet.socket === 'data' ? STREAM.Data : STREAM.Meta;
    const isDue = mutations < most && prng.below(Math.max(12, theirs)) < 8;
    const sent = isDue
      ? mutate(prng, stream, bytes, packet.name === 'P_CONNECTION_FEATURES' ? HEADER_KIND.H80 : kind, remembered)
      : [{ stream, bytes }];
    if (isDue) mutations++;
    if (bytes.length < 5000) remember(remembered, heard, { stream, bytes });
    heard++;
    for (const each of sent) if (replay.isUp) replay.node.deliver(each.stream, each.bytes);
    replay.run(1);
    replay.witness.checkMemory();
  }
  replay.run(200);
  const logs = [...replay.node.logs];
  replay.witness.takeDown((ms) => replay.run(ms));
  return { mutations, heard, left, logs };
}
