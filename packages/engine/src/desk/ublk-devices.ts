/**
 * The front desk's part of ublk: adds, starts, stops and deletes the devices that reactors serve. It runs in libuv's loop on
 * the main thread, so waiting for START_DEV never keeps a reactor from answering the reads that START_DEV causes.
 *
 * The device number is the minor when that is free. A volume that may not be written is set read-only with `blockdev`, a
 * process of its own: the engine must never open a device that it serves itself.
 *
 * A device outlives the engine (user recovery): I/O waits in the kernel until the next engine has taken it over, and what the last one
 * had not answered is delivered again.
 */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { type DeviceInfo, ErrnoError, UBLK_ATTR, UBLK_F, UBLK_MAX_RANGE_SECTORS, UblkControl, ublkBlockPath, waitForNode } from 'ublk-napi';
import { RANGE_BYTES_MAX, type UblkDeviceSetup } from '../front-ends/ublk-front-end.js';
import { BLOCK_BYTES_MAX } from '../reactor/payload-memory.js';
import type { Log } from './log.js';
import { devicesOf, markOf, removeLeftDevice } from './ublk-marks.js';

const run = promisify(execFile);
const DEPTH = 128;
const SECTOR_BYTES = 512;
const RANGE_SECTORS_MAX = RANGE_BYTES_MAX / SECTOR_BYTES;
/** As long as this the end of the last engine is waited for: longer than a block device's time-out. */
const RECOVERY_WAIT_MS = 40_000;
const RECOVERY_RETRY_MS = 10;
/** Before Linux 6.13 a server whose tags were all busy is missed only by this time-out of the block layer; the default is 30 s. */
const IO_TIMEOUT_MS = 1000;

/** The reactor's part, and what follows from a device being there. */
export interface UblkService {
  /** Arms the tags. Rejects with the reason. */
  serve(setup: UblkDeviceSetup): Promise<void>;
  /** Resolves when all tags are retired. */
  drain(): Promise<void>;
  appeared(path: string): Promise<void>;
  disappearing(path: string): Promise<void>;
}

interface Device {
  readonly minor: number;
  readonly service: UblkService;
  info: DeviceInfo | undefined;
  sizeSectors: number;
  /** As set on the block device; undefined: not set yet. */
  writable: boolean | undefined;
  queue: Promise<void>;
}

export class UblkDevices {
  readonly #log: Log;
  readonly #runDir: string;
  readonly #devices = new Map<number, Device>();
  /** By minor: devices of an engine that is gone, not taken over yet. */
  #left = new Map<number, DeviceInfo>();
  #control: UblkControl | undefined;
  #features = 0;

  constructor(log: Log, runDir: string) {
    this.#log = log;
    this.#runDir = runDir;
  }

