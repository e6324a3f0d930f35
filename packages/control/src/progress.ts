/** How far a resync or verify is. */
import type { PeerDeviceStatistics } from './snapshot.js';

/** @returns sectors that are still to be looked at; undefined when nothing runs */
export function syncLeft({ rsTotal, ovLeft, outOfSync, resyncFailed }: PeerDeviceStatistics): number | undefined {
  if (rsTotal === 0) return undefined;
  return ovLeft !== 0 ? ovLeft : outOfSync - resyncFailed;
}
