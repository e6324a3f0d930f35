import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { createMetaData, encodeSuperblock, initializedActivityLog, place, placement } from '@udrbd/metadata';

/**
 * An image file with internal meta-data as `drbdmeta create-md` leaves them.
 *
 * @param sizeBytes - of the whole image
 */
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
