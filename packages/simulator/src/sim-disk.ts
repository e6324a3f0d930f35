/**
 * A disk with a volatile write cache. Two sparse images: what a read returns, and what a power cut leaves for certain. A
 * write counts when it completes; until a flush that began later has ended, a power cut may keep or lose it, whole or by
 * sectors. Writes in flight may be torn. Atomic unit: 512 bytes.
 */

import { areZeroes, isZero, zeroes } from './payload.js';
import type { Prng } from './prng.js';
import { Slab, transient } from './slab.js';
import { SECTOR } from './stamp.js';

const PAGE = 4096;

/** Pages stay as long as their disk. */
const pageSlab = new Slab();

/** 4 KiB pages by number; a page that is absent is zero. */
class SparseImage {
  readonly pages = new Map<number, Uint8Array>();
  /** Pages that are not only this image's: copied before they are written to. */
  readonly #shared = new Set<number>();

  /** @param into - zeroes */
  read(offset: number, into: Uint8Array): void {
    for (let done = 0; done < into.length; ) {
      const at = (offset + done) % PAGE;
      const length = Math.min(PAGE - at, into.length - done);
      const page = this.pages.get(Math.floor((offset + done) / PAGE));
      if (page !== undefined) into.set(page.subarray(at, at + length), done);
      done += length;
    }
  }

  /** `bytes` are not to change after this: whole pages of them become pages of the image. */
  write(offset: number, bytes: Uint8Array): void {
    if (areZeroes(bytes)) return this.zero(offset, bytes.length);
    for (let done = 0; done < bytes.length; ) {
      const at = (offset + done) % PAGE;
      const length = Math.min(PAGE - at, bytes.length - done);
      const number = Math.floor((offset + done) / PAGE);
      const part = bytes.subarray(done, done + length);
      if (length < PAGE) this.#page(number).set(part, at);
      else if (isZero(part)) this.#drop(number);
      else this.#share(number, part);
      done += length;
    }
  }

  /** What a read returns, not to be changed: where that is possible no copy. */
  view(offset: number, length: number): Uint8Array {
    const begin = Math.floor(offset / PAGE);
    const end = Math.ceil((offset + length) / PAGE);
    let found = 0;
    let isWhole = true;
    const first = this.pages.get(begin);
    for (let number = begin; number < end; number++) {
      const page = this.pages.get(number);
      if (page === undefined) continue;
      found++;
      isWhole &&= first !== undefined && page.buffer === first.buffer && page.byteOffset === first.byteOffset + (number - begin) * PAGE;
    }
    if (found === 0) return zeroes(length);
    if (first !== undefined && isWhole && found === end - begin) {
      // Pages of one write are still in one piece.
      for (let number = begin; number < end; number++) this.#shared.add(number);
      return new Uint8Array(first.buffer, first.byteOffset + (offset % PAGE), length);
    }
    const bytes = transient.allocate(length);
    this.read(offset, bytes);
    return bytes;
  }

  zero(offset: number, length: number): void {
    for (let done = 0; done < length; ) {
      const at = (offset + done) % PAGE;
      const part = Math.min(PAGE - at, length - done);
      const number = Math.floor((offset + done) / PAGE);
      if (part === PAGE) this.#drop(number);
      else if (this.pages.has(number)) this.#page(number).fill(0, at, at + part);
      done += part;
    }
  }

  copyFrom(other: SparseImage): void {
    this.pages.clear();
    this.#shared.clear();
    for (const [number, page] of other.pages) {
      this.#share(number, page);
      other.#shared.add(number);
    }
  }

  /** The same pages, but for those of a range, which are copies: for an image that is written to only there. */
  shareWith(other: SparseImage, apart: Iterable<number>): void {
    for (const number of apart) {
      const page = this.pages.get(number);
      if (page !== undefined) other.pages.set(number, page.slice());
    }
    for (const [number, page] of this.pages) if (!other.pages.has(number)) other.pages.set(number, page);
  }

