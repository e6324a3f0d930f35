// One io_uring, its queues mapped as typed arrays. The methods above the line "set-up and tear-down" are the hot path: they
// allocate nothing, create no closures and throw nothing; results are numbers, errors are -errno.
//
//   slot = ring.getSqe()          -1 when the submission queue is full: submit, then ask again
//   ring.prepRead(slot, ...)      fills the zeroed slot
//   ring.setUserData(slot, lo, hi)
//   ring.submitAndWait(1)         one io_uring_enter for the whole batch
//   n = ring.cqReady()            completions 0 .. n-1 are readable until cqAdvance
//   ring.cqRes(i), ring.cqUserDataLo(i), ...
//   ring.cqAdvance(n)
//
// A ring belongs to the thread that created it. Memory named in an SQE must stay where it is until its CQE was seen.
import { checked } from './errno.js';
import {
  BLOCK_URING_CMD_DISCARD,
  IORING_ASYNC_CANCEL,
  IORING_ENTER,
  IORING_OP,
  IORING_SETUP,
  IORING_SQ,
  IORING_TIMEOUT,
} from './io-uring-abi.js';
import { native } from './native.js';
import { type RingOptions, setupRing } from './ring-setup.js';

export type { RingOptions } from './ring-setup.js';

const TWO_32 = 0x1_0000_0000;
const TIMESPEC_BYTES = 16;
const { GETEVENTS, REGISTERED_RING } = IORING_ENTER;

// 32-bit words of an SQE, see IO_URING_SQE.
const W_OPCODE = 0; // opcode | flags << 8 | ioprio << 16
const W_FD = 1;
const W_OFF = 2;
const W_ADDR = 4;
const W_LEN = 6;
const W_OP_FLAGS = 7;
const W_USER_DATA = 8;
const W_BUF_INDEX = 10;
const W_ADDR3 = 12;
const W_CMD = 12;

/** Memory that can be registered as a fixed buffer. */
export interface AddressRange {
  readonly address: number;
  readonly lengthBytes: number;
}

export class Ring {
  /** Granted IORING_SETUP flags. */
  readonly flags: number;
  /** IORING_FEAT bits of the kernel. */
  readonly features: number;
  readonly sqEntries: number;
  readonly cqEntries: number;
  readonly sqe128: boolean;
  /** The kernel runs completions only inside submit and submitAndWait. */
  readonly deferTaskrun: boolean;

  #fd: number;
  #enterFd: number;
  #registeredIndex = -1;
  #enterFlags: number;
  #submitFlags: number;
  readonly #ringBuffer: ArrayBuffer;
  readonly #sqeBuffer: ArrayBuffer;
  readonly #timespecBuffer: ArrayBuffer;
  readonly #timespecAddress: number;
  readonly #timespec: Uint32Array;
  readonly #ring: Int32Array;
  readonly #sqes: Int32Array;
  readonly #sqeShift: number;
  readonly #sqMask: number;
  readonly #cqMask: number;
  // word indexes into #ring
  readonly #sqHead: number;
  readonly #sqTailAt: number;
  readonly #sqFlags: number;
  readonly #cqHeadAt: number;
  readonly #cqTail: number;
  readonly #cqFlags: number;
  readonly #cqOverflow: number;
  readonly #cqes: number;
  // our own sides of the queues, as wrapping 32-bit integers
  #tail: number;
  #head: number;

  /**
   * A ring with the best set-up flags this kernel grants (see `flags`).
   * @throws ErrnoError `io_uring_setup`: EPERM or ENOSYS where io_uring is switched off, ENOMEM, EINVAL for bad sizes
   */
  static create(options: RingOptions): Ring {
    return new Ring(options);
  }

