/** The text of `drbdsetup status --json`: stock's layout byte for byte, down to its fixed indentation and a blank after one comma. */
import type { ConnectionSnapshot, DeviceSnapshot, Endpoint, PathSnapshot, PeerDeviceSnapshot, ResourceSnapshot } from '@udrbd/control';
import { fixed } from './numbers.js';
import { sortedConnections } from './status.js';
import { syncProgress } from './sync-progress.js';
import { kibibytes, resyncSuspendedWord, suspendedWord } from './words.js';

/** All of `[ … ]` and the empty line after it. */
export const statusJson = (resources: readonly ResourceSnapshot[]): string => `[\n${resources.map(resourceJson).join(',\n')}]\n\n`;

const quoted = (text: string): string => JSON.stringify(text);

/** `"name": [` members `]`, where every member is an object of its own indentation. */
function array(indent: string, name: string, members: readonly string[]): string {
  if (members.length === 0) return `${indent}"${name}": [\n ]`;
  return `${indent}"${name}": [\n${members.join(',\n')} ]`;
}

function resourceJson(resource: ResourceSnapshot): string {
  const { state } = resource;
  return [
    '{',
    `  "name": ${quoted(resource.name)},`,
    `  "node-id": ${resource.nodeId},`,
    `  "role": "${state.role}",`,
    `  "suspended": ${suspendedWord(state) !== 'no'},`,
    `  "suspended-user": ${state.suspendedUser},`,
    `  "suspended-no-data": ${state.suspendedNoData},`,
    `  "suspended-fencing": ${state.suspendedFencing},`,
    `  "suspended-quorum": ${state.suspendedQuorum},`,
    `  "force-io-failures": ${state.forceIoFailures},`,
    `  "write-ordering": "${resource.statistics.writeOrdering}",`,
    `${array('  ', 'devices', resource.devices.map(deviceJson))},`,
    array(
      '  ',
      'connections',
      sortedConnections(resource).map((connection) => connectionJson(connection, resource.devices)),
    ),
    '}',
    '',
  ].join('\n');
}

function deviceJson({ volume, minor, state, statistics }: DeviceSnapshot): string {
  return [
    '    {',
    `      "volume": ${volume},`,
    `      "minor": ${minor},`,
    `      "disk-state": "${state.diskState}",`,
    `      "client": ${state.client},`,
    `      "open": ${state.open},`,
    `      "quorum": ${state.quorum},`,
    `      "size": ${kibibytes(statistics.size)},`,
    `      "read": ${kibibytes(statistics.read)},`,
    `      "written": ${kibibytes(statistics.written)},`,
    `      "al-writes": ${statistics.alWrites},`,
    `      "bm-writes": ${statistics.bmWrites},`,
    `      "upper-pending": ${statistics.upperPending},`,
    `      "lower-pending": ${statistics.lowerPending}`,
    '    }',
  ].join('\n');
}

function connectionJson(connection: ConnectionSnapshot, devices: readonly DeviceSnapshot[]): string {
  const { state, statistics } = connection;
  const sizeOf = (volume: number): number => devices.find((device) => device.volume === volume)?.statistics.size ?? 0;
  return [
    '    {',
    `      "peer-node-id": ${connection.peerNodeId},`,
    `      "name": ${quoted(connection.name)},`,
    `      "connection-state": "${state.connectionState}", `,
    `      "congested": ${statistics.congested},`,
    `      "peer-role": "${state.role}",`,
    `      "tls": ${connection.options.tls},`,
    `      "ap-in-flight": ${statistics.apInFlight},`,
    `      "rs-in-flight": ${statistics.rsInFlight},`,
    `${array('      ', 'paths', connection.paths.map(pathJson))},`,
    array(
      '      ',
      'peer_devices',
      connection.peerDevices.map((peerDevice) => peerDeviceJson(peerDevice, sizeOf(peerDevice.volume))),
    ),
    '    }',
  ].join('\n');
}

function pathJson({ local, remote, established }: PathSnapshot): string {
  const host = (name: string, { address, port, family }: Endpoint): string[] => [
    `          "${name}": {`,
    `            "address": "${address}",`,
    `            "port": ${port},`,
    `            "family": "${family}"`,
    '          },',
  ];
  return [
    '        {',
    ...host('this_host', local),
    ...host('remote_host', remote),
    `          "established": ${established}`,
    '        }',
  ].join('\n');
}

/** @param sizeSectors - of the local device; 0 gives 0 % */
function peerDeviceJson({ volume, state, statistics: s }: PeerDeviceSnapshot, sizeSectors: number): string {
  const progress = syncProgress(s);
  const inSync = sizeSectors === 0 ? 0 : 100 * (1 - s.outOfSync / sizeSectors);
  const fields: (string | number | boolean)[][] = [
    ['volume', volume],
    ['replication-state', `"${state.replicationState}"`],
    ['peer-disk-state', `"${state.diskState}"`],
    ['peer-client', state.client],
    ['resync-suspended', `"${resyncSuspendedWord(state)}"`],
    ['received', kibibytes(s.received)],
    ['sent', kibibytes(s.sent)],
    ['out-of-sync', kibibytes(s.outOfSync)],
    ['pending', s.pending],
    ['unacked', s.unacked],
    ['has-sync-details', progress !== undefined],
    ['has-online-verify-details', progress?.isVerify ?? false],
    ['percent-in-sync', fixed(inSync, 2)],
  ];
  if (progress !== undefined) {
    fields.push(
      ['rs-total', s.rsTotal],
      ['rs-dt-start-ms', s.rsDtStartMs],
      ['rs-paused-ms', s.rsPausedMs],
      ['rs-dt0-ms', s.rsDt0Ms],
      ['rs-db0-sectors', s.rsDb0Sectors],
      ['rs-dt1-ms', s.rsDt1Ms],
      ['rs-db1-sectors', s.rsDb1Sectors],
    );
    if (progress.isVerify) {
      fields.push(
        ['ov-start-sector', s.ovStartSector],
        ['ov-stop-sector', s.ovStopSector],
        ['ov-position', s.ovPosition],
        ['ov-left', s.ovLeft],
        ['ov-skipped', s.ovSkipped],
      );
    } else {
      fields.push(['rs-failed', s.resyncFailed], ['rs-same-csum', s.rsSameCsum]);
    }
    fields.push(
      ['want', progress.want ?? '0.00'],
      ['db0/dt0 [MiB/s]', progress.rate0],
      ['db1/dt1 [MiB/s]', progress.rate1],
      ['estimated-seconds-to-finish', progress.secondsLeft ?? '987654321'],
      ['db/dt [MiB/s]', progress.rate],
      ['percent-resync-done', progress.donePercent],
    );
  }
  return `        {\n${fields.map(([key, value]) => `          "${key}": ${value}`).join(',\n')}\n        }`;
}
