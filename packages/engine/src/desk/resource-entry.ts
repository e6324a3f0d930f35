/** A resource as the front desk knows it: what is configured, and the latest state its reactor told. */
import type { ResourceSnapshot } from '@udrbd/control';
import type { Options } from '@udrbd/replication';
import type { DiskHandles, HostSnapshot, PathSetup } from '../reactor/messages.js';

export interface ConnectionEntry {
  /** Number towards the core. */
  readonly number: number;
  readonly peerNodeId: number;
  options: Options;
  paths: PathSetup[];
  /** Wants to be connected. */
  connect: boolean;
}

export interface DiskEntry {
  readonly backingDev: string;
  readonly metaDev: string;
  readonly metaIndex: number;
  options: Options;
  readonly handles: DiskHandles;
}

export interface VolumeEntry {
  readonly volume: number;
  readonly minor: number;
  options: Options;
  disk: DiskEntry | undefined;
  /** Settles when the disk that was detached has been closed. */
  closing: Promise<void>;
  closed: () => void;
  /** At attach: this node was Primary and its peers were gone when it went down last; until the first connection. */
  isDegraded: boolean;
  /** With ublk: size and writability as last told, and the block device. */
  devicePath: string | undefined;
  /** See {@link DeviceNames}. */
  isUnnumbered: boolean;
  /** With ublk: somebody has the block device open, as far as was looked; while all I/O fails that is thorough. */
  isOpen: boolean;
}

export class ResourceEntry {
  name: string;
  readonly nodeId: number;
  readonly drbd8Compat: boolean;
  /** Number towards the reactor. */
  readonly host: number;
  options: Options;
  readonly volumes = new Map<number, VolumeEntry>();
  /** By peer node id. */
  readonly connections = new Map<number, ConnectionEntry>();
  /** Latest state; undefined until the first one was told. */
  state: HostSnapshot | undefined;
  /** What subscribers have been told last. */
  told: ResourceSnapshot | undefined;
  primary = false;
  /** Being set up from the journal: its devices are not served, its I/O waits. */
  isHeld = false;
  /** While held: a good disk began to follow a peer. */
  wasSyncTarget = false;
  /** Somebody waits for the last close. */
  awaitsLastClose = false;
  /** Stopped by a bug; it can only be taken down. */
  hasFailed = false;
  #queue: Promise<unknown> = Promise.resolve();
  readonly #waiting: (() => void)[] = [];

  constructor(name: string, nodeId: number, drbd8Compat: boolean, host: number, options: Options) {
    this.name = name;
    this.nodeId = nodeId;
    this.drbd8Compat = drbd8Compat;
    this.host = host;
    this.options = options;
  }

  /** Resolves when a state is told, or after a while. */
  stateChange(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#waiting.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  stateTold(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** One administrative operation at a time, in order of arrival. */
  serialize<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work, work);
    this.#queue = result.catch(() => undefined);
    return result;
  }

  connectionByNumber(number: number): ConnectionEntry | undefined {
    for (const connection of this.connections.values()) if (connection.number === number) return connection;
    return undefined;
  }

  /** As last told. */
  connectionState(number: number): string {
    return this.state?.core.connections.find((c) => c.connection === number)?.state ?? 'StandAlone';
  }

  freeConnectionNumber(): number {
    let number = 0;
    while (this.connectionByNumber(number) !== undefined) number++;
    return number;
  }
}
