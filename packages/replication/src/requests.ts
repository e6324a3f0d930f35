/**
 * The slot table: everything in flight that touches the disk or waits for a peer, one row a slot, columns as parallel
 * arrays. A slot is named by its number towards the host, which keeps the payload buffers in arrays of its own.
 *
 * Two ranges share the table, so that neither can starve the other: application requests (the block device above us) take
 * slots below `applicationSlots`, requests on behalf of a peer (mirrored writes, remote reads, resync blocks) the rest.
 */

import { DIGEST_STRIDE, digestBytes } from './digests.js';

/** What a request does to the disk. */
export const OP = { Read: 0, Write: 1, Flush: 2, Discard: 3, WriteZeroes: 4 } as const;
export type Op = (typeof OP)[keyof typeof OP];

/** Modifiers of a write, given by the front end and passed on to the peer (`REQ_FUA`, `REQ_PREFLUSH`, NOUNMAP). */
export const REQ_FUA = 1;
export const REQ_PREFLUSH = 2;
/** A WriteZeroes that has to keep its blocks allocated. */
export const REQ_NOUNMAP = 4;

export class Requests {
  readonly capacity: number;
  readonly applicationSlots: number;
  /** Volume number (vnr) of the request. */
  readonly volume: Uint16Array;
  readonly op: Uint8Array;
  /** REQ_* bits. */
  readonly flags: Uint8Array;
  /** First sector, 512 B units; exact below 2^53. */
  readonly sector: Float64Array;
  readonly lengthBytes: Uint32Array;
  /** Bits of the owner's state machine (LOCAL_*, NET_* of an application request, PEER_* of a peer request). */
  readonly state: Uint32Array;
  /** Connection that a peer request came from or that a remote read went to. */
  readonly connection: Uint8Array;
  /** Epoch: of the sender's transfer log for an application write, of the receiver for a mirrored write. */
  readonly epoch: Uint32Array;
  /** Opaque handle of the peer, as two halves: echoed in acks and replies. */
  readonly blockIdHigh: Uint32Array;
  readonly blockIdLow: Uint32Array;
  /** Counts up at each reuse of a slot; half of the handle that we send to peers, so that a late answer is recognised. */
  readonly generation: Uint32Array;
  /** Milliseconds of the host's clock when the request was accepted or sent. */
  readonly startedAt: Float64Array;
  /** When an application request was handed to the disk; host's clock. */
  readonly submittedAt: Float64Array;
  /** Links for the lists that a slot can be a member of; -1 ends a list. */
  readonly next: Int32Array;
  readonly previous: Int32Array;
  /** References that keep the application waiting; references that keep the slot. */
  readonly waits: Uint8Array;
  readonly holds: Uint8Array;
  /** Errno of the local I/O, 0 when it succeeded. */
  readonly errno: Uint16Array;
  /**
   * Number of a digest (`digests.ts`) that the host computes over the whole buffer whenever it has been filled: before it says
   * `diskDone` of a read that succeeded, or `payloadDone`. It goes to `computed`, DIGEST_STRIDE bytes a slot.
   */
  readonly digest: Uint8Array;
  readonly computed: Uint8Array;
  /** The digest that came from the peer, laid out like `computed`. */
  readonly expected: Uint8Array;
  readonly #free: Int32Array;
  #freeApplication: number;
  #freePeer: number;

  /** @param applicationSlots - slots for the block device above; @param peerSlots - slots for work on behalf of peers */
  constructor(applicationSlots: number, peerSlots: number) {
    const capacity = applicationSlots + peerSlots;
    this.capacity = capacity;
    this.applicationSlots = applicationSlots;
    this.volume = new Uint16Array(capacity);
    this.op = new Uint8Array(capacity);
    this.flags = new Uint8Array(capacity);
    this.sector = new Float64Array(capacity);
    this.lengthBytes = new Uint32Array(capacity);
    this.state = new Uint32Array(capacity);
    this.connection = new Uint8Array(capacity);
    this.epoch = new Uint32Array(capacity);
    this.blockIdHigh = new Uint32Array(capacity);
    this.blockIdLow = new Uint32Array(capacity);
    this.generation = new Uint32Array(capacity);
    this.startedAt = new Float64Array(capacity);
    this.submittedAt = new Float64Array(capacity);
    this.next = new Int32Array(capacity).fill(-1);
    this.previous = new Int32Array(capacity).fill(-1);
    this.waits = new Uint8Array(capacity);
    this.holds = new Uint8Array(capacity);
    this.errno = new Uint16Array(capacity);
    this.digest = new Uint8Array(capacity);
    this.computed = new Uint8Array(capacity * DIGEST_STRIDE);
    this.expected = new Uint8Array(capacity * DIGEST_STRIDE);
    this.#free = new Int32Array(capacity);
    for (let i = 0; i < applicationSlots; i++) this.#free[i] = applicationSlots - 1 - i;
    for (let i = 0; i < peerSlots; i++) this.#free[applicationSlots + i] = capacity - 1 - i;
    this.#freeApplication = applicationSlots;
    this.#freePeer = peerSlots;
  }

  get freeApplicationSlots(): number {
    return this.#freeApplication;
  }

  get freePeerSlots(): number {
    return this.#freePeer;
  }

  /** A free slot for an application request, or -1 when full: leave the command in the block layer's queue. */
  acquireApplication(): number {
    return this.#freeApplication === 0 ? -1 : this.#free[--this.#freeApplication]!;
  }

  /** A free slot for work on behalf of a peer, or -1 when full: stop reading the peer's data stream. */
  acquirePeer(): number {
    return this.#freePeer === 0 ? -1 : this.#free[this.applicationSlots + --this.#freePeer]!;
  }

  /** Notes the digest that a packet carries for a slot: `bytes[at, at + length)`. */
  expect(slot: number, bytes: Uint8Array, at: number, length: number): void {
    const to = slot * DIGEST_STRIDE;
    for (let i = 0; i < length; i++) this.expected[to + i] = bytes[at + i]!;
  }

  /** Whether the buffer has the digest that was expected. */
  digestMatches(slot: number): boolean {
    const from = slot * DIGEST_STRIDE;
    const end = from + digestBytes(this.digest[slot]!);
    for (let i = from; i < end; i++) if (this.computed[i] !== this.expected[i]) return false;
    return true;
  }

  release(slot: number): void {
    this.state[slot] = 0;
    this.digest[slot] = 0;
    this.flags[slot] = 0;
    this.waits[slot] = 0;
    this.holds[slot] = 0;
    this.errno[slot] = 0;
    this.next[slot] = -1;
    this.previous[slot] = -1;
    this.generation[slot] = (this.generation[slot]! + 1) >>> 0;
    if (slot < this.applicationSlots) this.#free[this.#freeApplication++] = slot;
    else this.#free[this.applicationSlots + this.#freePeer++] = slot;
  }
}
