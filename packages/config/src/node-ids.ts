/**
 * Node ids for the two hosts of an 8.4 style configuration, which names none: both nodes hash both addresses and so agree on who is 0.
 */
import type { Endpoint } from './model.js';

const POLYNOMIAL = 0x82f63b78;
const START = 0x1a656f21;

/** CRC-32C of the text's bytes, reflected, with DRBD's start value and no final inversion, as a signed number. */
export function addressHash(text: string): number {
  let crc = START;
  for (let i = 0; i < text.length; i++) {
    crc ^= text.charCodeAt(i) & 0xff;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  }
  return crc | 0;
}

/**
 * Which of the two endpoints gets node id 0: the one with the larger hash; with a proxy between, equal addresses are told apart by
 * the proxies' outside addresses.
 * @returns undefined when nothing tells them apart
 */
export function firstNode(a: Endpoint, b: Endpoint): Endpoint | undefined {
  const pairs: [string | undefined, string | undefined][] = [[a.address?.address, b.address?.address]];
  if (a.proxy !== undefined && b.proxy !== undefined) pairs.push([a.proxy.outside?.address, b.proxy.outside?.address]);
  for (const [x, y] of pairs) {
    const difference = addressHash(x ?? '') - addressHash(y ?? '');
    if (difference !== 0) return difference > 0 ? a : b;
  }
  return undefined;
}
