/**
 * The one place where states change: propose, judge by the rules, apply with what the change implies, announce.
 *
 * A change is proposed for every volume it concerns, as seen over every connection; it is applied to all of them or to none.
 */
import { RETURN_CODES, type ReturnCode } from '@udrbd/control';
import { afterChange } from './after-change.js';
import type { Connection } from './connection.js';
import type { PeerDevice } from './peer-device.js';
import { peerMetaData } from './peer-meta-data.js';
import type { Resource } from './resource.js';
import { type JudgeContext, judge } from './state-rules.js';
import { CONN, type ConnNumber, DISK, ROLE, type StateView } from './state-view.js';
import type { Volume } from './volume.js';

export type Wanted = { -readonly [K in keyof StateView]?: StateView[K] };

export interface ChangeOptions {
  /** Imposed by the environment: cannot be refused. */
  readonly hard?: boolean;
  /** Judge only. */
  readonly dryRun?: boolean;
  /** Log a refusal. */
  readonly verbose?: boolean;
  /** Volumes held open for writing by somebody. */
  readonly openVolumes?: readonly number[];
}

interface Proposal {
  readonly volume: Volume;
  readonly pd: PeerDevice | undefined;
  readonly old: StateView;
  next: StateView;
}

/** @returns SS_SUCCESS, SS_NOTHING_TO_DO or why not */
function change(
  res: Resource,
  wanted: (volume: Volume, pd: PeerDevice | undefined) => Wanted | undefined,
  options: ChangeOptions,
): ReturnCode {
  const proposals: Proposal[] = [];
  let result: ReturnCode = 'SS_NOTHING_TO_DO';
  for (const volume of res.volumes.values()) {
    const sides: readonly (PeerDevice | undefined)[] = volume.peerDevices.length > 0 ? volume.peerDevices : [undefined];
    for (const pd of sides) {
      const want = wanted(volume, pd);
      if (want === undefined) continue;
      const old = res.view(volume, pd);
      const verdict = judge(old, { ...old, ...want }, judgeContext(res, volume, pd, options), options.hard === true);
      if (verdict.code === 'SS_NOTHING_TO_DO') continue;
      if (verdict.code !== 'SS_SUCCESS') {
        if (options.verbose === true && verdict.code !== 'SS_IN_TRANSIENT_STATE') {
          res.log('err', volume, pd, `State change failed: ${RETURN_CODES[verdict.code].text}`);
        }
        return verdict.code;
      }
      result = 'SS_SUCCESS';
      if (options.dryRun !== true) for (const warning of verdict.warnings) res.log('warning', volume, pd, warning);
      proposals.push({ volume, pd, old, next: verdict.state });
    }
  }
  if (options.dryRun === true) return result;
  for (const p of proposals) apply(res, p);
  for (const p of proposals) afterChange(res, p.volume, p.pd, p.old, p.next);
  if (proposals.length > 0) res.stateChanged();
  return result;
}

function apply(res: Resource, { volume, pd, old, next }: Proposal): void {
  res.role = next.role;
  res.suspUser = next.suspUser;
  if (next.suspNoData !== old.suspNoData) res.suspNoData = next.suspNoData;
  if (next.suspFencing !== old.suspFencing) res.suspFencing = next.suspFencing;
  volume.diskState = next.disk;
  if (pd !== undefined) {
    pd.peerDisk = next.peerDisk;
    pd.peerRole = next.peerRole;
    pd.resyncSuspDependency = next.resyncSuspDependency;
    pd.resyncSuspPeer = next.resyncSuspPeer;
    pd.resyncSuspUser = next.resyncSuspUser;
    if (next.conn >= CONN.WFReportParams) {
      pd.replication = next.conn;
      if (next.conn > CONN.WFReportParams) pd.connection.state = CONN.WFReportParams;
    }
  }
  logChange(res, volume, pd, old, next);
}

const nameOf = (table: Readonly<Record<string, number>>, value: number): string =>
  Object.entries(table).find(([, number]) => number === value)?.[0] ?? String(value);
const replicationName = (conn: ConnNumber): string =>
  conn === CONN.WFReportParams ? 'Off' : conn === CONN.Connected ? 'Established' : nameOf(CONN, conn);

function logChange(res: Resource, volume: Volume, pd: PeerDevice | undefined, old: StateView, next: StateView): void {
  const parts: string[] = [];
  if (old.disk !== next.disk) res.log('info', volume, undefined, `disk( ${nameOf(DISK, old.disk)} -> ${nameOf(DISK, next.disk)} )`);
  if (pd === undefined) return;
  if (old.peerRole !== next.peerRole) parts.push(`peer( ${nameOf(ROLE, old.peerRole)} -> ${nameOf(ROLE, next.peerRole)} )`);
  if (old.conn !== next.conn && old.conn >= CONN.WFReportParams && next.conn >= CONN.WFReportParams) {
    parts.push(`repl( ${replicationName(old.conn)} -> ${replicationName(next.conn)} )`);
  }
  if (old.peerDisk !== next.peerDisk) parts.push(`pdsk( ${nameOf(DISK, old.peerDisk)} -> ${nameOf(DISK, next.peerDisk)} )`);
  if (old.resyncSuspDependency !== next.resyncSuspDependency)
    parts.push(`aftr_isp( ${+old.resyncSuspDependency} -> ${+next.resyncSuspDependency} )`);
  if (old.resyncSuspPeer !== next.resyncSuspPeer) parts.push(`peer_isp( ${+old.resyncSuspPeer} -> ${+next.resyncSuspPeer} )`);
  if (old.resyncSuspUser !== next.resyncSuspUser) parts.push(`user_isp( ${+old.resyncSuspUser} -> ${+next.resyncSuspUser} )`);
  if (parts.length > 0) res.log('info', volume, pd, parts.join(' '));
}

