/**
 * The out-of-sync bitmaps of one volume, in memory as they lie on disk: one bit per block and slot, the slots interleaved by
 * 32-bit little-endian words. Remembers which 4 KiB pages differ from the disk. Source: DRBD 9 drbd_bitmap.c.
 *
 * Bit numbers can exceed 2^31: they are divided, never shifted. Nothing here allocates but the constructor and `resize`.
 */
import { AL_EXTENT_BYTES, BM_BYTES_PER_BIT_DEFAULT, hweight32, SECTOR_BYTES } from '@udrbd/metadata';

export const BITMAP_PAGE_BYTES = 4096;
const PAGE_WORDS = BITMAP_PAGE_BYTES / 4;

/** Bits `from`..`to` (0..31, both included) of a word. */
const maskOf = (from: number, to: number): number => ((0xffff_ffff << from) & (0xffff_ffff >>> (31 - to))) >>> 0;

export class Bitmap {
  readonly maxPeers: number;
  readonly sectorsPerBit: number;
  /** Size of the device that the bits stand for; the last bit may cover less than a block. */
  sizeSectors: number;
  /** Bits per slot. */
  bits: number;
  #image: Uint8Array;
  #words: Uint32Array;
  /** Set bits per slot. */
  readonly #weight: Float64Array;
  #dirty: Uint8Array;
  #dirtyPages = 0;

  /** How many times bits were cleared, and how many of them stand for data that have been flushed since. */
  clears = 0;
  flushedClears = 0;

  /**
   * @param image - the bitmap area as read from disk, whole 4 KiB pages; taken over
   * @param maxPeers - number of interleaved slots
   */
  constructor(image: Uint8Array, maxPeers: number, sizeSectors: number, bytesPerBit = BM_BYTES_PER_BIT_DEFAULT) {
    this.maxPeers = maxPeers;
    this.sectorsPerBit = bytesPerBit / SECTOR_BYTES;
    this.sizeSectors = sizeSectors;
    this.bits = Math.ceil(sizeSectors / this.sectorsPerBit);
    this.#image = image.byteOffset % 4 === 0 ? image : image.slice();
    this.#words = wordsOf(this.#image);
    this.#weight = new Float64Array(maxPeers);
    this.#dirty = new Uint8Array(Math.ceil(image.length / BITMAP_PAGE_BYTES));
    this.#requireRoom();
    this.#clearSurplus();
    this.#recount();
  }

  /** The bitmap area as it should lie on disk; a page is `bytes.subarray(page * 4096, page * 4096 + 4096)`. */
  get bytes(): Uint8Array {
    return this.#image;
  }

  get pages(): number {
    return this.#dirty.length;
  }

  /** 64-bit words per slot: the unit of P_BITMAP. */
  get words(): number {
    return Math.ceil(this.bits / 64);
  }

  /** Number of set bits. */
  weight(slot: number): number {
    return this.#weight[slot]!;
  }

  // --- by sectors ---

  /**
   * Marks every block that the range touches.
   * @returns bits newly set
   */
  setRange(slot: number, sector: number, lengthBytes: number): number {
    const first = Math.floor(sector / this.sectorsPerBit);
    const last = Math.floor((sector + lengthBytes / SECTOR_BYTES - 1) / this.sectorsPerBit);
    return lengthBytes === 0 ? 0 : this.setBits(slot, first, last);
  }

  /**
   * Clears the blocks that lie in the range as a whole; the last block of the device is whole even when it is short.
   * @returns bits newly cleared
   */
  clearRange(slot: number, sector: number, lengthBytes: number): number {
    const end = sector + lengthBytes / SECTOR_BYTES;
    const first = Math.ceil(sector / this.sectorsPerBit);
    const last = end >= this.sizeSectors ? this.bits - 1 : Math.floor(end / this.sectorsPerBit) - 1;
    return this.clearBits(slot, first, last);
  }

  /** Whether any block that the range touches is marked. */
  testRange(slot: number, sector: number, lengthBytes: number): boolean {
    if (lengthBytes === 0) return false;
    const first = Math.floor(sector / this.sectorsPerBit);
    const last = Math.floor((sector + lengthBytes / SECTOR_BYTES - 1) / this.sectorsPerBit);
    const at = this.findNext(slot, first);
    return at !== -1 && at <= last;
  }

  // --- by bits ---

