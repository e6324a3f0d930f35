/** Writes of meta-data: the super block, pages of the bitmap. Cold but for single pages, which transactions of the activity log write. */
import { MDF, MDF_PEER } from '@udrbd/metadata';
import type { Bitmap } from './bitmap.js';
import { diskFailed } from './disk-errors.js';
import { encodeInService, peerMetaData } from './peer-meta-data.js';
import type { Resource } from './resource.js';
import { persistentFlags } from './state-rules.js';
import { DISK } from './state-view.js';
import type { AttachedDisk, Volume } from './volume.js';

/** Pages of the bitmap that are written with one request at most. */
const PAGES_PER_WRITE = 64;
const PAGE_BYTES = 4096;
/** Brings the persistent flags in line with the state; the super block is written when that changed them. */
export function refreshPersistentFlags(res: Resource, volume: Volume): void {
  const disk = volume.disk;
  if (disk === undefined || volume.diskState === DISK.Negotiating || volume.diskState < DISK.Inconsistent) return;
  const md = disk.metaData;
  const kept = { alDisabled: disk.alUnrecorded || !disk.options['al-updates'], crashedPrimary: volume.crashedPrimary };
  let device = 0;
  for (const pd of volume.peerDevices) {
    const entry = peerMetaData(md, pd.connection.peerNodeId);
    const flags = persistentFlags(res.view(volume, pd), { ...kept, fullSync: (entry.flags & MDF_PEER.FULL_SYNC) !== 0 })!;
    device |= flags.device;
    if (entry.bitmap_index < 0) continue;
    let peer = (entry.flags & ~(MDF_PEER.CONNECTED | MDF_PEER.OUTDATED | MDF_PEER.FENCING)) | flags.peer;
    if (pd.peerDisk >= DISK.Inconsistent && pd.peerDisk !== DISK.DUnknown) peer |= MDF_PEER.DEVICE_SEEN;
    if (pd.connection.options.fencing !== 'dont-care') peer |= MDF_PEER.FENCING;
    if (peer !== entry.flags) {
      entry.flags = peer;
      markMetaDataDirty(res, volume);
    }
  }
  if (volume.peerDevices.length === 0) device = persistentFlags(res.view(volume, undefined), { ...kept, fullSync: false })!.device;
  const flags = (md.flags & (MDF.HAVE_QUORUM | MDF.PRIMARY_LOST_QUORUM)) | device;
  if (flags !== (md.flags & ~MDF.AL_CLEAN)) {
    md.flags = flags;
    markMetaDataDirty(res, volume);
  }
}

export function markMetaDataDirty(res: Resource, volume: Volume): void {
  volume.metaDataDirty = true;
  res.wantMetaDataSync = true;
  res.wantSettle();
}

/**
 * Writes the super block as it is now. `done` is called once it is durable, or with the errno.
 * A failed write counts as an error of the disk whatever the policy says (22. I/O error policies, meta-data row).
 */
export function syncMetaData(res: Resource, volume: Volume, done?: (errno: number) => void): void {
  const disk = volume.disk;
  if (disk === undefined) {
    done?.(0);
    return;
  }
  if (volume.isMoving) {
    volume.whenMoved.push(() => syncMetaData(res, volume, done));
    return;
  }
  volume.metaDataDirty = false;
  volume.metaDataWrites++;
  const write = (errno: number): void => {
    if (errno !== 0 || volume.disk !== disk) finish(errno);
    else writeSuperblock(res, volume, disk, finish);
  };
  const finish = (errno: number): void => {
    volume.metaDataWrites--;
    if (errno !== 0) diskFailed(res, volume, 'write_md');
    done?.(errno);
  };
  // Without the flag nobody replays the activity log: what only it knows has to be in the bitmap on disk by then.
  const clearsPrimaryIndicator = volume.primaryIndicatorOnDisk && (disk.metaData.flags & MDF.PRIMARY_IND) === 0;
  if (clearsPrimaryIndicator && disk.bitmap.dirtyPages > 0) writeBitmap(res, volume, 'changed');
  if (clearsPrimaryIndicator && volume.bitmapWrites > 0) volume.whenBitmapWritten.push(write);
  else write(0);
}

function writeSuperblock(res: Resource, volume: Volume, disk: AttachedDisk, done: (errno: number) => void): void {
  const flushes = disk.options['md-flushes'];
  volume.primaryIndicatorOnDisk = (disk.metaData.flags & MDF.PRIMARY_IND) !== 0;
  res.metaWrite(volume, disk.place.superblockOffsetBytes, encodeInService(disk.metaData), flushes, flushes, done);
}

