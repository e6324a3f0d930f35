/** Two cores in one process with memory disks and a perfect network: for tests of what the core does step by step. */
import { createMetaData, decodeSuperblock, encodeSuperblock, type MetaData, place, placement } from '@udrbd/metadata';
import type { ControlRequest } from '../core.js';
import { DIGEST_STRIDE, digestBytes } from '../digests.js';
import { EFFECT } from '../effects.js';
import { type BackingDisk, type MetaWrite, PROTOCOL_VERSIONS, type ProtocolVersions, STREAM, type Stream } from '../host.js';
import { OP } from '../requests.js';
import { Resource } from '../resource.js';
import type { ResyncPlace } from '../resync-order.js';

export interface SentPacket {
  readonly stream: Stream;
  readonly bytes: Uint8Array;
}

export class MemoryNode {
  readonly core: Resource;
  readonly name: string;
  disk: Uint8Array;
  readonly logs: string[] = [];
  readonly helpers: string[] = [];
  readonly places: (ResyncPlace | undefined)[] = [];
  readonly replies = new Map<number, { code: string; info: readonly string[] }>();
  readonly completions: { slot: number; errno: number }[] = [];
  readonly buffers = new Map<number, Uint8Array>();
  /** Slot to errno: the next disk operation on any slot fails with this. */
  failNextWrite = 0;
  /** The next payload that arrives has another bit than was sent. */
  damageNextPayload = false;
  /** Meta-data writes are answered only when this is false. */
  holdMeta = false;
  readonly heldMeta: number[] = [];
  /** The end of sending is told only when this is false. */
  holdSendDone = false;
  /** Writes are answered only when this is false. */
  holdWrites = false;
  readonly heldWrites: number[] = [];
  /** Set while a disk is abandoned: its token, and the slots whose writes it still has. */
  abandoned: number | undefined;
  lateWrites: number[] = [];
  /** So are flushes for the peer's barriers. */
  holdFlushes = false;
  /** By connection. */
  readonly heldFlushes: number[] = [];
  /** The next meta-data write fails with this. */
  failNextMeta = 0;
  /** What it sends on a stream that is held. */
  readonly #onTheWay = new Map<Stream, Uint8Array[]>();
  /** By handler; 0 by default. They answer only when `holdHelpers` is false. */
  readonly exitCodes: Record<string, number> = {};
  holdHelpers = false;
  readonly heldHelpers: number[] = [];
  peer: MemoryNode | undefined;
  linkWanted = false;
  linked = false;
  incoming: [Uint8Array, Uint8Array] = [new Uint8Array(0), new Uint8Array(0)];
  /** Entries of each outbox that were sent. */
  #handed: [number, number] = [0, 0];
  #operation = 0;

  /** Slots of what was asked of a disk that is not there. */
  readonly stray: number[] = [];
  /** Sees the fixed part of every packet that is sent. */
  onSend: (stream: Stream, packet: DataView) => void = () => {};
  /** Puts other packets in the place of one that is sent. */
  mangle: ((stream: Stream, packet: Uint8Array) => readonly SentPacket[]) | undefined;
  /** Sees what the core asks of the disk and tells the application, before it is done. */
  onEffect: (kind: number, slot: number, value: number) => void = () => {};

  constructor(name: string, nodeId: number, sectors: number, protocolVersions: ProtocolVersions = PROTOCOL_VERSIONS) {
    this.name = name;
    this.disk = new Uint8Array(sectors * 512);
    let seed = BigInt(nodeId + 1) * 0x9e3779b97f4a7c15n;
    this.core = new Resource({
      name: 'r0',
      nodeId,
      options: {},
      applicationSlots: 64,
      peerSlots: 64,
      outboxBytes: 1 << 20,
      protocolVersions,
      random64: () => {
        seed = (seed * 6364136223846793005n + 1442695040888963407n) & 0xffff_ffff_ffff_ffffn;
        return seed & ~1n;
      },
      hmac: (_algorithm, key, data) => Uint8Array.from(data.subarray(0, 16), (byte, i) => byte ^ (key[i % key.length] ?? 0)),
    });
  }

