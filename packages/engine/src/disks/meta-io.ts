/**
 * Meta-data writes and flushes of the disks of one resource, in the order that the core wants: writes to the same bytes one after the
 * other, all of them through a few staging buffers.
 */
import type { MetaWrite } from '@udrbd/replication';
import { BufferPool, ERRNO } from 'ublk-napi';
import { Operation, type OperationOwner } from '../reactor/operations.js';
import type { Reactor } from '../reactor/reactor.js';
import { type Disk, metaWritesOverlap } from './disk.js';
import { MetaWriter } from './meta-writer.js';

const STAGES = 4;
const STAGE_BYTES = 32 * 1024;

export interface MetaIoHost extends OperationOwner {
  /** A write of the core has ended. */
  metaIoDone(token: number, errno: number): void;
  /** A flush for a connection has ended. */
  epochFlushed(volume: number, connection: number, errno: number): void;
  /** One operation less is in flight on the disk. */
  ioReturned(disk: Disk): void;
}

/** One flush at a time, used again and again: there is one at the end of each epoch. */
class DiskFlush extends Operation {
  readonly owner: MetaIoHost;
  disk: Disk | undefined;
  connection = -1;
  /** It was answered already. */
  isAbandoned = false;
  readonly #reactor: Reactor;
  readonly #ended: (flush: DiskFlush, errno: number) => void;

  constructor(reactor: Reactor, owner: MetaIoHost, ended: (flush: DiskFlush, errno: number) => void) {
    super();
    this.#reactor = reactor;
    this.owner = owner;
    this.#ended = ended;
    reactor.operations.register(this);
  }

  start(): void {
    this.#reactor.ring.prepFsync(this.#reactor.begin(this), this.disk!.dataFd, true);
  }

  override completed(result: number): void {
    if (!this.isAbandoned && (result === -ERRNO.EINTR || result === -ERRNO.EAGAIN)) this.start();
    else this.#ended(this, result < 0 ? -result : 0);
  }
}

export class MetaIo {
  readonly #reactor: Reactor;
  readonly #host: MetaIoHost;
  readonly #lock: boolean;
  #staging: BufferPool;
  /** Staging buffers of which disks that were given up may still read. */
  readonly #retired: BufferPool[] = [];
  /** Writers that wait for a staging buffer, oldest first. */
  readonly #waiting: MetaWriter[] = [];
  readonly #flushes: DiskFlush[] = [];

  constructor(reactor: Reactor, host: MetaIoHost, lock: boolean) {
    this.#reactor = reactor;
    this.#host = host;
    this.#lock = lock;
    this.#staging = createStaging(lock);
  }

  write(disk: Disk | undefined, write: MetaWrite): void {
    if (disk === undefined || disk.isAbandoned) return this.#host.metaIoDone(write.token, ERRNO.EIO);
    disk.inFlight++;
    const writer = new MetaWriter(this.#reactor, this.#host, disk, write, (w, errno) => this.#written(w, errno));
    const mustWait = disk.metaWriters.some((earlier) => metaWritesOverlap(earlier.write, write));
    disk.metaWriters.push(writer);
    if (!mustWait) this.#start(writer);
  }

  /** Makes what was completed on a disk durable, for a connection. */
  flush(disk: Disk | undefined, volume: number, connection: number): void {
    if (disk === undefined || disk.isAbandoned) return this.#host.epochFlushed(volume, connection, ERRNO.EIO);
    disk.inFlight++;
    const flush = this.#idleFlush();
    flush.disk = disk;
    flush.connection = connection;
    flush.isAbandoned = false;
    flush.start();
  }

  #idleFlush(): DiskFlush {
    for (let i = 0; i < this.#flushes.length; i++) if (this.#flushes[i]!.disk === undefined) return this.#flushes[i]!;
    const flush = new DiskFlush(this.#reactor, this.#host, (ended, errno) => this.#flushed(ended, errno));
    this.#flushes.push(flush);
    return flush;
  }

  #flushed(flush: DiskFlush, errno: number): void {
    const disk = flush.disk!;
    flush.disk = undefined;
    if (!flush.isAbandoned) this.#host.epochFlushed(disk.volume, flush.connection, errno);
    this.#host.ioReturned(disk);
  }

  /**
   * The disk does not answer: what it may still read stays as it is.
   * @returns the tokens and connections of what it has not answered, and how many writes had not even begun, which are over
   */
  abandon(disk: Disk): { readonly tokens: readonly number[]; readonly flushes: readonly number[]; readonly idle: number } {
    const flushes: number[] = [];
    for (const flush of this.#flushes) {
      if (flush.disk !== disk || flush.isAbandoned) continue;
      flush.isAbandoned = true;
      flushes.push(flush.connection);
    }
    const tokens: number[] = [];
    const writers = disk.metaWriters.splice(0);
    let idle = 0;
    for (const writer of writers) {
      tokens.push(writer.write.token);
      writer.isAbandoned = true;
      const waiting = this.#waiting.indexOf(writer);
      if (waiting >= 0) this.#waiting.splice(waiting, 1);
      if (!writer.isRunning) idle++;
    }
    if (idle < writers.length) {
      this.#retired.push(this.#staging);
      this.#staging = createStaging(this.#lock);
      this.#startWaiting();
    }
    return { tokens, flushes, idle };
  }

  close(): void {
    for (const flush of this.#flushes) this.#reactor.operations.unregister(flush);
    for (const pool of [this.#staging, ...this.#retired]) pool.close();
  }

  #start(writer: MetaWriter): void {
    if (!writer.start(this.#staging)) this.#waiting.push(writer);
  }

  #written(writer: MetaWriter, errno: number): void {
    const { disk } = writer;
    if (writer.isAbandoned) return this.#host.ioReturned(disk);
    disk.metaWriters.splice(disk.metaWriters.indexOf(writer), 1);
    this.#host.metaIoDone(writer.write.token, errno);
    this.#host.ioReturned(disk);
    if (!this.#startWaiting()) return;
    for (const [i, later] of disk.metaWriters.entries()) {
      if (later.isRunning || this.#waiting.includes(later)) continue;
      if (disk.metaWriters.slice(0, i).some((earlier) => metaWritesOverlap(earlier.write, later.write))) continue;
      this.#start(later);
    }
  }

  /** @returns whether none is left that waits for a staging buffer */
  #startWaiting(): boolean {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (!next.start(this.#staging)) return false;
      this.#waiting.shift();
    }
    return true;
  }
}

const createStaging = (lock: boolean): BufferPool => BufferPool.create({ count: STAGES, size: STAGE_BYTES, lock });
