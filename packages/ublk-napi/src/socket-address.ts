// Socket addresses as values and as the bytes of struct sockaddr.
import { ERRNO, ErrnoError } from './errno.js';
import { native } from './native.js';

export const AF = { UNIX: 1, INET: 2, INET6: 10 } as const;

export type SocketAddress =
  | { readonly family: 'ipv4'; readonly address: string; readonly port: number }
  /** `address` may carry a scope: `fe80::1%eth0` or `fe80::1%2`. */
  | { readonly family: 'ipv6'; readonly address: string; readonly port: number }
  /** A path, or an abstract name starting with NUL; empty = unnamed. */
  | { readonly family: 'unix'; readonly path: string };

/** Largest encoded address (sockaddr_un). */
export const SOCKADDR_BYTES_MAX = 110;

const SUN_PATH_BYTES = 108;

/**
 * The bytes of struct sockaddr_in, sockaddr_in6 or sockaddr_un.
 * @throws ErrnoError EINVAL for text that is no address, ENAMETOOLONG for a path beyond 107 bytes, ENODEV for an unknown scope; RangeError for a port
 */
export function encodeAddress(address: SocketAddress): Uint8Array {
  if (address.family === 'unix') return encodeUnix(address.path);
  if (!Number.isInteger(address.port) || address.port < 0 || address.port > 0xffff) throw new RangeError(`port ${address.port}`);
  if (address.family === 'ipv4') {
    const bytes = new Uint8Array(16);
    head(bytes, AF.INET, address.port);
    bytes.set(parse(AF.INET, address.address), 4);
    return bytes;
  }
  const [text = '', scope] = address.address.split('%');
  const bytes = new Uint8Array(28);
  head(bytes, AF.INET6, address.port);
  bytes.set(parse(AF.INET6, text), 8);
  if (scope !== undefined) new DataView(bytes.buffer).setUint32(24, scopeId(scope), true);
  return bytes;
}

/** Writes an encoded address into a pool and returns its length, for prepConnect. */
export function encodeAddressInto(bytes: Uint8Array, offset: number, address: SocketAddress): number {
  const encoded = encodeAddress(address);
  bytes.set(encoded, offset);
  return encoded.length;
}

/** @returns undefined for a family that is none of the three, or too few bytes */
export function decodeAddress(bytes: Uint8Array): SocketAddress | undefined {
  if (bytes.length < 2) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const family = view.getUint16(0, true);
  if (family === AF.UNIX) return { family: 'unix', path: decodePath(bytes.subarray(2)) };
  if (family === AF.INET && bytes.length >= 16) {
    return { family: 'ipv4', address: bytes.subarray(4, 8).join('.'), port: view.getUint16(2) };
  }
  if (family === AF.INET6 && bytes.length >= 28) {
    const scope = view.getUint32(24, true);
    return { family: 'ipv6', address: formatIpv6(view, 8) + (scope === 0 ? '' : `%${scope}`), port: view.getUint16(2) };
  }
  return undefined;
}

function head(bytes: Uint8Array, family: number, port: number): void {
  const view = new DataView(bytes.buffer);
  view.setUint16(0, family, true);
  view.setUint16(2, port);
}

function parse(family: number, text: string): Uint8Array {
  const bytes = native.inetPton(family, text);
  if (typeof bytes === 'number') throw new ErrnoError(-bytes, 'inet_pton', text);
  return bytes;
}

function scopeId(scope: string): number {
  if (/^\d+$/.test(scope)) return Number(scope);
  const index = native.interfaceIndex(scope);
  if (index < 0) throw new ErrnoError(-index, 'if_nametoindex', scope);
  return index;
}

function encodeUnix(path: string): Uint8Array {
  const name = new TextEncoder().encode(path);
  if (name.length >= SUN_PATH_BYTES) throw new ErrnoError(ERRNO.ENAMETOOLONG, 'sockaddr_un', path);
  // An abstract name has no terminating NUL: its length is part of the address.
  const terminated = name.length > 0 && name[0] !== 0;
  const bytes = new Uint8Array(2 + name.length + (terminated ? 1 : 0));
  new DataView(bytes.buffer).setUint16(0, AF.UNIX, true);
  bytes.set(name, 2);
  return bytes;
}

function decodePath(bytes: Uint8Array): string {
  const end = bytes[0] === 0 ? bytes.length : bytes.indexOf(0);
  return new TextDecoder().decode(bytes.subarray(0, end < 0 ? bytes.length : end));
}

/** RFC 5952: lower case, the longest run of two or more zero groups shortened. */
function formatIpv6(view: DataView, at: number): string {
  const groups = Array.from({ length: 8 }, (_, i) => view.getUint16(at + i * 2));
  let start = -1;
  let length = 1;
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && groups[end] === 0) end++;
    if (end - i > length) {
      start = i;
      length = end - i;
    }
  }
  const hex = (part: readonly number[]) => part.map((group) => group.toString(16)).join(':');
  return start < 0 ? hex(groups) : `${hex(groups.slice(0, start))}::${hex(groups.slice(start + length))}`;
}
