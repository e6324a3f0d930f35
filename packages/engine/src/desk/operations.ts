/**
 * What drbdsetup asks to be changed: judged by what is configured, here and in other resources, passed on to the core that decides, and
 * remembered for the journal when it said yes.
 */
import {
  DEVICE_OPTIONS,
  DISK_OPTIONS,
  defaultOptions,
  NET_OPTIONS,
  type Notification,
  PEER_DEVICE_OPTIONS,
  RESOURCE_OPTIONS,
  type Request,
  type RequestOf,
  refuse,
} from '@udrbd/control';
import { MDF, MDF_PEER } from '@udrbd/metadata';
import { closesCycle, type Options, type ResyncPlace } from '@udrbd/replication';
import { closeDisk, openDisk } from '../disks/open-disk.js';
import type { HostSnapshot } from '../reactor/messages.js';
import type { BlockDevices } from './block-devices.js';
import { checkDeviceOptions } from './device-rules.js';
import type { Log } from './log.js';
import { type ConfiguredPath, checkNetOptions, checkNewPath, samePath } from './net-rules.js';
import { difference } from './notifications.js';
import type { Answer, ReactorCalls } from './reactor-calls.js';
import type { Registry } from './registry.js';
import { type ConnectionEntry, ResourceEntry, type VolumeEntry } from './resource-entry.js';

const NODE_ID_NONE = 0xffff_ffff;
/** First protocol version with bitmap based resyncs on demand. */
const APV_BITMAP_RESYNC = 120;
/** I/O of an engine that was killed holds its disks for as long as it takes. */
const LEFT_DISK_WAIT_MS = 30_000;

type Operation<C extends Request['command']> = RequestOf<C>;

const DONE: Answer = { ok: true, value: [] };

/** What operations need of the desk. */
export interface OperationsDesk {
  readonly log: Log;
  readonly runDir: string;
  readonly registry: Registry;
  readonly calls: ReactorCalls;
  readonly devices: BlockDevices;
  /** Resources that are made now are held. */
  isTakingOver(): boolean;
  /** Asks for the state and tells what has changed. */
  refresh(entry: ResourceEntry): Promise<HostSnapshot>;
  tell(batch: readonly Notification[]): void;
  /** There is a resource less. */
  listChanged(): void;
  writeJournal(): Promise<void>;
}

export class Operations {
  readonly #desk: OperationsDesk;
  readonly #registry: Registry;

  constructor(desk: OperationsDesk) {
    this.#desk = desk;
    this.#registry = desk.registry;
  }

