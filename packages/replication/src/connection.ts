/** One connection: two streams, the transfer log of what was sent, the epochs of what was received. */
import type { NetOptions } from '@udrbd/control';
import { HEADER_KIND, type HeaderKind } from '@udrbd/wire';
import type { LinkEnd } from './core.js';
import type { Millis } from './host.js';
import { LogLimit } from './log-limit.js';
import { OutboxQueue } from './outbox.js';
import type { PeerDevice } from './peer-device.js';
import { CONN, type ConnNumber, ROLE, type RoleNumber } from './state-view.js';
import type { WriteBeneath } from './write-beneath.js';

/** Bits of an application request's network part, one word per connection and slot. */
export const NET = {
  /** The peer's answer is expected and the application waits for it. */
  Pending: 1,
  /** In the outbox, not yet handed over to the kernel. */
  Queued: 2,
  /** Nothing more will come. */
  Done: 4,
  /** The peer has it. */
  Ok: 8,
  /** The ack said "set in sync". */
  SetInSync: 16,
  ExpectReceiveAck: 32,
  ExpectWriteAck: 64,
  /** In the transfer log: a barrier ack or the end of the connection takes it out. */
  InLog: 128,
  /** A read that the peer serves. */
  Read: 256,
  /** A part of it was refused by the peer's disk. */
  PartFailed: 1024,
  /** A later write to these blocks did not go to the peer: they are not equal, whatever the ack of this one says. */
  Overwritten: 512,
  /** The link broke while both nodes were frozen (`kept-writes.ts`): it depends on how the peer comes back. */
  Kept: 2048,
  /** The peer is back, and did not get it. */
  Again: 4096,
} as const;

/** A write of the peer that we turned down for one of ours; its epoch is not acked before the peer has got over it. */
export interface TurnedDown {
  /** Receive epoch that it came in. */
  readonly epoch: number;
  /** The slot of ours, whose answer shows that the peer is past it. */
  readonly own: number;
  /** The peer sends it again. */
  readonly isRetry: boolean;
  readonly volume: number;
  readonly sector: number;
  readonly lengthBytes: number;
}

/** A barrier ack that is due. */
export interface DueBarrierAck {
  readonly epoch: number;
  readonly barrier: number;
  readonly size: number;
}

/** Mirrored writes between two barriers of the peer. */
export interface ReceiveEpoch {
  /** Writes received, and those the disk has not finished. */
  size: number;
  active: number;
  /** The barrier that closed it, echoed in the ack. */
  barrier: number;
  hasBarrier: boolean;
  flushed: boolean;
  /** False when a flush failed: then the epoch is never acked. */
  durable: boolean;
  /** First and last of the writes that may not start before the epochs in front are finished, linked by `Requests.next`; -1: none. */
  heldFirst: number;
  heldLast: number;
}

/** Where the conversation on a link stands. */
export type LinkPhase = 'none' | 'features' | 'challenge' | 'response' | 'protocol' | 'running';

/** An agreement that this node asked its peer for (P_STATE_CHG_REQ, P_CONN_ST_CHG_REQ). */
export interface Agreement {
  /** Volumes whose reply is outstanding; -1 stands for the connection. */
  readonly waiting: Set<number>;
  /** First refusal of the peer, in DRBD's numbers. */
  refusal: number;
  readonly done: (code: number) => void;
}

export class Connection {
  readonly index: number;
  readonly peerNodeId: number;
  options: NetOptions;
  state: ConnNumber = CONN.StandAlone;
  readonly peerDevices: PeerDevice[] = [];
  readonly outboxes: readonly [OutboxQueue, OutboxQueue];

  phase: LinkPhase = 'none';
  linkRequested = false;
  /** closeLink has been asked for; nothing is sent or taken any more. */
  closing = false;
  /** Why we closed it ourselves. */
  closeReason: LinkEnd | undefined;
  /** The peer's P_PROTOCOL has come and fits. */
  protocolSeen = false;
  /** Wait before the next attempt: after a refusal that may heal. */
  retryAfterMs = 0;
  retryAt: Millis = Number.POSITIVE_INFINITY;
  readonly whenStandAlone: (() => void)[] = [];
  nextRequestCheck: Millis = 0;
  apv = 0;
  features = 0;
  headerKind: HeaderKind = HEADER_KIND.H80;
  resolveConflicts = false;
  /** The peer is a genuine DRBD: those speak older versions of the protocol than we do. */
  isPeerGenuine = false;
  discardMyData = false;
  tentative = false;
  /** The peer was told to connect tentatively: this link is for looking only. */
  peerTentative = false;
  ownChallenge: Uint8Array | undefined;
  peerDiscardMyData = false;
  /** data-integrity-alg as digest numbers: of what we send, and of what the peer sends; they part when one of both changes it. */
  sendDigest = 0;
  receiveDigest = 0;
  /** verify-alg of the peer as it said last. */
  peerVerifyAlg = '';
  connectedSince: Millis = 0;
  /** Protocol of the connection as numbers 1 to 3. */
  wireProtocol = 3;

