/**
 * A resync, on both sides (replication semantics: resync engine; wire protocol: resync).
 *
 * The target asks for blocks at the controller's pace, writes what it gets and clears its bits; the source reads, answers and
 * clears its bits with the target's acks. The target ends it when nothing is left; its state packet ends it for the source.
 */

import { MDF_PEER } from '@udrbd/metadata';
import { COMMAND, requestBytesMax } from '@udrbd/wire';
import { hasBegun } from './compare-uuids.js';
import { DIGEST_NONE, digestBytes, digestNumber } from './digests.js';
import { diskError, maybeDiskless } from './disk-errors.js';
import { EFFECT } from './effects.js';
import { durably, keepGenerations } from './generation-changes.js';
import { sourceResyncEnd, sourceResyncStart, syncUuidOf, targetResyncEnd, targetResyncStart } from './generations.js';
import { markMetaDataDirty, syncMetaData, writeBitmap } from './meta-data-io.js';
import {
  ID_ALL_ONES,
  sendBlockAck,
  sendBlockDigest,
  sendBlockReply,
  sendBlockRequest,
  sendMetaEmpty,
  sendState,
  sendSyncUuid,
} from './packets.js';
import type { PeerDevice } from './peer-device.js';
import { peerMetaData } from './peer-meta-data.js';
import {
  acquirePeerSlot,
  allocateBuffer,
  freeBuffer,
  PEER,
  PEER_CHECKSUM,
  peerKind,
  releasePeerSlot,
  setPeerKind,
} from './peer-requests.js';
import { ProgressMarks } from './progress-marks.js';
import { readForPeer, readForPeerEnded } from './remote-reads.js';
import { OP } from './requests.js';
import type { Resource } from './resource.js';
import { RESYNC_TURN_MS, ResyncController, type ResyncOptions } from './resync-controller.js';
import { holdsRequest, shouldSlowDown } from './resync-throttle.js';
import { changePeerDevice } from './state-change.js';
import { CONN, DISK, ROLE } from './state-view.js';
import { resyncAnswered } from './write-path.js';

const BLOCK_BYTES = 4096;
const BLOCK_SECTORS = 8;
/** Requests never cross 16 MiB. */
const EXTENT_BITS = 4096;
/** Peer slots that a resync leaves to mirrored writes. */
export const SLOTS_RESERVED = 4;

export type ResyncSide = 'source' | 'target';

export class Resync {
  readonly side: ResyncSide;
  readonly totalBits: number;
  failedBits = 0;
  /** The source was ahead before: a target that has not heard of that has the same generation, and not what was written meanwhile. */
  followsAhead = false;
  /** Found equal by checksum: never transferred. */
  sameBits = 0;
  /** Target: number of the digest that requests carry, 0 for none. */
  readonly checksum: number;
  readonly marks = new ProgressMarks();
  readonly controller: ResyncController;
  /** Target: next bit to look at, sectors that came back since the last turn. */
  position = 0;
  sectorsIn = 0;
  nextTurn = 0;
  /** Target: requests may go out, the super block that says Inconsistent is durable. Source: the target has been told the sync UUID. */
  ready = false;
  ending = false;

  constructor(side: ResyncSide, totalBits: number, options: ResyncOptions, checksum: number, now: number) {
    this.side = side;
    this.totalBits = totalBits;
    this.checksum = checksum;
    this.controller = new ResyncController(options);
    this.marks.start(now, totalBits);
    this.nextTurn = now;
  }
}

export const resyncOptions = (pd: PeerDevice): ResyncOptions => ({
  resyncRate: pd.options['resync-rate'],
  cPlanAhead: pd.options['c-plan-ahead'],
  cDelayTarget: pd.options['c-delay-target'],
  cFillTarget: pd.options['c-fill-target'],
  cMaxRate: pd.options['c-max-rate'],
  maxBuffers: pd.connection.options['max-buffers'],
});

/** The checksum of a target's requests: csums-alg, unless that is only for the resync after a Primary's crash. */
function checksumOf(pd: PeerDevice): number {
  const { options } = pd.connection;
  if (options['csums-after-crash-only'] && !pd.volume.crashedPrimary) return DIGEST_NONE;
  return Math.max(DIGEST_NONE, digestNumber(options['csums-alg']));
}

