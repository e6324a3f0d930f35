import { native } from './native.js';

/** CLOCK_MONOTONIC for loops that must not allocate: `performance.now()` makes a number on the heap at each call. */
export class Clock {
  readonly #ms = new Float64Array(1);
  readonly #origin: number;

  constructor() {
    native.readClock(this.#ms);
    this.#origin = this.#ms[0]!;
    this.#ms[0] = 0;
  }

  /** Milliseconds from the making of the clock to the last `read`. */
  get ms(): number {
    return this.#ms[0]!;
  }

  /** Looks at the clock. */
  read(): void {
    native.readClock(this.#ms);
    this.#ms[0] = this.#ms[0]! - this.#origin;
  }
}
