/**
 * Meta-data writes and flushes of the disks of one resource, in the order that the core wants: writes to the same bytes one after the
 * other, all of them through a few staging buffers.
 */
import type { MetaWrite } from '@udrbd/replication';
import { BufferPool, ERRNO } from 'ublk-napi';
import { CallbackOperation, type OperationOwner } from '../reactor/operations.js';
import type { Reactor } from '../reactor/reactor.js';
import { type Disk, metaWritesOverlap } from './disk.js';
import { MetaWriter } from './meta-writer.js';

const STAGES = 4;
const STAGE_BYTES = 32 * 1024;

export interface MetaIoHost extends OperationOwner {
  /** A write or flush of the core has ended. */
  metaIoDone(token: number, errno: number): void;
  /** One operation less is in flight on the disk. */
  ioReturned(disk: Disk): void;
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

  flush(disk: Disk | undefined, token: number): void {
    if (disk === undefined || disk.isAbandoned) return this.#host.metaIoDone(token, ERRNO.EIO);
    disk.inFlight++;
    disk.flushes.add(token);
    const reactor = this.#reactor;
    const operation = new CallbackOperation(this.#host, (result) => {
      const isWanted = disk.flushes.has(token);
      if (isWanted && (result === -ERRNO.EINTR || result === -ERRNO.EAGAIN)) {
        reactor.ring.prepFsync(reactor.begin(operation), disk.dataFd, true);
        return;
      }
      reactor.operations.unregister(operation);
      disk.flushes.delete(token);
      if (isWanted) this.#host.metaIoDone(token, result < 0 ? -result : 0);
      this.#host.ioReturned(disk);
    });
    reactor.operations.register(operation);
    reactor.ring.prepFsync(reactor.begin(operation), disk.dataFd, true);
  }

  /**
   * The disk does not answer: what it may still read stays as it is.
   * @returns the tokens of what it has not answered, and how many writes had not even begun, which are over
   */
  abandon(disk: Disk): { readonly tokens: readonly number[]; readonly idle: number } {
    const tokens = [...disk.flushes];
    disk.flushes.clear();
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
    return { tokens, idle };
  }

  close(): void {
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
