/** Gets the extents of a write into the activity log before the write may start (invariants I5, I6). */
import { AL_FREE } from '@udrbd/metadata';
import { diskFailed } from './disk-errors.js';
import { writeBitmapPage } from './meta-data-io.js';
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
  const { alQueue } = volume;
  while (alQueue.length > 0) {
    const slot = alQueue.at(0);
    const disk = volume.disk;
    if (disk === undefined || !volume.hasUsableDisk) {
      alQueue.shift();
      proceed(res, volume, slot);
      continue;
    }
    const sector = requests.sector[slot]!;
    const first = Math.floor(sector / EXTENT_SECTORS);
    const last = Math.floor((sector + requests.lengthBytes[slot]! / 512 - 1) / EXTENT_SECTORS);
    if (disk.activityLog.prepare(first, last) !== 'joined') return;
    requests.state[slot]! |= inActivityLog(res, slot);
    alQueue.shift();
    volume.alBatch.push(slot);
  }
}

/** What follows a bitmap page, and the block of the log: functions that are made once, for a transaction may not make any. */
export interface AlSteps {
  readonly pageWritten: (errno: number) => void;
  readonly logWritten: (errno: number) => void;
}

const stepsOf = (res: Resource, volume: Volume): AlSteps => ({
  pageWritten: (errno) => pageWritten(res, volume, errno),
  logWritten: (errno) => transactionDone(res, volume, errno, '__al_write_transaction'),
});

/** The changed bitmap pages of what is given up first, then the block of the log. */
function startTransaction(res: Resource, volume: Volume): void {
  const { bitmap, activityLog: al } = volume.disk!;
  volume.alSteps ??= stepsOf(res, volume);
  volume.alTransactionRunning = true;
  volume.alPages = 1;
  volume.alPageError = 0;
  for (let change = 0; change < al.pendingChanges; change++) {
    const extent = al.evictedExtent(change);
    if (extent === AL_FREE) continue;
    const last = bitmap.lastPageOfExtent(extent);
    for (let page = bitmap.firstPageOfExtent(extent); page <= last; page++) {
      if (!bitmap.isDirty(page)) continue;
      volume.alPages++;
      writeBitmapPage(res, volume, page, volume.alSteps.pageWritten);
    }
  }
  pageWritten(res, volume, 0);
}

function pageWritten(res: Resource, volume: Volume, errno: number): void {
  if (errno !== 0) volume.alPageError = errno;
  if (--volume.alPages > 0) return;
  if (volume.alPageError !== 0) return transactionDone(res, volume, volume.alPageError, 'bm_page_io');
  const { activityLog: al, options, place } = volume.disk!;
  const flush = options['md-flushes'];
  const offset = place.activityLogOffsetBytes + al.ringBlockOf(al.transaction) * 4096;
  res.metaWrite(volume, offset, al.encodeTransaction(), flush, flush, volume.alSteps!.logWritten);
}

function transactionDone(res: Resource, volume: Volume, errno: number, where: string): void {
  volume.alTransactionRunning = false;
  const al = volume.disk!.activityLog;
  if (errno === 0) {
    volume.alWrites++;
    al.commit();
  } else {
    al.abort();
    for (let i = 0; i < volume.alBatch.length; i++) {
      const slot = volume.alBatch.at(i);
      res.requests.state[slot]! &= ~inActivityLog(res, slot);
    }
    diskFailed(res, volume, where);
  }
  runBatch(res, volume);
  res.wantActivityLog(volume);
}

function runBatch(res: Resource, volume: Volume): void {
  for (let left = volume.alBatch.length; left > 0; left--) proceed(res, volume, volume.alBatch.shift());
}

function proceed(res: Resource, volume: Volume, slot: number): void {
  if (slot < res.requests.applicationSlots) afterExtents(res, volume, slot);
  else mirroredWriteCovered(res, volume, slot);
}
