/**
 * Serialises requests that touch the same blocks of a volume: an overlapping request waits, in order of arrival, until the
 * earlier one has ended. Holders are application writes until their completion, mirrored writes and resync writes while the
 * disk works on them, and the source's resync reads until the reply is queued (invariants I8, I9, I12).
 *
 * A mirrored write stands in front of everything that only waits: the peer may hold back what these will need until it has our
 * answer to that write. An application write holds its range only once it is being sent; it waits for nothing else then. Resync
 * writes stand in one row with the mirrored ones, for what came later from the peer is newer; but not in front of a holder that yields.
 */
import type { Requests } from './requests.js';

/** 64 KiB pieces hash into counters, so that the common case (no overlap) costs a few array reads. */
const BUCKET_SHIFT_SECTORS = 128;
const BUCKETS = 4096;

export class Overlap {
  readonly #requests: Requests;
  readonly #counts = new Uint16Array(BUCKETS);
  readonly #active: Int32Array;
  readonly #position: Int32Array;
  #activeCount = 0;
  /** Waiting slots in order of arrival, what came from the peer to be written in front; they count in the buckets too. */
  readonly #waiting: number[] = [];
  #mirroredWaiting = 0;
  /** Resync writes that wait. */
  readonly #resyncWaiting = new Set<number>();
  /** Waiting slots that do not run by themselves. */
  readonly #yielding = new Set<number>();

  constructor(requests: Requests) {
    this.#requests = requests;
    this.#active = new Int32Array(requests.capacity);
    this.#position = new Int32Array(requests.capacity).fill(-1);
  }

  get waitingCount(): number {
    return this.#waiting.length;
  }

  get activeCount(): number {
    return this.#activeCount;
  }

  /** Tries to hold the slot's range. @returns false when it has to wait; it is queued then. */
  enter(slot: number): boolean {
    if (this.#mayOverlap(slot) && (this.#overlapsActive(slot) || this.#overlapsWaiting(slot, this.#waiting.length))) {
      this.#waiting.push(slot);
      this.#count(slot, 1);
      return false;
    }
    this.#hold(slot);
    return true;
  }

  /** The same for a mirrored write: only for holders, and for mirrored writes that came before. */
  enterMirrored(slot: number): boolean {
    if (this.#mayOverlap(slot) && (this.#overlapsActive(slot) || this.#overlapsWaiting(slot, this.#mirroredWaiting))) {
      this.#waiting.splice(this.#mirroredWaiting++, 0, slot);
      this.#count(slot, 1);
      return false;
    }
    this.#hold(slot);
    return true;
  }

  /** The same for a resync write. */
  enterResync(slot: number): boolean {
    if (!this.#overlapsYielding(slot)) {
      const enters = this.enterMirrored(slot);
      if (!enters) this.#resyncWaiting.add(slot);
      return enters;
    }
    this.#waiting.splice(this.#mirroredWaiting++, 0, slot);
    this.#count(slot, 1);
    this.#resyncWaiting.add(slot);
    return false;
  }

  /** A holder gives way to mirrored writes that overlap it, and to nobody else, until `resume`. Call `nextRunnable` after both. */
  yield(slot: number): void {
    this.leave(slot);
    this.#waiting.splice(this.#mirroredWaiting, 0, slot);
    this.#count(slot, 1);
    this.#yielding.add(slot);
  }

  resume(slot: number): void {
    this.#yielding.delete(slot);
  }

  /** Holds the slot's range whoever holds it too. */
  enterBeside(slot: number): void {
    this.#hold(slot);
  }

