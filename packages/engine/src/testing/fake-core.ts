/** A core that does what a test says: it records what it is told, and lets the test queue effects. */
import {
  type ControlRequest,
  EFFECT,
  Effects,
  type LinkEnd,
  type MetaWrite,
  type Outbox,
  type ReplicationCore,
  Requests,
  type ResourceSnapshot,
  STREAM,
  type Stream,
} from '@udrbd/replication';

export class FakeOutbox implements Outbox {
  readonly arena = new Uint8Array(1 << 16);
  readonly capacity = 256;
  readonly headerOffset = new Uint32Array(256);
  readonly headerBytes = new Uint32Array(256);
  readonly payloadSlot = new Int32Array(256).fill(-1);
  readonly payloadOffset = new Uint32Array(256);
  readonly payloadBytes = new Uint32Array(256);
  readonly digest = new Uint8Array(256);
  queued = 0;
  done = 0;
  #at = 0;

  push(header: Uint8Array, payloadSlot = -1, payloadBytes = 0): void {
    if (this.#at + header.length > this.arena.length) this.#at = 0;
    this.arena.set(header, this.#at);
    const row = this.queued++ % this.capacity;
    this.headerOffset[row] = this.#at;
    this.headerBytes[row] = header.length;
    this.payloadSlot[row] = payloadSlot;
    this.payloadBytes[row] = payloadBytes;
    this.#at += header.length;
  }
}

/**
 * Packets of the fake protocol: a length byte, then that many bytes; a length of 255 announces a payload of
 * `payloadBytesNext` bytes for a fresh peer slot.
 */
export class FakeCore implements ReplicationCore {
  readonly name = 'fake';
  readonly requests = new Requests(64, 64);
  readonly effects = new Effects(16);
  deadline = Infinity;
  readonly calls: string[] = [];
  readonly received: number[][] = [[], []];
  readonly outboxes = [new FakeOutbox(), new FakeOutbox()];
  readonly controls: { operation: number; request: ControlRequest }[] = [];
  payloadBytesNext = 0;
  slot = -1;
  connectionOptions = { 'connect-int': 1, 'ping-timeout': 1 };
  isReady = true;
  failIo = false;
  onSubmit: (slot: number) => void = () => undefined;
  readonly #metaWrites: MetaWrite[] = [];

  ioReady(): boolean {
    return this.isReady;
  }
  submit(_now: number, slot: number): void {
    this.calls.push(`submit ${this.requests.op[slot]} ${this.requests.sector[slot]}+${this.requests.lengthBytes[slot]}`);
    this.onSubmit(slot);
  }
  diskDone(_now: number, slot: number, errno: number): void {
    this.calls.push(`diskDone ${slot} ${errno}`);
    if (slot < this.requests.applicationSlots) this.complete(slot, errno);
  }
  /** Ends an application request. */
  complete(slot: number, errno: number): void {
    this.effects.push(5, slot, errno);
    this.requests.release(slot);
  }
  /** Queues a meta-data write. */
  metaWrite(write: MetaWrite): void {
    this.effects.push(EFFECT.MetaWrite, this.#metaWrites.push(write) - 1, 0);
  }
  metaWriteOf(row: number): MetaWrite {
    return this.#metaWrites[row]!;
  }
  metaDone(_now: number, token: number, errno: number): void {
    this.calls.push(`metaDone ${token} ${errno}`);
  }
  epochFlushed(_now: number, connection: number, volume: number, errno: number): void {
    this.calls.push(`epochFlushed ${connection} ${volume} ${errno}`);
  }
  diskMeasured(_now: number, token: number, backingSectors: number, metaSectors: number): void {
    this.calls.push(`diskMeasured ${token} ${backingSectors} ${metaSectors}`);
  }
  resyncDependency(_now: number, volume: number, mustWait: boolean): void {
    this.calls.push(`resyncDependency ${volume} ${mustWait}`);
  }
  sendDone(_now: number, _connection: number, stream: Stream, entries: number): void {
    this.outboxes[stream]!.done += entries;
  }
  outbox(_connection: number, stream: Stream): Outbox {
    return this.outboxes[stream]!;
  }
  receive(_now: number, _connection: number, stream: Stream, bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end) {
      const length = bytes[at]!;
      if (length === 255) {
        this.slot = this.requests.acquirePeer();
        this.effects.push(6, this.slot, this.payloadBytesNext);
        return at + 1 - start;
      }
      if (at + 1 + length > end) break;
      for (let i = 0; i < length; i++) this.received[stream]!.push(bytes[at + 1 + i]!);
      at += 1 + length;
    }
    return at - start;
  }
  payloadSlot(): number {
    return this.slot;
  }
  payloadBytes(): number {
    return this.payloadBytesNext;
  }
  payloadOffset(): number {
    return 0;
  }
  payloadDone(): void {
    this.calls.push(`payloadDone ${this.slot}`);
    this.slot = -1;
  }
  tick(): void {
    this.deadline = Infinity;
  }
  settle(): void {
    // Nothing is ever pending.
  }
  linkUp(_now: number, connection: number, resolveConflicts: boolean): void {
    for (const outbox of this.outboxes) {
      outbox.queued = 0;
      outbox.done = 0;
    }
    this.calls.push(`linkUp ${connection} ${resolveConflicts}`);
  }
  linkDown(_now: number, connection: number, why: LinkEnd, detail: string): void {
    this.calls.push(`linkDown ${connection} ${why}${detail === '' ? '' : ` ${detail}`}`);
  }
  control(_now: number, operation: number, request: ControlRequest): void {
    this.controls.push({ operation, request });
    this.effects.cold.push({ type: 'reply', operation });
  }
  helperDone(_now: number, token: number, exitCode: number): void {
    this.calls.push(`helperDone ${token} ${exitCode}`);
  }
  snapshot(): ResourceSnapshot {
    return {
      name: this.name,
      nodeId: 0,
      role: 'Secondary',
      suspendedUser: false,
      suspendedNoData: false,
      suspendedFencing: false,
      suspendedQuorum: false,
      failIo: this.failIo,
      writeOrdering: 'flush',
      options: {},
      volumes: [],
      connections: [
        {
          connection: 0,
          peerNodeId: 1,
          state: 'Connecting',
          peerRole: 'Unknown',
          protocol: 'C',
          agreedProtocolVersion: 0,
          congested: false,
          apInFlightSectors: 0,
          rsInFlightSectors: 0,
          epochs: 1,
          options: this.connectionOptions,
          peerDevices: [],
        },
      ],
    };
  }
  /** Queues a packet on a stream and tells the host. */
  send(stream: Stream, text: number[], payloadSlot = -1): void {
    const header = Uint8Array.from(payloadSlot >= 0 ? [255] : [text.length, ...text]);
    this.outboxes[stream]!.push(header, payloadSlot, payloadSlot < 0 ? 0 : this.requests.lengthBytes[payloadSlot]!);
    this.effects.push(8, 0, stream === STREAM.Data ? 0 : 1);
  }
}
