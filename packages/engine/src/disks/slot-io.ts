/**
 * The disk I/O of request slots: one read, write, flush, discard or zeroing at a time for each slot, on the disk of its volume, in as many
 * steps as it takes. The memory that a step may touch is held until the kernel is done with it, however the slot fares meanwhile.
 */
import { EFFECT, REQ_FUA, REQ_NOUNMAP, REQ_PREFLUSH, type Requests } from '@udrbd/replication';
import { ERRNO, FALLOC_FL, RWF } from 'ublk-napi';
import { KIND, keyOf, SLOT_BITS, SLOTS_MAX } from '../reactor/key-space.js';
import { BLOCK_BYTES_MAX } from '../reactor/payload-memory.js';
import type { Reactor } from '../reactor/reactor.js';
import type { Disk } from './disk.js';

/** What the I/O in flight of a slot is. */
const STEP = { None: 0, Preflush: 1, Read: 2, Write: 3, Flush: 4, Punch: 5, ZeroRange: 6, ZeroFill: 7 } as const;

const SECTOR_BYTES = 512;

export interface SlotIoHost {
  /** A read has filled the slot's buffer; its end follows. */
  slotFilled(slot: number): void;
  /** The I/O of a slot has ended. */
  slotIoEnded(slot: number, errno: number): void;
  /** One operation less is in flight on the disk. */
  ioReturned(disk: Disk): void;
}

/** Names I/O that was answered before its end. */
const lateKey = (generation: number, slot: number): number => generation * SLOTS_MAX + slot;

export class SlotIo {
  readonly #reactor: Reactor;
  readonly #host: SlotIoHost;
  /** Of the resource, in the keys of completions. */
  readonly #index: number;
  readonly #requests: Requests;
  /** Of the I/O that is submitted now. */
  #generation: number;
  /** By slot: the disk that the I/O is on, its step and bytes done, its generation, and the first page that it may touch or -1. */
  readonly #disks: (Disk | undefined)[];
  readonly #step: Uint8Array;
  readonly #done: Float64Array;
  readonly #ioGeneration: Uint32Array;
  readonly #page: Int32Array;
  /** I/O that was answered although the disk has not, by generation and slot. */
  readonly #late = new Map<number, { readonly disk: Disk; readonly page: number }>();

  constructor(reactor: Reactor, host: SlotIoHost, index: number, requests: Requests) {
    const slots = requests.capacity;
    this.#reactor = reactor;
    this.#host = host;
    this.#index = index;
    this.#requests = requests;
    this.#generation = reactor.nextGeneration();
    this.#disks = new Array<Disk | undefined>(slots).fill(undefined);
    this.#step = new Uint8Array(slots);
    this.#done = new Float64Array(slots);
    this.#ioGeneration = new Uint32Array(slots);
    this.#page = new Int32Array(slots).fill(-1);
  }

  /**
   * @param kind EFFECT.DiskRead, DiskWrite, DiskFlush, DiskDiscard or DiskWriteZeroes
   * @param page of the slot's buffer, or -1 if it has none
   */
  start(slot: number, kind: number, disk: Disk, page: number): void {
    disk.inFlight++;
    this.#disks[slot] = disk;
    this.#done[slot] = 0;
    this.#page[slot] = page;
    this.#ioGeneration[slot] = this.#generation;
    if (page >= 0) this.#reactor.memory.retain(page);
    const flags = this.#requests.flags[slot]!;
    switch (kind) {
      case EFFECT.DiskRead:
        this.#issue(slot, STEP.Read);
        break;
      case EFFECT.DiskWrite:
        this.#issue(slot, (flags & REQ_PREFLUSH) !== 0 ? STEP.Preflush : STEP.Write);
        break;
      case EFFECT.DiskFlush:
        this.#issue(slot, STEP.Flush);
        break;
      case EFFECT.DiskDiscard:
        this.#issue(slot, disk.canPunchHole ? STEP.Punch : STEP.ZeroFill);
        break;
      default:
        if ((flags & REQ_NOUNMAP) !== 0) this.#issue(slot, disk.canZeroRange ? STEP.ZeroRange : STEP.ZeroFill);
        else this.#issue(slot, disk.canPunchHole ? STEP.Punch : STEP.ZeroFill);
    }
  }

