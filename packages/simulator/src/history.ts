/**
 * What the applications were told, kept outside of the system under test, and what follows from it.
 *
 * A write has three ends: ok, failed, unknown (its node went down). `obliged` holds, per node, the completed writes that its
 * disk has to have when it calls itself UpToDate: those completed there, those completed while it was mirrored to, and
 * whatever its source was obliged to at the end of a resync.
 */
import { ALIEN } from './stamp.js';

export type NodeId = 0 | 1;

export interface HistoryWrite {
  readonly id: number;
  readonly node: NodeId;
  /** Zeroes (a discard, a write of zeroes) cannot be told apart on disk. */
  readonly isZero: boolean;
  readonly sector: number;
  readonly sectors: number;
  readonly fua: boolean;
  readonly start: number;
  /** Infinity while it runs. */
  end: number;
  state: 'running' | 'ok' | 'failed' | 'unknown';
  /** A flush that began after its end completed on its node, or it was FUA: survives a power cut there. */
  durable: boolean;
  /** Mirrored with protocol C to an UpToDate peer when it completed. */
  mirrored: boolean;
}

export class History {
  readonly writes: HistoryWrite[] = [];
  readonly obliged: readonly [Set<number>, Set<number>] = [new Set(), new Set()];
  /** Where the devices ended at first: what lies behind has held meta-data. */
  bornSectors = Number.POSITIVE_INFINITY;
  readonly #bySector = new Map<number, number[]>();
  readonly #running = new Set<HistoryWrite>();
  /** Of each node, when the last of its writes ended, Infinity while one runs. */
  readonly #busyUntil: [number, number] = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY];
  /** Completed, in order of completion, and not covered by a flush. */
  readonly #unflushed: readonly [HistoryWrite[], HistoryWrite[]] = [[], []];