  control(request: ControlRequest): number {
    const operation = ++this.#operation;
    this.core.control(clock.now, operation, request);
    return operation;
  }

  code(operation: number): string {
    return this.replies.get(operation)?.code ?? 'pending';
  }

  /** What a host reads before it attaches again. */
  metaDataOnDisk(): MetaData {
    const decoded = decodeSuperblock('v09', this.disk.subarray(this.disk.length - 4096));
    if (!decoded.ok) throw new Error(decoded.error.reason);
    return decoded.value;
  }

  /** The device gets another capacity; what is behind the old end is `fill`. */
  grow(sectors: number, fill = 0): void {
    const disk = new Uint8Array(sectors * 512).fill(fill);
    disk.set(this.disk.subarray(0, disk.length));
    this.disk = disk;
  }

  /** @param md - a fresh set when absent */
  backing(md?: MetaData): BackingDisk {
    const deviceBytes = this.disk.length;
    const metaData = md ?? createMetaData('v09', { maxPeers: 1 });
    const where = placement({
      kind: 'internal',
      deviceBytes,
      index: 0,
      maxPeers: 1,
      alStripes: metaData.al_stripes,
      alStripeSize4k: metaData.al_stripe_size_4k,
      bmBytesPerBit: 4096,
    } as Parameters<typeof placement>[0]);
    if (md === undefined) place(metaData, where);
    const superblock = where.superblockOffsetBytes;
    const bitmapOffset = superblock + metaData.bm_offset * 512;
    this.disk.set(encodeSuperblock(metaData), superblock);
    return {
      backingDevice: `/dev/${this.name}`,
      metaDevice: `/dev/${this.name}`,
      metaIndex: 'internal',
      backingSectors: deviceBytes / 512,
      metaSectors: deviceBytes / 512,
      metaData,
      superblockOffsetBytes: superblock,
      activityLogOffsetBytes: superblock + metaData.al_offset * 512,
      bitmapOffsetBytes: bitmapOffset,
      usableSectors: where.usableSectors,
      bitmap: this.disk.slice(bitmapOffset, superblock + metaData.al_offset * 512),
      options: {},
      hasWriteCache: true,
    };
  }

  submit(op: number, sector: number, bytes: Uint8Array | number): number {
    const { requests } = this.core;
    const slot = requests.acquireApplication();
    requests.volume[slot] = 0;
    requests.op[slot] = op;
    requests.flags[slot] = 0;
    requests.sector[slot] = sector;
    const length = typeof bytes === 'number' ? bytes : bytes.length;
    requests.lengthBytes[slot] = length;
    if (op === OP.Read) this.buffers.set(slot, new Uint8Array(length));
    else if (typeof bytes !== 'number') this.buffers.set(slot, bytes.slice());
    this.core.submit(clock.now, slot);
    return slot;
  }

