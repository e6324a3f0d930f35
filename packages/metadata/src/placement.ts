// Where superblock, activity log and bitmap stand on a device. Pure arithmetic; docs/on-disk-format.md has the drawings.

import {
  AL_BLOCK_BYTES,
  AL_STRIPE_SIZE_4K_DEFAULT,
  AL_STRIPES_DEFAULT,
  BM_BYTES_PER_BIT_DEFAULT,
  DEVICE_BYTES_MAX,
  INDEXED_AREA_BYTES,
  SECTOR_BYTES,
  SUPERBLOCK_BYTES,
} from './constants.js';
import type { MetaData } from './meta-data.js';

/**
 * - `internal`: data, bitmap, activity log, superblock, end of the device
 * - `flex-external`: superblock, activity log, bitmap on a device of their own
 * - `indexed`: the same within area number `index` of 128 MiB each
 * - `fixed-internal`: v07 only, the last 128 MiB: superblock, activity log, bitmap
 */
export type MetaDataKind = 'internal' | 'flex-external' | 'indexed' | 'fixed-internal';

export interface PlacementInput {
  readonly kind: MetaDataKind;
  /** Size of the device that holds the meta-data. */
  readonly deviceBytes: number;
  /** Area number, for `indexed` only. */
  readonly index?: number;
  /** Number of bitmap slots, 1..31; 1 for v07 and v08. */
  readonly maxPeers?: number;
  readonly alStripes?: number;
  readonly alStripeSize4k?: number;
  readonly bmBytesPerBit?: number;
}

export interface Placement {
  /** First byte of the superblock on the device. */
  readonly superblockOffsetBytes: number;
  /** First byte of the activity log on the device. */
  readonly alOffsetBytes: number;
  readonly alSizeBytes: number;
  /** First byte of the bitmap on the device. */
  readonly bmOffsetBytes: number;
  /** Bytes reserved for the bitmap. */
  readonly bmSizeBytes: number;
  /** On-disk field: activity log relative to the superblock, in sectors. */
  readonly al_offset: number;
  /** On-disk field: bitmap relative to the superblock, in sectors. */
  readonly bm_offset: number;
  /** On-disk field: the complete area in sectors. */
  readonly md_size_sect: number;
  /**
   * Most sectors of application data that this meta-data can serve, as drbdmeta computes it (32-bit unsigned where the area
   * is too small for anything); engines use `capacitySectors`.
   */
  readonly usableSectors: number;
}

/** Sectors: super block and a log of 32 KiB. */
const FIXED_BM_OFFSET = 72;

const alignUp = (value: number, to: number): number => Math.ceil(value / to) * to;
const alignDown = (value: number, to: number): number => Math.floor(value / to) * to;

/** Length of the activity log; counted in sectors of 32 bits, which damage may make overflow. */
const activityLogBytes = (alStripes: number, alStripeSize4k: number): number =>
  ((Math.imul(alStripes, alStripeSize4k) * (AL_BLOCK_BYTES / SECTOR_BYTES)) >>> 0) * SECTOR_BYTES;

/** Length of all bitmap slots together for a device of that many sectors, a multiple of 4096. */
export function bitmapBytes(sizeSectors: number, maxPeers: number, bmBytesPerBit: number = BM_BYTES_PER_BIT_DEFAULT): number {
  const bits = alignUp(Math.ceil(sizeSectors / (bmBytesPerBit / SECTOR_BYTES)), 64);
  return alignUp((bits / 8) * maxPeers, 4096);
}

/** Byte offset of the superblock. Negative when the device is too small for it. */
export function superblockOffset(kind: MetaDataKind, deviceBytes: number, index = 0): number {
  switch (kind) {
    case 'internal':
      return alignDown(deviceBytes - SUPERBLOCK_BYTES, SUPERBLOCK_BYTES);
    case 'fixed-internal':
      return alignDown(deviceBytes, SUPERBLOCK_BYTES) - INDEXED_AREA_BYTES;
    case 'indexed':
      return index * INDEXED_AREA_BYTES;
    case 'flex-external':
      return 0;
  }
}

/** All offsets of a new meta-data area. */
export function placement(input: PlacementInput): Placement {
  const maxPeers = input.maxPeers ?? 1;
  const bmBytesPerBit = input.bmBytesPerBit ?? BM_BYTES_PER_BIT_DEFAULT;
  const alSizeBytes = activityLogBytes(input.alStripes ?? AL_STRIPES_DEFAULT, input.alStripeSize4k ?? AL_STRIPE_SIZE_4K_DEFAULT);
  const alSectors = alSizeBytes / SECTOR_BYTES;
  const superblockOffsetBytes = superblockOffset(input.kind, input.deviceBytes, input.index);
  let al_offset = SUPERBLOCK_BYTES / SECTOR_BYTES;
  // The fixed layout of v07 knows one size of the activity log only.
  let bm_offset = input.kind === 'fixed-internal' ? FIXED_BM_OFFSET : (al_offset + alSectors) | 0;
  let md_size_sect: number;
  let bmSizeBytes: number;
  if (input.kind === 'internal') {
    bmSizeBytes = bitmapBytes(Math.floor(input.deviceBytes / SECTOR_BYTES), maxPeers, bmBytesPerBit);
    // The fields are 32 bits wide; a dump may ask for more.
    al_offset = -alSectors | 0;
    bm_offset = -(bmSizeBytes / SECTOR_BYTES + alSectors) | 0;
    md_size_sect = (bmSizeBytes / SECTOR_BYTES + alSectors + SUPERBLOCK_BYTES / SECTOR_BYTES) >>> 0;
  } else {
    md_size_sect = Math.floor((input.kind === 'flex-external' ? input.deviceBytes : INDEXED_AREA_BYTES) / SECTOR_BYTES) % 0x1_0000_0000;
    bmSizeBytes = Math.max(0, md_size_sect - bm_offset) * SECTOR_BYTES;
  }
  return {
    superblockOffsetBytes,
    alOffsetBytes: superblockOffsetBytes + al_offset * SECTOR_BYTES,
    alSizeBytes,
    bmOffsetBytes: superblockOffsetBytes + bm_offset * SECTOR_BYTES,
    bmSizeBytes,
    al_offset,
    bm_offset,
    md_size_sect,
    usableSectors: usableSectors(input.kind, superblockOffsetBytes, { al_offset, bm_offset, md_size_sect, bmBytesPerBit, maxPeers }),
  };
}

