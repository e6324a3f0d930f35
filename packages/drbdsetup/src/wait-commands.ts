/** `wait-connect-*` and `wait-sync-*`: wait until peer devices are there, or in sync, or until their time is up. */
import {
  ConnectionClosed,
  connectionStateNumber,
  type Notification,
  RETURN_CODES,
  type ReplicationState,
  returnCodeText,
  syncLeft,
} from '@udrbd/control';
import { isBeyondEstablished } from './colors.js';
import { CommandExit, EXIT_USAGE } from './command-io.js';
import { answerRefused, resourcesOf } from './engine-state.js';
import { engineGone, refuseExcess } from './events-command.js';
import { isGiven, lastValueOf, type Session } from './invocation.js';
import { parseScaledNumber } from './numbers.js';
import { progressLine } from './progress-bar.js';

const EXIT_TIMEOUT = 5;
const TIMEOUT_MAX_S = 300_000;
/** What takes no time needs no bar. */
const PROGRESS_FIRST_MS = 300;
const PROGRESS_MS = 1000;

interface Awaited {
  readonly peerNodeId: number;
  readonly volume: number;
  /** 0: no limit. */
  readonly timeoutMs: number;
  replicationState: ReplicationState | undefined;
}

export async function runWait(session: Session): Promise<number> {
  const { engine, row } = session;
  refuseExcess(session);
  const waitsAfterSplitBrain = isGiven(session, 'wait-after-sb') && (lastValueOf(session, 'wait-after-sb') ?? 'yes') === 'yes';
  const timeoutsS = timeouts(session);
  const awaited = await awaitedPeerDevices(session, timeoutsS);
  if (awaited.length === 0) return 0;

  const isSync = row.name.startsWith('wait-sync');
  const started = performance.now();
  const remaining = new Map(awaited.map((peer) => [`${peer.peerNodeId} ${peer.volume}`, peer]));
  const isDone = ({ replicationState: state, timeoutMs }: Awaited): boolean =>
    state === 'Established' ||
    (!isSync && state !== undefined && isBeyondEstablished(state)) ||
    (timeoutMs > 0 && performance.now() - started >= timeoutMs);

  return await new Promise<number>((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const progress = isSync && session.io.stdoutIsTty ? showProgress(session, remaining) : undefined;
    const finish = (status: number) => {
      clearTimeout(timer);
      progress?.end();
      resolve(status);
    };
    const fail = (error: unknown) => {
      clearTimeout(timer);
      progress?.end();
      reject(error);
    };
    const isAllDone = () => [...remaining.values()].every(isDone);
    /** Runs out when the smallest limit does; all limits used up is a timeout even if nothing is told. */
    const arm = () => {
      clearTimeout(timer);
      const elapsed = performance.now() - started;
      const left = [...remaining.values()].filter(({ timeoutMs }) => timeoutMs > 0).map(({ timeoutMs }) => timeoutMs - elapsed);
      if (left.length > 0) timer = setTimeout(() => finish(EXIT_TIMEOUT), Math.max(0, Math.min(...left)));
    };
    const accept = (event: Notification) => {
      if (event.kind === '-') {
        if (isAllDone()) finish(0);
        return;
      }
      if (event.resource !== session.resource) return;
      if (event.kind === 'connection' && 'state' in event && event.action !== 'create') {
        const isWanted = row.context.includes('peer_node_id') ? event.peerNodeId === session.peerNodeId : true;
        const { connectionState } = event.state;
        if (!isWanted || connectionStateNumber(connectionState) > connectionStateNumber('Disconnecting')) return;
        if (!waitsAfterSplitBrain) {
          finish(0);
          return;
        }
        const name = `drbd ${event.resource} connection to peer-id ${event.peerNodeId} ('${event.connection}')`;
        progress?.erase();
        session.io.stderr(`\n${name} is ${connectionState}, but I'm configured to wait anways (--wait-after-sb)\n`);
      } else if (event.kind === 'peer-device') {
        const key = `${event.peerNodeId} ${event.volume}`;
        const peer = remaining.get(key);
        if (peer === undefined) return;
        if (event.action === 'destroy') remaining.delete(key);
        else peer.replicationState = event.state.replicationState;
        if (isAllDone()) finish(0);
      }
    };
    arm();
    engine.events({ subscribe: true }, accept).then(
      (last) => fail(answerRefused(session.object, last)),
      (error: unknown) => fail(error instanceof ConnectionClosed ? engineGone(session) : error),
    );
  });
}

