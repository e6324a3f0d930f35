/**
 * Keeps overlapping meta-data writes of one volume apart: a disk may finish two writes to the same place in either order, and
 * the older one must not be what stays (a super block with yesterday's generation, a bitmap page without its last bits).
 */
import { ShortList } from './short-list.js';

export interface QueuedMetaWrite {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** Hands the write to the host. */
  issue(): void;
  /** When that was; the host's clock. */
  readonly issuedAt?: number;
}

const overlaps = (a: QueuedMetaWrite, b: QueuedMetaWrite): boolean =>
  a.offsetBytes < b.offsetBytes + b.lengthBytes && b.offsetBytes < a.offsetBytes + a.lengthBytes;

/** Whether one of the first `count` overlaps the write. */
function overlapsAny(list: ShortList<QueuedMetaWrite>, count: number, write: QueuedMetaWrite): boolean {
  for (let i = 0; i < count; i++) if (overlaps(list.at(i), write)) return true;
  return false;
}

export class MetaWriteQueue {
  readonly #running = new ShortList<QueuedMetaWrite>();
  /** In order of arrival; each waits for what overlaps it in front. */
  readonly #waiting = new ShortList<QueuedMetaWrite>();

  get isIdle(): boolean {
    return this.#running.length === 0 && this.#waiting.length === 0;
  }

  /** When the oldest write that the host has was handed over; Infinity without one. */
  get oldestIssued(): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.#running.length; i++) oldest = Math.min(oldest, this.#running.at(i).issuedAt ?? Number.POSITIVE_INFINITY);
    return oldest;
  }

  add(write: QueuedMetaWrite): void {
    if (overlapsAny(this.#running, this.#running.length, write) || overlapsAny(this.#waiting, this.#waiting.length, write)) {
      this.#waiting.push(write);
      return;
    }
    this.#running.push(write);
    write.issue();
  }

  /** The host has answered: starts what waited for this write. */
  done(write: QueuedMetaWrite): void {
    this.#running.remove(write);
    for (let i = 0; i < this.#waiting.length; ) {
      const next = this.#waiting.at(i);
      if (overlapsAny(this.#running, this.#running.length, next) || overlapsAny(this.#waiting, i, next)) {
        i++;
        continue;
      }
      this.#waiting.remove(next);
      this.#running.push(next);
      next.issue();
    }
  }
}
