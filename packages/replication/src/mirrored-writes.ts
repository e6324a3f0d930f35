/**
 * Writes that a peer mirrors to us, and the epochs they come in (replication semantics: receiver side, write ordering).
 *
 * The epoch in front runs; later ones are received and kept back until it has drained and, with write ordering `flush`, its
 * disks are flushed. Its barrier ack follows only then, so an acked epoch is durable.
 */
import { COMMAND, DP } from '@udrbd/wire';
import { referenceExtents } from './al-transactions.js';
import { barrierAckDue, conflictEnded, judgeConflict, maybeReplaces, maybeSentAgain, WRITTEN_BENEATH } from './concurrent-writes.js';
import type { Connection, ReceiveEpoch } from './connection.js';
import { hasAckFlags } from './dialect.js';
import { diskError, diskFailed, maybeDiskless } from './disk-errors.js';
import { EFFECT } from './effects.js';
import { sendBlockAck } from './packets.js';
import type { PeerDevice } from './peer-device.js';
import {
  acquirePeerSlot,
  allocateBuffer,
  PEER,
  PEER_FLAGS_SHIFT,
  PEER_IN_AL,
  PEER_LACKS,
  peerFlags,
  peerKind,
  releasePeerSlot,
} from './peer-requests.js';
import { OP, REQ_FUA, REQ_NOUNMAP, REQ_PREFLUSH } from './requests.js';
import type { Resource } from './resource.js';
import { CONN, DISK, ROLE } from './state-view.js';
import type { Volume } from './volume.js';
import { writtenBeneath } from './write-beneath.js';
import { leaveOverlap, writeEffect } from './write-path.js';

const EOPNOTSUPP = 95;

/** The epoch that arriving writes belong to. */
function lastEpoch(c: Connection): ReceiveEpoch {
  if (c.receiveEpochs.length === 0) c.openReceiveEpoch();
  return c.receiveEpochs[c.receiveEpochs.length - 1]!;
}

const epochOf = (res: Resource, c: Connection, slot: number): ReceiveEpoch =>
  c.receiveEpochs[(res.requests.epoch[slot]! - c.receiveEpochBase) >>> 0]!;

/** @returns the slot, or -1 when none is free */
export function beginMirroredWrite(
  res: Resource,
  pd: PeerDevice,
  op: number,
  sector: number,
  lengthBytes: number,
  idHigh: number,
  idLow: number,
  dpFlags: number,
): number {
  const c = pd.connection;
  const slot = acquirePeerSlot(res, c, pd.volume.number, PEER.MirroredWrite, sector, lengthBytes, idHigh, idLow);
  if (slot < 0) return -1;
  if (c.turnedDown.length > 0) maybeSentAgain(res, pd, sector, lengthBytes);
  const { requests } = res;
  requests.op[slot] = op;
  const wanted = hasAckFlags(c.apv) ? 0 : c.wireProtocol === 3 ? DP.SEND_WRITE_ACK : c.wireProtocol === 2 ? DP.SEND_RECEIVE_ACK : 0;
  requests.state[slot]! |= (dpFlags | wanted) << PEER_FLAGS_SHIFT;
  const { disk } = pd.volume;
  if (pd.peerDisk < DISK.Inconsistent && disk !== undefined && pd.bitmapSlot >= 0) {
    // It may get a disk while this one is held back: what is exchanged then has to have the bit.
    requests.state[slot]! |= PEER_LACKS;
    disk.bitmap.setRange(pd.bitmapSlot, sector, lengthBytes);
  }
  let flags = 0;
  if ((dpFlags & DP.FUA) !== 0) flags |= REQ_FUA;
  if ((dpFlags & DP.FLUSH) !== 0) flags |= REQ_PREFLUSH;
  if (op === OP.WriteZeroes && (dpFlags & DP.DISCARD) === 0) flags |= REQ_NOUNMAP;
  requests.flags[slot] = flags;
  const epoch = lastEpoch(c);
  requests.epoch[slot] = c.receiveEpochBase + c.receiveEpochs.length - 1;
  epoch.size++;
  epoch.active++;
  pd.unacked++;
  if (op === OP.Write) {
    allocateBuffer(res, slot);
    pd.receivedSectors += lengthBytes >>> 9;
  }
  return slot;
}

