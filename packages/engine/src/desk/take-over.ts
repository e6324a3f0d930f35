/**
 * Setting up what an engine that is gone has left: its journal, in the order in which drbdadm would do it.
 *
 * A resource is held meanwhile: nothing above it is served, so that what was in flight meets the role that it was submitted to. A node
 * that was Primary a moment ago goes on like a Primary that has lost its peer. Where that might be wrong, the peer is asked first:
 * after a longer absence it may have been promoted; with fencing it would be shot although it is well; with two Primaries it has data
 * of its own.
 */
import { type Outcome, type Request, refuse } from '@udrbd/control';
import type { HostSnapshot } from '../reactor/messages.js';
import { isSealed, type Journal, type JournalConnection, type JournalResource } from './journal.js';
import type { Log } from './log.js';
import type { ResourceEntry } from './resource-entry.js';

/** As DRBD 8.4's tools say that a resource has no node id. */
const NODE_ID_NONE = 0xffff_ffff;
/** A Primary waits as long as this for its peers before it goes on without them. */
const PEER_WAIT_MS = 10_000;
const RETRY_MS = 2000;

export interface TakeOverDesk {
  readonly log: Log;
  /** As if it came from the control socket. */
  operate(request: Request): Promise<Outcome<readonly string[]>>;
  find(name: string): ResourceEntry | undefined;
  /** All I/O of the resource fails until nobody has it open any more. */
  failIo(entry: ResourceEntry): Promise<unknown>;
  /** The devices of the resource are served from now on. */
  release(entry: ResourceEntry): void;
  /** What waits for the devices of the resource fails, for good. */
  abandon(entry: ResourceEntry): Promise<void>;
}

/**
 * Resolves when everything is configured; a role that waits for a peer may follow.
 * @param isRecent - the engine was alive a moment ago
 */
export async function takeOver(desk: TakeOverDesk, journal: Journal, isRecent: boolean): Promise<void> {
  const judge = await judgeOf(journal);
  await Promise.all(journal.resources.map((resource) => setUp(desk, judge, resource, isRecent)));
}

/** @returns what is to be done of a request, as it came from the control socket */
type Judge = (request: Request) => Outcome<Request>;

/** A file that somebody edited gets no further than a client of the control socket. */
async function judgeOf(journal: Journal): Promise<Judge> {
  if (isSealed(journal)) return (request) => ({ ok: true, value: request });
  // It takes a large library, for which the devices wait.
  const { parseRequest } = await import('@udrbd/control/schemas');
  return (request) => {
    const parsed = parseRequest(request);
    return parsed.ok ? { ok: true, value: parsed.request } : refuse('ERR_INVALID_REQUEST', ...parsed.reply.info);
  };
}

async function setUp(desk: TakeOverDesk, judge: Judge, resource: JournalResource, isRecent: boolean): Promise<void> {
  const { name } = resource;
  const operate = async (request: Request): Promise<boolean> => {
    const judged = judge(request);
    const answer = judged.ok ? await desk.operate(judged.value) : judged;
    if (!answer.ok) desk.log('err', `drbd ${name}: taking over: ${request.command}: ${describe(answer.error)}`);
    return answer.ok;
  };
  let entry: ResourceEntry | undefined;
  for (const request of configurationOf(resource)) {
    await operate(request);
    entry ??= desk.find(name);
    // From the beginning: where a disk hangs commands may come before the end. I/O that was refused already stays refused, also when the
    // demotion had only begun.
    if (request.command === 'new-resource' && entry !== undefined) entry.primary = resource.primary && !resource.failIo;
  }
  if (entry === undefined || desk.find(name) !== entry) return;
  if (resource.failIo) await desk.failIo(entry);
  const wanted = resource.connections.filter(({ connect }) => connect);
  const goesOnAlone = entry.primary && (wanted.length === 0 || (isRecent && wanted.every(mayBeMissed)));
  const isPrimary = goesOnAlone && (await desk.operate({ id: 0, command: 'primary', resource: name, force: false })).ok;
  if (isPrimary || !entry.primary) desk.release(entry);
  for (const { peerNodeId } of wanted) {
    await operate({ id: 0, command: 'connect', resource: name, peerNodeId, tentative: false, discardMyData: false });
  }
  if (entry.primary && !isPrimary) void restoreRole(desk, entry, wanted.some(hasTwoPrimaries));
}

