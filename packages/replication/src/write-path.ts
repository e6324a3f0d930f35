/**
 * Application writes and flushes, from `submit` to the last ack (replication semantics: request state machine, epochs).
 *
 *     parked -> activity log -> overlap -> sendAndSubmit -> disk and peers -> complete -> barrier acks -> destroy
 *
 * `waits` counts what the application waits for, `holds` what keeps the slot afterwards.
 */
import { COMMAND, DP, FF } from '@udrbd/wire';
import { needsExtents, referenceExtents } from './al-transactions.js';
import { contestedRests, ownAnswered } from './concurrent-writes.js';
import { checkCongestion, markDifferent, maybeCatchUp, sendsOutOfSync } from './congestion.js';
import { type Connection, NET } from './connection.js';
import { hasAckFlags, hasOutOfSync, PART_BYTES, partsOf, takesDiscards } from './dialect.js';
import { DIGEST_NONE } from './digests.js';
import { diskError, maybeDiskless } from './disk-errors.js';
import { watchDisk } from './disk-timeout.js';
import { EFFECT } from './effects.js';
import { isToStartOver, keepUnsent, startOver } from './kept-writes.js';
import { sendBarrier, sendData, sendTrim } from './packets.js';
import type { PeerDevice } from './peer-device.js';
import { PEER, PEER_IN_AL, peerKind } from './peer-requests.js';
import { finishRead, retryRead, startRead } from './read-path.js';
import { OP, REQ_FUA, REQ_NOUNMAP, REQ_PREFLUSH } from './requests.js';
import type { Resource } from './resource.js';
import { CONN, DISK, ROLE } from './state-view.js';
import { verifyTouched } from './verify.js';
import type { Volume } from './volume.js';

/**
 * Bits of an application request's local part. Contested: a peer turned it down for a write of its own, which we wait for. StartsOver:
 * some disk has it already, and maybe not all of them.
 */
export const LOCAL = { Pending: 1, Ok: 2, InActivityLog: 4, Completed: 8, Held: 16, Contested: 32, StartsOver: 64 } as const;
/** In the outbox: header, p_data and digest. */
const PACKET_BYTES_MAX = 16 + 24 + 64;
export const EIO = 5;
const ENXIO = 6;
const EINVAL = 22;
const EOPNOTSUPP = 95;

/** Whether application requests may start now; otherwise they are parked in order. */
export function mayStart(res: Resource, volume: Volume): boolean {
  // To fail.
  if (res.failIo) return true;
  if (res.isSuspended || volume.generationWrites > 0 || volume.generationPending) return false;
  if (volume.diskState === DISK.Attaching || volume.diskState === DISK.Negotiating) return false;
  for (let i = 0; i < volume.peerDevices.length; i++) {
    const { conn, connection } = volume.peerDevices[i]!;
    if (conn === CONN.WFBitMapT || conn === CONN.WFSyncUUID) return false;
    if (conn === CONN.WFBitMapS && !hasOutOfSync(connection.apv)) return false;
  }
  return true;
}

export function submit(res: Resource, slot: number): void {
  const { requests } = res;
  const volume = res.volumes.get(requests.volume[slot]!);
  requests.startedAt[slot] = res.now;
  requests.state[slot] = 0;
  requests.waits[slot] = 0;
  requests.holds[slot] = 0;
  if (volume === undefined) {
    res.effects.push(EFFECT.Complete, slot, ENXIO);
    requests.release(slot);
    return;
  }
  volume.upperPending++;
  if (volume.parked.length > 0 || !mayStart(res, volume)) volume.parked.push(slot);
  else start(res, volume, slot);
}

export function start(res: Resource, volume: Volume, slot: number): void {
  const { requests } = res;
  const op = requests.op[slot]!;
  if (isCutOff(res, slot)) return reject(res, volume, slot, EIO);
  if (res.role !== ROLE.Primary) {
    if (op !== OP.Read) res.logRateLimited('err', volume, 'Rejected WRITE request, not in Primary role.');
    return reject(res, volume, slot, EIO);
  }
  if (op === OP.Flush) return startFlush(res, volume, slot);
  const sectors = requests.lengthBytes[slot]! / 512;
  if (sectors === 0 || !Number.isInteger(sectors) || requests.sector[slot]! + sectors > volume.sizeSectors) {
    return reject(res, volume, slot, EINVAL);
  }
  if (op === OP.Read) return startRead(res, volume, slot);
  if (isDiscard(op) && volume.peerDevices.some(({ connection: c }) => c.isUp && !takesDiscards(c)))
    return reject(res, volume, slot, EOPNOTSUPP);
  startWrite(res, volume, slot);
}

/** Fails because all I/O does. Not what has begun: the disks have to agree on it, whatever its application is told. */
const isCutOff = (res: Resource, slot: number): boolean => res.failIo && (res.requests.state[slot]! & LOCAL.StartsOver) === 0;

const isDiscard = (op: number): boolean => op === OP.Discard || op === OP.WriteZeroes;

