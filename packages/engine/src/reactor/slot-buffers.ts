/**
 * The buffers of request slots, in the reactor's payload memory. Application requests get theirs from the front end, requests of peers
 * when the core asks for them; without memory these wait, and with them the receive or the read that they are for.
 */
import { DIGEST_STRIDE, type ReplicationCore, type Requests } from '@udrbd/replication';
import { computeDigest } from './digests.js';
import { ARENA, type PayloadMemory } from './payload-memory.js';

/** What a slot's buffer waits for. */
const WAIT = { None: 0, Buffer: 1, BufferThenRead: 2 } as const;

export interface SlotBuffersHost {
  /** A buffer has come that was waited for, and with it the read that it is for, if there is one. */
  bufferCame(slot: number, isForRead: boolean): void;
}

export class SlotBuffers {
  readonly #memory: PayloadMemory;
  readonly #core: ReplicationCore;
  readonly #host: SlotBuffersHost;
  readonly #requests: Requests;
  /** By slot: the first page of the buffer, or -1. */
  readonly #page: Int32Array;
  readonly #wait: Uint8Array;
  readonly #waitBytes: Uint32Array;
  /** Slots that wait for memory, oldest first. */
  readonly #waiting: number[] = [];
  /** A front end has to come again. */
  #wasRefused = false;

  constructor(memory: PayloadMemory, core: ReplicationCore, host: SlotBuffersHost) {
    const slots = core.requests.capacity;
    this.#memory = memory;
    this.#core = core;
    this.#host = host;
    this.#requests = core.requests;
    this.#page = new Int32Array(slots).fill(-1);
    this.#wait = new Uint8Array(slots);
    this.#waitBytes = new Uint32Array(slots);
  }

  /** The first page of the slot's buffer, or -1. */
  pageOf(slot: number): number {
    return this.#page[slot]!;
  }

  /** Whether somebody waits for memory, which another resource may give back. */
  get lacksMemory(): boolean {
    return this.#waiting.length > 0 || this.#wasRefused;
  }

  /** Those who were refused come again now. */
  forgetRefusals(): void {
    this.#wasRefused = false;
  }

  /** For a front end. @returns the first page, or -1 without memory */
  allocate(slot: number, lengthBytes: number): number {
    const page = this.#memory.allocate(ARENA.Application, lengthBytes);
    if (page < 0) this.#wasRefused = true;
    this.#page[slot] = page;
    return page;
  }

  /** For what a peer sends or asks for; waits if there is no memory. */
  allocateForPeer(slot: number, bytes: number): void {
    if (this.#page[slot]! >= 0) this.free(slot);
    this.#waitBytes[slot] = bytes;
    if (!this.#tryAllocate(slot)) this.#enqueue(slot);
  }

  /** Whether a read has to wait for its buffer; it is announced with bufferCame then. */
  readMustWait(slot: number): boolean {
    if (this.#wait[slot] !== WAIT.Buffer) return false;
    this.#wait[slot] = WAIT.BufferThenRead;
    return true;
  }

  free(slot: number): void {
    const page = this.take(slot);
    if (page >= 0) this.#memory.release(page);
  }

  /** Leaves the pages to the caller; the slot waits for none any more, who has it next brings its own. @returns the first one, or -1 */
  take(slot: number): number {
    const page = this.#page[slot]!;
    this.#page[slot] = -1;
    if (this.#wait[slot] !== WAIT.None) {
      this.#wait[slot] = WAIT.None;
      const at = this.#waiting.indexOf(slot);
      if (at >= 0) this.#waiting.splice(at, 1);
    }
    return page;
  }

  /** A read that may still come must not land in what the slot's request gets from elsewhere. */
  replace(slot: number): void {
    const page = this.take(slot);
    if (page < 0) return;
    this.#memory.release(page);
    // A peer's request is answered with the error.
    if (slot >= this.#requests.applicationSlots) return;
    const length = this.#requests.lengthBytes[slot]!;
    this.#page[slot] = this.#memory.allocate(ARENA.Application, length);
    if (this.#page[slot]! >= 0) return;
    this.#waitBytes[slot] = length;
    this.#enqueue(slot);
  }

  /** Computes the digest that the request wants of what has come into its buffer. */
  filled(slot: number, from: number, lengthBytes: number): void {
    const digest = this.#requests.digest[slot]!;
    if (digest === 0) return;
    const offset = this.#memory.offset(this.#page[slot]!) + from;
    computeDigest(digest, this.#memory.bytes, offset, lengthBytes, this.#requests.computed, slot * DIGEST_STRIDE);
  }

  serveWaiting(): void {
    for (let i = 0; i < this.#waiting.length; ) {
      const slot = this.#waiting[i]!;
      if (!this.#tryAllocate(slot)) {
        i++;
        continue;
      }
      this.#waiting.splice(i, 1);
      const wait = this.#wait[slot]!;
      this.#wait[slot] = WAIT.None;
      this.#host.bufferCame(slot, wait === WAIT.BufferThenRead);
    }
  }

  #enqueue(slot: number): void {
    this.#wait[slot] = WAIT.Buffer;
    this.#waiting.push(slot);
  }

  /** Data that a peer sends and data that is read for a peer come from different arenas. */
  #tryAllocate(slot: number): boolean {
    const connection = this.#requests.connection[slot]!;
    const isIncoming = this.#core.payloadSlot(connection) === slot;
    const page = this.#memory.allocate(isIncoming ? ARENA.Incoming : ARENA.Outgoing, this.#waitBytes[slot]!);
    if (page < 0) return false;
    this.#page[slot] = page;
    return true;
  }
}
