/** One volume: its disk, its bitmap and activity log, its requests. */
import type { DeviceOptions, DiskOptions } from '@udrbd/control';
import type { MetaData } from '@udrbd/metadata';
import type { ActivityLog } from './activity-log.js';
import type { AlSteps } from './al-transactions.js';
import type { Bitmap } from './bitmap.js';
import { type Generations, uuidEqual } from './generations.js';
import type { BackingDisk } from './host.js';
import type { BitmapWrite } from './meta-data-io.js';
import { MetaWriteQueue } from './meta-write-queue.js';
import { Overlap } from './overlap.js';
import type { PeerDevice } from './peer-device.js';
import { peerMetaData } from './peer-meta-data.js';
import type { Requests } from './requests.js';
import type { ResizeJob } from './resize.js';
import type { ResyncPlace } from './resync-order.js';
import { ShortList } from './short-list.js';
import { SlotQueue } from './slot-queue.js';
import { DISK, type DiskNumber } from './state-view.js';

/** An attached disk: what the host gave, and the in-core meta-data that lives as long as the attachment. */
export interface AttachedDisk {
  readonly given: BackingDisk;
  readonly metaData: MetaData;
  readonly bitmap: Bitmap;
  readonly activityLog: ActivityLog;
  options: DiskOptions;
  /** Extents became hot without a record (`al-updates no`): AL_DISABLED stays until the disk is detached. */
  alUnrecorded: boolean;
  /** Usable for data, sectors. */
  usableSectors: number;
  /** Capacity of the devices when they were looked at last, sectors. */
  backingSectors: number;
  metaSectors: number;
  /** Where the meta-data lie. */
  place: MetaPlace;
}

/** Bytes from the start of the meta-data device. */
export interface MetaPlace {
  readonly superblockOffsetBytes: number;
  readonly activityLogOffsetBytes: number;
  readonly bitmapOffsetBytes: number;
}

export class Volume {
  readonly number: number;
  readonly minor: number;
  deviceOptions: DeviceOptions;
  diskState: DiskNumber = DISK.Diskless;
  /** Kept through Failed until the last I/O has come back. */
  disk: AttachedDisk | undefined;
  /** Exported size in sectors. */
  sizeSectors = 0;
  readonly peerDevices: PeerDevice[] = [];
  readonly overlap: Overlap;

  /** CRASHED_PRIMARY: this node went down as Primary; decides between equal generations. */
  crashedPrimary = false;
  /** The generation that the data above us come from: a diskless Primary may only connect to it. */
  exposedUuid = 0n;
  /**
   * A peer begins a new generation for the data above us, because our disk is gone, and we have not heard yet which. Until then
   * what we wrote since is in no generation that we know.
   */
  isSuperseded = false;
  /**
   * Generations of our own whose super block is not known to be on our disk, the youngest last. All I/O waits for it, so their data are
   * those of `exposedUuid`, and a disk that is given up meanwhile may come back with any of them.
   */
  readonly #unwritten: bigint[] = [];
  /** The last of them, whom it was begun without, and what was current before: nobody has seen data of it. */
  unbegun: { readonly uuid: bigint; readonly before: bigint; readonly behind: readonly PeerDevice[] } | undefined;
  /**
   * Generations that our disk may be found with after a crash, since it was given up while it was good: until the peer has one of its own,
   * this disk would pass for the one that has everything. Empty when the peer has.
   */
  lostGenerations: readonly bigint[] = [];
  /** Disk state that attach found while connected; taken when the handshake has ended. */
  stateAfterAttach: DiskNumber = DISK.Diskless;
  /** degr-wfc-timeout holds: this node was an unconnected Primary when it went down. */
  degraded = false;
  /** No activity-log updates: not connected, and every bit is set anyway. */
  alSuspended = false;

  /** Requests that overlapped others, or that wait for the activity log, are to be looked at when the resource settles. */
  overlapWanted = false;
  activityLogWanted = false;
  /** Application requests that may not start yet (suspended, handshake, new generation not durable), in order. */
  readonly parked: number[] = [];
  /** Writes to blocks that a resync request of ours is under way for: its answer must not overwrite them. */
  readonly resyncBlocked: number[] = [];
  /** A resync request has ended since those writes were last looked at. */
  resyncAnswered = false;
  /** Writes waiting for their activity-log extents, in order. */
  readonly alQueue: SlotQueue;
  /** Writes covered by the transaction that is being written. */
  readonly alBatch: SlotQueue;
  alTransactionRunning = false;
  /** Bitmap pages that the transaction waits for, and an error of them. */
  alPages = 0;
  alPageError = 0;
  /** Made with the first transaction, for all of them. */
  alSteps: AlSteps | undefined;
  /** Nobody gets a completion and nothing starts until the super block with the new generation is durable. */
  generationWrites = 0;
  readonly heldCompletions: number[] = [];
  /** Writes for a peer, by slot, that wait for the same. */
  readonly heldMirroredWrites: number[] = [];
  /** Contact to the peer's data was lost while I/O is frozen: the new generation begins when I/O goes on without it. */
  generationPending = false;