/** Gets the write's extents into the activity log. */
function startWrite(res: Resource, volume: Volume, slot: number): void {
  if ((res.requests.state[slot]! & LOCAL.InActivityLog) !== 0 || referenceExtents(res, volume, slot)) afterExtents(res, volume, slot);
}

/**
 * While a write holds its range or waits for it, no resync block of it is requested (`Overlap.touches`), and what was
 * requested before is written before the write gets in line: the block's older data never overwrite it.
 */
export function afterExtents(res: Resource, volume: Volume, slot: number): void {
  if (resyncRequested(res, volume, slot)) volume.resyncBlocked.push(slot);
  else if (volume.overlap.enter(slot)) afterOverlap(res, volume, slot);
}

/** The write's range is free: it goes to the disk and to the peers. */
export function afterOverlap(res: Resource, volume: Volume, slot: number): void {
  if (isCutOff(res, slot)) {
    leaveOverlap(res, volume, slot);
    dropExtents(res, volume, slot);
    return reject(res, volume, slot, EIO);
  }
  const isCovered = (res.requests.state[slot]! & LOCAL.InActivityLog) !== 0;
  if (isCovered || !needsExtents(volume)) return sendAndSubmit(res, volume, slot);
  // It needed none when it came: a disk was attached meanwhile, or a peer has come.
  leaveOverlap(res, volume, slot);
  startWrite(res, volume, slot);
}

/** Whether we have asked the source for a block of this write (a Primary that is SyncTarget). */
function resyncRequested(res: Resource, volume: Volume, slot: number): boolean {
  const { requests } = res;
  for (let i = 0; i < volume.peerDevices.length; i++) {
    const asked = volume.peerDevices[i]!.resyncRequests;
    if (asked.length === 0) continue;
    const start = requests.sector[slot]!;
    const end = start + requests.lengthBytes[slot]! / 512;
    for (let k = 0; k < asked.length; k++) {
      const sector = requests.sector[asked[k]!]!;
      if (sector < end && start < sector + requests.lengthBytes[asked[k]!]! / 512) return true;
    }
  }
  return false;
}

/** Requests of a resync have ended: lets the writes that waited for one try again. */
export function resyncAnswered(res: Resource, volume: Volume): void {
  if (volume.resyncBlocked.length === 0) return;
  volume.resyncAnswered = true;
  res.wantSettle();
}

/** The writes that a resync request kept back try again. */
export function unblockResync(res: Resource, volume: Volume): void {
  volume.resyncAnswered = false;
  for (const slot of volume.resyncBlocked.splice(0)) afterExtents(res, volume, slot);
}

/** Fails a request that never started, or does not start over. */
function reject(res: Resource, volume: Volume, slot: number, errno: number): void {
  if ((res.requests.state[slot]! & LOCAL.StartsOver) !== 0) {
    // It may be on some disk already.
    for (const pd of volume.peerDevices) missed(res, pd, slot);
    dropExtents(res, volume, slot);
  }
  volume.upperPending--;
  res.effects.push(EFFECT.Complete, slot, errno);
  res.requests.release(slot);
}

function startFlush(res: Resource, volume: Volume, slot: number): void {
  const { requests } = res;
  closeEpoch(res);
  requests.sector[slot] = 0;
  requests.lengthBytes[slot] = 0;
  requests.waits[slot] = 1;
  requests.holds[slot] = 1;
  if (volume.hasUsableDisk) {
    requests.state[slot]! |= LOCAL.Pending;
    volume.lowerPending++;
    requests.submittedAt[slot] = res.now;
    watchDisk(res, volume);
    res.effects.push(EFFECT.DiskFlush, slot, 0);
    if (volume.diskState === DISK.UpToDate) return;
    requests.waits[slot]!++;
  } else {
    requests.state[slot]! |= LOCAL.Ok;
    requests.holds[slot] = 0;
  }
  // What counts is the peer's disk: what it has acked the barriers for is durable there (DRBD 8.4 would not wait for that).
  for (let i = 0; i < volume.peerDevices.length; i++) {
    const c = volume.peerDevices[i]!.connection;
    if (oldestAwaited(res, c) < 0) continue;
    c.flushWaiters.push(slot);
    c.flushEpoch[slot] = requests.epoch[c.logTail]!;
    requests.waits[slot]!++;
  }
  unwait(res, volume, slot, 1);
}

/** The oldest write in the log has an epoch of its own: flushes that waited for earlier ones are through. */
function releaseFlushes(res: Resource, c: Connection): void {
  const oldest = oldestAwaited(res, c);
  while (c.flushWaiters.length > 0) {
    const slot = c.flushWaiters[0]!;
    if (oldest >= 0 && ((c.flushEpoch[slot]! - res.requests.epoch[oldest]!) | 0) >= 0) return;
    c.flushWaiters.shift();
    unwait(res, res.volumes.get(res.requests.volume[slot]!)!, slot, 1);
  }
}

