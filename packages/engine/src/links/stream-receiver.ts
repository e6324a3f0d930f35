/**
 * Receives one stream: as many packets as there are with one recv into a large buffer. The rest of a large payload is
 * received straight into the request's own buffer; the end of a small one comes with whatever follows it.
 */
import { STREAM, type Stream } from '@udrbd/replication';
import { ERRNO, MSG } from 'ublk-napi';
import { Operation } from '../reactor/operations.js';
import type { Reactor } from '../reactor/reactor.js';
import type { LinkHost, StreamEvents } from './link-host.js';
import type { StreamMemory } from './link-memory.js';

/** Up to this many missing payload bytes are received through the large buffer and copied. */
const COPY_BYTES_MAX = 32 * 1024;

export class StreamReceiver extends Operation {
  readonly owner: LinkHost;
  readonly #reactor: Reactor;
  readonly #connection: number;
  readonly #stream: Stream;
  readonly #memory: StreamMemory;
  readonly #bytes: Uint8Array;
  readonly #address: number;
  readonly #events: StreamEvents;
  #fd = -1;
  #isStopped = false;
  #start = 0;
  #end = 0;
  /** Payload in progress: its slot, where in the buffer it begins, bytes already there, bytes in all. */
  #payloadSlot = -1;
  #payloadOffset = 0;
  #payloadDone = 0;
  #payloadBytes = 0;
  /** The recv in flight goes into the payload's own buffer. */
  #isDirect = false;
  /** That buffer, kept while the recv is in flight. */
  #directPage = -1;

  constructor(reactor: Reactor, host: LinkHost, connection: number, stream: Stream, memory: StreamMemory, events: StreamEvents) {
    super();
    this.#reactor = reactor;
    this.owner = host;
    this.#connection = connection;
    this.#stream = stream;
    this.#memory = memory;
    this.#bytes = memory.receive;
    this.#address = memory.receiveAddress;
    this.#events = events;
    reactor.operations.register(this);
  }

  open(fd: number): void {
    this.#fd = fd;
    this.#isStopped = false;
    this.#start = 0;
    this.#end = 0;
    this.#payloadSlot = -1;
    this.#receive();
  }

  close(): void {
    this.#reactor.operations.unregister(this);
  }

  /** The stream is being shut down: what completes now only clears the way. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Slot whose payload is being received, or -1. */
  get payloadSlot(): number {
    return this.#payloadSlot;
  }

  /** The stream is down; only when nothing is in flight. */
  abandon(): void {
    if (this.#directPage >= 0) this.#reactor.memory.release(this.#directPage);
    this.#directPage = -1;
    this.#payloadSlot = -1;
  }

  override completed(result: number): void {
    if (this.#isStopped) {
      this.#events.broken(0);
      return;
    }
    if (result === -ERRNO.EINTR || result === -ERRNO.EAGAIN) {
      this.#receive();
      return;
    }
    if (result <= 0) {
      this.#events.broken(-result);
      return;
    }
    if (this.#isDirect) {
      this.#reactor.memory.release(this.#directPage);
      this.#directPage = -1;
      this.#payloadDone += result;
    } else this.#end += result;
    this.pump();
  }

  /** Offers the core what is there, then receives more. Also called when the core or the memory has room again. */
  pump(): void {
    if (this.inFlight && this.#isDirect) return;
    const host = this.owner;
    const core = host.core;
    host.touched = true;
    for (;;) {
      if (this.#payloadSlot >= 0 && !this.#fillPayload()) return;
      if (this.#start === this.#end) break;
      this.#start += core.receive(this.#reactor.now, this.#connection, this.#stream, this.#bytes, this.#start, this.#end);
      if (this.#stream !== STREAM.Data) break;
      const slot = core.payloadSlot(this.#connection);
      if (slot < 0) break;
      this.#payloadSlot = slot;
      this.#payloadDone = 0;
      this.#payloadBytes = core.payloadBytes(this.#connection);
      this.#payloadOffset = core.payloadOffset(this.#connection);
      host.drainHot();
    }
    if (!this.inFlight) this.#receive();
  }

  /** @returns whether the payload is complete; when not, either a recv is in flight or memory is awaited */
  #fillPayload(): boolean {
    const host = this.owner;
    const { memory } = this.#reactor;
    const page = host.pageOf(this.#payloadSlot);
    if (page < 0) return false;
    const here = Math.min(this.#end - this.#start, this.#payloadBytes - this.#payloadDone);
    if (here > 0) {
      const to = memory.offset(page) + this.#payloadOffset + this.#payloadDone;
      this.#memory.area.copy(this.#memory.receiveStart + this.#start, here, to);
      this.#start += here;
      this.#payloadDone += here;
    }
    if (this.#payloadDone < this.#payloadBytes) {
      if (!this.inFlight) this.#receive();
      return false;
    }
    host.bufferFilled(this.#payloadSlot, this.#payloadOffset, this.#payloadBytes);
    this.#payloadSlot = -1;
    host.core.payloadDone(this.#reactor.now, this.#connection);
    return true;
  }

  #receive(): void {
    const missing = this.#payloadSlot < 0 ? 0 : this.#payloadBytes - this.#payloadDone;
    if (missing > COPY_BYTES_MAX && this.#start === this.#end) {
      const page = this.owner.pageOf(this.#payloadSlot);
      if (page < 0) return;
      this.#reactor.memory.retain(page);
      this.#directPage = page;
      this.#isDirect = true;
      const sqe = this.#reactor.begin(this);
      const address = this.#reactor.memory.address(page) + this.#payloadOffset + this.#payloadDone;
      this.#reactor.ring.prepRecv(sqe, this.#fd, address, missing, MSG.WAITALL);
      return;
    }
    if (this.#start === this.#end) {
      this.#start = 0;
      this.#end = 0;
    } else if (this.#start > 0) {
      this.#bytes.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    // A full buffer waits for the core: it takes up again with ResumeReceive.
    if (this.#end === this.#bytes.length) return;
    this.#isDirect = false;
    const sqe = this.#reactor.begin(this);
    this.#reactor.ring.prepRecv(sqe, this.#fd, this.#address + this.#end, this.#bytes.length - this.#end, 0);
  }
}
