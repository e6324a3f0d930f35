/** Slots of the request table in order of arrival; each is in there once at most. Nothing here allocates. */
export class SlotQueue {
  readonly #slots: Int32Array;
  #head = 0;
  #count = 0;

  /** @param capacity - of the request table */
  constructor(capacity: number) {
    this.#slots = new Int32Array(capacity);
  }

  get length(): number {
    return this.#count;
  }

  /** The slot behind `index` others. */
  at(index: number): number {
    return this.#slots[(this.#head + index) % this.#slots.length]!;
  }

  push(slot: number): void {
    if (this.#count === this.#slots.length) throw new Error('a slot is queued twice');
    this.#slots[(this.#head + this.#count++) % this.#slots.length] = slot;
  }

  shift(): number {
    const slot = this.at(0);
    this.#head = (this.#head + 1) % this.#slots.length;
    this.#count--;
    return slot;
  }
}