/** Whether writes are mirrored to this peer now. The scalar twin of `wouldReplicate`. */
export const replicates = (pd: PeerDevice): boolean => pd.connection.isUp && hasMirror(pd);

const hasMirror = (pd: PeerDevice): boolean =>
  pd.conn >= CONN.Connected &&
  (pd.peerDisk === DISK.UpToDate || (pd.peerDisk >= DISK.Inconsistent && pd.conn >= CONN.WFBitMapT && pd.conn < CONN.Ahead));

/** Some disk that a read or write may rely on is UpToDate. */
export function dataAccessible(volume: Volume): boolean {
  if (volume.diskState === DISK.UpToDate) return true;
  for (let i = 0; i < volume.peerDevices.length; i++) {
    const pd = volume.peerDevices[i]!;
    if (pd.peerDisk === DISK.UpToDate && pd.connection.isUp && pd.conn >= CONN.Connected) return true;
  }
  return false;
}

/** Everything that has to happen at one instant: epoch, transfer log, packets, local I/O. */
export function sendAndSubmit(res: Resource, volume: Volume, slot: number): void {
  const { requests } = res;
  requests.waits[slot] = 1;
  requests.holds[slot] = 1;
  for (let i = 0; i < volume.peerDevices.length; i++) {
    const pd = volume.peerDevices[i]!;
    if (pd.connection.options['on-congestion'] !== 'block') checkCongestion(res, pd);
  }
  requests.epoch[slot] = res.currentEpoch;
  if (!dataAccessible(volume)) {
    res.logRateLimited(
      'err',
      volume,
      `IO ERROR: neither local nor remote data, sector ${requests.sector[slot]!}+${requests.lengthBytes[slot]! / 512}`,
    );
  } else {
    for (let i = 0; i < volume.peerDevices.length; i++) {
      const pd = volume.peerDevices[i]!;
      if (pd.verifyRequests.length > 0) verifyTouched(res, pd, slot);
      mirror(res, pd, slot);
    }
    if (volume.hasUsableDisk) submitLocally(res, volume, slot);
    res.currentEpochWrites++;
    if (res.currentEpochWrites >= res.maxEpochSize) closeEpoch(res);
  }
  requests.holds[slot]!--;
  unwait(res, volume, slot, 1);
}

function submitLocally(res: Resource, volume: Volume, slot: number): void {
  const { requests } = res;
  requests.state[slot]! |= LOCAL.Pending;
  requests.waits[slot]!++;
  requests.holds[slot]!++;
  volume.lowerPending++;
  requests.submittedAt[slot] = res.now;
  watchDisk(res, volume);
  res.effects.push(writeEffect(requests.op[slot]!), slot, 0);
}

/** Something was written over it. */
export function writeAgain(res: Resource, volume: Volume, slot: number): void {
  res.requests.state[slot]! &= ~LOCAL.Ok;
  submitLocally(res, volume, slot);
}

/** It begins once more, as another request. Its extents are in the activity log still. */
export function beginAgain(res: Resource, volume: Volume, slot: number): void {
  const { requests } = res;
  for (const pd of volume.peerDevices) pd.connection.net[slot] = 0;
  requests.state[slot] = (requests.state[slot]! & LOCAL.InActivityLog) | LOCAL.StartsOver;
  requests.errno[slot] = 0;
  requests.generation[slot] = (requests.generation[slot]! + 1) >>> 0;
}

export const writeEffect = (op: number): (typeof EFFECT)[keyof typeof EFFECT] =>
  op === OP.Discard ? EFFECT.DiskDiscard : op === OP.WriteZeroes ? EFFECT.DiskWriteZeroes : EFFECT.DiskWrite;

