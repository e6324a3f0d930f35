/** Commands that only look: each takes one snapshot and prints from it. */
import { readFileSync, realpathSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type DeviceSnapshot, META_INDEX_FLEXIBLE, prometheusText, type ResourceSnapshot } from '@udrbd/control';
import { CommandExit, type CommandIo, EXIT_USAGE } from './command-io.js';
import { resourcesOf } from './engine-state.js';
import { generationLine, generationPicture } from './generation-identifiers.js';
import { type Invocation, isGiven, lastValueOf, type Session, widthOf } from './invocation.js';
import { EXIT_CONFIGURATION_REFUSED } from './reply-report.js';
import { showResource } from './show.js';
import { showJson } from './show-json.js';
import { resourceStatus, sortedResources } from './status.js';
import { statusJson } from './status-json.js';
import { generalUsage } from './usage.js';

const NOTHING_CONFIGURED = '# No currently configured DRBD found.\n';

const notFound = ({ object }: Session, what: string): CommandExit =>
  new CommandExit(EXIT_CONFIGURATION_REFUSED, { stderr: `${object}: ${what}\n` });

/** @returns whether to colour; @throws CommandExit for a word that `--color` does not take */
export function wantsColor(invocation: Invocation): boolean {
  const { io } = invocation;
  if (!isGiven(invocation, 'color')) return io.stdoutIsTty;
  const word = lastValueOf(invocation, 'color') ?? 'always';
  if (word === 'always') return true;
  if (word === 'never') return false;
  if (word === 'auto') return io.stdoutIsTty;
  throw new CommandExit(EXIT_USAGE, { stdout: generalUsage(widthOf(io), 'unknown --color argument') });
}

export async function runStatus(session: Session): Promise<number> {
  const { io, resource: wanted, options } = session;
  const style = {
    verbose: options.filter(({ name }) => name === 'verbose').length,
    statistics: isGiven(session, 'statistics'),
    colored: wantsColor(session),
    stdoutIsTty: io.stdoutIsTty,
    width: widthOf(io),
  };
  const isJson = isGiven(session, 'json');
  const all = await resourcesOf(session);
  const found = sortedResources(all).filter(({ name }) => wanted === undefined || name === wanted);
  if (isGiven(session, 'watch')) {
    if (wanted !== undefined && found.length === 0) throw notFound(session, 'No such resource');
    return (await import('./watch-status.js')).watchStatus(session, style);
  }
  if (isJson) io.stdout(statusJson(found));
  else if (all.length === 0) io.stdout(NOTHING_CONFIGURED);
  else for (const resource of found) io.stdout(resourceStatus(resource, style));
  if (wanted !== undefined && found.length === 0) throw notFound(session, 'No such resource');
  return 0;
}

export async function runShow(session: Session): Promise<number> {
  const { io, resource: wanted } = session;
  const all = await resourcesOf(session);
  const found = sortedResources(all).filter(({ name }) => wanted === undefined || name === wanted);
  if (isGiven(session, 'json')) io.stdout(showJson(found));
  else if (all.length === 0) io.stdout(NOTHING_CONFIGURED);
  else for (const resource of found) io.stdout(showResource(resource, isGiven(session, 'show-defaults')));
  return 0;
}

/** Ours: what Prometheus reads. */
export async function runMetrics(session: Session): Promise<number> {
  const resources = await resourcesOf(session, session.resource);
  const { data: version } = await session.engine.request('version', {});
  session.io.stdout(prometheusText(resources, version?.engine));
  return 0;
}

export async function runRole(session: Session): Promise<number> {
  const resource = (await resourcesOf(session)).find(({ name }) => name === session.resource);
  if (resource === undefined) throw notFound(session, 'Unknown resource');
  session.io.stdout(`${resource.state.role}\n`);
  return 0;
}

async function connectionOf(session: Session) {
  const resource = (await resourcesOf(session)).find(({ name }) => name === session.resource);
  const connection = resource?.connections.find(({ peerNodeId }) => peerNodeId === session.peerNodeId);
  if (connection === undefined) throw notFound(session, 'No such connection');
  return connection;
}

export async function runPeerRole(session: Session): Promise<number> {
  session.io.stdout(`${(await connectionOf(session)).state.role}\n`);
  return 0;
}

