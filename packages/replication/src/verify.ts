/**
 * Online verify, on both sides (replication semantics: online verify; wire protocol: online verify).
 *
 * VerifyS asks for the digests of 4 KiB blocks at the controller's pace, compares them with its own and tells the result; both
 * nodes mark what differs. Nothing is repaired.
 *
 * A write on its way would make a block look different. So a Primary keeps writes off the block, as if it were writing there
 * itself: as VerifyS from before the request until it has compared, as VerifyT from before its read until the result; and it
 * begins only when the peer is known to have finished what was written there before. A Secondary reads after the writes that
 * came earlier in the stream.
 */
import { COMMAND, ID_IN_SYNC, ID_OUT_OF_SYNC } from '@udrbd/wire';
import { hasStopSector } from './dialect.js';
import { DIGEST_NONE, DIGEST_STRIDE, digestBytes, digestNumber } from './digests.js';
import { diskError, maybeDiskless } from './disk-errors.js';
import { EFFECT } from './effects.js';
import { mayReadForPeer, waitsForHeldWrite } from './mirrored-writes.js';
import { ID_ALL_ONES, sendBlockAck, sendBlockDigest, sendBlockRequest } from './packets.js';
import type { PeerDevice } from './peer-device.js';
import {
  acquirePeerSlot,
  allocateBuffer,
  freeBuffer,
  PEER,
  PEER_HAS_BUFFER,
  PEER_SKIP,
  peerKind,
  releasePeerSlot,
  setPeerKind,
} from './peer-requests.js';
import { ProgressMarks } from './progress-marks.js';
import { OP } from './requests.js';
import type { Resource } from './resource.js';
import { beginFinish, logProgressDone, resyncOptions, SLOTS_RESERVED } from './resync.js';
import { RESYNC_TURN_MS, ResyncController } from './resync-controller.js';
import { holdsRequest, shouldSlowDown } from './resync-throttle.js';
import { changePeerDevice } from './state-change.js';
import { CONN, DISK, ROLE } from './state-view.js';
import type { Volume } from './volume.js';
import { closeEpoch } from './write-path.js';

const BLOCK_BYTES = 4096;
const BLOCK_SECTORS = 8;

export type VerifySide = 'source' | 'target';

export class Verify {
  readonly side: VerifySide;
  /** Number of the digest. */
  readonly digest: number;
  readonly controller: ResyncController;
  readonly marks = new ProgressMarks();
  /** Where it began; -1 as target until the first request has come. */
  startSector: number;
  /** Where it ends before the end of the device. */
  stopSector: number;
  /** Sector behind the last request. */
  position: number;
  totalBits: number;
  leftBits: number;
  /** Not compared: a write came in between, or the peer could not read. */
  skippedBits = 0;
  sectorsIn = 0;
  nextTurn: number;
  ending = false;
  /** The run of different blocks that has not been logged yet, sectors. */
  outOfSyncStart = 0;
  outOfSyncSectors = 0;

  constructor(side: VerifySide, pd: PeerDevice, now: number) {
    const bits = Math.ceil(pd.volume.sizeSectors / BLOCK_SECTORS);
    const first = side === 'source' ? Math.min(Math.floor(pd.verifyStart / BLOCK_SECTORS), bits - 1) : 0;
    this.side = side;
    this.digest = digestNumber(pd.connection.options['verify-alg']);
    this.controller = new ResyncController(resyncOptions(pd));
    this.startSector = side === 'source' ? first * BLOCK_SECTORS : -1;
    this.stopSector = Number.POSITIVE_INFINITY;
    if (side === 'source') this.stopAt(pd, pd.verifyStop);
    this.position = first * BLOCK_SECTORS;
    this.totalBits = bits - first;
    this.leftBits = this.totalBits;
    this.nextTurn = now;
    this.marks.start(now, this.leftBits);
  }

  /** A peer that would not be told of an early end compares to the end of the device. */
  stopAt(pd: PeerDevice, sector: number): void {
    this.stopSector = hasStopSector(pd.connection.apv) ? sector : Number.POSITIVE_INFINITY;
  }
}