  private constructor(options: RingOptions) {
    const map = setupRing(options);
    this.#fd = map.fd;
    this.#enterFd = map.fd;
    this.flags = map.flags;
    this.features = map.features;
    this.sqEntries = map.sqEntries;
    this.cqEntries = map.cqEntries;
    this.sqe128 = (map.flags & IORING_SETUP.SQE128) !== 0;
    this.deferTaskrun = (map.flags & IORING_SETUP.DEFER_TASKRUN) !== 0;
    this.#ringBuffer = map.ring;
    this.#sqeBuffer = map.sqes;
    this.#ring = new Int32Array(map.ring);
    this.#sqes = new Int32Array(map.sqes);
    this.#sqeShift = this.sqe128 ? 5 : 4;
    this.#sqMask = map.sqEntries - 1;
    this.#cqMask = map.cqEntries - 1;
    this.#sqHead = map.sqHead >>> 2;
    this.#sqTailAt = map.sqTail >>> 2;
    this.#sqFlags = map.sqFlags >>> 2;
    this.#cqHeadAt = map.cqHead >>> 2;
    this.#cqTail = map.cqTail >>> 2;
    this.#cqFlags = map.cqFlags >>> 2;
    this.#cqOverflow = map.cqOverflow >>> 2;
    this.#cqes = map.cqes >>> 2;
    this.#tail = this.#ring[this.#sqTailAt]!;
    this.#head = this.#ring[this.#cqHeadAt]!;
    if ((map.flags & IORING_SETUP.NO_SQARRAY) === 0) {
      const array = map.sqArray >>> 2;
      for (let i = 0; i < map.sqEntries; i++) this.#ring[array + i] = i;
    }
    const timespecs = native.mmapAnonymous(map.sqEntries * TIMESPEC_BYTES, false);
    if (typeof timespecs === 'number') {
      native.ringClose(map.fd, -1);
      checked(timespecs, 'mmap');
      throw new Error('unreachable');
    }
    this.#timespecBuffer = timespecs.buffer;
    this.#timespecAddress = timespecs.address;
    this.#timespec = new Uint32Array(timespecs.buffer);
    // One fd look-up less per enter (5.18); worthwhile only for a ring that stays on one thread.
    if ((map.flags & IORING_SETUP.SINGLE_ISSUER) !== 0) {
      const index = native.ringRegisterSelf(map.fd);
      if (index >= 0) {
        this.#registeredIndex = index;
        this.#enterFd = index;
      }
    }
    this.#enterFlags = GETEVENTS | (this.#registeredIndex >= 0 ? REGISTERED_RING : 0);
    this.#submitFlags = this.deferTaskrun ? this.#enterFlags : this.#enterFlags & ~GETEVENTS;
  }

  /** The ring's file descriptor; -1 once closed. */
  get fd(): number {
    return this.#fd;
  }

  // --- submission

