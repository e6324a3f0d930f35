/**
 * The block devices of the configured volumes: what ublk serves, their names, who has them open. Without ublk there are none, and
 * everything here is at rest.
 */
import { lstat } from 'node:fs/promises';
import type { ReactorMessage } from '../reactor/messages.js';
import { createLinks, type DeviceNames, removeLinks } from './device-links.js';
import type { EngineEnvironment } from './environment.js';
import type { Log } from './log.js';
import { findDeviceUsers, findOpeners, findUsers, type Opener } from './openers.js';
import type { ReactorCalls } from './reactor-calls.js';
import type { Registry } from './registry.js';
import type { ResourceEntry, VolumeEntry } from './resource-entry.js';
import { UblkDevices } from './ublk-devices.js';

/** An answer waits at most this long for block devices to follow. */
const DEVICE_WAIT_MS = 5000;

export class BlockDevices {
  readonly #environment: EngineEnvironment;
  readonly #log: Log;
  readonly #registry: Registry;
  readonly #calls: ReactorCalls;
  readonly #ublk: UblkDevices | undefined;
  /** By minor: what block devices of held resources have to be like. */
  readonly #deferred = new Map<number, ReactorMessage & { type: 'volume' }>();
  /** By minor: block devices that an engine that is gone has left. */
  #left: ReadonlyMap<number, string> = new Map();
  /** Handing over: block devices stay what they are, whatever becomes of the volumes. */
  #isLeaving = false;

  constructor(environment: EngineEnvironment, log: Log, registry: Registry, calls: ReactorCalls) {
    this.#environment = environment;
    this.#log = log;
    this.#registry = registry;
    this.#calls = calls;
    this.#ublk = environment.frontEnd === 'ublk' ? new UblkDevices(log, environment.runDir) : undefined;
  }

  /** Looks for what an engine that is gone has left. @returns its devices, by minor */
  async survey(): Promise<ReadonlyMap<number, string>> {
    this.#left = (await this.#ublk?.survey().catch((error: unknown) => this.#log('err', String(error)))) ?? new Map();
    return this.#left;
  }

  /** The device that has been left for a minor. */
  leftFor(minor: number): string | undefined {
    return this.#left.get(minor);
  }

  /** What a volume says about its device. */
  volumeChanged(message: ReactorMessage & { type: 'volume' }): void {
    const entry = this.#registry.byHost.get(message.host);
    const volume = entry?.volumes.get(message.volume);
    if (entry === undefined || volume === undefined || this.#ublk === undefined || this.#isLeaving) return;
    if (entry.isHeld) {
      this.#deferred.set(message.minor, message);
      return;
    }
    const ask = async (make: Parameters<ReactorCalls['ask']>[0]) => {
      const answer = await this.#calls.ask(make);
      if (!answer.ok) throw new Error(answer.error.info?.join(' ') ?? answer.error.name);
    };
    const { host } = message;
    void this.#ublk.update(message.minor, message.sizeSectors, message.writable, {
      serve: (setup) => ask((operation) => ({ type: 'ublk-serve', host, operation, volume: message.volume, setup })),
      drain: () => ask((operation) => ({ type: 'ublk-drain', host, operation, volume: message.volume })),
      appeared: async (path) => {
        volume.devicePath = path;
        await this.linkNames(entry, volume);
      },
      disappearing: async (path) => {
        volume.devicePath = undefined;
        await removeLinks(this.#environment.devDir, this.names(entry, volume), path);
      },
    });
  }

  /** The devices of a resource that was held are served from now on. */
  release(entry: ResourceEntry): void {
    if (!entry.isHeld) return;
    entry.isHeld = false;
    this.#calls.post({ type: 'release', host: entry.host, volumes: [...entry.volumes.keys()] });
    for (const { minor } of entry.volumes.values()) {
      const message = this.#deferred.get(minor);
      this.#deferred.delete(minor);
      if (message !== undefined) this.volumeChanged(message);
    }
  }

  /** What waits for the devices of the resource fails, for good. */
  async abandon(entry: ResourceEntry): Promise<void> {
    for (const volume of entry.volumes.values()) {
      await this.#ublk?.abandon(volume.minor).catch((error: unknown) => this.#log('err', String(error)));
      volume.devicePath = undefined;
    }
  }

