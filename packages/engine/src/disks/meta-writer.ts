/**
 * One meta-data write on its way to the disk: flushes before it, the bytes in pieces of a staging buffer, durability after it.
 *
 * ```text
 *   flush data disk -> flush meta disk -> write piece (FUA when it is the only one) ... -> flush when pieces were not FUA
 * ```
 */
import type { MetaWrite } from '@udrbd/replication';
import { type BufferPool, ERRNO, RWF } from 'ublk-napi';
import { Operation, type OperationOwner } from '../reactor/operations.js';
import type { Reactor } from '../reactor/reactor.js';
import type { Disk } from './disk.js';

const STEP = { Idle: 0, FlushData: 1, FlushMeta: 2, Write: 3, FlushAfter: 4 } as const;

/** Used again and again: the activity log is written with it, and that allocates nothing. */
export class MetaWriter extends Operation {
  readonly owner: OperationOwner;
  readonly #reactor: Reactor;
  readonly #done: (writer: MetaWriter, errno: number) => void;
  #disk: Disk | undefined;
  #write: MetaWrite | undefined;
  /** Of the core's write; later the row of that may be another one's. */
  token = 0;
  #staging: BufferPool | undefined;
  /** Answered with an error because the disk was given up. */
  isAbandoned = false;
  #stage = -1;
  #step: number = STEP.Idle;
  #written = 0;
  #piece = 0;

  /** @param done - called once for each write, after its last operation */
  constructor(reactor: Reactor, owner: OperationOwner, done: (writer: MetaWriter, errno: number) => void) {
    super();
    this.#reactor = reactor;
    this.owner = owner;
    this.#done = done;
    reactor.operations.register(this);
  }

  /** What it is for next. The bytes stay as they are until the core has its answer. */
  prepare(disk: Disk, write: MetaWrite): void {
    this.#disk = disk;
    this.#write = write;
    this.token = write.token;
    this.isAbandoned = false;
    this.#written = 0;
  }

  /** It is for nothing any more. */
  clear(): void {
    this.#disk = undefined;
    this.#write = undefined;
  }

  get disk(): Disk {
    return this.#disk!;
  }

  get write(): MetaWrite {
    return this.#write!;
  }

  get isRunning(): boolean {
    return this.#step !== STEP.Idle;
  }

  /** @returns false when no staging buffer is free: start again later */
  start(staging: BufferPool): boolean {
    this.#stage = staging.acquire();
    if (this.#stage < 0) return false;
    this.#staging = staging;
    if (this.write.preflush) this.#flush(this.disk.dataFd === this.disk.metaFd ? STEP.FlushMeta : STEP.FlushData);
    else this.#writePiece();
    return true;
  }

  override completed(result: number): void {
    // Nobody waits for it any more; its staging buffer had to stay until now.
    if (this.isAbandoned) return this.#finish(0);
    if (result < 0 && result !== -ERRNO.EINTR && result !== -ERRNO.EAGAIN) {
      this.#finish(-result);
      return;
    }
    switch (this.#step) {
      case STEP.FlushData:
        this.#flush(result < 0 ? STEP.FlushData : STEP.FlushMeta);
        break;
      case STEP.FlushMeta:
        if (result < 0) this.#flush(STEP.FlushMeta);
        else this.#writePiece();
        break;
      case STEP.FlushAfter:
        if (result < 0) this.#flush(STEP.FlushAfter);
        else this.#finish(0);
        break;
      default:
        if (result === 0) this.#finish(ERRNO.ENOSPC);
        else {
          if (result > 0) this.#written += result;
          if (this.#written < this.write.bytes.length) this.#writePiece();
          else if (this.write.fua && this.#isPiecewise) this.#flush(STEP.FlushAfter);
          else this.#finish(0);
        }
    }
  }

  get #isPiecewise(): boolean {
    return this.write.bytes.length > this.#staging!.slotBytes;
  }

  #flush(step: number): void {
    this.#step = step;
    const sqe = this.#reactor.begin(this);
    this.#reactor.ring.prepFsync(sqe, step === STEP.FlushData ? this.disk.dataFd : this.disk.metaFd, true);
  }

  #writePiece(): void {
    this.#step = STEP.Write;
    const staging = this.#staging!;
    this.#piece = Math.min(staging.slotBytes, this.write.bytes.length - this.#written);
    const at = staging.slotOffset(this.#stage);
    const { bytes } = this.write;
    staging.bytes.set(this.#piece === bytes.length ? bytes : bytes.subarray(this.#written, this.#written + this.#piece), at);
    const sqe = this.#reactor.begin(this);
    this.#reactor.ring.prepWrite(
      sqe,
      this.disk.metaFd,
      staging.slotAddress(this.#stage),
      this.#piece,
      this.write.offsetBytes + this.#written,
      this.write.fua && !this.#isPiecewise ? RWF.DSYNC : 0,
    );
  }

  #finish(errno: number): void {
    this.#step = STEP.Idle;
    this.#staging!.release(this.#stage);
    this.#stage = -1;
    this.#done(this, errno);
  }
}
