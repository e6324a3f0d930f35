/**
 * The last eight glances at a resync or verify, at least three seconds apart: what speed and time to go are computed from.
 * Times in milliseconds of the host's clock, amounts in bits. Source: DRBD 8.4 drbd_worker.c (drbd_advance_rs_marks).
 */
export const PROGRESS_MARKS = 8;
const MARK_STEP_MS = 3000;

export class ProgressMarks {
  readonly time = new Float64Array(PROGRESS_MARKS);
  readonly left = new Float64Array(PROGRESS_MARKS);
  /** Number of the youngest mark. */
  last = 0;
  startedAt = 0;
  /** Time spent paused, pauses that ended only. */
  pausedMs = 0;
  #pausedSince = Number.NaN;

  start(now: number, totalBits: number): void {
    this.time.fill(now);
    this.left.fill(totalBits);
    this.last = 0;
    this.startedAt = now;
    this.pausedMs = 0;
    this.#pausedSince = Number.NaN;
  }

  /** @returns true when a mark was set */
  advance(now: number, leftBits: number): boolean {
    const isPaused = !Number.isNaN(this.#pausedSince);
    if (isPaused || now - this.time[this.last]! < MARK_STEP_MS || this.left[this.last] === leftBits) return false;
    this.last = (this.last + 1) % PROGRESS_MARKS;
    this.time[this.last] = now;
    this.left[this.last] = leftBits;
    return true;
  }

  pause(now: number): void {
    if (Number.isNaN(this.#pausedSince)) this.#pausedSince = now;
  }

  resume(now: number): void {
    if (Number.isNaN(this.#pausedSince)) return;
    this.pausedMs += now - this.#pausedSince;
    this.#pausedSince = Number.NaN;
    // The pause counts for no speed.
    this.time[this.last] = now;
  }

  /** Speed since the mark before the youngest, in KiB/s: what `c-min-rate` is compared with. */
  recentKiBps(now: number, leftBits: number): number {
    const mark = (this.last + PROGRESS_MARKS - 1) % PROGRESS_MARKS;
    const seconds = Math.max(1, Math.trunc((now - this.time[mark]!) / 1000));
    return Math.trunc((this.left[mark]! - leftBits) / seconds) * 4;
  }
}
