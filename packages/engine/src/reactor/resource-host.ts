/**
 * The host of one resource's core: carries out its effects with the reactor's ring and tells it what came of them.
 */
import type { Refusal } from '@udrbd/control';
import {
  type BackingDisk,
  type ColdEffect,
  type ControlRequest,
  EFFECT,
  type LogLevel,
  type Options,
  type ReplicationCore,
  type Requests,
} from '@udrbd/replication';
import { ERRNO, statFile } from 'ublk-napi';
import { Disk } from '../disks/disk.js';
import { MetaIo, type MetaIoHost } from '../disks/meta-io.js';
import { SlotIo, type SlotIoHost } from '../disks/slot-io.js';
import type { FrontEnd, FrontEndHost } from '../front-ends/front-end.js';
import { Link } from '../links/link.js';
import type { LinkHost } from '../links/link-host.js';
import type { Listeners } from '../links/listener.js';
import { SLOTS_MAX } from './key-space.js';
import type { DiskHandles, HostSnapshot, PathSetup } from './messages.js';
import type { PayloadMemory } from './payload-memory.js';
import type { Reactor, SlotOwner, Timed } from './reactor.js';
import type { OrderedHost, ResyncOrder } from './resync-order.js';
import { SlotBuffers, type SlotBuffersHost } from './slot-buffers.js';

const SECTOR_BYTES = 512;

/** Makes the front end of a volume, or none. */
export type FrontEndFactory = (host: ResourceHost, volume: number, minor: number) => FrontEnd | undefined;

interface VolumeHost {
  readonly volume: number;
  readonly minor: number;
  readonly frontEnd: FrontEnd | undefined;
  /** One that is being replaced is closed before the next one comes. */
  disk: Disk | undefined;
  sizeSectors: number;
  writable: boolean;
}

export interface ResourceHostSetup {
  readonly reactor: Reactor;
  readonly index: number;
  readonly core: ReplicationCore;
  readonly listeners: Listeners;
  readonly frontEnds: FrontEndFactory;
  readonly lock: boolean;
  readonly resyncOrder: ResyncOrder;
}

export class ResourceHost implements SlotOwner, Timed, LinkHost, FrontEndHost, OrderedHost, MetaIoHost, SlotIoHost, SlotBuffersHost {
  readonly core: ReplicationCore;
  readonly index: number;
  readonly reactor: Reactor;
  touched = false;
  deadline = Infinity;
  /** Set by a bug: the resource stands still, its requests fail, the daemon goes on. */
  hasFailed = false;
  /** Front ends get no slots: the engine hands over to the next one. */
  isHolding = false;
  readonly #listeners: Listeners;
  readonly #frontEnds: FrontEndFactory;
  readonly #lock: boolean;
  readonly #resyncOrder: ResyncOrder;
  readonly #requests: Requests;
  readonly #volumes: (VolumeHost | undefined)[] = [];
  readonly #links: (Link | undefined)[] = [];
  readonly #metaIo: MetaIo;
  readonly #slotIo: SlotIo;
  readonly #buffers: SlotBuffers;
  /** By slot: who submitted the request. */
  readonly #fronts: (FrontEnd | undefined)[];
  /** 1: submitted and not completed. */
  readonly #submitted: Uint8Array;
  readonly #resuming: FrontEnd[] = [];
  #isDraining = false;
  #lastSnapshot: HostSnapshot | undefined;
  #stateChanged = false;
  /** Volumes whose del-minor waits for the end of a front end. */
  readonly #deletions = new Set<number>();
  readonly #controls = new Map<number, ControlRequest>();
  #removal: (() => void) | undefined;

