/** The exported size of a volume that has no disk of its own: what its peer says. */

import { prettySize } from './resize.js';
import type { Resource } from './resource.js';
import type { Volume } from './volume.js';

export function takeSize(res: Resource, volume: Volume, sizeSectors: number): void {
  // That of a disk that is being attached, or goes, is settled with it.
  if (sizeSectors === volume.sizeSectors || volume.disk !== undefined) return;
  volume.sizeSectors = sizeSectors;
  res.log('info', volume, undefined, `size = ${prettySize(Math.trunc(sizeSectors / 2))}`);
  res.volumeChanged(volume);
}
