/**
 * Two Primaries write to the same blocks at the same time (replication semantics: dual primary; DRBD 8.4, handle_write_conflicts).
 *
 * Each node starts its own write and sends it at once, so that two of them can cross on the wire. The node that accepted the meta
 * stream, the resolver, decides when the peer's write comes in while its own has no answer yet:
 *
 * | the peer's write | the resolver | the other node, whose write it is |
 * |---|---|---|
 * | lies within the resolver's own | drops it, P_SUPERSEDED | counts it as done, then writes the resolver's over it |
 * | overlaps otherwise | drops it, P_RETRY_WRITE | lets the resolver's pass, then writes and sends its own again |
 * | the same, of a kernel DRBD | writes it, then its own once more (`write-beneath.ts`) | writes the resolver's over it |
 *
 * The other node holds the resolver's write back until its own is answered. So whoever has an ack for its own write knows that what
 * comes from the peer afterwards was begun after it: that is no conflict, it only waits for the local disk. For this to hold the
 * resolver takes a data packet only when all acks that the peer sent before it have come; both count in one sequence.
 */
import { COMMAND } from '@udrbd/wire';
import { type Connection, NET } from './connection.js';
import { keepContested } from './kept-writes.js';
import { sendBarrierAck } from './packets.js';
import type { PeerDevice } from './peer-device.js';
import { PEER, peerKind } from './peer-requests.js';
import type { Resource } from './resource.js';
import { ROLE } from './state-view.js';
import type { Volume } from './volume.js';
import { writeBeneath } from './write-beneath.js';
import { beginAgain, closeEpoch, LOCAL, missed, takeOutOfEpoch, unwait } from './write-path.js';

/** A write of ours that the peer turned down, and that waits for the one which the peer preferred. */
export interface Contested {
  readonly slot: number;
  /** To be written and sent again; else superseded, and done as soon as what replaces it has come. */
  isRetry: boolean;
  /** It has waited long enough for the other write. */
  isDue: boolean;
}

// --- order of data and acks ----------------------------------------------------------------------------------------------

const isAfter = (a: number, b: number): boolean => ((a - b) | 0) > 0;

/** @returns whether everything that the peer numbered before this data packet has come; it is offered again otherwise */
export function isInTurn(res: Resource, pd: PeerDevice, seq: number): boolean {
  const c = pd.connection;
  if (!c.resolveConflicts || !c.options['allow-two-primaries'] || !isAfter(seq - 1, pd.peerSeq)) {
    c.acksMissingSince = Number.POSITIVE_INFINITY;
    return true;
  }
  if (c.acksMissingSince === Number.POSITIVE_INFINITY) c.acksMissingSince = res.now;
  return false;
}

export function dataSeen(pd: PeerDevice, seq: number): void {
  if (isAfter(seq, pd.peerSeq)) pd.peerSeq = seq;
}

export function ackSeen(res: Resource, pd: PeerDevice, seq: number): void {
  dataSeen(pd, seq);
  const c = pd.connection;
  if (c.acksMissingSince !== Number.POSITIVE_INFINITY && c.stalled) res.resumeReceive(c);
}

// --- the resolver --------------------------------------------------------------------------------------------------------

export const WRITTEN_BENEATH = -1;

/**
 * @returns the answer that turns a mirrored write down; 0: it is to be written, when nothing is in its way any more;
 *   WRITTEN_BENEATH: so it is, in its own way
 */
export function judgeConflict(res: Resource, pd: PeerDevice, slot: number): number {
  // Apart from the rest, whose functions would cost memory on the heap at every write.
  return res.role === ROLE.Primary ? judgeCrossing(res, pd, slot) : 0;
}

