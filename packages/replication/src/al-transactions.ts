/** Gets the extents of a write into the activity log before the write may start (invariants I5, I6). */
import { diskFailed } from './disk-errors.js';
import { writeBitmapPages } from './meta-data-io.js';
import { mirroredWriteCovered } from './mirrored-writes.js';
import { PEER_IN_AL } from './peer-requests.js';
import type { Resource } from './resource.js';
import type { Volume } from './volume.js';
import { afterExtents, LOCAL } from './write-path.js';

/** Sectors of one extent (4 MiB). */
const EXTENT_SECTORS = 8192;

/** Whether writes have to be in the activity log now. */
export const needsExtents = (volume: Volume): boolean => volume.hasUsableDisk && !volume.alSuspended;

/**
 * Takes references on the extents of a write when all are hot, or when none are needed.
 * @returns false when the write waits for a transaction; it goes on by itself then
 */
export function referenceExtents(res: Resource, volume: Volume, slot: number): boolean {
  const disk = volume.disk;
  if (disk === undefined || !needsExtents(volume)) return true;
  const { requests } = res;
  const sector = requests.sector[slot]!;
  const first = Math.floor(sector / EXTENT_SECTORS);
  const last = Math.floor((sector + requests.lengthBytes[slot]! / 512 - 1) / EXTENT_SECTORS);
  if (volume.alQueue.length === 0 && disk.activityLog.tryReference(first, last)) {
    requests.state[slot]! |= inActivityLog(res, slot);
    return true;
  }
  volume.alQueue.push(slot);
  res.wantActivityLog(volume);
  return false;
}

/** The bit that says so: application and peer requests have their own words. */
const inActivityLog = (res: Resource, slot: number): number => (slot < res.requests.applicationSlots ? LOCAL.InActivityLog : PEER_IN_AL);

/** Gathers queued writes into one transaction and starts it. */
export function runActivityLog(res: Resource, volume: Volume): void {
  while (!volume.alTransactionRunning && !volume.isMoving) {
    gather(res, volume);
    if (volume.alBatch.length === 0) return;
    const al = volume.disk!.activityLog;
    if (al.hasPending && volume.disk!.options['al-updates']) startTransaction(res, volume);
    else {
      if (al.hasPending) {
        al.commitUnwritten();
        if (!volume.disk!.options['al-updates']) volume.disk!.alUnrecorded = true;
      }
      runBatch(res, volume);
    }
  }
}

function gather(res: Resource, volume: Volume): void {
  const { requests } = res;
  let taken = 0;
  for (const slot of volume.alQueue) {
    const disk = volume.disk;
    if (disk === undefined || !volume.hasUsableDisk) {
      taken++;
      proceed(res, volume, slot);
      continue;
    }
    const sector = requests.sector[slot]!;
    const first = Math.floor(sector / EXTENT_SECTORS);
    const last = Math.floor((sector + requests.lengthBytes[slot]! / 512 - 1) / EXTENT_SECTORS);
    if (disk.activityLog.prepare(first, last) !== 'joined') break;
    requests.state[slot]! |= inActivityLog(res, slot);
    volume.alBatch.push(slot);
    taken++;
  }
  volume.alQueue.splice(0, taken);
}

function startTransaction(res: Resource, volume: Volume): void {
  const disk = volume.disk!;
  const al = disk.activityLog;
  volume.alTransactionRunning = true;
  const pages = new Set<number>();
  for (const extent of al.evictedExtents()) {
    for (let page = disk.bitmap.firstPageOfExtent(extent); page <= disk.bitmap.lastPageOfExtent(extent); page++) pages.add(page);
  }
  writeBitmapPages(res, volume, [...pages], (errno) => {
    if (errno !== 0) return transactionDone(res, volume, errno, 'bm_page_io');
    const flush = disk.options['md-flushes'];
    const offset = disk.place.activityLogOffsetBytes + al.ringBlockOf(al.transaction) * 4096;
    res.metaWrite(volume, offset, al.encodeTransaction().slice(), flush, flush, (error) =>
      transactionDone(res, volume, error, '__al_write_transaction'),
    );
  });
}

function transactionDone(res: Resource, volume: Volume, errno: number, where: string): void {
  volume.alTransactionRunning = false;
  const al = volume.disk!.activityLog;
  if (errno === 0) {
    volume.alWrites++;
    al.commit();
  } else {
    al.abort();
    for (const slot of volume.alBatch) res.requests.state[slot]! &= ~inActivityLog(res, slot);
    diskFailed(res, volume, where);
  }
  runBatch(res, volume);
  res.wantActivityLog(volume);
}

function runBatch(res: Resource, volume: Volume): void {
  for (const slot of volume.alBatch.splice(0)) proceed(res, volume, slot);
}

function proceed(res: Resource, volume: Volume, slot: number): void {
  if (slot < res.requests.applicationSlots) afterExtents(res, volume, slot);
  else mirroredWriteCovered(res, volume, slot);
}
