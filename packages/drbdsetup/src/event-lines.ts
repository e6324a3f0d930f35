/** The lines of events2: what a complete batch changed, in stock's order. */
import { type HelperNotification, type Promotion, promotionOf, type RenameNotification } from '@udrbd/control';
import type { Palette } from './colors.js';
import type { ConnectionNode, DeviceNode, PathNode, PeerDeviceNode, ResourceNode } from './event-tree.js';
import { syncDetailTokens, syncProgress } from './sync-progress.js';
import { blockedWord, endpointWord, kibibytes, resyncSuspendedWord, suspendedWord, yesNo } from './words.js';

export interface EventStyle {
  readonly statistics: boolean;
  /** Every printed line has all the groups of its object. */
  readonly full: boolean;
  /** `KEY:OLD->NEW` for the groups that changed. */
  readonly diff: boolean;
  readonly palette: Palette;
}

/** Prints a batch and notes what was printed. A resource that is gone has to be removed from the tree by the caller. */
export function batchLines(resource: ResourceNode, style: EventStyle): string[] {
  const lines: string[] = [];
  const add = (line: string | undefined) => {
    if (line !== undefined) lines.push(line);
  };
  if (!resource.isGone) add(resourceLine(resource, style));
  for (const connection of resource.connections.values()) add(connectionLine(resource, connection, style));
  for (const device of resource.devices.values()) add(deviceLine(resource, device, style));
  for (const connection of resource.connections.values()) {
    const keys = connectionKeys(resource, connection);
    for (const peerDevice of connection.peerDevices.values()) add(peerDeviceLine(keys, peerDevice, style));
    for (const path of connection.paths.values()) add(pathLine(keys, path, style));
    for (const path of connection.gonePaths.splice(0)) add(`destroy path ${keys} ${pathKeys(path)}`);
    for (const { volume } of connection.gonePeerDevices.splice(0)) add(`destroy peer-device ${keys} volume:${volume}`);
  }
  for (const connection of resource.goneConnections.splice(0)) add(`destroy connection ${connectionKeys(resource, connection)}`);
  for (const { volume } of resource.goneDevices.splice(0)) add(`destroy device name:${resource.name} volume:${volume}`);
  if (resource.isGone) add(`destroy resource name:${resource.name}`);
  return lines;
}

export const renameLine = ({ resource, newName }: RenameNotification): string => `rename resource name:${resource} new_name:${newName}`;

export function helperLine(event: HelperNotification): string {
  const words = [event.action, 'helper', `name:${event.resource}`];
  if (event.peerNodeId !== undefined) words.push(`peer-node-id:${event.peerNodeId}`);
  if (event.connection !== undefined) words.push(`conn-name:${event.connection}`);
  if (event.local !== undefined) words.push(`local:${endpointWord(event.local)}`);
  if (event.remote !== undefined) words.push(`peer:${endpointWord(event.remote)}`);
  if (event.volume !== undefined) words.push(`volume:${event.volume}`);
  if (event.minor !== undefined) words.push(`minor:${event.minor}`);
  words.push(`helper:${event.helper}`);
  if (event.status !== undefined) words.push(`status:${event.status}`);
  return words.join(' ');
}

const connectionKeys = (resource: ResourceNode, { peerNodeId, name }: ConnectionNode): string =>
  `name:${resource.name} peer-node-id:${peerNodeId} conn-name:${name}`;

const pathKeys = ({ local, remote }: PathNode): string => `local:${endpointWord(local)} peer:${endpointWord(remote)}`;

/** Collects the tokens of one line: state groups, and with `--diff` their old values. */
function tokens(style: EventStyle) {
  const list: string[] = [];
  return {
    list,
    /** One key of a group that changed or is seen first: `old` is undefined on first sight. */
    put(key: string, now: string, old: string | undefined, unknown = 'UNKNOWN'): void {
      list.push(style.diff ? `${key}:${old ?? unknown}->${now}` : `${key}:${now}`);
    },
    plain(key: string, value: string | number): void {
      list.push(`${key}:${value}`);
    },
  };
}

const isSame = (a: object, b: object): boolean => JSON.stringify(a) === JSON.stringify(b);

