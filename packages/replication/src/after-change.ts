/**
 * What follows from a change of state, in the order of DRBD 8.4 (drbd_state.c, __drbd_set_state and after_state_ch).
 * The state itself has been applied; this is called for each volume and connection that changed.
 */
import { UUID_FLAG } from '@udrbd/wire';
import { startBitmapExchange } from './bitmap-exchange.js';
import { maybeCatchUp } from './congestion.js';
import { endPendingGeneration, peerHasReturned, peerIsGoodAgain } from './fencing.js';
import { beginGeneration, durably, newCurrentUuid, partFromTarget } from './generation-changes.js';
import { refreshPersistentFlags, writeBitmap } from './meta-data-io.js';
import { dropUnstarted } from './mirrored-writes.js';
import { sendSizes, sendState, sendUuids } from './packets.js';
import type { PeerDevice } from './peer-device.js';
import type { Resource } from './resource.js';
import { resyncPaused, resyncResumed, resyncStarted, startFullSync } from './resync.js';
import { changeVolume } from './state-change.js';
import { lostContactToPeerData, wouldReplicate, wouldSendOutOfSync } from './state-rules.js';
import { CONN, type ConnNumber, DISK, ROLE, type StateView } from './state-view.js';
import { tellsVerifyEnd, verifyEnded, verifyPromoted, verifyStarted } from './verify.js';
import type { Volume } from './volume.js';
import { closeEpoch, failPending, markTransferLog } from './write-path.js';

const isSync = (conn: ConnNumber): boolean => conn === CONN.SyncSource || conn === CONN.SyncTarget;
const isPaused = (conn: ConnNumber): boolean => conn === CONN.PausedSyncS || conn === CONN.PausedSyncT;
const isVerify = (conn: ConnNumber): boolean => conn === CONN.VerifyS || conn === CONN.VerifyT;
/** The peer is only told which blocks were written. */
const isApart = (conn: ConnNumber): boolean => conn === CONN.Ahead || conn === CONN.Behind;
const isSource = (conn: ConnNumber): boolean => conn === CONN.SyncSource || conn === CONN.PausedSyncS;
/** What a Primary without a disk writes is here alone. */
const isOnlyCopy = (s: StateView): boolean => s.peerRole === ROLE.Primary && s.peerDisk < DISK.Inconsistent;
const lacksData = (s: StateView): boolean => s.role === ROLE.Primary && s.disk < DISK.UpToDate && s.peerDisk < DISK.UpToDate;

export function afterChange(res: Resource, volume: Volume, pd: PeerDevice | undefined, old: StateView, next: StateView): void {
  immediate(res, volume, pd, old, next);
  if (pd !== undefined) peerSide(res, volume, pd, old, next);
  ownDisk(res, volume, pd, old, next);
  res.wantSettle();
}

function immediate(res: Resource, volume: Volume, pd: PeerDevice | undefined, old: StateView, next: StateView): void {
  if (wouldReplicate(old) !== wouldReplicate(next)) closeEpoch(res);
  if (old.conn < CONN.Connected && next.conn >= CONN.Connected && volume.alSuspended) {
    volume.alSuspended = false;
    res.log('info', volume, undefined, 'Resumed AL updates');
  }
  if (pd?.resync !== undefined) {
    if (isPaused(old.conn) && isSync(next.conn)) resyncResumed(res, pd);
    if (isSync(old.conn) && isPaused(next.conn)) resyncPaused(res, pd);
  }
  if (pd !== undefined) {
    if (isVerify(old.conn) && next.conn !== old.conn) verifyEnded(res, pd);
    if (isVerify(next.conn) && next.conn !== old.conn) verifyStarted(res, pd, next.conn === CONN.VerifyS ? 'source' : 'target');
    const isPromotion = (from: number, to: number): boolean => from !== ROLE.Primary && to === ROLE.Primary;
    if (isPromotion(old.role, next.role) || isPromotion(old.peerRole, next.peerRole)) verifyPromoted(res, pd);
  }
  if (old.disk < DISK.Consistent && next.disk >= DISK.Consistent && volume.disk !== undefined) {
    volume.exposeOwn();
  }
  if (
    pd !== undefined &&
    old.disk === DISK.Inconsistent &&
    old.peerDisk === DISK.Inconsistent &&
    old.peerRole === ROLE.Secondary &&
    next.peerRole === ROLE.Primary
  ) {
    pd.considerResync = true;
  }
  refreshPersistentFlags(res, volume);
  if (old.role !== next.role) res.volumeChanged(volume);
}

