/**
 * c-min-rate: a resync or verify that is faster than this makes way for the application, on the side that asks and on the side that
 * serves (replication semantics: c-min-rate throttle).
 */
import type { PeerDevice } from './peer-device.js';
import type { ProgressMarks } from './progress-marks.js';
import type { Resource } from './resource.js';

/** I/O of others than the resync since the last look that counts as activity. */
const ACTIVITY_SECTORS = 64;
/** How long the side that serves lets a request wait. */
const PAUSE_MS = 100;

/** Whether a resync that has that much left is to wait a moment. */
export function shouldSlowDown(res: Resource, pd: PeerDevice, marks: ProgressMarks, leftBits: number): boolean {
  const least = pd.options['c-min-rate'];
  if (least === 0) return false;
  const { volume } = pd;
  const others = volume.readSectors + volume.writtenSectors - volume.resyncSectors;
  const isAppWaiting = volume.alQueue.length > 0 || volume.alBatch.length > 0;
  if (!isAppWaiting && others - volume.othersSectors <= ACTIVITY_SECTORS) return false;
  volume.othersSectors = others;
  return marks.recentKiBps(res.now, leftBits) > least;
}

/**
 * The source's side: holds the peer's data stream, and with it the request at its front, for a moment. Not when the peer is Primary:
 * then its application may be waiting for just this block.
 * @returns whether the request has to wait; it is offered again
 */
export function holdsRequest(
  res: Resource,
  pd: PeerDevice,
  marks: ProgressMarks | undefined,
  leftBits: number,
  isPeerPrimary: boolean,
): boolean {
  if (pd.heldUntil > 0) {
    // It has waited once.
    if (res.now < pd.heldUntil) return true;
    pd.heldUntil = 0;
    return false;
  }
  if (marks === undefined || isPeerPrimary || !shouldSlowDown(res, pd, marks, leftBits)) return false;
  pd.heldUntil = res.now + PAUSE_MS;
  const { linkNumber } = pd.connection;
  res.later(PAUSE_MS, () => {
    if (pd.connection.linkNumber === linkNumber && pd.connection.stalled) res.resumeReceive(pd.connection);
  });
  return true;
}
