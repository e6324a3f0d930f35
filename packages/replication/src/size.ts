/** The exported size of a volume and the bitmap that goes with it. */
import { markMetaDataDirty, writeBitmap } from './meta-data-io.js';
import type { Resource } from './resource.js';
import type { Volume } from './volume.js';

/** Takes a new size over. What is added to a bitmap that is in use counts as out of sync. */
export function resizeVolume(res: Resource, volume: Volume, sizeSectors: number): void {
  if (sizeSectors === volume.sizeSectors && (volume.disk === undefined || volume.disk.metaData.effective_size === sizeSectors)) return;
  volume.sizeSectors = sizeSectors;
  res.log('info', volume, undefined, `size = ${Math.trunc(sizeSectors / 2)} KB`);
  if (volume.disk !== undefined) {
    const { bitmap, metaData } = volume.disk;
    if (bitmap.sizeSectors !== sizeSectors) {
      bitmap.resize(bitmap.bytes.slice(), sizeSectors, true);
      writeBitmap(res, volume, 'all');
    }
    metaData.effective_size = sizeSectors;
    markMetaDataDirty(res, volume);
  }
  res.volumeChanged(volume);
}