function judgeContext(res: Resource, volume: Volume, pd: PeerDevice | undefined, options: ChangeOptions): JudgeContext {
  const md = volume.disk?.metaData;
  const sameData = md !== undefined && volume.isCurrent(md.current_uuid);
  return {
    fencing: volume.disk !== undefined && pd !== undefined ? pd.connection.options.fencing : 'dont-care',
    onNoData: res.options['on-no-data-accessible'],
    negotiated: sameData ? { disk: volume.stateAfterAttach, peerDisk: DISK.DUnknown } : undefined,
    lacksBlocks: pd !== undefined && lacksBlocks(volume, pd),
    twoPrimariesAllowed: pd?.connection.options['allow-two-primaries'] ?? false,
    otherVolumePeerPrimary: pd?.connection.peerDevices.some((other) => other !== pd && other.peerRole === ROLE.Primary) ?? false,
    openCount: options.openVolumes?.includes(volume.number) === true ? 1 : 0,
    verifyAlg: pd?.connection.options['verify-alg'] ?? '',
    apv: pd?.connection.apv ?? 0,
    handshakeInProgress: pd?.stateSent === true && pd.replication === CONN.WFReportParams,
  };
}

/** Marks that are relative to no generation are left of a resync towards us that did not end. Others name what the peer lacks. */
function lacksBlocks(volume: Volume, pd: PeerDevice): boolean {
  const { disk } = volume;
  if (disk === undefined || pd.bitmapSlot < 0) return false;
  return peerMetaData(disk.metaData, pd.connection.peerNodeId).bitmap_uuid === 0n && disk.bitmap.weight(pd.bitmapSlot) > 0;
}

/** Changes one volume as seen over one connection. */
export const changePeerDevice = (res: Resource, target: PeerDevice, wanted: Wanted, options: ChangeOptions = {}): ReturnCode =>
  change(res, (_volume, pd) => (pd === target ? wanted : undefined), options);

/** Changes a volume over all connections (its disk). */
export const changeVolume = (res: Resource, target: Volume, wanted: Wanted, options: ChangeOptions = {}): ReturnCode =>
  change(res, (volume) => (volume === target ? wanted : undefined), options);

/** Changes the whole resource (its role, suspension). */
export const changeResource = (
  res: Resource,
  wanted: (volume: Volume, pd: PeerDevice | undefined) => Wanted,
  options: ChangeOptions = {},
): ReturnCode => {
  if (res.volumes.size > 0) return change(res, wanted, options);
  // Without volumes nothing can refuse: only the words of the resource itself change.
  const all = wanted(undefined as never, undefined);
  if (options.dryRun === true) return 'SS_SUCCESS';
  if (all.role !== undefined) res.role = all.role;
  if (all.suspUser !== undefined) res.suspUser = all.suspUser;
  res.stateChanged();
  return 'SS_SUCCESS';
};

/** Changes the state of a connection and with it that of all its volumes. States from Connected on belong to volumes. */
export function changeConnection(
  res: Resource,
  target: Connection,
  state: ConnNumber,
  extra: Wanted = {},
  options: ChangeOptions = {},
): ReturnCode {
  const before = target.state;
  if (target.peerDevices.length > 0) {
    const code = change(res, (_volume, pd) => (pd?.connection === target ? { ...extra, conn: state } : undefined), {
      ...options,
      dryRun: true,
    });
    if (code !== 'SS_SUCCESS' && code !== 'SS_NOTHING_TO_DO') return code;
    if (options.dryRun === true) return code;
  } else if (options.dryRun === true) return before === state ? 'SS_NOTHING_TO_DO' : 'SS_SUCCESS';
  if (before !== state) {
    res.logConnection(
      'info',
      target,
      `conn( ${nameOf(CONN, before).replace('WFReportParams', 'Connected')} -> ${nameOf(CONN, state).replace('WFReportParams', 'Connected')} )`,
    );
  }
  const proposals = target.peerDevices.map((pd) => ({ pd, old: res.view(pd.volume, pd) }));
  target.state = state;
  if (state < CONN.WFReportParams) for (const pd of target.peerDevices) pd.replication = CONN.WFReportParams;
  for (const { pd, old } of proposals) {
    const verdict = judge(old, { ...old, ...extra, conn: state }, judgeContext(res, pd.volume, pd, options), true);
    for (const warning of verdict.warnings) res.log('warning', pd.volume, pd, warning);
    apply(res, { volume: pd.volume, pd, old, next: verdict.state });
  }
  for (const { pd, old } of proposals) afterChange(res, pd.volume, pd, old, res.view(pd.volume, pd));
  res.stateChanged();
  return 'SS_SUCCESS';
}
