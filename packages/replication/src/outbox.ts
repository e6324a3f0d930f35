/** Packets waiting to be sent on one stream of a connection: headers in a ring of bytes, payloads named by slot. */
import type { Outbox } from './host.js';

/** Room that bulk senders (the bitmap) leave for packets that may not fail. */
export const OUTBOX_RESERVE_BYTES = 256 * 1024;
const ENTRIES = 16384;

/** What happens when an entry has been handed over to the kernel. */
export const SENT = { Nothing: 0, ApplicationWrite: 1, Reply: 2 } as const;

export class OutboxQueue implements Outbox {
  readonly arena: Uint8Array;
  readonly view: DataView;
  readonly capacity = ENTRIES;
  readonly headerOffset = new Uint32Array(ENTRIES);
  readonly headerBytes = new Uint32Array(ENTRIES);
  readonly payloadSlot = new Int32Array(ENTRIES);
  readonly payloadOffset = new Uint32Array(ENTRIES);
  readonly payloadBytes = new Uint32Array(ENTRIES);
  readonly digest = new Uint8Array(ENTRIES);
  /** SENT action and its slot, for the core. */
  readonly action = new Uint8Array(ENTRIES);
  readonly actionSlot = new Int32Array(ENTRIES);
  /** Bytes of the ring that an entry gives back, the skipped end of the ring included. */
  readonly #taken = new Uint32Array(ENTRIES);
  queued = 0;
  done = 0;
  #write = 0;
  #used = 0;

  constructor(bytes: number) {
    this.arena = new Uint8Array(bytes);
    this.view = new DataView(this.arena.buffer);
  }

  get freeBytes(): number {
    return this.arena.length - this.#used;
  }

  get freeEntries(): number {
    return ENTRIES - (this.queued - this.done);
  }

  /** Whether the queue has room for `bytes` more and still leaves the reserve untouched. */
  hasBulkRoom(bytes: number): boolean {
    return this.freeBytes > bytes + OUTBOX_RESERVE_BYTES && this.freeEntries > ENTRIES / 2;
  }

  /**
   * Appends an entry with `bytes` header bytes and returns the offset in the arena where they are to be written.
   * Running out of room is a bug of the core: every sender is bounded by slots or asks `hasBulkRoom` first.
   */
  push(bytes: number, payloadSlot: number, payloadOffset: number, payloadBytes: number, action: number, actionSlot: number): number {
    const toEnd = this.arena.length - this.#write;
    const skip = bytes > toEnd ? toEnd : 0;
    if (skip + bytes > this.freeBytes || this.queued - this.done === ENTRIES) throw new Error('outbox overrun');
    const offset = skip > 0 ? 0 : this.#write;
    this.#write = (offset + bytes) % this.arena.length;
    this.#used += skip + bytes;
    const row = this.queued++ % ENTRIES;
    this.headerOffset[row] = offset;
    this.headerBytes[row] = bytes;
    this.payloadSlot[row] = payloadSlot;
    this.payloadOffset[row] = payloadOffset;
    this.payloadBytes[row] = payloadBytes;
    this.digest[row] = 0;
    this.action[row] = action;
    this.actionSlot[row] = actionSlot;
    this.#taken[row] = skip + bytes;
    return offset;
  }

  /** The last header bytes of the entry pushed last are to be the digest of its payload. */
  sealLast(digest: number): void {
    this.digest[(this.queued - 1) % ENTRIES] = digest;
  }

  /** Releases the oldest entry and returns its row, which stays readable until the next push. */
  finishOldest(): number {
    const row = this.done++ % ENTRIES;
    this.#used -= this.#taken[row]!;
    return row;
  }

  reset(): void {
    this.queued = 0;
    this.done = 0;
    this.#write = 0;
    this.#used = 0;
  }
}