  /** The in-core super block differs from the one on disk. */
  metaDataDirty = false;
  metaDataWrites = 0;
  readonly metaWrites = new MetaWriteQueue();
  /** PRIMARY_IND in the super block that was written last. */
  primaryIndicatorOnDisk = false;
  /** Bitmap writes under way, an error among them, and what waits for their end. */
  bitmapWrites = 0;
  bitmapWriteError = 0;
  readonly whenBitmapWritten: ((errno: number) => void)[] = [];
  readonly freeBitmapWrites = new ShortList<BitmapWrite>();

  /** When the disk is asked about its oldest request next (disk-timeout). */
  diskCheckAt = Number.POSITIVE_INFINITY;
  /** The disk did not answer and was given up; the host waits for what it may still do. */
  isAbandoned = false;

  /** Changes of the size, one after the other. */
  readonly resizeJobs: ResizeJob[] = [];
  /** The meta-data get another place or size: nobody else writes any, what wants to waits for the end. */
  isMoving = false;
  readonly whenMoved: (() => void)[] = [];

  /** Where the volume stands in the order of resyncs, as the host was told last. */
  resyncPlace: ResyncPlace = { after: -1, hasDisk: false, isBusy: false, isWaiting: false };

  /** The changed pages have been written on the way to Diskless, or must not be. */
  detachBitmapWritten = false;
  /** Operations that wait for Diskless. */
  readonly whenDiskless: (() => void)[] = [];

  /** Application requests accepted and not completed; I/O of ours on the backing disk. */
  upperPending = 0;
  lowerPending = 0;
  readSectors = 0;
  writtenSectors = 0;
  /** Those of both that a resync or verify read or wrote; and the rest when c-min-rate was looked at last. */
  resyncSectors = 0;
  othersSectors = 0;
  alWrites = 0;
  bmWrites = 0;
  roundRobin = 0;

  constructor(number: number, minor: number, deviceOptions: DeviceOptions, requests: Requests) {
    this.number = number;
    this.minor = minor;
    this.deviceOptions = deviceOptions;
    this.overlap = new Overlap(requests);
    this.alQueue = new SlotQueue(requests.capacity);
    this.alBatch = new SlotQueue(requests.capacity);
  }

  /** @param isSuperseded - a peer is about to begin a generation that follows this one */
  expose(uuid: bigint, isSuperseded = false): void {
    this.exposedUuid = uuid;
    if (this.unbegun !== undefined && uuidEqual(uuid, this.unbegun.uuid)) this.unbegun = undefined;
    this.isSuperseded = isSuperseded;
    this.#unwritten.length = 0;
  }

  /** The generation of our own disk is above us, unless it is one that still has to be written. */
  exposeOwn(): void {
    const { current_uuid: current } = this.disk!.metaData;
    if (this.generationWrites === 0 || !this.#isUnwritten(current)) this.expose(current);
  }

  generationDrawn(uuid: bigint): void {
    this.#unwritten.push(uuid);
  }

  /** The super block with a generation of our own is durable. */
  generationWritten(uuid: bigint): void {
    const at = this.#unwritten.indexOf(uuid);
    if (at < 0) return;
    const later = this.#unwritten.slice(at + 1);
    this.expose(uuid);
    this.#unwritten.push(...later);
  }

  /** A peer has our youngest generation, also if our own disk has not. */
  exposeYoungest(isSuperseded: boolean): void {
    this.expose(this.#unwritten.at(-1) ?? this.exposedUuid, isSuperseded);
  }

  /** The data above us are written to, and not on our disk: it has to have this very generation from now on. */
  forgetUnwritten(): void {
    this.#unwritten.length = 0;
  }

  #isUnwritten(uuid: bigint): boolean {
    return this.#unwritten.some((unwritten) => uuidEqual(unwritten, uuid));
  }

  /** Data of this generation are the very ones that were above us last, if there were any. */
  isCurrent(uuid: bigint): boolean {
    return this.exposedUuid === 0n || this.#isUnwritten(uuid) || (uuidEqual(this.exposedUuid, uuid) && !this.isSuperseded);
  }

  /** A peer's data may go above us, where we have none: those that were there, or what the peer has made of them since. */
  mayConnectTo(g: Generations): boolean {
    return this.exposedUuid === 0n || this.#isUnwritten(g.current) || uuidEqual(this.exposedUuid, g.current) || this.#isFollowedBy(g);
  }

  #isFollowedBy(g: Generations): boolean {
    return this.isSuperseded && uuidEqual(this.exposedUuid, g.bitmap);
  }

  /** A good disk is given up without a word to its super block. */
  diskIsLost(): void {
    this.lostGenerations = [this.disk!.metaData.current_uuid, this.exposedUuid];
  }

  /** The peer's data are of this generation, on its disk. @returns whether it is now known there that our disk is lost */
  peerHasGeneration(uuid: bigint): boolean {
    if (this.lostGenerations.length === 0 || this.lostGenerations.some((lost) => uuidEqual(lost, uuid))) return false;
    this.lostGenerations = [];
    return true;
  }

  get hasUsableDisk(): boolean {
    return this.disk !== undefined && this.diskState >= DISK.Inconsistent;
  }

  /** The generations of DRBD 8.4 as seen by one peer. */
  generationsFor(pd: PeerDevice): Generations {
    const md = this.disk!.metaData;
    return {
      current: md.current_uuid,
      bitmap: peerMetaData(md, pd.connection.peerNodeId).bitmap_uuid,
      history: [md.history_uuids[0]!, md.history_uuids[1]!],
    };
  }
}
