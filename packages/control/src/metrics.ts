/**
 * The snapshot as Prometheus text (exposition format 0.0.4), with the names and labels of drbd-reactor's exporter, so that its
 * dashboards and alert rules fit. A state is one sample per word, 1 for the present one.
 */
import { syncLeft } from './progress.js';
import { promotionOfResource } from './promotion.js';
import type { ConnectionSnapshot, DeviceSnapshot, PeerDeviceSnapshot, ResourceSnapshot } from './snapshot.js';
import { CONNECTION_STATES, DISK_STATES, REPLICATION_STATES, ROLES } from './states.js';

/** What the Content-Type of an answer over HTTP says. */
export const METRICS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

type Labels = Readonly<Record<string, string | number>>;
/** A number, or for a state its word and all there are. */
type Value = number | boolean | { readonly word: string; readonly of: readonly string[] };

interface Metric<T> {
  readonly name: string;
  readonly type: 'gauge' | 'counter';
  readonly help: string;
  /** Undefined: no sample. */
  readonly value: (of: T) => Value | undefined;
}

const gauge = <T>(name: string, help: string, value: Metric<T>['value']): Metric<T> => ({ name, type: 'gauge', help, value });
const counter = <T>(name: string, help: string, value: Metric<T>['value']): Metric<T> => ({ name, type: 'counter', help, value });

const SECTOR = 512;

const RESOURCE: readonly Metric<ResourceSnapshot>[] = [
  gauge('drbd_resource_role', 'Role of the resource on this node', (r) => ({ word: r.state.role, of: ROLES })),
  gauge('drbd_resource_suspended', 'Whether I/O is suspended, for whatever reason', ({ state }) => {
    return state.suspendedUser || state.suspendedNoData || state.suspendedFencing || state.suspendedQuorum;
  }),
  gauge('drbd_resource_maypromote', 'Whether the resource may become Primary here', (r) => promotionOfResource(r).mayPromote),
  gauge(
    'drbd_resource_promotionscore',
    'How good a place for a Primary this node is; higher is better',
    (r) => promotionOfResource(r).score,
  ),
  gauge('drbd_resource_forceiofailures', 'Whether all I/O fails after a forced demotion', (r) => r.state.forceIoFailures),
];

const CONNECTION: readonly Metric<ConnectionSnapshot>[] = [
  gauge('drbd_connection_state', 'State of the connection', (c) => ({ word: c.state.connectionState, of: CONNECTION_STATES })),
  gauge('drbd_connection_congested', 'Whether the send buffer of the data stream is nearly full', (c) => c.statistics.congested),
  gauge('drbd_connection_apinflight_bytes', 'Application data under way to the peer', (c) => c.statistics.apInFlight * SECTOR),
  gauge('drbd_connection_rsinflight_bytes', 'Resync data under way', (c) => c.statistics.rsInFlight * SECTOR),
];

const PEER_DEVICE: readonly Metric<PeerDeviceSnapshot>[] = [
  gauge('drbd_peerdevice_outofsync_bytes', 'Data that may differ from the peer, by the bitmap', (p) => p.statistics.outOfSync * SECTOR),
  counter('drbd_peerdevice_sent_bytes', 'Data sent to the peer', (p) => p.statistics.sent * SECTOR),
  counter('drbd_peerdevice_received_bytes', 'Data received from the peer', (p) => p.statistics.received * SECTOR),
  gauge('drbd_peerdevice_replication', 'State of the replication', (p) => ({ word: p.state.replicationState, of: REPLICATION_STATES })),
  gauge('drbd_peerdevice_disk', "State of the peer's disk", (p) => ({ word: p.state.diskState, of: DISK_STATES })),
  gauge('drbd_peerdevice_syncdone_ratio', 'Part of the running resync or verify that is done, 0 to 1', ({ statistics: s }) => {
    const left = syncLeft(s);
    return left === undefined ? undefined : Math.max(0, s.rsTotal - left) / s.rsTotal;
  }),
];