/** Bits still to do. */
export const resyncLeft = (pd: PeerDevice): number =>
  pd.volume.disk === undefined || pd.bitmapSlot < 0
    ? 0
    : Math.max(0, pd.volume.disk.bitmap.weight(pd.bitmapSlot) - (pd.resync?.failedBits ?? 0));

/** Both bitmaps are equal (or all set): begin. */
export function startResync(res: Resource, pd: PeerDevice, side: ResyncSide): void {
  res.helper(side === 'target' ? 'before-resync-target' : 'before-resync-source', pd.volume, pd.connection);
  changePeerDevice(
    res,
    pd,
    side === 'source' ? { conn: CONN.SyncSource, peerDisk: DISK.Inconsistent } : { conn: CONN.SyncTarget, disk: DISK.Inconsistent },
    { hard: true },
  );
  if (side === 'target') resyncStarted(res, pd, 'target');
}

/** The state is SyncSource, SyncTarget or one of their pauses now. */
export function resyncStarted(res: Resource, pd: PeerDevice, side: ResyncSide): void {
  const { volume } = pd;
  const { disk } = volume;
  if (disk === undefined || pd.resync?.side === side) return;
  const bits = disk.bitmap.weight(pd.bitmapSlot);
  const resync = new Resync(side, bits, resyncOptions(pd), side === 'target' ? checksumOf(pd) : DIGEST_NONE, res.now);
  pd.resync = resync;
  if (pd.conn === CONN.PausedSyncS || pd.conn === CONN.PausedSyncT) resync.marks.pause(res.now);
  res.log(
    'info',
    volume,
    pd,
    `Began resync as ${side === 'source' ? 'SyncSource' : 'SyncTarget'} (will sync ${bits * 4} KB [${bits} bits set]).`,
  );
  if (side === 'source') {
    pd.targetIsThrough = false;
    const g = volume.generationsFor(pd);
    const isAgain = pd.peerUuids !== undefined && hasBegun(g, pd.peerUuids.generations);
    const uuid = isAgain ? g.bitmap : syncUuidOf(g.bitmap, res.random64());
    if (!isAgain) keepGenerations(res, volume, pd, sourceResyncStart(g, uuid));
    // The target takes this UUID as its own: it must not be forgotten here.
    const link = pd.connection.linkNumber;
    syncMetaData(res, volume, (errno) => {
      if (errno !== 0 || pd.connection.linkNumber !== link || !pd.connection.isUp) return;
      sendSyncUuid(res, pd, uuid);
      resync.ready = true;
    });
    return;
  }
  // Inconsistent has to be on disk before the first block is overwritten, and so has what the source has told us to differ: it
  // forgets a block that we have acked, which a power cut may take away again.
  syncMetaData(res, volume, () => {
    writeBitmap(res, volume, 'changed', () => {
      if (pd.resync !== resync) return;
      resync.ready = true;
      resync.nextTurn = res.now;
      resyncProgress(res, pd);
    });
  });
}

/** P_SYNC_UUID: our data are on their way to that generation. */
export function receiveSyncUuid(res: Resource, pd: PeerDevice, uuid: bigint): string | undefined {
  const { volume } = pd;
  // Our disk has failed since: the source learns of it by our state.
  if (pd.conn === CONN.Connected || volume.disk === undefined) return undefined;
  if (pd.conn !== CONN.WFSyncUUID && pd.conn !== CONN.Behind) return 'unexpected ReportSyncUUID';
  keepGenerations(res, volume, pd, targetResyncStart(volume.generationsFor(pd), uuid, res.role === ROLE.Primary));
  startResync(res, pd, 'target');
  return undefined;
}

/** invalidate, invalidate-remote: every block, without a bitmap exchange. */
export function startFullSync(res: Resource, pd: PeerDevice, side: ResyncSide): void {
  const { volume } = pd;
  const { disk } = volume;
  if (disk === undefined || pd.bitmapSlot < 0) return;
  setAllBits(res, pd, () => {
    if (pd.conn === CONN.StartingSyncS) startResync(res, pd, 'source');
    else if (pd.conn === CONN.StartingSyncT && side === 'target') changePeerDevice(res, pd, { conn: CONN.WFSyncUUID }, { hard: true });
  });
}