function mirror(res: Resource, pd: PeerDevice, slot: number): void {
  const { requests } = res;
  const c = pd.connection;
  if (sendsOutOfSync(pd)) {
    // The bit of an earlier write may be set here only because its ack has not come.
    const isUncertain = outdateEarlier(res, pd, slot);
    return markDifferent(res, pd, requests.sector[slot]!, requests.lengthBytes[slot]!, isUncertain);
  }
  if (!replicates(pd)) {
    if (pd.keepsWrites) return keepUnsent(res, pd, slot);
    if (c.closing && hasMirror(pd)) return awaitLoss(res, pd, slot);
    return missed(res, pd, slot);
  }
  const parts = partsOf(c.apv, requests, slot);
  const isBeyond = isDiscard(requests.op[slot]!) && !takesDiscards(c);
  if (isBeyond || (parts > 1 && !c.outboxes[0].hasBulkRoom(parts * PACKET_BYTES_MAX))) {
    // The next resync brings it.
    missed(res, pd, slot);
    return res.closeLink(c, 'network-failure');
  }
  c.partsAwaited[slot] = parts > 1 ? (1 << parts) - 1 : 0;
  c.partsInSync[slot] = 0;
  const epoch = requests.epoch[slot]!;
  if (c.sentEpoch !== epoch) {
    closeSentEpoch(res, c);
    c.sentEpoch = epoch;
    c.sentEpochWrites = 0;
    c.sentEpochTurnedDown = 0;
    c.sentEpochBarrier = false;
  }
  c.sentEpochWrites += parts;
  let net = NET.Pending | NET.Queued | NET.InLog;
  let flags = 0;
  const modifiers = requests.flags[slot]!;
  // Without good data here a write that did not arrive there would be nowhere. An old peer acks as the connection says, whatever we want.
  const protocol = pd.volume.diskState === DISK.UpToDate || !hasAckFlags(c.apv) ? c.wireProtocol : 3;
  if (protocol === 2) {
    net |= NET.ExpectReceiveAck;
    flags |= DP.SEND_RECEIVE_ACK;
  } else if (protocol === 3) {
    net |= NET.ExpectWriteAck;
    flags |= DP.SEND_WRITE_ACK;
  }
  const { conn } = pd;
  if (conn >= CONN.SyncSource && conn <= CONN.PausedSyncT) flags |= DP.MAY_SET_IN_SYNC | DP.SEND_WRITE_ACK;
  if (!hasAckFlags(c.apv)) flags &= ~(DP.SEND_RECEIVE_ACK | DP.SEND_WRITE_ACK);
  if ((modifiers & REQ_FUA) !== 0) flags |= DP.FUA;
  if ((modifiers & REQ_PREFLUSH) !== 0) flags |= DP.FLUSH;
  c.net[slot] = net;
  requests.waits[slot]! += 2;
  requests.holds[slot]!++;
  c.appendToLog(slot);
  pd.applicationPending++;
  const sectors = requests.lengthBytes[slot]! >>> 9;
  c.applicationSectorsInFlight += sectors;
  pd.sectorsInFlight += sectors;
  switch (requests.op[slot]) {
    case OP.Discard:
      sendTrim(res, pd, slot, COMMAND.P_TRIM, flags | DP.DISCARD);
      break;
    case OP.WriteZeroes: {
      // DRBD 8.4 looks for a digest behind a P_ZEROES, where none is.
      if ((c.features & FF.WZEROES) === 0 || c.sendDigest !== DIGEST_NONE) sendTrim(res, pd, slot, COMMAND.P_TRIM, flags | DP.DISCARD);
      else sendTrim(res, pd, slot, COMMAND.P_ZEROES, flags | DP.ZEROES | ((modifiers & REQ_NOUNMAP) === 0 ? DP.DISCARD : 0));
      break;
    }
    default:
      sendData(res, pd, slot, flags);
  }
}

/**
 * We have closed the link, which has not come apart yet. Only then a new generation begins, without which the peer would not know
 * what it misses: until then the write counts as sent. It is marked with the rest of the transfer log.
 */
function awaitLoss(res: Resource, pd: PeerDevice, slot: number): void {
  const c = pd.connection;
  c.net[slot] = NET.Pending | NET.InLog;
  res.requests.waits[slot]!++;
  res.requests.holds[slot]!++;
  c.appendToLog(slot);
  pd.applicationPending++;
}

/**
 * The peer does not get this write: that is marked at once, so that a bitmap exchange while the local disk still works on it knows
 * (and again when it has ended: a resync may have been quicker).
 */
export function missed(res: Resource, pd: PeerDevice, slot: number): void {
  const { disk } = pd.volume;
  if (disk === undefined || pd.bitmapSlot < 0) return;
  disk.bitmap.setRange(pd.bitmapSlot, res.requests.sector[slot]!, res.requests.lengthBytes[slot]!);
  outdateEarlier(res, pd, slot);
}

/** Earlier writes to the slot's blocks whose epoch is not through must not clear their bits at its end. @returns whether there are any */
function outdateEarlier(res: Resource, pd: PeerDevice, slot: number): boolean {
  const { requests } = res;
  const c = pd.connection;
  let found = false;
  const start = requests.sector[slot]!;
  const behind = start + requests.lengthBytes[slot]! / 512;
  for (let earlier = c.logHead; earlier >= 0; earlier = c.logNext[earlier]!) {
    if (requests.volume[earlier] !== pd.volume.number) continue;
    const sector = requests.sector[earlier]!;
    if (sector >= behind || start >= sector + requests.lengthBytes[earlier]! / 512) continue;
    c.net[earlier] = c.net[earlier]! | NET.Overwritten;
    found = true;
  }
  return found;
}

/** What is still in the transfer log went to a disk that the peer may have lost since: its bitmap exchange has to name those blocks. */
export function markTransferLog(res: Resource, pd: PeerDevice): void {
  const { requests } = res;
  const c = pd.connection;
  for (let slot = c.logHead; slot >= 0; slot = c.logNext[slot]!) {
    if (requests.volume[slot] !== pd.volume.number) continue;
    c.net[slot] = c.net[slot]! | NET.Overwritten;
    pd.volume.disk?.bitmap.setRange(pd.bitmapSlot, requests.sector[slot]!, requests.lengthBytes[slot]!);
  }
}