  /** Carries a request out; what has changed is told and written down by then. */
  async operate(request: Request): Promise<Answer> {
    if (request.command === 'new-resource') return this.#newResource(request);
    const entry = 'resource' in request && request.resource !== undefined ? this.#registry.resources.get(request.resource) : undefined;
    if ('minor' in request && request.command !== 'new-minor') {
      const known = this.#registry.minors.get(request.minor);
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
      if (!this.#registry.has(entry)) return refuse('ERR_RES_NOT_KNOWN', 'unknown resource');
      const answer = await work();
      if (this.#registry.has(entry)) await this.#desk.refresh(entry);
      if (answer.ok) await this.#desk.writeJournal();
      // What the reactor said about block devices has arrived with the snapshot: `primary` answers when they can be written.
      await this.#desk.devices.settled(entry);
      return answer;
    });
  }

  async #operateResource(request: Request, entry: ResourceEntry): Promise<Answer> {
    switch (request.command) {
      case 'resource-options': {
        const options = changed(defaultOptions(RESOURCE_OPTIONS), request);
        const answer = await this.#desk.calls.control(entry, { command: 'resource-options', options });
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
        const answer = await this.#desk.calls.control(entry, { command: 'primary', force: request.force });
        if (answer.ok) entry.primary = true;
        return answer;
      }
      case 'secondary':
        return this.#secondary(entry, request.force);
      case 'down':
        return this.down(entry);
      case 'new-minor':
        return this.#newMinor(entry, request);
      case 'new-peer':
        return this.#newPeer(entry, request);
      case 'forget-peer':
        return this.#desk.calls.control(entry, { command: 'forget-peer', peerNodeId: request.peerNodeId });
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
        const answer = await this.#desk.calls.control(entry, {
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
        const answer = await this.#desk.calls.control(entry, { command: 'connect', connection: number, tentative, discardMyData });
        if (answer.ok && !tentative) connection.connect = true;
        return answer;
      }
      case 'disconnect': {
        const answer = await this.#desk.calls.control(entry, { command: 'disconnect', connection: number, force: request.force });
        if (answer.ok) connection.connect = false;
        return answer;
      }
      case 'peer-device-options':
        return this.#desk.calls.control(entry, {
          command: 'peer-device-options',
          connection: number,
          volume: request.volume,
          options: changed(defaultOptions(PEER_DEVICE_OPTIONS), request),
          setDefaults: request.setDefaults,
        });
      case 'invalidate-remote': {
        const refused = request.resetBitmap ? undefined : this.#needsBitmapResync(entry, request.peerNodeId);
        return refused ?? this.#desk.calls.control(entry, { command: 'invalidate-remote', connection: number, volume: request.volume });
      }
      case 'pause-sync':
      case 'resume-sync':
        return this.#desk.calls.control(entry, { command: request.command, connection: number, volume: request.volume });
      case 'verify': {
        const { volume, start, stop } = request;
        return this.#desk.calls.control(entry, { command: 'verify', connection: number, volume, start, stop });
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
        const answer = await this.#desk.calls.control(entry, {
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
        return this.#desk.calls.control(entry, {
          command: 'invalidate',
          volume: number,
          ...(from !== undefined && { fromPeerNodeId: from }),
        });
      }
      case 'resize': {
        const { size = 0, assumePeerHasSpace, assumeClean, alStripes, alStripeSizeKiB } = request;
        const answer = await this.#desk.calls.control(entry, {
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
        return this.#desk.calls.control(entry, { command: 'outdate', volume: number });
      case 'suspend-io':
      case 'resume-io':
        return this.#desk.calls.control(entry, { command: request.command });
      case 'new-current-uuid':
        return this.#desk.calls.control(entry, {
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
    if (this.#registry.resources.has(request.resource)) return DONE;
    const host = this.#registry.freeHost();
    const drbd8Compat = request.nodeId === NODE_ID_NONE;
    const nodeId = drbd8Compat ? 0 : request.nodeId;
    const options: Options = { ...defaultOptions(RESOURCE_OPTIONS), ...request.options };
    const entry = new ResourceEntry(request.resource, nodeId, drbd8Compat, host, options);
    entry.isHeld = this.#desk.isTakingOver();
    this.#registry.add(entry);
    this.#desk.calls.post({ type: 'add-resource', host, name: entry.name, nodeId, options, isHeld: entry.isHeld });
    return this.#finish(entry, () => Promise.resolve(DONE));
  }

  async #deleteResource(entry: ResourceEntry): Promise<Answer> {
    if (entry.connections.size > 0) return refuse('ERR_NET_CONFIGURED');
    if (entry.volumes.size > 0) return refuse('ERR_RES_IN_USE');
    const answer = await this.#desk.calls.ask((operation) => ({ type: 'remove-resource', host: entry.host, operation }));
    if (!answer.ok) return answer;
    this.#registry.remove(entry);
    this.#desk.tell(difference(entry.told, undefined));
    this.#desk.listChanged();
    return answer;
  }

  async #newMinor(entry: ResourceEntry, request: Operation<'new-minor'>): Promise<Answer> {
    const known = this.#registry.minors.get(request.minor);
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
      devicePath: entry.isHeld ? this.#desk.devices.leftFor(request.minor) : undefined,
      isUnnumbered: false,
      isOpen: false,
    };
    this.#registry.addVolume(entry, volume);
    const answer = await this.#desk.calls.control(entry, { command: 'new-minor', volume: request.volume, minor: request.minor, options });
    if (!answer.ok) this.#forgetVolume(entry, volume);
    return answer;
  }

  async #deleteMinor(entry: ResourceEntry, volume: VolumeEntry): Promise<Answer> {
    const state = await this.#desk.refresh(entry);
    const present = state.core.volumes.find((v) => v.volume === volume.volume);
    const isInUse = state.core.role === 'Primary' || (present !== undefined && present.diskState !== 'Diskless');
    if (isInUse && !entry.hasFailed) return refuse('ERR_MINOR_CONFIGURED');
    await this.#desk.devices.remove(volume.minor);
    const answer = await this.#desk.calls.control(entry, { command: 'del-minor', volume: volume.volume });
    if (answer.ok) this.#forgetVolume(entry, volume);
    return answer;
  }

  #forgetVolume(entry: ResourceEntry, volume: VolumeEntry): void {
    this.#registry.removeVolume(entry, volume);
    this.#desk.devices.forget(volume.minor);
  }

  async #attach(entry: ResourceEntry, volume: VolumeEntry, request: Operation<'attach'>): Promise<Answer> {
    if (volume.disk !== undefined) {
      const state = await this.#desk.refresh(entry);
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
      this.#desk.log(
        'info',
        `drbd ${entry.name}/${volume.volume} drbd${volume.minor}: marked additional ${kib} KB as out-of-sync based on AL`,
      );
    }
    const { flags, peers } = backing.metaData;
    const wasConnected = (flags & MDF.CONNECTED_IND) !== 0 || peers.some((peer) => (peer.flags & MDF_PEER.CONNECTED) !== 0);
    volume.isDegraded = (flags & MDF.PRIMARY_IND) !== 0 && !wasConnected;
    volume.disk = { backingDev, metaDev, metaIndex, options, handles };
    volume.closing = new Promise((resolve) => {
      volume.closed = resolve;
    });
    const answer = await this.#desk.calls.ask((operation) => ({
      type: 'attach',
      host: entry.host,
      operation,
      volume: volume.volume,
      disk: backing,
      handles,
    }));
    if (!answer.ok) await volume.closing;
    else await this.#desk.devices.linkNames(entry, volume);
    return answer;
  }

  /** A volume must not wait for itself. One that waits for a minor that is not there may. */
  #resyncAfterRefusal(minor: number, options: Options): Answer | undefined {
    const places = new Map<number, ResyncPlace>();
    for (const [other, { volume }] of this.#registry.minors) {
      const after = Number(volume.disk?.options['resync-after'] ?? -1);
      places.set(other, { after, hasDisk: volume.disk !== undefined, isBusy: false, isWaiting: false });
    }
    return closesCycle(places, minor, Number(options['resync-after'] ?? -1)) ? refuse('ERR_RESYNC_AFTER_CYCLE') : undefined;
  }

  async #detach(entry: ResourceEntry, volume: VolumeEntry, force: boolean, diskless = false): Promise<Answer> {
    const names = this.#desk.devices.names(entry, volume);
    const answer = await this.#desk.calls.control(entry, { command: 'detach', volume: volume.volume, force, diskless });
    if (answer.ok && diskless) volume.options = { ...volume.options, diskless };
    if (answer.ok && !force) await volume.closing;
    if (answer.ok && volume.disk === undefined) await this.#desk.devices.renameLinks(entry, volume, names);
    return answer;
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
    const answer = await this.#desk.calls.control(entry, { command: 'new-peer', connection: connection.number, peerNodeId, options });
    if (answer.ok) entry.connections.set(peerNodeId, connection);
    return answer;
  }

  async #newPath(entry: ResourceEntry, connection: ConnectionEntry, request: Operation<'new-path'>): Promise<Answer> {
    const path: ConfiguredPath = { resource: entry.name, peerNodeId: connection.peerNodeId, local: request.local, remote: request.remote };
    const others: ConfiguredPath[] = [];
    for (const other of this.#registry.resources.values()) {
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
    this.#desk.calls.post({ type: 'paths', host: entry.host, connection: connection.number, paths: connection.paths.slice() });
  }

  async #deletePeer(entry: ResourceEntry, connection: ConnectionEntry, force: boolean): Promise<Answer> {
    await this.#desk.refresh(entry);
    if (entry.connectionState(connection.number) !== 'StandAlone') {
      const left = await this.#desk.calls.control(entry, { command: 'disconnect', connection: connection.number, force });
      if (!left.ok) return left;
    }
    const answer = await this.#desk.calls.control(entry, { command: 'del-peer', connection: connection.number });
    if (answer.ok) entry.connections.delete(connection.peerNodeId);
    return answer;
  }

  async #secondary(entry: ResourceEntry, force: boolean): Promise<Answer> {
    const openVolumes: number[] = [];
    const info: string[] = [];
    for (const [volume, openers] of await this.#desk.devices.openers(entry)) {
      openVolumes.push(volume.volume);
      info.push(`/dev/drbd${volume.minor} open_cnt:${openers.length}, writable:1; list of openers follows`);
      for (const opener of openers.slice(0, 10)) info.push(`drbd${volume.minor} ${opener.text}`);
    }
    // One that is about to be Primary again says no for those who wait for that.
    if (entry.isHeld && entry.primary && !force && info.length > 0) return refuse('SS_DEVICE_IN_USE', ...info);
    const answer = await this.#desk.calls.control(entry, { command: 'secondary', openVolumes, force });
    if (answer.ok) entry.primary = false;
    if (answer.ok || answer.error.name !== 'SS_DEVICE_IN_USE') return answer;
    const { openVolumes: served } = await this.#desk.refresh(entry);
    for (const { volume, minor } of entry.volumes.values()) {
      if (served.includes(volume)) info.push(`/dev/drbd${minor} is open by clients of ${this.#desk.runDir}/nbd/${minor}.sock`);
    }
    return refuse('SS_DEVICE_IN_USE', ...info, ...(answer.error.info ?? []));
  }

  /**
   * What is mounted on a Secondary was cut off by a forced demotion, maybe by an engine that is gone: what it remembers of the data must
   * not be written to them again.
   */
  async #staleUsers(entry: ResourceEntry): Promise<Answer | undefined> {
    if (entry.isHeld || entry.state?.core.role === 'Primary') return undefined;
    const info = await this.#desk.devices.users(entry);
    return info.length > 0 ? refuse('SS_DEVICE_IN_USE', ...info) : undefined;
  }

  /** Demote, disconnect, detach, delete: as far as it goes, with DRBD's words for the step that failed. */
  async down(entry: ResourceEntry): Promise<Answer> {
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
    await this.#desk.refresh(entry);
    return this.#deleteResource(entry);
  }

  /** Links, journal and clients learn the new name; the log of the reactor goes on with the one it began with. */
  async #rename(entry: ResourceEntry, newName: string): Promise<Answer> {
    if (this.#registry.resources.has(newName)) {
      return refuse('ERR_ALREADY_EXISTS', `Cannot rename to ${newName}: a resource with that name already exists\n`);
    }
    const { name, told } = entry;
    const volumes = [...entry.volumes.values()];
    const oldNames = volumes.map((volume) => this.#desk.devices.names(entry, volume));
    // In one go, before anything is waited for: nobody may take the name meanwhile.
    this.#registry.rename(entry, newName);
    if (told !== undefined) entry.told = { ...told, name: newName };
    this.#desk.tell([{ kind: 'resource', action: 'rename', resource: name, newName }]);
    for (const [index, volume] of volumes.entries()) await this.#desk.devices.renameLinks(entry, volume, oldNames[index]!);
    this.#desk.log('info', `drbd ${name}: is ${newName} from now on`);
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

const unsupported = (what: string): Answer => refuse('ERR_INVALID_REQUEST', `${what}: this engine can not do that yet`);