  /** The first holder below `limit` whose range overlaps the slot's and that satisfies `test`; -1 when there is none. */
  findHolder(slot: number, limit: number, test: (holder: number) => boolean): number {
    if (!this.#mayOverlap(slot)) return -1;
    const sector = this.#requests.sector[slot]!;
    const lengthBytes = this.#requests.lengthBytes[slot]!;
    for (let i = 0; i < this.#activeCount; i++) {
      const holder = this.#active[i]!;
      if (holder < limit && this.#covers(holder, sector, lengthBytes) && test(holder)) return holder;
    }
    return -1;
  }

  holds(slot: number): boolean {
    return this.#position[slot]! >= 0;
  }

  /** Gives the range back. Call `nextRunnable` afterwards while `waitingCount` is not 0. */
  leave(slot: number): void {
    const at = this.#position[slot]!;
    if (at < 0) return;
    const last = this.#active[--this.#activeCount]!;
    this.#active[at] = last;
    this.#position[last] = at;
    this.#position[slot] = -1;
    this.#count(slot, -1);
  }

  /** The first waiting slot that need not wait any more, already holding its range; -1 when there is none. */
  nextRunnable(): number {
    for (let i = 0; i < this.#waiting.length; i++) {
      const slot = this.#waiting[i]!;
      if (this.#yielding.has(slot) || this.#overlapsActive(slot) || this.#overlapsWaiting(slot, i)) continue;
      if (this.#resyncWaiting.has(slot) && this.#overlapsYielding(slot)) continue;
      this.#unqueue(i);
      this.#hold(slot);
      return slot;
    }
    return -1;
  }

  /** Takes a waiting slot out of the queue. @returns whether it was there */
  forget(slot: number): boolean {
    const at = this.#waiting.indexOf(slot);
    if (at < 0) return false;
    this.#yielding.delete(slot);
    this.#unqueue(at);
    return true;
  }

  /** Takes the waiting slots out of the queue that `isUnwanted` names. Call `nextRunnable` afterwards. */
  forgetAll(isUnwanted: (slot: number) => boolean): number[] {
    return this.#waiting.filter((slot) => isUnwanted(slot)).filter((slot) => this.forget(slot));
  }

  #unqueue(at: number): void {
    this.#resyncWaiting.delete(this.#waiting[at]!);
    this.#count(this.#waiting[at]!, -1);
    this.#waiting.splice(at, 1);
    if (at < this.#mirroredWaiting) this.#mirroredWaiting--;
  }

  #hold(slot: number): void {
    this.#position[slot] = this.#activeCount;
    this.#active[this.#activeCount++] = slot;
    this.#count(slot, 1);
  }

  #count(slot: number, by: number): void {
    const sector = this.#requests.sector[slot]!;
    const first = Math.floor(sector / BUCKET_SHIFT_SECTORS);
    const last = Math.floor((sector + this.#requests.lengthBytes[slot]! / 512 - 1) / BUCKET_SHIFT_SECTORS);
    if (last - first >= BUCKETS) {
      for (let b = 0; b < BUCKETS; b++) this.#counts[b]! += by;
      return;
    }
    for (let b = first; b <= last; b++) this.#counts[b % BUCKETS]! += by;
  }

  #mayOverlap(slot: number): boolean {
    const sector = this.#requests.sector[slot]!;
    const first = Math.floor(sector / BUCKET_SHIFT_SECTORS);
    const last = Math.floor((sector + this.#requests.lengthBytes[slot]! / 512 - 1) / BUCKET_SHIFT_SECTORS);
    if (last - first >= BUCKETS) return this.#activeCount > 0 || this.#waiting.length > 0;
    for (let b = first; b <= last; b++) if (this.#counts[b % BUCKETS] !== 0) return true;
    return false;
  }

  #overlapsActive(slot: number): boolean {
    const start = this.#requests.sector[slot]!;
    const end = start + this.#requests.lengthBytes[slot]! / 512;
    for (let i = 0; i < this.#activeCount; i++) {
      const other = this.#active[i]!;
      const otherStart = this.#requests.sector[other]!;
      if (otherStart < end && start < otherStart + this.#requests.lengthBytes[other]! / 512) return true;
    }
    return false;
  }

  /** Whether the range is held, or waited for. */
  touches(sector: number, lengthBytes: number): boolean {
    for (let i = 0; i < this.#activeCount; i++) if (this.#covers(this.#active[i]!, sector, lengthBytes)) return true;
    for (let i = 0; i < this.#waiting.length; i++) if (this.#covers(this.#waiting[i]!, sector, lengthBytes)) return true;
    return false;
  }

  #covers(slot: number, sector: number, lengthBytes: number): boolean {
    const start = this.#requests.sector[slot]!;
    return start < sector + lengthBytes / 512 && sector < start + this.#requests.lengthBytes[slot]! / 512;
  }

  #overlapsWaiting(slot: number, before: number): boolean {
    const start = this.#requests.sector[slot]!;
    const end = start + this.#requests.lengthBytes[slot]! / 512;
    for (let i = 0; i < before; i++) {
      const other = this.#waiting[i]!;
      const otherStart = this.#requests.sector[other]!;
      if (otherStart >= end || start >= otherStart + this.#requests.lengthBytes[other]! / 512) continue;
      // A resync write that waits for a holder that yields: that one may wait for this.
      if (this.#resyncWaiting.has(other) && this.#overlapsYielding(other)) continue;
      return true;
    }
    return false;
  }

  #overlapsYielding(slot: number): boolean {
    if (this.#yielding.size === 0) return false;
    const { sector, lengthBytes } = this.#requests;
    for (const other of this.#yielding) if (this.#covers(other, sector[slot]!, lengthBytes[slot]!)) return true;
    return false;
  }
}
