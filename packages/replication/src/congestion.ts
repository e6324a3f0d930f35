/**
 * A link that cannot keep up: with `on-congestion pull-ahead` the Primary stops mirroring and only tells its peer which blocks it
 * wrote, and copies them later (replication semantics: congestion policies; wire protocol: Ahead/Behind).
 *
 *     Connected --threshold--> Ahead --everything acked, 1 s--> SyncSource --> Connected
 *
 * There is no bitmap exchange in front of that resync: what is marked here has to be marked there before it begins.
 */

import { hasOutOfSync } from './dialect.js';
import { sendOutOfSync } from './packets.js';
import type { PeerDevice } from './peer-device.js';
import { isResizing } from './resize.js';
import type { Resource } from './resource.js';
import { startResync } from './resync.js';
import { changeConnection, changePeerDevice } from './state-change.js';
import { CONN, DISK } from './state-view.js';

const CATCH_UP_MS = 1000;
const RETRY_MS = 100;
/** Blocks that one P_OUT_OF_SYNC speaks of at most: 64 MiB. */
const TOLD_BITS_MAX = 16_384;
const BLOCK_SECTORS = 8;
const PACKET_BYTES = 64;

/** Looks at the thresholds; called for each write before it would be mirrored. */
export function checkCongestion(res: Resource, pd: PeerDevice): void {
  const { connection: c, volume } = pd;
  const { options } = c;
  if (options['on-congestion'] === 'block' || !hasOutOfSync(c.apv) || !c.isUp) return;
  const isMirroring = pd.conn === CONN.Connected || pd.conn === CONN.SyncSource || pd.conn === CONN.VerifyS || pd.conn === CONN.VerifyT;
  if (!isMirroring || pd.peerDisk < DISK.Inconsistent || pd.bitmapSlot < 0 || volume.diskState !== DISK.UpToDate) return;
  // The peer would take the sync UUID for the begin of a resync.
  if (pd.conn === CONN.SyncSource && pd.resync?.ready !== true) return;
  // What both nodes are about to agree on would not fit any more.
  if (c.agreement !== undefined || isResizing(pd) || pd.newStorage !== undefined) return;
  const fill = options['congestion-fill'];
  const isFull = fill !== 0 && pd.sectorsInFlight >= fill;
  const isHot = volume.disk!.activityLog.usedCount >= options['congestion-extents'];
  if (isFull) res.log('info', volume, pd, 'Congestion-fill threshold reached');
  if (isHot) res.log('info', volume, pd, 'Congestion-extents threshold reached');
  if (!isFull && !isHot) return;
  if (options['on-congestion'] === 'disconnect') {
    changeConnection(res, c, CONN.Disconnecting, {}, { hard: true });
    return res.closeLink(c, 'closed');
  }
  // Blocks of a resync that were under way may be done there, and are still marked here.
  pd.untold = pd.conn === CONN.SyncSource;
  pd.toldBits = -1;
  changePeerDevice(res, pd, { conn: CONN.Ahead }, { hard: true });
}

/** Whether the peer learns of writes by P_OUT_OF_SYNC: it has our bitmap already, or gets none before the resync. */
export const sendsOutOfSync = (pd: PeerDevice): boolean => pd.connection.isUp && (pd.conn === CONN.Ahead || pd.conn === CONN.WFBitMapS);

/**
 * Marks blocks in which the two disks differ from now on, and tells a peer that does not learn it from our bitmap.
 * @param isUncertain - they may be marked without the peer knowing it
 */
export function markDifferent(res: Resource, pd: PeerDevice, sector: number, lengthBytes: number, isUncertain = false): void {
  const { disk } = pd.volume;
  const isNews = disk === undefined || pd.bitmapSlot < 0 || disk.bitmap.setRange(pd.bitmapSlot, sector, lengthBytes) > 0;
  if (!sendsOutOfSync(pd) || (!isNews && !isUncertain) || tellOutOfSync(res, pd, sector, lengthBytes)) return;
  if (pd.conn === CONN.Ahead) pd.untold = true;
  else res.closeLink(pd.connection, 'network-failure');
}

/**
 * Tells the peer of a write that it does not get.
 * @returns false when there is no room for that, or no such packet
 */
function tellOutOfSync(res: Resource, pd: PeerDevice, sector: number, lengthBytes: number): boolean {
  if (!hasOutOfSync(pd.connection.apv) || !pd.connection.outboxes[0].hasBulkRoom(PACKET_BYTES)) return false;
  sendOutOfSync(res, pd, sector, lengthBytes);
  return true;
}

/** Ahead, and nothing is in flight any more: goes back to mirroring in a second. */
export function maybeCatchUp(res: Resource, pd: PeerDevice): void {
  if (pd.conn !== CONN.Ahead || pd.isCatchingUp || pd.sectorsInFlight > 0) return;
  pd.isCatchingUp = true;
  const { linkNumber } = pd.connection;
  res.later(CATCH_UP_MS, () => catchUp(res, pd, linkNumber));
}

function catchUp(res: Resource, pd: PeerDevice, linkNumber: number): void {
  const c = pd.connection;
  if (c.linkNumber !== linkNumber) return;
  if (pd.conn !== CONN.Ahead || !c.isUp || pd.sectorsInFlight > 0) {
    pd.isCatchingUp = false;
    return;
  }
  // A state that others wait for is not changed below them.
  const isBusy = pd.unacked > 0 || pd.resyncPending > 0 || c.agreement !== undefined;
  if (isBusy || !tellAll(res, pd)) return res.later(RETRY_MS, () => catchUp(res, pd, linkNumber));
  pd.isCatchingUp = false;
  startResync(res, pd, 'source');
}

/** Tells of every marked block, where the peer may not know them all. @returns whether it does now */
function tellAll(res: Resource, pd: PeerDevice): boolean {
  const { volume } = pd;
  const { bitmap } = volume.disk!;
  if (pd.toldBits < 0) {
    if (!pd.untold) return true;
    pd.untold = false;
    pd.toldBits = 0;
  }
  const slot = pd.bitmapSlot;
  for (let bit = bitmap.findNext(slot, pd.toldBits); bit >= 0; bit = bitmap.findNext(slot, pd.toldBits)) {
    const clear = bitmap.findNextClear(slot, bit);
    const end = Math.min(clear < 0 ? bitmap.bits : clear, bit + TOLD_BITS_MAX);
    const sector = bit * BLOCK_SECTORS;
    const sectors = Math.min(end * BLOCK_SECTORS, volume.sizeSectors) - sector;
    if (!tellOutOfSync(res, pd, sector, sectors * 512)) return false;
    pd.toldBits = end;
  }
  pd.toldBits = -1;
  // Something was written meanwhile that there was no room for.
  return !pd.untold;
}
