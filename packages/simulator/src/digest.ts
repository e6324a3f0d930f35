/** Stands for every digest algorithm: no contents of a life collide under it, and it is quick. */
import * as zlib from 'node:zlib';
import { DIGEST_STRIDE, digestBytes, type ReplicationCore } from '@udrbd/replication';
import { areZeroes, isZero } from './payload.js';

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

const CHUNK = 4096;

/** A chunk of zeroes counts by its place only: most of a large device is nothing else. */
function hashOf(payload: Uint8Array): number {
  let hash = payload.length;
  if (areZeroes(payload)) return hash;
  const isZeroAt = (at: number): boolean => isZero(payload.subarray(at, at + CHUNK));
  for (let at = 0; at < payload.length; ) {
    if (isZeroAt(at)) {
      at += CHUNK;
      continue;
    }
    const begin = at;
    while (at < payload.length && (at === begin || !isZeroAt(at))) at += CHUNK;
    hash = crc32(payload.subarray(begin, at), (hash + begin) >>> 0);
  }
  return hash;
}

const crc32 = (zlib as { crc32?: (data: Uint8Array, value: number) => number }).crc32 ?? hashOfWords;

/** For a Node.js without `crc32`. */
function hashOfWords(payload: Uint8Array, value: number): number {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  let hash = payload.length ^ value;
  for (let at = 0; at < payload.length; at += 4) {
    hash = Math.imul(hash ^ view.getUint32(at), 0x9e37_79b1);
    hash ^= hash >>> 15;
  }
  return hash;
}
