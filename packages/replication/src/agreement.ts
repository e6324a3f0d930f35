/** Changes that both nodes have to agree on (wire protocol: cluster-wide state change in 8.4). */
import { RETURN_CODES, type ReturnCode } from '@udrbd/control';
import { COMMAND, convertState, diskFrom84, SS, STATE_FIELD, stateFromWire, stateGet } from '@udrbd/wire';
import type { Connection } from './connection.js';
import { hasConnectionRequests } from './dialect.js';
import { sendStateChangeReply, sendStateChangeRequest } from './packets.js';
import type { PeerDevice } from './peer-device.js';
import { isResizing } from './resize.js';
import type { Resource } from './resource.js';
import { changeConnection, changePeerDevice, type Wanted } from './state-change.js';
import { CONN, type ConnNumber, DISK, type DiskNumber, ROLE, type RoleNumber } from './state-view.js';

/** Mask and value of a request in the numbering of the 8.4 dialect. */
export const REQUEST = {
  promote: { mask: 0x0000_0003, val: 0x0000_0001 },
  /** With an own disk that is declared UpToDate. */
  promoteForced: { mask: 0x0000_1e03, val: 0x0000_1001 },
  detach: { mask: 0x0000_1e00, val: 0x0000_0400 },
  invalidate: { mask: 0x0000_01f0, val: 0x0000_00c0 },
  invalidateRemote: { mask: 0x0000_01f0, val: 0x0000_00b0 },
  verify: { mask: 0x0000_01f0, val: 0x0000_0120 },
  disconnect: { mask: 0x0000_01f0, val: 0x0000_0010 },
  disconnectOutdatePeer: { mask: 0x0001_e1f0, val: 0x0000_a010 },
  disconnectOutdateSelf: { mask: 0x0000_1ff0, val: 0x0000_0a10 },
} as const;
export type AgreementRequest = (typeof REQUEST)[keyof typeof REQUEST];

/** When both nodes ask at the same time one of them is refused (SS_CONCURRENT_ST_CHG); it asks again after this time. */
export const CONCURRENT_RETRY_MS = 100;

/** Asks the peer of the given volumes. `done` gets 1 or the first refusal, in DRBD's numbers. */
export function askPeer(
  res: Resource,
  c: Connection,
  volumes: readonly PeerDevice[],
  request: AgreementRequest,
  done: (code: number) => void,
): void {
  c.agreement = { waiting: new Set(volumes.map((pd) => pd.volume.number)), refusal: 1, done };
  for (const pd of volumes) sendStateChangeRequest(res, c, COMMAND.P_STATE_CHG_REQ, pd.volume.number, request.mask, request.val);
}

export function askPeerAboutConnection(res: Resource, c: Connection, request: AgreementRequest, done: (code: number) => void): void {
  c.agreement = { waiting: new Set([-1]), refusal: 1, done };
  const command = hasConnectionRequests(c.apv) ? COMMAND.P_CONN_ST_CHG_REQ : COMMAND.P_STATE_CHG_REQ;
  sendStateChangeRequest(res, c, command, 0, request.mask, request.val);
}

/** P_STATE_CHG_REPLY, P_CONN_ST_CHG_REPLY. @param volume - -1 for the connection */
export function receiveReply(res: Resource, c: Connection, volume: number, code: number): void {
  const { agreement } = c;
  if (agreement === undefined) return;
  const isAnswer = agreement.waiting.delete(volume) || (!hasConnectionRequests(c.apv) && agreement.waiting.delete(-1));
  if (!isAnswer) return;
  if (code < SS.SUCCESS) {
    const known = Object.values(RETURN_CODES).find((row) => row.code === code);
    res.logConnection('err', c, `Requested state change failed by peer: ${known?.text ?? 'unknown error.'} (${code})`);
    if (agreement.refusal >= SS.SUCCESS) agreement.refusal = code;
  }
  if (agreement.waiting.size > 0) return;
  c.agreement = undefined;
  agreement.done(agreement.refusal);
}

/** A word of the peer as wishes from our point of view. */
function wantedOf(mask: number, val: number): Wanted {
  const wanted: Wanted = {};
  const covers = (field: keyof typeof STATE_FIELD): boolean => (mask & STATE_FIELD[field].mask) !== 0;
  if (covers('role')) wanted.role = stateGet(val, 'role') as RoleNumber;
  if (covers('peer')) wanted.peerRole = stateGet(val, 'peer') as RoleNumber;
  if (covers('conn')) wanted.conn = stateGet(val, 'conn') as ConnNumber;
  if (covers('disk')) wanted.disk = stateGet(val, 'disk') as DiskNumber;
  if (covers('pdsk')) wanted.peerDisk = stateGet(val, 'pdsk') as DiskNumber;
  return wanted;
}

