// Assertions about what a node logs; each prints the lines that it is about when it fails.
import type { Test } from 'tap';
import { eventually } from '../engine/eventually.js';

const TAIL = 12;

const tailOf = (text: string): string => text.trimEnd().split('\n').slice(-TAIL).join('\n');

/**
 * Passes once the log has it: what a node says may come after the state that it was seen in.
 * @param log - all of it, or what was said since some event
 */
export async function says(t: Test, log: () => string, wanted: RegExp | string, what = 'said'): Promise<void> {
  const isThere = (text: string): boolean => (typeof wanted === 'string' ? text.includes(wanted) : wanted.test(text));
  const name = `${what}: ${wanted}`;
  try {
    await eventually(name, () => isThere(log()), Boolean);
    t.pass(name);
  } catch {
    t.fail(`${name} was not said; the end of what was:\n${tailOf(log())}`);
  }
}

/** Passes when no line of the log has it. */
export function neverSays(t: Test, log: string, unwanted: RegExp): void {
  const lines = log.split('\n').filter((line) => unwanted.test(line));
  t.equal(lines.length, 0, [`nobody says ${unwanted}`, ...lines.slice(0, TAIL)].join('\n'));
}