  /** NET bits by slot. */
  readonly net: Uint16Array;
  /**
   * Of a request that the peer gets in parts, by slot. Of a write, a bit for each part that has no answer yet, and one for each that is in
   * sync; of a read, how many have come.
   */
  readonly partsAwaited: Uint8Array;
  readonly partsInSync: Uint8Array;
  readonly partsRead: Uint8Array;
  /** The transfer log: slots in the order in which they were sent. */
  readonly logNext: Int32Array;
  logHead = -1;
  logTail = -1;
  /** Writes of the last link whose fate depends on how the peer comes back, in the order in which they were sent. */
  readonly kept: number[] = [];
  /** Epoch of the last write put on the wire, how many of it, and whether its barrier is out. */
  sentEpoch = -1;
  sentEpochWrites = 0;
  /** Further ones, which the peer has turned down: it does not count them. */
  sentEpochTurnedDown = 0;
  sentEpochBarrier = true;
  /** Closed epochs waiting for their ack, a ring: number and count, oldest first. Each has a slot in the transfer log. */
  readonly openEpochNumber: Uint32Array;
  readonly openEpochWrites: Uint32Array;
  /** Not 0: some write was turned down. A kernel DRBD never acks such an epoch. */
  readonly openEpochTurnedDown: Uint8Array;
  openEpochFirst = 0;
  openEpochCount = 0;
  /** Flushes of a diskless node, waiting for the ack of an epoch. */
  readonly flushWaiters: number[] = [];
  /** The epoch that each of them waits for, by slot. */
  readonly flushEpoch: Uint32Array;
  applicationSectorsInFlight = 0;
  resyncSectorsInFlight = 0;

  readonly receiveEpochs: ReceiveEpoch[] = [];
  /** Epochs that are over, to be used again. */
  readonly #spareEpochs: ReceiveEpoch[] = [];
  /** Disks that are being flushed for the epoch in front, and whether one of them has failed. */
  flushesOutstanding = 0;
  flushFailed = false;
  /** Acks of epochs that are through, oldest first, and what the peer has to get over before they may go. */
  readonly dueBarrierAcks: DueBarrierAck[] = [];
  readonly turnedDown: TurnedDown[] = [];
  /** Lines about packets for volumes that are not configured here. */
  readonly unknownVolumes = new LogLimit();
  /** Writes of the peer that go to the disk before ours which they crossed. */
  readonly beneath: WriteBeneath[] = [];
  /** When a data packet in front has to have all acks that the peer sent before it. */
  acksMissingSince: Millis = Number.POSITIVE_INFINITY;
  /** Reads for the peer of blocks that a held write is about to change. */
  readonly heldReads: number[] = [];
  /** Number of the epoch in front; slots name their epoch by number. */
  receiveEpochBase = 0;
  /** Slots in use on behalf of the peer. The next link waits until they are back. */
  peerSlots = 0;
  /** The link is down, and what it left behind is being waited for. */
  drained = false;
  /** A mirrored write whose payload is being received. */
  wantedSlot = -1;
  wantedBytes = 0;
  /** Where in the slot's buffer it goes. */
  wantedOffset = 0;
  /** receive() left bytes because a slot or room was missing. */
  stalled = false;
  agreement: Agreement | undefined;

  lastMetaReceived: Millis = 0;
  lastDataReceived: Millis = 0;
  pingDeadline: Millis = Number.POSITIVE_INFINITY;
  pingsSent = 0;
  pingsAcked = 0;
  /** Pings of the peer that came before its features: answered when we know its dialect. */
  pingsOwed = 0;
  /** Counts links, so that something left over from an earlier one is recognised. */
  linkNumber = 0;
  /** How many times it was established. */
  connects = 0;
  /** What waits for the fence-peer handler that runs. */
  readonly whenFenced: ((isFenced: boolean) => void)[] = [];
  handshakeDeadline: Millis = Number.POSITIVE_INFINITY;
  /** The oldest unsent entry when it was last looked at, and since when it is that one. */
  sendProgress = 0;
  sendProgressAt: Millis = 0;

