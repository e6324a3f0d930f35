/** Numbers as drbdsetup reads them: decimal, with an optional unit k, M, G (powers of 1024) or s (512-byte sectors). */
import { CommandExit, EXIT_USAGE } from './command-io.js';

const SHIFT: Readonly<Record<string, number>> = { k: 10, K: 10, m: 20, M: 20, g: 30, G: 30, s: 9 };
const I64_MAX = (1n << 63n) - 1n;

/**
 * @param scale - bytes per stored unit; a number without unit is taken as it is, one with a unit is converted, rounding up
 * @throws CommandExit with the stock text when the text is no number
 */
export function parseScaledNumber(text: string, scale: 1 | 512 | 1024): bigint {
  if (text === '') throw new CommandExit(100, { stderr: 'missing number argument\n' });
  const match = /^[ \t\n\v\f\r]*([+-]?[0-9]+)(.?)$/su.exec(text);
  if (match === null) throw new CommandExit(EXIT_USAGE, { stderr: `${text} is not a valid number\n` });
  const saturated = BigInt(match[1]!);
  const number = saturated > I64_MAX ? I64_MAX : saturated < -I64_MAX - 1n ? -I64_MAX - 1n : saturated;
  const unit = match[2]!;
  if (unit === '') return number;
  const shift = Object.hasOwn(SHIFT, unit) ? SHIFT[unit]! : undefined;
  if (shift === undefined) throw new CommandExit(EXIT_USAGE, { stderr: `${text} is not a valid unit\n` });
  const bytes = number << BigInt(shift);
  if (bytes > I64_MAX || bytes < -I64_MAX - 1n) throw new CommandExit(EXIT_USAGE, { stderr: `${text}: out of range\n` });
  const unitBytes = BigInt(scale);
  return bytes < 0n ? bytes / unitBytes : (bytes + unitBytes - 1n) / unitBytes;
}

/** A number of 32 bits without unit, as node ids, volumes and indexes are; wraps around like the original. */
export const parseU32 = (text: string): number => Number(BigInt.asUintN(32, parseScaledNumber(text, 1)));
export const parseS32 = (text: string): number => Number(BigInt.asIntN(32, parseScaledNumber(text, 1)));

/** C's `%.2f` and `%.0f`: an exact half goes to the even neighbour. */
export function fixed(value: number, digits: 0 | 2): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value < 0 ? '-inf' : 'inf';
  const factor = digits === 0 ? 1 : 100;
  const scaled = value * factor;
  // A double has an exact half in the third decimal only if it is a multiple of 1/8.
  const half =
    digits === 0 ? Number.isInteger(value * 2) && !Number.isInteger(value) : Number.isInteger(value * 8) && !Number.isInteger(value * 4);
  if (!half) return value.toFixed(digits);
  const down = Math.floor(scaled);
  return ((down % 2 === 0 ? down : down + 1) / factor).toFixed(digits);
}
