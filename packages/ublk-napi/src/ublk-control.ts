// The control device of ublk. Either with a ring of its own, woken by libuv (`open`), or on the ring of a reactor that also serves
// the queues (`embed`). Commands never block the thread: the kernel runs them on its workers, which is what allows one thread
// to wait for START_DEV while it answers the reads that START_DEV causes.
import { existsSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { BufferPool } from './buffers.js';
import { checked, ErrnoError } from './errno.js';
import { EventFd } from './eventfd.js';
import { FdWatcher } from './fd-watcher.js';
import { closeFile, O, openFile } from './files.js';
import { Ring } from './ring.js';
import type { DeviceInfo, DeviceWish, UblkParams } from './ublk-abi.js';
import * as commands from './ublk-commands.js';
import { prepUblkControl, UBLK_REQUEST_BYTES_MAX, type UblkRequest } from './ublk-commands.js';

const CONTROL_PATH = '/dev/ublk-control';
const CLASS_PATH = '/sys/class/ublk-char';
const PATH_BYTES = 64;
const SLOT_BYTES = UBLK_REQUEST_BYTES_MAX + PATH_BYTES;

/** `/dev/ublkcN`: where a server fetches requests. */
export const ublkCharPath = (id: number): string => `/dev/ublkc${id}`;
/** `/dev/ublkbN`: the disk. */
export const ublkBlockPath = (id: number): string => `/dev/ublkb${id}`;

/** Is the driver loaded? When not: `modprobe ublk_drv`. */
export function isUblkAvailable(): boolean {
  return existsSync(CONTROL_PATH);
}

/** Ids of all ublk devices of this host, started or not, ascending. */
export function listUblkDevices(classPath = CLASS_PATH): number[] {
  if (!existsSync(classPath)) return [];
  return readdirSync(classPath)
    .map((name) => /^ublkc(\d+)$/.exec(name)?.[1])
    .filter((id) => id !== undefined)
    .map(Number)
    .sort((a, b) => a - b);
}

/** Called once: with a result >= 0 and the answer, or with -errno. */
export type UblkDone<T> = (result: number, value: T | undefined) => void;

interface InFlight {
  readonly request: UblkRequest<unknown>;
  readonly done: UblkDone<unknown>;
}

export interface EmbedOptions {
  /** High half of the user_data of this control device's operations; the low half is a small number. */
  readonly userDataHi: number;
  /** Commands in flight at most; more wait (default 16). */
  readonly concurrency?: number;
  /** Default `/dev/ublk-control`. */
  readonly path?: string;
}

/** Memory that the kernel may still write to: buffers of commands that were in flight when their control device was closed. */
const abandoned: BufferPool[] = [];

export class UblkControl {
  /** Prefix commands with the path of the char device, as callers without CAP_SYS_ADMIN must. */
  unprivileged = false;

  #fd: number;
  readonly #ring: Ring;
  readonly #userDataHi: number;
  readonly #pool: BufferPool;
  readonly #inFlight: (InFlight | undefined)[];
  readonly #waiting: InFlight[] = [];
  #inFlightCount = 0;
  readonly #own: { readonly eventfd: EventFd; readonly watcher: FdWatcher } | undefined;

  /** A control device with a ring of its own; completions arrive in libuv's loop. @throws ErrnoError ENOENT (driver not loaded), EACCES, or of the ring */
  static open(path = CONTROL_PATH): UblkControl {
    const fd = openFile(path, O.RDWR);
    let ring: Ring | undefined;
    try {
      ring = Ring.create({ entries: 16, sqe128: true });
      return new UblkControl(fd, ring, 0, 16, true);
    } catch (error) {
      ring?.close();
      closeFile(fd);
      throw error;
    }
  }

  /**
   * A control device on a ring that somebody else submits and reaps: hand completions whose user_data has `userDataHi` to
   * `complete`. Commands go out with the owner's next submit.
   * @throws ErrnoError ENOENT, EACCES; RangeError for a ring without 128-byte SQEs
   */
  static embed(ring: Ring, options: EmbedOptions): UblkControl {
    if (!ring.sqe128) throw new RangeError('ublk control commands need a ring with 128-byte SQEs');
    return new UblkControl(openFile(options.path ?? CONTROL_PATH, O.RDWR), ring, options.userDataHi, options.concurrency ?? 16, false);
  }

  private constructor(fd: number, ring: Ring, userDataHi: number, concurrency: number, own: boolean) {
    this.#fd = fd;
    this.#ring = ring;
    this.#userDataHi = userDataHi;
    this.#pool = BufferPool.create({ count: concurrency, size: SLOT_BYTES });
    this.#inFlight = new Array<InFlight | undefined>(concurrency).fill(undefined);
    if (own) {
      const eventfd = EventFd.create();
      ring.registerEventfd(eventfd.fd);
      this.#own = { eventfd, watcher: FdWatcher.open(eventfd.fd, () => this.#reap(), false) };
    }
  }

  /** Queues a command; `done` is called from `complete` (embedded) or from libuv's loop. */
  send<T>(request: UblkRequest<T>, done: UblkDone<T>): void {
    this.#waiting.push({ request, done: done as UblkDone<unknown> });
    this.#pump();
  }

  /** As send, as a promise. @throws ErrnoError named after the command */
  run<T>(request: UblkRequest<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.send(request, (result, value) => {
        if (result < 0) reject(new ErrnoError(-result, `ublk ${request.name}`, request.id < 0 ? undefined : String(request.id)));
        else resolve(value as T);
      });
    });
  }

  /** Embedded use: takes the completion of a command. @param userDataLo - low half of its user_data; @param res - its result */
  complete(userDataLo: number, res: number): void {
    const flight = this.#inFlight[userDataLo];
    if (flight === undefined) throw new Error(`no ublk command ${userDataLo} is in flight`);
    this.#inFlight[userDataLo] = undefined;
    this.#inFlightCount--;
    const base = this.#pool.slotOffset(userDataLo) + this.#prefixBytes(flight.request);
    const value = res < 0 ? undefined : flight.request.decode(this.#pool.view, base);
    this.#pool.release(userDataLo);
    if (this.#inFlightCount === 0) this.#own?.watcher.setKeepAlive(false);
    this.#pump();
    flight.done(res, value);
  }

  /** Commands sent and not answered. */
  get pending(): number {
    return this.#inFlightCount + this.#waiting.length;
  }

  getFeatures(): Promise<number> {
    return this.run(commands.getFeatures());
  }
  addDevice(wish: DeviceWish): Promise<DeviceInfo> {
    return this.run(commands.addDevice(wish));
  }
  setParams(id: number, params: UblkParams): Promise<void> {
    return this.run(commands.setParams(id, params));
  }
  getParams(id: number): Promise<UblkParams> {
    return this.run(commands.getParams(id));
  }
  startDevice(id: number, pid = process.pid): Promise<void> {
    return this.run(commands.startDevice(id, pid));
  }
  stopDevice(id: number): Promise<void> {
    return this.run(commands.stopDevice(id));
  }
  tryStopDevice(id: number): Promise<void> {
    return this.run(commands.tryStopDevice(id));
  }
  deleteDevice(id: number): Promise<void> {
    return this.run(commands.deleteDevice(id));
  }
  deleteDeviceAsync(id: number): Promise<void> {
    return this.run(commands.deleteDeviceAsync(id));
  }
  getDeviceInfo(id: number): Promise<DeviceInfo> {
    return this.run(this.unprivileged ? commands.getDeviceInfo2(id) : commands.getDeviceInfo(id));
  }
  getQueueAffinity(id: number, queue: number): Promise<number[]> {
    return this.run(commands.getQueueAffinity(id, queue));
  }
  updateSize(id: number, sectors: number): Promise<void> {
    return this.run(commands.updateSize(id, sectors));
  }
  endUserRecovery(id: number, pid = process.pid): Promise<void> {
    return this.run(commands.endUserRecovery(id, pid));
  }
  quiesceDevice(id: number, timeoutMs = 0): Promise<void> {
    return this.run(commands.quiesceDevice(id, timeoutMs));
  }

  /** Starts a take-over, trying again while the old server is still being cleaned up. @throws ErrnoError EBUSY after `waitMs` */
  async startUserRecovery(id: number, waitMs = 35_000, everyMs = 100): Promise<void> {
    for (let waited = 0; ; waited += everyMs) {
      try {
        return await this.run(commands.startUserRecovery(id));
      } catch (error) {
        if (!(error instanceof ErrnoError) || error.code !== 'EBUSY' || waited >= waitMs) throw error;
      }
      await sleep(everyMs);
    }
  }

  /** Commands still in flight are not answered any more. An embedded ring stays open. Harmless twice. */
  close(): void {
    if (this.#fd < 0) return;
    closeFile(this.#fd);
    this.#fd = -1;
    if (this.#own !== undefined) {
      this.#own.watcher.close();
      this.#ring.close();
      this.#own.eventfd.close();
    }
    if (this.#inFlightCount > 0) abandoned.push(this.#pool);
    else this.#pool.close();
  }

  #prefixBytes(request: UblkRequest<unknown>): number {
    const wanted = this.unprivileged && request.name !== 'ADD_DEV' && request.name !== 'GET_FEATURES';
    return wanted || request.name === 'GET_DEV_INFO2' ? ublkCharPath(request.id).length + 1 : 0;
  }

  #pump(): void {
    let prepared = 0;
    while (this.#waiting.length > 0) {
      const slot = this.#pool.acquire();
      if (slot < 0) break;
      let sqe = this.#ring.getSqe();
      if (sqe < 0) {
        checked(this.#ring.submit(), 'io_uring_enter');
        sqe = this.#ring.getSqe();
      }
      if (sqe < 0) {
        this.#pool.release(slot);
        break;
      }
      this.#prepare(sqe, slot, this.#waiting.shift()!);
      prepared++;
    }
    if (prepared === 0 || this.#own === undefined) return;
    this.#own.watcher.setKeepAlive(true);
    checked(this.#ring.submit(), 'io_uring_enter');
  }

  #prepare(sqe: number, slot: number, flight: InFlight): void {
    const { request } = flight;
    const base = this.#pool.slotOffset(slot);
    const prefix = this.#prefixBytes(request);
    if (prefix > 0) {
      new TextEncoder().encodeInto(ublkCharPath(request.id), this.#pool.bytes.subarray(base, base + prefix));
      this.#pool.bytes[base + prefix - 1] = 0;
    }
    const length = prefix + request.encode(this.#pool.view, base + prefix);
    prepUblkControl(this.#ring, sqe, this.#fd, request, length === 0 ? 0 : this.#pool.addressOf(base), length, prefix);
    this.#ring.setUserData(sqe, slot, this.#userDataHi);
    this.#inFlight[slot] = flight;
    this.#inFlightCount++;
  }

  #reap(): void {
    this.#own?.eventfd.drain();
    this.#ring.submitAndWait(0);
    for (;;) {
      // One at a time: a callback may close this control device, and with it the ring.
      if (this.#fd < 0 || this.#ring.cqReady() === 0) return;
      const slot = this.#ring.cqUserDataLo(0);
      const res = this.#ring.cqRes(0);
      this.#ring.cqAdvance(1);
      this.complete(slot, res);
    }
  }
}

/** Waits until a device node is there (udev may be slower than the command that causes it). @returns false when the time is up */
export async function waitForNode(path: string, waitMs = 5_000): Promise<boolean> {
  for (let waited = 0; !existsSync(path); waited += 10) {
    if (waited >= waitMs) return false;
    await sleep(10);
  }
  return true;
}
