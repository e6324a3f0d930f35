/**
 * The face of the replication core: one resource, with all its volumes and connections, as its host sees it.
 *
 * Rules of the game: every method is synchronous, never blocks, never calls back. After a call (or a batch of calls) the
 * host drains `effects`. `now` never goes back. When `deadline` is reached the host calls `tick`.
 */
import type { Effects } from './effects.js';
import type { BackingDisk, MetaWrite, Millis, Options, Outbox, Stream } from './host.js';
import type { Requests } from './requests.js';
import type { ResourceSnapshot } from './snapshot.js';

/** An administrative operation; the outcome comes as a `reply` effect that names `operation`. */
export type ControlRequest =
  | { readonly command: 'resource-options'; readonly options: Options }
  | { readonly command: 'new-minor'; readonly volume: number; readonly minor: number; readonly options: Options }
  | { readonly command: 'del-minor'; readonly volume: number }
  /** The host has opened the disk and read the meta-data; on refusal it gets `closeDisk`. */
  | { readonly command: 'attach'; readonly volume: number; readonly disk: BackingDisk }
  /** `diskless`: the device is to have no disk from now on. */
  | { readonly command: 'detach'; readonly volume: number; readonly force: boolean; readonly diskless?: boolean }
  | { readonly command: 'disk-options'; readonly volume: number; readonly options: Options; readonly setDefaults: boolean }
  | { readonly command: 'new-peer'; readonly connection: number; readonly peerNodeId: number; readonly options: Options }
  | { readonly command: 'del-peer'; readonly connection: number }
  | { readonly command: 'forget-peer'; readonly peerNodeId: number }
  | { readonly command: 'net-options'; readonly connection: number; readonly options: Options; readonly setDefaults: boolean }
  | {
      readonly command: 'peer-device-options';
      readonly connection: number;
      readonly volume: number;
      readonly options: Options;
      readonly setDefaults: boolean;
    }
  | { readonly command: 'connect'; readonly connection: number; readonly tentative: boolean; readonly discardMyData: boolean }
  | { readonly command: 'disconnect'; readonly connection: number; readonly force: boolean }
  | { readonly command: 'primary'; readonly force: boolean }
  /**
   * `openVolumes`: volumes whose block device somebody holds open, for writing or, with `force`, at all. Such a volume is not demoted,
   * or by force: then all I/O fails until `closed`.
   */
  | { readonly command: 'secondary'; readonly openVolumes: readonly number[]; readonly force: boolean }
  /** Nobody has a volume open any more. */
  | { readonly command: 'closed' }
  /** Of a Secondary that is set up anew: it was demoted by force before, and somebody still has a volume open. */
  | { readonly command: 'fail-io' }
  /** Sectors, 0: as much as there is; the activity log's layout only where it is to change. */
  | {
      readonly command: 'resize';
      readonly volume: number;
      readonly size: number;
      readonly assumePeerHasSpace: boolean;
      readonly assumeClean: boolean;
      readonly alStripes?: number;
      readonly alStripeSizeKiB?: number;
    }
  | { readonly command: 'invalidate'; readonly volume: number; readonly fromPeerNodeId?: number }
  | { readonly command: 'invalidate-remote'; readonly connection: number; readonly volume: number }
  | { readonly command: 'outdate'; readonly volume: number }
  | { readonly command: 'pause-sync'; readonly connection: number; readonly volume: number }
  | { readonly command: 'resume-sync'; readonly connection: number; readonly volume: number }
  /** Sectors; without `start` where the last one stopped, without `stop` to the end. Answered when it has begun. */
  | {
      readonly command: 'verify';
      readonly connection: number;
      readonly volume: number;
      readonly start: number | undefined;
      readonly stop: number | undefined;
    }
  | { readonly command: 'suspend-io' }
  | { readonly command: 'resume-io' }
  /** `clearBitmap`: both disks hold the same already. `forceResync`: the own disk is good, the peers' get everything. Not both. */
  | { readonly command: 'new-current-uuid'; readonly volume: number; readonly clearBitmap: boolean; readonly forceResync: boolean };

