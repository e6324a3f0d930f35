/** Packets waiting to be sent on one stream of a connection: headers in a ring of bytes, payloads named by slot. */
import type { Outbox } from './host.js';

/** Room that bulk senders (the bitmap) leave for packets that may not fail. */
export const OUTBOX_RESERVE_BYTES = 256 * 1024;
const ENTRIES = 16384;
/** What is there at first: most connections never have more under way, and a new one is to cost little. */
const ENTRIES_AT_FIRST = 128;
const BYTES_AT_FIRST = 16 * 1024;

/** What happens when an entry has been handed over to the kernel. */
export const SENT = { Nothing: 0, ApplicationWrite: 1, Reply: 2 } as const;

export class OutboxQueue implements Outbox {
  /** It and the rows are other arrays after a `push` that found them too short. */
  arena: Uint8Array;
  view: DataView;
  readonly capacity = ENTRIES;
  headerOffset = new Uint32Array(ENTRIES_AT_FIRST);
  headerBytes = new Uint32Array(ENTRIES_AT_FIRST);
  payloadSlot = new Int32Array(ENTRIES_AT_FIRST);
  payloadOffset = new Uint32Array(ENTRIES_AT_FIRST);
  payloadBytes = new Uint32Array(ENTRIES_AT_FIRST);
  digest = new Uint8Array(ENTRIES_AT_FIRST);
  /** SENT action and its slot, for the core. */
  action = new Uint8Array(ENTRIES_AT_FIRST);
  actionSlot = new Int32Array(ENTRIES_AT_FIRST);
  /** Bytes of the ring that an entry gives back, the skipped end of the ring included. */
  #taken = new Uint32Array(ENTRIES_AT_FIRST);
  /** Of the whole ring, of which `arena` is the begin. */
  readonly #ringBytes: number;
  queued = 0;
  done = 0;
  #write = 0;
  #used = 0;

  constructor(bytes: number) {
    this.#ringBytes = bytes;
    this.arena = new Uint8Array(Math.min(bytes, BYTES_AT_FIRST));
    this.view = new DataView(this.arena.buffer);
  }

  get freeBytes(): number {
    return this.#ringBytes - this.#used;
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
    const toEnd = this.#ringBytes - this.#write;
    const skip = bytes > toEnd ? toEnd : 0;
    if (skip + bytes > this.freeBytes || this.queued - this.done === ENTRIES) throw new Error('outbox overrun');
    const offset = skip > 0 ? 0 : this.#write;
    this.#write = (offset + bytes) % this.#ringBytes;
    this.#used += skip + bytes;
    const row = this.queued++ % ENTRIES;
    if (offset + bytes > this.arena.length) this.#lengthenArena(offset + bytes);
    if (row >= this.headerOffset.length) this.#lengthenRows();
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

  #lengthenArena(bytes: number): void {
    this.arena = longer(this.arena, Math.min(this.#ringBytes, Math.max(2 * this.arena.length, bytes)));
    this.view = new DataView(this.arena.buffer);
  }

  #lengthenRows(): void {
    const rows = 2 * this.headerOffset.length;
    this.headerOffset = longer(this.headerOffset, rows);
    this.headerBytes = longer(this.headerBytes, rows);
    this.payloadSlot = longer(this.payloadSlot, rows);
    this.payloadOffset = longer(this.payloadOffset, rows);
    this.payloadBytes = longer(this.payloadBytes, rows);
    this.digest = longer(this.digest, rows);
    this.action = longer(this.action, rows);
    this.actionSlot = longer(this.actionSlot, rows);
    this.#taken = longer(this.#taken, rows);
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

function longer<T extends Uint8Array | Uint32Array | Int32Array>(array: T, length: number): T {
  const result = new (array.constructor as new (length: number) => T)(length);
  result.set(array);
  return result;
}
