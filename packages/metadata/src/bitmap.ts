// The bitmap on disk: one bit per block and slot, 1 = out of sync. The slots are interleaved in 32-bit little-endian words:
//
//   word:   0        1        2        3        4        5   ...        (three slots)
//         | slot 0 | slot 1 | slot 2 | slot 0 | slot 1 | slot 2 |
//   bits:   0..31    0..31    0..31    32..63   32..63   32..63
//
// Source: DRBD 9 drbd_bitmap.c; docs/on-disk-format.md.

import { AL_EXTENT_BYTES } from './constants.js';
import { viewOf } from './layout.js';

/** Byte offset, within the bitmap area, of the word that holds `bitNumber` of `slot`. */
export const bitmapWordOffset = (slot: number, bitNumber: number, maxPeers: number): number =>
  4 * (Math.floor(bitNumber / 32) * maxPeers + slot);

/** Number of set bits in `bytes`. */
export function hweight(bytes: Uint8Array): number {
  let count = 0;
  let i = 0;
  // Byte order does not matter for a sum, so aligned stretches are read as machine words.
  for (; i < bytes.length && (bytes.byteOffset + i) % 4 !== 0; i++) count += hweight32(bytes[i]);
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset + i, (bytes.length - i) >> 2);
  for (let w = 0; w < words.length; w++) if (words[w] !== 0) count += hweight32(words[w]);
  for (i += words.length * 4; i < bytes.length; i++) count += hweight32(bytes[i]);
  return count;
}

export function hweight32(word: number): number {
  let w = word - ((word >>> 1) & 0x5555_5555);
  w = (w & 0x3333_3333) + ((w >>> 2) & 0x3333_3333);
  w = (w + (w >>> 4)) & 0x0f0f_0f0f;
  return Math.imul(w, 0x0101_0101) >>> 24;
}

/**
 * Takes one slot's words out of a piece of the on-disk bitmap.
 * @param piece - begins at a word of slot 0, that is at a multiple of 4 x maxPeers bytes of the area
 * @returns the slot's words in order
 */
export function readSlot(piece: Uint8Array, slot: number, maxPeers: number): Uint32Array {
  const view = viewOf(piece);
  const total = piece.length >> 2;
  const words = new Uint32Array(slotWords(total, slot, maxPeers));
  for (let i = 0, w = slot; i < words.length; i++, w += maxPeers) words[i] = view.getUint32(4 * w, true);
  return words;
}

/** Puts one slot's words back to where `readSlot` took them from; other slots stay. */
export function writeSlot(piece: Uint8Array, slot: number, maxPeers: number, words: Uint32Array): void {
  const view = viewOf(piece);
  for (let i = 0, w = slot; i < words.length; i++, w += maxPeers) view.setUint32(4 * w, words[i], true);
}

/** How many of `totalWords` interleaved words belong to `slot`. */
export const slotWords = (totalWords: number, slot: number, maxPeers: number): number =>
  totalWords > slot ? Math.floor((totalWords - slot - 1) / maxPeers) + 1 : 0;

/**
 * The bytes of the bitmap area that one activity log extent covers, in all slots. For bitmap blocks of more than 128 KiB an
 * extent is less than a word: then `mask` says which bits.
 */
export function extentInBitmap(
  extent: number,
  maxPeers: number,
  bmBytesPerBit: number,
): { readonly offsetBytes: number; readonly lengthBytes: number; readonly mask: number } {
  const bits = AL_EXTENT_BYTES / bmBytesPerBit;
  const firstBit = extent * bits;
  const offsetBytes = bitmapWordOffset(0, firstBit, maxPeers);
  if (bits >= 32) return { offsetBytes, lengthBytes: (bits / 32) * maxPeers * 4, mask: 0xffff_ffff };
  return { offsetBytes, lengthBytes: maxPeers * 4, mask: (((1 << bits) - 1) << (firstBit % 32)) >>> 0 };
}

/**
 * Marks one activity log extent out of sync in all slots.
 * @param window - a piece of the bitmap area that begins `windowOffsetBytes` into it and contains the extent's words, as far as
 *   the bitmap goes
 * @returns bits newly set, over all slots
 */
export function setExtent(window: Uint8Array, windowOffsetBytes: number, extent: number, maxPeers: number, bmBytesPerBit: number): number {
  const { offsetBytes, lengthBytes, mask } = extentInBitmap(extent, maxPeers, bmBytesPerBit);
  const view = viewOf(window);
  let newlySet = 0;
  const start = offsetBytes - windowOffsetBytes;
  // Of the extent at the end of the bitmap only a part may have room.
  const end = Math.min(start + lengthBytes, window.length);
  for (let at = start; at < end; at += 4) {
    const before = view.getUint32(at, true);
    newlySet += hweight32(mask & ~before);
    view.setUint32(at, before | mask, true);
  }
  return newlySet;
}