/** The state is VerifyS or VerifyT now. */
export function verifyStarted(res: Resource, pd: PeerDevice, side: VerifySide): void {
  pd.verify = new Verify(side, pd, res.now);
  if (side === 'source') res.log('info', pd.volume, pd, `Starting Online Verify from sector ${pd.verify.startSector}`);
}

/** The state is neither any more, whatever the reason: remembers how far it came. */
export function verifyEnded(res: Resource, pd: PeerDevice): void {
  const { verify } = pd;
  if (verify === undefined) return;
  logOutOfSync(res, pd, verify);
  const oldest = verify.side === 'source' ? pd.verifyRequests[0] : pd.verifyServed[0];
  const reached = oldest === undefined ? verify.position : res.requests.sector[oldest]!;
  pd.verifyStart = verify.leftBits > 0 ? reached : 0;
  if (verify.leftBits > 0) res.log('info', pd.volume, pd, `Online Verify reached sector ${reached}`);
  pd.verify = undefined;
  // Writes go on. What the peer has been asked for, or has been answered, stays known until it has come back.
  for (const slot of [...pd.verifyRequests]) {
    if (peerKind(res, slot) === PEER.VerifyWait) forget(res, pd, pd.verifyRequests, slot);
    else if (peerKind(res, slot) === PEER.VerifyRequest) leaveRange(res, pd.volume, slot);
  }
  for (const slot of pd.verifyServed) if (peerKind(res, slot) === PEER.VerifyAnswer) leaveRange(res, pd.volume, slot);
}

/** The link is gone. Blocks that are being read give their slots back themselves. */
export function dropVerify(res: Resource, pd: PeerDevice): void {
  for (const list of [pd.verifyRequests, pd.verifyServed]) {
    for (const slot of [...list]) {
      if ((res.requests.state[slot]! & PEER_HAS_BUFFER) !== 0) continue;
      forget(res, pd, list, slot);
    }
  }
}

/** Takes a slot out of everything it may wait in. */
function forget(res: Resource, pd: PeerDevice, list: number[], slot: number): void {
  remove(pd.verifyWaiting, slot);
  remove(pd.connection.heldReads, slot);
  end(res, pd, list, slot);
}

function end(res: Resource, pd: PeerDevice, list: number[], slot: number): void {
  remove(list, slot);
  leaveRange(res, pd.volume, slot);
  releasePeerSlot(res, slot);
}

function remove(list: number[], slot: number): void {
  const at = list.indexOf(slot);
  if (at >= 0) list.splice(at, 1);
}

function leaveRange(res: Resource, volume: Volume, slot: number): void {
  if (!volume.overlap.forget(slot)) volume.overlap.leave(slot);
  if (volume.overlap.waitingCount > 0) res.wantOverlap(volume);
}

function find(res: Resource, list: readonly number[], kind: number, sector: number, lengthBytes: number): number {
  const { requests } = res;
  for (const slot of list) {
    if (requests.sector[slot] === sector && requests.lengthBytes[slot] === lengthBytes && peerKind(res, slot) === kind) return slot;
  }
  return -1;
}

/** Whether the peer may still be busy with a write of ours to the slot's block. */
function peerIsWriting(res: Resource, pd: PeerDevice, slot: number): boolean {
  const { requests } = res;
  const c = pd.connection;
  const start = requests.sector[slot]!;
  const behind = start + requests.lengthBytes[slot]! / 512;
  for (let write = c.logHead; write >= 0; write = c.logNext[write]!) {
    if (requests.volume[write] !== pd.volume.number) continue;
    const sector = requests.sector[write]!;
    if (sector < behind && start < sector + requests.lengthBytes[write]! / 512) return true;
  }
  return false;
}

/**
 * With two Primaries nobody keeps writes off while the peer has to do something: it may wait for one of them. Blocks that are written
 * to meanwhile are not compared.
 */
const areBothPrimary = (res: Resource, pd: PeerDevice): boolean => res.role === ROLE.Primary && pd.peerRole === ROLE.Primary;

/** @returns true when the slot, which holds its range, may go on; it is looked at again after the next barrier ack otherwise */
function isQuiet(res: Resource, pd: PeerDevice, slot: number): boolean {
  // Protocol C: what does not hold its range any more is on both disks.
  if (areBothPrimary(res, pd) || !peerIsWriting(res, pd, slot)) return true;
  closeEpoch(res);
  pd.verifyWaiting.push(slot);
  return false;
}

