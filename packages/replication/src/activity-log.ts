/**
 * The activity log in memory: which 4 MiB extents may have writes in flight, least recently used ones given up first.
 *
 * A write may start once its extents are hot: named by a transaction on disk. Extents are gathered into one pending
 * transaction (`prepare`), the owner writes the bitmap pages of each `evictedExtent`, then the block of `encodeTransaction`, then
 * says `commit`. Between encode and commit nothing is added. Nothing on this path allocates.
 *
 * Source: DRBD 8.4 drbd_actlog.c, lru_cache.c.
 */
import {
  AL_BLOCK_BYTES,
  AL_FREE,
  AL_UPDATES_PER_TRANSACTION,
  alBlockOfTransaction,
  alContextAdvance,
  encodeAlUpdate,
} from '@udrbd/metadata';

/** `joined`: references taken, start the write after the commit. `full`: commit first. `starving`: wait for a dereference. */
export type Prepared = 'joined' | 'full' | 'starving';

const NONE = -1;

export class ActivityLog {
  /** Extents that can be hot (`al-extents`). */
  readonly slots: number;
  #stripes: number;
  #stripeSize4k: number;
  /** Extent of each slot as the disk knows it, and as it will be after the pending transaction. */
  readonly #active: Uint32Array;
  readonly #wanted: Uint32Array;
  readonly #references: Uint32Array;
  /** Idle slots, least recently used first. */
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  #oldest = NONE;
  #youngest = NONE;
  #idle = 0;
  /** Slots without an extent, the highest on top. */
  readonly #free: Int32Array;
  #freeCount: number;
  /** Hash from extent (wanted) to slot: chains through `#chain`. */
  readonly #buckets: Int32Array;
  readonly #chain: Int32Array;
  /** Slots changed by the pending transaction, oldest change first. */
  readonly #changed = new Int32Array(AL_UPDATES_PER_TRANSACTION);
  #changes = 0;
  #writing = false;
  #starving = false;
  #used = 0;
  #transaction = 0;
  #contextStart = 0;
  readonly #block = new Uint8Array(AL_BLOCK_BYTES);
  readonly #view = new DataView(this.#block.buffer);
  readonly #updateSlots = new Uint16Array(AL_UPDATES_PER_TRANSACTION);
  readonly #updateExtents = new Uint32Array(AL_UPDATES_PER_TRANSACTION);

  constructor(slots: number, stripes: number, stripeSize4k: number) {
    this.slots = slots;
    this.#stripes = stripes;
    this.#stripeSize4k = stripeSize4k;
    this.#active = new Uint32Array(slots).fill(AL_FREE);
    this.#wanted = new Uint32Array(slots).fill(AL_FREE);
    this.#references = new Uint32Array(slots);
    this.#next = new Int32Array(slots).fill(NONE);
    this.#previous = new Int32Array(slots).fill(NONE);
    this.#free = Int32Array.from({ length: slots }, (_, i) => i);
    this.#freeCount = slots;
    this.#chain = new Int32Array(slots).fill(NONE);
    this.#buckets = new Int32Array(2 ** Math.ceil(Math.log2(slots + 1))).fill(NONE);
  }

  /** Slots with a reference. */
  get usedCount(): number {
    return this.#used;
  }

  /** Extents that the log holds, idle ones included. */
  get hotCount(): number {
    return this.slots - this.#freeCount;
  }

  get pendingChanges(): number {
    return this.#changes;
  }

  get hasPending(): boolean {
    return this.#changes > 0;
  }

  /** A transaction has been encoded and neither committed nor aborted. */
  get writing(): boolean {
    return this.#writing;
  }

  /** New extents wait for a slot: hits are refused too until one was given up, so that they get their turn. */
  get starving(): boolean {
    return this.#starving;
  }

  /** Number of the transaction that `encodeTransaction` writes next. */
  get transaction(): number {
    return this.#transaction;
  }

  /** Whether the extent is named on disk, so that writes to it may start. */
  isHot(extent: number): boolean {
    const slot = this.#find(extent);
    return slot !== NONE && this.#active[slot] === extent;
  }

