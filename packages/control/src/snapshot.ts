/**
 * What the engine knows, in DRBD 9's terms: the objects that `status`, `show` and `events2` print.
 *
 * `state` and `statistics` of an object are the same shapes in a snapshot and in an event. Sizes and amounts are in 512-byte
 * sectors, times in milliseconds; UUIDs are 16 upper-case hexadecimal digits. Source: drbd_genl.h.
 */
import type { DeviceOptions, DiskOptions, NetOptions, PeerDeviceOptions, ResourceOptions } from './options.js';
import type { ConnectionState, DiskState, ReplicationState, Role } from './states.js';

export const ADDRESS_FAMILIES = ['ipv4', 'ipv6', 'sdp', 'ssocks'] as const;
export type AddressFamily = (typeof ADDRESS_FAMILIES)[number];

/** A numeric endpoint: `address` is never a host name and carries no brackets. */
export interface Endpoint {
  readonly family: AddressFamily;
  readonly address: string;
  readonly port: number;
}

/** Index of the meta-data on its device: a slot number, or one of the two words drbdsetup has for none. */
export const META_INDEX_INTERNAL = -3;
export const META_INDEX_FLEXIBLE = -2;

/** Write-ordering methods in DRBD's numeric order. */
export const WRITE_ORDERINGS = ['none', 'drain', 'flush', 'barrier'] as const;
export type WriteOrdering = (typeof WRITE_ORDERINGS)[number];

export interface ResourceState {
  readonly role: Role;
  readonly suspendedUser: boolean;
  readonly suspendedNoData: boolean;
  readonly suspendedFencing: boolean;
  readonly suspendedQuorum: boolean;
  /** A forced demotion happened while the device was open: all I/O fails until the last close. */
  readonly forceIoFailures: boolean;
}

export interface ResourceStatistics {
  readonly writeOrdering: WriteOrdering;
}

export interface DeviceState {
  readonly diskState: DiskState;
  /** Intentionally diskless. */
  readonly client: boolean;
  readonly open: boolean;
  readonly quorum: boolean;
  /** Path of the lower-level device, or null without one. */
  readonly backingDev: string | null;
}

export interface DeviceStatistics {
  readonly size: number;
  readonly read: number;
  readonly written: number;
  readonly alWrites: number;
  readonly bmWrites: number;
  readonly upperPending: number;
  readonly lowerPending: number;
  readonly upperBlocked: boolean;
  readonly lowerBlocked: boolean;
  readonly alSuspended: boolean;
  readonly exposedDataUuid: string;
  readonly currentUuid: string;
  /** Bits as in the meta-data: 0 consistent, 1 primary, 4 was up-to-date, 6 crashed primary, 7 AL clean, 8 AL disabled, 9 lost quorum. */
  readonly diskFlags: number;
  /** Youngest first. */
  readonly historyUuids: readonly string[];
}

export interface ConnectionInfo {
  readonly connectionState: ConnectionState;
  /** The peer's. */
  readonly role: Role;
}

export interface ConnectionStatistics {
  readonly congested: boolean;
  readonly apInFlight: number;
  readonly rsInFlight: number;
}

export interface PeerDeviceState {
  readonly replicationState: ReplicationState;
  readonly diskState: DiskState;
  /** The peer is intentionally diskless. */
  readonly client: boolean;
  readonly resyncSuspendedUser: boolean;
  readonly resyncSuspendedPeer: boolean;
  readonly resyncSuspendedDependency: boolean;
  readonly resyncSuspendedMaxParallel: boolean;
}

export interface PeerDeviceStatistics {
  readonly received: number;
  readonly sent: number;
  readonly pending: number;
  readonly unacked: number;
  readonly outOfSync: number;
  readonly resyncFailed: number;
  readonly bitmapUuid: string;
  /** Bits: 0 connected, 1 outdated, 2 fencing, 3 full sync, 4 device seen. */
  readonly flags: number;
  /** What the running resync or verify had to do at its start; 0 when none runs, and then the other rs and ov fields mean nothing. */
  readonly rsTotal: number;
  readonly ovStartSector: number;
  /** -1: to the end of the device. */
  readonly ovStopSector: number;
  readonly ovPosition: number;
  /** 0 unless a verify runs. */
  readonly ovLeft: number;
  readonly ovSkipped: number;
  readonly rsSameCsum: number;
  /** Since the start, without `rsPausedMs` subtracted. */
  readonly rsDtStartMs: number;
  readonly rsPausedMs: number;
  /** Window 0 reaches back about 18 s, window 1 about 3 s: its length and what was done in it. */
  readonly rsDt0Ms: number;
  readonly rsDb0Sectors: number;
  readonly rsDt1Ms: number;
  readonly rsDb1Sectors: number;
  /** Target rate of the controller in KiB/s, 0 without one. */
  readonly rsCSyncRate: number;
  /** Flags the peer sent with its UUIDs; 0x20: its data are stable. */
  readonly uuidFlags: number;
}

export interface PathSnapshot {
  readonly local: Endpoint;
  readonly remote: Endpoint;
  readonly established: boolean;
}

export interface PeerDeviceSnapshot {
  readonly volume: number;
  readonly options: PeerDeviceOptions;
  readonly state: PeerDeviceState;
  readonly statistics: PeerDeviceStatistics;
}

export interface ConnectionSnapshot {
  readonly peerNodeId: number;
  /** `options._name`; empty when nobody gave one. */
  readonly name: string;
  readonly options: NetOptions;
  readonly state: ConnectionInfo;
  readonly statistics: ConnectionStatistics;
  /** In the order of their creation. */
  readonly paths: readonly PathSnapshot[];
  /** In the order of their volumes. */
  readonly peerDevices: readonly PeerDeviceSnapshot[];
}

/** What `attach` was given. */
export interface DiskSnapshot {
  readonly backingDev: string;
  readonly metaDev: string;
  readonly metaIndex: number;
  readonly options: DiskOptions;
}

export interface DeviceSnapshot {
  readonly volume: number;
  readonly minor: number;
  readonly options: DeviceOptions;
  /** Null while no disk is attached. */
  readonly disk: DiskSnapshot | null;
  readonly state: DeviceState;
  readonly statistics: DeviceStatistics;
}

export interface ResourceSnapshot {
  readonly name: string;
  readonly nodeId: number;
  /** Created with the command syntax of DRBD 8.4, without node ids. */
  readonly drbd8Compat: boolean;
  readonly options: ResourceOptions;
  readonly state: ResourceState;
  readonly statistics: ResourceStatistics;
  /** In the order of their volumes. */
  readonly devices: readonly DeviceSnapshot[];
  readonly connections: readonly ConnectionSnapshot[];
}

export interface Snapshot {
  readonly resources: readonly ResourceSnapshot[];
}
