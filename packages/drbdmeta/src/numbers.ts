// Numbers of the command line, with their unit letters, and sizes for people.

import type { CommandIo } from './command-io.js';
import type { Dialect } from './dialect.js';
import { Exit } from './exit.js';

/** What went wrong with a number. */
export type NumberProblem = 'missing' | 'not a valid number' | 'not a valid unit' | 'out of range';
const SHIFT: Readonly<Record<string, number>> = { '': 0, s: 9, k: 10, K: 10, m: 20, M: 20, g: 30, G: 30 };
const U64_END = 1n << 64n;

/**
 * An unsigned decimal number with an optional unit letter (s = 512, k, m, g).
 * @param defaultUnit - unit of a bare number and of the result: '' for ones, 's', 'k', 'm', 'g'
 * @returns the number in the default unit, rounded up, or the problem
 */
export function parseNumber(text: string, defaultUnit: '' | 's' | 'k' | 'm' | 'g' = ''): bigint | NumberProblem {
  if (text === '') return 'missing';
  const match = /^\s*([+-]?)(\d+)(.?)$/s.exec(text);
  if (!match) return 'not a valid number';
  const [, sign, digits, unit] = match as unknown as [string, string, string, string];
  const shiftFrom = unit === '' ? SHIFT[defaultUnit]! : SHIFT[unit];
  if (shiftFrom === undefined) return 'not a valid unit';
  let value = BigInt(digits);
  if (value >= U64_END) value = U64_END - 1n;
  if (sign === '-') value = (U64_END - value) % U64_END;
  const shift = shiftFrom - SHIFT[defaultUnit]!;
  if (shift >= 0) {
    const shifted = value << BigInt(shift);
    return shifted >= U64_END ? 'out of range' : shifted;
  }
  const divisor = 1n << BigInt(-shift);
  return (value + divisor - 1n) / divisor;
}

/** The number, or the end of the command with what is wrong with it. */
export function numberOrExit(text: string, unit: '' | 's' | 'k', io: CommandIo, dialect: Dialect): bigint {
  const value = parseNumber(text, unit);
  switch (value) {
    case 'missing':
      io.stderr('missing number argument\n');
      throw new Exit(100);
    case 'out of range':
      io.stderr(`${text}: out of range\n`);
      throw new Exit(20);
    case 'not a valid number':
    case 'not a valid unit':
      io.stderr(`${text} is ${dialect.knows934 ? value : 'not a valid number'}\n`);
      throw new Exit(20);
    default:
      return value;
  }
}

/** What is left of a number in a field of 32 bits. */
export const u32 = (value: bigint): number => Number(BigInt.asUintN(32, value));

/** A size for people: at most four digits, K M G T P E. */
export function ppsize(kib: number): string {
  const units = 'KMGTPE';
  let value = kib;
  let unit = 0;
  while (value >= 10000 && unit < units.length - 1) {
    value = Math.floor(value / 1024) + (Math.floor(value / 512) % 2);
    unit++;
  }
  return `${value} ${units[unit]}B`;
}

/** A UUID as all the tools print it: 16 upper-case hex digits. */
export const hex16 = (value: bigint): string => value.toString(16).toUpperCase().padStart(16, '0');
export const hex8 = (value: number): string => (value >>> 0).toString(16).toUpperCase().padStart(8, '0');
