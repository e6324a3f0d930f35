/** Turns a recorded engine state (`*.state`) into our model: the dumps into a snapshot, the event stream into notifications. */
import {
  connectionStateFromNumber,
  DEVICE_OPTIONS,
  type DeviceState,
  type DeviceStatistics,
  DISK_OPTIONS,
  diskStateFromNumber,
  type Endpoint,
  NET_OPTIONS,
  type Notification,
  type OptionTable,
  type OptionValues,
  PEER_DEVICE_OPTIONS,
  type PeerDeviceState,
  type PeerDeviceStatistics,
  RESOURCE_OPTIONS,
  type ResourceState,
  replicationStateFromNumber,
  roleFromNumber,
  type Snapshot,
  WRITE_ORDERINGS,
} from '@udrbd/control';

class Line {
  readonly operation: string;
  private readonly fields: ReadonlyMap<string, string>;
  readonly pairs: readonly (readonly [string, string])[];

  constructor(text: string) {
    const [operation = '', ...rest] = text.split(' ');
    this.operation = operation;
    this.pairs = rest
      .filter((word) => word !== '')
      .map((word) => [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)] as const);
    this.fields = new Map(this.pairs);
  }
  has = (key: string): boolean => this.fields.has(key);
  text = (key: string): string => {
    const value = this.fields.get(key) ?? '-';
    return value === '-' ? '' : value;
  };
  number = (key: string): number => Number(this.fields.get(key) ?? 0);
  flag = (key: string): boolean => this.number(key) !== 0;
  uuid = (key: string): string =>
    BigInt(this.fields.get(key) ?? 0)
      .toString(16)
      .toUpperCase()
      .padStart(16, '0');
}

const endpoint = (text: string): Endpoint => {
  const port = Number(text.slice(text.lastIndexOf(':') + 1));
  const host = text.slice(0, text.lastIndexOf(':'));
  return host.startsWith('[') ? { family: 'ipv6', address: host.slice(1, -1), port } : { family: 'ipv4', address: host, port };
};

/** drbd_genl.h's names of our options, where they are not the same with underscores. */
const FIELD: Readonly<Record<string, string>> = {
  'on-no-data-accessible': 'on_no_data',
  'max-io-depth': 'nr_requests',
  'quorum-minimum-redundancy': 'quorum_min_redundancy',
  'on-suspended-primary-outdated': 'on_susp_primary_outdated',
  'drbd8-api-compatibility': 'explicit_drbd8_compat',
  size: 'disk_size',
  diskless: 'intentional_diskless',
  transport: 'transport_name',
  protocol: 'wire_protocol',
  'ping-timeout': 'ping_timeo',
  'allow-two-primaries': 'two_primaries',
  'after-sb-0pri': 'after_sb_0p',
  'after-sb-1pri': 'after_sb_1p',
  'after-sb-2pri': 'after_sb_2p',
  'data-integrity-alg': 'integrity_alg',
  'congestion-fill': 'cong_fill',
  'congestion-extents': 'cong_extents',
  'socket-check-timeout': 'sock_check_timeo',
  fencing: 'fencing_policy',
  _name: 'name',
};
/** Sync-after policies share one enumeration in the kernel. */
const POLICIES = [
  ['disconnect'],
  ['discard-younger-primary'],
  ['discard-older-primary'],
  ['discard-zero-changes'],
  ['discard-least-changes'],
  ['discard-local'],
  ['discard-remote'],
  ['consensus'],
  ['discard-secondary'],
  ['call-pri-lost-after-sb', 'call-pri-lost'],
  ['violently-as0p', 'violently'],
  ['retry-connect'],
  ['auto-discard'],
];

function options<T extends OptionTable>(line: Line, group: string, table: T): OptionValues<T> {
  const value = (name: string): unknown => {
    const row = table[name]!;
    const suffix = FIELD[name] ?? name.replaceAll('-', '_');
    const key = line.has(`${group}.${suffix}`)
      ? `${group}.${suffix}`
      : `${group}.${group === 'dc' && name === 'bitmap' ? 'd_bitmap' : suffix}`;
    if (!line.has(key)) throw new Error(`no field for ${name}: ${key}`);
    const number = line.number(key);
    switch (row.kind) {
      case 'number':
        return number;
      case 'yes-no':
        return line.flag(key);
      case 'text':
        return name.startsWith('tls-') ? '' : line.text(key);
      case 'number-or-word':
        return number === 0 ? 'off' : number === 1024 ? 'majority' : number === 1025 ? 'all' : number;
      case 'word': {
        if (name === 'protocol') return row.words[number - 1];
        if (name.startsWith('after-sb') || name === 'rr-conflict') return POLICIES[number]!.find((word) => row.words.includes(word));
        return row.words[number];
      }
    }
  };
  return Object.fromEntries(Object.keys(table).map((name) => [name, value(name)])) as OptionValues<T>;
}

