/**
 * disk-timeout: a backing disk that does not answer is given up (DRBD 8.4, request_timer_fn). What it was asked for counts as failed
 * from then on; the host keeps what such a disk may still touch until it has answered after all, and the disk is Failed that long.
 */
import { diskFailed, maybeDiskless } from './disk-errors.js';
import type { Resource } from './resource.js';
import type { Volume } from './volume.js';
import { LOCAL } from './write-path.js';

const timeoutMs = (volume: Volume): number => (volume.disk?.options['disk-timeout'] ?? 0) * 100;

/** Something was handed to the disk of a volume, or its time-out has changed. */
export function watchDisk(res: Resource, volume: Volume): void {
  const limit = timeoutMs(volume);
  if (limit > 0 && volume.diskCheckAt === Number.POSITIVE_INFINITY) volume.diskCheckAt = res.now + limit;
}

/** Looks at the oldest request of the application and the oldest write of meta-data. */
export function checkDisk(res: Resource, volume: Volume): void {
  if (res.now < volume.diskCheckAt) return;
  volume.diskCheckAt = Number.POSITIVE_INFINITY;
  const limit = timeoutMs(volume);
  if (limit === 0 || volume.isAbandoned) return;
  const request = oldestRequest(res, volume);
  const meta = volume.metaWrites.oldestIssued;
  // The same sum as in the deadline: a difference of two fractions could fall short of it.
  if (res.now >= request + limit) {
    res.log('warning', volume, undefined, 'Local backing device failed to meet the disk-timeout');
    return forceDetach(res, volume, 'request_timer_fn');
  }
  if (res.now >= meta + limit) {
    res.log('err', volume, undefined, 'meta-data IO operation timed out');
    return forceDetach(res, volume, 'wait_until_done_or_force_detached');
  }
  const oldest = Math.min(request, meta);
  if (oldest !== Number.POSITIVE_INFINITY) volume.diskCheckAt = oldest + limit;
}

function oldestRequest(res: Resource, volume: Volume): number {
  const { requests } = res;
  let oldest = Number.POSITIVE_INFINITY;
  for (let slot = 0; slot < requests.applicationSlots; slot++) {
    if (requests.volume[slot] !== volume.number || (requests.state[slot]! & LOCAL.Pending) === 0) continue;
    oldest = Math.min(oldest, requests.submittedAt[slot]!);
  }
  return oldest;
}

/** Gives the disk up without waiting for it. */
export function forceDetach(res: Resource, volume: Volume, where: string): void {
  diskFailed(res, volume, where);
  abandonDisk(res, volume);
}

/** The host answers everything that the disk has not, with an error; the disk is let go when it has come to an end there. */
export function abandonDisk(res: Resource, volume: Volume): void {
  if (volume.disk === undefined || volume.isAbandoned) return;
  volume.isAbandoned = true;
  volume.lowerPending++;
  const token = res.expect(() => {
    volume.isAbandoned = false;
    volume.lowerPending--;
    maybeDiskless(res, volume);
  });
  res.cold({ type: 'abandonDisk', volume: volume.number, token });
}
