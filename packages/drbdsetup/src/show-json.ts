/** The text of `drbdsetup show --json`, which always lists every option. */
import {
  type ConnectionSnapshot,
  type DeviceSnapshot,
  type Endpoint,
  META_INDEX_FLEXIBLE,
  META_INDEX_INTERNAL,
  type ResourceSnapshot,
} from '@udrbd/control';
import {
  type ListedOption,
  listDeviceOptions,
  listDiskOptions,
  listNetOptions,
  listPeerDeviceOptions,
  listResourceOptions,
} from './option-listing.js';
import { sortedConnections } from './status.js';

type Json = string | number | boolean | readonly Json[] | { readonly [key: string]: Json } | Members;

/** An object that may have a key twice. */
class Members {
  readonly entries: readonly (readonly [string, Json])[];
  constructor(entries: readonly (readonly [string, Json])[]) {
    this.entries = entries;
  }
}

/** Unlike stock, strings are escaped, so a secret with a quotation mark does not break the document. */
export const showJson = (resources: readonly ResourceSnapshot[]): string => `${print(resources.map(resourceJson), '')}\n`;

function print(value: Json, indent: string): string {
  const inner = `${indent}    `;
  if (Array.isArray(value))
    return value.length === 0 ? `[\n${indent}]` : `[\n${value.map((item) => inner + print(item, inner)).join(',\n')}\n${indent}]`;
  if (typeof value === 'object') {
    const entries = value instanceof Members ? value.entries : Object.entries(value);
    return `{\n${entries.map(([key, member]) => `${inner}"${key}": ${print(member, inner)}`).join(',\n')}\n${indent}}`;
  }
  return JSON.stringify(value);
}

const optionsJson = (options: readonly ListedOption[]): Json =>
  Object.fromEntries(options.map(({ name, text, form }) => [name, form === 'boolean' ? text === 'yes' : text]));

const resourceJson = (resource: ResourceSnapshot): Json => ({
  resource: resource.name,
  options: optionsJson(listResourceOptions(resource.options)),
  _this_host: { 'node-id': resource.nodeId, volumes: resource.devices.map(volumeJson) },
  ...(resource.connections.length === 0 ? {} : { connections: sortedConnections(resource).map(connectionJson) }),
});

function volumeJson({ volume, minor, disk, options, state }: DeviceSnapshot): Json {
  const members: [string, Json][] = [
    ['volume_nr', volume],
    ['device_minor', minor],
  ];
  if (disk !== null) {
    members.push(['backing-disk', disk.backingDev], ['meta-disk', disk.metaIndex === META_INDEX_INTERNAL ? 'internal' : disk.metaDev]);
    if (disk.metaIndex !== META_INDEX_INTERNAL && disk.metaIndex !== META_INDEX_FLEXIBLE) members.push(['meta-disk-index', disk.metaIndex]);
  } else if (state.client) {
    members.push(['disk', 'none']); // and once more below, as stock has it
  }
  members.push(['disk', optionsJson([...(disk === null ? [] : listDiskOptions(disk.options)), ...listDeviceOptions(options)])]);
  return new Members(members);
}

function connectionJson(connection: ConnectionSnapshot): Json {
  const { connectionState } = connection.state;
  const host = ({ address, port, family }: Endpoint): Json => ({ address, port, family });
  return {
    paths: connection.paths.map(({ local, remote }) => ({ this_host: host(local), remote_host: host(remote) })),
    ...(connectionState === 'StandAlone' ? { _is_standalone: true } : {}),
    _cstate: connectionState,
    net: optionsJson(listNetOptions(connection.options)),
    volumes: connection.peerDevices.map(({ volume, options }) => ({
      volume_nr: volume,
      disk: optionsJson(listPeerDeviceOptions(options)),
    })),
    _peer_node_id: connection.peerNodeId,
  };
}