/** The barrier of the last epoch on the wire, when it has not been sent yet. */
export function closeSentEpoch(res: Resource, c: Connection): void {
  if (c.sentEpochBarrier || c.sentEpochWrites + c.sentEpochTurnedDown === 0) return;
  c.sentEpochBarrier = true;
  if (c.sentEpochWrites > 0) c.pushOpenEpoch(c.sentEpoch, c.sentEpochWrites, c.sentEpochTurnedDown > 0);
  sendBarrier(res, c, c.sentEpoch);
}

/** A write that the peer has turned down: it does not count it in its epoch. */
export function takeOutOfEpoch(res: Resource, c: Connection, slot: number): void {
  const epoch = res.requests.epoch[slot]!;
  c.removeFromLog(slot);
  leftFlight(res, c, slot);
  const at = c.findOpenEpoch(epoch);
  if (at >= 0) {
    c.openEpochWrites[at] = c.openEpochWrites[at]! - 1;
    c.openEpochTurnedDown[at] = 1;
    dropEmptyEpochs(c);
  } else if (c.sentEpoch === epoch) {
    c.sentEpochWrites--;
    c.sentEpochTurnedDown++;
  }
  if (c.flushWaiters.length > 0) releaseFlushes(res, c);
}

/** No ack comes for an epoch all of whose writes were turned down. */
function dropEmptyEpochs(c: Connection): void {
  while (c.openEpochCount > 0 && c.openEpochWrites[c.openEpochFirst] === 0) c.dropOldestEpoch();
}

/**
 * The oldest write whose epoch the peer can be expected to ack; -1: none. A kernel DRBD never acks an epoch in which it turned a
 * write down; what else is in that has its answers, and is durable there when a later epoch is acked.
 */
export function oldestAwaited(res: Resource, c: Connection): number {
  let slot = c.logHead;
  while (slot >= 0 && (c.net[slot]! & NET.Pending) === 0) {
    const at = c.findOpenEpoch(res.requests.epoch[slot]!);
    if (at < 0 || c.openEpochTurnedDown[at] === 0) break;
    slot = c.logNext[slot]!;
  }
  return slot;
}

/** Later writes may depend on what is in the current epoch. */
export function closeEpoch(res: Resource): void {
  if (res.currentEpochWrites === 0) return;
  res.currentEpoch = (res.currentEpoch + 1) >>> 0;
  res.currentEpochWrites = 0;
  res.wantSettle();
}

/** Takes `count` references of the application's wait; completes the request with the last one. */
export function unwait(res: Resource, volume: Volume, slot: number, count: number): void {
  const left = res.requests.waits[slot]! - count;
  res.requests.waits[slot] = left;
  if (left === 0) complete(res, volume, slot);
  else if (left < 0) throw new Error(`slot ${slot}: completed twice`);
}

/** Local I/O of an application request ended. */
export function applicationDiskDone(res: Resource, slot: number, errno: number): void {
  const { requests } = res;
  const volume = res.volumes.get(requests.volume[slot]!)!;
  const op = requests.op[slot]!;
  requests.state[slot]! &= ~LOCAL.Pending;
  requests.holds[slot]!--;
  volume.lowerPending--;
  const sectors = requests.lengthBytes[slot]! >>> 9;
  if (op === OP.Read) volume.readSectors += sectors;
  else volume.writtenSectors += sectors;
  if (errno === 0) requests.state[slot]! |= LOCAL.Ok;
  else {
    requests.errno[slot] = errno;
    if (op === OP.Read) markUnreadable(volume, slot, res);
    // A discard too: the host has tried to write the zeroes by now, so that the blocks hold something else than the peer's.
    diskError(res, volume, op === OP.Flush ? 'flush' : '__req_mod');
  }
  unwait(res, volume, slot, 1);
  if ((requests.state[slot]! & LOCAL.Contested) !== 0) contestedRests(res, volume, slot);
  if (volume.diskState === DISK.Failed || volume.diskState === DISK.Detaching) maybeDiskless(res, volume);
}

/** A block that we could not read has to come back from the peer. */
function markUnreadable(volume: Volume, slot: number, res: Resource): void {
  if (volume.disk === undefined) return;
  for (const pd of volume.peerDevices) {
    if (pd.bitmapSlot >= 0) markDifferent(res, pd, res.requests.sector[slot]!, res.requests.lengthBytes[slot]!);
  }
}