/** Marks everything out of sync and makes that durable; a crash in between starts over because FULL_SYNC says so. */
export function setAllBits(res: Resource, pd: PeerDevice, done: () => void): void {
  const { volume } = pd;
  const disk = volume.disk!;
  const entry = peerMetaData(disk.metaData, pd.connection.peerNodeId);
  entry.flags |= MDF_PEER.FULL_SYNC;
  pd.bitmapWriteOut = true;
  disk.bitmap.setAll(pd.bitmapSlot);
  const link = pd.connection.linkNumber;
  syncMetaData(res, volume, () => {
    writeBitmap(res, volume, 'all', () => {
      entry.flags &= ~MDF_PEER.FULL_SYNC;
      markMetaDataDirty(res, volume);
      pd.bitmapWriteOut = false;
      if (pd.connection.linkNumber === link && volume.disk === disk) done();
    });
  });
}

export function resyncPaused(res: Resource, pd: PeerDevice): void {
  res.log('info', pd.volume, pd, 'Resync suspended');
  pd.resync?.marks.pause(res.now);
}

export function resyncResumed(res: Resource, pd: PeerDevice): void {
  res.log('info', pd.volume, pd, 'Syncer continues.');
  pd.resync?.marks.resume(res.now);
  if (pd.resync !== undefined) pd.resync.nextTurn = res.now;
}

/** When `resyncTurn` wants to be called next. */
export const resyncDeadline = (pd: PeerDevice): number => (pd.resync === undefined ? Number.POSITIVE_INFINITY : pd.resync.nextTurn);

/** Every 100 ms: progress marks on both sides, requests on the target. */
export function resyncTurn(res: Resource, pd: PeerDevice): void {
  const { resync } = pd;
  if (resync === undefined || res.now < resync.nextTurn) return;
  resync.nextTurn = res.now + RESYNC_TURN_MS;
  if (resync.marks.advance(res.now, resyncLeft(pd))) res.progressChanged();
  if (resync.side === 'target' && resync.ready && pd.conn === CONN.SyncTarget && pd.connection.isUp) request(res, pd, resync);
}

function request(res: Resource, pd: PeerDevice, resync: Resync): void {
  const { volume } = pd;
  const disk = volume.disk;
  if (disk === undefined || resync.ending) return;
  const { bitmap } = disk;
  const slotInBitmap = pd.bitmapSlot;
  const blocks = resync.controller.turn(res.now, resync.sectorsIn);
  const most = requestBytesMax(pd.connection.apv) / BLOCK_BYTES;
  resync.sectorsIn = 0;
  for (let sent = 0; sent < blocks; ) {
    if (res.requests.freePeerSlots <= SLOTS_RESERVED || !pd.connection.outboxes[0].hasBulkRoom(64)) return;
    const bit = bitmap.findNext(slotInBitmap, resync.position);
    if (bit < 0) {
      restartIfCancelled(res, pd, resync);
      return;
    }
    if (shouldSlowDown(res, pd, resync.marks, resyncLeft(pd))) return;
    const bits = mergeable(pd, bit, Math.min(most, blocks - sent));
    const sector = bit * BLOCK_SECTORS;
    const length = Math.min(bits * BLOCK_BYTES, (volume.sizeSectors - sector) * 512);
    // A write of our own application is under way there: the source might still read what was before it.
    if (res.role === ROLE.Primary && volume.overlap.touches(sector, length)) return;
    const kind = resync.checksum === DIGEST_NONE ? PEER.ResyncRequest : PEER.ChecksumRead;
    const slot = acquirePeerSlot(res, pd.connection, volume.number, kind, sector, length, ID_ALL_ONES, ID_ALL_ONES);
    if (slot < 0) return;
    pd.resyncRequests.push(slot);
    resync.position = bit + bits;
    resync.controller.requested(length / 512);
    pd.resyncPending++;
    pd.connection.resyncSectorsInFlight += length / 512;
    if (resync.checksum === DIGEST_NONE) {
      res.requests.op[slot] = OP.Write;
      sendBlockRequest(res, pd, COMMAND.P_RS_DATA_REQUEST, slot, ID_ALL_ONES, ID_ALL_ONES);
    } else readForChecksum(res, pd, slot, resync.checksum);
    sent += bits;
  }
}

/**
 * Reads what we have of a block. Mirrored writes that touch it meanwhile do no harm: the source has them too, so that equal
 * digests say that the rest is equal, and a read that caught half a write makes the source send the block.
 */
function readForChecksum(res: Resource, pd: PeerDevice, slot: number, digest: number): void {
  const { requests } = res;
  requests.op[slot] = OP.Read;
  requests.digest[slot] = digest;
  allocateBuffer(res, slot);
  pd.volume.lowerPending++;
  res.effects.push(EFFECT.DiskRead, slot, 0);
}