  isSet(slot: number, bit: number): boolean {
    if (bit >= this.bits) return false;
    return (this.#words[Math.floor(bit / 32) * this.maxPeers + slot]! & (1 << (bit % 32))) !== 0;
  }

  /** @returns bits of `first`..`last` newly set; those beyond the device are ignored */
  setBits(slot: number, first: number, last: number): number {
    const end = Math.min(last, this.bits - 1);
    let changed = 0;
    for (let bit = first; bit <= end; ) {
      const from = bit % 32;
      const to = Math.min(31, from + end - bit);
      const at = Math.floor(bit / 32) * this.maxPeers + slot;
      const before = this.#words[at]!;
      const fresh = maskOf(from, to) & ~before;
      if (fresh !== 0) {
        this.#words[at] = before | fresh;
        this.#touch(at);
        changed += hweight32(fresh);
      }
      bit += to - from + 1;
    }
    this.#weight[slot] = this.#weight[slot]! + changed;
    return changed;
  }

  /** @returns bits of `first`..`last` newly cleared */
  clearBits(slot: number, first: number, last: number): number {
    const end = Math.min(last, this.bits - 1);
    let changed = 0;
    for (let bit = first; bit <= end; ) {
      const from = bit % 32;
      const to = Math.min(31, from + end - bit);
      const at = Math.floor(bit / 32) * this.maxPeers + slot;
      const before = this.#words[at]!;
      const gone = maskOf(from, to) & before;
      if (gone !== 0) {
        this.#words[at] = before & ~gone;
        this.#touch(at);
        changed += hweight32(gone);
      }
      bit += to - from + 1;
    }
    this.#weight[slot] = this.#weight[slot]! - changed;
    if (changed > 0) this.clears++;
    return changed;
  }

  setAll(slot: number): void {
    this.setBits(slot, 0, this.bits - 1);
  }

  clearAll(slot: number): void {
    if (this.#weight[slot] !== 0) this.clearBits(slot, 0, this.bits - 1);
  }

  /** Number of set bits among `first`..`last`. */
  countBits(slot: number, first: number, last: number): number {
    const end = Math.min(last, this.bits - 1);
    let count = 0;
    for (let bit = first; bit <= end; ) {
      const from = bit % 32;
      const to = Math.min(31, from + end - bit);
      count += hweight32(this.#words[Math.floor(bit / 32) * this.maxPeers + slot]! & maskOf(from, to));
      bit += to - from + 1;
    }
    return count;
  }

  /** The first set bit at or behind `from`, or -1. */
  findNext(slot: number, from: number): number {
    return this.#find(slot, from, 0);
  }

  /** The first clear bit at or behind `from`, or -1. */
  findNextClear(slot: number, from: number): number {
    return this.#find(slot, from, 0xffff_ffff);
  }

  #find(slot: number, from: number, flip: number): number {
    if (from >= this.bits) return -1;
    let word = Math.floor(from / 32);
    let value = (this.#words[word * this.maxPeers + slot]! ^ flip) & maskOf(from % 32, 31);
    const words = Math.ceil(this.bits / 32);
    while (value === 0) {
      if (++word >= words) return -1;
      value = this.#words[word * this.maxPeers + slot]! ^ flip;
    }
    const found = word * 32 + 31 - Math.clz32(value & -value);
    return found < this.bits ? found : -1;
  }

  // --- by words: the bitmap exchange ---

  /**
   * Adds what a peer has marked: `wordCount` little-endian 64-bit words for `firstWord` and those behind it.
   * @returns bits newly set
   */
  orWords(slot: number, firstWord: number, bytes: Uint8Array, start: number, wordCount: number): number {
    let changed = 0;
    const count = Math.min(wordCount, this.words - firstWord) * 2;
    for (let i = 0; i < count; i++) {
      const word = firstWord * 2 + i;
      const p = start + i * 4;
      const value = (bytes[p]! | (bytes[p + 1]! << 8) | (bytes[p + 2]! << 16) | (bytes[p + 3]! << 24)) & this.#validMask(word);
      if (value === 0) continue;
      const at = word * this.maxPeers + slot;
      const before = this.#words[at]!;
      const fresh = value & ~before;
      if (fresh === 0) continue;
      this.#words[at] = before | fresh;
      this.#touch(at);
      changed += hweight32(fresh);
    }
    this.#weight[slot] = this.#weight[slot]! + changed;
    return changed;
  }

  /** Copies `wordCount` 64-bit words, little endian, to `into[at...]`. */
  readWords(slot: number, firstWord: number, wordCount: number, into: Uint8Array, at: number): void {
    for (let i = 0; i < wordCount * 2; i++) {
      const word = firstWord * 2 + i;
      const value = this.#validMask(word) === 0 ? 0 : this.#words[word * this.maxPeers + slot]!;
      const p = at + i * 4;
      into[p] = value;
      into[p + 1] = value >>> 8;
      into[p + 2] = value >>> 16;
      into[p + 3] = value >>> 24;
    }
  }

  // --- pages ---

  /** Pages that differ from the disk. */
  get dirtyPages(): number {
    return this.#dirtyPages;
  }

  isDirty(page: number): boolean {
    return this.#dirty[page] === 1;
  }

  /** The first page at or behind `from` that has to be written, or -1. */
  nextDirtyPage(from: number): number {
    return this.#dirtyPages === 0 ? -1 : this.#dirty.indexOf(1, from);
  }

  /** The page's content has been handed over for writing; a later change makes it dirty again. */
  clearDirty(page: number): void {
    this.#dirtyPages -= this.#dirty[page]!;
    this.#dirty[page] = 0;
  }

  markDirty(page: number): void {
    this.#dirtyPages += 1 - this.#dirty[page]!;
    this.#dirty[page] = 1;
  }

  markAllDirty(): void {
    this.#dirty.fill(1);
    this.#dirtyPages = this.#dirty.length;
  }

  /** First and last page with bits of an activity log extent. */
  firstPageOfExtent(alExtent: number): number {
    return Math.floor((Math.floor((alExtent * this.#bitsPerExtent) / 32) * this.maxPeers) / PAGE_WORDS);
  }

  lastPageOfExtent(alExtent: number): number {
    const lastWord = Math.floor(((alExtent + 1) * this.#bitsPerExtent - 1) / 32);
    return Math.min(this.pages - 1, Math.floor(((lastWord + 1) * this.maxPeers - 1) / PAGE_WORDS));
  }

  pagesOfExtent(alExtent: number): { readonly first: number; readonly last: number } {
    return { first: this.firstPageOfExtent(alExtent), last: this.lastPageOfExtent(alExtent) };
  }

  get #bitsPerExtent(): number {
    return AL_EXTENT_BYTES / (this.sectorsPerBit * SECTOR_BYTES);
  }

  // --- size ---

  /**
   * The device got another size, and with it another bitmap area. All pages become dirty.
   * @param image - the new area; its content does not matter; taken over
   * @param setNew - mark what was added, in all slots
   */
  resize(image: Uint8Array, sizeSectors: number, setNew: boolean): void {
    // The last block may have been cut short: what it gains is new as well.
    const firstNew = Math.floor(this.sizeSectors / this.sectorsPerBit);
    image.fill(0);
    image.set(this.#image.subarray(0, Math.min(image.length, this.#image.length)));
    this.#image = image.byteOffset % 4 === 0 ? image : image.slice();
    this.#words = wordsOf(this.#image);
    this.sizeSectors = sizeSectors;
    this.bits = Math.ceil(sizeSectors / this.sectorsPerBit);
    this.#requireRoom();
    this.#dirty = new Uint8Array(Math.ceil(image.length / BITMAP_PAGE_BYTES));
    this.#clearSurplus();
    this.#recount();
    if (setNew) for (let slot = 0; slot < this.maxPeers; slot++) this.setBits(slot, firstNew, this.bits - 1);
    this.markAllDirty();
  }

  #requireRoom(): void {
    if (this.#words.length < Math.ceil(this.bits / 32) * this.maxPeers) {
      throw new RangeError(`${this.#image.length} bytes do not hold ${this.maxPeers} bitmaps of ${this.bits} bits`);
    }
  }

  /** Bits of a word that belong to the device. */
  #validMask(word: number): number {
    const left = this.bits - word * 32;
    return left >= 32 ? 0xffff_ffff : left <= 0 ? 0 : maskOf(0, left - 1);
  }

  #touch(wordIndex: number): void {
    const page = Math.floor(wordIndex / PAGE_WORDS);
    if (this.#dirty[page] === 0) {
      this.#dirty[page] = 1;
      this.#dirtyPages++;
    }
  }

  /** Bits behind the end of the device mean nothing: a log replay may have set them. */
  #clearSurplus(): void {
    const words = this.#words;
    const boundary = Math.floor(this.bits / 32);
    for (let slot = 0; slot < this.maxPeers; slot++) {
      for (let word = boundary; word * this.maxPeers + slot < words.length; word++) {
        const at = word * this.maxPeers + slot;
        const kept = words[at]! & this.#validMask(word);
        if (kept >>> 0 === words[at]) continue;
        words[at] = kept;
        this.#touch(at);
      }
    }
  }

  #recount(): void {
    this.#weight.fill(0);
    for (let at = 0; at < this.#words.length; at++) {
      const value = this.#words[at]!;
      if (value !== 0) this.#weight[at % this.maxPeers] = this.#weight[at % this.maxPeers]! + hweight32(value);
    }
  }
}

const wordsOf = (image: Uint8Array): Uint32Array => new Uint32Array(image.buffer, image.byteOffset, Math.floor(image.length / 4));
