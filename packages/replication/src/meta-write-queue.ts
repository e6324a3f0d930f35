/**
 * Keeps overlapping meta-data writes of one volume apart: a disk may finish two writes to the same place in either order, and
 * the older one must not be what stays (a super block with yesterday's generation, a bitmap page without its last bits).
 */
export interface QueuedMetaWrite {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** Hands the write to the host. */
  readonly issue: () => void;
  /** When that was; the host's clock. */
  issuedAt?: number;
}

const overlaps = (a: QueuedMetaWrite, b: QueuedMetaWrite): boolean =>
  a.offsetBytes < b.offsetBytes + b.lengthBytes && b.offsetBytes < a.offsetBytes + a.lengthBytes;

export class MetaWriteQueue {
  readonly #running: QueuedMetaWrite[] = [];
  /** In order of arrival; each waits for what overlaps it in front. */
  readonly #waiting: QueuedMetaWrite[] = [];

  get isIdle(): boolean {
    return this.#running.length === 0 && this.#waiting.length === 0;
  }

  /** When the oldest write that the host has was handed over; Infinity without one. */
  get oldestIssued(): number {
    return Math.min(Number.POSITIVE_INFINITY, ...this.#running.map(({ issuedAt }) => issuedAt ?? Number.POSITIVE_INFINITY));
  }

  add(write: QueuedMetaWrite): void {
    if (this.#running.some((other) => overlaps(other, write)) || this.#waiting.some((other) => overlaps(other, write))) {
      this.#waiting.push(write);
      return;
    }
    this.#running.push(write);
    write.issue();
  }

  /** The host has answered: starts what waited for this write. */
  done(write: QueuedMetaWrite): void {
    this.#running.splice(this.#running.indexOf(write), 1);
    for (let i = 0; i < this.#waiting.length; ) {
      const next = this.#waiting[i]!;
      if (this.#running.some((other) => overlaps(other, next)) || this.#waiting.slice(0, i).some((other) => overlaps(other, next))) {
        i++;
        continue;
      }
      this.#waiting.splice(i, 1);
      this.#running.push(next);
      next.issue();
    }
  }
}