/** The block has been read: ask the source whether it has the same. */
export function checksumReadDone(res: Resource, pd: PeerDevice, slot: number, errno: number): void {
  const { requests } = res;
  const { volume } = pd;
  volume.lowerPending--;
  volume.readSectors += requests.lengthBytes[slot]! / 512;
  volume.resyncSectors += requests.lengthBytes[slot]! / 512;
  if (!pd.resyncRequests.includes(slot)) releasePeerSlot(res, slot);
  else if (!pd.connection.isUp || pd.resync === undefined) {
    endRequest(res, pd, slot);
    releasePeerSlot(res, slot);
  } else {
    setPeerKind(res, slot, PEER.ResyncRequest);
    freeBuffer(res, slot);
    if (errno === 0) {
      requests.state[slot]! |= PEER_CHECKSUM;
      sendBlockDigest(res, pd, COMMAND.P_CSUM_RS_REQUEST, slot);
    } else sendBlockRequest(res, pd, COMMAND.P_RS_DATA_REQUEST, slot, ID_ALL_ONES, ID_ALL_ONES);
    requests.op[slot] = OP.Write;
    requests.digest[slot] = DIGEST_NONE;
  }
  if (errno !== 0) diskError(res, volume, 'drbd_endio_read_sec_final');
  if (volume.diskState === DISK.Failed || volume.diskState === DISK.Detaching) maybeDiskless(res, volume);
}

/** P_RS_IS_IN_SYNC. @returns the text of a protocol error: the source may say so only of a checksum that we sent */
export function receiveIsInSync(res: Resource, pd: PeerDevice, sector: number, lengthBytes: number): string | undefined {
  const slot = findRequest(res, pd, sector, lengthBytes);
  if (slot < 0 || (res.requests.state[slot]! & PEER_CHECKSUM) === 0) return 'CsumRSIsInSync for a block whose checksum was not sent';
  endRequest(res, pd, slot);
  releasePeerSlot(res, slot);
  const { resync, volume } = pd;
  if (volume.hasUsableDisk && resync !== undefined && (pd.conn === CONN.SyncTarget || pd.conn === CONN.PausedSyncT)) {
    volume.disk!.bitmap.clearRange(pd.bitmapSlot, sector, lengthBytes);
    resync.sameBits += Math.ceil(lengthBytes / BLOCK_BYTES);
  }
  resyncProgress(res, pd);
  return undefined;
}

/**
 * The end of the bitmap was reached, but some requests were cancelled by the source: look again from the start. Not while the disk works on
 * an answer, whose bits are still set.
 */
function restartIfCancelled(res: Resource, pd: PeerDevice, resync: Resync): void {
  if (pd.resyncRequests.length > 0 || resyncLeft(pd) === 0 || resync.failedBits > 0) return;
  const { requests } = res;
  for (let slot = requests.applicationSlots; slot < requests.capacity; slot++) {
    const isWrite = peerKind(res, slot) === PEER.ResyncWrite && requests.connection[slot] === pd.connection.index;
    if (isWrite && requests.volume[slot] === pd.volume.number) return;
  }
  resync.position = 0;
}

/** How many set bits from `bit` on fit one request: naturally aligned growth, as the original asks for them. */
function mergeable(pd: PeerDevice, bit: number, most: number): number {
  const { bitmap } = pd.volume.disk!;
  let count = 1;
  let align = 1;
  while (count < most) {
    if (bit % 2 ** align !== 0) break;
    if ((bit + count) % EXTENT_BITS === 0 || !bitmap.isSet(pd.bitmapSlot, bit + count)) break;
    count++;
    if (2 ** align <= count) align++;
  }
  return count;
}

/** The request of ours that a reply answers, or -1. */
function findRequest(res: Resource, pd: PeerDevice, sector: number, lengthBytes: number): number {
  for (const slot of pd.resyncRequests) {
    if (res.requests.sector[slot] !== sector || res.requests.lengthBytes[slot] !== lengthBytes) continue;
    if (peerKind(res, slot) === PEER.ResyncRequest) return slot;
  }
  return -1;
}

