/**
 * One NBD client from its first byte to its last, without I/O: the reactor receives and sends.
 *
 *   greeting -> takeOutput()
 *   receive  -> push() until isOpen or isClosed, sending takeOutput() each time
 *   receive  -> next() again and again: NEED_MORE, REQUEST, REFUSED, DISCONNECT, BROKEN
 *   complete -> putReply() into the send buffer, then the data of a READ
 */
import { CMD } from './nbd-constants.js';
import type { NbdExport, NbdExports } from './nbd-export.js';
import { NbdHandshake } from './nbd-handshake.js';
import { checkRequest, decodeRequest, NBD_REQUEST_BYTES, NbdRequest, putDataChunk, putErrorChunk, putSimpleReply } from './nbd-request.js';

/** Answers of {@link NbdSession.next}. */
/** Receive more bytes, keeping those from `at + consumed` on. */
export const NBD_NEED_MORE = 0;
/** `session.request` is to be served. A WRITE's data begins at `at + consumed`; the reactor takes `lengthBytes` of it from the stream. */
export const NBD_REQUEST = 1;
/** `session.request` is to be answered with its `error` at once; data that came with it has been skipped. */
export const NBD_REFUSED = 2;
/** The client wants to go: finish what is outstanding, send the replies, close. */
export const NBD_DISCONNECT = 3;
/** No request begins here: close. */
export const NBD_BROKEN = 4;
export type NbdVerdict = 0 | 1 | 2 | 3 | 4;

export class NbdSession {
  readonly #handshake: NbdHandshake;
  /** Bytes of a refused WRITE that are still to be skipped. */
  #skip = 0;

  /** The request of the last REQUEST or REFUSED; overwritten by the next call. */
  readonly request = new NbdRequest();
  /** Bytes that the last call of {@link next} used. */
  consumed = 0;

  constructor(exports: NbdExports) {
    this.#handshake = new NbdHandshake(exports);
  }

  get isOpen(): boolean {
    return this.#handshake.phase === 'open';
  }
  /** The connection is to be closed after the output was sent. */
  get isClosed(): boolean {
    return this.#handshake.phase === 'closed';
  }
  /** The opened export; undefined before. */
  get exported(): NbdExport | undefined {
    return this.#handshake.exported;
  }
  /** Whether READ is answered with chunks. */
  get structured(): boolean {
    return this.#handshake.structured;
  }

  /** Handshake bytes to be sent. */
  takeOutput(): Uint8Array {
    return this.#handshake.takeOutput();
  }

  /**
   * Takes bytes of the handshake.
   * @returns the position of the first unused byte: a request may follow in the same buffer
   */
  push(input: Uint8Array, from: number, end: number): number {
    return this.#handshake.push(input, from, end);
  }

  /**
   * Looks for the next request in the received bytes `at … end`. Only while `isOpen`; allocates nothing.
   * Sets `consumed`, whatever the answer.
   */
  next(view: DataView, at: number, end: number): NbdVerdict {
    this.consumed = 0;
    if (this.#skip > 0) return this.#skipData(end - at);
    const exported = this.#handshake.exported;
    if (exported === undefined) return NBD_BROKEN;
    if (end - at < NBD_REQUEST_BYTES) return NBD_NEED_MORE;
    const { request } = this;
    if (!decodeRequest(view, at, request)) return NBD_BROKEN;
    this.consumed = NBD_REQUEST_BYTES;
    if (request.command === CMD.DISC) return NBD_DISCONNECT;
    request.error = checkRequest(request, exported);
    if (request.error === 0) return NBD_REQUEST;
    if (request.command !== CMD.WRITE || request.lengthBytes === 0) return NBD_REFUSED;
    this.#skip = request.lengthBytes;
    return this.#skipData(end - at - NBD_REQUEST_BYTES);
  }

  #skipData(available: number): NbdVerdict {
    const skipped = Math.min(this.#skip, available);
    this.#skip -= skipped;
    this.consumed += skipped;
    return this.#skip === 0 ? NBD_REFUSED : NBD_NEED_MORE;
  }

  /**
   * Writes the reply to a request, without the data of a READ. At most 28 bytes; allocates nothing.
   * @param command, cookieHigh, cookieLow, offset, lengthBytes - of the request
   * @param error - 0 or an NBD error
   * @returns bytes written; after a successful READ its `lengthBytes` of data follow
   */
  putReply(
    view: DataView,
    at: number,
    command: number,
    cookieHigh: number,
    cookieLow: number,
    offset: number,
    lengthBytes: number,
    error: number,
  ): number {
    if (command !== CMD.READ || !this.#handshake.structured) return putSimpleReply(view, at, cookieHigh, cookieLow, error);
    if (error !== 0) return putErrorChunk(view, at, cookieHigh, cookieLow, error);
    return putDataChunk(view, at, cookieHigh, cookieLow, offset, lengthBytes);
  }
}