/** Barriers may have been acked. */
export function retryVerify(res: Resource, pd: PeerDevice): void {
  for (const slot of pd.verifyWaiting.splice(0)) verifyRunnable(res, pd, slot);
}

/** The slot holds its range, or came in order behind the writes it has to wait for. */
export function verifyRunnable(res: Resource, pd: PeerDevice, slot: number): void {
  const list = peerKind(res, slot) === PEER.VerifyRead ? pd.verifyServed : pd.verifyRequests;
  if (!pd.connection.isUp) return forget(res, pd, list, slot);
  switch (peerKind(res, slot)) {
    case PEER.VerifyWait:
      if (isQuiet(res, pd, slot)) sendRequest(res, pd, slot);
      break;
    case PEER.VerifyCompare:
      read(res, pd, slot);
      break;
    default:
      if (isQuiet(res, pd, slot)) read(res, pd, slot);
  }
}

function read(res: Resource, pd: PeerDevice, slot: number): void {
  res.requests.op[slot] = OP.Read;
  allocateBuffer(res, slot);
  pd.volume.lowerPending++;
  res.effects.push(EFFECT.DiskRead, slot, 0);
}

/** @returns whether the slot is still wanted; it is given back otherwise */
function readDone(res: Resource, pd: PeerDevice, list: number[], slot: number): boolean {
  const { volume } = pd;
  volume.lowerPending--;
  volume.readSectors += res.requests.lengthBytes[slot]! / 512;
  volume.resyncSectors += res.requests.lengthBytes[slot]! / 512;
  if (pd.unacked > 0) pd.unacked--;
  if (pd.connection.isUp) return true;
  end(res, pd, list, slot);
  return false;
}

function afterRead(res: Resource, volume: Volume, errno: number): void {
  if (errno !== 0) diskError(res, volume, 'drbd_endio_read_sec_final');
  if (volume.diskState === DISK.Failed || volume.diskState === DISK.Detaching) maybeDiskless(res, volume);
}

// --- what was found ------------------------------------------------------------------------------------------------------

function found(res: Resource, pd: PeerDevice, sector: number, lengthBytes: number, isEqual: boolean): void {
  const { verify, volume } = pd;
  if (!isEqual && volume.disk !== undefined && pd.bitmapSlot >= 0) volume.disk.bitmap.setRange(pd.bitmapSlot, sector, lengthBytes);
  if (verify === undefined) return;
  const isNext = verify.outOfSyncStart + verify.outOfSyncSectors === sector;
  if (isEqual || !isNext) logOutOfSync(res, pd, verify);
  if (!isEqual) {
    if (verify.outOfSyncSectors === 0) verify.outOfSyncStart = sector;
    verify.outOfSyncSectors += lengthBytes / 512;
  }
}

function logOutOfSync(res: Resource, pd: PeerDevice, verify: Verify): void {
  if (verify.outOfSyncSectors === 0) return;
  res.log('err', pd.volume, pd, `Out of sync: start=${verify.outOfSyncStart}, size=${verify.outOfSyncSectors} (sectors)`);
  verify.outOfSyncSectors = 0;
}

/** One block less to do: is that the end? The ping flushes our results out of the meta stream. */
function advance(res: Resource, pd: PeerDevice, verify: Verify): void {
  verify.leftBits--;
  if (verify.ending) return;
  const isDone = verify.side === 'target' ? verify.leftBits <= 0 : pd.verifyRequests.length === 0 && isAtEnd(pd, verify);
  if (isDone) finishSoon(res, pd, verify);
}

function finishSoon(res: Resource, pd: PeerDevice, verify: Verify): void {
  verify.ending = true;
  logOutOfSync(res, pd, verify);
  beginFinish(res, pd);
}