/** The request is over, or its data are about to be written: writes of the application need not wait for it any more. */
function endRequest(res: Resource, pd: PeerDevice, slot: number): void {
  const sectors = res.requests.lengthBytes[slot]! / 512;
  pd.resyncRequests.splice(pd.resyncRequests.indexOf(slot), 1);
  if (pd.resync !== undefined) pd.resync.sectorsIn += sectors;
  pd.resyncPending--;
  pd.connection.resyncSectorsInFlight -= sectors;
  resyncAnswered(res, pd.volume);
}

/** P_RS_DATA_REPLY. @returns the slot that wants the payload, -1 for a reply nobody asked for */
export function receiveResyncReply(res: Resource, pd: PeerDevice, sector: number, lengthBytes: number): number {
  const slot = findRequest(res, pd, sector, lengthBytes);
  if (slot < 0) return -1;
  res.requests.state[slot] = PEER.ResyncWrite;
  pd.receivedSectors += lengthBytes / 512;
  allocateBuffer(res, slot);
  return slot;
}

export function resyncPayloadReceived(res: Resource, pd: PeerDevice, slot: number): void {
  endRequest(res, pd, slot);
  // The resync may have been aborted since (detached, disk failed): the block is not wanted any more.
  if (!pd.volume.hasUsableDisk || (pd.conn !== CONN.SyncTarget && pd.conn !== CONN.PausedSyncT)) {
    resyncAck(res, pd, slot, COMMAND.P_NEG_ACK);
    releasePeerSlot(res, slot);
    return;
  }
  pd.unacked++;
  if (pd.volume.overlap.enterResync(slot)) resyncWriteRunnable(res, pd, slot);
}

export function resyncWriteRunnable(res: Resource, pd: PeerDevice, slot: number): void {
  pd.volume.lowerPending++;
  res.effects.push(EFFECT.DiskWrite, slot, 0);
}

export function resyncWriteDone(res: Resource, pd: PeerDevice, slot: number, errno: number): void {
  const { requests } = res;
  const { volume } = pd;
  const sector = requests.sector[slot]!;
  const length = requests.lengthBytes[slot]!;
  volume.lowerPending--;
  volume.writtenSectors += length / 512;
  volume.resyncSectors += length / 512;
  volume.overlap.leave(slot);
  if (volume.overlap.waitingCount > 0) res.wantOverlap(volume);
  if (pd.unacked > 0) pd.unacked--;
  if (errno === 0) {
    resyncAck(res, pd, slot, COMMAND.P_RS_WRITE_ACK);
    volume.disk?.bitmap.clearRange(pd.bitmapSlot, sector, length);
  } else {
    resyncAck(res, pd, slot, COMMAND.P_NEG_ACK);
    resyncFailed(pd, length);
    diskError(res, volume, 'drbd_endio_write_sec_final');
  }
  releasePeerSlot(res, slot);
  resyncProgress(res, pd);
  if (volume.diskState === DISK.Failed || volume.diskState === DISK.Detaching) maybeDiskless(res, volume);
}

function resyncAck(res: Resource, pd: PeerDevice, slot: number, command: number): void {
  if (!pd.connection.isUp) return;
  sendBlockAck(res, pd, command, res.requests.sector[slot]!, ID_ALL_ONES, ID_ALL_ONES, res.requests.lengthBytes[slot]!);
}

export function resyncFailed(pd: PeerDevice, lengthBytes: number): void {
  if (pd.resync !== undefined) pd.resync.failedBits += Math.ceil(lengthBytes / BLOCK_BYTES);
}

/** P_NEG_RS_DREPLY, P_RS_CANCEL. */
export function resyncRefused(res: Resource, pd: PeerDevice, sector: number, lengthBytes: number, failed: boolean): void {
  const slot = findRequest(res, pd, sector, lengthBytes);
  if (slot < 0) return;
  endRequest(res, pd, slot);
  if (failed) resyncFailed(pd, res.requests.lengthBytes[slot]!);
  releasePeerSlot(res, slot);
  resyncProgress(res, pd);
}

/** Something was cleared: is that the end? The ping flushes our acks out of the meta stream before the state packet. */
export function resyncProgress(res: Resource, pd: PeerDevice): void {
  const { resync } = pd;
  if (resync === undefined || resync.ending || resync.side !== 'target' || !resync.ready || !pd.connection.isUp) return;
  if (pd.conn !== CONN.SyncTarget && pd.conn !== CONN.PausedSyncT) return;
  if (resyncLeft(pd) > 0 || pd.resyncRequests.length > 0) return;
  resync.ending = true;
  beginFinish(res, pd);
}

