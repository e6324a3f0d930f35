/** The core's snapshot of a resource in the control language's terms, with what only the front desk knows. */
import {
  type ConnectionSnapshot,
  DEVICE_OPTIONS,
  type DeviceSnapshot,
  DISK_OPTIONS,
  defaultOptions,
  META_INDEX_FLEXIBLE,
  META_INDEX_INTERNAL,
  NET_OPTIONS,
  type OptionTable,
  type OptionValues,
  type PathSnapshot,
  PEER_DEVICE_OPTIONS,
  type PeerDeviceSnapshot,
  type PeerDeviceStatistics,
  RESOURCE_OPTIONS,
  type ReplicationState,
  type ResourceSnapshot,
} from '@udrbd/control';
import type {
  ConnectionSnapshot as CoreConnection,
  PeerDeviceSnapshot as CorePeerDevice,
  VolumeSnapshot as CoreVolume,
  Options,
} from '@udrbd/replication';
import type { HostSnapshot, PathSetup } from '../reactor/messages.js';

type CoreVerify = NonNullable<NonNullable<CorePeerDevice['resync']>['verify']>;

export interface ViewContext {
  /** The present one; the core keeps the name it was created with. */
  readonly name: string;
  readonly drbd8Compat: boolean;
  /** Paths by connection number. */
  pathsOf(connection: number): readonly PathSetup[];
  /** Whether something outside the reactor (a mounted block device) has the volume open. */
  isOpen(volume: number): boolean;
}

const SECTORS_PER_BIT = 8;
/** Peers up to protocol 101 do not send it. With two nodes, data that are UpToDate depend on nobody else's. */
const UUID_FLAG_STABLE = 0x20;

export const uuidText = (uuid: bigint): string => uuid.toString(16).toUpperCase().padStart(16, '0');

const complete = <T extends OptionTable>(table: T, given: Options): OptionValues<T> => {
  const all: Record<string, unknown> = defaultOptions(table);
  for (const [name, value] of Object.entries(given)) if (Object.hasOwn(table, name)) all[name] = value;
  return all as OptionValues<T>;
};

export function viewOf(host: HostSnapshot, context: ViewContext): ResourceSnapshot {
  const { core } = host;
  return {
    name: context.name,
    nodeId: core.nodeId,
    drbd8Compat: context.drbd8Compat,
    options: complete(RESOURCE_OPTIONS, core.options),
    state: {
      role: core.role,
      suspendedUser: core.suspendedUser,
      suspendedNoData: core.suspendedNoData,
      suspendedFencing: core.suspendedFencing,
      suspendedQuorum: core.suspendedQuorum,
      forceIoFailures: core.failIo,
    },
    statistics: { writeOrdering: core.writeOrdering },
    devices: [...core.volumes]
      .sort((a, b) => a.volume - b.volume)
      .map((volume) => deviceOf(volume, host.openVolumes.includes(volume.volume) || context.isOpen(volume.volume))),
    connections: core.connections.map((connection) => connectionOf(connection, host, context)),
  };
}

function deviceOf(volume: CoreVolume, open: boolean): DeviceSnapshot {
  const { backing } = volume;
  return {
    volume: volume.volume,
    minor: volume.minor,
    options: complete(DEVICE_OPTIONS, volume.deviceOptions),
    disk:
      backing === undefined
        ? null
        : {
            backingDev: backing.backingDevice,
            metaDev: backing.metaDevice,
            metaIndex: indexNumber(backing.metaIndex),
            options: complete(DISK_OPTIONS, volume.diskOptions),
          },
    state: {
      diskState: volume.diskState,
      client: volume.client,
      open,
      quorum: volume.quorum,
      backingDev: backing?.backingDevice ?? null,
    },
    statistics: {
      size: volume.sizeSectors,
      read: volume.readSectors,
      written: volume.writtenSectors,
      alWrites: volume.alWrites,
      bmWrites: volume.bmWrites,
      upperPending: volume.upperPending,
      lowerPending: volume.lowerPending,
      upperBlocked: volume.blocked === 'upper',
      lowerBlocked: volume.blocked === 'lower',
      alSuspended: volume.alSuspended,
      exposedDataUuid: uuidText(volume.currentUuid),
      currentUuid: uuidText(volume.currentUuid),
      diskFlags: volume.metaDataFlags,
      historyUuids: volume.historyUuids.map(uuidText),
    },
  };
}

function indexNumber(index: number | 'internal' | 'flexible'): number {
  if (index === 'internal') return META_INDEX_INTERNAL;
  return index === 'flexible' ? META_INDEX_FLEXIBLE : index;
}

