// A ublk device served by this thread from libuv's loop: control commands, fetches and the server's own I/O share one ring whose
// completions wake libuv through an eventfd. For simple servers and tests; a reactor with a thread of its own embeds UblkControl
// and UblkQueue in its ring and waits in submitAndWait instead.
import { BufferPool } from './buffers.js';
import { checked, ErrnoError } from './errno.js';
import { EventFd } from './eventfd.js';
import { FdWatcher } from './fd-watcher.js';
import { Ring } from './ring.js';
import { type DeviceInfo, UBLK_ATTR, UBLK_F, UBLK_MAX_RANGE_SECTORS, type UblkParams } from './ublk-abi.js';
import { UblkControl, ublkBlockPath, ublkCharPath, waitForNode } from './ublk-control.js';
import { TAG_EVENT, UblkCharDevice, UblkQueue } from './ublk-queue.js';

const HI_CONTROL = 0xc001;
const HI_QUEUE = 0xc002;
/** Reaps before libuv gets a turn. */
const ROUNDS_MAX = 64;

export interface UblkServerOptions {
  /** Capacity; a multiple of the logical block. */
  readonly sizeBytes: number;
  /** Device number; default the lowest free one. */
  readonly id?: number;
  /** Default 64. */
  readonly depth?: number;
  /** Default 1. */
  readonly queues?: number;
  /** Largest request; default 512 KiB. */
  readonly maxIoBytes?: number;
  readonly logicalBlockBytes?: number;
  readonly physicalBlockBytes?: number;
  /** UBLK_F bits. With USER_COPY the payload stays in the kernel until it is asked for. */
  readonly flags?: number;
  /** UBLK_ATTR bits; default a volatile cache with FUA. */
  readonly attrs?: number;
  /** Offer DISCARD and WRITE_ZEROES (default true). */
  readonly discard?: boolean;
  readonly mark?: bigint;
  /** Take over device `id`, whose server is gone, instead of adding one. */
  readonly recover?: boolean;
  /** A request arrived (possibly before `start` has returned): commit it now or later. Must not throw. */
  readonly onRequest: (server: UblkServer, queue: UblkQueue, tag: number) => void;
  /** A completion of an operation that the handlers put on `server.ring` themselves, with a user_data high half below 0xc000. */
  readonly onCompletion?: (server: UblkServer, lo: number, hi: number, res: number) => void;
}

export class UblkServer {
  readonly ring: Ring;
  readonly control: UblkControl;
  /** What the kernel granted. */
  readonly info: DeviceInfo;
  readonly queues: readonly UblkQueue[];
  readonly device: UblkCharDevice;
  /** Settles when the device is gone, whoever stopped it. */
  readonly closed: Promise<void>;

  readonly #options: UblkServerOptions;
  readonly #loop: Loop;
  #resolveClosed: () => void = () => undefined;
  #resolveDrained: () => void = () => undefined;
  readonly #drained: Promise<void>;
  #stopping: Promise<void> | undefined;
  #live = false;

  /**
   * Adds (or recovers), configures and starts a device.
   * @throws ErrnoError named after the step that failed; what was created is removed again
   */
  static async start(options: UblkServerOptions): Promise<UblkServer> {
    const ring = Ring.create({ entries: 256, cqEntries: 8192, sqe128: true });
    const loop = new Loop(ring);
    let server: UblkServer | undefined;
    let control: UblkControl | undefined;
    let added: DeviceInfo | undefined;
    try {
      control = UblkControl.embed(ring, { userDataHi: HI_CONTROL });
      loop.control = control;
      const info =
        options.recover === true ? await recoverable(control, loop, options.id) : await loop.run(control.addDevice(wishOf(options)));
      if (options.recover !== true) {
        added = info;
        await loop.run(control.setParams(info.id, paramsOf(options, info)));
      }
      if (!(await waitForNode(ublkCharPath(info.id)))) throw new ErrnoError(2, 'open', ublkCharPath(info.id));
      server = new UblkServer(options, ring, loop, control, info);
      await loop.run(options.recover === true ? control.endUserRecovery(info.id) : control.startDevice(info.id));
      server.#live = true;
      await waitForNode(ublkBlockPath(info.id));
      return server;
    } catch (error) {
      if (control !== undefined && added !== undefined) {
        if (server !== undefined) {
          // Commands that wait for requests hold the device: STOP_DEV retires them, started or not.
          await loop.run(control.stopDevice(added.id)).catch(() => undefined);
          await server.#drained;
        }
        server?.closeQueues();
        await loop.run(control.deleteDevice(added.id)).catch(() => undefined);
      } else server?.closeQueues();
      control?.close();
      loop.close();
      throw error;
    }
  }