  constructor(index: number, peerNodeId: number, options: NetOptions, capacity: number, outboxBytes: number) {
    this.index = index;
    this.peerNodeId = peerNodeId;
    this.options = options;
    this.net = new Uint16Array(capacity);
    this.partsAwaited = new Uint8Array(capacity);
    this.partsInSync = new Uint8Array(capacity);
    this.partsRead = new Uint8Array(capacity);
    this.logNext = new Int32Array(capacity).fill(-1);
    this.flushEpoch = new Uint32Array(capacity);
    this.openEpochNumber = new Uint32Array(capacity + 1);
    this.openEpochWrites = new Uint32Array(capacity + 1);
    this.openEpochTurnedDown = new Uint8Array(capacity + 1);
    this.outboxes = [new OutboxQueue(outboxBytes), new OutboxQueue(outboxBytes)];
  }

  get name(): string {
    return this.options._name;
  }

  /** Both nodes talk about volumes: the streams stand and the handshake has come that far. */
  get isUp(): boolean {
    return this.phase === 'running' && !this.closing;
  }

  get peerRole(): RoleNumber {
    let role: RoleNumber = ROLE.Unknown;
    for (const pd of this.peerDevices) {
      if (pd.peerRole === ROLE.Primary) return ROLE.Primary;
      if (pd.peerRole === ROLE.Secondary) role = ROLE.Secondary;
    }
    return role;
  }

  /** A ping went out: its answer has to come within ping-timeout (tenths of a second). */
  armPing(now: Millis): void {
    if (this.pingDeadline === Number.POSITIVE_INFINITY) this.pingDeadline = now + this.options['ping-timeout'] * 100;
  }

  appendToLog(slot: number): void {
    this.logNext[slot] = -1;
    if (this.logTail < 0) this.logHead = slot;
    else this.logNext[this.logTail] = slot;
    this.logTail = slot;
  }

  pushOpenEpoch(number: number, writes: number, hasTurnedDown: boolean): void {
    const at = (this.openEpochFirst + this.openEpochCount++) % this.openEpochNumber.length;
    this.openEpochNumber[at] = number;
    this.openEpochWrites[at] = writes;
    this.openEpochTurnedDown[at] = hasTurnedDown ? 1 : 0;
  }

  /** Position of a closed epoch in the ring, -1 when it is not there. */
  findOpenEpoch(number: number): number {
    for (let i = 0; i < this.openEpochCount; i++) {
      const at = (this.openEpochFirst + i) % this.openEpochNumber.length;
      if (this.openEpochNumber[at] === number) return at;
    }
    return -1;
  }

  dropOldestEpoch(): void {
    this.openEpochFirst = (this.openEpochFirst + 1) % this.openEpochNumber.length;
    this.openEpochCount--;
  }

  /** Begins the epoch that the peer's next writes belong to. */
  openReceiveEpoch(): void {
    const epoch = this.#spareEpochs.pop() ?? newReceiveEpoch();
    epoch.size = 0;
    epoch.active = 0;
    epoch.barrier = 0;
    epoch.hasBarrier = false;
    epoch.flushed = false;
    epoch.durable = true;
    epoch.heldFirst = -1;
    epoch.heldLast = -1;
    this.receiveEpochs.push(epoch);
  }

  /** The epoch in front is through. */
  dropFrontEpoch(): void {
    this.#spareEpochs.push(this.receiveEpochs.shift()!);
    this.receiveEpochBase = (this.receiveEpochBase + 1) >>> 0;
  }

  /** A new link: nothing of the last one is left. */
  resetReceiveEpochs(): void {
    this.receiveEpochs.length = 0;
    this.openReceiveEpoch();
  }

  /** Takes a slot out of the middle of the log. */
  removeFromLog(slot: number): void {
    if (this.logHead === slot) {
      this.takeFromLog();
      return;
    }
    let before = this.logHead;
    while (this.logNext[before] !== slot) before = this.logNext[before]!;
    this.logNext[before] = this.logNext[slot]!;
    if (this.logTail === slot) this.logTail = before;
  }

  takeFromLog(): number {
    const slot = this.logHead;
    this.logHead = this.logNext[slot]!;
    if (this.logHead < 0) this.logTail = -1;
    return slot;
  }
}

const newReceiveEpoch = (): ReceiveEpoch => ({
  size: 0,
  active: 0,
  barrier: 0,
  hasBarrier: false,
  flushed: false,
  durable: true,
  heldFirst: -1,
  heldLast: -1,
});
