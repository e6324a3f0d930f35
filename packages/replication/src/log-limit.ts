/** As many lines of the same kind as a reader can take in, as printk_ratelimit of the kernel does it: 10 in 5 seconds. What is left out is counted. */
import type { Millis } from './host.js';

const PERIOD_MS = 5000;
const BURST = 10;

export class LogLimit {
  #since = Number.NEGATIVE_INFINITY;
  #told = 0;
  #untold = 0;

  /** @returns the line to be logged now; undefined: too many were before it */
  admit(now: Millis, text: string): string | undefined {
    if (now - this.#since >= PERIOD_MS) {
      this.#since = now;
      this.#told = 0;
    }
    if (this.#told >= BURST) {
      this.#untold++;
      return undefined;
    }
    this.#told++;
    const missing = this.#untold;
    this.#untold = 0;
    return missing > 0 ? `${text} (and ${missing} more since the last line like this)` : text;
  }
}