  constructor(setup: ResourceHostSetup) {
    this.reactor = setup.reactor;
    this.index = setup.index;
    this.core = setup.core;
    this.#listeners = setup.listeners;
    this.#frontEnds = setup.frontEnds;
    this.#lock = setup.lock;
    this.#resyncOrder = setup.resyncOrder;
    this.#requests = setup.core.requests;
    const slots = this.#requests.capacity;
    if (slots > SLOTS_MAX) throw new Error(`${slots} request slots do not fit the key space`);
    this.#fronts = new Array<FrontEnd | undefined>(slots).fill(undefined);
    this.#submitted = new Uint8Array(slots);
    this.#metaIo = new MetaIo(setup.reactor, this, setup.lock);
    this.#slotIo = new SlotIo(setup.reactor, this, setup.index, setup.core.requests);
    this.#buffers = new SlotBuffers(setup.reactor.memory, setup.core, this);
    this.reactor.addSlotOwner(this.index, this);
    this.reactor.addTimed(this);
  }

  get memory(): PayloadMemory {
    return this.reactor.memory;
  }

  // Told by the front desk.

  control(operation: number, request: ControlRequest): void {
    this.#controls.set(operation, request);
    if (this.hasFailed) {
      // It can be taken down, nothing else.
      this.#answer(operation, TEAR_DOWN.has(request.command) ? undefined : FAILED, undefined);
      return;
    }
    this.touched = true;
    this.core.control(this.reactor.now, operation, request.command === 'secondary' ? this.#withOpenVolumes(request) : request);
  }

  attach(operation: number, volume: number, backing: BackingDisk, handles: DiskHandles): void {
    const entry = this.#volumes[volume];
    if (entry === undefined || entry.disk !== undefined || this.hasFailed) {
      this.#closed(volume, handles.dataFd);
      this.#reply(operation, { name: entry === undefined ? 'ERR_MINOR_INVALID' : 'ERR_DISK_CONFIGURED' }, undefined);
      return;
    }
    entry.disk = new Disk(volume, handles);
    this.control(operation, { command: 'attach', volume, disk: backing });
  }

  setPaths(connection: number, paths: readonly PathSetup[]): void {
    this.#link(connection).setPaths(paths);
  }

  /** The front end of a volume, or undefined. */
  frontEndOf(volume: number): FrontEnd | undefined {
    return this.#volumes[volume]?.frontEnd;
  }

  /** Told by the order of resyncs, maybe while another resource settles. */
  resyncDependency(volume: number, mustWait: boolean): void {
    if (this.hasFailed) return;
    this.touched = true;
    this.core.resyncDependency(this.reactor.now, volume, mustWait);
  }

  helperDone(token: number, exitCode: number): void {
    this.touched = true;
    this.core.helperDone(this.reactor.now, token, exitCode);
  }

  /** Of a resource that was stopped by a bug: the last state that is known. */
  snapshot(): HostSnapshot {
    if (this.hasFailed && this.#lastSnapshot !== undefined) return this.#lastSnapshot;
    const openVolumes: number[] = [];
    for (const entry of this.#volumes) if (entry?.frontEnd?.isOpen === true) openVolumes.push(entry.volume);
    const established: { connection: number; path: number }[] = [];
    for (const link of this.#links) {
      if (link !== undefined && link.establishedPath >= 0) established.push({ connection: link.connection, path: link.establishedPath });
    }
    const snapshot = { core: this.core.snapshot(this.reactor.now), openVolumes, established };
    this.#lastSnapshot = snapshot;
    return snapshot;
  }

  /** Takes the host out of the reactor once nothing is in flight. The core has neither volumes nor connections any more. */
  remove(removed: () => void): void {
    this.#removal = removed;
    this.touched = true;
  }

  // Called by the reactor.

  settle(): void {
    if (this.hasFailed) {
      this.touched = false;
      this.#resume();
      for (const entry of this.#volumes) entry?.frontEnd?.settle();
      this.#finishRemoval();
      return;
    }
    do {
      this.touched = false;
      this.core.settle(this.reactor.now);
      this.drainHot();
      this.#drainCold();
      this.#buffers.serveWaiting();
      for (let i = 0; i < this.#links.length; i++) this.#links[i]?.settle();
      this.#resume();
      for (let i = 0; i < this.#volumes.length; i++) this.#volumes[i]?.frontEnd?.settle();
    } while (this.touched || this.core.effects.count > 0 || this.core.effects.cold.length > 0);
    this.#schedule();
    if (this.#stateChanged) {
      this.#stateChanged = false;
      this.reactor.post({ type: 'state', host: this.index, snapshot: this.snapshot() });
    }
    this.#finishRemoval();
  }

  expire(now: number): void {
    for (const link of this.#links) if (link !== undefined && link.deadline <= now) link.expire(now);
    if (this.#buffers.lacksMemory) this.touched = true;
    if (!this.hasFailed && this.core.deadline <= now) {
      this.touched = true;
      this.core.tick(now);
    }
    this.#schedule();
  }

  /** A bug in this resource: it stands still from now on; what was submitted fails. */
  fail(error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.log('err', `internal error, the resource is stopped: ${text}`);
    if (this.hasFailed) return;
    this.hasFailed = true;
    this.deadline = Infinity;
    this.reactor.post({ type: 'failed', host: this.index, text });
    this.#resyncOrder.left(this);
    for (const link of this.#links) link?.abort();
    for (let slot = 0; slot < this.#fronts.length; slot++) {
      if (this.#submitted[slot] === 1) this.#completed(slot, ERRNO.EIO);
    }
    for (const [operation] of this.#controls) this.#reply(operation, FAILED, undefined);
    this.#controls.clear();
    for (const entry of this.#volumes) if (entry?.disk !== undefined) this.#closeDisk(entry.volume);
    this.touched = true;
  }

  // Disk I/O of slots.

  slotIoDone(slot: number, generation: number, result: number): boolean {
    return this.#slotIo.completed(slot, generation, result);
  }

  #startIo(slot: number, kind: number): void {
    const disk = this.#volumes[this.#requests.volume[slot]!]?.disk;
    if (disk === undefined || disk.isClosing || disk.isAbandoned) this.slotIoEnded(slot, ERRNO.EIO);
    else this.#slotIo.start(slot, kind, disk, this.#buffers.pageOf(slot));
  }

  slotFilled(slot: number): void {
    this.#buffers.filled(slot, 0, this.#requests.lengthBytes[slot]!);
  }

  slotIoEnded(slot: number, errno: number): void {
    this.touched = true;
    if (!this.hasFailed) this.core.diskDone(this.reactor.now, slot, errno);
  }

  ioReturned(disk: Disk): void {
    disk.inFlight--;
    if (disk.inFlight > 0) return;
    const token = disk.abandonToken;
    disk.abandonToken = undefined;
    if (token !== undefined && !this.hasFailed) {
      this.touched = true;
      this.core.metaDone(this.reactor.now, token, 0);
    }
    if (disk.isClosing) this.#diskClosed(disk);
  }

  /** Answers everything that the disk has not answered. */
  #abandonDisk(volume: number, token: number): void {
    const { core, reactor } = this;
    const disk = this.#volumes[volume]?.disk;
    if (disk !== undefined) disk.isAbandoned = true;
    if (disk === undefined || disk.inFlight === 0) {
      this.touched = true;
      core.metaDone(reactor.now, token, 0);
      return;
    }
    disk.abandonToken = token;
    const { slots, reads } = this.#slotIo.abandon(disk);
    for (const slot of reads) this.#buffers.replace(slot);
    const { tokens, flushes, idle } = this.#metaIo.abandon(disk);
    this.touched = true;
    for (const slot of slots) core.diskDone(reactor.now, slot, ERRNO.EIO);
    for (const connection of flushes) core.epochFlushed(reactor.now, connection, volume, ERRNO.EIO);
    for (const each of tokens) core.metaDone(reactor.now, each, ERRNO.EIO);
    for (let i = 0; i < idle; i++) this.ioReturned(disk);
  }

  #closeDisk(volume: number): void {
    const disk = this.#volumes[volume]?.disk;
    if (disk === undefined || disk.isClosing) return;
    disk.isClosing = true;
    if (disk.inFlight === 0) this.#diskClosed(disk);
  }

  #diskClosed(disk: Disk): void {
    const entry = this.#volumes[disk.volume];
    if (entry?.disk === disk) entry.disk = undefined;
    this.#closed(disk.volume, disk.dataFd);
    this.touched = true;
  }

  #closed(volume: number, dataFd: number): void {
    this.reactor.post({ type: 'disk-closed', host: this.index, volume, dataFd });
  }

  // The end of meta-data writes and flushes.

  metaIoDone(token: number, errno: number): void {
    this.touched = true;
    if (!this.hasFailed) this.core.metaDone(this.reactor.now, token, errno);
  }

  epochFlushed(volume: number, connection: number, errno: number): void {
    this.touched = true;
    if (!this.hasFailed) this.core.epochFlushed(this.reactor.now, connection, volume, errno);
  }

  // Effects.

  drainHot(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    const { effects } = this.core;
    for (let i = 0; i < effects.count; i++) this.#hot(effects.kind[i]!, effects.slot[i]!, effects.value[i]!);
    effects.count = 0;
    this.#isDraining = false;
  }

  #hot(kind: number, slot: number, value: number): void {
    switch (kind) {
      case EFFECT.DiskRead:
        if (!this.#buffers.readMustWait(slot)) this.#startIo(slot, kind);
        break;
      case EFFECT.Complete:
        this.#completed(slot, value);
        break;
      case EFFECT.AllocateBuffer:
        this.#buffers.allocateForPeer(slot, value);
        break;
      case EFFECT.FreeBuffer:
        this.#buffers.free(slot);
        break;
      case EFFECT.Send:
        this.#links[slot]?.wantSend(value === 0 ? 0 : 1);
        break;
      case EFFECT.MetaWrite:
        this.#writeMetaData(slot);
        break;
      case EFFECT.FlushVolume:
        this.#metaIo.flush(this.#volumes[slot]?.disk, slot, value);
        break;
      case EFFECT.ResumeReceive:
        this.#links[slot]?.wantReceive();
        break;
      default:
        this.#startIo(slot, kind);
    }
  }

  #writeMetaData(row: number): void {
    const write = this.core.metaWriteOf(row);
    this.#metaIo.write(this.#volumes[write.volume]?.disk, write);
  }

  #completed(slot: number, errno: number): void {
    const frontEnd = this.#fronts[slot];
    this.#fronts[slot] = undefined;
    this.#submitted[slot] = 0;
    if (frontEnd !== undefined) frontEnd.complete(slot, errno);
    else this.#buffers.free(slot);
  }

  #drainCold(): void {
    const { cold } = this.core.effects;
    for (let i = 0; i < cold.length; i++) this.#cold(cold[i]!);
    cold.length = 0;
  }

  #cold(effect: ColdEffect): void {
    switch (effect.type) {
      case 'abandonDisk':
        this.#abandonDisk(effect.volume, effect.token);
        break;
      case 'resyncPlace':
        this.#resyncOrder.moved(this, effect.volume, effect.minor, effect.place);
        break;
      case 'measureDisk': {
        const [backing, meta] = this.#measure(effect.volume);
        this.touched = true;
        this.core.diskMeasured(this.reactor.now, effect.token, backing, meta);
        break;
      }
      case 'openLink':
        this.#link(effect.connection).open(this.#connectionOptions(effect.connection));
        break;
      case 'closeLink':
        this.#links[effect.connection]?.close();
        break;
      case 'reply':
        this.#answer(effect.operation, effect.error, effect.info);
        break;
      case 'helper':
        this.reactor.post({
          type: 'helper',
          host: this.index,
          name: effect.name,
          volume: effect.volume,
          connection: effect.connection,
          token: effect.token,
        });
        break;
      case 'closeDisk':
        this.#closeDisk(effect.volume);
        break;
      case 'volumeChanged': {
        const entry = this.#volumes[effect.volume];
        if (entry === undefined) break;
        entry.sizeSectors = effect.sizeSectors;
        entry.writable = effect.writable;
        // Clients of a device that is handed over shall not see that this engine steps down.
        if (!this.isHolding) entry.frontEnd?.update(effect.sizeSectors, effect.writable);
        break;
      }
      case 'stateChanged':
        this.#stateChanged = true;
        break;
      case 'log':
        this.reactor.post({ type: 'log', level: effect.level, text: effect.text });
        break;
    }
  }

  /** Capacities in sectors; 0 for a disk that is gone meanwhile. */
  #measure(volume: number): readonly [number, number] {
    const disk = this.#volumes[volume]?.disk;
    if (disk === undefined) return [0, 0];
    const sectors = (fd: number): number => Math.floor(statFile(fd).sizeBytes / SECTOR_BYTES);
    return [sectors(disk.dataFd), sectors(disk.metaFd)];
  }

  #connectionOptions(connection: number): Options {
    return this.core.snapshot(this.reactor.now).connections.find((c) => c.connection === connection)?.options ?? {};
  }

  // Answers of the core, and what the host does because of them.

  #answer(operation: number, error: Refusal | undefined, info: readonly string[] | undefined): void {
    const request = this.#controls.get(operation);
    this.#controls.delete(operation);
    if (error === undefined && request !== undefined) {
      if (request.command === 'new-minor') this.#addVolume(request.volume, request.minor);
      else if (request.command === 'del-peer') this.#dropLink(request.connection);
      else if (request.command === 'del-minor') {
        this.#deleteVolume(request.volume, () => this.#reply(operation, error, info));
        return;
      }
    }
    this.#reply(operation, error, info);
  }