function peerSide(res: Resource, volume: Volume, pd: PeerDevice, old: StateView, next: StateView): void {
  const both = (s: StateView): boolean => s.disk === DISK.UpToDate && s.peerDisk === DISK.UpToDate;
  if (!both(old) && both(next)) {
    if (volume.crashedPrimary) {
      volume.crashedPrimary = false;
      // A crash from here on is none of a Primary, unless it is one again.
      refreshPersistentFlags(res, volume);
      res.wantMetaDataSync = true;
    }
    if (pd.peerUuids !== undefined) pd.peerUuids.flags &= ~UUID_FLAG.CRASHED_PRIMARY;
    peerIsGoodAgain(res, pd.connection);
  }
  const isOnlyDisk = next.role === ROLE.Primary && next.disk < DISK.Negotiating && next.peerDisk === DISK.UpToDate;
  if (isOnlyDisk && !(old.peerDisk === DISK.UpToDate && old.conn >= CONN.Connected)) {
    // The resync was through there when our disk was lost: its next generation follows ours as if it had been good before.
    if (old.conn >= CONN.Connected) volume.exposeYoungest(true);
    // From here on it is written to: what our disk has is not all any more.
    else volume.forgetUnwritten();
  }
  if (!lacksData(old) && lacksData(next)) res.helper('pri-on-incon-degr', volume, pd.connection);
  if (res.suspNoData && !lacksData(next) && (lacksData(old) || old.conn !== next.conn)) res.thawNoData();
  if (res.suspFencing && next.conn >= CONN.Connected && old.conn < CONN.Connected) res.suspFencing = false;

  if (!isSource(old.conn) && isSource(next.conn)) resyncStarted(res, pd, 'source');
  if (old.conn === CONN.Ahead && pd.resync?.side === 'source') pd.resync.followsAhead = true;

  // The peer has attached a disk: it compares generations when it has ours.
  if (
    old.peerDisk === DISK.Diskless &&
    next.peerDisk > DISK.Diskless &&
    next.peerDisk !== DISK.DUnknown &&
    volume.diskState >= DISK.Negotiating
  ) {
    // Blocks of an earlier resync that it never answered.
    pd.resyncPending = pd.resyncRequests.length;
    sendUuids(res, pd);
    pd.comparedGenerations = undefined;
    sendState(res, pd);
  }
  if (old.conn === CONN.StartingSyncT && next.conn !== old.conn && pd.connection.stalled) res.resumeReceive(pd.connection);
  if (old.conn !== CONN.WFBitMapS && next.conn === CONN.WFBitMapS) {
    if (pd.bitmapSlot >= 0) markTransferLog(res, pd);
    startBitmapExchange(res, pd);
  }

  if (old.conn === CONN.WFReportParams && next.conn !== old.conn) peerHasReturned(res, volume, next.conn >= CONN.Connected);
  else if (old.peerDisk < DISK.Inconsistent && next.peerDisk >= DISK.Inconsistent && next.conn >= CONN.Connected) {
    peerHasReturned(res, volume, true);
  }
  // The role of a peer that is gone is not known: then only a Primary here begins a new generation.
  const someoneWrites = next.role === ROLE.Primary || next.peerRole === ROLE.Primary || old.conn === CONN.Ahead;
  if (lostContactToPeerData(old, next) && someoneWrites && volume.diskState >= DISK.UpToDate) {
    // A freeze here does not stop a Primary there: what it writes from now on is on this disk alone.
    if (res.isSuspended && next.peerRole !== ROLE.Primary) volume.generationPending = true;
    else beginGeneration(res, volume);
  }
  // Parted by agreement, while the link still stands.
  const isLeft = next.role === ROLE.Primary && old.conn >= CONN.Connected && next.conn < CONN.Connected;
  if (isLeft && pd.connection.isUp) dropUnstarted(res, pd.connection);
  const hasRival = next.role === ROLE.Primary && old.peerRole === ROLE.Primary;
  // A target that was never told the sync UUID cannot be through.
  const isTold = pd.resync?.ready !== false;
  const mayPass = (hasRival && isTold) || pd.resync?.followsAhead === true;
  if (mayPass && isSource(old.conn) && next.conn < CONN.Connected && next.disk === DISK.UpToDate) partFromTarget(res, volume, pd);
  if (next.peerDisk < DISK.Inconsistent && volume.disk !== undefined) {
    if (old.peerRole === ROLE.Secondary && next.peerRole === ROLE.Primary && volume.diskState === DISK.UpToDate) {
      beginGeneration(res, volume);
    }
    if (old.peerRole === ROLE.Primary && next.peerRole === ROLE.Secondary) writeBitmap(res, volume, 'changed');
    // The activity log counts after a power cut only when the super block says that there is a Primary.
    if (isOnlyCopy(next) && !isOnlyCopy(old) && volume.generationWrites === 0) durably(res, volume);
  }
  if (old.role === ROLE.Primary && next.role === ROLE.Secondary && next.conn <= CONN.Connected) writeBitmap(res, volume, 'changed');

  if (old.conn >= CONN.Connected && next.conn >= CONN.Connected) {
    if (old.disk === DISK.Attaching && next.disk === DISK.Negotiating) {
      sendSizes(res, pd, volume.sizeSectors);
      sendUuids(res, pd);
      sendState(res, pd);
    }
    if (old.resyncSuspDependency !== next.resyncSuspDependency || old.resyncSuspUser !== next.resyncSuspUser) sendState(res, pd);
    if (old.disk === DISK.UpToDate && next.disk === DISK.Inconsistent) sendState(res, pd);
    if (old.disk !== DISK.Failed && next.disk === DISK.Failed) sendState(res, pd);
    if (old.disk >= DISK.Failed && next.disk === DISK.Diskless) sendState(res, pd);
    if (old.disk === DISK.Negotiating && next.disk > DISK.Negotiating) sendState(res, pd);
  }
  if (old.conn === CONN.WFReportParams && next.conn >= CONN.Connected) sendState(res, pd);
  if (old.conn !== CONN.Ahead && next.conn === CONN.Ahead) {
    sendState(res, pd);
    maybeCatchUp(res, pd);
  }
  // Maybe at a stop sector, of which the peer does not know.
  if (old.conn === CONN.VerifyS && next.conn === CONN.Connected && tellsVerifyEnd(pd)) sendState(res, pd);
  if (next.conn === CONN.StartingSyncS && old.conn !== next.conn) startFullSync(res, pd, 'source');
  if (next.conn === CONN.StartingSyncT && old.conn !== next.conn) startFullSync(res, pd, 'target');
  if (old.conn > CONN.Connected && old.conn !== next.conn && (next.conn === CONN.Connected || isApart(next.conn))) {
    // Finished, or aborted because either side lost its disk: the next one starts afresh.
    pd.resync = undefined;
    pd.bitmapSend = undefined;
    pd.bitmapReceive = undefined;
    pd.finishPing = 0;
    if (volume.disk !== undefined) writeBitmap(res, volume, 'changed');
  }
  if (old.conn >= CONN.Connected && next.conn < CONN.Connected && volume.disk !== undefined) writeBitmap(res, volume, 'changed');
  if (wouldSendOutOfSync(next) !== wouldSendOutOfSync(old)) closeEpoch(res);
  if (old.conn >= CONN.Connected && next.conn < CONN.Connected && wasAboutToSync(old.conn)) resyncNeverBegan(res, volume, next);
}

const wasAboutToSync = (conn: ConnNumber): boolean => conn === CONN.StartingSyncT || conn === CONN.WFBitMapT || conn === CONN.WFSyncUUID;

/**
 * The connection went before the resync towards us began: no block was overwritten. A Primary's disk still holds all that its
 * application wrote, also what the peer never got: that is a generation of its own.
 */
function resyncNeverBegan(res: Resource, volume: Volume, next: StateView): void {
  if (next.role !== ROLE.Primary || next.disk !== DISK.Outdated || volume.disk === undefined) return;
  changeVolume(res, volume, { disk: DISK.UpToDate }, { hard: true });
  newCurrentUuid(res, volume);
}

function ownDisk(res: Resource, volume: Volume, pd: PeerDevice | undefined, old: StateView, next: StateView): void {
  if (pd === undefined && old.role === ROLE.Primary && next.role === ROLE.Secondary) writeBitmap(res, volume, 'changed');
  if (old.role === ROLE.Primary && next.role === ROLE.Secondary) endPendingGeneration(res, volume);
  if (old.disk !== DISK.Failed && next.disk === DISK.Failed) failPending(res, volume);
  if (old.disk < DISK.Inconsistent && next.disk >= DISK.Inconsistent) res.volumeChanged(volume);
}