function connectionOf(connection: CoreConnection, host: HostSnapshot, context: ViewContext): ConnectionSnapshot {
  const established = host.established.find((e) => e.connection === connection.connection)?.path ?? -1;
  const options = complete(NET_OPTIONS, connection.options);
  return {
    peerNodeId: connection.peerNodeId,
    name: options._name,
    options,
    state: { connectionState: connection.state, role: connection.peerRole },
    statistics: {
      congested: connection.congested,
      apInFlight: connection.apInFlightSectors,
      rsInFlight: connection.rsInFlightSectors,
    },
    paths: context
      .pathsOf(connection.connection)
      .map((path, index): PathSnapshot => ({ local: path.local, remote: path.remote, established: index === established })),
    peerDevices: [...connection.peerDevices].sort((a, b) => a.volume - b.volume).map(peerDeviceOf),
  };
}

function peerDeviceOf(peer: CorePeerDevice): PeerDeviceSnapshot {
  return {
    volume: peer.volume,
    options: complete(PEER_DEVICE_OPTIONS, peer.options),
    state: {
      replicationState: peer.replicationState,
      diskState: peer.peerDiskState,
      client: peer.peerClient,
      resyncSuspendedUser: peer.resyncSuspendedUser,
      resyncSuspendedPeer: peer.resyncSuspendedPeer,
      resyncSuspendedDependency: peer.resyncSuspendedDependency,
      resyncSuspendedMaxParallel: false,
    },
    statistics: {
      received: peer.receivedSectors,
      sent: peer.sentSectors,
      pending: peer.pending,
      unacked: peer.unacked,
      outOfSync: peer.outOfSyncSectors,
      bitmapUuid: uuidText(peer.bitmapUuid),
      flags: peer.peerDeviceFlags,
      uuidFlags: peer.peerDiskState === 'UpToDate' ? UUID_FLAG_STABLE : 0,
      ...resyncOf(peer),
    },
  };
}

const verifyOf = ({ start, stop, position, skipped }: CoreVerify, leftBits: number) => ({
  ovStartSector: start,
  ovStopSector: stop ?? -1,
  ovPosition: position,
  ovLeft: leftBits * SECTORS_PER_BIT,
  ovSkipped: skipped,
});

type ResyncStatistics = Omit<
  PeerDeviceStatistics,
  'received' | 'sent' | 'pending' | 'unacked' | 'outOfSync' | 'bitmapUuid' | 'flags' | 'uuidFlags'
>;

const NO_RESYNC: ResyncStatistics = {
  resyncFailed: 0,
  rsTotal: 0,
  ovStartSector: 0,
  ovStopSector: -1,
  ovPosition: 0,
  ovLeft: 0,
  ovSkipped: 0,
  rsSameCsum: 0,
  rsDtStartMs: 0,
  rsPausedMs: 0,
  rsDt0Ms: 0,
  rsDb0Sectors: 0,
  rsDt1Ms: 0,
  rsDb1Sectors: 0,
  rsCSyncRate: 0,
};

/** In other states what is left of a resync is over. */
const SYNCING: ReadonlySet<ReplicationState> = new Set(['SyncSource', 'SyncTarget', 'VerifyS', 'VerifyT', 'PausedSyncS', 'PausedSyncT']);

function resyncOf(peer: CorePeerDevice): ResyncStatistics {
  const { resync } = peer;
  if (resync === undefined || !SYNCING.has(peer.replicationState)) return NO_RESYNC;
  const marks = Math.max(1, resync.markTime.length);
  // The oldest mark, and the one before the youngest: windows of about 18 and 3 seconds.
  const long = (resync.lastMark + 2) % marks;
  const short = (resync.lastMark + marks - 1) % marks;
  const window = (mark: number) => ({
    ms: Math.round(resync.now - (resync.markTime[mark] ?? resync.startedAt)),
    sectors: Math.max(0, (resync.markLeft[mark] ?? resync.totalBits) - resync.leftBits) * SECTORS_PER_BIT,
  });
  return {
    ...NO_RESYNC,
    resyncFailed: resync.failedBits * SECTORS_PER_BIT,
    rsTotal: resync.totalBits * SECTORS_PER_BIT,
    ...(resync.verify === undefined ? {} : verifyOf(resync.verify, resync.leftBits)),
    rsSameCsum: resync.sameChecksumSectors,
    rsDtStartMs: Math.round(resync.now - resync.startedAt),
    rsPausedMs: Math.round(resync.pausedMs),
    rsDt0Ms: window(long).ms,
    rsDb0Sectors: window(long).sectors,
    rsDt1Ms: window(short).ms,
    rsDb1Sectors: window(short).sectors,
    rsCSyncRate: resync.wantKiBps,
  };
}