const hasTwoPrimaries = ({ options }: JournalConnection): boolean => options['allow-two-primaries'] === true;

/** A Primary that loses this peer goes on at once. */
const mayBeMissed = (connection: JournalConnection): boolean =>
  (connection.options.fencing ?? 'dont-care') === 'dont-care' && !hasTwoPrimaries(connection);

/** Everything but roles and connections. */
export function configurationOf(resource: JournalResource): Request[] {
  const { name, volumes, connections } = resource;
  const id = 0;
  const nodeId = resource.drbd8Compat ? NODE_ID_NONE : resource.nodeId;
  const requests: Request[] = [{ id, command: 'new-resource', resource: name, nodeId, options: resource.options }];
  for (const { volume, minor, options } of volumes) requests.push({ id, command: 'new-minor', resource: name, minor, volume, options });
  for (const { peerNodeId, options, paths, peerDevices } of connections) {
    requests.push({ id, command: 'new-peer', resource: name, peerNodeId, options });
    for (const { volume, options: own, resyncPaused } of peerDevices) {
      requests.push({ id, command: 'peer-device-options', resource: name, peerNodeId, volume, options: own, setDefaults: false });
      if (resyncPaused) requests.push({ id, command: 'pause-sync', resource: name, peerNodeId, volume });
    }
    for (const { local, remote } of paths) requests.push({ id, command: 'new-path', resource: name, peerNodeId, local, remote });
  }
  for (const { minor, disk } of volumes) if (disk !== null) requests.push({ id, command: 'attach', minor, ...disk });
  const [first] = volumes;
  if (resource.ioSuspended && first !== undefined) requests.push({ id, command: 'suspend-io', minor: first.minor, bdevFreeze: false });
  return requests;
}

/** Becomes Primary again as soon as that is possible, unless somebody says otherwise or the data is not what it was. */
async function restoreRole(desk: TakeOverDesk, entry: ResourceEntry, twoPrimaries: boolean): Promise<void> {
  const deadline = performance.now() + PEER_WAIT_MS;
  let told = '';
  while (entry.primary && !entry.hasFailed && desk.find(entry.name) === entry) {
    const { state } = entry;
    if (state?.core.role === 'Primary') break;
    const waitMs = state === undefined || isConnecting(state) ? deadline - performance.now() : 0;
    if (waitMs <= 0) {
      const isForeign = !twoPrimaries && (entry.wasSyncTarget || state?.core.connections.some(({ peerRole }) => peerRole === 'Primary'));
      if (isForeign === true) {
        desk.log('err', `drbd ${entry.name}: a peer was Primary meanwhile, the data is not what it was: devices that are in use fail`);
        entry.primary = false;
        await desk.abandon(entry);
        break;
      }
      const answer = await desk.operate({ id: 0, command: 'primary', resource: entry.name, force: false });
      if (answer.ok) break;
      const reason = describe(answer.error);
      if (reason !== told) desk.log('warning', `drbd ${entry.name}: was Primary and waits until it can be so again: ${reason}`);
      told = reason;
    }
    await entry.stateChange(waitMs > 0 ? waitMs : RETRY_MS);
  }
  if (desk.find(entry.name) === entry) desk.release(entry);
}

/** A peer may still be heard of. */
const isConnecting = ({ core }: HostSnapshot): boolean =>
  core.connections.some(({ state }) => state !== 'Connected' && state !== 'StandAlone');

const TARGET: ReadonlySet<string> = new Set(['StartingSyncT', 'WFBitMapT', 'WFSyncUUID', 'SyncTarget', 'PausedSyncT']);

/** Whether the disk gets data that the device above has not seen: it was good by itself, and now follows a peer. */
export function followsPeer(before: HostSnapshot | undefined, now: HostSnapshot): boolean {
  return now.core.connections.some((c) =>
    c.peerDevices.some(({ volume, replicationState }) => {
      if (!TARGET.has(replicationState)) return false;
      const disk = before?.core.volumes.find((v) => v.volume === volume)?.diskState;
      return disk === 'UpToDate' || disk === 'Consistent';
    }),
  );
}

const describe = ({ name, info }: { readonly name: string; readonly info?: readonly string[] }): string =>
  [name, ...(info ?? [])].join(': ');