/** The payload is complete. */
export function mirroredWriteReceived(res: Resource, pd: PeerDevice, slot: number): void {
  const { requests } = res;
  const c = pd.connection;
  if (pd.contested.length > 0) maybeReplaces(res, pd);
  if ((peerFlags(res, slot) & DP.SEND_RECEIVE_ACK) !== 0) ack(res, pd, slot, COMMAND.P_RECV_ACK);
  if (!pd.volume.hasUsableDisk) {
    ack(res, pd, slot, COMMAND.P_NEG_ACK);
    return finish(res, pd, slot);
  }
  const isFront = requests.epoch[slot] === c.receiveEpochBase;
  if (isFront || res.writeOrdering === 'none') startMirroredWrite(res, pd, slot);
  else hold(res, epochOf(res, c, slot), slot);
}

/** The write waits for the epochs in front of its own. */
function hold(res: Resource, epoch: ReceiveEpoch, slot: number): void {
  const { next } = res.requests;
  next[slot] = -1;
  if (epoch.heldLast < 0) epoch.heldFirst = slot;
  else next[epoch.heldLast] = slot;
  epoch.heldLast = slot;
}

/** Takes the first of the writes that wait out; -1 when there is none. */
function takeHeld(res: Resource, epoch: ReceiveEpoch): number {
  const slot = epoch.heldFirst;
  if (slot < 0) return -1;
  epoch.heldFirst = res.requests.next[slot]!;
  if (epoch.heldFirst < 0) epoch.heldLast = -1;
  return slot;
}

function startMirroredWrite(res: Resource, pd: PeerDevice, slot: number): void {
  // The peer has taken its leave, and our own application goes on alone: what it sent before comes too late.
  if (res.role === ROLE.Primary && pd.conn < CONN.Connected) return dropMirroredWrite(res, pd.connection, slot);
  const answer = judgeConflict(res, pd, slot);
  if (answer === WRITTEN_BENEATH) return;
  if (answer !== 0) {
    ack(res, pd, slot, answer);
    return forgetMirroredWrite(res, pd, slot);
  }
  if (isCovered(res, pd, slot)) mirroredWriteCovered(res, pd.volume, slot);
}

/**
 * We had the only disk, or the link has gone: the activity log remembers what the peer will miss, before the write.
 * @returns false when the write waits for that; it goes on by itself then
 */
function isCovered(res: Resource, pd: PeerDevice, slot: number): boolean {
  const { volume } = pd;
  const { requests } = res;
  const lacks = (requests.state[slot]! & PEER_LACKS) !== 0 || !pd.connection.isUp;
  if (!lacks || volume.disk === undefined || pd.bitmapSlot < 0) return true;
  volume.disk.bitmap.setRange(pd.bitmapSlot, requests.sector[slot]!, requests.lengthBytes[slot]!);
  return (requests.state[slot]! & PEER_IN_AL) !== 0 || referenceExtents(res, volume, slot);
}

/** The activity log is as it has to be. */
export function mirroredWriteCovered(res: Resource, volume: Volume, slot: number): void {
  if (volume.overlap.enterMirrored(slot)) submitMirroredWrite(res, volume, slot);
}

/** Nothing overlapping is in the way any more. */
export function mirroredWriteRunnable(res: Resource, pd: PeerDevice, slot: number): void {
  const { volume } = pd;
  const wasCovered = (res.requests.state[slot]! & PEER_IN_AL) !== 0;
  if (wasCovered || pd.connection.isUp) return submitMirroredWrite(res, volume, slot);
  // The link went while it waited.
  leaveOverlap(res, volume, slot);
  if (isCovered(res, pd, slot)) mirroredWriteCovered(res, volume, slot);
}

export function submitMirroredWrite(res: Resource, volume: Volume, slot: number): void {
  if (volume.disk === undefined) {
    // It went while the write waited.
    const pd = res.peerDevice(res.connections[res.requests.connection[slot]!]!, volume.number)!;
    return refuseMirroredWrite(res, pd, slot);
  }
  // What the peer lacks must not be on a disk whose generation says that both are equal.
  if (volume.generationWrites > 0) {
    volume.heldMirroredWrites.push(slot);
    return;
  }
  volume.lowerPending++;
  res.effects.push(writeEffect(res.requests.op[slot]!), slot, 0);
}

export function releaseMirroredWrites(res: Resource, volume: Volume): void {
  for (const slot of volume.heldMirroredWrites.splice(0)) submitMirroredWrite(res, volume, slot);
}

export function mirroredWriteDone(res: Resource, pd: PeerDevice, slot: number, errno: number): void {
  const { volume } = pd;
  volume.lowerPending--;
  volume.writtenSectors += res.requests.lengthBytes[slot]! >>> 9;
  if (pd.connection.beneath.length === 0 || !writtenBeneath(pd, slot, errno)) mirroredWriteEnded(res, pd, slot, errno);
}

