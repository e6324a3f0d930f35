/**
 * What the engine tells a subscriber: one notification per object and change, in the order in which the kernel's DRBD sends them.
 *
 * A batch is one atomic change of state. All its notifications but the last carry `continues`; within a batch come the
 * resource, connections, paths, devices, peer devices. A `destroy` has identity fields only. Source: drbd_genl.h,
 * drbd_notification_header.
 */
import type {
  ConnectionInfo,
  ConnectionStatistics,
  DeviceState,
  DeviceStatistics,
  Endpoint,
  PeerDeviceState,
  PeerDeviceStatistics,
  ResourceState,
  ResourceStatistics,
} from './snapshot.js';

interface InBatch {
  /** More notifications of the same batch follow. */
  readonly continues?: boolean;
}

/** The object exists (initial state), was created, or changed. */
export type Presence = 'exists' | 'create' | 'change';

export interface ResourceKey {
  readonly kind: 'resource';
  readonly resource: string;
}
export interface ConnectionKey {
  readonly kind: 'connection';
  readonly resource: string;
  readonly peerNodeId: number;
  readonly connection: string;
}
export interface DeviceKey {
  readonly kind: 'device';
  readonly resource: string;
  readonly volume: number;
  readonly minor: number;
}
export interface PeerDeviceKey {
  readonly kind: 'peer-device';
  readonly resource: string;
  readonly peerNodeId: number;
  readonly connection: string;
  readonly volume: number;
}
export interface PathKey {
  readonly kind: 'path';
  readonly resource: string;
  readonly peerNodeId: number;
  readonly connection: string;
  readonly local: Endpoint;
  readonly remote: Endpoint;
}

type Present<K, S, T> = K & InBatch & { readonly action: Presence; readonly state: S; readonly statistics: T };
type Gone<K> = K & InBatch & { readonly action: 'destroy' };

export type ResourceNotification = Present<ResourceKey, ResourceState, ResourceStatistics>;
export type ConnectionNotification = Present<ConnectionKey, ConnectionInfo, ConnectionStatistics>;
export type DeviceNotification = Present<DeviceKey, DeviceState, DeviceStatistics>;
export type PeerDeviceNotification = Present<PeerDeviceKey, PeerDeviceState, PeerDeviceStatistics>;
export type PathNotification = PathKey & InBatch & { readonly action: Presence; readonly established: boolean };

export type DestroyNotification = Gone<ResourceKey> | Gone<ConnectionKey> | Gone<DeviceKey> | Gone<PeerDeviceKey> | Gone<PathKey>;

export interface RenameNotification extends InBatch {
  readonly action: 'rename';
  readonly kind: 'resource';
  readonly resource: string;
  readonly newName: string;
}

/** A handler is called or has answered. The identity fields are those of the object it is about. */
export interface HelperNotification extends InBatch {
  readonly action: 'call' | 'response';
  readonly kind: 'helper';
  readonly resource: string;
  readonly peerNodeId?: number;
  readonly connection?: string;
  readonly local?: Endpoint;
  readonly remote?: Endpoint;
  readonly volume?: number;
  readonly minor?: number;
  readonly helper: string;
  /** Raw wait status of the handler (exit code times 256); with `response` only. */
  readonly status?: number;
}

/** Everything that exists has been told. */
export interface InitialStateDone {
  readonly action: 'exists';
  readonly kind: '-';
  readonly continues?: false;
}

export type Notification =
  | ResourceNotification
  | ConnectionNotification
  | DeviceNotification
  | PeerDeviceNotification
  | PathNotification
  | DestroyNotification
  | RenameNotification
  | HelperNotification
  | InitialStateDone;