  /** The volume is deleted. */
  async remove(minor: number): Promise<void> {
    await this.#ublk?.remove(minor);
  }

  forget(minor: number): void {
    this.#deferred.delete(minor);
  }

  /** Ends the devices of the resource, in use or not. */
  async end(entry: ResourceEntry): Promise<void> {
    for (const { minor } of entry.volumes.values()) await Promise.race([this.#ublk?.end(minor), timeout(DEVICE_WAIT_MS)]);
  }

  /** What the reactor said about the devices of a resource has been done, or takes too long to be waited for. */
  async settled(entry: ResourceEntry): Promise<void> {
    const minors = [...entry.volumes.values()].map((volume) => volume.minor);
    if (this.#ublk !== undefined) await Promise.race([this.#ublk.settled(minors), timeout(DEVICE_WAIT_MS)]);
  }

  /** From now on they stay what they are. */
  leave(): void {
    this.#isLeaving = true;
  }

  close(): void {
    this.#ublk?.close();
  }

  // Names.

  names(entry: ResourceEntry, volume: VolumeEntry): DeviceNames {
    const { volume: number, minor, isUnnumbered, disk } = volume;
    return { resource: entry.name, volume: number, minor, isUnnumbered, backingDev: disk?.backingDev };
  }

  async linkNames(entry: ResourceEntry, volume: VolumeEntry): Promise<void> {
    if (volume.devicePath === undefined) return;
    // drbdadm leaves word.
    volume.isUnnumbered = await lstat(`${this.#environment.runDir}/config/drbd-minor-${volume.minor}.unnumbered`).then(
      () => true,
      () => false,
    );
    const failures = await createLinks(this.#environment.devDir, this.names(entry, volume), volume.devicePath);
    for (const failure of failures) this.#log('warning', `device link ${failure}`);
  }

  /** @param before - the names until now */
  async renameLinks(entry: ResourceEntry, volume: VolumeEntry, before: DeviceNames): Promise<void> {
    if (volume.devicePath === undefined) return;
    await removeLinks(this.#environment.devDir, before, volume.devicePath);
    await this.linkNames(entry, volume);
  }

  // Who has them open.

  /** Every process is looked through: thorough, and slow. */
  async openers(entry: ResourceEntry): Promise<Map<VolumeEntry, Opener[]>> {
    const found = new Map<VolumeEntry, Opener[]>();
    for (const volume of entry.volumes.values()) {
      const openers = volume.devicePath === undefined ? [] : await findOpeners(volume.devicePath);
      if (openers.length > 0) found.set(volume, openers);
    }
    return found;
  }

  /** Mounts, swap and stacked devices. */
  async users(entry: ResourceEntry): Promise<string[]> {
    if (this.#ublk === undefined) return [];
    const users = await findDeviceUsers();
    const info: string[] = [];
    for (const { minor, devicePath } of entry.volumes.values()) {
      for (const { text } of devicePath === undefined ? [] : await findUsers(devicePath, users)) info.push(`drbd${minor} ${text}`);
    }
    return info;
  }

  /**
   * Whether block devices are open, as far as that is quickly found out: mounted, used as swap, or below another device.
   * @returns the resources where that has changed
   */
  async look(): Promise<ReadonlySet<ResourceEntry>> {
    const changed = new Set<ResourceEntry>();
    const devices = [...this.#registry.minors.values()].filter(
      ({ entry, volume }) => volume.devicePath !== undefined && !entry.awaitsLastClose,
    );
    if (devices.length === 0) return changed;
    const users = await findDeviceUsers();
    const look = async ({ entry, volume }: (typeof devices)[number]): Promise<void> => {
      const isOpen = volume.devicePath !== undefined && (await findUsers(volume.devicePath, users)).length > 0;
      if (isOpen !== volume.isOpen) changed.add(entry);
      volume.isOpen = isOpen;
    };
    await Promise.all(devices.map(look));
    return changed;
  }
}

const timeout = (ms: number): Promise<undefined> =>
  new Promise((resolve) => {
    setTimeout(() => resolve(undefined), ms).unref();
  });
