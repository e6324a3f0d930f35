// Numbers of the command line, with their unit letters, and sizes for people.

/** What went wrong with a number. */
export type NumberProblem = 'not a valid number' | 'out of range';
const SHIFT: Readonly<Record<string, number>> = { '': 0, s: 9, k: 10, K: 10, m: 20, M: 20, g: 30, G: 30 };
const U64_END = 1n << 64n;

/**
 * An unsigned decimal number with an optional unit letter (s = 512, k, m, g).
 * @param defaultUnit - unit of a bare number and of the result: '' for ones, 's', 'k', 'm', 'g'
 * @returns the number in the default unit, rounded up, or the problem
 */
export function parseNumber(text: string, defaultUnit: '' | 's' | 'k' | 'm' | 'g' = ''): bigint | NumberProblem {
  const match = /^\s*([+-]?)(\d+)(.?)$/s.exec(text);
  if (!match) return 'not a valid number';
  const [, sign, digits, unit] = match as unknown as [string, string, string, string];
  const shiftFrom = unit === '' ? SHIFT[defaultUnit]! : SHIFT[unit];
  if (shiftFrom === undefined) return 'not a valid number';
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
