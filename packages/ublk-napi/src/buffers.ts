// Page-aligned memory with a stable address, for everything a ring reads and writes: cut into equal slots that are acquired
// and released without allocating.
import { checked } from './errno.js';
import { native } from './native.js';
import type { AddressRange } from './ring.js';

export interface BufferPoolOptions {
  /** Number of slots. */
  readonly count: number;
  /** Bytes per slot; a multiple of the page size keeps every slot page-aligned. */
  readonly size: number;
  /** Try to lock the memory (default true); a refusal is reported in `lockErrno`, not thrown. */
  readonly lock?: boolean;
}

/** One memory mapping. Its address holds until close, or until the pool and all its views are garbage. */
export class BufferPool implements AddressRange {
  readonly address: number;
  readonly lengthBytes: number;
  readonly slotCount: number;
  readonly slotBytes: number;
  /** Is the memory locked against paging? */
  readonly locked: boolean;
  /** Why not: 0, ENOMEM (RLIMIT_MEMLOCK), EPERM. */
  readonly lockErrno: number;
  /** The whole pool. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #buffer: ArrayBuffer;
  readonly #free: Int32Array;
  #freeCount: number;
  readonly #taken: Uint8Array;

  /**
   * @param options - total size in bytes (one slot), or how many slots of what size
   * @throws ErrnoError `mmap`: ENOMEM; RangeError for sizes that are not positive integers
   */
  static create(options: number | BufferPoolOptions): BufferPool {
    return new BufferPool(typeof options === 'number' ? { count: 1, size: options } : options);
  }

  private constructor({ count, size, lock = true }: BufferPoolOptions) {
    if (!Number.isSafeInteger(count) || count < 1 || !Number.isSafeInteger(size) || size < 1) {
      throw new RangeError(`buffer pool of ${count} x ${size} bytes`);
    }
    const mapping = native.mmapAnonymous(count * size, lock);
    if (typeof mapping === 'number') {
      checked(mapping, 'mmap');
      throw new Error('unreachable');
    }
    this.#buffer = mapping.buffer;
    this.address = mapping.address;
    this.lengthBytes = count * size;
    this.slotCount = count;
    this.slotBytes = size;
    this.lockErrno = mapping.lockErrno;
    this.locked = lock && mapping.lockErrno === 0;
    this.bytes = new Uint8Array(mapping.buffer, 0, this.lengthBytes);
    this.view = new DataView(mapping.buffer, 0, this.lengthBytes);
    this.#free = Int32Array.from({ length: count }, (_, i) => count - 1 - i);
    this.#freeCount = count;
    this.#taken = new Uint8Array(count);
  }

  /** Memory address of a byte offset in the pool. */
  addressOf(offset: number): number {
    return this.address + offset;
  }

  /** Byte offset of a slot. */
  slotOffset(slot: number): number {
    return slot * this.slotBytes;
  }

  /** Memory address of a slot. */
  slotAddress(slot: number): number {
    return this.address + slot * this.slotBytes;
  }

  /** A view of a slot. Allocates: make such views once. */
  slotView(slot: number): Uint8Array {
    return this.bytes.subarray(slot * this.slotBytes, (slot + 1) * this.slotBytes);
  }

  get freeSlots(): number {
    return this.#freeCount;
  }

  /** A free slot, or -1. Its content is whatever was there before. */
  acquire(): number {
    if (this.#freeCount === 0) return -1;
    const slot = this.#free[--this.#freeCount]!;
    this.#taken[slot] = 1;
    return slot;
  }

  /** @throws Error for a slot that is not taken: releasing twice would hand the same memory to two owners */
  release(slot: number): void {
    if (this.#taken[slot] !== 1) throw new Error(`buffer slot ${slot} is not in use`);
    this.#taken[slot] = 0;
    this.#free[this.#freeCount++] = slot;
  }

  /** Unmaps at once. No operation may still use the memory; all views become empty. Closing twice is harmless. */
  close(): void {
    native.munmap(this.#buffer);
  }
}
