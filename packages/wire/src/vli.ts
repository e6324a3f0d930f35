/** Run lengths as variable length integers in a bit stream, least significant bit first. Source: drbd_vli.h. */

interface Level {
  /** Bits of the whole codeword. */
  readonly total: number;
  /** Low bits that tell the level, and their value. */
  readonly prefixBits: number;
  readonly prefix: number;
  /** The shortest run of this level; the bits above the prefix are added to it. */
  readonly min: number;
}

const PREFIXES: readonly (readonly [total: number, prefixBits: number, prefix: number])[] = [
  [2, 1, 0x00],
  [3, 2, 0x01],
  [5, 3, 0x03],
  [7, 4, 0x07],
  [10, 5, 0x0f],
  [14, 6, 0x1f],
  [21, 8, 0x3f],
  [29, 8, 0x7f],
  [42, 8, 0xbf],
  [64, 8, 0xff],
];

/** Each level begins where the one before ends. The last reaches beyond 2^53; bitmaps do not. */
export const VLI_LEVELS: readonly Level[] = PREFIXES.reduce<Level[]>((levels, [total, prefixBits, prefix]) => {
  const last = levels.at(-1);
  const min = last === undefined ? 1 : last.min + 2 ** (last.total - last.prefixBits);
  levels.push({ total, prefixBits, prefix, min });
  return levels;
}, []);

/** Level of every possible low byte: the first level whose prefix matches. */
const levelOfByte = Uint8Array.from({ length: 256 }, (_, byte) =>
  VLI_LEVELS.findIndex(({ prefixBits, prefix }) => (byte & ((1 << prefixBits) - 1)) === prefix),
);

/** The level that encodes `run`, a whole number from 1 to 2^53 - 1. */
export function vliLevelOf(run: number): Level {
  let at = 0;
  while (at + 1 < VLI_LEVELS.length && run >= VLI_LEVELS[at + 1]!.min) at++;
  return VLI_LEVELS[at]!;
}

/** Appends codewords to `bytes[from … end)`. */
export class VliWriter {
  readonly #bytes: Uint8Array;
  readonly #from: number;
  readonly #limitBits: number;
  #usedBits = 0;

  constructor(bytes: Uint8Array, from: number, end: number) {
    this.#bytes = bytes;
    this.#from = from;
    this.#limitBits = (end - from) * 8;
  }

  get usedBytes(): number {
    return Math.ceil(this.#usedBits / 8);
  }
  /** Unused high bits of the last byte, 0..7. */
  get padBits(): number {
    return (8 - (this.#usedBits % 8)) % 8;
  }

  /** @returns false, with nothing written, when the codeword does not fit any more */
  append(run: number): boolean {
    const level = vliLevelOf(run);
    if (this.#usedBits + level.total > this.#limitBits) return false;
    this.#put(level.prefix, level.prefixBits);
    this.#put(run - level.min, level.total - level.prefixBits);
    return true;
  }

  #put(value: number, count: number): void {
    let rest = value;
    let left = count;
    while (left > 0) {
      const at = this.#from + Math.floor(this.#usedBits / 8);
      const shift = this.#usedBits % 8;
      const take = Math.min(8 - shift, left);
      const low = rest % 2 ** take;
      this.#bytes[at] = shift === 0 ? low : this.#bytes[at]! | (low << shift);
      rest = Math.floor(rest / 2 ** take);
      this.#usedBits += take;
      left -= take;
    }
  }
}

/** Reads codewords from `bytes[from … end)`, of which the last byte has `padBits` unused high bits. */
export class VliReader {
  readonly #bytes: Uint8Array;
  readonly #from: number;
  #at = 0;
  readonly #limit: number;

  constructor(bytes: Uint8Array, from: number, end: number, padBits: number) {
    this.#bytes = bytes;
    this.#from = from;
    this.#limit = Math.max(0, (end - from) * 8 - padBits);
  }

  get remainingBits(): number {
    return this.#limit - this.#at;
  }

  /**
   * @returns the next run; 0 when the bits that remain are no whole codeword. Runs above 2^53 come out rounded, which is
   * harmless because no bitmap is as long.
   */
  next(): number {
    const left = this.remainingBits;
    if (left < 2) return 0;
    const level = VLI_LEVELS[levelOfByte[this.#peek(Math.min(8, left))]!]!;
    if (left < level.total) return 0;
    this.#at += level.prefixBits;
    let value = 0;
    let weight = 1;
    for (let bits = level.total - level.prefixBits; bits > 0; ) {
      const take = Math.min(8, bits);
      value += this.#peek(take) * weight;
      weight *= 2 ** take;
      this.#at += take;
      bits -= take;
    }
    return level.min + value;
  }

  /** The next `count` bits, at most 8; the caller made sure that they exist. */
  #peek(count: number): number {
    const at = this.#from + Math.floor(this.#at / 8);
    const shift = this.#at % 8;
    const pair = this.#bytes[at]! | ((shift + count > 8 ? this.#bytes[at + 1]! : 0) << 8);
    return (pair >> shift) & ((1 << count) - 1);
  }
}