/** The ping has come back. */
export function finishVerify(res: Resource, pd: PeerDevice, verify: Verify): void {
  const { volume } = pd;
  pd.finishPing = 0;
  if (volume.disk === undefined) return;
  logProgressDone(res, pd, 'Online verify', verify.marks, verify.totalBits - verify.leftBits);
  // All that is marked, not only what this run has found: as DRBD 8.4 counts.
  const marked = volume.disk.bitmap.weight(pd.bitmapSlot);
  if (marked > 0) res.log('err', volume, pd, `Online verify found ${marked} 4k block out of sync!`);
  changePeerDevice(res, pd, { conn: CONN.Connected }, { hard: true });
  if (marked > 0) res.helper('out-of-sync', volume, pd.connection);
}

// --- VerifyS -------------------------------------------------------------------------------------------------------------

/** At least one block is compared, whatever the stop sector says. */
const isAtEnd = (pd: PeerDevice, verify: Verify): boolean =>
  verify.position >= pd.volume.sizeSectors || (verify.position >= verify.stopSector && verify.position > verify.startSector);

/** The peer has to be told when a verify is over before the end of the device. */
export const tellsVerifyEnd = (pd: PeerDevice): boolean => hasStopSector(pd.connection.apv);

/** When `verifyTurn` wants to be called next. */
export const verifyDeadline = (pd: PeerDevice): number => (pd.verify === undefined ? Number.POSITIVE_INFINITY : pd.verify.nextTurn);

/** Every 100 ms: progress marks on both sides, requests of VerifyS. */
export function verifyTurn(res: Resource, pd: PeerDevice): void {
  const { verify } = pd;
  if (verify === undefined || res.now < verify.nextTurn) return;
  verify.nextTurn = res.now + RESYNC_TURN_MS;
  if (verify.marks.advance(res.now, verify.leftBits)) res.progressChanged();
  if (verify.side === 'source' && !verify.ending && pd.connection.isUp) request(res, pd, verify);
}

function request(res: Resource, pd: PeerDevice, verify: Verify): void {
  const { volume, connection } = pd;
  const blocks = verify.controller.turn(res.now, verify.sectorsIn);
  verify.sectorsIn = 0;
  // A stop sector that was set while the last answers were on their way, or has been passed.
  if (isAtEnd(pd, verify) && pd.verifyRequests.length === 0) return finishSoon(res, pd, verify);
  for (let sent = 0; sent < blocks && !isAtEnd(pd, verify) && !verify.ending; sent++) {
    if (res.requests.freePeerSlots <= SLOTS_RESERVED || !connection.outboxes[0].hasBulkRoom(64)) return;
    if (shouldSlowDown(res, pd, verify.marks, verify.leftBits)) return;
    const sector = verify.position;
    const length = Math.min(BLOCK_BYTES, (volume.sizeSectors - sector) * 512);
    const slot = acquirePeerSlot(res, connection, volume.number, PEER.VerifyWait, sector, length, ID_ALL_ONES, ID_ALL_ONES);
    if (slot < 0) return;
    verify.position += BLOCK_SECTORS;
    verify.controller.requested(length / 512);
    pd.verifyRequests.push(slot);
    if (areBothPrimary(res, pd)) {
      // The peer is asked all the same: by the requests it knows that the verify began, and how much is left.
      if (isBusy(res, pd, slot)) res.requests.state[slot]! |= PEER_SKIP;
      sendRequest(res, pd, slot);
    } else if (res.role !== ROLE.Primary) sendRequest(res, pd, slot);
    else if (volume.overlap.enter(slot)) verifyRunnable(res, pd, slot);
  }
}

function sendRequest(res: Resource, pd: PeerDevice, slot: number): void {
  // Demoted meanwhile: a Secondary keeps nobody off, for the writes are the peer's, which may wait for ours.
  if (res.role !== ROLE.Primary || areBothPrimary(res, pd)) leaveRange(res, pd.volume, slot);
  setPeerKind(res, slot, PEER.VerifyRequest);
  pd.resyncPending++;
  sendBlockRequest(res, pd, COMMAND.P_OV_REQUEST, slot, ID_ALL_ONES, ID_ALL_ONES);
}

/** A node was promoted: blocks that have been asked for without keeping writes off them cannot be compared any more. */
export function verifyPromoted(res: Resource, pd: PeerDevice): void {
  const isOpen = areBothPrimary(res, pd);
  for (const slot of pd.verifyRequests) {
    if (peerKind(res, slot) !== PEER.VerifyRequest) continue;
    if (isOpen) leaveRange(res, pd.volume, slot);
    if (!pd.volume.overlap.holds(slot)) res.requests.state[slot]! |= PEER_SKIP;
  }
  if (!isOpen) return;
  for (const slot of pd.verifyServed) if (peerKind(res, slot) === PEER.VerifyAnswer) leaveRange(res, pd.volume, slot);
}

