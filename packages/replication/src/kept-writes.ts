/**
 * Two Primaries that are both frozen when the link between them breaks: neither begins a generation, and what was under way is kept. Once
 * they are back together, each still the same Primary, what has no answer starts over (DRBD 8.4: the transfer log is kept while I/O is
 * suspended, and sent again after the reconnect). Without the other one the writes are what they would have been: marked.
 *
 * | the write when the link broke | the same Primary is back | otherwise |
 * |---|---|---|
 * | acked, its epoch not | is there: a node that loses its link flushes before it takes another | marked |
 * | the same, of a kernel DRBD, which flushes nothing then | is there, and marked nevertheless | marked |
 * | not acked, or not sent any more | starts over, also on the own disk | marked |
 *
 * With one Primary nothing is kept: its peer may have lost power and what it had acked, and nothing would tell.
 */
import { type Connection, NET } from './connection.js';
import type { PeerDevice } from './peer-device.js';
import type { Resource } from './resource.js';
import { CONN, DISK, ROLE } from './state-view.js';
import type { Volume } from './volume.js';
import { beginAgain, LOCAL, leaveOverlap, missed, unhold, unwait } from './write-path.js';

const PROTOCOL_C = 3;

/** Both are Primary, both copies are good, and nothing but the link is missing from here on. */
export const isRival = (res: Resource, { volume, connection: c, conn, peerRole, peerDisk }: PeerDevice): boolean =>
  res.role === ROLE.Primary &&
  peerRole === ROLE.Primary &&
  c.wireProtocol === PROTOCOL_C &&
  (conn === CONN.Connected || conn === CONN.VerifyS || conn === CONN.VerifyT) &&
  volume.diskState === DISK.UpToDate &&
  peerDisk === DISK.UpToDate;

/** The link is gone: takes what is to be kept out of the transfer log. A write keeps its slot and its extents in the activity log. */
export function keepWrites(res: Resource, c: Connection): void {
  for (let slot = c.logHead; slot >= 0; ) {
    const next = c.logNext[slot]!;
    const pd = res.peerDevice(c, res.requests.volume[slot]!);
    if (pd?.keepsWrites) {
      const net = c.net[slot]!;
      const isAnswered = (net & NET.Pending) === 0;
      c.removeFromLog(slot);
      if (!isAnswered) pd.applicationPending--;
      keep(c, slot, isAnswered ? net & NET.Ok : 0);
      const waits = (isAnswered ? 0 : 1) + ((net & NET.Queued) !== 0 ? 1 : 0);
      if (waits > 0) unwait(res, pd.volume, slot, waits);
    }
    slot = next;
  }
}

/** A write that the peer had turned down for one of its own, which will come again too. */
export function keepContested(res: Resource, pd: PeerDevice, slot: number): void {
  const { requests } = res;
  const isQueued = (pd.connection.net[slot]! & NET.Queued) !== 0;
  requests.holds[slot]!++;
  keep(pd.connection, slot, 0);
  unwait(res, pd.volume, slot, isQueued ? 2 : 1);
}

/** A write that had begun when the link broke, and gets that far only now. */
export function keepUnsent(res: Resource, { connection: c }: PeerDevice, slot: number): void {
  res.requests.holds[slot]!++;
  keep(c, slot, 0);
}

function keep(c: Connection, slot: number, ok: number): void {
  c.net[slot] = NET.Kept | ok;
  c.kept.push(slot);
}

/** The same Primary is back, nothing is to be copied: what it did not get starts over as soon as nobody waits for it any more. */
export const sendKeptAgain = (res: Resource, pd: PeerDevice): void => settle(res, pd, true);

/** Nobody gets these writes any more but by the bitmap. */
export const markKept = (res: Resource, pd: PeerDevice): void => settle(res, pd, false);

/** I/O goes on without the peers that are out of sight, or there will be none. */
export function markAllKept(res: Resource, volume: Volume): void {
  for (const pd of volume.peerDevices) if (pd.conn !== CONN.WFReportParams) markKept(res, pd);
}

export const hasKept = (res: Resource, { volume, connection: c }: PeerDevice): boolean =>
  c.kept.some((slot) => res.requests.volume[slot] === volume.number);

function settle(res: Resource, pd: PeerDevice, isSame: boolean): void {
  const { requests } = res;
  const { volume, connection: c } = pd;
  pd.keepsWrites = false;
  for (const slot of c.kept.splice(0)) {
    if (requests.volume[slot] !== volume.number) {
      c.kept.push(slot);
      continue;
    }
    const isAcked = (c.net[slot]! & NET.Ok) !== 0;
    if (isSame && isAcked && !c.isPeerGenuine) c.net[slot] = NET.Ok | NET.Done;
    else if (isSame && !isAcked && (requests.state[slot]! & LOCAL.Completed) === 0) c.net[slot] = NET.Again;
    else {
      c.net[slot] = NET.Done;
      missed(res, pd, slot);
    }
    unhold(res, volume, slot);
  }
  res.wantSettle();
}

/** Whether the write has to start over instead of being completed. */
export function isToStartOver(res: Resource, volume: Volume, slot: number): boolean {
  if (res.requests.holds[slot] !== 0) return false;
  for (let i = 0; i < volume.peerDevices.length; i++) if ((volume.peerDevices[i]!.connection.net[slot]! & NET.Again) !== 0) return true;
  return false;
}

/** In front of those that have not begun. */
export function startOver(res: Resource, volume: Volume, slot: number): void {
  leaveOverlap(res, volume, slot);
  beginAgain(res, volume, slot);
  volume.parked.unshift(slot);
  res.wantSettle();
}