  #share(number: number, page: Uint8Array): void {
    this.pages.set(number, page);
    this.#shared.add(number);
  }

  #drop(number: number): void {
    this.pages.delete(number);
    this.#shared.delete(number);
  }

  /** The page, to be written to. */
  #page(number: number): Uint8Array {
    let page = this.pages.get(number);
    if (page === undefined) {
      page = pageSlab.allocate(PAGE);
      this.pages.set(number, page);
    } else if (this.#shared.size > 0 && this.#shared.delete(number)) {
      page = pageSlab.copyOf(page);
      this.pages.set(number, page);
    }
    return page;
  }
}

/** One write; `bytes` undefined stands for `length` zeroes. */
export interface DiskWrite {
  readonly offset: number;
  readonly length: number;
  readonly bytes: Uint8Array | undefined;
  readonly fua: boolean;
  /** Never torn: one unit of the disk. */
  readonly atomic: boolean;
  /** What has to be durable before it, a token of `flushPoint`; -1: nothing. */
  readonly behind: number;
  /** Order of completion. */
  sequence: number;
}

/** A write that a power cut leaves, whole or its first sectors only. */
export interface KeptWrite {
  readonly write: DiskWrite;
  /** Sectors of 512 bytes from its begin. */
  readonly sectors: number;
}

/**
 * Torn writes longer than this many sectors are cut at 4 KiB borders, and one sector after the begin and before the end; those that are very long
 * at only so many borders.
 */
const TORN_EVERYWHERE = 8;
const TORN_BORDERS = 16;

export class SimDisk {
  sizeBytes: number;
  /** Every size it had, the present one last. */
  readonly sizes: number[];
  readonly hasWriteCache: boolean;
  /** Pages whose content may have changed; for a checker to empty. */
  readonly touchedPages = new Set<number>();
  readonly #current = new SparseImage();
  readonly #stable = new SparseImage();
  /** Completed and not known to be durable, in order of completion. */
  #cached: DiskWrite[] = [];
  readonly #inFlight = new Set<DiskWrite>();
  /** Sectors made durable ahead of older cached writes (FUA): order of the write that did. */
  readonly #ahead = new Map<number, number>();
  #sequence = 0;

  constructor(sizeBytes: number, hasWriteCache: boolean) {
    this.sizeBytes = sizeBytes;
    this.sizes = [sizeBytes];
    this.hasWriteCache = hasWriteCache;
  }

  /** The volume below gets longer. */
  grow(bytes: number): void {
    this.sizeBytes += bytes;
    this.sizes.push(this.sizeBytes);
  }

  read(offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.#current.read(offset, bytes);
    return bytes;
  }

  /** The same, not to be changed: where that is possible no copy. */
  view(offset: number, length: number): Uint8Array {
    return this.#current.view(offset, length);
  }

  /** What is there for certain after a power cut. */
  readStable(offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.#stable.read(offset, bytes);
    return bytes;
  }

  stableByte(offset: number): number {
    return this.#stable.pages.get(Math.floor(offset / PAGE))?.[offset % PAGE] ?? 0;
  }

  /** The page as a read returns it; undefined for zeroes. Not to be changed. */
  page(number: number): Uint8Array | undefined {
    return this.#current.pages.get(number);
  }

  /** The same of what is there for certain after a power cut. */
  stablePage(number: number): Uint8Array | undefined {
    return this.#stable.pages.get(number);
  }

  pageNumbers(): IterableIterator<number> {
    return this.#current.pages.keys();
  }

  /** Begins a write; the content is taken now. */
  submit(offset: number, bytes: Uint8Array, fua: boolean, atomic = false, behind = -1): DiskWrite {
    return this.submitKept(offset, transient.copyOf(bytes), fua, atomic, behind);
  }

  /** The same of bytes that nobody changes any more. */
  submitKept(offset: number, bytes: Uint8Array, fua: boolean, atomic = false, behind = -1): DiskWrite {
    const write: DiskWrite = { offset, length: bytes.length, bytes, fua, atomic, behind, sequence: 0 };
    this.#inFlight.add(write);
    return write;
  }

