/**
 * One NBD client: its bytes in, requests to the resource, replies out.
 *
 * A request is a row of columns until its reply has been sent. Small writes arrive through the receive buffer and are
 * copied; the rest of a large one is received straight into the request's own buffer. Replies leave in one sendmsg per turn.
 */
import { OP, REQ_FUA, REQ_NOUNMAP } from '@udrbd/replication';
import { closeFile, ERRNO, MSG } from 'ublk-napi';
import { shut } from '../links/shut.js';
import {
  CMD,
  CMD_FLAG,
  NBD_BROKEN,
  NBD_DISCONNECT,
  NBD_NEED_MORE,
  NBD_REFUSED,
  NBD_REPLY_HEADER_BYTES_MAX,
  type NbdExports,
  NbdSession,
  nbdErrorOf,
} from '../nbd/index.js';
import { Operation } from '../reactor/operations.js';
import { MESSAGE_PIECES, type Reactor } from '../reactor/reactor.js';
import { ReceivingArea } from '../reactor/receiving-area.js';
import type { FrontEnd, FrontEndHost } from './front-end.js';

const ROWS = 256;
/** With SEND_BYTES a whole block. */
const RECEIVE_BYTES = 240 * 1024;
/** Handshake output, or reply headers of one batch. */
const SEND_BYTES = 16 * 1024;
const COPY_BYTES_MAX = 32 * 1024;
/** A discard or a zeroing is passed on in pieces of this size: one activity log transaction each. */
const RANGE_BYTES_MAX = 16 * 1024 * 1024;

/** What the front end of the volume gives its connections. */
export interface NbdVolume extends FrontEnd {
  readonly host: FrontEndHost;
  readonly volume: number;
  readonly exports: NbdExports;
  readonly writable: boolean;
  /** Remembers which connection and row a slot belongs to. */
  assign(slot: number, connection: NbdConnection, row: number): void;
  closed(connection: NbdConnection): void;
}

class Pipe extends Operation {
  readonly owner: FrontEndHost;
  readonly #done: (result: number) => void;
  constructor(owner: FrontEndHost, done: (result: number) => void) {
    super();
    this.owner = owner;
    this.#done = done;
  }
  override completed(result: number): void {
    this.#done(result);
  }
}

export class NbdConnection {
  readonly #reactor: Reactor;
  readonly #front: NbdVolume;
  readonly #fd: number;
  readonly #session: NbdSession;
  readonly #memory: ReceivingArea;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #receiving: Pipe;
  readonly #sending: Pipe;
  readonly #message: number;
  #start = 0;
  #end = 0;
  #isDirect = false;
  /** The session's request waits for a row, a slot or memory. */
  #isParked = false;
  /** Row and slot of the write whose payload is arriving, or -1. */
  #payloadRow = -1;
  #payloadSlot = -1;
  #payloadDone = 0;
  #isOpen = false;
  #isWriter = false;
  /** No more requests; the connection ends when the outstanding ones are answered. */
  #isLeaving = false;
  #isClosing = false;
  #isFinished = false;
  #outstanding = 0;
  /** Rows of long ranges whose next piece is due. */
  readonly #continuing: number[] = [];
  /** Handshake output not yet sent. */
  #greeting: Uint8Array = new Uint8Array();

  // Rows.
  readonly #free = new Int16Array(ROWS);
  #freeCount = ROWS;
  readonly #command = new Uint8Array(ROWS);
  readonly #flags = new Uint8Array(ROWS);
  readonly #cookieHigh = new Uint32Array(ROWS);
  readonly #cookieLow = new Uint32Array(ROWS);
  readonly #offset = new Float64Array(ROWS);
  readonly #length = new Uint32Array(ROWS);
  /** Bytes of a range passed on so far. */
  readonly #cursor = new Float64Array(ROWS);
  readonly #error = new Uint8Array(ROWS);
  readonly #page = new Int32Array(ROWS).fill(-1);
  /** Rows to be answered, a ring; then rows of the sendmsg in flight. */
  readonly #replies = new Int16Array(ROWS);
  #repliesHead = 0;
  #repliesCount = 0;
  readonly #batch = new Int16Array(ROWS);
  #batchCount = 0;

