/**
 * Checking and comparing option values as DRBD's tools do: decimal numbers with an optional suffix k, m, g (binary multiples)
 * or s (sectors), symbols, booleans. Values stay text; the conversion here only answers questions about them.
 */
import type { OptionKind } from './options.js';

const U64 = 1n << 64n;
const SUFFIX: Readonly<Record<string, bigint>> = { k: 1n << 10n, m: 1n << 20n, g: 1n << 30n, s: 512n };

/** Why a value is refused, in the words of the message "Value is ...". */
export type ValueRefusal = 'not valid' | "not 'yes' or 'no'" | 'not a number' | 'too small' | 'too big' | 'too long';

/**
 * Converts a number with optional suffix into stored units, rounding up.
 * @param scale - bytes per stored unit; a bare number already is in stored units
 * @returns null when the text is no number. A minus sign wraps around 2^64 unless `signed`, as scanf does.
 */
export function parseNumber(text: string, scale: 1 | 512 | 1024, signed = false): bigint | 'overflow' | null {
  const m = /^[ \t\n\v\f\r]*([+-]?)([0-9]+)([a-zA-Z]?)$/.exec(text);
  if (m === null) return null;
  let value = BigInt(m[2]!);
  if (value >= U64) value = U64 - 1n;
  if (m[1] === '-') value = signed ? -value : (U64 - value) % U64;
  if (m[3] === '') return value;
  const factor = SUFFIX[m[3]!.toLowerCase()];
  if (factor === undefined || m[3] === 'S') return null;
  const bytes = value * factor;
  if (bytes >= U64) return 'overflow';
  const unit = BigInt(scale);
  return (bytes + unit - 1n) / unit;
}

function checkRange(value: bigint, min: number, max: number): ValueRefusal | null {
  const limit = max >= Number(U64) ? U64 - 1n : BigInt(max);
  if (value < BigInt(min)) return 'too small';
  return value > limit ? 'too big' : null;
}

/** @returns null when the option takes this value, else why not. */
export function checkValue(option: OptionKind, value: string): ValueRefusal | null {
  switch (option.kind) {
    case 'boolean':
    case 'flag':
      return value === 'yes' || value === 'no' ? null : "not 'yes' or 'no'";
    case 'enum': {
      const same = option.ignoreCase ? (v: string) => v.toLowerCase() === value.toLowerCase() : (v: string) => v === value;
      return option.values.some(same) ? null : 'not valid';
    }
    case 'symbol-or-number': {
      if (option.values.includes(value)) return null;
      const number = parseNumber(value, 1);
      if (number === null) return 'not valid';
      return number === 'overflow' ? 'too big' : checkRange(number, option.min, option.max);
    }
    case 'string':
    case 'keyring':
      return option.maxLength !== undefined && utf8Length(value) > option.maxLength ? 'too long' : null;
    case 'number': {
      if (option.unchecked) return null;
      const number = parseNumber(value, option.scale, option.signed);
      if (number === null) return 'not a number';
      if (number === 'overflow') return 'too big';
      return option.clamped ? null : checkRange(number, option.min, option.max);
    }
  }
}

/** Length in bytes of the UTF-8 form, which is what the length limits count. A lone low surrogate stands for one byte of a file. */
export function utf8Length(text: string): number {
  let bytes = 0;
  for (const c of text) {
    const code = c.codePointAt(0)!;
    bytes += code < 0x80 || (code & 0xffffff80) === 0xdc80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  }
  return bytes;
}

const isYes = (value: string | undefined): boolean => value === undefined || value === 'yes';

/**
 * Whether two values mean the same to DRBD: `200M` equals `204800k`, a missing boolean value is `yes`, protocol ignores case.
 * @param a - undefined for an option without a value
 */
export function valuesEqual(option: OptionKind, a: string | undefined, b: string | undefined): boolean {
  switch (option.kind) {
    case 'boolean':
    case 'flag':
      return isYes(a) === isYes(b);
    case 'enum':
      return option.ignoreCase ? a?.toLowerCase() === b?.toLowerCase() : a === b;
    case 'number': {
      const x = parseNumber(a ?? '', option.scale, option.signed);
      const y = parseNumber(b ?? '', option.scale, option.signed);
      return x === null || y === null ? a === b : x === y;
    }
    default:
      return a === b;
  }
}

/** What is wrong with a value where a number is compared; `NAME;` without a value becomes `yes`, whatever the option. */
export function numberProblem(option: OptionKind | undefined, value: string | undefined): string | undefined {
  if (option?.kind !== 'number' || option.unchecked || parseNumber(value ?? '', option.scale, option.signed) !== null) return undefined;
  return `${value} is not a valid number`;
}

/** Whether the value is the option's default. */
export function isDefault(option: OptionKind, value: string | undefined): boolean {
  return valuesEqual(option, value, String(option.default));
}
