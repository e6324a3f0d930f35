/**
 * One client of the control socket: its lines in order, answers and events out, and bounds on everything it can make the engine keep.
 *
 * A client that does not read its answers is not read from; one that does not read its events is told so and let go.
 */
import type { Socket } from 'node:net';
import { StringDecoder } from 'node:string_decoder';
import { createLineDecoder, encodeLine, REQUEST_LINE_MAX, RETURN_CODES } from '@udrbd/control';

export interface ConnectionLimits {
  /** Requests that are being answered at the same time. */
  readonly requestsMax: number;
  /** Answers that wait for the client to read, in bytes: above it no further request is begun. */
  readonly answerBytesMax: number;
  /** Events that wait for the client to read, in bytes: above it the client is let go. */
  readonly eventBytesMax: number;
  /** From the first byte of a request to its line break, in milliseconds. */
  readonly requestMs: number;
  /** What a client that is let go has to read its last line, in milliseconds. */
  readonly farewellMs: number;
}

export const CONNECTION_LIMITS: ConnectionLimits = {
  requestsMax: 64,
  answerBytesMax: 4 << 20,
  eventBytesMax: 16 << 20,
  requestMs: 60_000,
  farewellMs: 30_000,
};

export class ControlConnection {
  readonly #socket: Socket;
  readonly #limits: ConnectionLimits;
  readonly #accept: (value: unknown) => Promise<void> | undefined;
  readonly #text = new StringDecoder('utf8');
  readonly #lines = createLineDecoder(REQUEST_LINE_MAX);
  /** Read, but not begun. */
  readonly #requests: unknown[] = [];
  #answering = 0;
  /** What does not fit into the socket yet. The buffers of events are shared with the other readers. */
  #queue: { readonly bytes: string | Buffer; readonly isEvent: boolean }[] = [];
  #eventBytes = 0;
  #isFull = false;
  #isEnding = false;
  /** The client sends no more. */
  #isInputOver = false;
  #slowRequest: NodeJS.Timeout | undefined;

  /**
   * @param accept - begins the request of one line, JSON but otherwise unchecked; what it returns settles when it has been answered
   * @param closed - the connection is gone
   */
  constructor(socket: Socket, limits: ConnectionLimits, accept: (value: unknown) => Promise<void> | undefined, closed: () => void) {
    this.#socket = socket;
    this.#limits = limits;
    this.#accept = accept;
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(this.#slowRequest);
      this.#isEnding = true;
      this.#requests.length = 0;
      this.#queue = [];
      closed();
    });
    // A half-sent line is dropped; what was asked before is still answered. A reader of events that ends its side is gone.
    socket.on('end', () => {
      this.#isInputOver = true;
      this.#next();
    });
    socket.on('data', (bytes) => this.#received(bytes));
    socket.on('drain', () => this.#drained());
  }

  get isOpen(): boolean {
    return !this.#isEnding;
  }

  /** Nothing that the client asked for is under way or has still to be read by it. */
  get isIdle(): boolean {
    return this.#answering === 0 && this.#requests.length === 0 && this.#queue.length === 0 && !this.#lines.isInLine;
  }

  /** Sends lines in answer to a request. */
  answer(lines: string | Buffer): void {
    if (this.#isEnding) return;
    if (this.#queue.length > 0) this.#queue.push({ bytes: lines, isEvent: false });
    else this.#write(lines);
  }

  /** Sends events, as encoded lines. */
  tell(lines: Buffer): void {
    if (this.#isEnding) return;
    if (!this.#isFull) {
      this.#write(lines);
      return;
    }
    this.#queue.push({ bytes: lines, isEvent: true });
    this.#eventBytes += lines.length;
    if (this.#eventBytes > this.#limits.eventBytesMax) this.refuse(0, `too slow: ${this.#eventBytes} bytes of events were not read`);
  }

  /** A last line, and the end. What the client has not read by then is lost. */
  refuse(id: number, info: string, code: number = RETURN_CODES.ERR_INVALID_REQUEST.code): void {
    if (this.#isEnding) return;
    this.#requests.length = 0;
    this.#queue = [];
    this.#socket.end(encodeLine({ id, code, info: [info] }));
    this.#end();
  }

  /** No further request is read; answers that have been given are still delivered. */
  close(): void {
    if (this.#isEnding) return;
    this.#socket.end();
    this.#end();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #end(): void {
    this.#isEnding = true;
    clearTimeout(this.#slowRequest);
    const timer = setTimeout(() => this.#socket.destroy(), this.#limits.farewellMs).unref();
    this.#socket.once('close', () => clearTimeout(timer));
    // Whatever it still sends is thrown away, or the socket would never close.
    this.#socket.resume();
  }

  #received(bytes: Buffer): void {
    if (this.#isEnding) return;
    for (const line of this.#lines.push(this.#text.write(bytes))) {
      if (!line.ok) {
        this.refuse(0, line.error === 'not-json' ? 'not a line of JSON' : 'line too long');
        return;
      }
      this.#requests.push(line.value);
    }
    if (!this.#lines.isInLine) {
      clearTimeout(this.#slowRequest);
      this.#slowRequest = undefined;
    } else {
      this.#slowRequest ??= setTimeout(() => this.refuse(0, 'request not complete in time'), this.#limits.requestMs).unref();
    }
    this.#next();
  }

  #next(): void {
    while (!this.#isEnding && this.#requests.length > 0 && this.#mayBegin()) {
      const answered = this.#accept(this.#requests.shift());
      if (answered === undefined) continue;
      this.#answering += 1;
      void answered.finally(() => {
        this.#answering -= 1;
        this.#next();
      });
    }
    if (this.#isEnding) return;
    if (this.#requests.length > 0) this.#socket.pause();
    else if (this.#isInputOver && this.#answering === 0 && this.#queue.length === 0) this.close();
    else this.#socket.resume();
  }

  #mayBegin(): boolean {
    const hasRoom = this.#queue.length === 0 && this.#socket.writableLength <= this.#limits.answerBytesMax;
    return hasRoom && this.#answering < this.#limits.requestsMax;
  }

  #write(bytes: string | Buffer): void {
    if (!this.#socket.write(bytes)) this.#isFull = true;
  }

  #drained(): void {
    this.#isFull = false;
    while (!this.#isFull && this.#queue.length > 0) {
      // Many small writes as one.
      const some = this.#queue.splice(0, 256).map(({ bytes, isEvent }) => {
        if (isEvent) this.#eventBytes -= bytes.length;
        return typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
      });
      this.#write(Buffer.concat(some));
    }
    this.#next();
  }
}