  constructor(reactor: Reactor, front: NbdVolume, fd: number, lock: boolean) {
    this.#reactor = reactor;
    this.#front = front;
    this.#fd = fd;
    this.#session = new NbdSession(front.exports);
    this.#memory = new ReceivingArea(front.host.memory, RECEIVE_BYTES + SEND_BYTES, lock);
    this.#bytes = this.#memory.bytes;
    this.#view = this.#memory.view;
    this.#message = reactor.acquireMessageRow();
    this.#receiving = new Pipe(front.host, (result) => this.#received(result));
    this.#sending = new Pipe(front.host, (result) => this.#sent(result));
    reactor.operations.register(this.#receiving);
    reactor.operations.register(this.#sending);
    for (let row = 0; row < ROWS; row++) this.#free[row] = ROWS - 1 - row;
    this.#greeting = this.#session.takeOutput();
    if (this.#message < 0) {
      this.close();
      return;
    }
    this.#receive();
    this.flush();
  }

  /** The client is past its handshake. */
  get isOpen(): boolean {
    return this.#isOpen && !this.#isClosing;
  }

  get isWriter(): boolean {
    return this.isOpen && this.#isWriter;
  }

  /** It is closed, and nothing of it is in flight: one for which there was no room is from the beginning. */
  get isFinished(): boolean {
    return this.#isFinished;
  }

  /** Ends the connection at once; requests under way are finished without an answer. */
  close(): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    shut(this.#fd);
    this.#continueRanges();
    this.#finishClosing();
  }

  /** Slots or memory may be free again. */
  resume(): void {
    this.#continueRanges();
    if (this.#isParked && !this.#isClosing) this.#process();
  }

  // Receiving.

  #receive(): void {
    if (this.#receiving.inFlight || this.#isClosing) return;
    const missing = this.#payloadRow < 0 ? 0 : this.#length[this.#payloadRow]! - this.#payloadDone;
    if (missing > COPY_BYTES_MAX && this.#start === this.#end) {
      const { memory } = this.#front.host;
      this.#isDirect = true;
      const sqe = this.#reactor.begin(this.#receiving);
      const address = memory.address(this.#page[this.#payloadRow]!) + this.#payloadDone;
      this.#reactor.ring.prepRecv(sqe, this.#fd, address, missing, MSG.WAITALL);
      return;
    }
    if (this.#start > 0) {
      if (this.#end > this.#start) this.#bytes.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    if (this.#end === RECEIVE_BYTES) return;
    this.#isDirect = false;
    const sqe = this.#reactor.begin(this.#receiving);
    this.#reactor.ring.prepRecv(sqe, this.#fd, this.#memory.address + this.#end, RECEIVE_BYTES - this.#end, 0);
  }

  #received(result: number): void {
    if (this.#isClosing) {
      this.#finishClosing();
      return;
    }
    if (result === -ERRNO.EINTR || result === -ERRNO.EAGAIN) {
      this.#receive();
      return;
    }
    if (result <= 0) {
      this.close();
      return;
    }
    if (this.#isDirect) this.#payloadDone += result;
    else this.#end += result;
    this.#front.host.touched = true;
    this.#process();
  }

  #process(): void {
    if (!this.#isOpen && !this.#negotiate()) return;
    while (!this.#isClosing && !this.#isLeaving) {
      if (this.#payloadRow >= 0) {
        if (!this.#fillPayload()) break;
        continue;
      }
      if (this.#isParked) {
        this.#isParked = false;
        if (!this.#begin()) return;
        continue;
      }
      const verdict = this.#session.next(this.#view, this.#start, this.#end);
      this.#start += this.#session.consumed;
      if (verdict === NBD_NEED_MORE) break;
      if (verdict === NBD_DISCONNECT) {
        this.#isLeaving = true;
        if (this.#outstanding === 0) this.close();
        return;
      }
      if (verdict === NBD_BROKEN) {
        this.close();
        return;
      }
      if (verdict === NBD_REFUSED ? !this.#refuse() : !this.#begin()) return;
    }
    this.#receive();
  }

  /** @returns whether the transmission phase has begun */
  #negotiate(): boolean {
    const session = this.#session;
    this.#start = session.push(this.#bytes, this.#start, this.#end);
    const output = session.takeOutput();
    if (output.length > 0) {
      const all = new Uint8Array(this.#greeting.length + output.length);
      all.set(this.#greeting);
      all.set(output, this.#greeting.length);
      this.#greeting = all;
    }
    if (session.isOpen) {
      this.#isOpen = true;
      this.#isWriter = this.#front.writable;
      this.#front.host.openChanged();
      return true;
    }
    if (session.isClosed) {
      this.#isLeaving = true;
      if (this.#greeting.length === 0 && !this.#sending.inFlight) this.close();
    } else this.#receive();
    return false;
  }

  #park(): false {
    this.#isParked = true;
    this.#front.host.wantResume(this.#front);
    return false;
  }

  #newRow(): number {
    if (this.#freeCount === 0) return -1;
    const row = this.#free[--this.#freeCount]!;
    const { request } = this.#session;
    this.#command[row] = request.command;
    this.#flags[row] = request.flags;
    this.#cookieHigh[row] = request.cookieHigh;
    this.#cookieLow[row] = request.cookieLow;
    this.#offset[row] = request.offset;
    this.#length[row] = request.lengthBytes;
    this.#cursor[row] = 0;
    this.#error[row] = 0;
    this.#page[row] = -1;
    this.#outstanding++;
    return row;
  }

  #freeRow(row: number): void {
    this.#free[this.#freeCount++] = row;
    this.#outstanding--;
  }

  /** @returns false when the request is parked */
  #refuse(): boolean {
    const row = this.#newRow();
    if (row < 0) return this.#park();
    this.#error[row] = this.#session.request.error;
    this.#reply(row);
    return true;
  }

  /** Takes the session's request up. @returns false when it is parked */
  #begin(): boolean {
    const { request } = this.#session;
    if (request.error !== 0) return this.#refuse();
    const { host, volume } = this.#front;
    if (host.hasFailed) {
      // A write's data would have to be skipped; the client learns as much from a closed connection.
      this.close();
      return false;
    }
    const hasPayload = request.command === CMD.READ || request.command === CMD.WRITE;
    if (this.#freeCount === 0) return this.#park();
    const slot = host.acquire(volume, this.#front);
    if (slot < 0) return this.#park();
    const page = hasPayload ? host.allocate(slot, request.lengthBytes) : -1;
    if (hasPayload && page < 0) {
      host.release(slot);
      return this.#park();
    }
    const row = this.#newRow();
    this.#page[row] = page;
    this.#front.assign(slot, this, row);
    if (request.command === CMD.WRITE) {
      this.#payloadRow = row;
      this.#payloadSlot = slot;
      this.#payloadDone = 0;
    } else this.#submit(slot, row);
    return true;
  }

  /** @returns whether the payload is complete and the write submitted */
  #fillPayload(): boolean {
    const row = this.#payloadRow;
    const length = this.#length[row]!;
    const here = Math.min(this.#end - this.#start, length - this.#payloadDone);
    if (here > 0) {
      const { memory } = this.#front.host;
      const to = memory.offset(this.#page[row]!) + this.#payloadDone;
      this.#memory.copy(this.#start, here, to);
      this.#start += here;
      this.#payloadDone += here;
    }
    if (this.#payloadDone < length) return false;
    this.#payloadRow = -1;
    this.#submit(this.#payloadSlot, row);
    return true;
  }

  #submit(slot: number, row: number): void {
    const { requests } = this.#front.host.core;
    const flags = this.#flags[row]!;
    let length = this.#length[row]! - this.#cursor[row]!;
    let requestFlags = (flags & CMD_FLAG.FUA) !== 0 ? REQ_FUA : 0;
    switch (this.#command[row]) {
      case CMD.READ:
        requests.op[slot] = OP.Read;
        requestFlags = 0;
        break;
      case CMD.WRITE:
        requests.op[slot] = OP.Write;
        break;
      case CMD.FLUSH:
        requests.op[slot] = OP.Flush;
        length = 0;
        break;
      default:
        requests.op[slot] = this.#command[row] === CMD.TRIM ? OP.Discard : OP.WriteZeroes;
        if ((flags & CMD_FLAG.NO_HOLE) !== 0) requestFlags |= REQ_NOUNMAP;
        length = Math.min(length, RANGE_BYTES_MAX);
    }
    requests.flags[slot] = requestFlags;
    requests.sector[slot] = this.#command[row] === CMD.FLUSH ? 0 : (this.#offset[row]! + this.#cursor[row]!) / 512;
    requests.lengthBytes[slot] = length;
    this.#cursor[row] = this.#cursor[row]! + length;
    this.#front.host.submit(slot);
  }

  // Completing and sending.

  /** The slot of a row is finished. */
  completed(slot: number, row: number, errno: number): void {
    const { host } = this.#front;
    const page = host.takePage(slot);
    // Not the page of the beginning, when the disk was given up and the peer has answered.
    this.#page[row] = page;
    if (this.#command[row] !== CMD.READ || errno !== 0) this.#dropPage(row);
    this.#error[row] = nbdErrorOf(errno);
    if (errno === 0 && this.#cursor[row]! < this.#length[row]! && this.#command[row] !== CMD.FLUSH && !this.#isClosing) {
      this.#continuing.push(row);
      host.wantResume(this.#front);
      return;
    }
    this.#reply(row);
  }

  /** Submits the next pieces of long discards and zeroings. */
  #continueRanges(): void {
    const { host, volume } = this.#front;
    while (this.#continuing.length > 0) {
      const row = this.#continuing[0]!;
      const slot = this.#isClosing || host.hasFailed ? -1 : host.acquire(volume, this.#front);
      if (slot >= 0) {
        this.#front.assign(slot, this, row);
        this.#submit(slot, row);
      } else if (this.#isClosing || host.hasFailed) {
        this.#error[row] = nbdErrorOf(ERRNO.EIO);
        this.#reply(row);
      } else {
        host.wantResume(this.#front);
        return;
      }
      this.#continuing.shift();
    }
  }

  #reply(row: number): void {
    if (this.#isClosing) {
      this.#dropPage(row);
      this.#freeRow(row);
      this.#finishClosing();
      return;
    }
    this.#replies[(this.#repliesHead + this.#repliesCount++) % ROWS] = row;
  }

  #dropPage(row: number): void {
    const page = this.#page[row]!;
    this.#page[row] = -1;
    if (page >= 0) this.#front.host.memory.release(page);
  }

  /** Sends what is queued, when nothing is being sent. */
  flush(): void {
    if (this.#sending.inFlight || this.#isClosing) return;
    const { messages } = this.#reactor;
    let at = RECEIVE_BYTES;
    messages.clear(this.#message);
    if (this.#greeting.length > 0) {
      const length = Math.min(this.#greeting.length, SEND_BYTES);
      this.#bytes.set(this.#greeting.subarray(0, length), at);
      this.#greeting = this.#greeting.slice(length);
      messages.push(this.#message, this.#memory.address + at, length);
      this.#send();
      return;
    }
    if (this.#repliesCount === 0) return;
    let runStart = at;
    let pieces = 0;
    this.#batchCount = 0;
    while (this.#repliesCount > 0 && pieces < MESSAGE_PIECES - 3 && at + NBD_REPLY_HEADER_BYTES_MAX <= RECEIVE_BYTES + SEND_BYTES) {
      const row = this.#replies[this.#repliesHead]!;
      this.#repliesHead = (this.#repliesHead + 1) % ROWS;
      this.#repliesCount--;
      this.#batch[this.#batchCount++] = row;
      const error = this.#error[row]!;
      const length = this.#length[row]!;
      at += this.#session.putReply(
        this.#view,
        at,
        this.#command[row]!,
        this.#cookieHigh[row]!,
        this.#cookieLow[row]!,
        this.#offset[row]!,
        length,
        error,
      );
      if (this.#command[row] === CMD.READ && error === 0) {
        messages.push(this.#message, this.#memory.address + runStart, at - runStart);
        messages.push(this.#message, this.#front.host.memory.address(this.#page[row]!), length);
        runStart = at;
        pieces += 2;
      }
    }
    if (at > runStart) messages.push(this.#message, this.#memory.address + runStart, at - runStart);
    this.#send();
  }

  #send(): void {
    const sqe = this.#reactor.begin(this.#sending);
    this.#reactor.ring.prepSendmsg(sqe, this.#fd, this.#reactor.messages.addressOf(this.#message), MSG.WAITALL | MSG.NOSIGNAL);
  }

  #sent(result: number): void {
    if (!this.#isClosing && result > 0 && this.#reactor.messages.advance(this.#message, result) > 0) {
      this.#send();
      return;
    }
    for (let i = 0; i < this.#batchCount; i++) {
      this.#dropPage(this.#batch[i]!);
      this.#freeRow(this.#batch[i]!);
    }
    this.#batchCount = 0;
    if (this.#isClosing) {
      this.#finishClosing();
      return;
    }
    if (result <= 0) {
      this.close();
      return;
    }
    if (this.#isLeaving && this.#outstanding === 0 && this.#greeting.length === 0) {
      this.close();
      return;
    }
    this.#front.host.touched = true;
    if (this.#isParked) this.#process();
  }

  #finishClosing(): void {
    if (this.#isFinished || this.#receiving.inFlight || this.#sending.inFlight) return;
    if (this.#payloadRow >= 0) {
      // A write whose payload never came: it was not submitted.
      this.#front.host.release(this.#payloadSlot);
      this.#freeRow(this.#payloadRow);
      this.#payloadRow = -1;
    }
    while (this.#repliesCount > 0) {
      const row = this.#replies[this.#repliesHead]!;
      this.#repliesHead = (this.#repliesHead + 1) % ROWS;
      this.#repliesCount--;
      this.#dropPage(row);
      this.#freeRow(row);
    }
    if (this.#outstanding > 0) return;
    this.#isFinished = true;
    this.#reactor.operations.unregister(this.#receiving);
    this.#reactor.operations.unregister(this.#sending);
    if (this.#message >= 0) this.#reactor.releaseMessageRow(this.#message);
    closeFile(this.#fd);
    this.#memory.close();
    this.#front.closed(this);
  }
}