const resourceState = (line: Line): ResourceState => ({
  role: roleFromNumber(line.number('ri.res_role'))!,
  suspendedUser: line.flag('ri.res_susp'),
  suspendedNoData: line.flag('ri.res_susp_nod'),
  suspendedFencing: line.flag('ri.res_susp_fen'),
  suspendedQuorum: line.flag('ri.res_susp_quorum'),
  forceIoFailures: line.flag('ri.res_fail_io'),
});
const resourceStatistics = (line: Line) => ({ writeOrdering: WRITE_ORDERINGS[line.number('rs.res_stat_write_ordering')]! });

const deviceState = (line: Line): DeviceState => ({
  diskState: diskStateFromNumber(line.number('di.dev_disk_state'))!,
  client: line.flag('di.is_intentional_diskless'),
  open: line.flag('di.dev_is_open'),
  quorum: line.flag('di.dev_has_quorum'),
  backingDev: line.text('di.backing_dev_path') || null,
});
const deviceStatistics = (line: Line): DeviceStatistics => ({
  size: line.number('ds.dev_size'),
  read: line.number('ds.dev_read'),
  written: line.number('ds.dev_write'),
  alWrites: line.number('ds.dev_al_writes'),
  bmWrites: line.number('ds.dev_bm_writes'),
  upperPending: line.number('ds.dev_upper_pending'),
  lowerPending: line.number('ds.dev_lower_pending'),
  upperBlocked: line.flag('ds.dev_upper_blocked'),
  lowerBlocked: line.flag('ds.dev_lower_blocked'),
  alSuspended: line.flag('ds.dev_al_suspended'),
  exposedDataUuid: line.uuid('ds.dev_exposed_data_uuid'),
  currentUuid: line.uuid('ds.dev_current_uuid'),
  diskFlags: line.number('ds.dev_disk_flags'),
  historyUuids: line
    .text('ds.history_uuids')
    .split(',')
    .map((uuid) => uuid.toUpperCase().padStart(16, '0')),
});

const connectionInfo = (line: Line) => ({
  connectionState: connectionStateFromNumber(line.number('ci.conn_connection_state'))!,
  role: roleFromNumber(line.number('ci.conn_role'))!,
});
const connectionStatistics = (line: Line) => ({
  congested: line.flag('cs.conn_congested'),
  apInFlight: line.number('cs.ap_in_flight'),
  rsInFlight: line.number('cs.rs_in_flight'),
});

const peerDeviceState = (line: Line): PeerDeviceState => ({
  replicationState: replicationStateFromNumber(line.number('pi.peer_repl_state'))!,
  diskState: diskStateFromNumber(line.number('pi.peer_disk_state'))!,
  client: line.flag('pi.peer_is_intentional_diskless'),
  resyncSuspendedUser: line.flag('pi.peer_resync_susp_user'),
  resyncSuspendedPeer: line.flag('pi.peer_resync_susp_peer'),
  resyncSuspendedDependency: line.flag('pi.peer_resync_susp_dependency'),
  resyncSuspendedMaxParallel: line.flag('pi.peer_resync_susp_max_parallel'),
});
const peerDeviceStatistics = (line: Line): PeerDeviceStatistics => {
  const stop = BigInt(line.text('ps.peer_dev_ov_stop_sector') || 0);
  return {
    received: line.number('ps.peer_dev_received'),
    sent: line.number('ps.peer_dev_sent'),
    pending: line.number('ps.peer_dev_pending'),
    unacked: line.number('ps.peer_dev_unacked'),
    outOfSync: line.number('ps.peer_dev_out_of_sync'),
    resyncFailed: line.number('ps.peer_dev_resync_failed'),
    bitmapUuid: line.uuid('ps.peer_dev_bitmap_uuid'),
    flags: line.number('ps.peer_dev_flags'),
    rsTotal: line.number('ps.peer_dev_rs_total'),
    ovStartSector: line.number('ps.peer_dev_ov_start_sector'),
    ovStopSector: Number(BigInt.asIntN(64, stop)),
    ovPosition: line.number('ps.peer_dev_ov_position'),
    ovLeft: line.number('ps.peer_dev_ov_left'),
    ovSkipped: line.number('ps.peer_dev_ov_skipped'),
    rsSameCsum: line.number('ps.peer_dev_rs_same_csum'),
    rsDtStartMs: line.number('ps.peer_dev_rs_dt_start_ms'),
    rsPausedMs: line.number('ps.peer_dev_rs_paused_ms'),
    rsDt0Ms: line.number('ps.peer_dev_rs_dt0_ms'),
    rsDb0Sectors: line.number('ps.peer_dev_rs_db0_sectors'),
    rsDt1Ms: line.number('ps.peer_dev_rs_dt1_ms'),
    rsDb1Sectors: line.number('ps.peer_dev_rs_db1_sectors'),
    rsCSyncRate: line.number('ps.peer_dev_rs_c_sync_rate'),
    uuidFlags: line.number('ps.peer_dev_uuid_flags'),
  };
};

const parseLines = (text: string): Line[] =>
  text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => new Line(line));