/** Nothing is waited for any more: tell the application, unless completions are held back. */
export function complete(res: Resource, volume: Volume, slot: number): void {
  const { requests } = res;
  if (!res.failIo && (volume.generationWrites > 0 || volume.generationPending || res.isSuspended)) {
    return holdCompletion(res, volume, slot);
  }
  const op = requests.op[slot]!;
  if (op !== OP.Read && isToStartOver(res, volume, slot)) return startOver(res, volume, slot);
  const localOk = (requests.state[slot]! & LOCAL.Ok) !== 0;
  const isWrite = op !== OP.Read && op !== OP.Flush;
  const ok = res.failIo
    ? false
    : op === OP.Flush
      ? localOk && requests.errno[slot] === 0 && dataAccessible(volume)
      : (localOk && (!isWrite || volume.diskState === DISK.UpToDate)) || anyPeerHasIt(volume, slot, isWrite);
  if (op === OP.Read) {
    if (!ok && !res.failIo && retryRead(res, volume, slot)) return;
    finishRead(res, volume, slot, ok);
    return;
  }
  if (!ok && !res.failIo && op !== OP.Flush && freezes(res, volume, slot)) return;
  // After a crash our disk would pass for as good as the peer's, and overwrite there what it has not got itself.
  if (ok && volume.lostGenerations.length > 0 && !(isWrite && localOk)) return holdCompletion(res, volume, slot);
  requests.state[slot]! |= LOCAL.Completed;
  volume.upperPending--;
  res.effects.push(EFFECT.Complete, slot, ok ? 0 : EIO);
  if (op !== OP.Flush) {
    leaveOverlap(res, volume, slot);
    if (requests.epoch[slot] === res.currentEpoch) closeEpoch(res);
  }
  if (requests.holds[slot] === 0) destroy(res, volume, slot);
}

/** The application is told later (`releaseHeld`). */
function holdCompletion(res: Resource, volume: Volume, slot: number): void {
  // Only the application has to wait for this one, not a write of another Primary.
  const holdsRange = volume.overlap.holds(slot);
  if (holdsRange && volume.peerDevices.some((pd) => pd.connection.options['allow-two-primaries'])) leaveOverlap(res, volume, slot);
  res.requests.state[slot]! |= LOCAL.Held;
  volume.heldCompletions.push(slot);
}

/** Others may write where this one does. */
export function leaveOverlap(res: Resource, volume: Volume, slot: number): void {
  volume.overlap.leave(slot);
  if (volume.overlap.waitingCount > 0) res.wantOverlap(volume);
}

/** on-no-data-accessible suspend-io: a write that found no disk starts over when data are accessible again. */
function freezes(res: Resource, volume: Volume, slot: number): boolean {
  const { requests } = res;
  if (!res.suspNoData || requests.holds[slot] !== 0) return false;
  for (const pd of volume.peerDevices) pd.connection.net[slot] = 0;
  dropExtents(res, volume, slot);
  leaveOverlap(res, volume, slot);
  requests.state[slot] = 0;
  requests.errno[slot] = 0;
  volume.parked.push(slot);
  return true;
}

/** A copy of a write on a disk that is not good otherwise, here or there, is no success: the next resync overwrites it. */
function anyPeerHasIt(volume: Volume, slot: number, isWrite: boolean): boolean {
  for (let i = 0; i < volume.peerDevices.length; i++) {
    const pd = volume.peerDevices[i]!;
    if ((pd.connection.net[slot]! & NET.Ok) !== 0 && (!isWrite || pd.peerDisk === DISK.UpToDate)) return true;
  }
  return false;
}

/** Drops a hold; the last one after the completion ends the request. */
export function unhold(res: Resource, volume: Volume, slot: number): void {
  const left = res.requests.holds[slot]! - 1;
  res.requests.holds[slot] = left;
  if (left !== 0) return;
  if ((res.requests.state[slot]! & LOCAL.Completed) !== 0) destroy(res, volume, slot);
  else if ((res.requests.state[slot]! & LOCAL.Contested) !== 0) contestedRests(res, volume, slot);
}

/** The last thing: the bitmap learns where the two disks may differ, then the activity log may forget the extent. */
function destroy(res: Resource, volume: Volume, slot: number): void {
  const { requests } = res;
  const sector = requests.sector[slot]!;
  const length = requests.lengthBytes[slot]!;
  const isWrite = requests.op[slot] !== OP.Flush;
  const localOk = (requests.state[slot]! & LOCAL.Ok) !== 0;
  const disk = volume.disk;
  for (let i = 0; i < volume.peerDevices.length; i++) {
    const pd = volume.peerDevices[i]!;
    const net = pd.connection.net[slot]!;
    const inSync = pd.connection.partsInSync[slot]!;
    pd.connection.net[slot] = 0;
    pd.connection.partsInSync[slot] = 0;
    if (pd.targetIsThrough) res.wantSettle();
    if (!isWrite || disk === undefined || pd.bitmapSlot < 0) continue;
    if (!localOk || (net & NET.Ok) === 0) markDifferent(res, pd, sector, length);
    else if (inSync !== 0 && (net & NET.Overwritten) === 0) partsClear(pd, slot, inSync, res);
    else if ((net & (NET.SetInSync | NET.Overwritten)) === NET.SetInSync) disk.bitmap.clearRange(pd.bitmapSlot, sector, length);
  }
  dropExtents(res, volume, slot);
  requests.release(slot);
}