function resourceLine(node: ResourceNode, style: EventStyle): string | undefined {
  const { printed, current } = node;
  const promotion = promotionOf({
    state: current.state,
    peerRoles: [...node.connections.values()].map((connection) => connection.current.state.role),
    devices: [...node.devices.values()].map((device) => ({
      state: device.current.state,
      peers: [...node.connections.values()].flatMap((connection) => connection.peerDevices.get(device.volume)?.current ?? []),
    })),
  });
  const action = node.pending;
  node.pending = undefined;
  const before: Promotion | undefined = node.printedPromotion;
  const isFirst = printed === undefined;
  const now = { role: current.state.role, suspended: suspendedWord(current.state), fail: yesNo(current.state.forceIoFailures) };
  const old = printed && { role: printed.state.role, suspended: suspendedWord(printed.state), fail: yesNo(printed.state.forceIoFailures) };
  const promotionChanged = before === undefined || !isSame(before, promotion);
  const statisticsChanged = isFirst || !isSame(printed.statistics, current.statistics);
  const stateChanged = old === undefined || !isSame(old, now);
  if (!isFirst && !stateChanged && !promotionChanged && !(style.statistics && statisticsChanged)) return undefined;
  node.printed = current;
  node.printedPromotion = promotion;

  const line = tokens(style);
  const { palette, full } = style;
  const put = (key: string, value: string, previous: string | undefined, differs: boolean) => {
    if (isFirst || differs) line.put(key, value, previous);
    else if (full) line.plain(key, value);
  };
  const role = (word: typeof now.role) => palette.role(word, 'local');
  put('role', role(now.role), old && role(old.role), old?.role !== now.role);
  put('suspended', now.suspended, old?.suspended, old?.suspended !== now.suspended);
  put('force-io-failures', now.fail, old?.fail, old?.fail !== now.fail);
  if (style.statistics && (statisticsChanged || full)) line.plain('write-ordering', current.statistics.writeOrdering);
  if (promotionChanged || isFirst) {
    line.put('may_promote', yesNo(promotion.mayPromote), before && yesNo(before.mayPromote));
    line.put('promotion_score', String(promotion.score), before && String(before.score), '0');
  } else {
    // Stock always names both, changed or not.
    line.plain('may_promote', yesNo(promotion.mayPromote));
    line.plain('promotion_score', promotion.score);
  }
  const word = wordFor(isFirst, action ?? 'change');
  return [`${word} resource name:${node.name}`, ...line.list].join(' ');
}

function connectionLine(resource: ResourceNode, node: ConnectionNode, style: EventStyle): string | undefined {
  if (node.pending === undefined) return undefined;
  const { printed, current, pending } = node;
  node.pending = undefined;
  const isFirst = printed === undefined;
  const { state, statistics } = current;
  const stateDiffers = isFirst || printed.state.connectionState !== state.connectionState;
  const roleDiffers = isFirst || printed.state.role !== state.role;
  const statisticsChanged = isFirst || !isSame(printed.statistics, statistics);
  if (!stateDiffers && !roleDiffers && !(style.statistics && statisticsChanged)) return undefined;
  node.printed = current;

  const line = tokens(style);
  const { palette } = style;
  const connectionWord = palette.connection(state.connectionState);
  if (stateDiffers) line.put('connection', connectionWord, printed && palette.connection(printed.state.connectionState));
  else if (style.full) line.plain('connection', connectionWord);
  const roleWord = palette.role(state.role, 'peer');
  if (roleDiffers) line.put('role', roleWord, printed && palette.role(printed.state.role, 'peer'));
  else if (style.full) line.plain('role', roleWord);
  if (style.statistics && (statisticsChanged || style.full)) {
    if (isFirst || style.full || printed.statistics.congested !== statistics.congested)
      line.plain('congested', yesNo(statistics.congested));
    line.plain('ap-in-flight', statistics.apInFlight);
    line.plain('rs-in-flight', statistics.rsInFlight);
  }
  return [`${wordFor(isFirst, pending)} connection ${connectionKeys(resource, node)}`, ...line.list].join(' ');
}

/** A change to something never printed is its first sight. */
const wordFor = (isFirst: boolean, pending: string): string => (isFirst ? (pending === 'exists' ? 'exists' : 'create') : 'change');

