/** The bitmap as the codec sees it, and a plain implementation over bytes in wire order. */

/**
 * One bit per 4 KiB; set means out of sync. Whoever owns the bitmap implements this over its own pages.
 *
 * In byte order bit `i` is bit `i mod 8` of byte `i div 8`; words are 8 bytes, the last one padded with zero bits.
 */
export interface WireBitmap {
  /** Number of bits. */
  readonly bits: number;
  /** The first set bit at or after `from`, or `bits` when there is none. */
  nextSet(from: number): number;
  /** The first clear bit at or after `from`, or `bits` when there is none. */
  nextClear(from: number): number;
  /** Sets the bits `from` up to but not including `end`; the caller guarantees `from <= end <= bits`. */
  setRange(from: number, end: number): void;
  /** Copies `count` words from word `word` on to `out[at…]`. */
  readWords(word: number, count: number, out: Uint8Array, at: number): void;
  /** ORs `count` words of `input[at…]` into the words from `word` on; bits beyond `bits` are ignored. */
  orWords(word: number, count: number, input: Uint8Array, at: number): void;
}

/** Words of 8 bytes that a bitmap of `bits` bits takes on the wire. */
export const bitmapWords = (bits: number): number => Math.ceil(bits / 64);

export class ByteBitmap implements WireBitmap {
  readonly bits: number;
  /** `8 * bitmapWords(bits)` bytes in wire order. */
  readonly bytes: Uint8Array;
  /** The same memory, to skip uniform stretches; only compared with 0 and all ones, so byte order does not matter. */
  readonly #quads: Uint32Array;

  constructor(bits: number) {
    this.bits = bits;
    this.bytes = new Uint8Array(bitmapWords(bits) * 8);
    this.#quads = new Uint32Array(this.bytes.buffer);
  }

  has(bit: number): boolean {
    return ((this.bytes[Math.floor(bit / 8)] ?? 0) & (1 << (bit % 8))) !== 0;
  }

  /** Number of set bits. */
  count(): number {
    let total = 0;
    for (let byte of this.bytes) for (; byte !== 0; byte &= byte - 1) total++;
    return total;
  }

  nextSet(from: number): number {
    return this.#next(from, 0, 0);
  }

  nextClear(from: number): number {
    return this.#next(from, 0xff, 0xffff_ffff);
  }

  /** The first bit that differs from a byte `skip` all of whose bits are equal. */
  #next(from: number, skip: number, skipQuad: number): number {
    if (from >= this.bits) return this.bits;
    let at = Math.floor(from / 8);
    const first = ((this.bytes[at]! ^ skip) & (0xff << (from % 8)) & 0xff) >>> 0;
    if (first !== 0) return Math.min(this.bits, at * 8 + lowestBit(first));
    at++;
    while (at < this.bytes.length) {
      if (at % 4 === 0 && this.#quads[at / 4] === skipQuad) {
        at += 4;
        continue;
      }
      const differing = this.bytes[at]! ^ skip;
      if (differing !== 0) return Math.min(this.bits, at * 8 + lowestBit(differing));
      at++;
    }
    return this.bits;
  }

  setRange(from: number, end: number): void {
    let bit = from;
    while (bit < end && bit % 8 !== 0) this.#set(bit++);
    const wholeEnd = end - (end % 8);
    if (bit < wholeEnd) {
      this.bytes.fill(0xff, bit / 8, wholeEnd / 8);
      bit = wholeEnd;
    }
    while (bit < end) this.#set(bit++);
  }

  #set(bit: number): void {
    const at = Math.floor(bit / 8);
    this.bytes[at] = this.bytes[at]! | (1 << (bit % 8));
  }

  readWords(word: number, count: number, out: Uint8Array, at: number): void {
    out.set(this.bytes.subarray(word * 8, (word + count) * 8), at);
  }

  orWords(word: number, count: number, input: Uint8Array, at: number): void {
    const base = word * 8;
    for (let i = 0; i < count * 8; i++) this.bytes[base + i] = this.bytes[base + i]! | input[at + i]!;
    const surplus = this.bytes.length * 8 - this.bits;
    for (let bit = this.bits; bit < this.bits + surplus; bit++) {
      const byte = Math.floor(bit / 8);
      this.bytes[byte] = this.bytes[byte]! & ~(1 << (bit % 8));
    }
  }
}

const lowestBit = (value: number): number => 31 - Math.clz32(value & -value);
