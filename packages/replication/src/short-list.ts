/** A list of a few objects that keeps its storage: what comes and goes with every transaction leaves no garbage, as arrays do. */
export class ShortList<T extends object> {
  readonly #items: (T | undefined)[] = [];
  #count = 0;

  get length(): number {
    return this.#count;
  }

  at(index: number): T {
    return this.#items[index]!;
  }

  push(item: T): void {
    if (this.#count === this.#items.length) this.#items.push(item);
    else this.#items[this.#count] = item;
    this.#count++;
  }

  pop(): T | undefined {
    if (this.#count === 0) return undefined;
    const item = this.#items[--this.#count];
    this.#items[this.#count] = undefined;
    return item;
  }

  /** Takes an item out; the others keep their order. */
  remove(item: T): void {
    const from = this.#items.indexOf(item);
    if (from < 0 || from >= this.#count) return;
    this.#count--;
    for (let i = from; i < this.#count; i++) this.#items[i] = this.#items[i + 1];
    this.#items[this.#count] = undefined;
  }
}
