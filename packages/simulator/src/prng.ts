/**
 * Deterministic randomness. A life splits its seed into independent streams, so that one more draw in one place does not
 * reshuffle all others. Generator: sfc32 (Doty-Humphrey), 32-bit integers only.
 */
export class Prng {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  /** @param stream - name of the use, part of the seed */
  constructor(seed: number, stream: string) {
    let hash = 0x811c9dc5 ^ seed;
    for (let i = 0; i < stream.length; i++) hash = Math.imul(hash ^ stream.charCodeAt(i), 0x01000193);
    this.#a = seed >>> 0;
    this.#b = hash >>> 0;
    this.#c = Math.imul(hash, 0x9e3779b1) >>> 0;
    for (let i = 0; i < 12; i++) this.u32();
  }

  u32(): number {
    const t = (this.#a + this.#b + this.#counter) >>> 0;
    this.#counter = (this.#counter + 1) >>> 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) >>> 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) >>> 0;
    this.#c = (this.#c + t) >>> 0;
    return t;
  }

  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }

  /** 0 up to and without `limit`. */
  below(limit: number): number {
    return Math.floor((this.u32() / 0x1_0000_0000) * limit);
  }

  /** `from` to `to`, both included. */
  range(from: number, to: number): number {
    return from + this.below(to - from + 1);
  }

  /** True in `hits` of `of` cases. */
  chance(hits: number, of: number): boolean {
    return this.below(of) < hits;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }

  /** An exponentially distributed interval, cut at ten times its mean. */
  interval(mean: number): number {
    return Math.min(10 * mean, -mean * Math.log(1 - this.u32() / 0x1_0000_0000));
  }
}
