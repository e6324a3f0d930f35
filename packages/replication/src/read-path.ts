/** Application reads: from the local disk where it is good, else from a peer (replication semantics: read path). */
import { type Connection, NET } from './connection.js';
import { PART_BYTES, partsOf } from './dialect.js';
import { watchDisk } from './disk-timeout.js';
import { EFFECT } from './effects.js';
import { sendReadRequest } from './packets.js';
import type { PeerDevice } from './peer-device.js';
import type { Resource } from './resource.js';
import { CONN, DISK } from './state-view.js';
import type { Volume } from './volume.js';
import { EIO, LOCAL, unwait } from './write-path.js';

export function startRead(res: Resource, volume: Volume, slot: number): void {
  const local = mayReadLocally(res, volume, slot);
  const remote = remoteCandidate(volume);
  if (local && (remote === undefined || !prefersRemote(volume, remote, res.requests.sector[slot]!))) return readLocally(res, volume, slot);
  if (remote !== undefined) return readRemotely(res, remote, slot);
  res.logRateLimited(
    'err',
    volume,
    `IO ERROR: neither local nor remote data, sector ${res.requests.sector[slot]!}+${res.requests.lengthBytes[slot]! / 512}`,
  );
  finishRead(res, volume, slot, false);
}

function mayReadLocally(res: Resource, volume: Volume, slot: number): boolean {
  if (volume.diskState === DISK.UpToDate) return volume.disk !== undefined;
  if (volume.diskState !== DISK.Inconsistent || volume.disk === undefined) return false;
  const { bitmap } = volume.disk;
  for (let i = 0; i < volume.peerDevices.length; i++) {
    const bit = volume.peerDevices[i]!.bitmapSlot;
    if (bit < 0 || bitmap.testRange(bit, res.requests.sector[slot]!, res.requests.lengthBytes[slot]!)) return false;
  }
  return volume.peerDevices.length > 0;
}

function remoteCandidate(volume: Volume): PeerDevice | undefined {
  for (let i = 0; i < volume.peerDevices.length; i++) {
    const pd = volume.peerDevices[i]!;
    if (pd.peerDisk === DISK.UpToDate && pd.connection.isUp && pd.conn >= CONN.Connected && pd.connection.options['allow-remote-read'])
      return pd;
  }
  return undefined;
}

/** read-balancing, when both are possible. */
function prefersRemote(volume: Volume, pd: PeerDevice, sector: number): boolean {
  const policy = volume.disk!.options['read-balancing'];
  switch (policy) {
    case 'prefer-local':
    case 'when-congested-remote':
      return false;
    case 'prefer-remote':
      return true;
    case 'round-robin':
      volume.roundRobin ^= 1;
      return volume.roundRobin === 1;
    case 'least-pending':
      return volume.lowerPending > pd.applicationPending + pd.resyncPending;
    default: {
      const stripeSectors = (policy === '1M-striping' ? 1024 : Number.parseInt(policy, 10)) * 2;
      return Math.floor(sector / stripeSectors) % 2 === 1;
    }
  }
}

function readLocally(res: Resource, volume: Volume, slot: number): void {
  const { requests } = res;
  requests.state[slot]! |= LOCAL.Pending;
  requests.waits[slot] = 1;
  requests.holds[slot] = 1;
  volume.lowerPending++;
  requests.submittedAt[slot] = res.now;
  watchDisk(res, volume);
  res.effects.push(EFFECT.DiskRead, slot, 0);
}

function readRemotely(res: Resource, pd: PeerDevice, slot: number): void {
  const { requests } = res;
  requests.waits[slot] = 1;
  requests.holds[slot] = 0;
  const c = pd.connection;
  c.net[slot] = NET.Pending | NET.Read;
  c.partsRead[slot] = 0;
  pd.applicationPending++;
  requestPart(res, pd, slot);
}

/** Bytes of the part of a read that is asked for, or comes, next. */
export function nextPartBytes(res: Resource, c: Connection, slot: number): number {
  const length = res.requests.lengthBytes[slot]!;
  return partsOf(c.apv, res.requests, slot) === 1 ? length : Math.min(PART_BYTES, length - c.partsRead[slot]! * PART_BYTES);
}

function requestPart(res: Resource, pd: PeerDevice, slot: number): void {
  const c = pd.connection;
  sendReadRequest(res, pd, slot, c.partsRead[slot]! * PART_BYTES, nextPartBytes(res, c, slot));
}

/** A part of a read has come. */
export function partRead(res: Resource, pd: PeerDevice, slot: number): void {
  const c = pd.connection;
  c.partsRead[slot]!++;
  if (c.partsRead[slot]! < partsOf(c.apv, res.requests, slot)) return requestPart(res, pd, slot);
  c.net[slot] = (c.net[slot]! & ~(NET.Pending | NET.Read)) | NET.Ok | NET.Done;
  pd.applicationPending--;
  unwait(res, pd.volume, slot, 1);
}

/** A read came to nothing: try again elsewhere. @returns false when there is nowhere else */
export function retryRead(res: Resource, volume: Volume, slot: number): boolean {
  if (mayReadLocally(res, volume, slot) && res.requests.errno[slot] === 0) {
    readLocally(res, volume, slot);
    return true;
  }
  const remote = remoteCandidate(volume);
  if (remote !== undefined) {
    readRemotely(res, remote, slot);
    return true;
  }
  if (res.options['on-no-data-accessible'] === 'suspend-io' && res.suspNoData) {
    volume.parked.push(slot);
    return true;
  }
  return false;
}

export function finishRead(res: Resource, volume: Volume, slot: number, ok: boolean): void {
  volume.upperPending--;
  res.effects.push(EFFECT.Complete, slot, ok ? 0 : EIO);
  for (let i = 0; i < volume.peerDevices.length; i++) volume.peerDevices[i]!.connection.net[slot] = 0;
  res.requests.release(slot);
}