/** Our own write is on top of it again. */
export const beneathIsThrough = (res: Resource, pd: PeerDevice, slot: number): void => mirroredWriteEnded(res, pd, slot, 0);

/** There is no disk for it any more. */
export function refuseMirroredWrite(res: Resource, pd: PeerDevice, slot: number): void {
  leaveOverlap(res, pd.volume, slot);
  ack(res, pd, slot, COMMAND.P_NEG_ACK);
  finish(res, pd, slot);
}

function mirroredWriteEnded(res: Resource, pd: PeerDevice, slot: number, errno: number): void {
  const { requests } = res;
  const { volume } = pd;
  const sector = requests.sector[slot]!;
  const length = requests.lengthBytes[slot]!;
  volume.overlap.leave(slot);
  if (volume.overlap.waitingCount > 0) res.wantOverlap(volume);
  const disk = volume.disk;
  if (errno === 0) {
    const flags = peerFlags(res, slot);
    if ((flags & DP.SEND_WRITE_ACK) !== 0) {
      const { conn } = pd;
      if ((flags & DP.MAY_SET_IN_SYNC) !== 0 && conn >= CONN.SyncSource && conn <= CONN.PausedSyncT && disk !== undefined) {
        ack(res, pd, slot, COMMAND.P_RS_WRITE_ACK);
        disk.bitmap.clearRange(pd.bitmapSlot, sector, length);
        res.resyncProgress(pd);
      } else ack(res, pd, slot, COMMAND.P_WRITE_ACK);
    }
  } else {
    ack(res, pd, slot, COMMAND.P_NEG_ACK);
    if (disk !== undefined && pd.bitmapSlot >= 0) disk.bitmap.setRange(pd.bitmapSlot, sector, length);
    diskError(res, volume, 'drbd_endio_write_sec_final');
  }
  if ((requests.state[slot]! & PEER_IN_AL) !== 0 && disk !== undefined) {
    disk.activityLog.dereference(Math.floor(sector / 8192), Math.floor((sector + length / 512 - 1) / 8192));
    if (volume.alQueue.length > 0) res.wantActivityLog(volume);
  }
  finish(res, pd, slot);
  if (volume.diskState === DISK.Failed || volume.diskState === DISK.Detaching) maybeDiskless(res, volume);
}

function ack(res: Resource, pd: PeerDevice, slot: number, command: number): void {
  if (!pd.connection.isUp) return;
  const { requests } = res;
  sendBlockAck(
    res,
    pd,
    command,
    requests.sector[slot]!,
    requests.blockIdHigh[slot]!,
    requests.blockIdLow[slot]!,
    requests.lengthBytes[slot]!,
  );
}

function finish(res: Resource, pd: PeerDevice, slot: number): void {
  const c = pd.connection;
  const epoch = epochOf(res, c, slot);
  if (pd.unacked > 0) pd.unacked--;
  if (pd.contested.length > 0) conflictEnded(res, pd, slot);
  releasePeerSlot(res, slot);
  epoch.active--;
  if (epoch.active === 0 && epoch.hasBarrier) finishEpochs(res, c);
}

/** A write whose payload never came, or that lost to one of ours: as if it had not been announced. */
export function forgetMirroredWrite(res: Resource, pd: PeerDevice, slot: number): void {
  const epoch = epochOf(res, pd.connection, slot);
  epoch.size--;
  finish(res, pd, slot);
}

/**
 * The link is gone, and our own application goes on writing: what the peer sent and the disk has not got yet must not land on top
 * of that later. The peer has no ack for it, so that it is marked there.
 */
export function dropUnstarted(res: Resource, c: Connection): void {
  for (const epoch of [...c.receiveEpochs])
    for (let slot = takeHeld(res, epoch); slot >= 0; slot = takeHeld(res, epoch)) dropMirroredWrite(res, c, slot);
  for (let slot = res.requests.applicationSlots; slot < res.requests.capacity; slot++) {
    if (peerKind(res, slot) !== PEER.MirroredWrite || res.requests.connection[slot] !== c.index) continue;
    if (res.volumes.get(res.requests.volume[slot]!)!.overlap.forget(slot)) dropMirroredWrite(res, c, slot);
  }
}

export function dropMirroredWrite(res: Resource, c: Connection, slot: number): void {
  const pd = res.peerDevice(c, res.requests.volume[slot]!)!;
  const { disk } = pd.volume;
  // A peer that keeps its writes, as we do, sends it again; one that does not marks it itself.
  if (disk !== undefined && pd.bitmapSlot >= 0 && !pd.keepsWrites)
    disk.bitmap.setRange(pd.bitmapSlot, res.requests.sector[slot]!, res.requests.lengthBytes[slot]!);
  leaveOverlap(res, pd.volume, slot);
  forgetMirroredWrite(res, pd, slot);
}

