/**
 * The state of a resource as plain values: what status, events2 and /proc/drbd print. Words are DRBD 9's; times are
 * milliseconds, sizes sectors of 512 bytes unless the name says otherwise.
 */
import type { ConnectionState, DiskState, ReplicationState, Role } from '@udrbd/control';
import type { Options } from './host.js';

export interface ResourceSnapshot {
  readonly name: string;
  readonly nodeId: number;
  readonly role: Role;
  readonly suspendedUser: boolean;
  readonly suspendedNoData: boolean;
  readonly suspendedFencing: boolean;
  readonly suspendedQuorum: boolean;
  /** Demoted by force while open: all I/O fails until the last close. */
  readonly failIo: boolean;
  readonly writeOrdering: 'none' | 'drain' | 'flush';
  readonly options: Options;
  readonly volumes: readonly VolumeSnapshot[];
  readonly connections: readonly ConnectionSnapshot[];
}

export interface VolumeSnapshot {
  readonly volume: number;
  readonly minor: number;
  readonly diskState: DiskState;
  /** Intentionally diskless (`new-minor --diskless`). */
  readonly client: boolean;
  readonly quorum: boolean;
  readonly sizeSectors: number;
  /** undefined while diskless. */
  readonly backing:
    | undefined
    | { readonly backingDevice: string; readonly metaDevice: string; readonly metaIndex: number | 'internal' | 'flexible' };
  readonly diskOptions: Options;
  readonly deviceOptions: Options;
  /** Sectors read and written on the backing device (dr, dw); blocks of the activity log and the bitmap written (al, bm). */
  readonly readSectors: number;
  readonly writtenSectors: number;
  readonly alWrites: number;
  readonly bmWrites: number;
  /** Application requests not completed (ap); local I/O in flight (lo). */
  readonly upperPending: number;
  readonly lowerPending: number;
  readonly alSuspended: boolean;
  readonly blocked: 'no' | 'upper' | 'lower';
  readonly currentUuid: bigint;
  readonly historyUuids: readonly bigint[];
  /** Bits of the super block's `flags`. */
  readonly metaDataFlags: number;
}

export interface ConnectionSnapshot {
  readonly connection: number;
  readonly peerNodeId: number;
  readonly state: ConnectionState;
  readonly peerRole: Role;
  /** 'A', 'B' or 'C' as configured now. */
  readonly protocol: string;
  /** Agreed protocol version, 0 while not connected; resolve-conflicts flag. */
  readonly agreedProtocolVersion: number;
  readonly congested: boolean;
  readonly apInFlightSectors: number;
  readonly rsInFlightSectors: number;
  /** Receiver's epoch objects (ep). */
  readonly epochs: number;
  readonly options: Options;
  readonly peerDevices: readonly PeerDeviceSnapshot[];
}

export interface PeerDeviceSnapshot {
  readonly volume: number;
  readonly replicationState: ReplicationState;
  readonly peerDiskState: DiskState;
  readonly peerClient: boolean;
  readonly resyncSuspendedUser: boolean;
  readonly resyncSuspendedPeer: boolean;
  readonly resyncSuspendedDependency: boolean;
  /** Payload received and sent since the connection stands (nr, ns). */
  readonly receivedSectors: number;
  readonly sentSectors: number;
  /** Requests waiting for the peer's answer (pe); requests of the peer not answered yet (ua). */
  readonly pending: number;
  readonly unacked: number;
  readonly outOfSyncSectors: number;
  readonly bitmapUuid: bigint;
  readonly peerDeviceFlags: number;
  readonly options: Options;
  /** undefined while neither resync nor verify runs. */
  readonly resync: undefined | ResyncSnapshot;
}

/** Progress in bits (of 4 KiB), times in milliseconds of the host's clock. */
export interface ResyncSnapshot {
  readonly totalBits: number;
  /** Bits still to do, without the failed ones. */
  readonly leftBits: number;
  readonly failedBits: number;
  readonly startedAt: number;
  readonly pausedMs: number;
  readonly now: number;
  /** The eight progress marks: time and bits left; `lastMark` is the youngest one. */
  readonly markTime: readonly number[];
  readonly markLeft: readonly number[];
  readonly lastMark: number;
  /** Rate that the controller wants, KiB/s. */
  readonly wantKiBps: number;
  /** Sectors with equal checksums, for the summary. */
  readonly sameChecksumSectors: number;
  /** undefined for a resync; sectors, `stop` undefined: to the end of the device. */
  readonly verify:
    | undefined
    | { readonly start: number; readonly stop: number | undefined; readonly position: number; readonly skipped: number };
}