  /** @returns false for a completion of nothing that was submitted */
  completed(slot: number, generation: number, result: number): boolean {
    if (this.#disks[slot] === undefined || this.#ioGeneration[slot] !== generation) return this.#lateCompleted(slot, generation);
    const step = this.#step[slot]!;
    if (result === -ERRNO.EINTR || result === -ERRNO.EAGAIN) this.#issue(slot, step);
    else if (result < 0) this.#failed(slot, step, -result);
    else this.#advance(slot, step, result);
    return true;
  }

  /**
   * Forgets everything that the disk has not answered, and lets it keep what it may still touch. What is submitted from now on has
   * another generation, so that a slot may be used again before its old I/O is back.
   * @returns the slots, and those of them that were being read
   */
  abandon(disk: Disk): { readonly slots: readonly number[]; readonly reads: readonly number[] } {
    const slots: number[] = [];
    const reads: number[] = [];
    for (let slot = 0; slot < this.#disks.length; slot++) {
      if (this.#disks[slot] !== disk) continue;
      slots.push(slot);
      this.#late.set(lateKey(this.#ioGeneration[slot]!, slot), { disk, page: this.#page[slot]! });
      if (this.#step[slot] === STEP.Read) reads.push(slot);
      this.#disks[slot] = undefined;
      this.#page[slot] = -1;
      this.#step[slot] = STEP.None;
    }
    this.#generation = this.#reactor.nextGeneration();
    return { slots, reads };
  }

  #advance(slot: number, step: number, bytes: number): void {
    switch (step) {
      case STEP.Preflush:
        this.#issue(slot, STEP.Write);
        break;
      case STEP.Read:
      case STEP.Write:
      case STEP.ZeroFill:
        if (bytes === 0) {
          this.#ended(slot, step === STEP.Read ? ERRNO.EIO : ERRNO.ENOSPC);
          break;
        }
        this.#done[slot] = this.#done[slot]! + bytes;
        if (this.#done[slot]! < this.#requests.lengthBytes[slot]!) this.#issue(slot, step);
        else {
          if (step === STEP.Read) this.#host.slotFilled(slot);
          this.#ended(slot, 0);
        }
        break;
      default:
        this.#ended(slot, 0);
    }
  }

  #issue(slot: number, step: number): void {
    const reactor = this.#reactor;
    const { ring, memory } = reactor;
    const disk = this.#disks[slot]!;
    this.#step[slot] = step;
    const sqe = reactor.sqe();
    const done = this.#done[slot]!;
    const left = this.#requests.lengthBytes[slot]! - done;
    const offset = this.#requests.sector[slot]! * SECTOR_BYTES + done;
    const rwFlags = (this.#requests.flags[slot]! & REQ_FUA) !== 0 ? RWF.DSYNC : 0;
    switch (step) {
      case STEP.Read:
        ring.prepRead(sqe, disk.dataFd, memory.address(this.#page[slot]!) + done, left, offset);
        break;
      case STEP.Write:
        ring.prepWrite(sqe, disk.dataFd, memory.address(this.#page[slot]!) + done, left, offset, rwFlags);
        break;
      case STEP.Punch:
        ring.prepFallocate(sqe, disk.dataFd, FALLOC_FL.PUNCH_HOLE | FALLOC_FL.KEEP_SIZE, offset, left);
        break;
      case STEP.ZeroRange:
        ring.prepFallocate(sqe, disk.dataFd, FALLOC_FL.ZERO_RANGE | FALLOC_FL.KEEP_SIZE, offset, left);
        break;
      case STEP.ZeroFill:
        ring.prepWrite(sqe, disk.dataFd, reactor.zeroes.address, Math.min(left, BLOCK_BYTES_MAX), offset, rwFlags);
        break;
      default:
        ring.prepFsync(sqe, disk.dataFd, true);
    }
    ring.setUserData(sqe, (this.#index << SLOT_BITS) | slot, keyOf(KIND.SlotIo, this.#ioGeneration[slot]!));
  }

  /** A disk that can not zero a range by itself is remembered, and the range written. */
  #failed(slot: number, step: number, errno: number): void {
    const disk = this.#disks[slot]!;
    if (
      (step === STEP.Punch || step === STEP.ZeroRange) &&
      (errno === ERRNO.EOPNOTSUPP || errno === ERRNO.ENOSYS || errno === ERRNO.EINVAL)
    ) {
      if (step === STEP.Punch) disk.canPunchHole = false;
      else disk.canZeroRange = false;
      this.#issue(slot, STEP.ZeroFill);
    } else this.#ended(slot, errno);
  }

  #ended(slot: number, errno: number): void {
    const disk = this.#disks[slot]!;
    this.#disks[slot] = undefined;
    this.#step[slot] = STEP.None;
    const page = this.#page[slot]!;
    this.#page[slot] = -1;
    if (page >= 0) this.#reactor.memory.release(page);
    this.#host.slotIoEnded(slot, errno);
    this.#host.ioReturned(disk);
  }

  /** I/O of a disk that was given up has come to its end: only now may its memory be used again. */
  #lateCompleted(slot: number, generation: number): boolean {
    const key = lateKey(generation, slot);
    const late = this.#late.get(key);
    if (late === undefined) return false;
    this.#late.delete(key);
    if (late.page >= 0) this.#reactor.memory.release(late.page);
    this.#host.ioReturned(late.disk);
    return true;
  }
}
