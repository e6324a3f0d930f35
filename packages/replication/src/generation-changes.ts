/** Changes of the data generation of a volume: kept in its meta-data, made durable before anything depends on them. */
import { formatGenerations, type Generations, newCurrent, uuidEqual, withPrimaryBit } from './generations.js';
import { markMetaDataDirty, syncMetaData } from './meta-data-io.js';
import { releaseMirroredWrites } from './mirrored-writes.js';
import { isConnected, sendUuids } from './packets.js';
import type { PeerDevice } from './peer-device.js';
import { peerMetaData } from './peer-meta-data.js';
import type { Resource } from './resource.js';
import { CONN, DISK, ROLE } from './state-view.js';
import type { Volume } from './volume.js';
import { releaseHeld } from './write-path.js';

/** Puts a set of generations back into the meta-data; the history keeps its 32 entries. */
export function keepGenerations(res: Resource, volume: Volume, pd: PeerDevice, g: Generations): void {
  const md = volume.disk!.metaData;
  const history = md.history_uuids;
  if (g.history[0] !== history[0] || g.history[1] !== history[1]) {
    if (g.history[1] === history[0]) {
      history.unshift(g.history[0]);
      history.length = 32;
    } else {
      history[0] = g.history[0];
      history[1] = g.history[1];
    }
  }
  md.current_uuid = withPrimaryBit(g.current, res.role === ROLE.Primary);
  peerMetaData(md, pd.connection.peerNodeId).bitmap_uuid = g.bitmap;
  volume.exposeOwn();
  markMetaDataDirty(res, volume);
}

/**
 * Starts a new data generation: absent peers' bitmaps are relative to the old one from now on. Nothing that depends on the
 * new generation starts or completes before its super block is durable (invariant I14).
 *
 * @param evenIfSet - also when the bitmap UUID is in use already (promotion by force)
 * @param written - called when the super block has been written, or could not be
 * @returns false when nothing was to be done: nothing is called then
 */
export function newCurrentUuid(res: Resource, volume: Volume, evenIfSet = false, written?: () => void): boolean {
  if (!drawGeneration(res, volume, evenIfSet)) return false;
  generationDurably(res, volume, written);
  return true;
}

/**
 * A new generation because of a peer's disk that is gone. The peer is told when it is on our disk, not before: from then on no crash makes
 * its disk the better one, and it answers its application on the strength of that.
 */
export function beginGeneration(res: Resource, volume: Volume): void {
  // One that comes meanwhile is told then.
  const told = volume.peerDevices.filter((pd) => pd.conn >= CONN.Connected).map((pd) => ({ pd, link: pd.connection.linkNumber }));
  newCurrentUuid(res, volume, false, () => {
    for (const { pd, link } of told) {
      const isSame = isConnected(pd.connection) && pd.connection.linkNumber === link;
      if (isSame && pd.conn >= CONN.Connected && volume.diskState === DISK.UpToDate) sendUuids(res, pd);
    }
  });
}

/**
 * A source loses a target that is Primary like itself, and may have been through without our knowing it: from here on each goes its own
 * way. The bitmap UUID stays, for a target that was not through is resynced by what the bitmap marks.
 */
export function partFromTarget(res: Resource, volume: Volume, pd: PeerDevice): void {
  const { metaData } = volume.disk!;
  metaData.history_uuids.unshift(metaData.current_uuid);
  metaData.history_uuids.length = 32;
  metaData.current_uuid = withPrimaryBit(res.random64(), res.role === ROLE.Primary);
  volume.unbegun = undefined;
  volume.generationDrawn(metaData.current_uuid);
  res.log('info', volume, undefined, `new current UUID ${formatGenerations(volume.generationsFor(pd))}`);
  generationDurably(res, volume);
}

/**
 * The target that we parted from was not through, as it says: nobody has the generation that went into the history for it. A kernel's DRBD
 * looks at two entries, and has to find the ancestors there the next time.
 */
export function takePartingBack(res: Resource, volume: Volume, base: bigint): void {
  const history = volume.disk!.metaData.history_uuids;
  const at = history.findIndex((uuid) => uuidEqual(uuid, base));
  // Another peer may have it.
  if (at <= 0 || volume.peerDevices.length > 1) return;
  history.push(...history.splice(0, at).fill(0n));
  markMetaDataDirty(res, volume);
}

/**
 * The disk is given up before a new generation of ours could begin: it is left with the one before, from which a peer goes on. With ours
 * it would come back as if it had gone its own way.
 */
export function takeUnbegunBack(res: Resource, volume: Volume): void {
  const { unbegun, disk } = volume;
  volume.unbegun = undefined;
  if (unbegun === undefined || disk === undefined || !uuidEqual(disk.metaData.current_uuid, unbegun.uuid)) return;
  const peers = unbegun.behind.map(({ connection }) => peerMetaData(disk.metaData, connection.peerNodeId));
  // A resync has begun under it.
  if (!peers.every((peer) => uuidEqual(peer.bitmap_uuid, unbegun.before))) return;
  for (const peer of peers) peer.bitmap_uuid = 0n;
  disk.metaData.current_uuid = withPrimaryBit(unbegun.before, res.role === ROLE.Primary);
  markMetaDataDirty(res, volume);
}

/** Writes the generation out. Nobody has seen data of one that no disk knows. */
export function generationDurably(res: Resource, volume: Volume, written?: () => void): void {
  const current = volume.disk!.metaData.current_uuid;
  durably(res, volume, (errno) => {
    if (errno === 0) volume.generationWritten(current);
    written?.();
  });
}

/** A new generation that stands in memory only: whoever calls this has more to say in the super block that makes it durable. */
export function drawGeneration(res: Resource, volume: Volume, evenIfSet: boolean): boolean {
  const disk = volume.disk;
  if (disk === undefined) return false;
  const md = disk.metaData;
  const behind = volume.peerDevices.filter((pd) => evenIfSet || peerMetaData(md, pd.connection.peerNodeId).bitmap_uuid === 0n);
  if (behind.length === 0 && volume.peerDevices.length > 0) return false;
  const random = res.random64();
  const isFirst = volume.unbegun === undefined && !evenIfSet;
  volume.unbegun = isFirst ? { uuid: random, before: md.current_uuid, behind } : undefined;
  for (const pd of behind) {
    const g = volume.generationsFor(pd);
    if (g.bitmap !== 0n) res.log('warning', volume, pd, `bm UUID was already set: ${hex(g.bitmap)}`);
    peerMetaData(md, pd.connection.peerNodeId).bitmap_uuid = newCurrent(g, random, false).bitmap;
  }
  md.current_uuid = withPrimaryBit(random, res.role === ROLE.Primary);
  volume.generationDrawn(md.current_uuid);
  const first = volume.peerDevices[0];
  if (first !== undefined) res.log('info', volume, undefined, `new current UUID ${formatGenerations(volume.generationsFor(first))}`);
  return true;
}

/** Writes the super block and holds the application's requests until it is durable. */
export function durably(res: Resource, volume: Volume, then?: (errno: number) => void): void {
  volume.generationWrites++;
  syncMetaData(res, volume, (errno) => {
    volume.generationWrites--;
    then?.(errno);
    if (volume.generationWrites > 0) return;
    releaseMirroredWrites(res, volume);
    releaseHeld(res, volume);
  });
}

const hex = (uuid: bigint): string => uuid.toString(16).toUpperCase().padStart(16, '0');
