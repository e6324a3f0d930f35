/**
 * Sends the packets of one stream: one sendmsg in flight, made of as many outbox entries as fit.
 *
 * Headers are copied beside each other into locked memory, so a run of packets without payload is one piece; a payload is a
 * piece of its own, straight from the request's buffer, which is kept until the kernel has taken it.
 */
import { digestBytes, type Outbox, STREAM, type Stream } from '@udrbd/replication';
import { ERRNO, MSG } from 'ublk-napi';
import { computeDigest } from '../reactor/digests.js';
import { Operation } from '../reactor/operations.js';
import { MESSAGE_PIECES, type Reactor } from '../reactor/reactor.js';
import type { LinkHost, StreamEvents } from './link-host.js';
import type { StreamMemory } from './link-memory.js';

/** A batch ends when it has this many bytes, so that completions are reported while a long queue drains. */
const BATCH_BYTES_MAX = 1 << 20;
const ENTRIES_MAX = 512;

export class StreamSender extends Operation {
  readonly owner: LinkHost;
  readonly #reactor: Reactor;
  readonly #connection: number;
  readonly #stream: Stream;
  readonly #memory: StreamMemory;
  readonly #events: StreamEvents;
  readonly #row: number;
  readonly #entryBytes = new Uint32Array(ENTRIES_MAX);
  readonly #entryPage = new Int32Array(ENTRIES_MAX);
  #fd = -1;
  #isStopped = false;
  /** Running number of the first entry that is in no batch yet. */
  #next = 0;
  #entries = 0;
  /** Entries of the batch that the kernel has taken completely, and bytes of the one after them. */
  #finished = 0;
  #partial = 0;

  constructor(reactor: Reactor, host: LinkHost, connection: number, stream: Stream, memory: StreamMemory, events: StreamEvents) {
    super();
    this.#reactor = reactor;
    this.owner = host;
    this.#connection = connection;
    this.#stream = stream;
    this.#memory = memory;
    this.#events = events;
    this.#row = reactor.acquireMessageRow();
    if (this.#row < 0) throw new Error('too many connections');
    reactor.operations.register(this);
  }

  /** A new link: the core has emptied its outbox. */
  open(fd: number): void {
    this.#fd = fd;
    this.#isStopped = false;
    this.#next = 0;
    this.#entries = 0;
  }

  close(): void {
    this.#reactor.operations.unregister(this);
    this.#reactor.releaseMessageRow(this.#row);
  }

  /** The stream is being shut down: what completes now only clears the way. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Starts a sendmsg when none is in flight and something waits. */
  flush(): void {
    if (this.inFlight) return;
    const outbox = this.owner.core.outbox(this.#connection, this.#stream);
    if (outbox.queued === this.#next) return;
    this.#build(outbox);
    this.#send();
  }

  /** The stream is being shut down: gives the buffers back. Only when nothing is in flight. */
  abandon(): void {
    for (let i = this.#finished; i < this.#entries; i++) this.#releasePage(i);
    this.#entries = 0;
    this.#finished = 0;
  }

  override completed(result: number): void {
    if (this.#isStopped) {
      this.#events.broken(0);
      return;
    }
    if (result < 0) {
      if (result === -ERRNO.EINTR || result === -ERRNO.EAGAIN) this.#send();
      else this.#events.broken(-result);
      return;
    }
    let left = result + this.#partial;
    let finished = 0;
    while (this.#finished < this.#entries && left >= this.#entryBytes[this.#finished]!) {
      left -= this.#entryBytes[this.#finished]!;
      this.#releasePage(this.#finished);
      this.#finished++;
      finished++;
    }
    this.#partial = left;
    const remaining = this.#reactor.messages.advance(this.#row, result);
    const host = this.owner;
    if (finished > 0) {
      host.touched = true;
      host.core.sendDone(this.#reactor.now, this.#connection, this.#stream, finished);
    }
    if (remaining > 0) this.#send();
    else {
      this.#entries = 0;
      this.#finished = 0;
      this.#partial = 0;
      this.#events.idle();
    }
  }

  #releasePage(entry: number): void {
    const page = this.#entryPage[entry]!;
    if (page >= 0) this.#reactor.memory.release(page);
    this.#entryPage[entry] = -1;
  }

  #send(): void {
    const sqe = this.#reactor.begin(this);
    this.#reactor.ring.prepSendmsg(sqe, this.#fd, this.#reactor.messages.addressOf(this.#row), MSG.WAITALL | MSG.NOSIGNAL);
  }

  #build(outbox: Outbox): void {
    const { messages, memory } = this.#reactor;
    const { headers, headersAddress } = this.#memory;
    messages.clear(this.#row);
    let headersEnd = 0;
    /** Beginning of the run of headers that is not a piece yet. */
    let runStart = 0;
    let bytes = 0;
    let entries = 0;
    let pieces = 0;
    while (this.#next < outbox.queued && entries < ENTRIES_MAX && bytes < BATCH_BYTES_MAX && pieces < MESSAGE_PIECES - 3) {
      const row = this.#next % outbox.capacity;
      const from = outbox.headerOffset[row]!;
      const length = outbox.headerBytes[row]!;
      if (headersEnd + length > headers.length) break;
      for (let i = 0; i < length; i++) headers[headersEnd + i] = outbox.arena[from + i]!;
      headersEnd += length;
      let entryBytes = length;
      const slot = outbox.payloadSlot[row]!;
      if (slot >= 0) {
        const page = this.owner.pageOf(slot);
        const [begin, payload] = [outbox.payloadOffset[row]!, outbox.payloadBytes[row]!];
        if (page < 0) throw new Error(`slot ${slot} is to be sent but has no buffer`);
        const digest = outbox.digest[row]!;
        if (digest !== 0)
          computeDigest(digest, memory.bytes, memory.offset(page) + begin, payload, headers, headersEnd - digestBytes(digest));
        memory.retain(page);
        this.#entryPage[entries] = page;
        messages.push(this.#row, headersAddress + runStart, headersEnd - runStart);
        messages.push(this.#row, memory.address(page) + begin, payload);
        runStart = headersEnd;
        pieces += 2;
        entryBytes += payload;
      } else this.#entryPage[entries] = -1;
      this.#entryBytes[entries] = entryBytes;
      bytes += entryBytes;
      entries++;
      this.#next++;
    }
    if (headersEnd > runStart) messages.push(this.#row, headersAddress + runStart, headersEnd - runStart);
    if (entries === 0)
      throw new Error(`a packet header of stream ${this.#stream === STREAM.Data ? 'data' : 'meta'} exceeds the send buffer`);
    this.#entries = entries;
    this.#finished = 0;
    this.#partial = 0;
  }
}
