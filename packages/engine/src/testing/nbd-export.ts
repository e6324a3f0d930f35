import { BLOCK_SIZE_DEFAULT, type NbdExport } from '../nbd/index.js';

/** A volume of 1 MiB that can do everything. */
export const exportedVolume = (minimumBlockBytes: number): NbdExport => ({
  name: 'r0',
  description: 'volume 0',
  sizeBytes: 1 << 20,
  readOnly: false,
  refusal: undefined,
  rotational: false,
  canFlush: true,
  canFua: true,
  canTrim: true,
  canWriteZeroes: true,
  blockSize: { ...BLOCK_SIZE_DEFAULT, minimum: minimumBlockBytes },
});