/**
 * Whether a peer may ask for this: what an administrator there does to it or to the connection. A word may have anything in it.
 * Its own disk it declares good or bad; ours it may only call outdated, and our role is none of its business.
 */
const mayBeAsked = ({ role, peerRole, conn, disk, peerDisk }: Wanted): boolean =>
  role === undefined &&
  (peerRole === undefined || peerRole === ROLE.Primary || peerRole === ROLE.Secondary) &&
  (conn === undefined || ASKED_CONN.has(conn)) &&
  (disk === undefined || disk === DISK.Outdated) &&
  (peerDisk === undefined || ASKED_PEER_DISK.has(peerDisk));

const ASKED_CONN: ReadonlySet<number> = new Set([CONN.StartingSyncS, CONN.StartingSyncT, CONN.VerifyT, CONN.TearDown]);
const ASKED_PEER_DISK: ReadonlySet<number> = new Set([
  DISK.Diskless,
  DISK.Failed,
  DISK.Inconsistent,
  DISK.Outdated,
  DISK.Consistent,
  DISK.UpToDate,
]);

function converted(mask: number, val: number, apv: number): Wanted {
  const wanted = wantedOf(convertState(mask, apv), convertState(stateFromWire(val, apv, mask), apv));
  // DRBD 9 names its disk's state in its own numbers here.
  if (wanted.peerDisk === UP_TO_DATE_OF_9) wanted.peerDisk = DISK.UpToDate;
  return wanted;
}

const UP_TO_DATE_OF_9 = diskFrom84(DISK.UpToDate);

const code = (name: ReturnCode): number => RETURN_CODES[name].code;

export function receiveRequest(res: Resource, pd: PeerDevice, mask: number, val: number): void {
  const c = pd.connection;
  const reply = (number: number): void => sendStateChangeReply(res, c, COMMAND.P_STATE_CHG_REPLY, pd.volume.number, number);
  if (c.resolveConflicts && c.agreement !== undefined) return reply(SS.CONCURRENT_ST_CHG);
  const wanted = converted(mask, val, c.apv);
  if (wanted.conn === CONN.TearDown && !hasConnectionRequests(c.apv)) return receiveConnectionRequest(res, c, mask, val);
  if (!mayBeAsked(wanted) || wanted.conn === CONN.TearDown) return reply(SS.NOT_SUPPORTED);
  if ((wanted.conn !== undefined || wanted.peerRole === ROLE.Primary) && isResizing(pd)) return reply(SS.IN_TRANSIENT_STATE);
  const result = changePeerDevice(res, pd, wanted, { dryRun: true, verbose: true });
  reply(code(result));
  // A peer that detaches says so when it does (P_STATE). Should it not get this answer, it keeps its disk and a generation of ours
  // for data that it does not get would look like a split brain.
  const detaches = wanted.peerDisk !== undefined && wanted.peerDisk <= DISK.Failed;
  if (result === 'SS_SUCCESS' && !detaches) changePeerDevice(res, pd, wanted, {});
}

export function receiveConnectionRequest(res: Resource, c: Connection, mask: number, val: number): void {
  const command = hasConnectionRequests(c.apv) ? COMMAND.P_CONN_ST_CHG_REPLY : COMMAND.P_STATE_CHG_REPLY;
  const reply = (number: number): void => sendStateChangeReply(res, c, command, 0, number);
  if (c.resolveConflicts && c.agreement !== undefined) return reply(SS.CONCURRENT_ST_CHG);
  const wanted = converted(mask, val, c.apv);
  const { conn, ...extra } = wanted;
  if (conn !== CONN.TearDown || !mayBeAsked(wanted)) return reply(SS.NOT_SUPPORTED);
  const result = changeConnection(res, c, CONN.TearDown, extra, { dryRun: true });
  reply(code(result));
  if (result !== 'SS_SUCCESS') return;
  changeConnection(res, c, CONN.TearDown, extra, {});
  // The peer closes the streams when it has our answer; do not wait for it for ever.
  c.handshakeDeadline = res.now + c.options['ping-timeout'] * 100 + 1000;
}
