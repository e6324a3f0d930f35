/** What happens when the backing disk fails: on-io-error policies, Failed, Diskless (replication semantics: I/O error policies). */
import { takeUnbegunBack } from './generation-changes.js';
import { syncMetaData, writeBitmap } from './meta-data-io.js';
import type { PeerDevice } from './peer-device.js';
import { peerMetaData } from './peer-meta-data.js';
import type { Resource } from './resource.js';
import { changeVolume } from './state-change.js';
import { CONN, DISK, ROLE } from './state-view.js';
import type { Volume } from './volume.js';
import { forgetExtents } from './write-path.js';

/** A data request failed. `where` is the place that the log names. */
export function diskError(res: Resource, volume: Volume, where: string): void {
  if (volume.disk === undefined || volume.diskState <= DISK.Failed) return;
  if (volume.disk.options['on-io-error'] === 'pass_on') {
    res.logRateLimited('err', volume, `Local IO failed in ${where}.`);
    if (volume.diskState > DISK.Inconsistent) {
      changeVolume(res, volume, { disk: DISK.Inconsistent }, { hard: true });
    }
    return;
  }
  diskFailed(res, volume, where);
}

/** An error after which the disk is given up whatever the policy for data says: meta-data, bitmap, activity log. */
export function diskFailed(res: Resource, volume: Volume, where: string): void {
  if (volume.disk === undefined || volume.diskState <= DISK.Failed) return;
  res.log('err', volume, undefined, `Local IO failed in ${where}. Detaching...`);
  if (volume.disk.options['on-io-error'] === 'call-local-io-error') res.helper('local-io-error', volume, undefined);
  if (volume.diskState === DISK.UpToDate && res.role === ROLE.Primary) volume.diskIsLost();
  changeVolume(res, volume, { disk: DISK.Failed }, { hard: true });
}

/** Failed (or an attach that came to nothing), and no I/O of ours on the disk any more: Diskless, and the host closes it. */
export function maybeDiskless(res: Resource, volume: Volume): void {
  const disk = volume.disk;
  if (disk === undefined || (volume.diskState !== DISK.Failed && volume.diskState !== DISK.Detaching && volume.diskState !== DISK.Diskless))
    return;
  if (volume.lowerPending > 0 || volume.metaDataWrites > 0 || volume.alTransactionRunning || volume.isMoving) return;
  if (!volume.detachBitmapWritten) {
    volume.detachBitmapWritten = true;
    if (!volume.peerDevices.some(lacksOurs)) takeUnbegunBack(res, volume);
    volume.metaDataWrites++;
    writeBitmap(res, volume, 'changed', () => {
      volume.metaDataWrites--;
      res.wantSettle();
    });
    if (volume.metaDataDirty) syncMetaData(res, volume, () => res.wantSettle());
    if (volume.metaDataWrites > 0) return;
  }
  volume.detachBitmapWritten = false;
  changeVolume(res, volume, { disk: DISK.Diskless }, { hard: true });
  // From here on the data above us are the peer's: only their generation may be attached or connected to.
  for (const pd of volume.peerDevices) {
    if (pd.conn < CONN.Connected || pd.peerDisk !== DISK.UpToDate || pd.peerUuids === undefined) continue;
    const { current, bitmap } = pd.peerUuids.generations;
    volume.expose(current, res.role === ROLE.Primary && bitmap === 0n);
  }
  for (const pd of volume.peerDevices) pd.lacksOurs = lacksOurs(pd);
  volume.disk = undefined;
  volume.diskCheckAt = Number.POSITIVE_INFINITY;
  forgetExtents(res, volume);
  volume.alSuspended = false;
  volume.crashedPrimary = false;
  res.cold({ type: 'closeDisk', volume: volume.number });
  for (const done of volume.whenDiskless.splice(0)) done();
  for (const pd of volume.peerDevices) if (pd.conn > CONN.Connected) pd.resync = undefined;
}

/** The disk that is given up, or was, has blocks that this peer has not got. */
export function lacksOurs(pd: PeerDevice): boolean {
  const { disk, diskState } = pd.volume;
  if (disk === undefined) return pd.lacksOurs;
  const isLeaving = diskState === DISK.Failed || diskState === DISK.Detaching || diskState === DISK.Diskless;
  const isGood = pd.conn >= CONN.Connected && pd.peerDisk === DISK.UpToDate;
  if (!isLeaving || isGood || pd.bitmapSlot < 0) return false;
  return peerMetaData(disk.metaData, pd.connection.peerNodeId).bitmap_uuid !== 0n && disk.bitmap.weight(pd.bitmapSlot) > 0;
}
