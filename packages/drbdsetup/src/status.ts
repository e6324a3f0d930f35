/** The text of `drbdsetup status`: a function from the snapshot to what stock prints. */
import type { ConnectionSnapshot, DeviceSnapshot, PeerDeviceSnapshot, ResourceSnapshot } from '@udrbd/control';
import { createPalette, isBeyondEstablished, type Palette } from './colors.js';
import { syncDetailTokens, syncProgress } from './sync-progress.js';
import { blockedWord, compareBytes, kibibytes, resyncSuspendedWord, suspendedWord, yesNo } from './words.js';
import { createWrapper, type Wrapper } from './wrap.js';

export interface StatusStyle {
  /** How often `--verbose` was given. */
  readonly verbose: number;
  readonly statistics: boolean;
  readonly colored: boolean;
  readonly stdoutIsTty: boolean;
  readonly width: number;
  /** A line of its own below a peer device. */
  readonly below?: (peerDevice: PeerDeviceSnapshot) => string | undefined;
}

interface Printer extends StatusStyle {
  readonly wrapper: Wrapper;
  readonly palette: Palette;
  /** The resource has exactly one device, so `volume:0` goes without saying. */
  readonly isSingleVolume: boolean;
}

export function resourceStatus(resource: ResourceSnapshot, style: StatusStyle): string {
  const wrapper = createWrapper(style.width);
  const palette = createPalette(style.colored);
  const printer: Printer = { ...style, wrapper, palette, isSingleVolume: resource.devices.length === 1 };
  const { state } = resource;

  wrapper.put(0, resource.name);
  if (style.verbose > 0) wrapper.put(4, ` node-id:${resource.nodeId}`);
  wrapper.put(4, ` role:${palette.role(state.role, 'local')}`);
  const suspended = suspendedWord(state);
  if (style.verbose > 0 || suspended !== 'no') wrapper.put(4, ` suspended:${suspended}`);
  if (style.verbose > 0 || state.forceIoFailures)
    wrapper.put(4, ` force-io-failures:${palette.verdict(yesNo(state.forceIoFailures), 'no')}`);
  if (style.verbose > 0 && style.statistics) wrapper.put(4, `\nwrite-ordering:${resource.statistics.writeOrdering}`);
  wrapper.put(0, '\n');

  for (const device of resource.devices) putDevice(printer, device);
  for (const connection of sortedConnections(resource)) putConnection(printer, connection);
  return `${wrapper.text()}\n`;
}

export const sortedConnections = (resource: ResourceSnapshot): ConnectionSnapshot[] =>
  [...resource.connections].sort((a, b) => compareBytes(a.name, b.name));

export const sortedResources = (resources: readonly ResourceSnapshot[]): ResourceSnapshot[] =>
  [...resources].sort((a, b) => compareBytes(a.name, b.name));

const clientIsShown = (printer: Printer): boolean => printer.verbose > 0 || !printer.stdoutIsTty;

function putDevice(printer: Printer, { volume, minor, state, statistics }: DeviceSnapshot): void {
  const { wrapper, palette, verbose } = printer;
  let indent = 2;
  if (verbose > 0 || !(printer.isSingleVolume && volume === 0)) {
    wrapper.put(indent, `volume:${volume}`);
    indent = 6;
  }
  if (verbose > 0) wrapper.put(indent, ` minor:${minor}`);
  wrapper.put(indent, ` disk:${palette.disk(state.diskState, state.client, 'local')}`);
  if (state.diskState === 'Diskless' && clientIsShown(printer)) wrapper.put(indent, ` client:${yesNo(state.client)}`);
  if (verbose > 0) wrapper.put(indent, ` backing_dev:${state.backingDev ?? 'none'}`);
  if (verbose > 0 || !state.quorum) wrapper.put(indent, ` quorum:${palette.verdict(yesNo(state.quorum), 'yes')}`);
  wrapper.put(indent, ` open:${palette.open(yesNo(state.open))}`);
  indent = 6;
  if (printer.statistics) {
    wrapper.put(indent, '\n');
    if (verbose > 0) wrapper.put(indent, ` size:${kibibytes(statistics.size)}`);
    wrapper.put(indent, ` read:${kibibytes(statistics.read)}`);
    wrapper.put(indent, ` written:${kibibytes(statistics.written)}`);
    if (verbose > 0) {
      wrapper.put(indent, ` al-writes:${statistics.alWrites}`);
      wrapper.put(indent, ` bm-writes:${statistics.bmWrites}`);
      wrapper.put(indent, ` upper-pending:${statistics.upperPending}`);
      wrapper.put(indent, ` lower-pending:${statistics.lowerPending}`);
      wrapper.put(indent, ` al-suspended:${yesNo(statistics.alSuspended)}`);
    }
  }
  const blocked = blockedWord(statistics);
  if (verbose > 0 || blocked !== 'no') wrapper.put(indent, ` blocked:${blocked}`);
  wrapper.put(indent, '\n');
}