  private constructor(options: UblkServerOptions, ring: Ring, loop: Loop, control: UblkControl, info: DeviceInfo) {
    this.#options = options;
    this.ring = ring;
    this.control = control;
    this.info = info;
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.#drained = new Promise((resolve) => {
      this.#resolveDrained = resolve;
    });
    this.device = UblkCharDevice.open(info.id);
    const queues: UblkQueue[] = [];
    this.queues = queues;
    const userCopy = (info.flags & UBLK_F.USER_COPY) !== 0;
    try {
      for (let queue = 0; queue < info.queues; queue++) {
        queues.push(
          UblkQueue.open({
            ring,
            device: this.device,
            queue,
            depth: info.depth,
            flags: info.flags,
            userDataHi: HI_QUEUE,
            ...(!userCopy && { buffers: BufferPool.create({ count: info.depth, size: info.maxIoBytes }) }),
          }),
        );
      }
    } catch (error) {
      this.closeQueues();
      throw error;
    }
    this.#loop = loop;
    loop.server = (lo, hi, res) => this.#completed(lo, hi, res);
    for (const queue of queues) queue.fetchAll();
    loop.pump();
  }

  get id(): number {
    return this.info.id;
  }

  /** `/dev/ublkbN`. */
  get path(): string {
    return ublkBlockPath(this.info.id);
  }

  /** Submits what onRequest or somebody else prepared outside a callback of this server. */
  kick(): void {
    this.#loop.pump();
  }

  /**
   * Stops and deletes the device, serving until the kernel has written back what was dirty. Openers of the disk keep a dead one.
   * With USER_RECOVERY the driver fails that write-back instead: unmount or fsync before.
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    await this.#loop.run(this.control.stopDevice(this.id)).catch((error: unknown) => {
      // Somebody else stopped or deleted it: what is left to do is the same.
      if (!(error instanceof ErrnoError) || error.code !== 'ENODEV') throw error;
    });
    await this.#drained;
    await this.#finish();
  }

  async #finish(): Promise<void> {
    this.closeQueues();
    await this.#loop.run(this.control.deleteDevice(this.id)).catch((error: unknown) => {
      if (!(error instanceof ErrnoError) || error.code !== 'ENODEV') throw error;
    });
    this.control.close();
    this.#loop.close();
    this.#resolveClosed();
  }

  #completed(lo: number, hi: number, res: number): void {
    if (hi !== HI_QUEUE) {
      this.#options.onCompletion?.(this, lo, hi, res);
      return;
    }
    const queue = this.queues[lo >>> 16]!;
    const tag = lo & 0xffff;
    if (queue.completed(tag, res) === TAG_EVENT.REQUEST) {
      this.#options.onRequest(this, queue, tag);
    } else if (this.queues.every((q) => q.isDrained)) {
      this.#resolveDrained();
      if (this.#live && this.#stopping === undefined) this.#stopping = this.#finish();
    }
  }

  /** Unmaps the queues and lets go of the char device: what is left to do once every tag is retired. */
  private closeQueues(): void {
    for (const queue of this.queues) {
      queue.close();
      queue.buffers?.close();
    }
    this.device.close();
  }
}

/** Reaps and submits one ring from libuv's loop. */
class Loop {
  control: UblkControl | undefined;
  server: ((lo: number, hi: number, res: number) => void) | undefined;
  readonly #ring: Ring;
  readonly #eventfd: EventFd;
  readonly #watcher: FdWatcher;
  #closed = false;
  #pumping = false;

  constructor(ring: Ring) {
    this.#ring = ring;
    this.#eventfd = EventFd.create();
    ring.registerEventfd(this.#eventfd.fd);
    this.#watcher = FdWatcher.open(this.#eventfd.fd, () => {
      this.#eventfd.drain();
      this.pump();
    });
  }

  /** Submits what a call on the embedded control device has just queued, and waits for its answer. */
  run<T>(answer: Promise<T>): Promise<T> {
    this.pump();
    return answer;
  }

  pump(): void {
    // A callback inside the reap loop need not submit: the loop does.
    if (this.#pumping || this.#closed) return;
    this.#pumping = true;
    const ring = this.#ring;
    let rounds = 0;
    try {
      for (;;) {
        const result = ring.submitAndWait(0);
        if (result < 0 && result !== -4 && result !== -11 && result !== -16) checked(result, 'io_uring_enter');
        const ready = ring.cqReady();
        if (ready === 0) return;
        for (let i = 0; i < ready; i++) {
          const lo = ring.cqUserDataLo(i);
          const hi = ring.cqUserDataHi(i);
          const res = ring.cqRes(i);
          if (hi === HI_CONTROL) this.control?.complete(lo, res);
          else this.server?.(lo, hi, res);
        }
        ring.cqAdvance(ready);
        if (++rounds === ROUNDS_MAX) {
          setImmediate(() => this.pump());
          return;
        }
      }
    } finally {
      this.#pumping = false;
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watcher.close();
    this.#ring.close();
    this.#eventfd.close();
  }
}

function wishOf(options: UblkServerOptions) {
  return {
    queues: options.queues ?? 1,
    depth: options.depth ?? 64,
    maxIoBytes: options.maxIoBytes ?? 512 * 1024,
    flags: (options.flags ?? 0) | UBLK_F.CMD_IOCTL_ENCODE,
    ...(options.id !== undefined && { id: options.id }),
    ...(options.mark !== undefined && { mark: options.mark }),
  };
}

function paramsOf(options: UblkServerOptions, info: DeviceInfo): UblkParams {
  const block = options.logicalBlockBytes ?? 512;
  const physical = options.physicalBlockBytes ?? Math.max(4096, block);
  const rangeSectors = Math.floor(UBLK_MAX_RANGE_SECTORS / (physical / 512)) * (physical / 512);
  return {
    attrs: options.attrs ?? UBLK_ATTR.VOLATILE_CACHE | UBLK_ATTR.FUA,
    sectors: Math.floor(options.sizeBytes / block) * (block / 512),
    logicalBlockBytes: block,
    physicalBlockBytes: physical,
    maxSectors: info.maxIoBytes / 512,
    ...(options.discard !== false && {
      discard: { granularityBytes: physical, maxDiscardSectors: rangeSectors, maxWriteZeroesSectors: rangeSectors },
    }),
  };
}

async function recoverable(control: UblkControl, loop: Loop, id: number | undefined): Promise<DeviceInfo> {
  if (id === undefined) throw new RangeError('recover needs the id of a device');
  const info = await loop.run(control.getDeviceInfo(id));
  const started = control.startUserRecovery(id);
  // startUserRecovery tries again by itself; each attempt has to be submitted.
  const kick = setInterval(() => loop.pump(), 20);
  try {
    await loop.run(started);
  } finally {
    clearInterval(kick);
  }
  return info;
}