/** A write of our own begins: blocks of it that the peer has been asked for are not compared. */
export function verifyTouched(res: Resource, pd: PeerDevice, write: number): void {
  const { requests } = res;
  const start = requests.sector[write]!;
  const end = start + requests.lengthBytes[write]! / 512;
  for (const slot of pd.verifyRequests) {
    const sector = requests.sector[slot]!;
    if (sector < end && start < sector + requests.lengthBytes[slot]! / 512) requests.state[slot]! |= PEER_SKIP;
  }
}

/** Some write to the slot's block is under way here, or waits. */
const isBusy = (res: Resource, pd: PeerDevice, slot: number): boolean =>
  pd.volume.overlap.touches(res.requests.sector[slot]!, res.requests.lengthBytes[slot]!) || waitsForHeldWrite(res, pd.connection, slot);

/** P_OV_REPLY: the peer's digest of a block. @returns the text of a protocol error */
export function receiveVerifyReply(
  res: Resource,
  pd: PeerDevice,
  sector: number,
  lengthBytes: number,
  bytes: Uint8Array,
  digestAt: number,
  digestLength: number,
): string | undefined {
  const { requests } = res;
  const { verify, volume } = pd;
  const slot = find(res, pd.verifyRequests, PEER.VerifyRequest, sector, lengthBytes);
  if (slot < 0) return 'OVReply for a block that was not requested';
  if (pd.resyncPending > 0) pd.resyncPending--;
  if (verify !== undefined) verify.sectorsIn += lengthBytes / 512;
  const isOpen = res.role === ROLE.Primary && !volume.overlap.holds(slot);
  if (verify === undefined || !volume.hasUsableDisk || (requests.state[slot]! & PEER_SKIP) !== 0 || (isOpen && isBusy(res, pd, slot))) {
    skip(res, pd, slot);
    return undefined;
  }
  if (digestLength !== digestBytes(verify.digest)) return `OVReply with a digest of ${digestLength} bytes`;
  requests.digest[slot] = verify.digest;
  requests.expect(slot, bytes, digestAt, digestLength);
  setPeerKind(res, slot, PEER.VerifyCompare);
  pd.unacked++;
  if (volume.overlap.holds(slot) || mayReadForPeer(res, pd, slot)) verifyRunnable(res, pd, slot);
  return undefined;
}

/** Answers a digest that is not compared: the peer waits for a result, and it knows only two. */
function skip(res: Resource, pd: PeerDevice, slot: number): void {
  const { verify } = pd;
  sendResult(res, pd, slot, ID_IN_SYNC);
  end(res, pd, pd.verifyRequests, slot);
  if (verify === undefined) return;
  verify.skippedBits++;
  advance(res, pd, verify);
}

function sendResult(res: Resource, pd: PeerDevice, slot: number, result: number): void {
  sendBlockAck(res, pd, COMMAND.P_OV_RESULT, res.requests.sector[slot]!, 0, result, res.requests.lengthBytes[slot]!);
}

/** Our own block has been read; one that cannot be read counts as different. */
export function verifyCompareDone(res: Resource, pd: PeerDevice, slot: number, errno: number): void {
  const { requests } = res;
  const { volume, verify } = pd;
  if (readDone(res, pd, pd.verifyRequests, slot)) {
    if (verify === undefined) skip(res, pd, slot);
    else {
      const isEqual = errno === 0 && requests.digestMatches(slot);
      sendResult(res, pd, slot, isEqual ? ID_IN_SYNC : ID_OUT_OF_SYNC);
      found(res, pd, requests.sector[slot]!, requests.lengthBytes[slot]!, isEqual);
      end(res, pd, pd.verifyRequests, slot);
      advance(res, pd, verify);
    }
  }
  afterRead(res, volume, errno);
}