/** Clears the bits of those parts of a write that its peer has in sync. */
function partsClear({ volume, bitmapSlot }: PeerDevice, slot: number, parts: number, { requests }: Resource): void {
  const length = requests.lengthBytes[slot]!;
  for (let part = 0, from = 0; from < length; part++, from += PART_BYTES) {
    if ((parts & (1 << part)) === 0) continue;
    volume.disk!.bitmap.clearRange(bitmapSlot, requests.sector[slot]! + from / 512, Math.min(PART_BYTES, length - from));
  }
}

/** The disk and its activity log are gone: a write that goes on needs the extents of the next one. */
export function forgetExtents(res: Resource, volume: Volume): void {
  const { requests } = res;
  for (let slot = 0; slot < requests.capacity; slot++) {
    if (requests.volume[slot] !== volume.number) continue;
    if (slot < requests.applicationSlots) requests.state[slot]! &= ~LOCAL.InActivityLog;
    else if (peerKind(res, slot) === PEER.MirroredWrite) requests.state[slot]! &= ~PEER_IN_AL;
  }
}

function dropExtents(res: Resource, volume: Volume, slot: number): void {
  const { requests } = res;
  if ((requests.state[slot]! & LOCAL.InActivityLog) === 0 || volume.disk === undefined) return;
  const sector = requests.sector[slot]!;
  const last = Math.floor((sector + requests.lengthBytes[slot]! / 512 - 1) / 8192);
  volume.disk.activityLog.dereference(Math.floor(sector / 8192), last);
  if (volume.alQueue.length > 0) res.wantActivityLog(volume);
}

/** Entry of the data outbox with an application write has been handed over to the kernel completely. */
export function writeHandedOver(res: Resource, c: Connection, slot: number): void {
  const net = c.net[slot]!;
  if ((net & NET.Queued) === 0) return;
  const volume = res.volumes.get(res.requests.volume[slot]!)!;
  let drop = 1;
  let next = net & ~NET.Queued;
  if ((next & NET.Pending) !== 0 && (next & (NET.ExpectReceiveAck | NET.ExpectWriteAck)) === 0) {
    // Protocol A: handed over is as good as it gets.
    next = (next & ~NET.Pending) | NET.Ok;
    pendingDone(volume, c);
    drop = 2;
  }
  c.net[slot] = next;
  unwait(res, volume, slot, drop);
  if ((res.requests.state[slot]! & LOCAL.Contested) !== 0) contestedRests(res, volume, slot);
}

function pendingDone(volume: Volume, c: Connection): void {
  for (let i = 0; i < volume.peerDevices.length; i++) {
    const pd = volume.peerDevices[i]!;
    if (pd.connection === c) pd.applicationPending--;
  }
}

/** An ack for a write: `ok` or refused by the peer's disk. */
export function writeAnswered(res: Resource, pd: PeerDevice, slot: number, ok: boolean, setInSync: boolean): void {
  const c = pd.connection;
  let net = c.net[slot]!;
  net = ok ? net | NET.Ok : net & ~NET.Ok;
  if (setInSync) net |= NET.SetInSync;
  const wasPending = (net & NET.Pending) !== 0;
  c.net[slot] = net & ~NET.Pending;
  if (!wasPending) return;
  if (c.turnedDown.length > 0) ownAnswered(res, c, slot);
  pd.applicationPending--;
  unwait(res, pd.volume, slot, 1);
}

/** The same for a part of a write: the write is answered when all of them are. */
export function partAnswered(res: Resource, pd: PeerDevice, slot: number, part: number, ok: boolean, setInSync: boolean): void {
  const c = pd.connection;
  c.partsAwaited[slot]! &= ~(1 << part);
  if (setInSync) c.partsInSync[slot]! |= 1 << part;
  if (!ok) c.net[slot]! |= NET.PartFailed;
  const net = c.net[slot]!;
  if ((net & NET.Pending) === 0 || c.partsAwaited[slot] === 0) writeAnswered(res, pd, slot, (net & NET.PartFailed) === 0, false);
}

/**
 * The peer has finished an epoch.
 * @returns undefined, or the text of the protocol error
 */
export function barrierAcked(res: Resource, c: Connection, barrier: number, setSize: number): string | undefined {
  while (
    c.openEpochNumber[c.openEpochFirst] !== barrier &&
    c.openEpochTurnedDown[c.openEpochFirst] !== 0 &&
    c.findOpenEpoch(barrier) >= 0
  ) {
    if (lacksAcks(res, c)) return ackedTooEarly(barrier);
    epochEnded(res, c);
  }
  if (c.openEpochCount === 0) return `BAD! BarrierAck #${barrier} received, but no epoch in tl!?`;
  const number = c.openEpochNumber[c.openEpochFirst]!;
  const writes = c.openEpochWrites[c.openEpochFirst]!;
  if (number !== barrier) return `BAD! BarrierAck #${barrier} received, expected #${number}!`;
  if (writes !== setSize) return `BAD! BarrierAck #${barrier} received with n_writes=${setSize}, expected n_writes=${writes}!`;
  if (lacksAcks(res, c)) return ackedTooEarly(barrier);
  epochEnded(res, c);
  if (c.flushWaiters.length > 0) releaseFlushes(res, c);
  for (let i = 0; i < c.peerDevices.length; i++) if (c.peerDevices[i]!.conn === CONN.Ahead) maybeCatchUp(res, c.peerDevices[i]!);
  return undefined;
}

