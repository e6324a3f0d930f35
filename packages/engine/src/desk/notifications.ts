/** Notifications from two snapshots of a resource: what `events2` shows. One difference is one batch. */
import type {
  ConnectionKey,
  ConnectionSnapshot,
  DestroyNotification,
  DeviceKey,
  DeviceSnapshot,
  Notification,
  PathKey,
  PathSnapshot,
  PeerDeviceKey,
  PeerDeviceSnapshot,
  Presence,
  ResourceKey,
  ResourceSnapshot,
} from '@udrbd/control';

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/**
 * The batch that leads from `before` to `after`; empty when nothing that is told has changed.
 * @param presence - of objects that are new: `create`, or `exists` for the initial state
 */
export function difference(
  before: ResourceSnapshot | undefined,
  after: ResourceSnapshot | undefined,
  presence: Presence = 'create',
): Notification[] {
  const batch: Notification[] = [];
  const resource = (after ?? before)?.name ?? '';
  const resourceKey: ResourceKey = { kind: 'resource', resource };
  if (after !== undefined && !same(before?.state, after.state)) {
    batch.push({
      ...resourceKey,
      action: before === undefined ? presence : 'change',
      state: after.state,
      statistics: after.statistics,
    });
  }
  const connectionsBefore = new Map(before?.connections.map((c) => [c.peerNodeId, c]));
  const connectionsAfter = new Map(after?.connections.map((c) => [c.peerNodeId, c]));
  const devicesBefore = new Map(before?.devices.map((d) => [d.minor, d]));
  const devicesAfter = new Map(after?.devices.map((d) => [d.minor, d]));
  const paths: Notification[] = [];
  const peerDevices: Notification[] = [];
  const gone: DestroyNotification[] = [];

  for (const connection of connectionsAfter.values()) {
    const old = connectionsBefore.get(connection.peerNodeId);
    if (old === undefined || !same(old.state, connection.state) || old.name !== connection.name) {
      batch.push({
        ...connectionKey(resource, connection),
        action: old === undefined ? presence : 'change',
        state: connection.state,
        statistics: connection.statistics,
      });
    }
    const oldPaths = new Map(old?.paths.map((p) => [pathText(p), p]));
    for (const path of connection.paths) {
      const was = oldPaths.get(pathText(path));
      oldPaths.delete(pathText(path));
      if (was !== undefined && was.established === path.established) continue;
      paths.push({
        ...pathKey(resource, connection, path),
        action: was === undefined ? presence : 'change',
        established: path.established,
      });
    }
    for (const path of oldPaths.values()) gone.push({ ...pathKey(resource, connection, path), action: 'destroy' });
    const oldPeers = new Map(old?.peerDevices.map((p) => [p.volume, p]));
    for (const peer of connection.peerDevices) {
      const was = oldPeers.get(peer.volume);
      oldPeers.delete(peer.volume);
      if (was !== undefined && same(was.state, peer.state)) continue;
      peerDevices.push({
        ...peerDeviceKey(resource, connection, peer),
        action: was === undefined ? presence : 'change',
        state: peer.state,
        statistics: peer.statistics,
      });
    }
    for (const peer of oldPeers.values()) gone.push({ ...peerDeviceKey(resource, connection, peer), action: 'destroy' });
  }
  batch.push(...paths);
  for (const device of devicesAfter.values()) {
    const old = devicesBefore.get(device.minor);
    if (old !== undefined && same(old.state, device.state) && old.statistics.size === device.statistics.size) continue;
    batch.push({
      ...deviceKey(resource, device),
      action: old === undefined ? presence : 'change',
      state: device.state,
      statistics: device.statistics,
    });
  }
  batch.push(...peerDevices, ...gone);
  for (const connection of connectionsBefore.values()) {
    if (connectionsAfter.has(connection.peerNodeId)) continue;
    for (const peer of connection.peerDevices) batch.push({ ...peerDeviceKey(resource, connection, peer), action: 'destroy' });
    batch.push({ ...connectionKey(resource, connection), action: 'destroy' });
  }
  for (const device of devicesBefore.values()) {
    if (!devicesAfter.has(device.minor)) batch.push({ ...deviceKey(resource, device), action: 'destroy' });
  }
  if (after === undefined && before !== undefined) batch.push({ ...resourceKey, action: 'destroy' });
  return batch.map((notification, i) => (i < batch.length - 1 ? { ...notification, continues: true } : notification)) as Notification[];
}

const connectionKey = (resource: string, c: ConnectionSnapshot): ConnectionKey => ({
  kind: 'connection',
  resource,
  peerNodeId: c.peerNodeId,
  connection: c.name,
});
const deviceKey = (resource: string, d: DeviceSnapshot): DeviceKey => ({ kind: 'device', resource, volume: d.volume, minor: d.minor });
const peerDeviceKey = (resource: string, c: ConnectionSnapshot, p: PeerDeviceSnapshot): PeerDeviceKey => ({
  kind: 'peer-device',
  resource,
  peerNodeId: c.peerNodeId,
  connection: c.name,
  volume: p.volume,
});
const pathKey = (resource: string, c: ConnectionSnapshot, p: PathSnapshot): PathKey => ({
  kind: 'path',
  resource,
  peerNodeId: c.peerNodeId,
  connection: c.name,
  local: p.local,
  remote: p.remote,
});
const pathText = (path: PathSnapshot): string => JSON.stringify([path.local, path.remote]);