/** For a person at a terminal: how far the slowest of those awaited is, on one line that is gone in the end. */
function showProgress({ io, engine, resource = '' }: Session, awaited: ReadonlyMap<string, Awaited>): { erase(): void; end(): void } {
  let timer: NodeJS.Timeout | undefined;
  let isOver = false;
  let text = '';
  const erase = () => {
    if (text !== '') io.stdout('\r\x1b[K');
    text = '';
  };
  const draw = async (): Promise<void> => {
    const snapshot = (await engine.request('snapshot', { resource })).data?.resources[0];
    if (isOver) return;
    const peers = (snapshot?.connections ?? []).flatMap(({ peerNodeId, name, peerDevices }) =>
      peerDevices.filter(({ volume }) => awaited.has(`${peerNodeId} ${volume}`)).map((peer) => ({ name, ...peer })),
    );
    const done = peers.filter(({ state }) => state.replicationState === 'Established').length;
    const slowest = peers
      .filter(({ statistics }) => syncLeft(statistics) !== undefined)
      .sort((a, b) => (syncLeft(b.statistics) ?? 0) - (syncLeft(a.statistics) ?? 0))[0];
    const missing = peers.find(({ state }) => state.replicationState === 'Off')?.name;
    const subject = slowest === undefined ? resource : `${resource} ${slowest.name}/${slowest.volume}`;
    const line = slowest && progressLine(slowest.statistics, (io.columns ?? 80) - subject.length - 2);
    const waiting = missing === undefined ? `${done} of ${peers.length} in sync` : `waiting for ${missing}`;
    text = `${subject}: ${line ?? waiting}`.slice(0, (io.columns ?? 80) - 1);
    io.stdout(`\r${text}\x1b[K`);
    timer = setTimeout(again, PROGRESS_MS);
  };
  // The stream of events tells when the engine is gone.
  const again = () => void draw().catch(() => undefined);
  timer = setTimeout(again, PROGRESS_FIRST_MS);
  return {
    erase,
    end() {
      isOver = true;
      clearTimeout(timer);
      erase();
    },
  };
}

async function awaitedPeerDevices(session: Session, timeoutsS: readonly number[]): Promise<Awaited[]> {
  const { engine, row, resource = '' } = session;
  const connections = (await resourcesOf(session, resource)).find(({ name }) => name === resource)?.connections ?? [];
  const awaited: Awaited[] = [];
  for (const { peerNodeId, peerDevices } of connections) {
    if (row.context.includes('peer_node_id') && peerNodeId !== session.peerNodeId) continue;
    for (const { volume } of peerDevices) {
      if (row.context.includes('volume') && volume !== session.volume) continue;
      const reply = await engine.request('timeout-type', { resource, peerNodeId, volume });
      if (reply.code !== RETURN_CODES.NO_ERROR.code || reply.data === undefined) {
        throw new CommandExit(EXIT_USAGE, {
          stderr: `error determining which timeout to use: ${returnCodeText(reply.code) ?? `code ${reply.code}`}\n`,
        });
      }
      const seconds = timeoutsS[reply.data.timeoutType] ?? 0;
      awaited.push({ peerNodeId, volume, timeoutMs: seconds * 1000, replicationState: undefined });
    }
  }
  return awaited;
}

/** @returns wfc, degr-wfc and outdated-wfc-timeout in seconds, each at least as strict as the one before */
function timeouts(session: Session): readonly [wfc: number, degr: number, outdated: number] {
  const seconds = (name: string): number => {
    if (!isGiven(session, name)) return 0;
    const value = parseScaledNumber(lastValueOf(session, name) ?? '', 1);
    if (value < 0n || value > BigInt(TIMEOUT_MAX_S)) {
      throw new CommandExit(EXIT_USAGE, { stderr: `${name.replaceAll('-', '_')} => ${value} out of range [0..${TIMEOUT_MAX_S}]\n` });
    }
    return Number(value);
  };
  const wfc = seconds('wfc-timeout');
  let degr = seconds('degr-wfc-timeout');
  let outdated = seconds('outdated-wfc-timeout');
  if (wfc > 0 && (wfc < degr || degr === 0)) {
    degr = wfc;
    session.io.stderr('degr-wfc-timeout has to be shorter than wfc-timeout\n');
    session.io.stderr(`degr-wfc-timeout implicitly set to wfc-timeout (${wfc}s)\n`);
  }
  if (degr > 0 && (degr < outdated || outdated === 0)) {
    outdated = wfc;
    session.io.stderr('outdated-wfc-timeout has to be shorter than degr-wfc-timeout\n');
    session.io.stderr(`outdated-wfc-timeout implicitly set to degr-wfc-timeout (${degr}s)\n`);
  }
  return [wfc, degr, outdated];
}
