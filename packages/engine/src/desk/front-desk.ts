/**
 * The front desk: every request of the control socket and every message of the reactor ends up here. It answers questions, tells what has
 * changed, runs handlers, keeps the journal; changes are carried out by `operations.ts`, devices by `block-devices.ts`.
 */
import {
  CONTROL_VERSION,
  type Notification,
  type Outcome,
  prometheusText,
  RETURN_CODES,
  type Refusal,
  type Reply,
  type Request,
  type RequestOf,
  type ResourceSnapshot,
  refuse,
  succeed,
  type TimeoutType,
} from '@udrbd/control';
import { formatProcDrbd } from '@udrbd/replication';
import { closeDisk } from '../disks/open-disk.js';
import type { HostSnapshot, ReactorMessage } from '../reactor/messages.js';
import { ENGINE_VERSION } from '../version.js';
import { BlockDevices } from './block-devices.js';
import type { ControlHandler } from './control-server.js';
import type { EngineEnvironment } from './environment.js';
import { handlerVariables, upToDateNodes } from './handler-variables.js';
import { HANDLER_NOT_RUN, runHandler } from './handlers.js';
import { type Journal, JournalFile } from './journal.js';
import { journalOf } from './journal-of.js';
import { handOver, type LeavingDesk, shutDown } from './leaving.js';
import type { Log } from './log.js';
import { difference } from './notifications.js';
import { Operations } from './operations.js';
import { PROC_HEADER, ProcFile } from './proc-file.js';
import { ReactorCalls } from './reactor-calls.js';
import type { ReactorPort } from './reactor-thread.js';
import { Registry } from './registry.js';
import type { ResourceEntry } from './resource-entry.js';
import { viewOf } from './snapshot-view.js';
import { followsPeer, takeOver } from './take-over.js';

/** While all I/O fails, block devices are looked at this often for the last close. */
const OPENERS_MS = 500;
/** Progress of a resync is told this often. */
const PROGRESS_MS = 3000;

export class FrontDesk implements ControlHandler {
  readonly #environment: EngineEnvironment;
  readonly #log: Log;
  readonly #journal: JournalFile;
  readonly #proc: ProcFile;
  readonly #registry = new Registry();
  readonly #calls = new ReactorCalls();
  readonly #devices: BlockDevices;
  readonly #operations: Operations;
  readonly #subscribers = new Set<(batch: readonly Notification[]) => void>();
  readonly #progress: NodeJS.Timeout;
  /** Resources that are made now are held. */
  #isTakingOver = false;
  /** The journal stays as it is: what it says is being set up, or is for the next engine. */
  #isFrozen = false;
  /** Shared by everyone who asks meanwhile. */
  #refreshing: Promise<void> | undefined;

