/**
 * One volume seen over one connection: the unit that DRBD's state rules judge (`union drbd_state` of DRBD 8.4, drbd.h).
 *
 * The objects behind it are DRBD 9's: the role belongs to the resource, the disk state to the volume, the connection state
 * to the connection, the replication state and the peer's disk state to the peer device.
 */
import { C, D, R } from '@udrbd/wire';

/** Role numbers, as on the wire and in `ROLES` of the control package. */
export const ROLE = R;
export type RoleNumber = (typeof ROLE)[keyof typeof ROLE];

/** Disk state numbers of DRBD 9 (`DISK_STATES` of the control package). DRBD 8.4 has no Detaching: see the wire adapter. */
export const DISK = D;
export type DiskNumber = (typeof DISK)[keyof typeof DISK];

/**
 * The combined connection and replication state of DRBD 8.4 on one number line. In DRBD 9's words: up to 9 it is the state
 * of the connection (`Connecting` is 8.4's WFConnection), 9 and above that of the peer device (9 `Off` on a connected one,
 * 10 `Established`).
 */
export const CONN = { ...C, Connecting: C.WFConnection } as const;
export type ConnNumber = (typeof CONN)[keyof typeof CONN];

export interface StateView {
  readonly role: RoleNumber;
  readonly peerRole: RoleNumber;
  readonly conn: ConnNumber;
  readonly disk: DiskNumber;
  readonly peerDisk: DiskNumber;
  /** I/O suspended by the administrator, for want of data, until the peer is fenced. */
  readonly suspUser: boolean;
  readonly suspNoData: boolean;
  readonly suspFencing: boolean;
  /** Resync paused by a resync-after dependency, by the peer, by the administrator here. */
  readonly resyncSuspDependency: boolean;
  readonly resyncSuspPeer: boolean;
  readonly resyncSuspUser: boolean;
}

export const STATE_VIEW_INITIAL: StateView = {
  role: ROLE.Secondary,
  peerRole: ROLE.Unknown,
  conn: CONN.StandAlone,
  disk: DISK.Diskless,
  peerDisk: DISK.DUnknown,
  suspUser: false,
  suspNoData: false,
  suspFencing: false,
  resyncSuspDependency: false,
  resyncSuspPeer: false,
  resyncSuspUser: false,
};