  /** Drains effects once. @returns whether there was anything to do */
  step(): boolean {
    const { core } = this;
    core.settle(clock.now);
    const { effects, requests } = core;
    const count = effects.count;
    const rows = Array.from({ length: count }, (_, i) => [effects.kind[i]!, effects.slot[i]!, effects.value[i]!] as const);
    effects.count = 0;
    const cold = effects.cold.splice(0);
    for (const [kind, slot, value] of rows) {
      const at = requests.sector[slot]! * 512;
      const length = requests.lengthBytes[slot]!;
      if (kind <= EFFECT.DiskWriteZeroes && core.volumes.get(requests.volume[slot]!)?.disk === undefined) {
        // Given up since it was asked for.
        this.stray.push(slot);
        core.diskDone(clock.now, slot, 5);
        continue;
      }
      this.onEffect(kind, slot, value);
      switch (kind) {
        case EFFECT.DiskRead:
          this.buffers.set(slot, this.disk.slice(at, at + length));
          this.#bufferFilled(slot, this.buffers.get(slot)!);
          core.diskDone(clock.now, slot, 0);
          break;
        case EFFECT.DiskWrite: {
          const errno = this.failNextWrite;
          this.failNextWrite = 0;
          if (errno === 0) this.disk.set(this.buffers.get(slot)!.subarray(0, length), at);
          if (this.holdWrites) this.heldWrites.push(slot);
          else core.diskDone(clock.now, slot, errno);
          break;
        }
        case EFFECT.DiskDiscard:
        case EFFECT.DiskWriteZeroes: {
          const errno = this.failNextWrite;
          this.failNextWrite = 0;
          if (errno === 0) this.disk.fill(0, at, at + length);
          core.diskDone(clock.now, slot, errno);
          break;
        }
        case EFFECT.DiskFlush:
          core.diskDone(clock.now, slot, 0);
          break;
        case EFFECT.FlushVolume:
          if (this.holdFlushes) this.heldFlushes.push(value);
          else core.epochFlushed(clock.now, value, slot, 0);
          break;
        case EFFECT.Complete:
          this.completions.push({ slot, errno: value });
          break;
        case EFFECT.AllocateBuffer:
          // The payload may have come first: this host takes it straight from the network.
          if (this.buffers.get(slot)?.length !== value) this.buffers.set(slot, new Uint8Array(value));
          break;
        case EFFECT.FreeBuffer:
          this.buffers.delete(slot);
          break;
        case EFFECT.Send:
          this.#send(slot, value as Stream);
          break;
        case EFFECT.ResumeReceive:
          this.deliver(STREAM.Data, new Uint8Array(0));
          break;
      }
    }
    for (const [kind, row] of rows) if (kind === EFFECT.MetaWrite) this.#writeMeta(core.metaWriteOf(row));
    for (const effect of cold) {
      switch (effect.type) {
        case 'abandonDisk': {
          this.abandoned = effect.token;
          this.lateWrites = this.heldWrites.splice(0);
          for (const slot of this.lateWrites) core.diskDone(clock.now, slot, 5);
          for (const token of this.heldMeta.splice(0)) core.metaDone(clock.now, token, 5);
          if (!this.holdWrites && !this.holdMeta) this.diskReturns();
          break;
        }
        case 'resyncPlace':
          this.places.push(effect.place);
          break;
        case 'measureDisk':
          core.diskMeasured(clock.now, effect.token, this.disk.length / 512, this.disk.length / 512);
          break;
        case 'openLink':
          this.linkWanted = true;
          this.connect();
          break;
        case 'closeLink':
          this.linkWanted = false;
          this.cut('closed', 'closed');
          break;
        case 'reply':
          this.replies.set(effect.operation, { code: effect.error?.name ?? 'ok', info: effect.info ?? [] });
          break;
        case 'helper':
          this.helpers.push(effect.name);
          if (this.holdHelpers) this.heldHelpers.push(effect.token);
          else core.helperDone(clock.now, effect.token, this.exitCodes[effect.name] ?? 0);
          break;
        case 'log':
          this.logs.push(effect.text);
          break;
        default:
          break;
      }
    }
    return count > 0 || cold.length > 0;
  }

  /** An abandoned disk has come to an end after all. */
  diskReturns(): void {
    const token = this.abandoned;
    this.abandoned = undefined;
    this.holdMeta = false;
    if (token !== undefined) this.core.metaDone(clock.now, token, 0);
  }

  connect(): void {
    const { peer } = this;
    if (peer === undefined || network.isDown || !this.linkWanted || !peer.linkWanted || this.linked || peer.linked) return;
    this.linked = true;
    peer.linked = true;
    for (const node of [this, peer]) {
      node.linkWanted = false;
      node.incoming = [new Uint8Array(0), new Uint8Array(0)];
      node.#handed = [0, 0];
    }
    this.core.linkUp(clock.now, 0, true);
    peer.core.linkUp(clock.now, 0, false);
  }