/** What the fields of a superblock that was read from `superblockOffsetBytes` say about the places on the device. */
export function placementOf(md: MetaData, kind: MetaDataKind, superblockOffsetBytes: number): Placement {
  const { al_offset, bm_offset, md_size_sect } = md;
  const alSizeBytes = activityLogBytes(md.al_stripes, md.al_stripe_size_4k);
  const bmEnd = kind === 'internal' ? al_offset : md_size_sect;
  return {
    superblockOffsetBytes,
    alOffsetBytes: superblockOffsetBytes + al_offset * SECTOR_BYTES,
    alSizeBytes,
    bmOffsetBytes: superblockOffsetBytes + bm_offset * SECTOR_BYTES,
    bmSizeBytes: Math.max(0, bmEnd - bm_offset) * SECTOR_BYTES,
    al_offset,
    bm_offset,
    md_size_sect,
    usableSectors: usableSectors(kind, superblockOffsetBytes, {
      al_offset,
      bm_offset,
      md_size_sect,
      bmBytesPerBit: md.bm_bytes_per_bit,
      maxPeers: md.bm_max_peers,
    }),
  };
}

/** Writes the offsets of `p` into the superblock. */
export function place(md: MetaData, p: Placement): void {
  md.al_offset = p.al_offset;
  md.bm_offset = p.bm_offset;
  md.md_size_sect = p.md_size_sect % 0x1_0000_0000;
}

/** Says how far the layout reaches; `maxPeers` is at least 1. */
function usableSectors(
  kind: MetaDataKind,
  superblockOffsetBytes: number,
  f: { al_offset: number; bm_offset: number; md_size_sect: number; bmBytesPerBit: number; maxPeers: number },
): number {
  if (kind === 'internal' || kind === 'fixed-internal') {
    // Places before the device's begin are huge unsigned numbers to the tool, so they do not limit.
    const sectors = [0, f.al_offset, f.bm_offset].map((offset) => Math.floor(superblockOffsetBytes / SECTOR_BYTES) + offset);
    return Math.min(...sectors.filter((sector) => sector >= 0));
  }
  const bits = (((f.md_size_sect - f.bm_offset) >>> 0) * SECTOR_BYTES * 8) / 64;
  return (Math.trunc(bits / f.maxPeers) * 64 * f.bmBytesPerBit) / SECTOR_BYTES;
}

/**
 * Most sectors of application data a device can offer: before the internal meta-data or the whole data device, within the
 * bitmap, at most 1 PiB. The engine's rule at attach and resize.
 * @param dataDeviceBytes - size of the data device; for internal meta-data the device itself
 */
export function capacitySectors(md: MetaData, kind: MetaDataKind, superblockOffsetBytes: number, dataDeviceBytes: number): number {
  const internal = kind === 'internal';
  const limit = internal ? superblockOffsetBytes / SECTOR_BYTES + md.bm_offset : Math.floor(dataDeviceBytes / SECTOR_BYTES);
  const bmSectors = internal ? md.al_offset - md.bm_offset : md.md_size_sect - md.bm_offset;
  const perPeerBytes = Math.floor(alignDown(bmSectors * SECTOR_BYTES, 4096) / md.bm_max_peers);
  const byBitmap = perPeerBytes * 8 * (md.bm_bytes_per_bit / SECTOR_BYTES);
  return Math.max(0, Math.min(limit, byBitmap, DEVICE_BYTES_MAX / SECTOR_BYTES));
}

/** Smallest device with internal meta-data that offers `sizeSectors` of application data. */
export function internalDeviceBytes(
  sizeSectors: number,
  options: { maxPeers?: number; alStripes?: number; alStripeSize4k?: number; bmBytesPerBit?: number } = {},
): number {
  const alBytes = (options.alStripes ?? AL_STRIPES_DEFAULT) * (options.alStripeSize4k ?? AL_STRIPE_SIZE_4K_DEFAULT) * AL_BLOCK_BYTES;
  const fixed = alBytes + SUPERBLOCK_BYTES;
  let total = sizeSectors * SECTOR_BYTES + fixed;
  for (;;) {
    const bm = bitmapBytes(Math.floor(total / SECTOR_BYTES), options.maxPeers ?? 1, options.bmBytesPerBit);
    const next = alignUp(sizeSectors * SECTOR_BYTES, 4096) + bm + fixed;
    if (next <= total) return next;
    total = next;
  }
}
