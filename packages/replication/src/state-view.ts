/**
 * One volume seen over one connection: the unit that DRBD's state rules judge (`union drbd_state` of DRBD 8.4, drbd.h).
 *
 * The objects behind it are DRBD 9's: the role belongs to the resource, the disk state to the volume, the connection state
 * to the connection, the replication state and the peer's disk state to the peer device.
 */

/** Role numbers, as on the wire and in `ROLES` of the control package. */
export const ROLE = { Unknown: 0, Primary: 1, Secondary: 2 } as const;
export type RoleNumber = (typeof ROLE)[keyof typeof ROLE];

/** Disk state numbers of DRBD 9 (`DISK_STATES` of the control package). DRBD 8.4 has no Detaching: see the wire adapter. */
export const DISK = {
  Diskless: 0,
  Attaching: 1,
  Detaching: 2,
  Failed: 3,
  Negotiating: 4,
  Inconsistent: 5,
  Outdated: 6,
  DUnknown: 7,
  Consistent: 8,
  UpToDate: 9,
} as const;
export type DiskNumber = (typeof DISK)[keyof typeof DISK];

/**
 * The combined connection and replication state of DRBD 8.4 on one number line. In DRBD 9's words: up to 9 it is the state
 * of the connection (`Connecting` is 8.4's WFConnection), 9 and above that of the peer device (9 `Off` on a connected one,
 * 10 `Established`).
 */
export const CONN = {
  StandAlone: 0,
  Disconnecting: 1,
  Unconnected: 2,
  Timeout: 3,
  BrokenPipe: 4,
  NetworkFailure: 5,
  ProtocolError: 6,
  TearDown: 7,
  Connecting: 8,
  WFReportParams: 9,
  Connected: 10,
  StartingSyncS: 11,
  StartingSyncT: 12,
  WFBitMapS: 13,
  WFBitMapT: 14,
  WFSyncUUID: 15,
  SyncSource: 16,
  SyncTarget: 17,
  VerifyS: 18,
  VerifyT: 19,
  PausedSyncS: 20,
  PausedSyncT: 21,
  Ahead: 22,
  Behind: 23,
} as const;
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