/** Why a link ended, as far as the host knows. */
export type LinkEnd = 'closed' | 'broken-pipe' | 'network-failure' | 'protocol-error' | 'timeout';

export interface ReplicationCore {
  readonly name: string;
  readonly requests: Requests;
  readonly effects: Effects;
  /** When `tick` is wanted next; Infinity when nothing is timed. */
  readonly deadline: Millis;
  /** Demoted by force while open: all I/O fails until `closed`. */
  readonly failIo: boolean;

  // Data plane: scalars only.

  /** Whether the front end may submit now; when false it keeps requests back until `ioReady` turns true after some call. */
  ioReady(volume: number): boolean;
  /**
   * A new application request. The host got the slot from `requests.acquireApplication()`, filled the columns volume, op,
   * flags, sector and lengthBytes (multiples of 512) and put a write's payload into its buffer for that slot.
   * Ends with a Complete effect.
   */
  submit(now: Millis, slot: number): void;
  /** The disk effect of the slot has ended. `errno` is 0 or positive. */
  diskDone(now: Millis, slot: number, errno: number): void;
  /** What a MetaWrite effect asks for; it stays as it is until `metaDone`. */
  metaWriteOf(row: number): MetaWrite;
  /** A meta-data write, or the end of a disk that was given up. */
  metaDone(now: Millis, token: number, errno: number): void;
  /** The FlushVolume effect of a connection has ended. */
  epochFlushed(now: Millis, connection: number, volume: number, errno: number): void;
  /** Capacity of the backing device and of the meta-data device as they are now; of one that cannot be asked, what it was. */
  diskMeasured(now: Millis, token: number, backingSectors: number, metaSectors: number): void;
  /** The `entries` oldest unfinished entries of the outbox have been handed over to the kernel completely. */
  sendDone(now: Millis, connection: number, stream: Stream, entries: number): void;
  /** Packets waiting to be sent on a stream. */
  outbox(connection: number, stream: Stream): Outbox;
  /**
   * Bytes received on a stream: `bytes[start, end)`. Consumes whole packets; what it leaves is offered again with more
   * behind it. Stops at a packet with payload: then `payloadSlot(connection)` is not -1, and the next
   * `payloadBytes(connection)` bytes of the data stream belong into that slot's buffer, at `payloadOffset(connection)`; after them the host calls
   * `payloadDone` and goes on with `receive`. The slot's AllocateBuffer effect stands in the queue by then.
   *
   * @returns the number of bytes consumed; fewer than given also when the core has no free slot or waits for a drain
   *   (ResumeReceive follows)
   */
  receive(now: Millis, connection: number, stream: Stream, bytes: Uint8Array, start: number, end: number): number;
  payloadSlot(connection: number): number;
  payloadBytes(connection: number): number;
  payloadOffset(connection: number): number;
  payloadDone(now: Millis, connection: number): void;
  tick(now: Millis): void;
  /**
   * Brings the core to rest after a batch of calls: activity-log transactions for everything submitted, barriers, parked
   * requests, notifications. Call it once before draining `effects`.
   */
  settle(now: Millis): void;

  // Links.

  /**
   * Both streams stand and are settled (wire protocol: conn_connect); nothing but the initial packets has been sent.
   * @param resolveConflicts - this node accepted the meta stream
   */
  linkUp(now: Millis, connection: number, resolveConflicts: boolean): void;
  /** Both streams are gone, and no send or receive of theirs is in flight. */
  linkDown(now: Millis, connection: number, why: LinkEnd, detail: string): void;

  // Control plane.

  control(now: Millis, operation: number, request: ControlRequest): void;
  /** A handler ended; `exitCode` as in DRBD, -1 when it could not be run. */
  helperDone(now: Millis, token: number, exitCode: number): void;
  /** Another minor's resync comes first (resync-after), or does not any more. The host knows by the cores' `resyncPlace`. */
  resyncDependency(now: Millis, volume: number, mustWait: boolean): void;
  /** Everything that status, show, events2 and /proc/drbd print. */
  snapshot(now: Millis): ResourceSnapshot;
}