/**
 * Writes bitmap pages: all of them, or those that changed since they were last written. Application I/O may go on and
 * change bits meanwhile; a page changed after its copy was taken is simply dirty again.
 */
export function writeBitmap(res: Resource, volume: Volume, which: 'all' | 'changed', done?: (errno: number) => void): void {
  const disk = volume.disk;
  if (disk === undefined) {
    done?.(0);
    return;
  }
  if (volume.isMoving) {
    volume.whenMoved.push(() => writeBitmap(res, volume, which, done));
    return;
  }
  const { bitmap } = disk;
  if (which === 'all') bitmap.markAllDirty();
  let outstanding = 1;
  let failed = 0;
  const finish = (errno: number): void => {
    if (errno !== 0) failed = errno;
    if (--outstanding > 0) return;
    if (failed !== 0) diskFailed(res, volume, 'bm_page_io');
    done?.(failed);
  };
  let page = bitmap.nextDirtyPage(0);
  while (page >= 0) {
    let end = page + 1;
    bitmap.clearDirty(page);
    while (end < page + PAGES_PER_WRITE && bitmap.nextDirtyPage(end) === end) bitmap.clearDirty(end++);
    outstanding++;
    volume.bmWrites += end - page;
    writePages(res, volume, page, end, finish);
    page = bitmap.nextDirtyPage(end);
  }
  finish(0);
}

/**
 * Writes every block of the activity log anew: after that the log names all hot extents, whatever was in its place before.
 * `done` is called once for each block.
 */
export function writeWholeLog(res: Resource, volume: Volume, done: (errno: number) => void): void {
  const disk = volume.disk!;
  const { activityLog: al, metaData: md } = disk;
  for (let i = md.al_stripes * md.al_stripe_size_4k; i > 0; i--) {
    volume.alWrites++;
    const offset = disk.place.activityLogOffsetBytes + al.ringBlockOf(al.transaction) * PAGE_BYTES;
    const block = al.encodeTransaction().slice();
    al.commit();
    res.metaWrite(volume, offset, block, false, disk.options['md-flushes'], done);
  }
}

/**
 * A write of bitmap pages under way. Used again and again, its functions are made once: it may belong to a transaction of the activity
 * log, which may not allocate anything.
 */
export class BitmapWrite {
  #volume: Volume | undefined;
  #bitmap: Bitmap | undefined;
  #isCached = false;
  /** Clearings of bits that the pages may have in them. */
  #clears = 0;
  #done: (errno: number) => void = () => undefined;

  /** A cleared bit says that the data are good: they have to be durable before it is. */
  readonly #preflush = (): boolean => {
    const bitmap = this.#bitmap!;
    if (this.#isCached) this.#clears = bitmap.clears;
    return this.#clears !== bitmap.flushedClears;
  };

  readonly #written = (errno: number): void => {
    const volume = this.#volume!;
    const bitmap = this.#bitmap!;
    const done = this.#done;
    if (errno !== 0) volume.bitmapWriteError = errno;
    else bitmap.flushedClears = Math.max(bitmap.flushedClears, this.#clears);
    volume.freeBitmapWrites.push(this);
    done(errno);
    if (--volume.bitmapWrites > 0) return;
    const result = volume.bitmapWriteError;
    volume.bitmapWriteError = 0;
    if (volume.whenBitmapWritten.length > 0) for (const run of volume.whenBitmapWritten.splice(0)) run(result);
  };

  start(res: Resource, volume: Volume, first: number, end: number, done: (errno: number) => void): void {
    const { bitmap, options, given, place } = volume.disk!;
    this.#volume = volume;
    this.#bitmap = bitmap;
    this.#isCached = options['disk-flushes'] && given.hasWriteCache;
    this.#clears = bitmap.flushedClears;
    this.#done = done;
    volume.bitmapWrites++;
    const from = first * PAGE_BYTES;
    const { bytes } = bitmap;
    const length = Math.min(end * PAGE_BYTES, bytes.length) - from;
    res.metaWrite(volume, place.bitmapOffsetBytes + from, bytes, this.#preflush, options['md-flushes'], this.#written, from, length);
  }
}

function writePages(res: Resource, volume: Volume, first: number, end: number, done: (errno: number) => void): void {
  const write = volume.freeBitmapWrites.pop() ?? new BitmapWrite();
  write.start(res, volume, first, end, done);
}

/** Writes a page that has changed. @param done - called when it is durable */
export function writeBitmapPage(res: Resource, volume: Volume, page: number, done: (errno: number) => void): void {
  volume.disk!.bitmap.clearDirty(page);
  volume.bmWrites++;
  writePages(res, volume, page, page + 1, done);
}