  /** Looks for devices that an earlier engine of this run directory has left. @returns their paths by minor */
  async survey(): Promise<ReadonlyMap<number, string>> {
    const control = await this.#open();
    this.#left = await devicesOf(control, this.#runDir);
    return new Map([...this.#left].map(([minor, { id }]) => [minor, ublkBlockPath(id)]));
  }

  /** Ends a device that nobody may take over any more: its openers get errors. */
  abandon(minor: number): Promise<void> {
    const left = this.#left.get(minor);
    this.#left.delete(minor);
    return left === undefined ? Promise.resolve() : removeLeftDevice(this.#control!, left.id);
  }

  /** The volume has this size and may be written or not; creates the device when it first has a size. */
  update(minor: number, sizeSectors: number, writable: boolean, service: UblkService): Promise<void> {
    let device = this.#devices.get(minor);
    if (device === undefined) {
      device = { minor, service, info: undefined, sizeSectors: 0, writable: undefined, queue: Promise.resolve() };
      this.#devices.set(minor, device);
    }
    return this.#enqueue(device, (d) => this.#update(d, sizeSectors, writable));
  }

  /** Resolves when everything asked for so far has been done. */
  async settled(minors: readonly number[]): Promise<void> {
    for (const minor of minors) await this.#devices.get(minor)?.queue;
  }

  /** Stops and deletes the device. */
  remove(minor: number): Promise<void> {
    const device = this.#devices.get(minor);
    return device === undefined ? this.abandon(minor) : this.#enqueue(device, (d) => this.#remove(d));
  }

  /** One thing at a time for each device; a failure is logged and does not stop what comes after it. */
  #enqueue(device: Device, work: (device: Device) => Promise<void>): Promise<void> {
    device.queue = device.queue.then(() =>
      work(device).catch((error: unknown) => this.#log('err', `ublk device of minor ${device.minor}: ${describe(error)}`)),
    );
    return device.queue;
  }

  async #open(): Promise<UblkControl> {
    if (this.#control === undefined) {
      this.#control = UblkControl.open();
      this.#features = await this.#control.getFeatures();
    }
    return this.#control;
  }

  async #update(device: Device, sizeSectors: number, writable: boolean): Promise<void> {
    if (device.info === undefined) {
      if (sizeSectors === 0) return;
      if (!(await this.#takeOver(device))) await this.#start(device, sizeSectors);
    }
    if (device.info === undefined) return;
    if (sizeSectors !== device.sizeSectors && sizeSectors > 0) {
      if ((this.#features & UBLK_F.UPDATE_SIZE) !== 0) {
        await this.#control!.updateSize(device.info.id, sizeSectors);
        device.sizeSectors = sizeSectors;
      } else this.#log('warning', `minor ${device.minor}: this kernel can not resize a ublk device that is in use`);
    }
    if (device.writable === writable) return;
    await run('blockdev', [writable ? '--setrw' : '--setro', ublkBlockPath(device.info.id)]);
    device.writable = writable;
  }

  /** User recovery: the device of the last engine, with its openers and what it had not answered. @returns false when there is none */
  async #takeOver(device: Device): Promise<boolean> {
    const left = this.#left.get(device.minor);
    if (left === undefined) return false;
    this.#left.delete(device.minor);
    const control = await this.#open();
    let isServed = false;
    try {
      await control.startUserRecovery(left.id, RECOVERY_WAIT_MS, RECOVERY_RETRY_MS);
      await device.service.serve({ id: left.id, depth: left.depth, flags: left.flags });
      isServed = true;
      await control.endUserRecovery(left.id);
      const params = await control.getParams(left.id);
      device.info = left;
      device.sizeSectors = params.sectors;
      device.writable = undefined;
    } catch (error) {
      this.#log('err', `ublk device ${left.id} of minor ${device.minor} can not be taken over, its I/O fails: ${describe(error)}`);
      await removeLeftDevice(control, left.id).catch((failure: unknown) => this.#log('err', describe(failure)));
      if (isServed) await device.service.drain();
      return false;
    }
    await device.service.appeared(ublkBlockPath(left.id));
    return true;
  }

  async #start(device: Device, sizeSectors: number): Promise<void> {
    const control = await this.#open();
    const wish = {
      queues: 1,
      depth: DEPTH,
      maxIoBytes: BLOCK_BYTES_MAX,
      flags: UBLK_F.USER_COPY | UBLK_F.CMD_IOCTL_ENCODE | UBLK_F.USER_RECOVERY | UBLK_F.USER_RECOVERY_REISSUE,
      mark: markOf(this.#runDir, device.minor),
    };
    const info = await control.addDevice({ ...wish, id: device.minor }).catch((error: unknown) => {
      if (error instanceof ErrnoError && error.code === 'EEXIST') return control.addDevice(wish);
      throw error;
    });
    let isServed = false;
    try {
      if ((info.flags & UBLK_F.USER_COPY) === 0) throw new Error('this kernel has no ublk user copy (Linux 6.5)');
      await control.setParams(info.id, {
        attrs: UBLK_ATTR.VOLATILE_CACHE | UBLK_ATTR.FUA,
        sectors: sizeSectors,
        logicalBlockBytes: SECTOR_BYTES,
        physicalBlockBytes: 4096,
        maxSectors: info.maxIoBytes / SECTOR_BYTES,
        discard: {
          granularityBytes: 4096,
          maxDiscardSectors: Math.min(RANGE_SECTORS_MAX, UBLK_MAX_RANGE_SECTORS),
          maxWriteZeroesSectors: Math.min(RANGE_SECTORS_MAX, UBLK_MAX_RANGE_SECTORS),
        },
      });
      await device.service.serve({ id: info.id, depth: info.depth, flags: info.flags });
      isServed = true;
      await control.startDevice(info.id);
    } catch (error) {
      if (isServed) {
        await control.stopDevice(info.id).catch(() => undefined);
        await device.service.drain();
      }
      await control.deleteDevice(info.id).catch((failure: unknown) => this.#log('err', describe(failure)));
      throw error;
    }
    device.info = info;
    device.sizeSectors = sizeSectors;
    device.writable = undefined;
    const path = ublkBlockPath(info.id);
    await waitForNode(path);
    await writeFile(`/sys/block/ublkb${info.id}/queue/io_timeout`, String(IO_TIMEOUT_MS)).catch((error: unknown) =>
      this.#log('info', describe(error)),
    );
    await device.service.appeared(path);
  }

  /** Stops and deletes the device also when somebody has it open: he keeps a dead one. Dirty pages are written before. */
  end(minor: number): Promise<void> {
    const device = this.#devices.get(minor);
    return device === undefined ? this.abandon(minor) : this.#enqueue(device, (d) => this.#remove(d, true));
  }

  async #remove(device: Device, isInUse = false): Promise<void> {
    const { info } = device;
    this.#devices.delete(device.minor);
    if (info === undefined) return;
    const control = this.#control!;
    const path = ublkBlockPath(info.id);
    await device.service.disappearing(path);
    // Dirty pages first: a stopped device fails them.
    await run('blockdev', ['--flushbufs', path]).catch((error: unknown) => this.#log('warning', describe(error)));
    await control.stopDevice(info.id);
    await device.service.drain();
    if (isInUse) await removeLeftDevice(control, info.id);
    else await control.deleteDevice(info.id);
    device.info = undefined;
  }

  close(): void {
    this.#control?.close();
    this.#control = undefined;
  }
}

const describe = (error: unknown): string => (error instanceof Error ? error.message : String(error));