export async function runCstate(session: Session): Promise<number> {
  session.io.stdout(`${(await connectionOf(session)).state.connectionState}\n`);
  return 0;
}

async function deviceOf(session: Session): Promise<{ resource: ResourceSnapshot; device: DeviceSnapshot }> {
  for (const resource of await resourcesOf(session)) {
    const device = resource.devices.find(({ minor }) => minor === session.minor);
    if (device !== undefined) return { resource, device };
  }
  throw notFound(session, 'No such device');
}

/** Own disk state, then the peers', in the engine's order of the connections. */
export async function runDstate(session: Session): Promise<number> {
  const { resource, device } = await deviceOf(session);
  const peers = resource.connections.flatMap(({ peerDevices }) => peerDevices.filter(({ volume }) => volume === device.volume));
  session.io.stdout(`${[device.state.diskState, ...peers.map(({ state }) => state.diskState)].join('/')}\n`);
  return 0;
}

export async function runUdev(session: Session): Promise<number> {
  const { resource, device } = await deviceOf(session);
  const lines = [`DEVICE=drbd${device.minor}`, `SYMLINK_BY_RES=drbd/by-res/${resource.name}/${device.volume}`];
  const lower = device.disk?.backingDev ?? device.state.backingDev;
  if (lower !== null) lines.push(`SYMLINK_BY_DISK=drbd/by-disk/${lower.replace(/^\/dev\//, '')}`);
  session.io.stdout(`${lines.join('\n')}\n`);
  return 0;
}

export async function runGenerationIdentifiers(session: Session): Promise<number> {
  const resource = (await resourcesOf(session)).find(({ name }) => name === session.resource);
  const device = resource?.devices.find(({ volume }) => volume === session.volume);
  const peerDevice = resource?.connections
    .find(({ peerNodeId }) => peerNodeId === session.peerNodeId)
    ?.peerDevices.find(({ volume }) => volume === session.volume);
  if (device === undefined || peerDevice === undefined) throw notFound(session, 'No such peer device');
  if (device.state.diskState === 'Diskless') {
    const isUnconfigured = peerDevice.state.replicationState === 'Off';
    throw new CommandExit(1, { stderr: isUnconfigured ? 'Device is unconfigured\n' : 'Device has no disk\n' });
  }
  session.io.stdout((session.row.name === 'get-gi' ? generationLine : generationPicture)(device, peerDevice));
  return 0;
}

const stateDir = (env: CommandIo['env']): string => env.UDRBD_STATE_DIR ?? '/var/lib/drbd';

/** Remembers size and name of a lower device with internal meta-data, so that drbdmeta finds it after an off-line resize. */
export async function runCheckResize(session: Session): Promise<number> {
  const { disk, minor } = (await deviceOf(session)).device;
  const file = join(stateDir(session.io.env), `drbd-minor-${minor}.lkbd`);
  if (disk === null) return 0;
  if (disk.metaIndex >= 0 || disk.metaIndex === META_INDEX_FLEXIBLE) {
    try {
      unlinkSync(file);
    } catch {
      // There was none.
    }
    return 0;
  }
  let bytes: number;
  try {
    bytes = deviceBytes(disk.backingDev);
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'No such file or directory' : (error as Error).message;
    throw new CommandExit(1, { stderr: `Could not open ${disk.backingDev}: ${reason}.\n` });
  }
  let before = '';
  try {
    before = readFileSync(file, 'utf8');
  } catch {
    // The first time.
  }
  const line = `${bytes}\t${disk.backingDev}\n`;
  if (before.startsWith(line)) return 0;
  const uuid = /^uuid:\t[0-9A-F]{16}\n/m.exec(before)?.[0] ?? '';
  try {
    writeFileSync(file, line + uuid);
  } catch (error) {
    throw new CommandExit(1, { stderr: `${(error as Error).message}\n` });
  }
  return 0;
}

function deviceBytes(path: string): number {
  const stat = statSync(path);
  if (!stat.isBlockDevice()) return stat.size;
  return Number(readFileSync(`/sys/class/block/${basename(realpathSync(path))}/size`, 'utf8')) * 512;
}