  /** The link is gone on both sides. */
  cut(own: 'closed' | 'network-failure', theirs: 'closed' | 'network-failure'): void {
    const { peer } = this;
    if (this.linked && peer !== undefined) {
      for (const node of [this, peer]) node.#onTheWay.clear();
      this.linked = false;
      peer.linked = false;
      peer.core.linkDown(clock.now, 0, theirs, '');
    }
    this.core.linkDown(clock.now, 0, own, '');
  }

  #writeMeta({ token, bytes, offsetBytes }: MetaWrite): void {
    const { core } = this;
    if (this.abandoned !== undefined) return core.metaDone(clock.now, token, 5);
    this.disk.set(bytes, offsetBytes);
    if (this.holdMeta) {
      this.heldMeta.push(token);
      return;
    }
    core.metaDone(clock.now, token, this.failNextMeta);
    this.failNextMeta = 0;
  }

  #send(connection: number, stream: Stream): void {
    const box = this.core.outbox(connection, stream);
    if (!this.linked) return;
    const packets: Uint8Array[] = [];
    const first = Math.max(box.done, this.#handed[stream]);
    const last = box.queued;
    for (let n = first; n < last; n++) {
      const row = n % box.capacity;
      const header = box.arena.slice(box.headerOffset[row]!, box.headerOffset[row]! + box.headerBytes[row]!);
      const slot = box.payloadSlot[row]!;
      if (slot >= 0) {
        const from = box.payloadOffset[row]!;
        const payload = this.buffers.get(slot)!.subarray(from, from + box.payloadBytes[row]!);
        const length = digestBytes(box.digest[row]!);
        if (length > 0) header.set(digestOf(payload, length), header.length - length);
        packets.push(Buffer.concat([header, payload]));
      } else packets.push(header);
      this.onSend(stream, new DataView(header.buffer));
    }
    this.#handed[stream] = last;
    if (!this.holdSendDone) this.core.sendDone(clock.now, connection, stream, last - box.done);
    const held = this.#onTheWay.get(stream);
    if (held !== undefined) held.push(...packets);
    else if (this.mangle === undefined) this.peer?.deliver(stream, Buffer.concat(packets));
    else for (const packet of packets) for (const sent of this.mangle(stream, packet)) this.peer?.deliver(sent.stream, sent.bytes);
  }

  /** What it sends from now on stays on the way until `arrive`, or is lost with the link. */
  hold(stream: Stream): void {
    this.#onTheWay.set(stream, []);
  }

  arrive(stream: Stream): void {
    const held = this.#onTheWay.get(stream) ?? [];
    this.#onTheWay.delete(stream);
    this.peer!.deliver(stream, Buffer.concat(held));
  }

  #bufferFilled(slot: number, payload: Uint8Array): void {
    const { requests } = this.core;
    const length = digestBytes(requests.digest[slot]!);
    if (length > 0) requests.computed.set(digestOf(payload, length), slot * DIGEST_STRIDE);
  }

  deliver(stream: Stream, more: Uint8Array): void {
    let bytes = new Uint8Array(this.incoming[stream].length + more.length);
    bytes.set(this.incoming[stream]);
    bytes.set(more, this.incoming[stream].length);
    for (;;) {
      const slot = stream === STREAM.Data ? this.core.payloadSlot(0) : -1;
      if (slot >= 0) {
        const want = this.core.payloadBytes(0);
        if (bytes.length < want) break;
        const payload = bytes.slice(0, want);
        if (this.damageNextPayload) payload[100]! ^= 4;
        // The buffer of a peer's request may not be there yet.
        if (this.buffers.get(slot)?.length !== this.core.requests.lengthBytes[slot])
          this.buffers.set(slot, new Uint8Array(this.core.requests.lengthBytes[slot]!));
        this.buffers.get(slot)!.set(payload, this.core.payloadOffset(0));
        this.damageNextPayload = false;
        bytes = bytes.slice(want);
        this.#bufferFilled(slot, payload);
        this.core.payloadDone(clock.now, 0);
        continue;
      }
      const used = this.core.receive(clock.now, 0, stream, bytes, 0, bytes.length);
      bytes = bytes.slice(used);
      if (used === 0 || (stream === STREAM.Data && this.core.payloadSlot(0) < 0 && used === 0)) break;
    }
    this.incoming[stream] = bytes;
  }
}