export function parseSnapshot(text: string): Snapshot {
  const lines = parseLines(text);
  const of = (operation: string, parent: Line, ...keys: string[]) =>
    lines.filter((line) => line.operation === operation && keys.every((key) => line.text(key) === parent.text(key)));
  const resources = lines
    .filter((line) => line.operation === 'GET_RESOURCES')
    .map((resource) => ({
      name: resource.text('ctx.ctx_resource_name'),
      nodeId: resource.number('ro.node_id'),
      drbd8Compat: resource.flag('ro.drbd8_compat_mode'),
      options: options(resource, 'ro', RESOURCE_OPTIONS),
      state: resourceState(resource),
      statistics: resourceStatistics(resource),
      devices: of('GET_DEVICES', resource, 'ctx.ctx_resource_name').map((device) => ({
        volume: device.number('ctx.ctx_volume'),
        minor: device.number('minor'),
        options: options(device, 'vc', DEVICE_OPTIONS),
        disk: device.has('dc.backing_dev')
          ? {
              backingDev: device.text('dc.backing_dev'),
              metaDev: device.text('dc.meta_dev'),
              metaIndex: device.number('dc.meta_dev_idx'),
              options: options(device, 'dc', DISK_OPTIONS),
            }
          : null,
        state: deviceState(device),
        statistics: deviceStatistics(device),
      })),
      connections: of('GET_CONNECTIONS', resource, 'ctx.ctx_resource_name').map((connection) => ({
        peerNodeId: connection.number('ctx.ctx_peer_node_id'),
        name: connection.text('ctx.ctx_conn_name'),
        options: options(connection, 'nc', NET_OPTIONS),
        state: connectionInfo(connection),
        statistics: connectionStatistics(connection),
        paths: of('GET_PATHS', connection, 'ctx.ctx_resource_name', 'ctx.ctx_peer_node_id').map((path) => ({
          local: endpoint(path.text('ctx.ctx_my_addr')),
          remote: endpoint(path.text('ctx.ctx_peer_addr')),
          established: path.flag('pa.path_established'),
        })),
        peerDevices: of('GET_PEER_DEVICES', connection, 'ctx.ctx_resource_name', 'ctx.ctx_peer_node_id').map((peerDevice) => ({
          volume: peerDevice.number('ctx.ctx_volume'),
          options: options(peerDevice, 'po', PEER_DEVICE_OPTIONS),
          state: peerDeviceState(peerDevice),
          statistics: peerDeviceStatistics(peerDevice),
        })),
      })),
    }));
  return { resources };
}

const ACTIONS = ['exists', 'create', 'change', 'destroy', 'call', 'response', 'rename'] as const;

export function parseNotifications(text: string): Notification[] {
  return parseLines(text)
    .filter((line) => !line.operation.startsWith('GET_'))
    .map((line) => notification(line));
}

function notification(line: Line): Notification {
  if (line.operation === 'INITIAL_STATE_DONE') return { action: 'exists', kind: '-' };
  const type = line.number('nh.nh_type');
  const action = ACTIONS[type & 0x7fff]!;
  const continues = (type & 0x8000) !== 0;
  const resource = line.text('ctx.ctx_resource_name');
  const connection = { peerNodeId: line.number('ctx.ctx_peer_node_id'), connection: line.text('ctx.ctx_conn_name') };
  const path = () => ({ local: endpoint(line.text('ctx.ctx_my_addr')), remote: endpoint(line.text('ctx.ctx_peer_addr')) });
  const volume = line.number('ctx.ctx_volume');
  const content = (state: object, statistics: object) => (action === 'destroy' ? {} : { state, statistics });
  const build = (): object => {
    switch (line.operation) {
      case 'RESOURCE_STATE':
        if (action === 'rename') return { kind: 'resource', newName: line.text('rn.res_new_name') };
        return { kind: 'resource', ...content(resourceState(line), resourceStatistics(line)) };
      case 'DEVICE_STATE':
        return { kind: 'device', volume, minor: line.number('minor'), ...content(deviceState(line), deviceStatistics(line)) };
      case 'CONNECTION_STATE':
        return { kind: 'connection', ...connection, ...content(connectionInfo(line), connectionStatistics(line)) };
      case 'PEER_DEVICE_STATE':
        return { kind: 'peer-device', ...connection, volume, ...content(peerDeviceState(line), peerDeviceStatistics(line)) };
      case 'PATH_STATE':
        return {
          kind: 'path',
          ...connection,
          ...path(),
          ...(action === 'destroy' ? {} : { established: line.flag('pa.path_established') }),
        };
      case 'HELPER':
        return {
          kind: 'helper',
          helper: line.text('he.helper_name'),
          ...(line.has('ctx.ctx_peer_node_id') ? connection : {}),
          ...(line.has('ctx.ctx_volume') ? { volume } : {}),
          ...(line.has('minor') ? { minor: line.number('minor') } : {}),
          ...(action === 'response' ? { status: line.number('he.helper_status') } : {}),
        };
      default:
        throw new Error(`unknown operation ${line.operation}`);
    }
  };
  return { action, resource, continues, ...build() } as Notification;
}