function judgeCrossing(res: Resource, pd: PeerDevice, slot: number): number {
  const { requests } = res;
  const { volume, connection: c } = pd;
  const crossing: number[] = [];
  volume.overlap.findHolder(slot, requests.applicationSlots, (holder) => {
    if ((c.net[holder]! & NET.Pending) !== 0) crossing.push(holder);
    return false;
  });
  const own = crossing[0];
  if (own === undefined) return 0;
  const [sector, lengthBytes] = [requests.sector[slot]!, requests.lengthBytes[slot]!];
  const [ownSector, ownBytes] = [requests.sector[own]!, requests.lengthBytes[own]!];
  const isCovered = ownSector <= sector && sector + lengthBytes / 512 <= ownSector + ownBytes / 512;
  if (sector !== ownSector || lengthBytes !== ownBytes) {
    const first = c.resolveConflicts ? `, assuming ${isCovered ? 'local' : 'remote'} came first` : '';
    const ranges = `local=${ownSector}s +${ownBytes}, remote=${sector}s +${lengthBytes}`;
    res.logRateLimited('err', volume, `Concurrent writes detected: ${ranges}${first}`);
  }
  if (!c.resolveConflicts) return 0;
  if (!isCovered && c.isPeerGenuine) {
    writeBeneath(res, pd, slot, crossing);
    return WRITTEN_BENEATH;
  }
  c.turnedDown.push({ epoch: requests.epoch[slot]!, own, isRetry: !isCovered, volume: volume.number, sector, lengthBytes });
  return isCovered ? COMMAND.P_SUPERSEDED : COMMAND.P_RETRY_WRITE;
}

/** The peer has answered a write of ours: it is past those that we turned down for it, and about to send again what it has to. */
export function ownAnswered(res: Resource, c: Connection, own: number): void {
  for (const entry of c.turnedDown.filter((other) => other.own === own)) {
    if (!entry.isRetry) forgetTurnedDown(res, c, entry);
    else res.later(c.options['ping-timeout'] * 100, () => forgetTurnedDown(res, c, entry));
  }
}

/** A mirrored write begins: maybe one that comes for the second time. */
export function maybeSentAgain(res: Resource, pd: PeerDevice, sector: number, lengthBytes: number): void {
  const c = pd.connection;
  const entry = c.turnedDown.find(
    (other) => other.isRetry && other.volume === pd.volume.number && other.sector === sector && other.lengthBytes === lengthBytes,
  );
  if (entry !== undefined) forgetTurnedDown(res, c, entry);
}

function forgetTurnedDown(res: Resource, c: Connection, entry: Connection['turnedDown'][number]): void {
  const at = c.turnedDown.indexOf(entry);
  if (at < 0) return;
  c.turnedDown.splice(at, 1);
  sendDueBarrierAcks(res, c);
  if (c.stalled && remembersLittle(res, c)) res.resumeReceive(c);
}

/** Whether another write of the peer may come: it can let us remember only as much as it can have under way, and waits then. */
export function remembersLittle({ requests }: Resource, c: Connection): boolean {
  return Math.max(c.turnedDown.length, c.dueBarrierAcks.length) < requests.capacity - requests.applicationSlots;
}

/**
 * An epoch is through. A kernel DRBD counts a write that was turned down until it has ended there, so that the ack of its epoch
 * waits for that; later ones wait behind it.
 */
export function barrierAckDue(res: Resource, c: Connection, epoch: number, barrier: number, size: number): void {
  if (size === 0) return;
  if (c.turnedDown.length === 0 && c.dueBarrierAcks.length === 0) return sendBarrierAck(res, c, barrier, size);
  c.dueBarrierAcks.push({ epoch, barrier, size });
  sendDueBarrierAcks(res, c);
}

function sendDueBarrierAcks(res: Resource, c: Connection): void {
  while (c.isUp && c.dueBarrierAcks.length > 0) {
    const due = c.dueBarrierAcks[0]!;
    if (c.turnedDown.some(({ epoch }) => epoch === due.epoch)) return;
    c.dueBarrierAcks.shift();
    sendBarrierAck(res, c, due.barrier, due.size);
  }
}

// --- the other node ------------------------------------------------------------------------------------------------------

/** P_SUPERSEDED, P_RETRY_WRITE: the peer has a write of its own where this one of ours goes. */
export function writeTurnedDown(res: Resource, pd: PeerDevice, slot: number, isRetry: boolean): void {
  const { requests } = res;
  const { volume, connection: c } = pd;
  takeOutOfEpoch(res, c, slot);
  c.net[slot] = c.net[slot]! & NET.Queued;
  pd.applicationPending--;
  requests.holds[slot]!--;
  requests.state[slot]! |= LOCAL.Contested;
  if (requests.epoch[slot] === res.currentEpoch) closeEpoch(res);
  const entry: Contested = { slot, isRetry, isDue: false };
  pd.contested.push(entry);
  if (!isRetry && (!volume.hasUsableDisk || isReplaced(res, pd, slot))) return superseded(res, pd, entry);
  // The peer's write is on its way, in a stream of its own. A kernel may have had our ack for it when it turned ours down, while its
  // disk still worked on it: then none comes, and the last write is ours.
  res.later(c.options['ping-timeout'] * 100, () => {
    if (!pd.contested.includes(entry)) return;
    entry.isRetry = true;
    entry.isDue = true;
    contestedRests(res, volume, slot);
  });
  contestedRests(res, volume, slot);
}

