/** Things that will happen, by simulated time; those of one instant in order of scheduling. Times are integer microseconds. */
export interface Scheduled {
  readonly at: number;
  readonly order: number;
  run: (() => void) | undefined;
}

export class EventQueue {
  now = 0;
  /** Events that have run. */
  steps = 0;
  #order = 0;
  readonly #heap: Scheduled[] = [];

  /** Milliseconds, as the core counts. */
  get millis(): number {
    return this.now / 1000;
  }

  after(delayMicros: number, run: () => void): Scheduled {
    return this.at(this.now + Math.max(0, Math.round(delayMicros)), run);
  }

  at(time: number, run: () => void): Scheduled {
    const event: Scheduled = { at: Math.max(time, this.now), order: this.#order++, run };
    this.#push(event);
    return event;
  }

  cancel(event: Scheduled | undefined): void {
    if (event !== undefined) event.run = undefined;
  }

  /** Runs the next event unless it lies behind `until`. */
  step(until: number): boolean {
    for (;;) {
      const next = this.#heap[0];
      if (next === undefined || next.at > until) return false;
      this.#pop();
      if (next.run === undefined) continue;
      this.now = next.at;
      this.steps++;
      next.run();
      return true;
    }
  }

  #push(event: Scheduled): void {
    const heap = this.#heap;
    let i = heap.length;
    heap.push(event);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!isBefore(event, heap[parent]!)) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    const length = heap.length;
    if (length === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= length) break;
      if (child + 1 < length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = last;
  }
}

const isBefore = (a: Scheduled, b: Scheduled): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);
