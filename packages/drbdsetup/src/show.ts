/** The text of `drbdsetup show`, which `drbdadm adjust` reads back with the grammar of drbd.conf. */
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
import { addressAndPort } from './words.js';

/** @param showDefaults - also the options at their default */
export function showResource(resource: ResourceSnapshot, showDefaults: boolean): string {
  const lines: string[] = [];
  lines.push(`resource "${escaped(resource.name)}" {`);
  if (resource.drbd8Compat) lines.push('    # This resource is in drbd-8.4 compatibility mode!');
  lines.push(...block('    ', 'options', optionLines(resourceOptions(resource), showDefaults)));
  lines.push('    _this_host {', `        node-id\t\t\t${resource.nodeId};`);
  for (const device of resource.devices) lines.push(...volumeLines(device, showDefaults));
  lines.push('    }');
  for (const connection of sortedConnections(resource)) lines.push(...connectionLines(connection, showDefaults));
  return `${lines.join('\n')}\n}\n\n`;
}

/** In 8.4 compatibility mode `auto-promote no` is what one would expect. */
function resourceOptions(resource: ResourceSnapshot): ListedOption[] {
  const listed = listResourceOptions(resource.options);
  if (!resource.drbd8Compat) return listed;
  return listed.map((option) => (option.name === 'auto-promote' ? { ...option, isDefault: option.text === 'no' } : option));
}

function volumeLines(device: DeviceSnapshot, showDefaults: boolean): string[] {
  const { disk } = device;
  const lines = [`        volume ${device.volume} {`, `            device\t\t\tminor ${device.minor};`];
  if (disk !== null) {
    lines.push(`            disk\t\t\t"${escaped(disk.backingDev)}";`, `            meta-disk\t\t\t${metaDisk(disk)};`);
  } else if (device.state.client) {
    lines.push('            disk\t\t\tnone;');
  }
  const options = [...(disk === null ? [] : listDiskOptions(disk.options)), ...listDeviceOptions(device.options)];
  lines.push(...block('            ', 'disk', optionLines(options, showDefaults)));
  lines.push('        }');
  return lines;
}

function metaDisk({ metaDev, metaIndex }: { readonly metaDev: string; readonly metaIndex: number }): string {
  if (metaIndex === META_INDEX_INTERNAL) return 'internal';
  const path = `"${escaped(metaDev)}"`;
  return metaIndex === META_INDEX_FLEXIBLE ? path : `${path} [ ${metaIndex} ]`;
}

function connectionLines(connection: ConnectionSnapshot, showDefaults: boolean): string[] {
  const lines = ['    connection {', `        _peer_node_id ${connection.peerNodeId};`];
  for (const { local, remote } of connection.paths) {
    lines.push('        path {', `            _this_host ${pathEnd(local)};`, `            _remote_host ${pathEnd(remote)};`, '        }');
  }
  lines.push(`        _cstate ${connection.state.connectionState};`);
  lines.push(...block('        ', 'net', optionLines(listNetOptions(connection.options), showDefaults)));
  for (const { volume, options } of connection.peerDevices) {
    const inner = block('            ', 'disk', optionLines(listPeerDeviceOptions(options), showDefaults));
    if (inner.length > 0) lines.push(`        volume ${volume} {`, ...inner, '        }');
  }
  lines.push('    }');
  return lines;
}

const pathEnd = (endpoint: Endpoint): string => `${endpoint.family} ${addressAndPort(endpoint)}`;

/** @returns nothing for an empty block */
const block = (indent: string, name: string, lines: readonly string[]): string[] =>
  lines.length === 0 ? [] : [`${indent}${name} {`, ...lines.map((line) => `${indent}    ${line}`), `${indent}}`];

const escaped = (text: string): string => text.replace(/[\\"]/g, '\\$&');

function optionLines(options: readonly ListedOption[], showDefaults: boolean): string[] {
  return options
    .filter((option) => (showDefaults || !option.isDefault) && !(option.name === '_name' && option.text === ''))
    .map((option) => {
      const value = option.form === 'string' ? `"${escaped(option.text)}"` : option.text;
      const remarks = [...(option.unit === undefined ? [] : [option.unit]), ...(option.isDefault ? ['default'] : [])];
      return `${option.name.padEnd(16)}\t${value};${remarks.length === 0 ? '' : ` # ${remarks.join(', ')}`}`;
    });
}
