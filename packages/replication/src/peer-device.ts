/** One volume over one connection: replication state, the peer's disk, the bitmap slot, counters, a running resync. */
import type { PeerDeviceOptions } from '@udrbd/control';
import type { BitmapReceiver, BitmapSender } from '@udrbd/wire';
import type { Contested } from './concurrent-writes.js';
import type { Connection } from './connection.js';
import type { Generations } from './generations.js';
import { peerMetaData } from './peer-meta-data.js';
import type { Resync } from './resync.js';
import { CONN, type ConnNumber, DISK, type DiskNumber, ROLE, type RoleNumber } from './state-view.js';
import type { Verify } from './verify.js';
import type { Volume } from './volume.js';

/** What the peer said in its last P_UUIDS on this connection. */
export interface PeerUuids {
  generations: Generations;
  readonly dirtyBits: number;
  flags: bigint;
}

export class PeerDevice {
  readonly volume: Volume;
  readonly connection: Connection;
  /** 9 (`Off`) and above; says nothing while the connection is not Connected. */
  replication: ConnNumber = CONN.WFReportParams;
  peerDisk: DiskNumber = DISK.DUnknown;
  peerRole: RoleNumber = ROLE.Unknown;
  resyncSuspDependency = false;
  resyncSuspPeer = false;
  resyncSuspUser = false;
  options: PeerDeviceOptions;
  peerUuids: PeerUuids | undefined;
  /** Ours as they were compared with those of a peer that attaches, until it has been told. */
  comparedGenerations: Generations | undefined;
  /** Capacity of the peer's disk for data as it said in P_SIZES, sectors; 0: none or unknown. */
  peerDiskSectors = 0;
  /** The peer's configured size, sectors. */
  peerConfiguredSectors = 0;
  /** We have asked the peer to follow a change of our size, in this role: its P_SIZES will tell. */
  resizeSent: { readonly role: RoleNumber; readonly hasGrown: boolean } | undefined;
  /** New blocks are to be copied once the resync that runs has ended; in which role they were asked for. */
  newStorage: RoleNumber | undefined;
  /** Both disks were Inconsistent when the peer was made Primary by force: compare generations at its next state packet. */
  considerResync = false;
  /** Our P_STATE of this connection has been sent: role changes have to wait for the end of the handshake. */
  stateSent = false;
  /** It is not sent before the peer's generations have been seen. */
  owesState = false;
  /** Numbers P_DATA and block acks; starts anew with each connection. */
  packetSeq = 0;
  /** The highest such number of the peer up to which everything has come. */
  peerSeq = 0;
  /** Writes of ours that the peer turned down for one of its own, which we have not seen yet. */
  readonly contested: Contested[] = [];
  /** The link broke while this node and the peer, both Primary, are frozen: what was under way is kept for its return. */
  keepsWrites = false;

  /**
   * Our disk was lost with blocks on it that this peer has not got. It may be of the same generation: a source that missed the end of a
   * resync begins none.
   */
  lacksOurs = false;
  /** We made the peer skip the initial sync: what it said before it heard of that is out of date. */
  skippedSync = false;

  sentSectors = 0;
  receivedSectors = 0;
  /** Application requests waiting for the peer (writes, remote reads), and resync requests. */
  applicationPending = 0;
  resyncPending = 0;
  /** Mirrored writes sent or queued whose epoch is not acked yet, sectors: what congestion is measured by. */
  sectorsInFlight = 0;
  /** Ahead: some marked block may not be marked at the peer; how far it has been told again, -1: not begun; the way back has begun. */
  untold = false;
  toldBits = -1;
  isCatchingUp = false;
  /** A resync request of the peer waits until then (c-min-rate); 0: none does. */
  heldUntil = 0;
  /** Requests of the peer not answered yet. */
  unacked = 0;

  /** Bitmap exchange: what we send and what we receive; undefined when none is under way. */
  bitmapSend: BitmapSender | undefined;
  bitmapReceive: BitmapReceiver | undefined;
  /** A full bitmap is being written to disk; the exchange waits for it. */
  bitmapWriteOut = false;
  resync: Resync | undefined;
  /** The target of our resync is through, and writes of ours that it has acked still keep bits set here. */
  targetIsThrough = false;
  /** Resync requests of ours that the peer has not answered; they outlive an aborted resync. */
  readonly resyncRequests: number[] = [];
  verify: Verify | undefined;
  /** Where the next verify begins when it is not told, and where it stops, sectors. */
  verifyStart = 0;
  verifyStop = Number.POSITIVE_INFINITY;
  /** Blocks of a verify: what we asked for, what we are asked for, oldest first; they outlive an aborted verify. */
  readonly verifyRequests: number[] = [];
  readonly verifyServed: number[] = [];
  /** Those that wait until the peer has acked what was written there. */
  readonly verifyWaiting: number[] = [];
  /** Number of the ping whose answer ends the resync or verify (it flushes the meta stream); 0: none. */
  finishPing = 0;

  constructor(volume: Volume, connection: Connection, options: PeerDeviceOptions) {
    this.volume = volume;
    this.connection = connection;
    this.options = options;
  }

  /** Slot of this peer in the volume's bitmap, -1 while there is none. */
  get bitmapSlot(): number {
    return this.volume.disk === undefined ? -1 : peerMetaData(this.volume.disk.metaData, this.connection.peerNodeId).bitmap_index;
  }

  /** 8.4's combined connection state of this volume. */
  get conn(): ConnNumber {
    return this.connection.state < CONN.WFReportParams ? this.connection.state : this.replication;
  }

  /** What has to be forgotten when the connection is gone. */
  linkGone(): void {
    this.replication = CONN.WFReportParams;
    this.peerUuids = undefined;
    this.comparedGenerations = undefined;
    this.stateSent = false;
    this.owesState = false;
    this.skippedSync = false;
    this.considerResync = false;
    this.sectorsInFlight = 0;
    this.heldUntil = 0;
    this.untold = false;
    this.toldBits = -1;
    this.isCatchingUp = false;
    this.resizeSent = undefined;
    this.newStorage = undefined;
    this.packetSeq = 0;
    this.peerSeq = 0;
    this.bitmapSend = undefined;
    this.bitmapReceive = undefined;
    this.finishPing = 0;
    this.targetIsThrough = false;
    this.resync = undefined;
    this.verify = undefined;
    this.unacked = 0;
    this.resyncPending = 0;
  }
}