/** Whether the write that replaces ours on the peer has come; it waits for ours to end. */
function isReplaced(res: Resource, pd: PeerDevice, slot: number): boolean {
  const { requests } = res;
  const end = requests.sector[slot]! + requests.lengthBytes[slot]! / 512;
  for (let other = requests.applicationSlots; other < requests.capacity; other++) {
    if (peerKind(res, other) !== PEER.MirroredWrite || requests.volume[other] !== pd.volume.number) continue;
    if (requests.connection[other] !== pd.connection.index || requests.sector[other]! > requests.sector[slot]!) continue;
    if (end <= requests.sector[other]! + requests.lengthBytes[other]! / 512) return true;
  }
  return false;
}

function superseded(res: Resource, pd: PeerDevice, entry: Contested): void {
  const { slot } = entry;
  pd.contested.splice(pd.contested.indexOf(entry), 1);
  res.requests.state[slot]! &= ~LOCAL.Contested;
  pd.connection.net[slot]! |= NET.Ok | NET.Done;
  unwait(res, pd.volume, slot, 1);
}

/** A mirrored write has come: maybe the one that replaces some of ours. */
export function maybeReplaces(res: Resource, pd: PeerDevice): void {
  for (const entry of [...pd.contested]) if (!entry.isRetry && isReplaced(res, pd, entry.slot)) superseded(res, pd, entry);
}

/** Something that the write waited for has ended: once nothing of it is under way, the peer's write may pass. */
export function contestedRests(res: Resource, volume: Volume, slot: number): void {
  for (const pd of volume.peerDevices) {
    const entry = pd.contested.find((other) => other.slot === slot);
    if (entry === undefined || !entry.isRetry || !isAtRest(res, volume, slot)) continue;
    if (volume.overlap.holds(slot)) {
      volume.overlap.yield(slot);
      res.wantOverlap(volume);
    }
    if (entry.isDue) startOver(res, pd, entry);
    return;
  }
}

function isAtRest(res: Resource, volume: Volume, slot: number): boolean {
  if (res.requests.holds[slot] !== 0 || (res.requests.state[slot]! & LOCAL.Pending) !== 0) return false;
  return volume.peerDevices.every((pd) => (pd.connection.net[slot]! & NET.Queued) === 0);
}

/** A mirrored write has ended: what waited for it is written again. */
export function conflictEnded(res: Resource, pd: PeerDevice, mirrored: number): void {
  const { requests } = res;
  const sector = requests.sector[mirrored]!;
  const end = sector + requests.lengthBytes[mirrored]! / 512;
  for (const entry of [...pd.contested]) {
    const start = requests.sector[entry.slot]!;
    if (!entry.isRetry || start >= end || sector >= start + requests.lengthBytes[entry.slot]! / 512) continue;
    if (isAtRest(res, pd.volume, entry.slot)) startOver(res, pd, entry);
  }
}

/** It holds its range again when it is its turn. */
function startOver(res: Resource, pd: PeerDevice, entry: Contested): void {
  const { slot } = entry;
  pd.contested.splice(pd.contested.indexOf(entry), 1);
  beginAgain(res, pd.volume, slot);
  pd.volume.overlap.resume(slot);
  res.wantOverlap(pd.volume);
}

/** The link is gone: nobody will tell whose write was the last one. */
export function abandonContested(res: Resource, pd: PeerDevice): void {
  const { requests } = res;
  for (const { slot } of pd.contested.splice(0)) {
    const isQueued = (pd.connection.net[slot]! & NET.Queued) !== 0;
    requests.state[slot]! &= ~LOCAL.Contested;
    if (pd.volume.overlap.forget(slot)) res.wantOverlap(pd.volume);
    if (pd.keepsWrites) {
      keepContested(res, pd, slot);
      continue;
    }
    pd.connection.net[slot] = NET.Done;
    missed(res, pd, slot);
    unwait(res, pd.volume, slot, isQueued ? 2 : 1);
  }
}