  submitZeroes(offset: number, length: number, fua: boolean): DiskWrite {
    const write: DiskWrite = { offset, length, bytes: undefined, fua, atomic: false, behind: -1, sequence: 0 };
    this.#inFlight.add(write);
    return write;
  }

  complete(write: DiskWrite): void {
    this.#inFlight.delete(write);
    write.sequence = ++this.#sequence;
    apply(this.#current, write);
    this.#touch(write.offset, write.length);
    if (!this.hasWriteCache) apply(this.#stable, write);
    else if (write.fua) {
      apply(this.#stable, write);
      for (let at = 0; at < write.length; at += SECTOR) this.#ahead.set((write.offset + at) / SECTOR, write.sequence);
    } else this.#cached.push(write);
  }

  /** The write failed: nothing of it counts. */
  abandon(write: DiskWrite): void {
    this.#inFlight.delete(write);
  }

  /** What a flush that begins now will make durable: a token for `flushed`. */
  get flushPoint(): number {
    return this.#sequence;
  }

  /** A flush has ended that began at `point`. */
  flushed(point: number): void {
    let count = 0;
    for (; count < this.#cached.length; count++) {
      const write = this.#cached[count]!;
      if (write.sequence > point) break;
      this.#persist(write, undefined);
    }
    this.#cached.splice(0, count);
    if (this.#cached.length === 0) this.#ahead.clear();
  }

  /** Writes directly to the stable image: what was done before the test begins, or by tools that sync. */
  format(offset: number, from: Uint8Array): void {
    const bytes = from.slice();
    this.#current.write(offset, bytes);
    this.#stable.write(offset, bytes);
    this.#touch(offset, bytes.length);
  }

  get unstableWrites(): number {
    return this.#cached.length + this.#inFlight.size;
  }

  /** The power goes: every write that is not durable survives or not, by sectors when torn. */
  powerCut(prng: Prng, tornPercent: number): void {
    const mode = prng.below(4);
    // Nothing of a write is there before the flush in front of it has ended.
    for (const write of [...this.#inFlight]) {
      if (write.behind < 0) continue;
      if (prng.chance(1, 2)) this.flushed(write.behind);
      else this.#inFlight.delete(write);
    }
    for (const write of [...this.#cached, ...this.#inFlight]) this.#touch(write.offset, write.length);
    for (const write of [...this.#cached, ...this.#inFlight]) {
      const survives = mode === 0 ? false : mode === 1 ? true : prng.chance(1, 2);
      const isTorn = prng.chance(tornPercent, 100) && write.length > SECTOR && !write.atomic;
      if (isTorn) {
        const byPrefix = prng.chance(1, 2);
        const cut = prng.below(write.length / SECTOR + 1);
        this.#persist(write, (index) => (byPrefix ? index < cut : prng.chance(1, 2)));
      } else if (survives) this.#persist(write, undefined);
    }
    this.#cached = [];
    this.#inFlight.clear();
    this.#ahead.clear();
    this.#current.copyFrom(this.#stable);
  }

  /**
   * Everything that a power cut at this instant may leave of what is not durable: each subset of the last `window` writes, those before
   * them all kept or all lost, and the last one that is kept also torn.
   * @param tearsAtomic - writes that are one unit of the disk are torn too
   */
  *cuts(window: number, tearsAtomic = false): Generator<readonly KeptWrite[]> {
    const all = [...this.#cached, ...this.#inFlight];
    const older = all.slice(0, Math.max(0, all.length - window));
    const recent = all.slice(older.length);
    for (const before of older.length > 0 ? [older, []] : [[]]) {
      for (let subset = 0; subset < 1 << recent.length; subset++) {
        const kept = [...before, ...recent.filter((_, i) => (subset & (1 << i)) !== 0)];
        // Nothing of a write is there before the flush in front of it has ended.
        const behind = Math.max(-1, ...kept.map((write) => write.behind));
        if (this.#cached.some((write) => write.sequence <= behind && !kept.includes(write))) continue;
        const whole = kept.map((write) => ({ write, sectors: write.length / SECTOR }));
        yield whole;
        const last = whole.at(-1);
        if (last === undefined || (last.write.atomic && !tearsAtomic)) continue;
        for (const sectors of tears(last.sectors)) yield [...whole.slice(0, -1), { write: last.write, sectors }];
      }
    }
  }

  /** A disk that holds what is durable here and `kept`. It shares memory with this one: to be looked at, or to be copied with `restarted`. */
  after(kept: readonly KeptWrite[]): SimDisk {
    const result = new SimDisk(this.sizeBytes, this.hasWriteCache);
    result.sizes.splice(0, 1, ...this.sizes);
    const touched = new Set<number>();
    for (const { write } of kept) {
      const end = (write.offset + write.length) / PAGE;
      for (let page = Math.floor(write.offset / PAGE); page < end; page++) touched.add(page);
    }
    this.#stable.shareWith(result.#stable, touched);
    for (const [sector, order] of this.#ahead) result.#ahead.set(sector, order);
    for (const { write, sectors } of kept) result.#persist(write, (index) => index < sectors);
    result.#ahead.clear();
    result.#stable.shareWith(result.#current, []);
    return result;
  }

  /** A copy, as it is after a restart of what uses it: everything that it holds is durable. */
  restarted(): SimDisk {
    const result = new SimDisk(this.sizeBytes, this.hasWriteCache);
    result.sizes.splice(0, 1, ...this.sizes);
    result.#stable.copyFrom(this.#current);
    result.#current.copyFrom(this.#current);
    for (const page of this.#current.pages.keys()) result.touchedPages.add(page);
    return result;
  }

  /** The process that wrote is gone, the disk is not: what was in flight ends, or had never been issued. */
  processGone(prng: Prng): void {
    for (const write of [...this.#inFlight]) {
      if (prng.chance(1, 2)) {
        if (write.behind >= 0) this.flushed(write.behind);
        this.complete(write);
      } else this.abandon(write);
    }
  }

  #touch(offset: number, length: number): void {
    const end = (offset + length) / PAGE;
    for (let page = Math.floor(offset / PAGE); page < end; page++) this.touchedPages.add(page);
  }

  /** Whether some sector of it is durable already, as a later write left it. */
  #isOvertaken(write: DiskWrite, order: number): boolean {
    if (this.#ahead.size === 0) return false;
    for (let at = 0; at < write.length; at += SECTOR) if ((this.#ahead.get((write.offset + at) / SECTOR) ?? 0) > order) return true;
    return false;
  }

  #persist(write: DiskWrite, keep: ((index: number) => boolean) | undefined): void {
    const order = write.sequence === 0 ? Number.POSITIVE_INFINITY : write.sequence;
    if (keep === undefined && !this.#isOvertaken(write, order)) return apply(this.#stable, write);
    for (let at = 0, index = 0; at < write.length; at += SECTOR, index++) {
      if (keep !== undefined && !keep(index)) continue;
      if ((this.#ahead.get((write.offset + at) / SECTOR) ?? 0) > order) continue;
      if (write.bytes === undefined) this.#stable.zero(write.offset + at, SECTOR);
      else this.#stable.write(write.offset + at, write.bytes.subarray(at, at + SECTOR));
    }
  }
}

/** Where a write of so many sectors may be torn. */
function* tears(sectors: number): Generator<number> {
  const step = sectors <= TORN_EVERYWHERE ? 1 : 8 * Math.ceil(sectors / 8 / TORN_BORDERS);
  for (let at = 1; at < sectors; at++) if (at % step === 0 || at === 1 || at === sectors - 1) yield at;
}

function apply(image: SparseImage, write: DiskWrite): void {
  if (write.bytes === undefined) image.zero(write.offset, write.length);
  else image.write(write.offset, write.bytes);
}
