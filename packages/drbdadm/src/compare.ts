/** Comparing what is configured with what runs, for `adjust`; at -vvv it says what differs. */
import {
  addressesEqual,
  findEntry,
  isDefault,
  isUnknown,
  numberProblem,
  type OptionEntry,
  type OptionList,
  type Path,
  type Volume,
  valuesEqual,
} from '@udrbd/config';
import type { Session } from './session.js';

/** Explains a decision to who asked for it with -vvv, an equal item with -vvvv. */
export function explain(session: Session, level: 3 | 4, text: string): void {
  if (session.settings.verbose >= level) session.io.stderr(`${text}\n`);
}

/** Two values cannot be compared, because one is no number; the message says which. */
export class NotANumber extends Error {}

function checkNumber({ option, value }: OptionEntry): void {
  const problem = numberProblem(option, value);
  if (problem !== undefined) throw new NotANumber(problem);
}

const sameValue = (a: OptionEntry, b: OptionEntry): boolean => {
  const option = a.option ?? b.option;
  checkNumber(a);
  checkNumber(b);
  return option === undefined ? a.value === b.value : valuesEqual(option, a.value, b.value);
};

function isDefaultEntry(o: OptionEntry): boolean {
  checkNumber(o);
  return o.option === undefined ? o.value === '' : isDefault(o.option, o.value);
}

/**
 * Whether two option lists mean the same, defaults included. What the running module does not know is taken out of the configured
 * list, for it could not be set anyway. The first difference ends the comparison.
 */
export function optionsEqual(session: Session, configured: OptionList, running: OptionList, but: ReadonlySet<string> = new Set()): boolean {
  for (const entry of running) {
    if (isUnknown(entry)) {
      const at = configured.findIndex((o) => o.name === entry.name);
      if (at >= 0) configured.splice(at, 1);
      continue;
    }
    if (but.has(entry.name)) continue;
    const wanted = findEntry(configured, entry.name);
    if (wanted === undefined) {
      if (isDefaultEntry(entry)) explain(session, 4, `Is default: '${entry.name}' equal: r=${entry.value}`);
      else {
        explain(session, 3, `Only in running config ${entry.name}: ${entry.value}`);
        return false;
      }
    } else if (sameValue(wanted, entry)) explain(session, 4, `Value of '${entry.name}' equal: r=${entry.value} c=${wanted.value}`);
    else {
      explain(session, 3, `Value of '${entry.name}' differs: r=${entry.value} c=${wanted.value}`);
      return false;
    }
  }
  for (const entry of configured) {
    // Of an option that stands twice, only the first was compared.
    const compared = findEntry(configured, entry.name) === entry && findEntry(running, entry.name) !== undefined;
    if (but.has(entry.name) || compared) continue;
    if (isDefaultEntry(entry)) continue;
    explain(session, 3, `Only in config file ${entry.name}: ${entry.value}`);
    return false;
  }
  return true;
}

/** Whether one option has the same value on both sides, a missing one counting as its default. */
export function optionEqual(name: string, configured: OptionList, running: OptionList): boolean {
  const a = findEntry(configured, name);
  const b = findEntry(running, name);
  if (a === undefined) return b === undefined || isUnknown(b) || isDefaultEntry(b);
  if (b === undefined) return isDefaultEntry(a);
  return isUnknown(b) || sameValue(a, b);
}

const isNone = (disk: string | undefined): boolean => disk === undefined || disk === 'none';
const isInternal = (v: Volume): boolean => v.metaDisk === undefined || v.metaDisk === 'internal';

/** Whether both sides have the same backing device and meta-data device. */
export function disksEqual(session: Session, configured: Volume, running: Volume): boolean {
  const where = `minor ${configured.minor} (vol:${configured.vnr})`;
  if (isNone(configured.disk) && isNone(running.disk)) return true;
  if (isNone(configured.disk)) {
    explain(session, 3, ` [ne] ${where} ${running.disk} missing from config`);
    return false;
  }
  if (running.disk === undefined) {
    explain(session, 3, ` [ne] ${where} ${configured.disk} missing from kernel`);
    return false;
  }
  const sameDisk = configured.disk === running.disk;
  const bothInternal = isInternal(configured) && isInternal(running);
  const sameMeta = bothInternal ? sameDisk : !isInternal(configured) && !isInternal(running) && configured.metaDisk === running.metaDisk;
  const level = (same: boolean) => (same ? 4 : 3);
  const tag = (same: boolean) => (same ? '[eq]' : '[ne]');
  explain(session, level(sameDisk), ` ${tag(sameDisk)} ${where} disk: r=${running.disk} c=${configured.disk}`);
  const [r, c] = [running, configured].map((v) => v.metaDisk ?? '(null)');
  explain(session, level(sameMeta), ` ${tag(sameMeta)} ${where} meta-disk: r=${r} c=${c}`);
  return sameDisk && sameMeta;
}

/** Whether the size limits are the same; a running one of zero is none. */
export function sizesEqual(session: Session, configured: Volume, running: Volume): boolean {
  const a = findEntry(configured.diskOptions, 'size');
  const found = findEntry(running.diskOptions, 'size');
  const b = found !== undefined && isDefaultEntry(found) ? undefined : found;
  const same = a === undefined || b === undefined ? a === b : sameValue(a, b);
  const where = `minor ${configured.minor} (vol:${configured.vnr})`;
  if (!same) explain(session, 3, ` [ne] ${where} size: r=${b?.value ?? '-'} c=${a?.value ?? '-'}`);
  return same;
}

export const pathsEqual = (configured: Path, running: Path): boolean =>
  addressesEqual(configured.me?.address, running.me?.address) && addressesEqual(configured.connectTo, running.connectTo);