function putConnection(printer: Printer, connection: ConnectionSnapshot): void {
  const { wrapper, palette, verbose } = printer;
  const { connectionState, role } = connection.state;
  const isConnected = connectionState === 'Connected';
  let indent = 2;
  if (connection.name !== '') {
    wrapper.put(indent, connection.name);
    indent = 6;
  }
  if (verbose > 0 || connection.name === '') {
    wrapper.put(indent, ` node-id:${connection.peerNodeId}`);
    indent = 6;
  }
  if (verbose > 0 || !isConnected) wrapper.put(indent, ` connection:${palette.connection(connectionState)}`);
  if (verbose > 0 || isConnected) {
    wrapper.put(indent, ` role:${palette.role(role, 'peer')}`);
    if (verbose > 0 || connection.options.tls) wrapper.put(indent, ` tls:${yesNo(connection.options.tls)}`);
  }
  const { congested, apInFlight, rsInFlight } = connection.statistics;
  if (verbose > 0 || congested) {
    wrapper.put(indent, ` congested:${yesNo(congested)}`);
    wrapper.put(indent, ` ap-in-flight:${apInFlight}`);
    wrapper.put(indent, ` rs-in-flight:${rsInFlight}`);
  }
  wrapper.put(0, '\n');
  if (verbose > 0 || printer.statistics || isConnected) {
    for (const peerDevice of connection.peerDevices) putPeerDevice(printer, peerDevice);
  }
}

function putPeerDevice(printer: Printer, peerDevice: PeerDeviceSnapshot): void {
  const { volume, state, statistics } = peerDevice;
  const { wrapper, palette, verbose } = printer;
  let indent = 4;
  const put = (token: string) => {
    wrapper.put(indent, token);
    indent = 8;
  };
  if (verbose > 0 || !(printer.isSingleVolume && volume === 0)) put(`volume:${volume}`);
  if (verbose > 0 || isBeyondEstablished(state.replicationState)) put(` replication:${palette.replication(state.replicationState)}`);
  if (verbose > 0 || printer.statistics || state.replicationState !== 'Off' || state.diskState !== 'DUnknown') {
    put(` peer-disk:${palette.disk(state.diskState, state.client, 'peer')}`);
    if (state.diskState === 'Diskless' && clientIsShown(printer)) put(` peer-client:${yesNo(state.client)}`);
    const progress = syncProgress(statistics);
    if (progress !== undefined) put(` done:${progress.donePercent}`);
    const suspended = resyncSuspendedWord(state);
    if (verbose > 0 || suspended !== 'no') put(` resync-suspended:${suspended}`);
    if (printer.statistics) {
      put('\n');
      put(` received:${kibibytes(statistics.received)}`);
      put(` sent:${kibibytes(statistics.sent)}`);
      if (verbose > 0 || statistics.outOfSync !== 0) put(` out-of-sync:${kibibytes(statistics.outOfSync)}`);
      if (verbose > 0) {
        put(` pending:${statistics.pending}`);
        put(` unacked:${statistics.unacked}`);
        if (progress !== undefined) for (const token of syncDetailTokens(statistics, progress, verbose)) put(` ${token}`);
      }
    }
  }
  wrapper.put(0, '\n');
  const line = printer.below?.(peerDevice);
  if (line !== undefined) wrapper.put(8, `${line}\n`);
}