  constructor(environment: EngineEnvironment, log: Log) {
    this.#environment = environment;
    this.#log = log;
    this.#journal = new JournalFile(environment.journalPath, () => log('info', 'journal: written again'));
    this.#devices = new BlockDevices(environment, log, this.#registry, this.#calls);
    this.#operations = new Operations({
      log,
      runDir: environment.runDir,
      registry: this.#registry,
      calls: this.#calls,
      devices: this.#devices,
      isTakingOver: () => this.#isTakingOver,
      refresh: (entry) => this.#refresh(entry),
      tell: (batch) => this.#tell(batch),
      listChanged: () => this.#proc.changed(),
      writeJournal: () => this.#writeJournal(),
    });
    this.#proc = new ProcFile(
      environment.runDir,
      () => this.#procText(),
      (error) => log('warning', `proc/drbd: ${error instanceof Error ? error.message : String(error)}`),
    );
    this.#progress = setInterval(() => this.#tellProgress(), PROGRESS_MS);
    this.#progress.unref();
  }

  /** The reactor that hosts the resources. */
  use(port: ReactorPort): void {
    this.#calls.use(port);
  }

  /**
   * Sets up what an engine that is gone has left. Resolves when it is configured; a role that waits for a peer may follow.
   * @param isRecent - that engine was alive a moment ago
   */
  async takeOver(journal: Journal | undefined, isRecent: boolean): Promise<void> {
    const resources = journal?.resources ?? [];
    const known = new Set(resources.flatMap(({ volumes }) => volumes.map(({ minor }) => minor)));
    for (const [minor, path] of await this.#devices.survey()) {
      if (!known.has(minor))
        this.#log('warning', `${path} (minor ${minor}) is left of an engine whose journal is gone; udrbd-engine --remove-orphans ends it`);
    }
    if (journal === undefined || resources.length === 0) return;
    this.#log('info', `taking over from pid ${journal.pid}: ${resources.map(({ name }) => name).join(', ')}`);
    this.#isTakingOver = true;
    this.#isFrozen = true;
    const desk = {
      log: this.#log,
      operate: (request: Request) => this.#operations.operate(request),
      find: (name: string) => this.#registry.resources.get(name),
      failIo: (entry: ResourceEntry) => this.#calls.control(entry, { command: 'fail-io' }),
      release: (entry: ResourceEntry) => this.#devices.release(entry),
      abandon: (entry: ResourceEntry) => this.#devices.abandon(entry),
    };
    await takeOver(desk, journal, isRecent);
    this.#isTakingOver = false;
    this.#isFrozen = false;
    await this.#writeJournal();
  }

  // The control server's side.

  async handle(request: Request): Promise<Reply> {
    switch (request.command) {
      case 'ping':
        return success(request.id, []);
      case 'version':
        return { ...success(request.id, []), data: { control: CONTROL_VERSION, engine: ENGINE_VERSION, pid: process.pid } };
      case 'snapshot':
        return { ...success(request.id, []), data: { resources: await this.#snapshots(request.resource) } };
      case 'proc':
        return { ...success(request.id, []), data: { text: (await this.#procText()).text } };
      case 'events':
        return success(request.id, []);
      case 'timeout-type': {
        const known = this.#peerDevice(request);
        if (!known.ok) return refusalReply(request.id, known.error);
        return { ...success(request.id, []), data: { timeoutType: this.#timeoutType(request) } };
      }
      default: {
        const answer = await this.#operations.operate(request);
        return answer.ok ? success(request.id, answer.value) : refusalReply(request.id, answer.error);
      }
    }
  }

  refresh(): Promise<void> {
    this.#refreshing ??= this.#devices
      .look()
      .then(() => Promise.allSettled(this.#registry.entries.map((entry) => this.#refresh(entry))))
      .then(() => {
        this.#refreshing = undefined;
      });
    return this.#refreshing;
  }

  present(): readonly Notification[] {
    return this.#registry.entries.flatMap(({ told }) => (told === undefined ? [] : difference(undefined, told, 'exists')));
  }

  subscribe(listener: (batch: readonly Notification[]) => void): () => void {
    this.#subscribers.add(listener);
    return () => this.#subscribers.delete(listener);
  }

  /** What the metrics server serves. */
  async metrics(): Promise<string> {
    return prometheusText(await this.#snapshots(undefined), ENGINE_VERSION);
  }

  // The reactor's side.

  received(message: ReactorMessage): void {
    switch (message.type) {
      case 'reply':
      case 'snapshot':
        this.#calls.answered(message);
        break;
      case 'state': {
        const entry = this.#registry.byHost.get(message.host);
        if (entry !== undefined) this.#stateChanged(entry, message.snapshot);
        break;
      }
      case 'helper':
        void this.#helper(message);
        break;
      case 'disk-closed':
        void this.#diskClosed(message.host, message.volume);
        break;
      case 'volume':
        this.#devices.volumeChanged(message);
        break;
      case 'failed':
        this.#failed(message.host);
        break;
      case 'log':
        this.#log(message.level, message.text);
        break;
      default:
        break;
    }
  }

  #failed(host: number): void {
    const entry = this.#registry.byHost.get(host);
    if (entry === undefined) return;
    entry.hasFailed = true;
    this.#log('err', `resource ${entry.name} is stopped after an internal error`);
  }

  /**
   * Takes everything down, and the journal with it when nothing is left for another engine.
   * @param insist - resolves when what is in use shall not be waited for
   */
  async shutDown(insist: Promise<void>): Promise<void> {
    const isDone = await shutDown(this.#leaving(), insist);
    this.#isFrozen = true;
    this.#close();
    if (isDone) await this.#journal.remove();
  }

  /** Brings everything to rest for the next engine, which finds in the journal what was there. */
  async handOver(): Promise<void> {
    await this.#writeJournal();
    this.#isFrozen = true;
    this.#devices.leave();
    await this.#journal.written();
    await handOver(this.#leaving());
    this.#close();
  }

  #close(): void {
    clearInterval(this.#progress);
    this.#proc.close();
    this.#devices.close();
  }

  #leaving(): LeavingDesk {
    return {
      log: this.#log,
      entries: () => this.#registry.entries,
      down: (entry) => entry.serialize(() => this.#operations.down(entry)),
      openers: async (entry) => [...(await this.#devices.openers(entry)).values()].flat(),
      endDevices: (entry) => this.#devices.end(entry),
      hold: (entry) => this.#calls.post({ type: 'hold', host: entry.host }),
      refresh: (entry) => this.#refresh(entry),
      control: (entry, request) => this.#calls.control(entry, request),
      closed: async (entry) => {
        await Promise.all([...entry.volumes.values()].map(({ closing }) => closing));
      },
    };
  }

  // State, notifications, /proc.

  async #refresh(entry: ResourceEntry): Promise<HostSnapshot> {
    const snapshot = await this.#calls.snapshot(entry);
    if (snapshot === undefined) throw new Error(`no snapshot of ${entry.name}`);
    this.#stateChanged(entry, snapshot);
    return snapshot;
  }

  #view(entry: ResourceEntry, state: HostSnapshot): ResourceSnapshot {
    return viewOf(state, {
      name: entry.name,
      drbd8Compat: entry.drbd8Compat,
      pathsOf: (number) => entry.connectionByNumber(number)?.paths ?? [],
      isOpen: (volume) => entry.volumes.get(volume)?.isOpen ?? false,
    });
  }

  #stateChanged(entry: ResourceEntry, state: HostSnapshot): void {
    if (entry.isHeld && followsPeer(entry.state, state)) entry.wasSyncTarget = true;
    this.#noteStandAlone(entry, state);
    const hasFailIoChanged = state.core.failIo !== (entry.state?.core.failIo ?? false);
    entry.state = state;
    if (hasFailIoChanged) void this.#writeJournal();
    if (state.core.failIo) void this.#awaitLastClose(entry);
    entry.stateTold();
    if (state.core.connections.some((c) => c.state === 'Connected')) for (const volume of entry.volumes.values()) volume.isDegraded = false;
    // A resize of the peer's sets the size here as well.
    for (const { volume: number, diskOptions } of state.core.volumes) {
      const disk = entry.volumes.get(number)?.disk;
      if (disk !== undefined && diskOptions.size !== undefined && disk.options.size !== diskOptions.size)
        disk.options = { ...disk.options, size: diskOptions.size };
    }
    const now = this.#view(entry, state);
    if (this.#subscribers.size > 0) this.#tell(difference(entry.told, now));
    entry.told = now;
    this.#proc.changed();
  }

  /** A connection that was given up is not tried again by the next engine. */
  #noteStandAlone(entry: ResourceEntry, state: HostSnapshot): void {
    for (const { connection: number, state: now } of state.core.connections) {
      const connection = entry.connectionByNumber(number);
      if (now !== 'StandAlone' || connection?.connect !== true || entry.connectionState(number) === 'StandAlone') continue;
      connection.connect = false;
      void this.#writeJournal();
    }
  }

  #tell(batch: readonly Notification[]): void {
    if (batch.length > 0) for (const subscriber of this.#subscribers) subscriber(batch);
  }

  /** A running resync changes no state; its progress is told from time to time all the same. */
  #tellProgress(): void {
    if (this.#subscribers.size === 0) return;
    void this.#devices.look().then((entries) => {
      for (const entry of entries) if (entry.state !== undefined) this.#stateChanged(entry, entry.state);
    });
    for (const entry of this.#registry.resources.values()) {
      if (!isSyncing(entry.state)) continue;
      void this.#refresh(entry).then((state) => {
        for (const connection of this.#view(entry, state).connections) {
          for (const peer of connection.peerDevices) {
            if (peer.statistics.rsTotal === 0) continue;
            this.#tell([
              {
                kind: 'peer-device',
                action: 'change',
                resource: entry.name,
                peerNodeId: connection.peerNodeId,
                connection: connection.name,
                volume: peer.volume,
                state: peer.state,
                statistics: peer.statistics,
              },
            ]);
          }
        }
      });
    }
  }

  /** Demoted by force: all I/O fails until nobody has a volume open any more. */
  async #awaitLastClose(entry: ResourceEntry): Promise<void> {
    if (entry.awaitsLastClose) return;
    entry.awaitsLastClose = true;
    const isFailing = () => this.#registry.has(entry) && !entry.hasFailed && entry.state?.core.failIo === true;
    while (isFailing()) {
      const openers = await this.#devices.openers(entry);
      for (const volume of entry.volumes.values()) volume.isOpen = openers.has(volume);
      if (isFailing() && openers.size === 0 && entry.state?.openVolumes.length === 0)
        await this.#calls.control(entry, { command: 'closed' });
      if (isFailing()) await this.#refresh(entry);
      if (isFailing()) await entry.stateChange(OPENERS_MS);
    }
    entry.awaitsLastClose = false;
  }

  async #diskClosed(host: number, number: number): Promise<void> {
    const volume = this.#registry.byHost.get(host)?.volumes.get(number);
    const disk = volume?.disk;
    if (volume === undefined || disk === undefined) return;
    await closeDisk(disk.handles).catch((error: unknown) => this.#log('warning', `closing ${disk.backingDev}: ${String(error)}`));
    volume.disk = undefined;
    volume.closed();
    void this.#writeJournal();
  }

  async #snapshots(name: string | undefined): Promise<ResourceSnapshot[]> {
    await this.#devices.look();
    const wanted = this.#registry.entries.filter((entry) => name === undefined || entry.name === name);
    const all = await Promise.all(wanted.map((entry) => this.#calls.snapshot(entry)));
    // Deleted meanwhile: it is not listed any more.
    return wanted.flatMap((entry, index) => {
      const state = all[index];
      return state === undefined || !this.#registry.has(entry) ? [] : [this.#view(entry, state)];
    });
  }

  async #procText(): Promise<{ text: string; isActive: boolean }> {
    const states = (await Promise.all(this.#registry.entries.map((entry) => this.#calls.snapshot(entry)))).filter(
      (state) => state !== undefined,
    );
    const text = formatProcDrbd(
      states.map((state) => state.core),
      PROC_HEADER,
    );
    return { text, isActive: states.some((state) => isSyncing(state) || state.core.role === 'Primary' || hasPeerPrimary(state)) };
  }

  // Handlers.

  async #helper(message: ReactorMessage & { type: 'helper' }): Promise<void> {
    const entry = this.#registry.byHost.get(message.host);
    if (entry === undefined) return;
    const connection = message.connection === undefined ? undefined : entry.connectionByNumber(message.connection);
    const volume = message.volume === undefined ? undefined : entry.volumes.get(message.volume);
    const about = {
      kind: 'helper',
      resource: entry.name,
      helper: message.name,
      ...(connection !== undefined && { peerNodeId: connection.peerNodeId, connection: String(connection.options._name ?? '') }),
      ...(volume !== undefined && { volume: volume.volume, minor: volume.minor }),
    } as const;
    this.#tell([{ ...about, action: 'call' }]);
    const variables = handlerVariables(entry, connection, volume);
    if (message.name.includes('fence')) variables.UP_TO_DATE_NODES = upToDateNodes(entry.nodeId, await this.#calls.snapshot(entry));
    const call = { handler: message.name, resource: entry.name, variables };
    const exitCode = await runHandler(this.#environment.helper, call, this.#log);
    this.#tell([{ ...about, action: 'response', status: exitCode === HANDLER_NOT_RUN ? 0 : exitCode * 256 }]);
    this.#calls.post({ type: 'helper-done', host: message.host, token: message.token, exitCode });
  }

  // The journal.

  #writeJournal(): Promise<void> {
    if (this.#isFrozen) return Promise.resolve();
    return this.#journal
      .write(journalOf(this.#registry.entries))
      .catch((error: unknown) => this.#log('warning', `journal: ${String(error)}`));
  }

  #timeoutType({ resource, peerNodeId, volume }: RequestOf<'timeout-type'>): TimeoutType {
    const entry = this.#registry.resources.get(resource);
    const connection = entry?.state?.core.connections.find((c) => c.peerNodeId === peerNodeId);
    if (connection?.peerDevices.find((p) => p.volume === volume)?.peerDiskState === 'Outdated') return 2;
    return entry?.volumes.get(volume)?.isDegraded === true && entry.state?.core.role !== 'Primary' ? 1 : 0;
  }

  #peerDevice(request: { resource: string; peerNodeId: number; volume: number }): Outcome {
    const entry = this.#registry.resources.get(request.resource);
    if (entry === undefined) return refuse('ERR_RES_NOT_KNOWN', 'unknown resource');
    if (!entry.connections.has(request.peerNodeId)) return refuse('ERR_INVALID_REQUEST', 'unknown connection');
    return entry.volumes.has(request.volume) ? succeed() : refuse('ERR_INVALID_REQUEST', 'unknown volume');
  }
}

function isSyncing(state: HostSnapshot | undefined): boolean {
  return state?.core.connections.some((c) => c.peerDevices.some((p) => p.resync !== undefined)) ?? false;
}

const hasPeerPrimary = (state: HostSnapshot): boolean => state.core.connections.some((c) => c.peerRole === 'Primary');

const success = (id: number, info: readonly string[]): Reply => ({ id, code: RETURN_CODES.NO_ERROR.code, info });

const refusalReply = (id: number, error: Refusal): Reply => ({ id, code: RETURN_CODES[error.name].code, info: error.info ?? [] });