/** A write of the oldest epoch has no ack of its own: that has to come before the epoch's. */
function lacksAcks(res: Resource, c: Connection): boolean {
  const number = c.openEpochNumber[c.openEpochFirst]!;
  for (let slot = c.logHead; slot >= 0 && res.requests.epoch[slot] === number; slot = c.logNext[slot]!) {
    const net = c.net[slot]!;
    if ((net & NET.Pending) !== 0 && (net & (NET.ExpectReceiveAck | NET.ExpectWriteAck)) !== 0) return true;
  }
  return false;
}

const ackedTooEarly = (barrier: number): string => `BAD! BarrierAck #${barrier} received, but a write of it has no ack!`;

/** The write is not in the transfer log any more. */
function leftFlight(res: Resource, c: Connection, slot: number): void {
  const sectors = res.requests.lengthBytes[slot]! >>> 9;
  c.applicationSectorsInFlight -= sectors;
  const pd = res.peerDevice(c, res.requests.volume[slot]!);
  if (pd !== undefined) pd.sectorsInFlight -= sectors;
}

/** The oldest epoch is durable on the peer. */
function epochEnded(res: Resource, c: Connection): void {
  const number = c.openEpochNumber[c.openEpochFirst]!;
  c.dropOldestEpoch();
  dropEmptyEpochs(c);
  while (c.logHead >= 0 && res.requests.epoch[c.logHead] === number) {
    const slot = c.takeFromLog();
    c.net[slot] = (c.net[slot]! & ~NET.InLog) | NET.Done;
    leftFlight(res, c, slot);
    unhold(res, res.volumes.get(res.requests.volume[slot]!)!, slot);
  }
}

/** The connection is gone: whatever was not barrier-acked counts as not on the peer's disk. */
export function clearTransferLog(res: Resource, c: Connection): void {
  // Nobody knows any more whether these are durable anywhere.
  for (const slot of c.flushWaiters) res.requests.errno[slot] = EIO;
  while (c.logHead >= 0) {
    const slot = c.takeFromLog();
    const volume = res.volumes.get(res.requests.volume[slot]!)!;
    const net = c.net[slot]!;
    c.net[slot] = NET.Done;
    if ((net & NET.Pending) !== 0) pendingDone(volume, c);
    for (let i = 0; i < volume.peerDevices.length; i++) {
      if (volume.peerDevices[i]!.connection === c) missed(res, volume.peerDevices[i]!, slot);
    }
    const waits = ((net & NET.Pending) !== 0 ? 1 : 0) + ((net & NET.Queued) !== 0 ? 1 : 0);
    // The hold goes first, so that a completion in unwait can end the request.
    res.requests.holds[slot]!--;
    if (waits > 0) unwait(res, volume, slot, waits);
    else if (res.requests.holds[slot] === 0 && (res.requests.state[slot]! & LOCAL.Completed) !== 0) destroy(res, volume, slot);
  }
  releaseFlushes(res, c);
  c.sentEpoch = -1;
  c.sentEpochWrites = 0;
  c.sentEpochTurnedDown = 0;
  c.sentEpochBarrier = true;
  c.openEpochCount = 0;
  c.applicationSectorsInFlight = 0;
  for (let i = 0; i < c.peerDevices.length; i++) c.peerDevices[i]!.sectorsInFlight = 0;
  for (let slot = 0; slot < res.requests.applicationSlots; slot++) {
    const net = c.net[slot]!;
    if ((net & NET.Read) === 0) {
      // Durable there, only the end of sending it was not told any more.
      if ((net & NET.Queued) !== 0 && (res.requests.state[slot]! & LOCAL.Contested) === 0) writeHandedOver(res, c, slot);
      continue;
    }
    c.net[slot] = 0;
    const volume = res.volumes.get(res.requests.volume[slot]!)!;
    pendingDone(volume, c);
    unwait(res, volume, slot, 1);
  }
}

/** The disk has failed: writes that wait for the activity log go on without it. */
export function failPending(res: Resource, volume: Volume): void {
  res.wantActivityLog(volume);
  maybeDiskless(res, volume);
}

/** What held completions or parked requests back may be over. */
export function releaseHeld(res: Resource, volume: Volume): void {
  const isHolding = volume.generationWrites > 0 || volume.generationPending || res.isSuspended;
  if ((res.failIo || !isHolding) && volume.heldCompletions.length > 0) {
    for (const slot of volume.heldCompletions.splice(0)) {
      res.requests.state[slot]! &= ~LOCAL.Held;
      complete(res, volume, slot);
    }
  }
  while (volume.parked.length > 0 && mayStart(res, volume)) start(res, volume, volume.parked.shift()!);
}