  /** A copy that goes its own way from here: what was told so far, to look at one of the ways in which things may go on. */
  clone(): History {
    const copy = new History();
    copy.bornSectors = this.bornSectors;
    for (const write of this.writes) {
      const own = { ...write };
      copy.writes.push(own);
      if (this.#running.has(write)) copy.#running.add(own);
    }
    for (const [sector, ids] of this.#bySector) copy.#bySector.set(sector, ids.slice());
    for (const node of [0, 1] as const) {
      copy.#busyUntil[node] = this.#busyUntil[node];
      for (const id of this.obliged[node]) copy.obliged[node].add(id);
      for (const write of this.#unflushed[node]) copy.#unflushed[node].push(copy.write(write.id)!);
    }
    return copy;
  }

  /** Equal as long as nothing was told to anybody. */
  get mark(): string {
    return this.writes.map((write) => `${write.state[0]}${write.durable ? 1 : 0}`).join('');
  }

  /** Sectors that any write touched, in no order. */
  sectors(): IterableIterator<number> {
    return this.#bySector.keys();
  }

  write(id: number): HistoryWrite | undefined {
    return this.writes[id - 1];
  }

  begin(node: NodeId, isZero: boolean, sector: number, sectors: number, fua: boolean, now: number): HistoryWrite {
    const id = this.writes.length + 1;
    const write: HistoryWrite = {
      id,
      node,
      isZero,
      sector,
      sectors,
      fua,
      start: now,
      end: Number.POSITIVE_INFINITY,
      state: 'running',
      durable: false,
      mirrored: false,
    };
    this.writes.push(write);
    this.#running.add(write);
    this.#busyUntil[node] = Number.POSITIVE_INFINITY;
    for (let s = sector; s < sector + sectors; s++) {
      const list = this.#bySector.get(s);
      if (list === undefined) this.#bySector.set(s, [id]);
      else list.push(id);
    }
    return write;
  }

  /**
   * @param isLocal - its own node has a good disk
   * @param mirroredTo - the peer that was told and is UpToDate, under a protocol that waited for its disk
   */
  end(write: HistoryWrite, ok: boolean, isLocal: boolean, mirroredTo: NodeId | undefined, now: number): void {
    write.end = now;
    write.state = ok ? 'ok' : 'failed';
    this.#noLongerRuns(write, now);
    if (!ok) return;
    write.durable = write.fua;
    if (!write.durable) this.#unflushed[write.node].push(write);
    if (isLocal) this.obliged[write.node].add(write.id);
    if (mirroredTo !== undefined) {
      write.mirrored = true;
      this.obliged[mirroredTo].add(write.id);
    }
  }

  /** A flush that began at `began` completed on a node. */
  flushed(node: NodeId, began: number): void {
    for (let write = this.#unflushed[node].shift(); write !== undefined; write = this.#unflushed[node].shift()) {
      if (write.end > began) {
        this.#unflushed[node].unshift(write);
        return;
      }
      write.durable = true;
    }
  }

  /**
   * The node is down: what ran there may have happened or not, but later than now it will not.
   * @returns completed writes of the other node that such a one may have superseded: this disk does not have to have them any more
   */
  crashed(node: NodeId, now: number): number[] {
    const released: number[] = [];
    this.#unflushed[node].length = 0;
    for (const write of this.#running) {
      if (write.node !== node) continue;
      for (let sector = write.sector; sector < write.sector + write.sectors; sector++) {
        for (const id of this.#bySector.get(sector)!) {
          const other = this.write(id)!;
          if (other.node !== node && other.state === 'ok' && other.end > write.start && this.obliged[node].delete(id)) released.push(id);
        }
      }
      write.state = 'unknown';
      write.end = now;
      this.#noLongerRuns(write, now);
    }
    return released;
  }

  #noLongerRuns(write: HistoryWrite, now: number): void {
    this.#running.delete(write);
    for (const other of this.#running) if (other.node === write.node) return;
    this.#busyUntil[write.node] = now;
  }

  get running(): number {
    return this.#running.size;
  }

  isRunning(sector: number): boolean {
    for (const write of this.#running) if (covers(write, sector)) return true;
    return false;
  }

  /**
   * Whether a sector may hold `value` on a node that is obliged to what it is.
   * @param before - completed writes that ended later than this do not have to be seen yet
   * @returns undefined, or what is wrong
   */
  complaint(node: NodeId, sector: number, value: number, before: number): string | undefined {
    const list = this.#bySector.get(sector) ?? [];
    if (value === ALIEN && sector >= this.bornSectors) return this.#newerThan(node, list, Number.NEGATIVE_INFINITY, before);
    if (value === ALIEN) return 'holds bytes that no write of this sector put there';
    if (value === 0) {
      // Never written, or any zeroing: that which ended last leaves the fewest that are newer.
      let end = Number.NEGATIVE_INFINITY;
      for (const id of list) {
        const zeroing = this.write(id)!;
        if (zeroing.isZero && zeroing.end > end) end = zeroing.end;
      }
      const complaint = this.#newerThan(node, list, end, before);
      return complaint === undefined ? undefined : `is zero, but ${complaint}`;
    }
    const write = this.write(value);
    if (write === undefined || !covers(write, sector)) return `holds write ${value}, which never was for this sector`;
    const newer = this.#newerThan(node, list, write.end, before);
    return newer === undefined ? undefined : `holds write ${value} (${write.state}), but ${newer}`;
  }

  /** A completed write that the node has to have and that began after `end`. */
  #newerThan(node: NodeId, list: readonly number[], end: number, before: number): string | undefined {
    const obliged = this.obliged[node];
    for (let i = list.length - 1; i >= 0; i--) {
      const write = this.write(list[i]!)!;
      // Those in front of it began no later.
      if (write.start <= end) return undefined;
      if (write.end <= before && write.state === 'ok' && obliged.has(write.id)) {
        if (write.node !== node && this.#isBeingReplaced(node, list, write, before)) continue;
        return `write ${write.id} of node ${write.node} was completed after that`;
      }
    }
    return undefined;
  }

  /**
   * A write of the other Primary that crossed one of this node: it may have been superseded by that. It was completed when this was
   * decided, not when the disk here was through; until then nothing of it can be seen here.
   */
  #isBeingReplaced(node: NodeId, list: readonly number[], write: HistoryWrite, before: number): boolean {
    if (this.#busyUntil[node] <= before) return false;
    return list.some((id) => {
      const other = this.write(id)!;
      return other.node === node && other.start < write.end && other.end > before;
    });
  }

  /** Completed writes that one node has to have and the other one does not, and that nothing later on it replaces. */
  missing(has: NodeId, lacks: NodeId): HistoryWrite[] {
    const result: HistoryWrite[] = [];
    for (const id of this.obliged[has]) {
      if (this.obliged[lacks].has(id)) continue;
      const write = this.write(id)!;
      if (!this.#isReplaced(write, lacks)) result.push(write);
    }
    return result;
  }

  #isReplaced(write: HistoryWrite, node: NodeId): boolean {
    for (let sector = write.sector; sector < write.sector + write.sectors; sector++) {
      const list = this.#bySector.get(sector)!;
      if (!list.some((id) => this.obliged[node].has(id) && this.write(id)!.end >= write.start)) return false;
    }
    return true;
  }

  /** Writes that a node has to have and that a sector with `value` shows it does not. */
  lostBy(node: NodeId, sector: number, value: number): number[] {
    const list = this.#bySector.get(sector) ?? [];
    const present = value > 0 ? this.write(value) : undefined;
    if (value > 0 && present === undefined) return [];
    const ends = present !== undefined ? [present.end] : [Number.NEGATIVE_INFINITY];
    if (value === 0) for (const id of list) if (this.write(id)!.isZero) ends.push(this.write(id)!.end);
    const end = Math.max(...ends);
    return list.filter((id) => this.obliged[node].has(id) && this.write(id)!.start > end);
  }

  /** `to` keeps only what `from` has to have too. */
  intersectObligations(from: NodeId, to: NodeId): void {
    for (const id of this.obliged[to]) if (!this.obliged[from].has(id)) this.obliged[to].delete(id);
  }

  /** From now on `to` has to have exactly what `from` has to have: it was resynchronised. */
  copyObligations(from: NodeId, to: NodeId): void {
    this.obliged[to].clear();
    for (const id of this.obliged[from]) this.obliged[to].add(id);
  }

  /** `to` has what `from` has to have. */
  addObligations(from: NodeId, to: NodeId): void {
    for (const id of this.obliged[from]) this.obliged[to].add(id);
  }

  /** Both say that they are equal: each has to have what the other one has to have. */
  uniteObligations(): void {
    for (const id of this.obliged[0]) this.obliged[1].add(id);
    for (const id of this.obliged[1]) this.obliged[0].add(id);
  }
}

const covers = (write: HistoryWrite, sector: number): boolean => sector >= write.sector && sector < write.sector + write.sectors;
