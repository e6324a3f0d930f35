/** new-current-uuid: a new data generation by command (replication semantics: new-current-uuid). */
import { UUID_FLAG } from '@udrbd/wire';
import { fullSync, type Reply } from './admin.js';
import { drawGeneration, durably, generationDurably, keepGenerations } from './generation-changes.js';
import { UUID_JUST_CREATED, uuidEqual } from './generations.js';
import { writeBitmap } from './meta-data-io.js';
import { sendState, sendUuids } from './packets.js';
import type { PeerDevice } from './peer-device.js';
import type { Resource } from './resource.js';
import { setAllBits } from './resync.js';
import { changePeerDevice, changeVolume } from './state-change.js';
import { CONN, DISK } from './state-view.js';
import type { Volume } from './volume.js';

export function newGeneration(res: Resource, volume: Volume, clearBitmap: boolean, forceResync: boolean, reply: Reply): void {
  const { disk } = volume;
  if (disk === undefined || volume.diskState < DISK.Inconsistent) return reply({ name: 'ERR_NO_DISK' });
  if (clearBitmap && forceResync) return reply({ name: 'ERR_INVALID_REQUEST' });
  const isFresh = uuidEqual(disk.metaData.current_uuid, UUID_JUST_CREATED);
  const connected = isFresh && (clearBitmap || forceResync) ? volume.peerDevices.filter((pd) => pd.conn === CONN.Connected) : [];
  if (connected.length === 0 && volume.peerDevices.some((pd) => pd.conn !== CONN.StandAlone)) return reply({ name: 'ERR_CONNECTED' });
  for (const pd of connected) res.log('info', volume, pd, `Preparing to ${clearBitmap ? 'skip' : 'force'} initial sync`);
  drawGeneration(res, volume, true);
  // The super block says everything at once: a new generation of a disk that is not good would be one that nobody can get.
  if (clearBitmap) skipInitialSync(res, volume, connected);
  if (forceResync) changeVolume(res, volume, { disk: DISK.UpToDate }, { hard: true });
  generationDurably(res, volume);
  if (!forceResync) return reply();
  for (const pd of volume.peerDevices) if (pd.bitmapSlot >= 0 && !connected.includes(pd)) setAllBits(res, pd, () => {});
  durably(res, volume, () => forceInitialSync(res, volume, connected, reply));
}

function skipInitialSync(res: Resource, volume: Volume, connected: readonly PeerDevice[]): void {
  for (const pd of volume.peerDevices) if (pd.bitmapSlot >= 0) volume.disk!.bitmap.clearAll(pd.bitmapSlot);
  writeBitmap(res, volume, 'all');
  for (const pd of connected) {
    sendUuids(res, pd, UUID_FLAG.SKIP_INITIAL_SYNC);
    pd.skippedSync = true;
    keepGenerations(res, volume, pd, { ...volume.generationsFor(pd), bitmap: 0n });
    changePeerDevice(res, pd, { disk: DISK.UpToDate, peerDisk: DISK.UpToDate }, { hard: true });
  }
}

/** One peer after the other; those that are gone by now learn by our generation that they have to get everything. */
function forceInitialSync(res: Resource, volume: Volume, peers: readonly PeerDevice[], reply: Reply): void {
  const [pd, ...others] = peers;
  if (pd === undefined) return reply();
  if (!pd.connection.isUp || pd.conn !== CONN.Connected) return forceInitialSync(res, volume, others, reply);
  sendUuids(res, pd);
  sendState(res, pd);
  fullSync(res, volume, pd, 'source', (refused) => (refused === undefined ? forceInitialSync(res, volume, others, reply) : reply(refused)));
}
