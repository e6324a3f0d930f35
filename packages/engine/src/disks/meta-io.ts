/**
 * Meta-data writes and flushes of the disks of one resource, in the order that the core wants: writes to the same bytes one after the
 * other, all of them through a few staging buffers.
 */
import { type MetaWrite, ShortList } from '@udrbd/replication';
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
  /** All there are, and those that have nothing to do. */
  readonly #writers: MetaWriter[] = [];
  readonly #idleWriters = new ShortList<MetaWriter>();
  readonly #flushes: DiskFlush[] = [];
  // A function that makes one of these when it has to allocates what they need whenever it runs.
  readonly #writeEnded = (writer: MetaWriter, errno: number): void => this.#written(writer, errno);
  readonly #flushEnded = (flush: DiskFlush, errno: number): void => this.#flushed(flush, errno);

  constructor(reactor: Reactor, host: MetaIoHost, lock: boolean) {
    this.#reactor = reactor;
    this.#host = host;
    this.#lock = lock;
    this.#staging = createStaging(lock);
  }

  write(disk: Disk | undefined, write: MetaWrite): void {
    if (disk === undefined || disk.isAbandoned) return this.#host.metaIoDone(write.token, ERRNO.EIO);
    disk.inFlight++;
    const writer = this.#idleWriter();
    writer.prepare(disk, write);
    const mustWait = overlapsEarlier(disk.metaWriters, disk.metaWriters.length, write);
    disk.metaWriters.push(writer);
    if (!mustWait) this.#start(writer);
  }

  #idleWriter(): MetaWriter {
    const idle = this.#idleWriters.pop();
    if (idle !== undefined) return idle;
    const writer = new MetaWriter(this.#reactor, this.#host, this.#writeEnded);
    this.#writers.push(writer);
    return writer;
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
    const flush = new DiskFlush(this.#reactor, this.#host, this.#flushEnded);
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
    let running = 0;
    let idle = 0;
    for (let writer = disk.metaWriters.pop(); writer !== undefined; writer = disk.metaWriters.pop()) {
      tokens.unshift(writer.token);
      writer.isAbandoned = true;
      const waiting = this.#waiting.indexOf(writer);
      if (waiting >= 0) this.#waiting.splice(waiting, 1);
      if (writer.isRunning) running++;
      else {
        idle++;
        this.#retire(writer);
      }
    }
    if (running > 0) {
      this.#retired.push(this.#staging);
      this.#staging = createStaging(this.#lock);
      this.#startWaiting();
    }
    return { tokens, flushes, idle };
  }

  close(): void {
    for (const operation of [...this.#flushes, ...this.#writers]) this.#reactor.operations.unregister(operation);
    for (const pool of [this.#staging, ...this.#retired]) pool.close();
  }

  #start(writer: MetaWriter): void {
    if (!writer.start(this.#staging)) this.#waiting.push(writer);
  }

  #written(writer: MetaWriter, errno: number): void {
    const { disk, token, isAbandoned } = writer;
    if (!isAbandoned) disk.metaWriters.remove(writer);
    this.#retire(writer);
    if (isAbandoned) return this.#host.ioReturned(disk);
    this.#host.metaIoDone(token, errno);
    this.#host.ioReturned(disk);
    if (!this.#startWaiting()) return;
    for (let i = 0; i < disk.metaWriters.length; i++) {
      const later = disk.metaWriters.at(i);
      if (!later.isRunning && !this.#waiting.includes(later) && !overlapsEarlier(disk.metaWriters, i, later.write)) this.#start(later);
    }
  }

  #retire(writer: MetaWriter): void {
    writer.clear();
    this.#idleWriters.push(writer);
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

/** Whether one of the first `count` writes goes to the same bytes. */
function overlapsEarlier(writers: ShortList<MetaWriter>, count: number, write: MetaWrite): boolean {
  for (let i = 0; i < count; i++) if (metaWritesOverlap(writers.at(i).write, write)) return true;
  return false;
}

const createStaging = (lock: boolean): BufferPool => BufferPool.create({ count: STAGES, size: STAGE_BYTES, lock });