  /** Extents named on disk, in slot order. */
  hotExtents(): number[] {
    return [...this.#active].filter((extent) => extent !== AL_FREE);
  }

  /** Takes a reference on each extent when all are hot; takes none otherwise. */
  tryReference(first: number, last: number): boolean {
    if (this.#starving) return false;
    for (let extent = first; extent <= last; extent++) if (!this.isHot(extent)) return false;
    for (let extent = first; extent <= last; extent++) this.#reference(this.#find(extent));
    return true;
  }

  /** Takes a reference on all extents of the range, those that are cold by way of the pending transaction; or on none. */
  prepare(first: number, last: number): Prepared {
    let missing = 0;
    let revived = 0;
    for (let extent = first; extent <= last; extent++) {
      const slot = this.#find(extent);
      if (slot === NONE) missing++;
      else {
        if (this.#writing && this.#active[slot] !== extent) return 'full';
        if (this.#isLinked(slot)) revived++;
      }
    }
    if (missing > 0) {
      if (this.#writing || this.#changes + missing > AL_UPDATES_PER_TRANSACTION) return 'full';
      if (missing > this.#freeCount + this.#idle - revived) {
        if (this.#changes > 0) return 'full';
        this.#starving = true;
        return 'starving';
      }
      // Slots of the range that are idle must not be given up for its other extents.
      for (let extent = first; extent <= last; extent++) {
        const slot = this.#find(extent);
        if (slot !== NONE) this.#reference(slot);
      }
      for (let extent = first; extent <= last; extent++) if (this.#find(extent) === NONE) this.#reference(this.#change(extent));
      return 'joined';
    }
    for (let extent = first; extent <= last; extent++) this.#reference(this.#find(extent));
    return 'joined';
  }

  /**
   * The extent whose slot the pending transaction gives to another one with its change `index`, or AL_FREE: its bitmap pages go to disk
   * before the transaction does.
   */
  evictedExtent(index: number): number {
    return this.#active[this.#changed[index]!]!;
  }

  /**
   * The block to write for the pending transaction; without changes one that only repeats the context, as after a change
   * of the layout. The buffer is reused by the next call.
   */
  encodeTransaction(): Uint8Array {
    // Youngest first, as the original lists them.
    for (let i = 0; i < this.#changes; i++) {
      const slot = this.#changed[this.#changes - 1 - i]!;
      this.#updateSlots[i] = slot;
      this.#updateExtents[i] = this.#wanted[slot]!;
    }
    encodeAlUpdate(
      this.#block,
      this.#view,
      this.#transaction,
      this.#active,
      this.#contextStart,
      this.#updateSlots,
      this.#updateExtents,
      this.#changes,
    );
    this.#writing = true;
    return this.#block;
  }

  /** Block, within the activity log area, of a transaction. */
  ringBlockOf(transaction: number): number {
    return alBlockOfTransaction(transaction, this.#stripes, this.#stripeSize4k);
  }

  /** The area on disk got another layout; write every block of it before the next transaction. */
  layOut(stripes: number, stripeSize4k: number): void {
    this.#stripes = stripes;
    this.#stripeSize4k = stripeSize4k;
  }

  /** The block of `encodeTransaction` is durable: its extents are hot. */
  commit(): void {
    this.commitUnwritten();
    this.#transaction = (this.#transaction + 1) >>> 0;
    this.#contextStart = alContextAdvance(this.#contextStart, this.slots);
  }

  /** Extents become hot without a block on disk (`al-updates no`, suspended updates): the number does not advance. */
  commitUnwritten(): void {
    for (let i = 0; i < this.#changes; i++) {
      const slot = this.#changed[i]!;
      this.#active[slot] = this.#wanted[slot]!;
      if (this.#references[slot] === 0) this.#linkYoungest(slot);
    }
    this.#changes = 0;
    this.#writing = false;
  }

  /**
   * The transaction could not be written: its extents are forgotten, with the references on them. Slots keep what the disk
   * may still name, as idle.
   */
  abort(): void {
    for (let i = this.#changes - 1; i >= 0; i--) {
      const slot = this.#changed[i]!;
      this.#unhash(slot);
      if (this.#references[slot]! > 0) this.#used--;
      this.#references[slot] = 0;
      this.#wanted[slot] = this.#active[slot]!;
      if (this.#active[slot] === AL_FREE) this.#free[this.#freeCount++] = slot;
      else {
        this.#hash(slot);
        this.#linkYoungest(slot);
      }
    }
    this.#changes = 0;
    this.#writing = false;
    this.#starving = false;
  }

  /** Gives back what `tryReference` or `prepare` took. Extents that an abort dropped are passed over. */
  dereference(first: number, last: number): void {
    for (let extent = first; extent <= last; extent++) {
      const slot = this.#find(extent);
      if (slot === NONE || this.#references[slot] === 0) continue;
      this.#references[slot] = this.#references[slot]! - 1;
      if (this.#references[slot] !== 0) continue;
      this.#used--;
      this.#starving = false;
      // One that still waits for its transaction must not be given to a second extent by the same one.
      if (this.#wanted[slot] === this.#active[slot]) this.#linkYoungest(slot);
    }
  }

  /** Forgets everything that is not referenced, hot or not: nothing on disk names it any more. Not while writing. */
  forgetIdle(): void {
    while (this.#oldest !== NONE) {
      const slot = this.#oldest;
      this.#unlink(slot);
      this.#unhash(slot);
      this.#active[slot] = AL_FREE;
      this.#wanted[slot] = AL_FREE;
      this.#free[this.#freeCount++] = slot;
    }
  }

  #reference(slot: number): void {
    if (this.#references[slot] === 0) {
      this.#used++;
      if (this.#isLinked(slot)) this.#unlink(slot);
    }
    this.#references[slot] = this.#references[slot]! + 1;
  }

  /** Gives a slot to a cold extent; there is one. */
  #change(extent: number): number {
    let slot: number;
    if (this.#freeCount > 0) slot = this.#free[--this.#freeCount]!;
    else {
      slot = this.#oldest;
      this.#unlink(slot);
      this.#unhash(slot);
    }
    this.#wanted[slot] = extent;
    this.#hash(slot);
    this.#changed[this.#changes++] = slot;
    return slot;
  }

  #find(extent: number): number {
    let slot = this.#buckets[extent & (this.#buckets.length - 1)]!;
    while (slot !== NONE && this.#wanted[slot] !== extent) slot = this.#chain[slot]!;
    return slot;
  }

  #hash(slot: number): void {
    const bucket = this.#wanted[slot]! & (this.#buckets.length - 1);
    this.#chain[slot] = this.#buckets[bucket]!;
    this.#buckets[bucket] = slot;
  }

  #unhash(slot: number): void {
    const bucket = this.#wanted[slot]! & (this.#buckets.length - 1);
    let at = this.#buckets[bucket]!;
    if (at === slot) {
      this.#buckets[bucket] = this.#chain[slot]!;
      return;
    }
    while (this.#chain[at] !== slot) at = this.#chain[at]!;
    this.#chain[at] = this.#chain[slot]!;
  }

  #isLinked(slot: number): boolean {
    return this.#previous[slot] !== NONE || this.#oldest === slot;
  }

  #linkYoungest(slot: number): void {
    this.#previous[slot] = this.#youngest;
    this.#next[slot] = NONE;
    if (this.#youngest === NONE) this.#oldest = slot;
    else this.#next[this.#youngest] = slot;
    this.#youngest = slot;
    this.#idle++;
  }

  #unlink(slot: number): void {
    const before = this.#previous[slot]!;
    const after = this.#next[slot]!;
    if (before === NONE) this.#oldest = after;
    else this.#next[before] = after;
    if (after === NONE) this.#youngest = before;
    else this.#previous[after] = before;
    this.#previous[slot] = NONE;
    this.#next[slot] = NONE;
    this.#idle--;
  }
}