/** Stands for every algorithm: as many bytes as wanted, from a hash of the payload (FNV-1a). */
export function digestOf(payload: Uint8Array, length: number): Uint8Array {
  let hash = 0x811c9dc5;
  for (const byte of payload) hash = Math.imul(hash ^ byte, 0x01000193);
  return Uint8Array.from({ length }, (_, i) => hash >>> (8 * (i % 4)));
}

export const clock = { now: 0 };
/** While down, links are cut and none comes up. */
export const network = { isDown: false };

export class Pair {
  readonly a: MemoryNode;
  readonly b: MemoryNode;

  /**
   * @param protocolVersions - what the first node offers
   * @param others - what the second one offers
   */
  constructor(sectors = 16384, protocolVersions = PROTOCOL_VERSIONS, others = PROTOCOL_VERSIONS) {
    clock.now = 0;
    network.isDown = false;
    this.a = new MemoryNode('a', 0, sectors, protocolVersions);
    this.b = new MemoryNode('b', 1, sectors, others);
    this.a.peer = this.b;
    this.b.peer = this.a;
  }

  get nodes(): readonly MemoryNode[] {
    return [this.a, this.b];
  }

  /** Runs until both rest; time stands still. */
  rest(): void {
    for (let i = 0; i < 100_000; i++) if (!this.nodes.map((n) => n.step()).includes(true)) return;
    throw new Error('the pair does not come to rest');
  }

  partition(): void {
    network.isDown = true;
    this.a.cut('network-failure', 'network-failure');
    this.rest();
  }

  heal(): void {
    network.isDown = false;
    this.a.connect();
    this.rest();
  }

  /** Lets time pass, timers included. */
  run(ms: number): void {
    const end = clock.now + ms;
    this.rest();
    for (;;) {
      const next = Math.min(this.a.core.deadline, this.b.core.deadline);
      if (next > end) break;
      clock.now = Math.max(clock.now, next);
      for (const node of this.nodes) if (node.core.deadline <= clock.now) node.core.tick(clock.now);
      this.rest();
    }
    clock.now = end;
  }

  /** Volumes, peers, disks; not connected yet. */
  configure(net: Record<string, string | number | boolean> = {}, peerDevice: Record<string, number> = {}): void {
    for (const [i, node] of this.nodes.entries()) {
      node.control({ command: 'new-minor', volume: 0, minor: i, options: {} });
      node.control({ command: 'new-peer', connection: 0, peerNodeId: 1 - i, options: { _name: i === 0 ? 'b' : 'a', ...net } });
      node.control({ command: 'peer-device-options', connection: 0, volume: 0, options: peerDevice, setDefaults: false });
      node.control({ command: 'attach', volume: 0, disk: node.backing() });
    }
    this.rest();
  }

  connect(): void {
    for (const node of this.nodes) node.control({ command: 'connect', connection: 0, tentative: false, discardMyData: false });
    this.rest();
  }

  /** `Connected(Established) Primary/Secondary UpToDate/UpToDate` of a node. */
  state(node: MemoryNode): string {
    const s = node.core.snapshot(clock.now);
    const c = s.connections[0]!;
    const pd = c.peerDevices[0]!;
    return `${c.state}(${pd.replicationState}) ${s.role}/${c.peerRole} ${s.volumes[0]!.diskState}/${pd.peerDiskState}`;
  }
}
