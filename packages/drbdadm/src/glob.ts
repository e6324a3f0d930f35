/** glob(3) without flags: `*`, `?`, `[...]` and backslash; leading dots only match when written; sorted by byte value. */
import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { asBytes, asText } from './bytes.js';

const hasMagic = (part: string): boolean => /[*?[]/.test(part);
const withoutBackslashes = (part: string): string => part.replace(/\\(.)/g, '$1');

/** One component of a pattern as a regular expression. A bracket that is not closed stands for itself. */
function componentPattern(part: string): RegExp {
  let source = '';
  for (let i = 0; i < part.length; i++) {
    const c = part[i]!;
    if (c === '*') source += '.*';
    else if (c === '?') source += '.';
    else if (c === '[') {
      const close = part.indexOf(']', part[i + 1] === '!' || part[i + 1] === '^' ? i + 3 : i + 2);
      if (close < 0) source += '\\[';
      else {
        const set = part.slice(i + 1, close).replace(/[\\\]]/g, '\\$&');
        source += `[${/^[!^]/.test(set) ? `^${set.slice(1)}` : set}]`;
        i = close;
      }
    } else {
      const literal = c === '\\' && i + 1 < part.length ? part[++i]! : c;
      source += literal.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
    }
  }
  return new RegExp(`^${source}$`, 's');
}

function entriesOf(directory: string): string[] {
  try {
    return readdirSync(asText(directory), 'buffer').map(asBytes);
  } catch {
    // A directory that cannot be read has no matches, as for glob.
    return [];
  }
}

const byBytes = (a: string, b: string): number => (a < b ? -1 : Number(a > b));

/** @returns existing paths, spelled as the pattern spells them; relative ones relative to `directory` */
export function glob(directory: string, pattern: string): string[] {
  if (pattern === '') return [];
  let found: string[] = [''];
  // Slashes stay as many as they are.
  for (const part of pattern.split(/(\/+)/).filter((p) => p !== '')) {
    const next: string[] = [];
    for (const base of found) {
      if (part.startsWith('/')) {
        next.push(base + part);
        continue;
      }
      const at = base.startsWith('/') ? base : join(directory, base);
      if (!hasMagic(part)) {
        const name = withoutBackslashes(part);
        if (existsSync(asText(join(at, name)))) next.push(base + name);
        continue;
      }
      const expression = componentPattern(part);
      for (const name of entriesOf(at))
        if ((!name.startsWith('.') || part.startsWith('.')) && expression.test(name)) next.push(base + name);
    }
    found = next;
  }
  if (pattern.endsWith('/')) found = found.filter((path) => existsSync(asText(resolve(directory, path))));
  return found.sort(byBytes);
}
