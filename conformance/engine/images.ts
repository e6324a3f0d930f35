/** Image files with internal meta-data. */
import { closeSync, openSync, readSync } from 'node:fs';
import { placement } from '@udrbd/metadata';

export { createImage } from '../../packages/engine/src/testing/image.js';

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