/** Whether a write that came before this read is still held back for an earlier epoch. */
export function waitsForHeldWrite(res: Resource, c: Connection, slot: number): boolean {
  const { requests } = res;
  const start = requests.sector[slot]!;
  const end = start + requests.lengthBytes[slot]! / 512;
  for (const { heldFirst } of c.receiveEpochs) {
    for (let write = heldFirst; write >= 0; write = requests.next[write]!) {
      const sector = requests.sector[write]!;
      if (requests.volume[write] === requests.volume[slot] && sector < end && start < sector + requests.lengthBytes[write]! / 512)
        return true;
    }
  }
  return false;
}

/**
 * A read for the peer sees every write that the peer sent before it.
 * @returns true when it may run now; it runs by itself later otherwise
 */
export function mayReadForPeer(res: Resource, pd: PeerDevice, slot: number): boolean {
  if (waitsForHeldWrite(res, pd.connection, slot)) {
    pd.connection.heldReads.push(slot);
    return false;
  }
  return pd.volume.overlap.enter(slot);
}

function releaseHeldReads(res: Resource, c: Connection): void {
  for (const slot of c.heldReads.splice(0)) {
    const pd = res.peerDevice(c, res.requests.volume[slot]!)!;
    if (mayReadForPeer(res, pd, slot)) res.peerReadRunnable(pd, slot);
  }
}

export function receiveBarrier(res: Resource, c: Connection, barrier: number): void {
  const epoch = lastEpoch(c);
  if (epoch.size === 0) return;
  epoch.hasBarrier = true;
  epoch.barrier = barrier;
  c.openReceiveEpoch();
  finishEpochs(res, c);
}

/** Acks the epochs in front that are through, and lets the next one run. */
export function finishEpochs(res: Resource, c: Connection): void {
  for (;;) {
    const epoch = c.receiveEpochs[0];
    if (epoch === undefined || !epoch.hasBarrier || epoch.active > 0 || c.flushesOutstanding > 0) return;
    if (res.writeOrdering === 'flush' && !epoch.flushed && epoch.size > 0 && flushDisks(res, c)) return;
    if (c.isUp && epoch.durable) barrierAckDue(res, c, c.receiveEpochBase, epoch.barrier, epoch.size);
    c.dropFrontEpoch();
    const next = c.receiveEpochs[0];
    if (next === undefined) return;
    for (let slot = takeHeld(res, next); slot >= 0; slot = takeHeld(res, next)) {
      const pd = res.peerDevice(c, res.requests.volume[slot]!)!;
      if (pd.volume.hasUsableDisk) startMirroredWrite(res, pd, slot);
      else {
        ack(res, pd, slot, COMMAND.P_NEG_ACK);
        finish(res, pd, slot);
      }
    }
    if (c.heldReads.length > 0) releaseHeldReads(res, c);
  }
}

/** Flushes every disk of the resource for the epoch in front. @returns false when none has to be */
function flushDisks(res: Resource, c: Connection): boolean {
  c.flushFailed = false;
  for (let i = 0; i < c.peerDevices.length; i++) {
    const { volume } = c.peerDevices[i]!;
    if (!volume.hasUsableDisk || volume.disk?.given.hasWriteCache === false) continue;
    c.flushesOutstanding++;
    volume.lowerPending++;
    res.effects.push(EFFECT.FlushVolume, volume.number, c.index);
  }
  return c.flushesOutstanding > 0;
}

/** A disk was flushed: with the last one the epoch in front is durable, unless a flush has failed. */
export function epochFlushed(res: Resource, c: Connection, volume: Volume, errno: number): void {
  volume.lowerPending--;
  if (errno === EOPNOTSUPP) res.flushesUnsupported(volume);
  else if (errno !== 0) {
    c.flushFailed = true;
    res.log('err', volume, undefined, `local disk FLUSH FAILED with status ${errno}`);
    diskFailed(res, volume, 'flush');
    // Without its barrier acks the peer takes these writes for missing: that is what they may be.
    res.closeLink(c, 'network-failure');
  }
  if (volume.diskState === DISK.Failed || volume.diskState === DISK.Detaching) maybeDiskless(res, volume);
  if (--c.flushesOutstanding > 0) return;
  const epoch = c.receiveEpochs[0]!;
  epoch.flushed = true;
  epoch.durable = !c.flushFailed;
  finishEpochs(res, c);
}