  /** A zeroed submission slot (its first 64 bytes), or -1 when the queue is full. It goes out with the next submit. */
  getSqe(): number {
    const tail = this.#tail;
    if (((tail - this.#ring[this.#sqHead]!) | 0) >= this.sqEntries) return -1;
    this.#tail = (tail + 1) | 0;
    const slot = tail & this.#sqMask;
    const w = slot << this.#sqeShift;
    const s = this.#sqes;
    s[w] = 0;
    s[w + 1] = 0;
    s[w + 2] = 0;
    s[w + 3] = 0;
    s[w + 4] = 0;
    s[w + 5] = 0;
    s[w + 6] = 0;
    s[w + 7] = 0;
    s[w + 8] = 0;
    s[w + 9] = 0;
    s[w + 10] = 0;
    s[w + 11] = 0;
    s[w + 12] = 0;
    s[w + 13] = 0;
    s[w + 14] = 0;
    s[w + 15] = 0;
    return slot;
  }

  /** Slots that getSqe can still give before the next submit; a linked chain must fit. */
  sqSpace(): number {
    return this.sqEntries - ((this.#tail - this.#ring[this.#sqHead]!) | 0);
  }

  /** Prepared slots the kernel has not taken yet. */
  sqPending(): number {
    return (this.#tail - this.#ring[this.#sqHead]!) | 0;
  }

  /** The two halves of user_data, which come back in the completion. */
  setUserData(slot: number, lo: number, hi: number): void {
    const w = (slot << this.#sqeShift) + W_USER_DATA;
    this.#sqes[w] = lo;
    this.#sqes[w + 1] = hi;
  }

  /** IOSQE flags; replaces those set before. */
  setFlags(slot: number, flags: number): void {
    const w = slot << this.#sqeShift;
    this.#sqes[w] = (this.#sqes[w]! & ~0xff00) | (flags << 8);
  }

  /** The ioprio field: I/O priority, or the flags of ACCEPT, SEND and RECV. */
  setIoprio(slot: number, ioprio: number): void {
    const w = slot << this.#sqeShift;
    this.#sqes[w] = (this.#sqes[w]! & 0xffff) | (ioprio << 16);
  }

  /** Hands everything prepared to the kernel without waiting; on a DEFER_TASKRUN ring also collects what has completed. @returns entries taken, or -errno */
  submit(): number {
    this.#ring[this.#sqTailAt] = this.#tail;
    return native.ringEnter(this.#enterFd, this.sqPending(), 0, this.#submitFlags, -1);
  }

  /**
   * Hands everything prepared to the kernel and waits until `min` completions are ready: one system call.
   * @param timeoutUs - give up after this many microseconds, an integer below 2^31; negative or absent = never
   * @returns entries taken, or -errno: -62 (ETIME) after the timeout, -4 (EINTR) after a signal. When entries were taken their
   *   number is returned even though the wait timed out: look at cqReady
   */
  submitAndWait(min: number, timeoutUs = -1): number {
    this.#ring[this.#sqTailAt] = this.#tail;
    return native.ringEnter(this.#enterFd, this.sqPending(), min, this.#enterFlags, timeoutUs | 0);
  }

  // --- completion

  /** Number of completions that can be read. Fetches completions parked by an overflow once the queue is empty. */
  cqReady(): number {
    const ready = (Atomics.load(this.#ring, this.#cqTail) - this.#head) | 0;
    if (ready !== 0 || (this.#ring[this.#sqFlags]! & IORING_SQ.CQ_OVERFLOW) === 0) return ready;
    native.ringEnter(this.#enterFd, 0, 0, this.#enterFlags, -1);
    return (Atomics.load(this.#ring, this.#cqTail) - this.#head) | 0;
  }

  /** Low half of user_data of completion `i` (0 = oldest), unsigned. */
  cqUserDataLo(i: number): number {
    return this.#ring[this.#cqes + (((this.#head + i) & this.#cqMask) << 2)]! >>> 0;
  }

  /** High half of user_data, unsigned. */
  cqUserDataHi(i: number): number {
    return this.#ring[this.#cqes + (((this.#head + i) & this.#cqMask) << 2) + 1]! >>> 0;
  }

  /** Result: >= 0, or -errno. */
  cqRes(i: number): number {
    return this.#ring[this.#cqes + (((this.#head + i) & this.#cqMask) << 2) + 2]!;
  }

  /** IORING_CQE_F bits. */
  cqFlags(i: number): number {
    return this.#ring[this.#cqes + (((this.#head + i) & this.#cqMask) << 2) + 3]!;
  }

  /** Gives the oldest `n` completions back to the kernel. */
  cqAdvance(n: number): void {
    this.#head = (this.#head + n) | 0;
    Atomics.store(this.#ring, this.#cqHeadAt, this.#head);
  }

  /** Completions the kernel had to drop for lack of memory; stays 0 in practice. */
  cqDropped(): number {
    return this.#ring[this.#cqOverflow]! >>> 0;
  }

  /** Suppresses (false) the registered eventfd, for instance while reaping. */
  setEventfdEnabled(on: boolean): void {
    this.#ring[this.#cqFlags] = on ? 0 : 1;
  }

  // --- operations; `address` is a memory address as a double (BufferPool.addressOf), `offset` a file offset (-1 = current position)

  prepNop(slot: number): void {
    this.#sqes[slot << this.#sqeShift] = IORING_OP.NOP;
  }

  /** Fills opcode, fd, address, length, offset and the operation's flags: the shape most operations share. */
  prepRw(slot: number, opcode: number, fd: number, address: number, length: number, offset: number, opFlags: number): void {
    const s = this.#sqes;
    const w = slot << this.#sqeShift;
    s[w + W_OPCODE] = opcode;
    s[w + W_FD] = fd;
    s[w + W_OFF] = offset;
    s[w + W_OFF + 1] = Math.floor(offset / TWO_32);
    s[w + W_ADDR] = address;
    s[w + W_ADDR + 1] = Math.floor(address / TWO_32);
    s[w + W_LEN] = length;
    s[w + W_OP_FLAGS] = opFlags;
  }

  /** @param rwFlags - RWF bits */
  prepRead(slot: number, fd: number, address: number, length: number, offset: number, rwFlags = 0): void {
    this.prepRw(slot, IORING_OP.READ, fd, address, length, offset, rwFlags);
  }

  /** @param rwFlags - RWF bits; RWF.DSYNC makes the write durable before it completes */
  prepWrite(slot: number, fd: number, address: number, length: number, offset: number, rwFlags = 0): void {
    this.prepRw(slot, IORING_OP.WRITE, fd, address, length, offset, rwFlags);
  }

  prepReadv(slot: number, fd: number, iovecs: number, count: number, offset: number, rwFlags = 0): void {
    this.prepRw(slot, IORING_OP.READV, fd, iovecs, count, offset, rwFlags);
  }

  prepWritev(slot: number, fd: number, iovecs: number, count: number, offset: number, rwFlags = 0): void {
    this.prepRw(slot, IORING_OP.WRITEV, fd, iovecs, count, offset, rwFlags);
  }

  /** As prepRead, into a registered buffer. */
  prepReadFixed(slot: number, fd: number, address: number, length: number, offset: number, bufIndex: number, rwFlags = 0): void {
    this.prepRw(slot, IORING_OP.READ_FIXED, fd, address, length, offset, rwFlags);
    this.#sqes[(slot << this.#sqeShift) + W_BUF_INDEX] = bufIndex;
  }

  /** As prepWrite, from a registered buffer. */
  prepWriteFixed(slot: number, fd: number, address: number, length: number, offset: number, bufIndex: number, rwFlags = 0): void {
    this.prepRw(slot, IORING_OP.WRITE_FIXED, fd, address, length, offset, rwFlags);
    this.#sqes[(slot << this.#sqeShift) + W_BUF_INDEX] = bufIndex;
  }

  /** Flushes a file, or the write cache of a block device. */
  prepFsync(slot: number, fd: number, dataOnly = false): void {
    this.prepRw(slot, IORING_OP.FSYNC, fd, 0, 0, 0, dataOnly ? 1 : 0);
  }

  /** @param mode - FALLOC_FL bits; 0x03 punches a hole, 0x10 zeroes and keeps the allocation */
  prepFallocate(slot: number, fd: number, mode: number, offset: number, lengthBytes: number): void {
    this.prepRw(slot, IORING_OP.FALLOCATE, fd, lengthBytes, mode, offset, 0);
  }

  /** Discards a range of a block device (Linux 6.12; -EINVAL or -EOPNOTSUPP elsewhere: use prepFallocate). */
  prepBlockDiscard(slot: number, fd: number, offset: number, lengthBytes: number): void {
    const w = slot << this.#sqeShift;
    this.prepRw(slot, IORING_OP.URING_CMD, fd, offset, 0, BLOCK_URING_CMD_DISCARD, 0);
    this.#sqes[w + W_ADDR3] = lengthBytes;
    this.#sqes[w + W_ADDR3 + 1] = Math.floor(lengthBytes / TWO_32);
  }

  /** @param msgFlags - MSG bits */
  prepSend(slot: number, fd: number, address: number, length: number, msgFlags = 0): void {
    this.prepRw(slot, IORING_OP.SEND, fd, address, length, 0, msgFlags);
  }

  prepRecv(slot: number, fd: number, address: number, length: number, msgFlags = 0): void {
    this.prepRw(slot, IORING_OP.RECV, fd, address, length, 0, msgFlags);
  }

  /** @param msghdr - address of a struct msghdr (MessageTable.addressOf) */
  prepSendmsg(slot: number, fd: number, msghdr: number, msgFlags = 0): void {
    this.prepRw(slot, IORING_OP.SENDMSG, fd, msghdr, 1, 0, msgFlags);
  }

  prepRecvmsg(slot: number, fd: number, msghdr: number, msgFlags = 0): void {
    this.prepRw(slot, IORING_OP.RECVMSG, fd, msghdr, 1, 0, msgFlags);
  }

  /** Completes with -62 (ETIME) after `ns`, or with 0 after `count` other completions when `count` is not 0. */
  prepTimeout(slot: number, ns: number, count = 0, timeoutFlags = 0): void {
    this.prepRw(slot, IORING_OP.TIMEOUT, -1, this.#putTimespec(slot, ns), 1, count, timeoutFlags);
  }

  /** Bounds the operation in the slot before, which must carry IOSQE.IO_LINK. */
  prepLinkTimeout(slot: number, ns: number, timeoutFlags = 0): void {
    this.prepRw(slot, IORING_OP.LINK_TIMEOUT, -1, this.#putTimespec(slot, ns), 1, 0, timeoutFlags);
  }

  /** Ends the timeout with this user_data early (it completes with -125, ECANCELED). */
  prepTimeoutRemove(slot: number, lo: number, hi: number): void {
    this.prepRw(slot, IORING_OP.TIMEOUT_REMOVE, -1, 0, 0, 0, 0);
    this.#putTarget(slot, lo, hi);
  }

  /** Gives the timeout with this user_data a new span from now. */
  prepTimeoutUpdate(slot: number, lo: number, hi: number, ns: number): void {
    this.prepRw(slot, IORING_OP.TIMEOUT_REMOVE, -1, 0, 0, this.#putTimespec(slot, ns), IORING_TIMEOUT.UPDATE);
    this.#putTarget(slot, lo, hi);
  }

  /** Cancels by user_data. Result: 0 or the number cancelled, -2 (ENOENT) none, -114 (EALREADY) running. */
  prepCancel(slot: number, lo: number, hi: number, cancelFlags = 0): void {
    this.prepRw(slot, IORING_OP.ASYNC_CANCEL, -1, 0, 0, 0, cancelFlags);
    this.#putTarget(slot, lo, hi);
  }

  /** Cancels everything on a file descriptor. Result: how many. */
  prepCancelFd(slot: number, fd: number): void {
    this.prepRw(slot, IORING_OP.ASYNC_CANCEL, fd, 0, 0, 0, IORING_ASYNC_CANCEL.FD | IORING_ASYNC_CANCEL.ALL);
  }

  /** Cancels everything on the ring. Result: how many. */
  prepCancelAny(slot: number): void {
    this.prepRw(slot, IORING_OP.ASYNC_CANCEL, -1, 0, 0, 0, IORING_ASYNC_CANCEL.ANY | IORING_ASYNC_CANCEL.ALL);
  }

  /** Result: the POLL events that are ready. A multishot poll goes on while its completions carry IORING_CQE_F.MORE. */
  prepPollAdd(slot: number, fd: number, events: number, multishot = false): void {
    this.prepRw(slot, IORING_OP.POLL_ADD, fd, 0, multishot ? 1 : 0, 0, events);
  }

  prepPollRemove(slot: number, lo: number, hi: number): void {
    this.prepRw(slot, IORING_OP.POLL_REMOVE, -1, 0, 0, 0, 0);
    this.#putTarget(slot, lo, hi);
  }

  /** Result: the new socket, close-on-exec and blocking; ask getPeerAddress who it is. */
  prepAccept(slot: number, fd: number, multishot = false): void {
    this.prepRw(slot, IORING_OP.ACCEPT, fd, 0, 0, 0, 0o2000000);
    if (multishot) this.setIoprio(slot, 1);
  }

  /** @param address - of an encoded socket address of `length` bytes */
  prepConnect(slot: number, fd: number, address: number, length: number): void {
    this.prepRw(slot, IORING_OP.CONNECT, fd, address, 0, length, 0);
  }

  prepClose(slot: number, fd: number): void {
    this.prepRw(slot, IORING_OP.CLOSE, fd, 0, 0, 0, 0);
  }

  /** @param how - 0 reading, 1 writing, 2 both */
  prepShutdown(slot: number, fd: number, how: number): void {
    this.prepRw(slot, IORING_OP.SHUTDOWN, fd, 0, how, 0, 0);
  }

  /** Posts a completion with result `res` and user_data (lo, hi) on another ring, named by its fd. */
  prepMsgRing(slot: number, ringFd: number, res: number, lo: number, hi: number): void {
    this.prepRw(slot, IORING_OP.MSG_RING, ringFd, 0, res, 0, 0);
    const w = (slot << this.#sqeShift) + W_OFF;
    this.#sqes[w] = lo;
    this.#sqes[w + 1] = hi;
  }

  /** A driver's own command; zeroes the whole command area, to be filled with setCommand32. */
  prepUringCmd(slot: number, fd: number, cmdOp: number): void {
    const s = this.#sqes;
    const w = slot << this.#sqeShift;
    s[w + W_OPCODE] = IORING_OP.URING_CMD;
    s[w + W_FD] = fd;
    s[w + W_OFF] = cmdOp;
    if (this.sqe128) for (let i = w + 16; i < w + 32; i++) s[i] = 0;
  }

  /** One 32-bit word of the command area; word 0 is SQE byte 48. Words 4 to 19 exist with SQE128 only. */
  setCommand32(slot: number, word: number, value: number): void {
    this.#sqes[(slot << this.#sqeShift) + W_CMD + word] = value;
  }

  /** The addr field on its own, for commands that use it. */
  setAddress(slot: number, address: number): void {
    const w = (slot << this.#sqeShift) + W_ADDR;
    this.#sqes[w] = address;
    this.#sqes[w + 1] = Math.floor(address / TWO_32);
  }

  /** A view of a slot's bytes, for tests and dumps. */
  sqeBytes(slot: number): Uint8Array {
    const size = this.sqe128 ? 128 : 64;
    return new Uint8Array(this.#sqeBuffer, slot * size, size);
  }

  #putTarget(slot: number, lo: number, hi: number): void {
    const w = (slot << this.#sqeShift) + W_ADDR;
    this.#sqes[w] = lo;
    this.#sqes[w + 1] = hi;
  }

  /** The kernel copies the timespec while submitting, so one per slot suffices. */
  #putTimespec(slot: number, ns: number): number {
    const seconds = Math.floor(ns / 1e9);
    const w = slot << 2;
    this.#timespec[w] = seconds;
    this.#timespec[w + 1] = Math.floor(seconds / TWO_32);
    this.#timespec[w + 2] = ns - seconds * 1e9;
    this.#timespec[w + 3] = 0;
    return this.#timespecAddress + slot * TIMESPEC_BYTES;
  }

  // --- set-up and tear-down

  /** The operations this kernel knows. @throws ErrnoError */
  probe(): ReadonlySet<number> {
    const flags = native.ringProbe(this.#fd);
    if (typeof flags === 'number') {
      checked(flags, 'io_uring_register PROBE');
      return new Set();
    }
    return new Set(Array.from(flags.keys()).filter((op) => (flags[op]! & 1) !== 0));
  }

  /** Signals an eventfd at each completion, which wakes libuv (FdWatcher) even on a DEFER_TASKRUN ring. @throws ErrnoError */
  registerEventfd(eventfd: number): void {
    checked(native.ringRegisterEventfd(this.#fd, eventfd), 'io_uring_register EVENTFD');
  }

  /** Pins memory (at most 1 GiB a range) for prepReadFixed and prepWriteFixed; the position in the list is the buffer index. @throws ErrnoError ENOMEM beyond RLIMIT_MEMLOCK, EFAULT */
  registerBuffers(ranges: readonly AddressRange[]): void {
    const flat = new Float64Array(ranges.length * 2);
    ranges.forEach((range, i) => {
      flat[i * 2] = range.address;
      flat[i * 2 + 1] = range.lengthBytes;
    });
    checked(native.ringRegisterBuffers(this.#fd, flat), 'io_uring_register BUFFERS');
  }

  /** @throws ErrnoError ENXIO when none are registered */
  unregisterBuffers(): void {
    checked(native.ringUnregisterBuffers(this.#fd), 'io_uring_unregister BUFFERS');
  }

  /** Files to be named by index with IOSQE.FIXED_FILE; -1 leaves a place empty. @throws ErrnoError */
  registerFiles(fds: readonly number[]): void {
    checked(native.ringRegisterFiles(this.#fd, Int32Array.from(fds)), 'io_uring_register FILES');
  }

  /** Replaces registered files from place `at` on. @throws ErrnoError */
  updateFiles(at: number, fds: readonly number[]): void {
    checked(native.ringUpdateFiles(this.#fd, at, Int32Array.from(fds)), 'io_uring_register FILES_UPDATE');
  }

  /** @throws ErrnoError ENXIO when none are registered */
  unregisterFiles(): void {
    checked(native.ringUnregisterFiles(this.#fd), 'io_uring_unregister FILES');
  }

  /** Limits the kernel's worker threads (fsync, fallocate, ublk control commands); 0 leaves a limit as it is. @throws ErrnoError */
  limitWorkers(bounded: number, unbounded: number): void {
    checked(native.ringWorkers(this.#fd, bounded, unbounded), 'io_uring_register IOWQ_MAX_WORKERS');
  }

  /**
   * Cancels what can be cancelled, waiting for it at most a second, closes the ring and unmaps its queues. Keep buffer pools
   * until operations that cannot be cancelled (disk I/O) have completed: reap them before closing. Afterwards submit answers
   * -9 (EBADF). Closing twice is harmless.
   */
  close(): void {
    if (this.#fd < 0) return;
    native.ringClose(this.#fd, this.#registeredIndex);
    this.#fd = -1;
    this.#enterFd = -1;
    this.#enterFlags = GETEVENTS;
    this.#submitFlags = GETEVENTS;
    native.munmap(this.#ringBuffer);
    native.munmap(this.#sqeBuffer);
    native.munmap(this.#timespecBuffer);
  }
}