function deviceLine(resource: ResourceNode, node: DeviceNode, style: EventStyle): string | undefined {
  if (node.pending === undefined) return undefined;
  const { printed, current, pending } = node;
  node.pending = undefined;
  const isFirst = printed === undefined;
  const { state, statistics } = current;
  const stateDiffers =
    isFirst || printed.state.diskState !== state.diskState || printed.state.quorum !== state.quorum || printed.state.open !== state.open;
  const statisticsChanged = isFirst || !isSame(printed.statistics, statistics);
  if (!stateDiffers && !(style.statistics && statisticsChanged)) return undefined;
  node.printed = current;

  const line = tokens(style);
  const words = (of: typeof state): readonly (readonly [string, string])[] => [
    ['backing_dev', of.backingDev ?? 'none'],
    ['disk', style.palette.disk(of.diskState, of.client, 'local')],
    ['client', yesNo(of.client)],
    ['open', yesNo(of.open)],
    ['quorum', yesNo(of.quorum)],
  ];
  const now = words(state);
  const old = printed && words(printed.state);
  if (stateDiffers || style.full) {
    now.forEach(([key, value], index) => {
      // With --diff stock leaves out the quorum on first sight, and always shows the disk as a difference.
      if (isFirst && style.diff && key === 'quorum') return;
      const previous = old?.[index]?.[1];
      if (stateDiffers && (isFirst || previous !== value || key === 'disk')) line.put(key, value, previous);
      else line.plain(key, value);
    });
  }
  if (style.statistics && (statisticsChanged || style.full)) {
    line.plain('size', kibibytes(statistics.size));
    line.plain('read', kibibytes(statistics.read));
    line.plain('written', kibibytes(statistics.written));
    line.plain('al-writes', statistics.alWrites);
    line.plain('bm-writes', statistics.bmWrites);
    line.plain('upper-pending', statistics.upperPending);
    line.plain('lower-pending', statistics.lowerPending);
    if (isFirst || style.full || printed.statistics.alSuspended !== statistics.alSuspended) {
      line.plain('al-suspended', yesNo(statistics.alSuspended));
    }
    const blocked = blockedWord(statistics);
    if (isFirst || blockedWord(printed.statistics) !== blocked) line.plain('blocked', blocked);
  }
  const keys = `name:${resource.name} volume:${node.volume} minor:${node.minor}`;
  return [`${wordFor(isFirst, pending)} device ${keys}`, ...line.list].join(' ');
}

function peerDeviceLine(keys: string, node: PeerDeviceNode, style: EventStyle): string | undefined {
  if (node.pending === undefined) return undefined;
  const { printed, current, pending } = node;
  node.pending = undefined;
  const isFirst = printed === undefined;
  const { state, statistics } = current;
  const suspended = resyncSuspendedWord(state);
  const suspendedBefore = printed && resyncSuspendedWord(printed.state);
  const replicationDiffers = isFirst || printed.state.replicationState !== state.replicationState;
  const diskDiffers = isFirst || printed.state.diskState !== state.diskState;
  const clientDiffers = isFirst || printed.state.client !== state.client;
  const suspendedDiffers = suspended !== suspendedBefore;
  const statisticsChanged = isFirst || !isSame(printed.statistics, statistics);
  if (!replicationDiffers && !diskDiffers && !clientDiffers && !suspendedDiffers && !statisticsChanged) return undefined;
  node.printed = current;

  const line = tokens(style);
  const { palette } = style;
  const replication = palette.replication(state.replicationState);
  if (replicationDiffers) line.put('replication', replication, printed && palette.replication(printed.state.replicationState));
  else if (style.full) line.plain('replication', replication);
  const disk = palette.disk(state.diskState, state.client, 'peer');
  if (diskDiffers || clientDiffers) {
    line.put('peer-disk', disk, printed && palette.disk(printed.state.diskState, printed.state.client, 'peer'));
    if (clientDiffers) line.put('peer-client', yesNo(state.client), printed && yesNo(printed.state.client));
    else line.plain('peer-client', yesNo(state.client));
  } else if (style.full) {
    line.plain('peer-disk', disk);
    line.plain('peer-client', yesNo(state.client));
  }
  if (suspendedDiffers) line.put('resync-suspended', suspended, suspendedBefore);
  else if (style.full) line.plain('resync-suspended', suspended);
  if (statisticsChanged || style.full) {
    const progress = syncProgress(statistics);
    if (progress !== undefined) line.plain('done', progress.donePercent);
    if (style.statistics) {
      line.plain('received', kibibytes(statistics.received));
      line.plain('sent', kibibytes(statistics.sent));
      line.plain('out-of-sync', kibibytes(statistics.outOfSync));
      line.plain('pending', statistics.pending);
      line.plain('unacked', statistics.unacked);
      if (progress !== undefined) line.list.push(...syncDetailTokens(statistics, progress, 1));
    }
  }
  return [`${wordFor(isFirst, pending)} peer-device ${keys} volume:${node.volume}`, ...line.list].join(' ');
}

function pathLine(keys: string, node: PathNode, style: EventStyle): string | undefined {
  if (node.pending === undefined) return undefined;
  const { printed, current, pending } = node;
  node.pending = undefined;
  if (printed === current) return undefined;
  node.printed = current;
  const line = tokens(style);
  line.put('established', yesNo(current), printed === undefined ? undefined : yesNo(printed));
  return [`${wordFor(printed === undefined, pending)} path ${keys} ${pathKeys(node)}`, ...line.list].join(' ');
}
