/**
 * One ring, driven by one thread, for any number of resources.
 *
 * A turn: hand everything prepared to the kernel and wait (one io_uring_enter), walk the completions, let timers expire,
 * then bring each touched resource to rest, which prepares the next submissions. Nothing here allocates per request.
 */
import { BufferPool, Clock, MessageTable, Ring } from 'ublk-napi';
import { GENERATION_MASK, HOSTS_MAX, KIND, KIND_SHIFT, keyOf, SLOT_BITS, SLOT_MASK, TAG_MASK } from './key-space.js';
import type { PostToDesk } from './messages.js';
import { type Operation, type OperationOwner, OperationTable, operationKey } from './operations.js';
import { BLOCK_BYTES_MAX, PayloadMemory } from './payload-memory.js';

const ETIME = 62;
const EINTR = 4;
const EAGAIN = 11;
const EBUSY = 16;

export interface ReactorOptions {
  /** Bytes for payloads of the block devices above, of data from peers, and of data read for peers. */
  readonly arenaBytes: readonly [number, number, number];
  /** Lock the memory; refusals are reported, not fatal. */
  readonly lock: boolean;
  readonly ringEntries?: number;
}

/** Something that owns request slots of the ring: a resource. */
export interface SlotOwner extends OperationOwner {
  /** @param generation - of the key with which it was submitted. @returns false when nothing of that is in flight */
  slotIoDone(slot: number, generation: number, result: number): boolean;
  /** Brings the owner to rest; called in each turn in which `touched` is set. */
  settle(): void;
  touched: boolean;
}

/** Something with a deadline, in milliseconds of the reactor's clock. */
export interface Timed extends OperationOwner {
  deadline: number;
  expire(now: number): void;
}

/** A block device that is served tag by tag. */
export interface TagOwner extends OperationOwner {
  tagDone(tag: number, result: number): void;
  copyDone(tag: number, result: number): void;
}

/** A turn in which nothing happens for this long does nothing. */
const WAIT_US_MAX = 1e9;

/** Sixteen clients and connections; more have memory of their own. */
const RECEIVING_BYTES = 4 << 20;

export class Reactor {
  readonly ring: Ring;
  readonly operations = new OperationTable();
  readonly memory: PayloadMemory;
  /** Small pieces of stable memory: socket addresses, first packets, the wake-up counter. */
  readonly scratch: BufferPool;
  /** Zeroes to write where a disk cannot zero a range by itself. */
  readonly zeroes: BufferPool;
  readonly messages: MessageTable;
  readonly post: PostToDesk;
  /**
   * Whole milliseconds since the reactor began; the time of the present turn. Not of finer grain, and without a first value: V8 keeps
   * small integers as they are, and makes an object of any other number each time that it is stored here or handed to a function.
   */
  now: number;
  /** Completions that matched no owner; more than 0 is a bug. */
  strayCompletions = 0;
  readonly #slotOwners: (SlotOwner | undefined)[] = [];
  readonly #tagOwners: (TagOwner | undefined)[] = [];
  readonly #timed: Timed[] = [];
  readonly #freeMessageRows: number[] = [];
  readonly #clock = new Clock();
  #onWake: (() => void) | undefined;
  #wakeFd = -1;
  #wakeScratch = -1;
  #generation = 0;

