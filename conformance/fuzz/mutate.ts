/** Inputs that are nearly right: what is recorded or made by our own encoders, with some fields, words or values changed. */
import { Prng } from '../drbdmeta/operations.js';

export { Prng };

/** A field inside of an input: where it stands, and how wide it is. */
export interface FieldAt {
  readonly offset: number;
  readonly width: number;
}

const EDGES = [0, 1, 2, 3, 7, 8, 31, 32, 33, 63, 64, 127, 128, 255, 256, 511, 512, 4095, 4096, 4097, 0x7fff, 0x8000, 0xffff];
const WIDE_EDGES = [...EDGES, 0x1_0000, 0x10_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_fff8, 0xffff_ffff];

/** Nearly what it was, an edge, or anything; big endian. */
function changeField(prng: Prng, bytes: Uint8Array, { offset, width }: FieldAt): void {
  if (offset + width > bytes.length) return;
  switch (prng.below(4)) {
    case 0:
      bytes[offset + prng.below(width)]! ^= 1 << prng.below(8);
      return;
    case 1: {
      let carry = prng.pick([1, -1, 8, -8, 512]);
      for (let at = offset + width - 1; at >= offset && carry !== 0; at--) {
        const sum = bytes[at]! + carry;
        bytes[at] = sum & 0xff;
        carry = sum >> 8;
      }
      return;
    }
    case 2: {
      let value = prng.pick(width > 2 ? WIDE_EDGES : EDGES);
      const isHigh = width === 8 && prng.chance(20);
      bytes.fill(isHigh && prng.chance(50) ? 0xff : 0, offset, offset + width);
      for (let at = offset + (isHigh ? 4 : width) - 1; at >= offset && value > 0; at--) {
        bytes[at] = value & 0xff;
        value = Math.floor(value / 256);
      }
      return;
    }
    default:
      for (let at = offset; at < offset + width; at++) bytes[at] = prng.below(256);
  }
}

/** Changes one to four things of an input; mostly fields where these are known. */
export function mutateBytes(prng: Prng, seed: Uint8Array, fields: readonly FieldAt[] = [], lengthMax = 1 << 17): Uint8Array {
  let bytes = seed.slice();
  for (let n = 1 + prng.below(4); n > 0; n--) {
    if (bytes.length === 0) return prng.bytes(prng.below(64));
    const at = prng.below(bytes.length);
    if (fields.length > 0 && prng.chance(60)) {
      changeField(prng, bytes, prng.pick(fields));
      continue;
    }
    switch (prng.below(8)) {
      case 0:
        bytes[at]! ^= 1 << prng.below(8);
        break;
      case 1:
        bytes[at] = prng.below(256);
        break;
      case 2: {
        const width = prng.pick([1, 2, 4, 8]);
        changeField(prng, bytes, { offset: at - (at % width), width });
        break;
      }
      case 3:
        bytes = bytes.slice(0, at);
        break;
      case 4: {
        const end = Math.min(bytes.length, at + 1 + prng.below(64));
        bytes = Uint8Array.from(Buffer.concat([bytes.subarray(0, end), bytes.subarray(at)]));
        break;
      }
      case 5: {
        const end = Math.min(bytes.length, at + 1 + prng.below(64));
        bytes = Uint8Array.from(Buffer.concat([bytes.subarray(0, at), bytes.subarray(end)]));
        break;
      }
      case 6:
        bytes.fill(prng.pick([0, 0xff, 0x20]), at, Math.min(bytes.length, at + 1 + prng.below(64)));
        break;
      default:
        bytes = Uint8Array.from(Buffer.concat([bytes.subarray(0, at), prng.bytes(1 + prng.below(32)), bytes.subarray(at)]));
    }
  }
  return bytes.length > lengthMax ? bytes.slice(0, lengthMax) : bytes;
}

const WORD = /([A-Za-z0-9_.:/-]+|\s+)/;
const ODD_WORDS = [
  '',
  '0',
  '-1',
  '4294967296',
  '18446744073709551616',
  '1e9',
  '"',
  '""',
  "'",
  '{',
  '}',
  ';',
  ':',
  '[',
  ']',
  '\\',
  '\n',
  '\0',
  'é',
];

/** Takes words out, doubles and exchanges them, puts odd ones in. */
export function mutateText(prng: Prng, text: string, dictionary: readonly string[] = []): string {
  const words = text.split(WORD).filter((word) => word !== '');
  for (let n = 1 + prng.below(4); n > 0 && words.length > 0; n--) {
    const at = prng.below(words.length);
    const word = dictionary.length > 0 && prng.chance(50) ? prng.pick(dictionary) : prng.pick([...ODD_WORDS, prng.pick(words)]);
    switch (prng.below(6)) {
      case 0:
        words.splice(at, 1 + prng.below(3));
        break;
      case 1:
        words.splice(at, 0, word, ' ');
        break;
      case 2:
        words[at] = word;
        break;
      case 3:
        words.splice(at, 0, ...words.slice(at, at + prng.below(40)));
        break;
      case 4:
        words[at] = words[at]!.slice(0, prng.below(words[at]!.length + 1)) + word;
        break;
      default:
        words.length = at;
    }
  }
  return words.join('');
}

const ODD_VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  2 ** 31,
  2 ** 53,
  1e308,
  '',
  'x',
  '\u0000',
  '/',
  'a'.repeat(300),
  [],
  {},
  [[]],
];

/** Replaces, removes, adds and exchanges values somewhere in a tree of JSON. */
export function mutateJson(prng: Prng, value: unknown, depth = 0): unknown {
  const isLeaf = typeof value !== 'object' || value === null;
  if (isLeaf || (depth > 0 && prng.chance(25))) {
    if (typeof value === 'string' && prng.chance(50)) return mutateText(prng, value);
    if (typeof value === 'number' && prng.chance(50))
      return prng.pick([value + 1, value - 1, -value, value * 2 ** 20, prng.pick(WIDE_EDGES)]);
    return prng.pick(ODD_VALUES);
  }
  const copy: Record<string, unknown> | unknown[] = Array.isArray(value) ? [...value] : { ...value };
  const keys = Object.keys(copy);
  const at = copy as Record<string, unknown>;
  if (keys.length === 0 || prng.chance(10)) {
    const key = Array.isArray(copy) ? `${copy.length}` : prng.pick(['x', '__proto__', 'constructor', 'id', '0', 'length']);
    // As JSON.parse does it: a property of its own.
    Object.defineProperty(copy, key, { value: prng.pick(ODD_VALUES), enumerable: true, configurable: true, writable: true });
    return copy;
  }
  const key = prng.pick(keys);
  if (prng.chance(15) && !Array.isArray(copy)) delete at[key];
  else at[key] = mutateJson(prng, at[key], depth + 1);
  return copy;
}
