/**
 * The front desk: every request of the control socket ends up here. It knows what is configured, checks what concerns more
 * than one resource, opens disks, runs handlers, and passes the rest on to the reactors, whose cores decide.
 */
import { lstat } from 'node:fs/promises';
import {
  CONTROL_VERSION,
  DEVICE_OPTIONS,
  DISK_OPTIONS,
  defaultOptions,
  NET_OPTIONS,
  type Notification,
  type Outcome,
  PEER_DEVICE_OPTIONS,
  prometheusText,
  RESOURCE_OPTIONS,
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
import { MDF, MDF_PEER } from '@udrbd/metadata';
import { type ControlRequest, closesCycle, formatProcDrbd, type Options, type ResyncPlace } from '@udrbd/replication';
import { closeDisk, openDisk } from '../disks/open-disk.js';
import type { DeskMessage, HostSnapshot, ReactorMessage } from '../reactor/messages.js';
import { ENGINE_VERSION } from '../version.js';
import type { ControlHandler } from './control-server.js';
import { createLinks, type DeviceNames, removeLinks } from './device-links.js';
import { checkDeviceOptions } from './device-rules.js';
import type { EngineEnvironment } from './environment.js';
import { handlerVariables, upToDateNodes } from './handler-variables.js';
import { HANDLER_NOT_RUN, runHandler } from './handlers.js';
import { type Journal, JournalFile } from './journal.js';
import { journalOf } from './journal-of.js';
import { handOver, type LeavingDesk, shutDown } from './leaving.js';
import type { Log } from './log.js';
import { type ConfiguredPath, checkNetOptions, checkNewPath, samePath } from './net-rules.js';
import { difference } from './notifications.js';
import { findDeviceUsers, findOpeners, findUsers, type Opener } from './openers.js';
import { PROC_HEADER, ProcFile } from './proc-file.js';
import type { ReactorPort } from './reactor-thread.js';
import { type ConnectionEntry, ResourceEntry, type VolumeEntry } from './resource-entry.js';
import { viewOf } from './snapshot-view.js';
import { followsPeer, takeOver } from './take-over.js';
import { UblkDevices } from './ublk-devices.js';

const NODE_ID_NONE = 0xffff_ffff;
/** An answer waits at most this long for block devices to follow. */
const DEVICE_WAIT_MS = 5000;
/** First protocol version with bitmap based resyncs on demand. */
const APV_BITMAP_RESYNC = 120;
/** I/O of an engine that was killed holds its disks for as long as it takes. */
const LEFT_DISK_WAIT_MS = 30_000;
/** While all I/O fails, block devices are looked at this often for the last close. */
const OPENERS_MS = 500;
/** Progress of a resync is told this often. */
const PROGRESS_MS = 3000;

/** The answer to an operation: warnings of a success, or a refusal. */
type Answer = Outcome<readonly string[]>;
type Operation<C extends Request['command']> = RequestOf<C>;

const DONE: Answer = { ok: true, value: [] };

export class FrontDesk implements ControlHandler {
  readonly #environment: EngineEnvironment;
  readonly #log: Log;
  readonly #journal: JournalFile;
  readonly #proc: ProcFile;
  readonly #ublk: UblkDevices | undefined;
  readonly #resources = new Map<string, ResourceEntry>();
  readonly #byHost = new Map<number, ResourceEntry>();
  readonly #minors = new Map<number, { readonly entry: ResourceEntry; readonly volume: VolumeEntry }>();
  readonly #operations = new Map<number, { readonly done: (message: ReactorMessage) => void; readonly host: number }>();
  readonly #subscribers = new Set<(batch: readonly Notification[]) => void>();
  readonly #progress: NodeJS.Timeout;
  #port: ReactorPort | undefined;
  #lastOperation = 0;
  /** Resources that are made now are held. */
  #isTakingOver = false;
  /** The journal stays as it is: what it says is being set up, or is for the next engine. */
  #isFrozen = false;
  /** Handing over: block devices stay what they are, whatever becomes of the volumes. */
  #isLeaving = false;
  /** By minor: what block devices of held resources have to be like. */
  readonly #deferred = new Map<number, ReactorMessage & { type: 'volume' }>();
  /** By minor: block devices that an engine that is gone has left. */
  #leftDevices: ReadonlyMap<number, string> = new Map();
  /** Shared by everyone who asks meanwhile. */
  #refreshing: Promise<void> | undefined;

  constructor(environment: EngineEnvironment, log: Log) {
    this.#environment = environment;
    this.#log = log;
    this.#journal = new JournalFile(environment.journalPath);
    this.#ublk = environment.frontEnd === 'ublk' ? new UblkDevices(log, environment.runDir) : undefined;
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
    this.#port = port;
  }

  /**
   * Sets up what an engine that is gone has left. Resolves when it is configured; a role that waits for a peer may follow.
   * @param isRecent - that engine was alive a moment ago
   */
  async takeOver(journal: Journal | undefined, isRecent: boolean): Promise<void> {
    this.#leftDevices = (await this.#ublk?.survey().catch((error: unknown) => this.#log('err', String(error)))) ?? new Map();
    const resources = journal?.resources ?? [];
    const known = new Set(resources.flatMap(({ volumes }) => volumes.map(({ minor }) => minor)));
    for (const [minor, path] of this.#leftDevices) {
      if (!known.has(minor))
        this.#log('warning', `${path} (minor ${minor}) is left of an engine whose journal is gone; udrbd-engine --remove-orphans ends it`);
    }
    if (journal === undefined || resources.length === 0) return;
    this.#log('info', `taking over from pid ${journal.pid}: ${resources.map(({ name }) => name).join(', ')}`);
    this.#isTakingOver = true;
    this.#isFrozen = true;
    const desk = {
      log: this.#log,
      operate: (request: Request) => this.#operate(request),
      find: (name: string) => this.#resources.get(name),
      release: (entry: ResourceEntry) => this.#release(entry),
      abandon: (entry: ResourceEntry) => this.#abandon(entry),
    };
    await takeOver(desk, journal, isRecent);
    this.#isTakingOver = false;
    this.#isFrozen = false;
    await this.#writeJournal();
  }

  #release(entry: ResourceEntry): void {
    if (!entry.isHeld) return;
    entry.isHeld = false;
    this.#post({ type: 'release', host: entry.host, volumes: [...entry.volumes.keys()] });
    for (const { minor } of entry.volumes.values()) {
      const message = this.#deferred.get(minor);
      this.#deferred.delete(minor);
      if (message !== undefined) this.#volumeChanged(message);
    }
  }

  async #abandon(entry: ResourceEntry): Promise<void> {
    for (const volume of entry.volumes.values()) {
      await this.#ublk?.abandon(volume.minor).catch((error: unknown) => this.#log('err', String(error)));
      volume.devicePath = undefined;
    }
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
        const answer = await this.#operate(request);
        return answer.ok ? success(request.id, answer.value) : refusalReply(request.id, answer.error);
      }
    }
  }

  refresh(): Promise<void> {
    this.#refreshing ??= this.#lookAtDevices()
      .then(() => Promise.allSettled([...this.#resources.values()].map((entry) => this.#refresh(entry))))
      .then(() => {
        this.#refreshing = undefined;
      });
    return this.#refreshing;
  }

  present(): readonly Notification[] {
    return [...this.#resources.values()].flatMap(({ told }) => (told === undefined ? [] : difference(undefined, told, 'exists')));
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
        this.#operations.get(message.operation)?.done(message);
        break;
      case 'state': {
        const entry = this.#byHost.get(message.host);
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
        this.#volumeChanged(message);
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
    const entry = this.#byHost.get(host);
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
    this.#isLeaving = true;
    await this.#journal.written();
    await handOver(this.#leaving());
    this.#close();
  }

  #close(): void {
    clearInterval(this.#progress);
    this.#proc.close();
    this.#ublk?.close();
  }

  #leaving(): LeavingDesk {
    return {
      log: this.#log,
      entries: () => [...this.#resources.values()],
      down: (entry) => entry.serialize(() => this.#down(entry)),
      openers: async (entry) => {
        const paths = [...entry.volumes.values()].flatMap(({ devicePath }) => devicePath ?? []);
        return (await Promise.all(paths.map(findOpeners))).flat();
      },
      endDevices: async (entry) => {
        for (const volume of entry.volumes.values()) {
          await Promise.race([this.#ublk?.end(volume.minor), timeout(DEVICE_WAIT_MS)]);
        }
      },
      hold: (entry) => this.#post({ type: 'hold', host: entry.host }),
      refresh: (entry) => this.#refresh(entry),
      control: (entry, request) => this.#control(entry, request),
      closed: async (entry) => {
        await Promise.all([...entry.volumes.values()].map(({ closing }) => closing));
      },
    };
  }

  // Operations.

  async #operate(request: Request): Promise<Answer> {
    if (request.command === 'new-resource') return this.#newResource(request);
    const entry = 'resource' in request && request.resource !== undefined ? this.#resources.get(request.resource) : undefined;
    if ('minor' in request && request.command !== 'new-minor') {
      const known = this.#minors.get(request.minor);
      if (known === undefined) return refuse('ERR_MINOR_INVALID', 'unknown minor');
      return this.#finish(known.entry, () => this.#operateMinor(request, known.entry, known.volume));
    }
    if (entry === undefined) return refuse('ERR_RES_NOT_KNOWN', 'unknown resource');
    return this.#finish(entry, () => this.#operateResource(request, entry));
  }

  /** One operation on a resource at a time; afterwards what has changed is told and written down. */
  #finish(entry: ResourceEntry, work: () => Promise<Answer>): Promise<Answer> {
    return entry.serialize(async () => {
      // Deleted while this request waited.
      if (this.#resources.get(entry.name) !== entry) return refuse('ERR_RES_NOT_KNOWN', 'unknown resource');
      const answer = await work();
      if (this.#resources.get(entry.name) === entry) await this.#refresh(entry);
      if (answer.ok) await this.#writeJournal();
      // What the reactor said about block devices has arrived with the snapshot: `primary` answers when they can be written.
      const minors = [...entry.volumes.values()].map((volume) => volume.minor);
      if (this.#ublk !== undefined) await Promise.race([this.#ublk.settled(minors), timeout(DEVICE_WAIT_MS)]);
      return answer;
    });
  }

  async #operateResource(request: Request, entry: ResourceEntry): Promise<Answer> {
    switch (request.command) {
      case 'resource-options': {
        const options = changed(defaultOptions(RESOURCE_OPTIONS), request);
        const answer = await this.#control(entry, { command: 'resource-options', options });
        if (answer.ok) entry.options = { ...entry.options, ...options };
        return answer;
      }
      case 'rename-resource':
        return this.#rename(entry, request.newName);
      case 'del-resource':
        return this.#deleteResource(entry);
      case 'primary': {
        const refused = await this.#staleUsers(entry);
        if (refused !== undefined) return refused;
        const answer = await this.#control(entry, { command: 'primary', force: request.force });
        if (answer.ok) entry.primary = true;
        return answer;
      }
      case 'secondary':
        return this.#secondary(entry, request.force);
      case 'down':
        return this.#down(entry);
      case 'new-minor':
        return this.#newMinor(entry, request);
      case 'new-peer':
        return this.#newPeer(entry, request);
      case 'forget-peer':
        return this.#control(entry, { command: 'forget-peer', peerNodeId: request.peerNodeId });
      default:
        return 'peerNodeId' in request ? this.#operateConnection(request as ConnectionRequest, entry) : unsupported(request.command);
    }
  }

  async #operateConnection(request: ConnectionRequest, entry: ResourceEntry): Promise<Answer> {
    const connection = entry.connections.get(request.peerNodeId);
    if (connection === undefined) return refuse('ERR_INVALID_REQUEST', 'unknown connection');
    if ('volume' in request && !entry.volumes.has(request.volume)) return refuse('ERR_INVALID_REQUEST', 'unknown volume');
    const { number } = connection;
    switch (request.command) {
      case 'net-options': {
        const options = changed(defaultOptions(NET_OPTIONS), request, connection.options);
        const allowed = checkNetOptions({ ...connection.options, ...options });
        if (!allowed.ok) return allowed;
        const answer = await this.#control(entry, {
          command: 'net-options',
          connection: number,
          options: request.options as Options,
          setDefaults: request.setDefaults,
        });
        if (answer.ok) connection.options = { ...connection.options, ...options };
        return answer;
      }
      case 'del-peer':
        return this.#deletePeer(entry, connection, request.force);
      case 'new-path':
        return this.#newPath(entry, connection, request);
      case 'del-path': {
        const at = connection.paths.findIndex((path) => samePath(path, request));
        if (at < 0) return refuse('ERR_INVALID_REQUEST', 'no such path');
        if (connection.paths.length === 1 && entry.connectionState(number) !== 'StandAlone') {
          return refuse('ERR_INVALID_REQUEST', 'Can not delete last path, use disconnect first!');
        }
        connection.paths.splice(at, 1);
        this.#sendPaths(entry, connection);
        return DONE;
      }
      case 'connect': {
        if (connection.paths.length === 0) return refuse('ERR_INVALID_REQUEST', 'connection endpoint(s) missing');
        const { tentative, discardMyData } = request;
        const answer = await this.#control(entry, { command: 'connect', connection: number, tentative, discardMyData });
        if (answer.ok && !tentative) connection.connect = true;
        return answer;
      }
      case 'disconnect': {
        const answer = await this.#control(entry, { command: 'disconnect', connection: number, force: request.force });
        if (answer.ok) connection.connect = false;
        return answer;
      }
      case 'peer-device-options':
        return this.#control(entry, {
          command: 'peer-device-options',
          connection: number,
          volume: request.volume,
          options: changed(defaultOptions(PEER_DEVICE_OPTIONS), request),
          setDefaults: request.setDefaults,
        });
      case 'invalidate-remote': {
        const refused = request.resetBitmap ? undefined : this.#needsBitmapResync(entry, request.peerNodeId);
        return refused ?? this.#control(entry, { command: 'invalidate-remote', connection: number, volume: request.volume });
      }
      case 'pause-sync':
      case 'resume-sync':
        return this.#control(entry, { command: request.command, connection: number, volume: request.volume });
      case 'verify': {
        const { volume, start, stop } = request;
        return this.#control(entry, { command: 'verify', connection: number, volume, start, stop });
      }
    }
  }

  async #operateMinor(request: Request & { minor: number }, entry: ResourceEntry, volume: VolumeEntry): Promise<Answer> {
    const number = volume.volume;
    switch (request.command) {
      case 'del-minor':
        return this.#deleteMinor(entry, volume);
      case 'attach':
        return this.#attach(entry, volume, request);
      case 'detach':
        return this.#detach(entry, volume, request.force, request.diskless);
      case 'disk-options': {
        const { size: _size, ...defaults } = defaultOptions(DISK_OPTIONS);
        const options = changed(defaults, request);
        const refused = volume.disk === undefined ? undefined : this.#resyncAfterRefusal(volume.minor, options);
        if (refused !== undefined) return refused;
        const answer = await this.#control(entry, {
          command: 'disk-options',
          volume: number,
          options: request.options as Options,
          setDefaults: request.setDefaults,
        });
        if (answer.ok && volume.disk !== undefined) volume.disk.options = { ...volume.disk.options, ...options };
        return answer;
      }
      case 'invalidate': {
        const { syncFromPeerNodeId: from } = request;
        if (!request.resetBitmap) {
          const refused = this.#needsBitmapResync(entry, from);
          if (refused !== undefined) return refused;
        }
        return this.#control(entry, { command: 'invalidate', volume: number, ...(from !== undefined && { fromPeerNodeId: from }) });
      }
      case 'resize': {
        const { size = 0, assumePeerHasSpace, assumeClean, alStripes, alStripeSizeKiB } = request;
        const answer = await this.#control(entry, {
          command: 'resize',
          volume: number,
          size,
          assumePeerHasSpace,
          assumeClean,
          ...(alStripes !== undefined && { alStripes }),
          ...(alStripeSizeKiB !== undefined && { alStripeSizeKiB }),
        });
        if (answer.ok && volume.disk !== undefined) volume.disk.options = { ...volume.disk.options, size };
        return answer;
      }
      case 'outdate':
        return this.#control(entry, { command: 'outdate', volume: number });
      case 'suspend-io':
      case 'resume-io':
        return this.#control(entry, { command: request.command });
      case 'new-current-uuid':
        return this.#control(entry, {
          command: 'new-current-uuid',
          volume: number,
          clearBitmap: request.clearBitmap,
          forceResync: request.forceResync,
        });
      default:
        return unsupported(request.command);
    }
  }

  async #newResource(request: Operation<'new-resource'>): Promise<Answer> {
    if (this.#resources.has(request.resource)) return DONE;
    let host = 0;
    while (this.#byHost.has(host)) host++;
    const drbd8Compat = request.nodeId === NODE_ID_NONE;
    const nodeId = drbd8Compat ? 0 : request.nodeId;
    const options: Options = { ...defaultOptions(RESOURCE_OPTIONS), ...request.options };
    const entry = new ResourceEntry(request.resource, nodeId, drbd8Compat, host, options);
    entry.isHeld = this.#isTakingOver;
    this.#resources.set(entry.name, entry);
    this.#byHost.set(host, entry);
    this.#post({ type: 'add-resource', host, name: entry.name, nodeId, options, isHeld: entry.isHeld });
    return this.#finish(entry, () => Promise.resolve(DONE));
  }

  async #deleteResource(entry: ResourceEntry): Promise<Answer> {
    if (entry.connections.size > 0) return refuse('ERR_NET_CONFIGURED');
    if (entry.volumes.size > 0) return refuse('ERR_RES_IN_USE');
    const answer = await this.#ask(entry, (operation) => ({ type: 'remove-resource', host: entry.host, operation }));
    if (!answer.ok) return answer;
    this.#resources.delete(entry.name);
    this.#byHost.delete(entry.host);
    this.#tell(difference(entry.told, undefined));
    this.#proc.changed();
    return answer;
  }

  async #newMinor(entry: ResourceEntry, request: Operation<'new-minor'>): Promise<Answer> {
    const known = this.#minors.get(request.minor);
    if (known !== undefined && known.entry === entry && known.volume.volume === request.volume) return DONE;
    if (known !== undefined) {
      const elsewhere = known.entry === entry ? 'minor exists as different volume' : 'minor exists in different resource';
      return refuse('ERR_INVALID_REQUEST', elsewhere);
    }
    if (entry.volumes.has(request.volume)) return refuse('ERR_MINOR_OR_VOLUME_EXISTS');
    const options: Options = { ...defaultOptions(DEVICE_OPTIONS), ...request.options };
    const allowed = checkDeviceOptions(options);
    if (!allowed.ok) return allowed;
    const volume: VolumeEntry = {
      volume: request.volume,
      minor: request.minor,
      options,
      disk: undefined,
      closing: Promise.resolve(),
      closed: () => undefined,
      isDegraded: false,
      devicePath: entry.isHeld ? this.#leftDevices.get(request.minor) : undefined,
      isUnnumbered: false,
      isOpen: false,
    };
    this.#minors.set(request.minor, { entry, volume });
    entry.volumes.set(request.volume, volume);
    const answer = await this.#control(entry, { command: 'new-minor', volume: request.volume, minor: request.minor, options });
    if (!answer.ok) this.#forgetVolume(entry, volume);
    return answer;
  }

  async #deleteMinor(entry: ResourceEntry, volume: VolumeEntry): Promise<Answer> {
    const state = await this.#refresh(entry);
    const present = state.core.volumes.find((v) => v.volume === volume.volume);
    const isInUse = state.core.role === 'Primary' || (present !== undefined && present.diskState !== 'Diskless');
    if (isInUse && !entry.hasFailed) return refuse('ERR_MINOR_CONFIGURED');
    await this.#ublk?.remove(volume.minor);
    const answer = await this.#control(entry, { command: 'del-minor', volume: volume.volume });
    if (answer.ok) this.#forgetVolume(entry, volume);
    return answer;
  }

  #forgetVolume(entry: ResourceEntry, volume: VolumeEntry): void {
    entry.volumes.delete(volume.volume);
    this.#minors.delete(volume.minor);
    this.#deferred.delete(volume.minor);
  }

  async #attach(entry: ResourceEntry, volume: VolumeEntry, request: Operation<'attach'>): Promise<Answer> {
    if (volume.disk !== undefined) {
      const state = await this.#refresh(entry);
      const isDiskless = state.core.volumes.find((v) => v.volume === volume.volume)?.diskState === 'Diskless';
      if (!isDiskless) return refuse('ERR_DISK_CONFIGURED');
      // Detached, but the last I/O is still on its way.
      await volume.closing;
    }
    const options: Options = { ...defaultOptions(DISK_OPTIONS), ...request.options };
    for (const connection of entry.connections.values()) {
      const allowed = checkNetOptions(connection.options);
      if (!allowed.ok && allowed.error.name === 'ERR_STONITH_AND_PROT_A') return allowed;
    }
    const { backingDev, metaDev, metaIndex } = request;
    const { nodeId, drbd8Compat } = entry;
    const left = entry.isHeld ? { replaysActivityLog: true, waitMs: LEFT_DISK_WAIT_MS } : {};
    const opened = await openDisk({ backingDev, metaDev, metaIndex, options, nodeId, drbd8Compat, ...left });
    if (!opened.ok) return opened;
    const { handles, backing, replayedBits } = opened.value;
    const refused = this.#resyncAfterRefusal(volume.minor, options);
    if (refused !== undefined) {
      await closeDisk(handles);
      return refused;
    }
    if (replayedBits !== undefined) {
      const kib = (replayedBits * backing.metaData.bm_bytes_per_bit) / 1024;
      this.#log('info', `drbd ${entry.name}/${volume.volume} drbd${volume.minor}: marked additional ${kib} KB as out-of-sync based on AL`);
    }
    const { flags, peers } = backing.metaData;
    const wasConnected = (flags & MDF.CONNECTED_IND) !== 0 || peers.some((peer) => (peer.flags & MDF_PEER.CONNECTED) !== 0);
    volume.isDegraded = (flags & MDF.PRIMARY_IND) !== 0 && !wasConnected;
    volume.disk = { backingDev, metaDev, metaIndex, options, handles };
    volume.closing = new Promise((resolve) => {
      volume.closed = resolve;
    });
    const answer = await this.#ask(entry, (operation) => ({
      type: 'attach',
      host: entry.host,
      operation,
      volume: volume.volume,
      disk: backing,
      handles,
    }));
    if (!answer.ok) await volume.closing;
    else await this.#linkNames(entry, volume, true);
    return answer;
  }

  /** A volume must not wait for itself. One that waits for a minor that is not there may. */
  #resyncAfterRefusal(minor: number, options: Options): Answer | undefined {
    const places = new Map<number, ResyncPlace>();
    for (const [other, { volume }] of this.#minors) {
      const after = Number(volume.disk?.options['resync-after'] ?? -1);
      places.set(other, { after, hasDisk: volume.disk !== undefined, isBusy: false, isWaiting: false });
    }
    return closesCycle(places, minor, Number(options['resync-after'] ?? -1)) ? refuse('ERR_RESYNC_AFTER_CYCLE') : undefined;
  }

  async #detach(entry: ResourceEntry, volume: VolumeEntry, force: boolean, diskless = false): Promise<Answer> {
    const names = this.#names(entry, volume);
    const answer = await this.#control(entry, { command: 'detach', volume: volume.volume, force, diskless });
    if (answer.ok && diskless) volume.options = { ...volume.options, diskless };
    if (answer.ok && !force) await volume.closing;
    if (answer.ok && volume.devicePath !== undefined && volume.disk === undefined) {
      await removeLinks(this.#environment.devDir, names, volume.devicePath);
      await this.#linkNames(entry, volume, true);
    }
    return answer;
  }

  async #diskClosed(host: number, number: number): Promise<void> {
    const volume = this.#byHost.get(host)?.volumes.get(number);
    const disk = volume?.disk;
    if (volume === undefined || disk === undefined) return;
    await closeDisk(disk.handles).catch((error: unknown) => this.#log('warning', `closing ${disk.backingDev}: ${String(error)}`));
    volume.disk = undefined;
    volume.closed();
    void this.#writeJournal();
  }

  async #newPeer(entry: ResourceEntry, request: Operation<'new-peer'>): Promise<Answer> {
    const { peerNodeId } = request;
    if (!entry.drbd8Compat && peerNodeId === entry.nodeId) return refuse('ERR_INVALID_REQUEST', 'peer node id cannot be my own node id');
    if (entry.connections.has(peerNodeId)) return refuse('ERR_INVALID_REQUEST', `Connection for peer node id ${peerNodeId} already exists`);
    const options: Options = { ...defaultOptions(NET_OPTIONS), ...request.options };
    for (const other of entry.connections.values()) {
      if (options._name !== '' && other.options._name === options._name) return refuse('ERR_ALREADY_EXISTS', 'name already exists');
    }
    const allowed = checkNetOptions(options);
    if (!allowed.ok) return allowed;
    const connection: ConnectionEntry = { number: entry.freeConnectionNumber(), peerNodeId, options, paths: [], connect: false };
    const answer = await this.#control(entry, { command: 'new-peer', connection: connection.number, peerNodeId, options });
    if (answer.ok) entry.connections.set(peerNodeId, connection);
    return answer;
  }

  async #newPath(entry: ResourceEntry, connection: ConnectionEntry, request: Operation<'new-path'>): Promise<Answer> {
    const path: ConfiguredPath = { resource: entry.name, peerNodeId: connection.peerNodeId, local: request.local, remote: request.remote };
    const others: ConfiguredPath[] = [];
    for (const other of this.#resources.values()) {
      for (const c of other.connections.values()) {
        for (const p of c.paths) others.push({ resource: other.name, peerNodeId: c.peerNodeId, local: p.local, remote: p.remote });
      }
    }
    const allowed = checkNewPath(path, others);
    if (!allowed.ok) return allowed;
    connection.paths.push({ local: request.local, remote: request.remote });
    this.#sendPaths(entry, connection);
    return DONE;
  }

  #sendPaths(entry: ResourceEntry, connection: ConnectionEntry): void {
    this.#post({ type: 'paths', host: entry.host, connection: connection.number, paths: connection.paths.slice() });
  }

  async #deletePeer(entry: ResourceEntry, connection: ConnectionEntry, force: boolean): Promise<Answer> {
    await this.#refresh(entry);
    if (entry.connectionState(connection.number) !== 'StandAlone') {
      const left = await this.#control(entry, { command: 'disconnect', connection: connection.number, force });
      if (!left.ok) return left;
    }
    const answer = await this.#control(entry, { command: 'del-peer', connection: connection.number });
    if (answer.ok) entry.connections.delete(connection.peerNodeId);
    return answer;
  }

  async #secondary(entry: ResourceEntry, force: boolean): Promise<Answer> {
    const openVolumes: number[] = [];
    const info: string[] = [];
    for (const [volume, openers] of await openersOf(entry)) {
      openVolumes.push(volume.volume);
      info.push(`/dev/drbd${volume.minor} open_cnt:${openers.length}, writable:1; list of openers follows`);
      for (const opener of openers.slice(0, 10)) info.push(`drbd${volume.minor} ${opener.text}`);
    }
    const answer = await this.#control(entry, { command: 'secondary', openVolumes, force });
    if (answer.ok) entry.primary = false;
    if (answer.ok || answer.error.name !== 'SS_DEVICE_IN_USE') return answer;
    const { openVolumes: served } = await this.#refresh(entry);
    for (const { volume, minor } of entry.volumes.values()) {
      if (served.includes(volume)) info.push(`/dev/drbd${minor} is open by clients of ${this.#environment.runDir}/nbd/${minor}.sock`);
    }
    return refuse('SS_DEVICE_IN_USE', ...info, ...(answer.error.info ?? []));
  }

  /**
   * What is mounted on a Secondary was cut off by a forced demotion, maybe by an engine that is gone: what it remembers of the data must
   * not be written to them again.
   */
  async #staleUsers(entry: ResourceEntry): Promise<Answer | undefined> {
    if (this.#ublk === undefined || entry.isHeld || entry.state?.core.role === 'Primary') return undefined;
    const users = await findDeviceUsers();
    const info: string[] = [];
    for (const { minor, devicePath } of entry.volumes.values()) {
      for (const { text } of devicePath === undefined ? [] : await findUsers(devicePath, users)) info.push(`drbd${minor} ${text}`);
    }
    return info.length > 0 ? refuse('SS_DEVICE_IN_USE', ...info) : undefined;
  }

  /** Demoted by force: all I/O fails until nobody has a volume open any more. */
  async #awaitLastClose(entry: ResourceEntry): Promise<void> {
    if (entry.awaitsLastClose) return;
    entry.awaitsLastClose = true;
    const isFailing = () => this.#resources.get(entry.name) === entry && !entry.hasFailed && entry.state?.core.failIo === true;
    while (isFailing()) {
      const openers = await openersOf(entry);
      for (const volume of entry.volumes.values()) volume.isOpen = openers.has(volume);
      if (isFailing() && openers.size === 0 && entry.state?.openVolumes.length === 0) await this.#control(entry, { command: 'closed' });
      if (isFailing()) await this.#refresh(entry);
      if (isFailing()) await entry.stateChange(OPENERS_MS);
    }
    entry.awaitsLastClose = false;
  }

  /** Demote, disconnect, detach, delete: as far as it goes, with DRBD's words for the step that failed. */
  async #down(entry: ResourceEntry): Promise<Answer> {
    const failed = (answer: Answer, text: string): Answer =>
      answer.ok ? answer : refuse(answer.error.name, ...(answer.error.info ?? []), text);
    const demoted = await this.#secondary(entry, false);
    if (!demoted.ok) return failed(demoted, 'failed to demote');
    for (const connection of [...entry.connections.values()]) {
      const answer = await this.#deletePeer(entry, connection, false);
      if (!answer.ok) return failed(answer, 'failed to disconnect');
    }
    for (const volume of [...entry.volumes.values()]) {
      const detached = await this.#detach(entry, volume, false);
      if (!detached.ok) return failed(detached, 'failed to detach');
      const deleted = await this.#deleteMinor(entry, volume);
      if (!deleted.ok) return failed(deleted, 'failed to delete volume');
    }
    await this.#refresh(entry);
    return this.#deleteResource(entry);
  }

  /** Links, journal and clients learn the new name; the log of the reactor goes on with the one it began with. */
  async #rename(entry: ResourceEntry, newName: string): Promise<Answer> {
    if (this.#resources.has(newName)) {
      return refuse('ERR_ALREADY_EXISTS', `Cannot rename to ${newName}: a resource with that name already exists\n`);
    }
    const { name, told } = entry;
    const volumes = [...entry.volumes.values()];
    const oldNames = volumes.map((volume) => this.#names(entry, volume));
    // In one go, before anything is waited for: nobody may take the name meanwhile.
    this.#resources.delete(name);
    entry.name = newName;
    this.#resources.set(newName, entry);
    if (told !== undefined) entry.told = { ...told, name: newName };
    this.#tell([{ kind: 'resource', action: 'rename', resource: name, newName }]);
    for (const [index, volume] of volumes.entries()) {
      if (volume.devicePath === undefined) continue;
      await removeLinks(this.#environment.devDir, oldNames[index]!, volume.devicePath);
      await this.#linkNames(entry, volume, true);
    }
    this.#log('info', `drbd ${name}: is ${newName} from now on`);
    return DONE;
  }

  /** A resync of what the bitmap says, without setting all of it first, is younger than the peers this engine talks to. */
  #needsBitmapResync(entry: ResourceEntry, peerNodeId: number | undefined): Answer | undefined {
    const isTooOld = entry.state?.core.connections.some(
      (c) =>
        c.state === 'Connected' && (peerNodeId === undefined || c.peerNodeId === peerNodeId) && c.agreedProtocolVersion < APV_BITMAP_RESYNC,
    );
    return isTooOld ? refuse('ERR_APV_TOO_LOW', `Need protocol level ${APV_BITMAP_RESYNC} to initiate bitmap based resync`) : undefined;
  }

  // Talking to the reactor.

  #post(message: DeskMessage): void {
    if (this.#port === undefined) throw new Error('no reactor');
    this.#port.post(message);
  }

  #control(entry: ResourceEntry, request: ControlRequest): Promise<Answer> {
    return this.#ask(entry, (operation) => ({ type: 'control', host: entry.host, operation, request }));
  }

  async #ask(entry: ResourceEntry, message: (operation: number) => DeskMessage): Promise<Answer> {
    const answer = await this.#exchange(entry.host, message);
    if (answer.type !== 'reply') throw new Error(`unexpected ${answer.type}`);
    return answer.error === undefined ? { ok: true, value: answer.info ?? [] } : { ok: false, error: answer.error };
  }

  #exchange(host: number, message: (operation: number) => DeskMessage): Promise<ReactorMessage> {
    this.#lastOperation += 1;
    const operation = this.#lastOperation;
    return new Promise((resolve) => {
      this.#operations.set(operation, {
        host,
        done: (answer) => {
          this.#operations.delete(operation);
          resolve(answer);
        },
      });
      this.#post(message(operation));
    });
  }

  // State, notifications, /proc.

  async #refresh(entry: ResourceEntry): Promise<HostSnapshot> {
    const snapshot = await this.#snapshot(entry);
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
    entry.state = state;
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
    void this.#lookAtDevices().then((entries) => {
      for (const entry of entries) if (entry.state !== undefined) this.#stateChanged(entry, entry.state);
    });
    for (const entry of this.#resources.values()) {
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

  /**
   * Whether block devices are open, as far as that is quickly found out: mounted, used as swap, or below another device.
   * @returns the resources where that has changed
   */
  async #lookAtDevices(): Promise<ReadonlySet<ResourceEntry>> {
    const changed = new Set<ResourceEntry>();
    const devices = [...this.#minors.values()].filter(({ entry, volume }) => volume.devicePath !== undefined && !entry.awaitsLastClose);
    if (devices.length === 0) return changed;
    const users = await findDeviceUsers();
    const look = async ({ entry, volume }: (typeof devices)[number]): Promise<void> => {
      const isOpen = volume.devicePath !== undefined && (await findUsers(volume.devicePath, users)).length > 0;
      if (isOpen !== volume.isOpen) changed.add(entry);
      volume.isOpen = isOpen;
    };
    await Promise.all(devices.map(look));
    return changed;
  }

  async #snapshots(name: string | undefined): Promise<ResourceSnapshot[]> {
    await this.#lookAtDevices();
    const wanted = [...this.#resources.values()].filter((entry) => name === undefined || entry.name === name);
    const all = await Promise.all(wanted.map((entry) => this.#snapshot(entry)));
    // Deleted meanwhile: it is not listed any more.
    return wanted.flatMap((entry, index) => {
      const state = all[index];
      return state === undefined || this.#resources.get(entry.name) !== entry ? [] : [this.#view(entry, state)];
    });
  }

  async #snapshot(entry: ResourceEntry): Promise<HostSnapshot | undefined> {
    const answer = await this.#exchange(entry.host, (operation) => ({ type: 'snapshot', host: entry.host, operation }));
    return answer.type === 'snapshot' ? answer.snapshot : undefined;
  }

  async #procText(): Promise<{ text: string; isActive: boolean }> {
    const states = (await Promise.all([...this.#resources.values()].map((entry) => this.#snapshot(entry)))).filter(
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
    const entry = this.#byHost.get(message.host);
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
    if (message.name.includes('fence')) variables.UP_TO_DATE_NODES = upToDateNodes(entry.nodeId, await this.#snapshot(entry));
    const call = { handler: message.name, resource: entry.name, variables };
    const exitCode = await runHandler(this.#environment.helper, call, this.#log);
    this.#tell([{ ...about, action: 'response', status: exitCode === HANDLER_NOT_RUN ? 0 : exitCode * 256 }]);
    this.#post({ type: 'helper-done', host: message.host, token: message.token, exitCode });
  }

  // Block devices.

  #volumeChanged(message: ReactorMessage & { type: 'volume' }): void {
    const entry = this.#byHost.get(message.host);
    const volume = entry?.volumes.get(message.volume);
    if (entry === undefined || volume === undefined || this.#ublk === undefined || this.#isLeaving) return;
    if (entry.isHeld) {
      this.#deferred.set(message.minor, message);
      return;
    }
    const ask = async (make: (operation: number) => DeskMessage) => {
      const answer = await this.#ask(entry, make);
      if (!answer.ok) throw new Error(answer.error.info?.join(' ') ?? answer.error.name);
    };
    const { host } = message;
    void this.#ublk.update(message.minor, message.sizeSectors, message.writable, {
      serve: (setup) => ask((operation) => ({ type: 'ublk-serve', host, operation, volume: message.volume, setup })),
      drain: () => ask((operation) => ({ type: 'ublk-drain', host, operation, volume: message.volume })),
      appeared: async (path) => {
        volume.devicePath = path;
        await this.#linkNames(entry, volume, true);
      },
      disappearing: async (path) => {
        volume.devicePath = undefined;
        await removeLinks(this.#environment.devDir, this.#names(entry, volume), path);
      },
    });
  }

  #names(entry: ResourceEntry, volume: VolumeEntry): DeviceNames {
    const { volume: number, minor, isUnnumbered, disk } = volume;
    return { resource: entry.name, volume: number, minor, isUnnumbered, backingDev: disk?.backingDev };
  }

  async #linkNames(entry: ResourceEntry, volume: VolumeEntry, complain: boolean): Promise<void> {
    if (volume.devicePath === undefined) return;
    // drbdadm leaves word.
    volume.isUnnumbered = await lstat(`${this.#environment.runDir}/config/drbd-minor-${volume.minor}.unnumbered`).then(
      () => true,
      () => false,
    );
    const failures = await createLinks(this.#environment.devDir, this.#names(entry, volume), volume.devicePath);
    if (complain) for (const failure of failures) this.#log('warning', `device link ${failure}`);
  }

  // The journal.

  #writeJournal(): Promise<void> {
    if (this.#isFrozen) return Promise.resolve();
    return this.#journal
      .write(journalOf([...this.#resources.values()]))
      .catch((error: unknown) => this.#log('warning', `journal: ${String(error)}`));
  }

  #timeoutType({ resource, peerNodeId, volume }: Operation<'timeout-type'>): TimeoutType {
    const entry = this.#resources.get(resource);
    const connection = entry?.state?.core.connections.find((c) => c.peerNodeId === peerNodeId);
    if (connection?.peerDevices.find((p) => p.volume === volume)?.peerDiskState === 'Outdated') return 2;
    return entry?.volumes.get(volume)?.isDegraded === true && entry.state?.core.role !== 'Primary' ? 1 : 0;
  }

  #peerDevice(request: { resource: string; peerNodeId: number; volume: number }): Outcome {
    const entry = this.#resources.get(request.resource);
    if (entry === undefined) return refuse('ERR_RES_NOT_KNOWN', 'unknown resource');
    if (!entry.connections.has(request.peerNodeId)) return refuse('ERR_INVALID_REQUEST', 'unknown connection');
    return entry.volumes.has(request.volume) ? succeed() : refuse('ERR_INVALID_REQUEST', 'unknown volume');
  }
}

type ConnectionRequest = Exclude<
  Extract<Request, { readonly peerNodeId: number }>,
  { readonly command: 'new-peer' | 'forget-peer' | 'timeout-type' }
>;

/** The options to hand on: those given, on top of the defaults when all others are to be reset. The name is never reset. */
function changed(defaults: Options, request: { readonly options: object; readonly setDefaults: boolean }, present: Options = {}): Options {
  const given = request.options as Options;
  if (!request.setDefaults) return given;
  return { ...defaults, ...(present._name === undefined ? {} : { _name: present._name }), ...given };
}

/** Who has the block devices of a resource open. */
async function openersOf(entry: ResourceEntry): Promise<Map<VolumeEntry, Opener[]>> {
  const found = new Map<VolumeEntry, Opener[]>();
  for (const volume of entry.volumes.values()) {
    const openers = volume.devicePath === undefined ? [] : await findOpeners(volume.devicePath);
    if (openers.length > 0) found.set(volume, openers);
  }
  return found;
}

const unsupported = (what: string): Answer => refuse('ERR_INVALID_REQUEST', `${what}: this engine can not do that yet`);

function isSyncing(state: HostSnapshot | undefined): boolean {
  return state?.core.connections.some((c) => c.peerDevices.some((p) => p.resync !== undefined)) ?? false;
}

const hasPeerPrimary = (state: HostSnapshot): boolean => state.core.connections.some((c) => c.peerRole === 'Primary');

const success = (id: number, info: readonly string[]): Reply => ({ id, code: RETURN_CODES.NO_ERROR.code, info });

const refusalReply = (id: number, error: Refusal): Reply => ({ id, code: RETURN_CODES[error.name].code, info: error.info ?? [] });

const timeout = (ms: number): Promise<undefined> =>
  new Promise((resolve) => {
    setTimeout(() => resolve(undefined), ms).unref();
  });