  constructor(post: PostToDesk, options: ReactorOptions) {
    this.post = post;
    this.ring = Ring.create({ entries: options.ringEntries ?? 4096, cqEntries: 4 * (options.ringEntries ?? 4096) });
    this.memory = new PayloadMemory(options.arenaBytes, options.lock, RECEIVING_BYTES);
    this.scratch = BufferPool.create({ count: 4096, size: 128, lock: options.lock });
    this.zeroes = BufferPool.create({ count: 1, size: BLOCK_BYTES_MAX, lock: options.lock });
    this.messages = MessageTable.create(MESSAGE_ROWS, MESSAGE_PIECES);
    for (let row = MESSAGE_ROWS - 1; row >= 0; row--) this.#freeMessageRows.push(row);
    this.#clock.read();
    this.now = Math.floor(this.#clock.ms);
  }

  /** Bytes of all memory that was set aside. */
  get reservedBytes(): number {
    return this.memory.pool.lengthBytes + this.scratch.lengthBytes + this.zeroes.lengthBytes;
  }

  nextGeneration(): number {
    this.#generation = (this.#generation + 1) & GENERATION_MASK;
    return this.#generation;
  }

  // Owners.

  addSlotOwner(index: number, owner: SlotOwner): void {
    if (index >= HOSTS_MAX) throw new Error('too many resources');
    while (this.#slotOwners.length <= index) this.#slotOwners.push(undefined);
    this.#slotOwners[index] = owner;
  }

  removeSlotOwner(index: number): void {
    this.#slotOwners[index] = undefined;
  }

  addTagOwner(owner: TagOwner): number {
    let device = this.#tagOwners.indexOf(undefined);
    if (device < 0) device = this.#tagOwners.length;
    this.#tagOwners[device] = owner;
    return device;
  }

  removeTagOwner(device: number): void {
    this.#tagOwners[device] = undefined;
  }

  addTimed(timed: Timed): void {
    this.#timed.push(timed);
  }

  removeTimed(timed: Timed): void {
    const at = this.#timed.indexOf(timed);
    if (at >= 0) this.#timed.splice(at, 1);
  }

  /** A row of the message table for one stream, or -1. */
  acquireMessageRow(): number {
    return this.#freeMessageRows.pop() ?? -1;
  }

  releaseMessageRow(row: number): void {
    this.#freeMessageRows.push(row);
  }

  // Submissions.

  /** A zeroed submission entry; hands a full queue to the kernel first. */
  sqe(): number {
    let slot = this.ring.getSqe();
    while (slot < 0) {
      const result = this.ring.submit();
      if (result < 0 && result !== -EBUSY && result !== -EAGAIN && result !== -EINTR) throw new Error(`io_uring_enter: ${result}`);
      slot = this.ring.getSqe();
    }
    return slot;
  }

  /** An entry keyed for a registered operation; fill it at once. */
  begin(operation: Operation): number {
    if (operation.inFlight) throw new Error('operation is in flight already');
    const slot = this.sqe();
    this.ring.setUserData(slot, operation.row, operationKey(operation));
    operation.inFlight = true;
    return slot;
  }

  /** Asks the kernel to cancel an operation, which then completes with -ECANCELED or its own result. */
  cancel(operation: Operation): void {
    if (!operation.inFlight) return;
    const slot = this.sqe();
    this.ring.prepCancel(slot, operation.row, operationKey(operation));
    this.ring.setUserData(slot, 0, keyOf(KIND.Ignored, 0));
  }

  /** Keeps a read of the eventfd armed and calls `onWake` after each signal. */
  watchWakeUps(eventfd: number, onWake: () => void): void {
    this.#wakeFd = eventfd;
    this.#onWake = onWake;
    this.#wakeScratch = this.scratch.acquire();
    this.#armWake();
  }

  #armWake(): void {
    const slot = this.sqe();
    this.ring.prepRead(slot, this.#wakeFd, this.scratch.slotAddress(this.#wakeScratch), 8, 0);
    this.ring.setUserData(slot, 0, keyOf(KIND.Wake, 0));
  }

  // The loop.

  /** One turn; waits at most `maxWaitMs` for something to happen. */
  turn(maxWaitMs: number): void {
    let deadline = Infinity;
    for (let i = 0; i < this.#timed.length; i++) if (this.#timed[i]!.deadline < deadline) deadline = this.#timed[i]!.deadline;
    this.#clock.read();
    const waitMs = Math.max(0, Math.min(maxWaitMs, deadline - this.#clock.ms));
    const waitUs = waitMs === Infinity ? -1 : Math.min(Math.ceil(waitMs * 1e3), WAIT_US_MAX) | 0;
    const result = this.ring.submitAndWait(waitMs > 0 ? 1 : 0, waitUs);
    if (result < 0 && result !== -ETIME && result !== -EINTR && result !== -EAGAIN && result !== -EBUSY) {
      throw new Error(`io_uring_enter: ${result}`);
    }
    this.#clock.read();
    const now = Math.floor(this.#clock.ms);
    if (now !== this.now) this.now = now;
    this.#complete(this.ring.cqReady());
    if (deadline <= this.now) this.#expire();
    this.#settle();
  }

  #complete(count: number): void {
    const ring = this.ring;
    let i = 0;
    while (i < count) {
      try {
        for (; i < count; i++) this.#dispatch(ring.cqUserDataLo(i), ring.cqUserDataHi(i), ring.cqRes(i));
      } catch (error) {
        this.#blame(ring.cqUserDataLo(i), ring.cqUserDataHi(i), error);
        i++;
      }
    }
    ring.cqAdvance(count);
  }

  #dispatch(index: number, key: number, result: number): void {
    const generation = key & GENERATION_MASK;
    switch (key >>> KIND_SHIFT) {
      case KIND.SlotIo: {
        const owner = this.#slotOwners[index >>> SLOT_BITS];
        if (owner?.slotIoDone(index & SLOT_MASK, generation, result) !== true) this.strayCompletions++;
        break;
      }
      case KIND.Operation: {
        const operation = this.operations.find(index, generation);
        if (operation !== undefined) {
          operation.inFlight = false;
          operation.completed(result);
        } else this.strayCompletions++;
        break;
      }
      case KIND.Tag: {
        const owner = this.#tagOwners[generation];
        if (owner !== undefined) owner.tagDone(index & TAG_MASK, result);
        else this.strayCompletions++;
        break;
      }
      case KIND.TagCopy: {
        const owner = this.#tagOwners[generation];
        if (owner !== undefined) owner.copyDone(index & TAG_MASK, result);
        else this.strayCompletions++;
        break;
      }
      case KIND.Wake:
        this.#armWake();
        this.#onWake?.();
        break;
      default:
        break;
    }
  }

  /** A bug in one resource stops that resource; a bug outside all of them stops the reactor. */
  #blame(index: number, key: number, error: unknown): void {
    const kind = key >>> KIND_SHIFT;
    let owner: OperationOwner | undefined;
    if (kind === KIND.SlotIo) owner = this.#slotOwners[index >>> SLOT_BITS];
    else if (kind === KIND.Operation) owner = this.operations.at(index)?.owner;
    else if (kind === KIND.Tag || kind === KIND.TagCopy) owner = this.#tagOwners[key & GENERATION_MASK];
    if (owner === undefined) throw error;
    owner.fail(error);
  }

  #expire(): void {
    for (let i = this.#timed.length - 1; i >= 0; i--) {
      const timed = this.#timed[i];
      if (timed === undefined || timed.deadline > this.now) continue;
      try {
        timed.expire(this.now);
      } catch (error) {
        timed.fail(error);
      }
    }
  }

  /** One resource may touch another one (resync-after); what goes round in circles waits for the next turn. */
  #settle(): void {
    const owners = this.#slotOwners;
    for (let pass = 0; pass <= owners.length; pass++) {
      let hasSettled = false;
      for (let i = 0; i < owners.length; i++) {
        const owner = owners[i];
        if (owner === undefined || !owner.touched) continue;
        hasSettled = true;
        try {
          owner.settle();
        } catch (error) {
          owner.fail(error);
        }
      }
      if (!hasSettled) return;
    }
  }

  /** Releases ring and memory. Everything must have completed. */
  close(): void {
    this.ring.close();
    this.messages.close();
    this.memory.close();
    this.scratch.close();
    this.zeroes.close();
  }
}

/** Streams that can send at the same time, and pieces (headers, payloads) of one sendmsg. */
const MESSAGE_ROWS = 512;
export const MESSAGE_PIECES = 128;
