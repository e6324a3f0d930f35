/** Slots used on behalf of a peer: what kind of work they are, how they are taken and given back. */
import type { Connection } from './connection.js';
import { EFFECT } from './effects.js';
import type { Resource } from './resource.js';

/** Kind of a peer request, low bits of its `state`; the dp_flags of a mirrored write stand above. */
export const PEER = {
  MirroredWrite: 1,
  RemoteRead: 2,
  ResyncRead: 3,
  ResyncRequest: 4,
  ResyncWrite: 5,
  /** A block of ours is read for its checksum, before it is requested. */
  ChecksumRead: 6,
  /** VerifyS: to be asked for; asked for; our own is read for comparison. */
  VerifyWait: 7,
  VerifyRequest: 8,
  VerifyCompare: 9,
  /** VerifyT: to be read; answered, and the result is awaited. */
  VerifyRead: 10,
  VerifyAnswer: 11,
} as const;
/** The write has its extents in the activity log. */
export const PEER_IN_AL = 16;
export const PEER_HAS_BUFFER = 32;
/** The request went out with a checksum: the peer may say that the block is equal. */
export const PEER_CHECKSUM = 64;
/** A verify does not compare it: it may have been written to meanwhile. */
export const PEER_SKIP = 128;
/** The peer had no disk when it sent this write: it will miss it. */
export const PEER_LACKS = 256;
const KIND_MASK = 15;
export const PEER_FLAGS_SHIFT = 9;

export const peerKind = (res: Resource, slot: number): number => res.requests.state[slot]! & KIND_MASK;
/** The slot is in another stage of its work now. */
export function setPeerKind(res: Resource, slot: number, kind: number): void {
  res.requests.state[slot] = (res.requests.state[slot]! & ~KIND_MASK) | kind;
}
export const peerFlags = (res: Resource, slot: number): number => res.requests.state[slot]! >>> PEER_FLAGS_SHIFT;

/** @returns a slot with its columns filled, or -1 when there is none: stop reading the stream */
export function acquirePeerSlot(
  res: Resource,
  c: Connection,
  volume: number,
  kind: number,
  sector: number,
  lengthBytes: number,
  idHigh: number,
  idLow: number,
): number {
  const { requests } = res;
  const slot = requests.acquirePeer();
  if (slot < 0) return -1;
  requests.volume[slot] = volume;
  requests.state[slot] = kind;
  requests.flags[slot] = 0;
  requests.sector[slot] = sector;
  requests.lengthBytes[slot] = lengthBytes;
  requests.connection[slot] = c.index;
  requests.blockIdHigh[slot] = idHigh;
  requests.blockIdLow[slot] = idLow;
  requests.startedAt[slot] = res.now;
  c.peerSlots++;
  return slot;
}

export function allocateBuffer(res: Resource, slot: number): void {
  res.requests.state[slot]! |= PEER_HAS_BUFFER;
  res.effects.push(EFFECT.AllocateBuffer, slot, res.requests.lengthBytes[slot]!);
}

/** Gives the buffer back before the slot: nothing is in it that is still needed. */
export function freeBuffer(res: Resource, slot: number): void {
  res.requests.state[slot]! &= ~PEER_HAS_BUFFER;
  res.effects.push(EFFECT.FreeBuffer, slot, 0);
}

export function releasePeerSlot(res: Resource, slot: number): void {
  const c = res.connections[res.requests.connection[slot]!]!;
  if ((res.requests.state[slot]! & PEER_HAS_BUFFER) !== 0) res.effects.push(EFFECT.FreeBuffer, slot, 0);
  res.requests.release(slot);
  c.peerSlots--;
  for (const other of res.connections) if (other?.stalled === true) res.resumeReceive(other);
  if (c.peerSlots === 0 && c.drained) res.wantSettle();
}
