/** P_COMPRESSED_BITMAP: one byte that says how, then code. Source: drbd_protocol.h, struct p_compressed_bm. */
import { layout, type StructOf } from './layout.js';

export const P_COMPRESSED_BM = layout('p_compressed_bm', 1, {
  encoding: { type: 'u8', doc: 'bits 0..3: code, always 2; 4..6: unused high bits in the last byte; 7: first run is of set bits' },
});
export type PCompressedBm = StructOf<typeof P_COMPRESSED_BM>;

/** The only code in use: run lengths as variable length integers. */
export const RLE_VLI_BITS = 2;

export const encodingCode = (encoding: number): number => encoding & 0x0f;
export const encodingPadBits = (encoding: number): number => (encoding >> 4) & 7;
/** True when the first run is of set bits. */
export const encodingStartsSet = (encoding: number): boolean => (encoding & 0x80) !== 0;
export const encodingByte = (startsSet: boolean, padBits: number): number => (startsSet ? 0x80 : 0) | (padBits << 4) | RLE_VLI_BITS;