export function beginFinish(res: Resource, pd: PeerDevice): void {
  const c = pd.connection;
  sendMetaEmpty(res, c, COMMAND.P_PING);
  c.pingsSent++;
  pd.finishPing = c.pingsSent;
  c.armPing(res.now);
}

/** The last of our own writes that kept a bit set has ended. */
export function maybeFinishSource(res: Resource, pd: PeerDevice): void {
  if (resyncLeft(pd) > 0) return;
  pd.targetIsThrough = false;
  if (pd.conn === CONN.SyncSource || pd.conn === CONN.PausedSyncS) finishResync(res, pd);
}

/** The target's ping has come back; on the source: the target says that it is through. */
export function finishResync(res: Resource, pd: PeerDevice): void {
  pd.finishPing = 0;
  const { resync, volume } = pd;
  if (resync === undefined || volume.disk === undefined) return;
  if (resync.side === 'target' && resyncLeft(pd) > 0) {
    // Marked since: a write from the time without a disk, which only the peer has, has ended.
    resync.ending = false;
    resync.position = 0;
    return;
  }
  logDone(res, pd, resync);
  const failed = resync.failedBits > 0;
  if (resync.side === 'source') {
    pd.resync = undefined;
    if (!failed) {
      const own = sourceResyncEnd(volume.generationsFor(pd));
      keepGenerations(res, volume, pd, own);
      // The two sets are equal now: that is what we know of the peer.
      if (pd.peerUuids !== undefined) pd.peerUuids.generations = own;
    }
    changePeerDevice(res, pd, failed ? { conn: CONN.Connected } : { conn: CONN.Connected, peerDisk: DISK.UpToDate }, { hard: true });
    syncMetaData(res, volume);
    return;
  }
  pd.resync = undefined;
  if (failed || pd.peerUuids === undefined) {
    changePeerDevice(res, pd, { conn: CONN.Connected }, { hard: true });
    sendState(res, pd);
    return;
  }
  const own = targetResyncEnd(volume.generationsFor(pd), pd.peerUuids.generations, res.role === ROLE.Primary);
  keepGenerations(res, volume, pd, own);
  pd.peerUuids.generations = own;
  changePeerDevice(res, pd, { conn: CONN.Connected, disk: DISK.UpToDate, peerDisk: DISK.UpToDate }, { hard: true });
  res.helper('after-resync-target', volume, pd.connection);
  // UpToDate is claimed when it is true after a crash as well.
  const link = pd.connection.linkNumber;
  durably(res, volume, () => {
    if (pd.connection.linkNumber === link && pd.connection.isUp) sendState(res, pd);
  });
}

/** Whole seconds, at least one; in the words that DRBD has for a resync and for a verify. */
export function logProgressDone(res: Resource, pd: PeerDevice, what: string, marks: ProgressMarks, doneBits: number): void {
  const paused = Math.trunc(marks.pausedMs / 1000);
  const seconds = Math.max(1, Math.trunc((res.now - marks.startedAt - marks.pausedMs) / 1000));
  const rate = Math.trunc(doneBits / seconds) * 4;
  res.log('info', pd.volume, pd, `${what} done (total ${seconds + paused} sec; paused ${paused} sec; ${rate} K/sec)`);
}

function logDone(res: Resource, pd: PeerDevice, resync: Resync): void {
  logProgressDone(res, pd, 'Resync', resync.marks, resync.totalBits);
  const { sameBits: same, totalBits: total } = resync;
  if (pd.connection.options['csums-alg'] !== '' && total > 0) {
    const percent = total < 100_000 ? Math.trunc((same * 100) / total) : Math.trunc(same / Math.trunc(total / 100));
    const amounts = `eliminated: ${same * 4}K; transferred ${(total - same) * 4}K total ${total * 4}K`;
    res.log('info', pd.volume, pd, `${percent} % had equal checksums, ${amounts}`);
  }
  if (resync.failedBits > 0) res.log('err', pd.volume, pd, `            ${resync.failedBits} failed blocks`);
}

// --- source ------------------------------------------------------------------------------------------------------------

