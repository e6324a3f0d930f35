/** Stands for every digest algorithm: no contents of a life collide under it, and it is quick. */
import * as zlib from 'node:zlib';
import { DIGEST_STRIDE, digestBytes, type ReplicationCore } from '@udrbd/replication';
import { areZeroes } from './payload.js';

/** @returns `length` bytes that depend on all of `payload`, whose length is a multiple of four */
export function digestOf(payload: Uint8Array, length: number): Uint8Array {
  const hash = hashOf(payload);
  const digest = new Uint8Array(length);
  for (let i = 0; i < length; i++) digest[i] = hash >>> (8 * (i % 4));
  return digest;
}

/** The digest that the core wants to know of what is in a buffer now. */
export function bufferFilled({ requests }: ReplicationCore, slot: number, payload: Uint8Array): void {
  const length = digestBytes(requests.digest[slot]!);
  if (length > 0) requests.computed.set(digestOf(payload, length), slot * DIGEST_STRIDE);
}

/** Of zeroes by their number: a device that is mostly empty is mostly that. */
const ofZeroes = new Map<number, number>();

function hashOf(payload: Uint8Array): number {
  if (!areZeroes(payload)) return crc32(payload);
  let hash = ofZeroes.get(payload.length);
  if (hash === undefined) {
    hash = crc32(payload);
    ofZeroes.set(payload.length, hash);
  }
  return hash;
}

const crc32 = (zlib as { crc32?: (data: Uint8Array) => number }).crc32 ?? hashOfWords;

/** For a Node.js without `crc32`. */
function hashOfWords(payload: Uint8Array): number {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  let hash = payload.length;
  for (let at = 0; at < payload.length; at += 4) {
    hash = Math.imul(hash ^ view.getUint32(at), 0x9e37_79b1);
    hash ^= hash >>> 15;
  }
  return hash;
}
