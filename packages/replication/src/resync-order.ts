/**
 * resync-after: which volumes of a host wait for the resync of others (DRBD 8.4, _drbd_may_sync_now, drbd_resync_after_valid). The
 * order goes across resources, so that hosts keep it: cores say where their volumes stand, and are told who has to wait.
 */

/** Where a volume stands in the order. */
export interface ResyncPlace {
  /** Minor that comes first; -1: none. Nobody is waited for without a disk. */
  readonly after: number;
  readonly hasDisk: boolean;
  /** A resync or verify runs or is paused, or would be: those behind it wait. */
  readonly isBusy: boolean;
  /** The volume counts itself as one that waits. */
  readonly isWaiting: boolean;
}

/** By minor. */
export type ResyncPlaces = ReadonlyMap<number, ResyncPlace>;

/** Whether no minor in front is busy. A minor that is not there, or has no disk, ends the chain. */
export function maySync(places: ResyncPlaces, minor: number): boolean {
  // Cycles are refused, but a disk that comes back may close one: they end where they began.
  for (let at = places.get(minor), steps = places.size; at?.hasDisk === true && at.after >= 0 && steps > 0; steps--) {
    at = places.get(at.after);
    if (at?.isBusy === true) return false;
  }
  return true;
}

/** Whether `minor` would come to wait for itself. */
export function closesCycle(places: ResyncPlaces, minor: number, after: number): boolean {
  for (let at = after, steps = places.size; at >= 0 && steps >= 0; steps--) {
    if (at === minor) return true;
    const place = places.get(at);
    if (place?.hasDisk !== true) return false;
    at = place.after;
  }
  return false;
}
