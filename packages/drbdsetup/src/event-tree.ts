/**
 * The objects that events2 knows of, each with what was last printed about it and what is to be printed next.
 *
 * Notifications change the tree; when a batch is complete, `event-lines.ts` prints what the batch changed.
 */
import type {
  ConnectionInfo,
  ConnectionStatistics,
  DeviceState,
  DeviceStatistics,
  Endpoint,
  Notification,
  PeerDeviceState,
  PeerDeviceStatistics,
  Presence,
  Promotion,
  ResourceState,
  ResourceStatistics,
} from '@udrbd/control';
import { endpointWord } from './words.js';

export interface Told<S, T> {
  readonly state: S;
  readonly statistics: T;
}

/** `pending`: how the object appears in the batch being collected, undefined when the batch is not about it. */
interface Node<V> {
  printed: V | undefined;
  current: V;
  pending: Presence | undefined;
}

export interface PathNode extends Node<boolean> {
  readonly local: Endpoint;
  readonly remote: Endpoint;
}
export interface PeerDeviceNode extends Node<Told<PeerDeviceState, PeerDeviceStatistics>> {
  readonly volume: number;
}
export interface ConnectionNode extends Node<Told<ConnectionInfo, ConnectionStatistics>> {
  readonly peerNodeId: number;
  name: string;
  readonly peerDevices: Map<number, PeerDeviceNode>;
  readonly paths: Map<string, PathNode>;
  readonly gonePaths: PathNode[];
  readonly gonePeerDevices: PeerDeviceNode[];
}
export interface DeviceNode extends Node<Told<DeviceState, DeviceStatistics>> {
  readonly volume: number;
  readonly minor: number;
}
export interface ResourceNode extends Node<Told<ResourceState, ResourceStatistics>> {
  name: string;
  printedPromotion: Promotion | undefined;
  readonly connections: Map<number, ConnectionNode>;
  readonly devices: Map<number, DeviceNode>;
  readonly goneConnections: ConnectionNode[];
  readonly goneDevices: DeviceNode[];
  isGone: boolean;
}

export type EventTree = Map<string, ResourceNode>;

function tell<V>(node: Node<V>, action: Presence, value: V): void {
  node.current = value;
  // An object created and changed in one batch is new.
  if (node.pending === undefined || node.pending === 'change') node.pending = action;
}

/**
 * Applies a notification about an object (not helper calls, renames and the end of the initial state).
 * @returns the resource it belongs to, or undefined when that is not known
 */
export function applyNotification(tree: EventTree, event: Notification): ResourceNode | undefined {
  if (event.kind === '-' || event.kind === 'helper' || event.action === 'rename') return undefined;
  let resource = tree.get(event.resource);
  if (event.kind === 'resource') {
    if (event.action === 'destroy') {
      if (resource !== undefined) resource.isGone = true;
      return resource;
    }
    const told = { state: event.state, statistics: event.statistics };
    if (resource === undefined) {
      resource = {
        name: event.resource,
        printed: undefined,
        printedPromotion: undefined,
        current: told,
        pending: undefined,
        connections: new Map(),
        devices: new Map(),
        goneConnections: [],
        goneDevices: [],
        isGone: false,
      };
      tree.set(event.resource, resource);
    }
    tell(resource, event.action, told);
    return resource;
  }
  if (resource === undefined) return undefined;
  if (event.kind === 'device') applyDevice(resource, event);
  else if (event.kind === 'connection') applyConnection(resource, event);
  else {
    const connection =
      resource.connections.get(event.peerNodeId) ?? resource.goneConnections.find(({ peerNodeId }) => peerNodeId === event.peerNodeId);
    if (connection === undefined) return resource;
    if (event.kind === 'path') applyPath(connection, event);
    else applyPeerDevice(connection, event);
  }
  return resource;
}

type Of<K extends Notification['kind']> = Extract<Notification, { readonly kind: K }>;

function applyDevice(resource: ResourceNode, event: Of<'device'>): void {
  const { volume } = event;
  const node = resource.devices.get(volume);
  if (event.action === 'destroy') {
    if (node === undefined) return;
    resource.devices.delete(volume);
    resource.goneDevices.push(node);
    return;
  }
  const told = { state: event.state, statistics: event.statistics };
  const known = node ?? { volume, minor: event.minor, printed: undefined, current: told, pending: undefined };
  if (node === undefined) resource.devices.set(volume, known);
  tell(known, event.action, told);
}

function applyConnection(resource: ResourceNode, event: Of<'connection'>): void {
  const { peerNodeId } = event;
  const node = resource.connections.get(peerNodeId);
  if (event.action === 'destroy') {
    if (node === undefined) return;
    resource.connections.delete(peerNodeId);
    resource.goneConnections.push(node);
    return;
  }
  const told = { state: event.state, statistics: event.statistics };
  const known: ConnectionNode = node ?? {
    peerNodeId,
    name: event.connection,
    printed: undefined,
    current: told,
    pending: undefined,
    peerDevices: new Map(),
    paths: new Map(),
    gonePaths: [],
    gonePeerDevices: [],
  };
  if (node === undefined) resource.connections.set(peerNodeId, known);
  known.name = event.connection;
  tell(known, event.action, told);
}

function applyPeerDevice(connection: ConnectionNode, event: Of<'peer-device'>): void {
  const { volume } = event;
  const node = connection.peerDevices.get(volume);
  if (event.action === 'destroy') {
    if (node === undefined) return;
    connection.peerDevices.delete(volume);
    connection.gonePeerDevices.push(node);
    return;
  }
  const told = { state: event.state, statistics: event.statistics };
  const known = node ?? { volume, printed: undefined, current: told, pending: undefined };
  if (node === undefined) connection.peerDevices.set(volume, known);
  tell(known, event.action, told);
}

function applyPath(connection: ConnectionNode, event: Of<'path'>): void {
  const key = `${endpointWord(event.local)} ${endpointWord(event.remote)}`;
  const node = connection.paths.get(key);
  if (event.action === 'destroy') {
    if (node === undefined) return;
    connection.paths.delete(key);
    connection.gonePaths.push(node);
    return;
  }
  const known = node ?? { local: event.local, remote: event.remote, printed: undefined, current: event.established, pending: undefined };
  if (node === undefined) connection.paths.set(key, known);
  tell(known, event.action, event.established);
}
