/** What a handler is told about the resource, as DRBD 9 tells it. Source: drbd_nl.c, drbd_maybe_khelper. */
import type { HostSnapshot } from '../reactor/messages.js';
import type { ConnectionEntry, ResourceEntry, VolumeEntry } from './resource-entry.js';

/** Mask of the nodes all of whose disks are known to be UpToDate. */
export function upToDateNodes(nodeId: number, snapshot: HostSnapshot | undefined): string {
  const { volumes, connections } = snapshot?.core ?? { volumes: [], connections: [] };
  let mask = volumes.length > 0 && volumes.every(({ diskState }) => diskState === 'UpToDate') ? 2 ** nodeId : 0;
  for (const { peerNodeId, peerDevices } of connections) {
    if (peerDevices.length > 0 && peerDevices.every(({ peerDiskState }) => peerDiskState === 'UpToDate')) mask += 2 ** peerNodeId;
  }
  return `0x${mask.toString(16).toUpperCase().padStart(8, '0')}`;
}

export function handlerVariables(
  entry: ResourceEntry,
  connection: ConnectionEntry | undefined,
  volume: VolumeEntry | undefined,
): Record<string, string> {
  const variables: Record<string, string> = {};
  if (volume !== undefined) {
    variables.DRBD_MINOR = String(volume.minor);
    variables.DRBD_VOLUME = String(volume.volume);
    if (volume.disk !== undefined) variables.DRBD_BACKING_DEV = volume.disk.backingDev;
  }
  if (connection === undefined) return variables;
  const path = connection.paths[0];
  if (path !== undefined) {
    variables.DRBD_MY_ADDRESS = path.local.address;
    variables.DRBD_MY_AF = path.local.family;
    variables.DRBD_PEER_ADDRESS = path.remote.address;
    variables.DRBD_PEER_AF = path.remote.family;
  }
  variables.DRBD_PEER_NODE_ID = String(connection.peerNodeId);
  variables.DRBD_CSTATE = entry.connectionState(connection.number);
  if (volume !== undefined) return variables;
  for (const each of entry.volumes.values()) {
    variables[`DRBD_MINOR_${each.volume}`] = String(each.minor);
    if (each.disk !== undefined) variables[`DRBD_BACKING_DEV_${each.volume}`] = each.disk.backingDev;
  }
  return variables;
}