  #reply(operation: number, error: Refusal | undefined, info: readonly string[] | undefined): void {
    this.reactor.post({
      type: 'reply',
      host: this.index,
      operation,
      ...(error === undefined ? {} : { error }),
      ...(info === undefined ? {} : { info }),
    });
  }

  #addVolume(volume: number, minor: number): void {
    if (this.#volumes[volume] !== undefined) return;
    const frontEnd = this.#frontEnds(this, volume, minor);
    this.#volumes[volume] = { volume, minor, frontEnd, disk: undefined, sizeSectors: 0, writable: false };
    frontEnd?.update(0, false);
  }

  #deleteVolume(volume: number, deleted: () => void): void {
    const entry = this.#volumes[volume];
    const end = () => {
      if (this.#volumes[volume] === entry) this.#volumes[volume] = undefined;
      this.#deletions.delete(volume);
      this.touched = true;
      deleted();
    };
    if (entry?.frontEnd === undefined) end();
    else {
      this.#deletions.add(volume);
      const at = this.#resuming.indexOf(entry.frontEnd);
      if (at >= 0) this.#resuming.splice(at, 1);
      entry.frontEnd.stop(end);
    }
  }

  #link(connection: number): Link {
    let link = this.#links[connection];
    if (link === undefined) {
      link = new Link(this.reactor, this.#listeners, this, connection, this.#lock);
      this.#links[connection] = link;
    }
    return link;
  }

  #dropLink(connection: number): void {
    const link = this.#links[connection];
    if (link === undefined) return;
    if (link.isClosed) link.dispose();
    this.#links[connection] = undefined;
  }

  #withOpenVolumes(request: ControlRequest & { command: 'secondary' }): ControlRequest {
    const open = new Set(request.openVolumes);
    // Who hands over steps down for the next engine, not for those who use the device.
    for (const entry of this.isHolding ? [] : this.#volumes) {
      const frontEnd = entry?.frontEnd;
      if (frontEnd?.openForWriting === true || (request.force && frontEnd?.isOpen === true)) open.add(entry!.volume);
    }
    return { ...request, openVolumes: [...open].sort((a, b) => a - b) };
  }

  // Buffers.

  pageOf(slot: number): number {
    return this.#buffers.pageOf(slot);
  }

  bufferFilled(slot: number, from: number, lengthBytes: number): void {
    this.#buffers.filled(slot, from, lengthBytes);
  }

  bufferCame(slot: number, isForRead: boolean): void {
    if (isForRead) this.#startIo(slot, EFFECT.DiskRead);
    for (const link of this.#links) if (link?.awaitsMemoryFor === slot) link.wantReceive();
  }

  // Front ends.

  acquire(volume: number, frontEnd: FrontEnd): number {
    // The core frees a slot when it queues the slot's Complete: whoever takes it again first has to see that effect.
    if (this.hasFailed || this.isHolding || this.#isDraining) return -1;
    if (this.core.effects.count > 0) this.drainHot();
    if (!this.core.ioReady(volume)) return -1;
    const slot = this.#requests.acquireApplication();
    if (slot < 0) return -1;
    this.#requests.volume[slot] = volume;
    this.#fronts[slot] = frontEnd;
    return slot;
  }

  allocate(slot: number, lengthBytes: number): number {
    return this.#buffers.allocate(slot, lengthBytes);
  }

  release(slot: number): void {
    this.#buffers.free(slot);
    this.#fronts[slot] = undefined;
    this.#requests.release(slot);
  }

  takePage(slot: number): number {
    return this.#buffers.take(slot);
  }

  submit(slot: number): void {
    // Its buffer has only just been filled: the client asks the next engine for it again.
    if (this.isHolding) return;
    this.touched = true;
    this.#submitted[slot] = 1;
    if (this.hasFailed) {
      this.#completed(slot, ERRNO.EIO);
      return;
    }
    this.core.submit(this.reactor.now, slot);
  }

  wantResume(frontEnd: FrontEnd): void {
    if (!this.#resuming.includes(frontEnd)) this.#resuming.push(frontEnd);
  }

  openChanged(): void {
    this.#stateChanged = true;
    this.touched = true;
  }

  #resume(): void {
    this.#buffers.forgetRefusals();
    // Who still can not is at the end again.
    for (let left = this.#resuming.length; left > 0 && this.#resuming.length > 0; left--) this.#resuming.shift()!.resume();
  }

  // The rest.

  log(level: LogLevel, text: string): void {
    this.reactor.post({ type: 'log', level, text: `drbd ${this.core.name}: ${text}` });
  }

  pathsChanged(): void {
    this.#stateChanged = true;
    this.touched = true;
  }

  #schedule(): void {
    let deadline = this.hasFailed ? Infinity : this.core.deadline;
    for (let i = 0; i < this.#links.length; i++) {
      const link = this.#links[i];
      if (link !== undefined && link.deadline < deadline) deadline = link.deadline;
    }
    // Memory may be given back by another resource, which does not wake this one.
    if (this.#buffers.lacksMemory) deadline = Math.min(deadline, this.reactor.now + MEMORY_RETRY_MS);
    this.deadline = deadline;
  }

  #finishRemoval(): void {
    if (this.#removal === undefined || this.#deletions.size > 0) return;
    for (const link of this.#links) if (link !== undefined && !link.isClosed) return;
    for (const entry of this.#volumes) if (entry?.disk !== undefined) return;
    for (const link of this.#links) link?.dispose();
    const removed = this.#removal;
    this.#removal = undefined;
    this.#resyncOrder.left(this);
    this.reactor.removeSlotOwner(this.index);
    this.reactor.removeTimed(this);
    this.#metaIo.close();
    removed();
  }
}

/** What a resource that was stopped by a bug still does. */
const TEAR_DOWN: ReadonlySet<ControlRequest['command']> = new Set(['secondary', 'disconnect', 'del-peer', 'detach', 'del-minor']);
const FAILED: Refusal = { name: 'ERR_INTR', info: ['the resource was stopped by an internal error'] };

/** How often a resource without memory looks again. */
const MEMORY_RETRY_MS = 5;
