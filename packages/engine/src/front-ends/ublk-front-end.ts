/**
 * A volume as /dev/ublkbN, the reactor's part: fetching requests, copying payloads, committing answers.
 *
 * The front desk adds, starts, stops and deletes the device; it hands over the device number here once it exists. Payloads
 * move by user copy: a write is copied in before it is submitted, a read is copied out before it is committed.
 *
 * ```text
 *   tag fetched -> slot and buffer -> [copy in] -> submit ... complete -> [copy out] -> commit and fetch
 * ```
 */
import { OP, REQ_FUA, REQ_NOUNMAP } from '@udrbd/replication';
import { ERRNO, TAG_EVENT, UBLK_IO_F, UBLK_OP, UblkCharDevice, UblkQueue } from 'ublk-napi';
import { KIND, keyOf } from '../reactor/key-space.js';
import { BLOCK_BYTES_MAX } from '../reactor/payload-memory.js';
import type { Reactor, TagOwner } from '../reactor/reactor.js';
import type { FrontEnd, FrontEndHost } from './front-end.js';

/** Discards and zeroings come in pieces of at most this size: each is one activity log transaction. */
export const RANGE_BYTES_MAX = 16 << 20;

/** What the front desk learned when it added the device. */
export interface UblkDeviceSetup {
  readonly id: number;
  readonly depth: number;
  readonly flags: number;
  /** Of the character device, where it is not that of the id. */
  readonly path?: string;
}

export class UblkFrontEnd implements FrontEnd, TagOwner {
  readonly host: FrontEndHost;
  readonly volume: number;
  readonly #reactor: Reactor;
  readonly #sizeChanged: (sizeSectors: number, writable: boolean) => void;
  readonly #slotTag: Int32Array;
  #device: UblkCharDevice | undefined;
  #queue: UblkQueue | undefined;
  #row = -1;
  #tagSlot = new Int32Array(0);
  #tagPage = new Int32Array(0);
  /** Tags whose request waits for a slot, memory or the core; a ring in order of arrival. */
  #waiting = new Int32Array(0);
  #waitingHead = 0;
  #waitingCount = 0;
  #writable = false;
  #drained: (() => void) | undefined;

  /** @param sizeChanged - tells the front desk, which owns the device */
  constructor(reactor: Reactor, host: FrontEndHost, volume: number, sizeChanged: (sizeSectors: number, writable: boolean) => void) {
    this.#reactor = reactor;
    this.host = host;
    this.volume = volume;
    this.#sizeChanged = sizeChanged;
    this.#slotTag = new Int32Array(host.core.requests.capacity);
  }

  /** Whether somebody has the block device open is found out by the front desk. */
  readonly isOpen = false;
  readonly openForWriting = false;