/** P_NEG_RS_DREPLY, P_RS_CANCEL: the peer cannot tell. @returns whether the block was asked for by a verify */
export function verifyRefused(res: Resource, pd: PeerDevice, sector: number, lengthBytes: number): boolean {
  const slot = find(res, pd.verifyRequests, PEER.VerifyRequest, sector, lengthBytes);
  if (slot < 0) return false;
  if (pd.resyncPending > 0) pd.resyncPending--;
  end(res, pd, pd.verifyRequests, slot);
  const { verify } = pd;
  if (verify === undefined) return true;
  verify.sectorsIn += lengthBytes / 512;
  verify.skippedBits++;
  advance(res, pd, verify);
  return true;
}

// --- VerifyT -------------------------------------------------------------------------------------------------------------

/** P_OV_REQUEST. @returns false when no slot is free, or the text of a protocol error */
export function receiveVerifyRequest(res: Resource, pd: PeerDevice, sector: number, lengthBytes: number): boolean | string {
  const { volume, verify } = pd;
  if (volume.diskState !== DISK.UpToDate || volume.disk === undefined) {
    sendBlockAck(res, pd, COMMAND.P_NEG_RS_DREPLY, sector, ID_ALL_ONES, ID_ALL_ONES, lengthBytes);
    return true;
  }
  const digest = verify?.digest ?? digestNumber(pd.connection.options['verify-alg']);
  if (digest <= DIGEST_NONE) return 'OVRequest without verify-alg';
  if (holdsRequest(res, pd, verify?.marks, verify?.leftBits ?? 0, pd.peerRole === ROLE.Primary)) return false;
  const slot = acquirePeerSlot(res, pd.connection, volume.number, PEER.VerifyRead, sector, lengthBytes, ID_ALL_ONES, ID_ALL_ONES);
  if (slot < 0) return false;
  res.requests.digest[slot] = digest;
  if (verify !== undefined) {
    if (verify.startSector < 0) {
      verify.startSector = sector;
      verify.totalBits = Math.ceil((volume.sizeSectors - sector) / BLOCK_SECTORS);
      verify.leftBits = verify.totalBits;
      verify.marks.start(res.now, verify.leftBits);
      res.log('info', volume, pd, `Online Verify start sector: ${sector}`);
    }
    verify.position = sector + lengthBytes / 512;
  }
  pd.verifyServed.push(slot);
  pd.unacked++;
  if (mayReadForPeer(res, pd, slot)) verifyRunnable(res, pd, slot);
  return true;
}

/** A digest of zeroes stands for a block that cannot be read. */
export function verifyReadDone(res: Resource, pd: PeerDevice, slot: number, errno: number): void {
  const { requests } = res;
  if (readDone(res, pd, pd.verifyServed, slot)) {
    if (errno !== 0) requests.computed.fill(0, slot * DIGEST_STRIDE, (slot + 1) * DIGEST_STRIDE);
    freeBuffer(res, slot);
    setPeerKind(res, slot, PEER.VerifyAnswer);
    pd.resyncPending++;
    sendBlockDigest(res, pd, COMMAND.P_OV_REPLY, slot);
    if (pd.verify === undefined || areBothPrimary(res, pd)) leaveRange(res, pd.volume, slot);
  }
  afterRead(res, pd.volume, errno);
}

/** P_OV_RESULT. @returns the text of a protocol error */
export function receiveVerifyResult(
  res: Resource,
  pd: PeerDevice,
  sector: number,
  lengthBytes: number,
  isEqual: boolean,
): string | undefined {
  const slot = find(res, pd.verifyServed, PEER.VerifyAnswer, sector, lengthBytes);
  if (slot < 0) return 'OVResult for a block that was not answered';
  if (pd.resyncPending > 0) pd.resyncPending--;
  end(res, pd, pd.verifyServed, slot);
  found(res, pd, sector, lengthBytes, isEqual);
  if (pd.verify !== undefined) advance(res, pd, pd.verify);
  return undefined;
}

/** The state packet that says that VerifyS is through, maybe at a stop sector of which we do not know. */
export function verifyPeerDone(res: Resource, pd: PeerDevice): void {
  const { verify } = pd;
  // One that was on its way when the verify began ends nothing.
  if (verify !== undefined && verify.startSector >= 0 && !verify.ending) finishSoon(res, pd, verify);
}