const DEVICE: readonly Metric<DeviceSnapshot>[] = [
  gauge('drbd_device_state', 'State of the local disk', (d) => ({ word: d.state.diskState, of: DISK_STATES })),
  gauge('drbd_device_client', 'Whether the device has no disk on purpose', (d) => d.state.client),
  gauge(
    'drbd_device_unintentionaldiskless',
    'Whether the device has lost its disk',
    (d) => !d.state.client && d.state.diskState === 'Diskless',
  ),
  gauge('drbd_device_quorum', 'Whether the device has quorum', (d) => d.state.quorum),
  gauge('drbd_device_open', 'Whether somebody has the device open', (d) => d.state.open),
  gauge('drbd_device_size_bytes', 'Size of the device', (d) => d.statistics.size * SECTOR),
  counter('drbd_device_read_bytes_total', 'Data read from the local disk', (d) => d.statistics.read * SECTOR),
  counter('drbd_device_written_bytes_total', 'Data written to the local disk', (d) => d.statistics.written * SECTOR),
  counter('drbd_device_alwrites_total', 'Writes to the activity log', (d) => d.statistics.alWrites),
  counter('drbd_device_bmwrites_total', 'Writes to the bitmap', (d) => d.statistics.bmWrites),
  gauge('drbd_device_upperpending', 'Requests from above that are not answered yet', (d) => d.statistics.upperPending),
  gauge('drbd_device_lowerpending', 'Requests to the local disk that are not answered yet', (d) => d.statistics.lowerPending),
  gauge('drbd_device_alsuspended', 'Whether the activity log is suspended', (d) => d.statistics.alSuspended),
];

/** @param version - of the engine; undefined when none runs */
export function prometheusText(resources: readonly ResourceSnapshot[], version: string | undefined): string {
  const text: string[] = [];
  const put = <T>(metrics: readonly Metric<T>[], objects: readonly { readonly labels: Labels; readonly of: T }[]): void => {
    for (const metric of metrics) {
      const lines = objects.flatMap(({ labels, of }) => samples(metric.name, labels, metric.value(of)));
      if (lines.length > 0) text.push(`# HELP ${metric.name} ${metric.help}`, `# TYPE ${metric.name} ${metric.type}`, ...lines);
    }
  };
  const total: readonly Metric<number>[] = [gauge('drbd_resource_resources', 'Number of resources', (count) => count)];
  const engine: readonly Metric<boolean>[] = [gauge('udrbd_up', 'Whether an engine runs', (isUp) => isUp)];
  put(engine, [{ labels: version === undefined ? {} : { version }, of: version !== undefined }]);
  put(total, [{ labels: {}, of: resources.length }]);
  put(
    RESOURCE,
    resources.map((resource) => ({ labels: { name: resource.name }, of: resource })),
  );
  const connections = resources.flatMap(({ name, connections }) =>
    connections.map((connection) => ({
      labels: { name, conn_name: connection.name, peer_node_id: connection.peerNodeId },
      of: connection,
    })),
  );
  put(CONNECTION, connections);
  put(
    PEER_DEVICE,
    connections.flatMap(({ labels, of }) => of.peerDevices.map((peer) => ({ labels: { ...labels, volume: peer.volume }, of: peer }))),
  );
  put(
    DEVICE,
    resources.flatMap(({ name, devices }) =>
      devices.map((device) => ({ labels: { name, volume: device.volume, minor: device.minor }, of: device })),
    ),
  );
  return `${text.join('\n')}\n`;
}

function samples(name: string, labels: Labels, value: Value | undefined): string[] {
  if (value === undefined) return [];
  if (typeof value !== 'object') return [`${name}${braced(labels)} ${Number(value)}`];
  // As in the exporter that set these names, the label of a state is called like its metric.
  return value.of.map((word) => `${name}${braced({ ...labels, [name]: word })} ${Number(word === value.word)}`);
}

const escaped = (value: string | number): string => String(value).replace(/["\\]/g, '\\$&').replaceAll('\n', '\\n');

function braced(labels: Labels): string {
  const list = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`);
  return list.length === 0 ? '' : `{${list.join(',')}}`;
}
