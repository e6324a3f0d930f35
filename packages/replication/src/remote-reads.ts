/** Reads of a peer's application that we serve: a diskless Primary, or read balancing (P_DATA_REQUEST). */
import { COMMAND } from '@udrbd/wire';
import { diskError, maybeDiskless } from './disk-errors.js';
import { EFFECT } from './effects.js';
import { mayReadForPeer } from './mirrored-writes.js';
import { sendBlockAck, sendBlockReply } from './packets.js';
import type { PeerDevice } from './peer-device.js';
import { acquirePeerSlot, allocateBuffer, PEER, releasePeerSlot } from './peer-requests.js';
import { OP } from './requests.js';
import type { Resource } from './resource.js';
import { DISK } from './state-view.js';

/** @returns false when no slot is free */
export function serveRead(res: Resource, pd: PeerDevice, sector: number, lengthBytes: number, idHigh: number, idLow: number): boolean {
  const { volume } = pd;
  if (volume.diskState !== DISK.UpToDate || volume.disk === undefined) {
    sendBlockAck(res, pd, COMMAND.P_NEG_DREPLY, sector, idHigh, idLow, lengthBytes);
    return true;
  }
  const slot = acquirePeerSlot(res, pd.connection, volume.number, PEER.RemoteRead, sector, lengthBytes, idHigh, idLow);
  if (slot < 0) return false;
  readForPeer(res, pd, slot);
  return true;
}

/** Has the blocks of a slot read for the peer, as soon as no write that has to come first is under way to them. */
export function readForPeer(res: Resource, pd: PeerDevice, slot: number): void {
  res.requests.op[slot] = OP.Read;
  allocateBuffer(res, slot);
  pd.unacked++;
  if (mayReadForPeer(res, pd, slot)) readRunnable(res, pd, slot);
}

/** No write is under way to these blocks; those that come now wait until the reply is queued. */
export function readRunnable(res: Resource, pd: PeerDevice, slot: number): void {
  pd.volume.lowerPending++;
  res.effects.push(EFFECT.DiskRead, slot, 0);
}

/** Counts a read for the peer, and lets the writes go on that waited for it. */
export function readForPeerEnded(res: Resource, { volume }: PeerDevice, slot: number): void {
  volume.lowerPending--;
  volume.readSectors += res.requests.lengthBytes[slot]! / 512;
  volume.overlap.leave(slot);
  if (volume.overlap.waitingCount > 0) res.wantOverlap(volume);
}

export function remoteReadDone(res: Resource, pd: PeerDevice, slot: number, errno: number): void {
  const { requests } = res;
  const { volume } = pd;
  const sector = requests.sector[slot]!;
  const length = requests.lengthBytes[slot]!;
  readForPeerEnded(res, pd, slot);
  if (pd.unacked > 0) pd.unacked--;
  if (!pd.connection.isUp) releasePeerSlot(res, slot);
  else if (errno === 0) sendBlockReply(res, pd, COMMAND.P_DATA_REPLY, slot);
  else {
    sendBlockAck(res, pd, COMMAND.P_NEG_DREPLY, sector, requests.blockIdHigh[slot]!, requests.blockIdLow[slot]!, length);
    releasePeerSlot(res, slot);
  }
  if (errno !== 0) diskError(res, volume, 'drbd_endio_read_sec_final');
  if (volume.diskState === DISK.Failed || volume.diskState === DISK.Detaching) maybeDiskless(res, volume);
}
