/** Image files with freshly created internal meta-data, as `drbdmeta create-md` leaves them. */
import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { createMetaData, encodeSuperblock, initializedActivityLog, place, placement } from '@udrbd/metadata';

/** @param sizeBytes - of the whole image */
export function createImage(path: string, sizeBytes: number): void {
  const fd = openSync(path, 'w+');
  ftruncateSync(fd, sizeBytes);
  const p = placement({ kind: 'internal', deviceBytes: sizeBytes, maxPeers: 1 });
  const md = createMetaData('v09', { maxPeers: 1 });
  place(md, p);
  writeSync(fd, initializedActivityLog(md.al_stripes, md.al_stripe_size_4k), 0, undefined, p.alOffsetBytes);
  writeSync(fd, encodeSuperblock(md), 0, undefined, p.superblockOffsetBytes);
  closeSync(fd);
}

/** Bytes of the image that hold data. */
export const dataBytes = (sizeBytes: number): number =>
  placement({ kind: 'internal', deviceBytes: sizeBytes, maxPeers: 1 }).usableSectors * 512;

export function readImage(path: string, offset: number, length: number): Buffer {
  const fd = openSync(path, 'r');
  const bytes = Buffer.alloc(length);
  readSync(fd, bytes, 0, length, offset);
  closeSync(fd);
  return bytes;
}
