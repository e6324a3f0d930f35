/** Network addresses as drbd.conf has them: text that is passed on as written, compared by value. */
import type { Address } from './model.js';

/** The eight 16 bit groups of an IPv6 text; undefined when it is none. A scope is left out. */
function groupsOf(text: string): number[] | undefined {
  let [plain] = text.split('%', 1) as [string];
  const v4 = /^(.*:)([0-9]+)\.([0-9]+)\.([0-9]+)\.([0-9]+)$/.exec(plain);
  if (v4 !== null) {
    const hex = (hi: string, lo: string) => (Number(hi) * 256 + Number(lo)).toString(16);
    plain = `${v4[1]}${hex(v4[2]!, v4[3]!)}:${hex(v4[4]!, v4[5]!)}`;
  }
  const halves = plain.split('::');
  if (halves.length > 2) return undefined;
  const part = (half: string | undefined) => (half === undefined || half === '' ? [] : half.split(':').map((g) => Number.parseInt(g, 16)));
  const left = part(halves[0]);
  const right = part(halves[1]);
  const gap = halves.length === 2 ? 8 - left.length - right.length : 0;
  const groups = [...left, ...new Array<number>(Math.max(gap, 0)).fill(0), ...right];
  return groups.length === 8 && groups.every((g) => g >= 0 && g <= 0xffff) ? groups : undefined;
}

/** One text per address value: different spellings of an IPv6 address give the same. */
export function canonicalAddress(family: string, text: string): string {
  if (family !== 'ipv6') return text;
  const groups = groupsOf(text);
  if (groups === undefined) return text;
  const scope = text.indexOf('%');
  return groups.map((g) => g.toString(16)).join(':') + (scope < 0 ? '' : text.slice(scope));
}

export function isLoopback(family: string, text: string): boolean {
  return family === 'ipv6' ? canonicalAddress(family, text) === '0:0:0:0:0:0:0:1' : text.startsWith('127.');
}

export function addressesEqual(a: Address | undefined, b: Address | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.family === b.family && a.port === b.port && canonicalAddress(a.family, a.address) === canonicalAddress(b.family, b.address);
}

/** As drbdsetup takes it: `ipv4:10.0.0.1:7788`, `ipv6:[::1]:7788`. */
export function addressArgument(a: Address): string {
  return a.family === 'ipv6' ? `ipv6:[${a.address}]:${a.port}` : `${a.family}:${a.address}:${a.port}`;
}

/** As drbd.conf has it behind the family. */
export function addressText(a: Address): string {
  return a.family === 'ipv6' ? `[${a.address}]:${a.port}` : `${a.address}:${a.port}`;
}