/** P_RS_DATA_REQUEST, P_CSUM_RS_REQUEST. @returns false when no slot is free */
export function serveResyncRead(
  res: Resource,
  pd: PeerDevice,
  sector: number,
  lengthBytes: number,
  bytes: Uint8Array,
  digestAt: number,
  digestLength: number,
): boolean {
  // We have pulled ahead since it asked.
  if (pd.conn === CONN.Ahead) {
    sendBlockAck(res, pd, COMMAND.P_RS_CANCEL, sector, ID_ALL_ONES, ID_ALL_ONES, lengthBytes);
    return true;
  }
  if (pd.volume.diskState !== DISK.UpToDate || pd.volume.disk === undefined) {
    sendBlockAck(res, pd, COMMAND.P_NEG_RS_DREPLY, sector, ID_ALL_ONES, ID_ALL_ONES, lengthBytes);
    return true;
  }
  if (holdsRequest(res, pd, pd.resync?.marks, resyncLeft(pd), pd.peerRole === ROLE.Primary)) return false;
  const slot = acquirePeerSlot(res, pd.connection, pd.volume.number, PEER.ResyncRead, sector, lengthBytes, ID_ALL_ONES, ID_ALL_ONES);
  if (slot < 0) return false;
  // A checksum that we cannot compare with is answered with the data.
  const checksum = digestNumber(pd.connection.options['csums-alg']);
  if (checksum > DIGEST_NONE && digestLength === digestBytes(checksum)) {
    res.requests.digest[slot] = checksum;
    res.requests.expect(slot, bytes, digestAt, digestLength);
  }
  readForPeer(res, pd, slot);
  return true;
}

export function resyncReadDone(res: Resource, pd: PeerDevice, slot: number, errno: number): void {
  const { requests } = res;
  const { volume } = pd;
  const sector = requests.sector[slot]!;
  const length = requests.lengthBytes[slot]!;
  readForPeerEnded(res, pd, slot);
  volume.resyncSectors += length / 512;
  if (pd.unacked > 0) pd.unacked--;
  if (!pd.connection.isUp) releasePeerSlot(res, slot);
  else if (errno === 0 && pd.conn === CONN.Ahead) {
    sendBlockAck(res, pd, COMMAND.P_RS_CANCEL, sector, ID_ALL_ONES, ID_ALL_ONES, length);
    releasePeerSlot(res, slot);
  } else if (errno === 0 && volume.diskState === DISK.UpToDate && requests.digest[slot] !== DIGEST_NONE && requests.digestMatches(slot)) {
    sendBlockAck(res, pd, COMMAND.P_RS_IS_IN_SYNC, sector, ID_ALL_ONES, ID_ALL_ONES, length);
    if (pd.conn === CONN.SyncSource || pd.conn === CONN.PausedSyncS) volume.disk?.bitmap.clearRange(pd.bitmapSlot, sector, length);
    if (pd.resync !== undefined) pd.resync.sameBits += Math.ceil(length / BLOCK_BYTES);
    releasePeerSlot(res, slot);
  } else if (errno === 0 && volume.diskState === DISK.UpToDate) {
    pd.resyncPending++;
    pd.connection.resyncSectorsInFlight += length / 512;
    sendBlockReply(res, pd, COMMAND.P_RS_DATA_REPLY, slot);
  } else {
    sendBlockAck(res, pd, COMMAND.P_NEG_RS_DREPLY, sector, ID_ALL_ONES, ID_ALL_ONES, length);
    resyncFailed(pd, length);
    releasePeerSlot(res, slot);
  }
  if (errno !== 0) diskError(res, volume, 'drbd_endio_read_sec_final');
  if (volume.diskState === DISK.Failed || volume.diskState === DISK.Detaching) maybeDiskless(res, volume);
}

/** P_RS_WRITE_ACK or P_NEG_ACK with all ones: what became of a block that we sent. */
export function resyncBlockAcked(pd: PeerDevice, sector: number, lengthBytes: number, ok: boolean): void {
  if (pd.resyncPending > 0) {
    pd.resyncPending--;
    pd.connection.resyncSectorsInFlight -= lengthBytes / 512;
  }
  if (pd.volume.disk === undefined || pd.bitmapSlot < 0) return;
  // One that comes after the end of the resync may be older than a write that the peer did not get.
  const isSource = pd.conn === CONN.SyncSource || pd.conn === CONN.PausedSyncS;
  if (ok && isSource) pd.volume.disk.bitmap.clearRange(pd.bitmapSlot, sector, lengthBytes);
  else if (!ok) resyncFailed(pd, lengthBytes);
}
