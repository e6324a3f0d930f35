// Other meta-data that may already be on the device: other formats, and for v07 another place.

import { type MetaData, type MetaDataFormat, type MetaDataKind, SUPERBLOCK_BYTES, superblockOffset } from '@udrbd/metadata';
import type { Volume } from './volume.js';

export interface Existing {
  readonly md: MetaData;
  readonly kind: MetaDataKind;
  /** Byte offset of its super block. */
  readonly offset: number;
}

const FORMATS: readonly MetaDataFormat[] = ['v07', 'v08', 'v09'];

/** Internal meta-data of any format: first v07's fixed place, then the flexible one, where the last format that fits wins. */
export function findInternalFlavour(volume: Volume): Existing | undefined {
  const { device } = volume;
  const tag = 'check_internal_md_flavours';
  const fixed = superblockOffset('fixed-internal', device.sizeBytes);
  if (fixed >= 0 && fixed < device.sizeBytes - SUPERBLOCK_BYTES) {
    const bytes = device.read(tag, SUPERBLOCK_BYTES, fixed);
    const md = volume.judge(bytes, 'v07', 'fixed-internal', device.sizeBytes);
    if (md) return { md, kind: 'fixed-internal', offset: fixed };
  }
  const offset = superblockOffset('internal', device.sizeBytes);
  const bytes = device.read(tag, SUPERBLOCK_BYTES, offset);
  return lastThatFits(volume, bytes, 'internal', offset);
}

/** Meta-data of any format at the place of the requested external layout. */
export function findExternalFlavour(volume: Volume): Existing | undefined {
  const offset = volume.superblockOffset;
  const bytes = volume.device.read('check_external_md_flavours', SUPERBLOCK_BYTES, offset);
  return lastThatFits(volume, bytes, 'flex-external', offset);
}

function lastThatFits(volume: Volume, bytes: Uint8Array, kind: MetaDataKind, offset: number): Existing | undefined {
  let existing: Existing | undefined;
  for (const format of FORMATS) {
    const md = volume.judge(bytes, format, kind, volume.device.sizeBytes);
    if (md) existing = { md, kind, offset };
  }
  return existing;
}