  /** Opens the character device and arms all tags: the device may be started then. @throws ErrnoError */
  serve(setup: UblkDeviceSetup): void {
    const device = UblkCharDevice.open(setup.id, setup.path);
    this.#row = this.#reactor.addTagOwner(this);
    try {
      this.#queue = UblkQueue.open({
        ring: this.#reactor.ring,
        device,
        depth: setup.depth,
        flags: setup.flags,
        userDataHi: keyOf(KIND.Tag, this.#row),
      });
    } catch (error) {
      device.close();
      this.#reactor.removeTagOwner(this.#row);
      throw error;
    }
    this.#device = device;
    this.#tagSlot = new Int32Array(setup.depth).fill(-1);
    this.#tagPage = new Int32Array(setup.depth).fill(-1);
    this.#waiting = new Int32Array(setup.depth);
    this.#waitingHead = 0;
    this.#waitingCount = 0;
    this.#queue.fetchAll();
  }

  /** Calls back when every tag is retired and the character device closed; the front desk has stopped the device. */
  whenDrained(drained: () => void): void {
    this.#drained = drained;
    this.#finish();
  }

  update(sizeSectors: number, writable: boolean): void {
    this.#writable = writable;
    this.#sizeChanged(sizeSectors, writable);
  }

  settle(): void {
    // Commits are in the ring already.
  }

  stop(stopped: () => void): void {
    // The front desk removes the device before it deletes the minor.
    if (this.#queue === undefined) stopped();
    else this.whenDrained(stopped);
  }

  fail(error: unknown): void {
    this.host.fail(error);
  }

  tagDone(tag: number, result: number): void {
    const event = this.#queue!.completed(tag, result);
    if (event === TAG_EVENT.REQUEST) {
      if (this.#waitingCount > 0 || !this.#begin(tag)) this.#park(tag);
      return;
    }
    if (event === TAG_EVENT.FAILED) this.host.log('err', `ublk refused a command of tag ${tag}: errno ${this.#queue!.error}`);
    this.#finish();
  }

  copyDone(tag: number, result: number): void {
    const queue = this.#queue!;
    const slot = this.#tagSlot[tag]!;
    const length = queue.lengthBytes(tag);
    if (queue.op(tag) === UBLK_OP.READ) {
      this.#releasePage(tag);
      queue.commitAndFetch(tag, result === length ? length : result < 0 ? result : -ERRNO.EIO);
      return;
    }
    if (result !== length) {
      this.#tagSlot[tag] = -1;
      this.host.release(slot);
      queue.commitAndFetch(tag, result < 0 ? result : -ERRNO.EIO);
      return;
    }
    this.host.submit(slot);
  }

  complete(slot: number, errno: number): void {
    const tag = this.#slotTag[slot]!;
    const queue = this.#queue!;
    this.#tagSlot[tag] = -1;
    const page = this.host.takePage(slot);
    const isRead = queue.op(tag) === UBLK_OP.READ;
    if (page >= 0 && (!isRead || errno !== 0)) this.host.memory.release(page);
    if (errno !== 0) {
      queue.commitAndFetch(tag, -errno);
      return;
    }
    if (!isRead) {
      queue.commitAndFetch(tag, queue.op(tag) === UBLK_OP.WRITE ? queue.lengthBytes(tag) : 0);
      return;
    }
    this.#tagPage[tag] = page;
    const sqe = this.#reactor.sqe();
    queue.prepWritePayload(sqe, tag, this.host.memory.address(page), queue.lengthBytes(tag));
    this.#reactor.ring.setUserData(sqe, tag, keyOf(KIND.TagCopy, this.#row));
  }

  resume(): void {
    while (this.#waitingCount > 0) {
      const tag = this.#waiting[this.#waitingHead]!;
      if (!this.#begin(tag)) {
        this.host.wantResume(this);
        return;
      }
      this.#waitingHead = (this.#waitingHead + 1) % this.#waiting.length;
      this.#waitingCount--;
    }
  }

  #park(tag: number): void {
    this.#waiting[(this.#waitingHead + this.#waitingCount++) % this.#waiting.length] = tag;
    this.host.wantResume(this);
    this.host.touched = true;
  }

  /** @returns false when there is no slot or memory now */
  #begin(tag: number): boolean {
    const queue = this.#queue!;
    const op = queue.op(tag);
    const length = op === UBLK_OP.FLUSH ? 0 : queue.lengthBytes(tag);
    const { host } = this;
    if (host.hasFailed || host.core.failIo) {
      queue.commitAndFetch(tag, -ERRNO.EIO);
      return true;
    }
    if (op !== UBLK_OP.READ && op !== UBLK_OP.FLUSH && !this.#writable) {
      queue.commitAndFetch(tag, -ERRNO.EROFS);
      return true;
    }
    const hasPayload = op === UBLK_OP.READ || op === UBLK_OP.WRITE;
    // The device was made with these limits.
    if (op !== UBLK_OP.FLUSH && (length === 0 || length > (hasPayload ? BLOCK_BYTES_MAX : RANGE_BYTES_MAX))) {
      queue.commitAndFetch(tag, -ERRNO.EINVAL);
      return true;
    }
    const slot = host.acquire(this.volume, this);
    if (slot < 0) return false;
    if (hasPayload && host.allocate(slot, length) < 0) {
      host.release(slot);
      return false;
    }
    const { requests } = host.core;
    const flags = queue.opFlags(tag);
    requests.flags[slot] = 0;
    requests.sector[slot] = op === UBLK_OP.FLUSH ? 0 : queue.startSector(tag);
    requests.lengthBytes[slot] = length;
    this.#slotTag[slot] = tag;
    this.#tagSlot[tag] = slot;
    switch (op) {
      case UBLK_OP.READ:
        requests.op[slot] = OP.Read;
        break;
      case UBLK_OP.WRITE: {
        requests.op[slot] = OP.Write;
        if ((flags & UBLK_IO_F.FUA) !== 0) requests.flags[slot] = REQ_FUA;
        const sqe = this.#reactor.sqe();
        queue.prepReadPayload(sqe, tag, host.memory.address(host.pageOf(slot)), length);
        this.#reactor.ring.setUserData(sqe, tag, keyOf(KIND.TagCopy, this.#row));
        return true;
      }
      case UBLK_OP.FLUSH:
        requests.op[slot] = OP.Flush;
        break;
      case UBLK_OP.DISCARD:
        requests.op[slot] = OP.Discard;
        break;
      case UBLK_OP.WRITE_ZEROES:
        requests.op[slot] = OP.WriteZeroes;
        if ((flags & UBLK_IO_F.NOUNMAP) !== 0) requests.flags[slot] = REQ_NOUNMAP;
        break;
      default:
        this.#tagSlot[tag] = -1;
        host.release(slot);
        queue.commitAndFetch(tag, -ERRNO.EOPNOTSUPP);
        return true;
    }
    host.submit(slot);
    return true;
  }

  #releasePage(tag: number): void {
    const page = this.#tagPage[tag]!;
    this.#tagPage[tag] = -1;
    if (page >= 0) this.host.memory.release(page);
  }

  #finish(): void {
    const drained = this.#drained;
    if (drained === undefined || this.#queue?.isDrained === false) return;
    this.#drained = undefined;
    if (this.#queue !== undefined) {
      this.#queue.close();
      this.#device?.close();
      this.#reactor.removeTagOwner(this.#row);
      this.#queue = undefined;
      this.#device = undefined;
    }
    drained();
  }
}
