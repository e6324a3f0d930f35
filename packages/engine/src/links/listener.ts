/**
 * A listening socket, shared by all connections with the same local address. It is open while one of them is connecting.
 *
 * An accepted socket is greeted first: its initial packet has to arrive in time, and names the stream. Then it belongs to
 * the connection whose path has the peer's address.
 */
import type { Stream } from '@udrbd/replication';
import {
  bindSocket,
  closeFile,
  ErrnoError,
  errnoText,
  getPeerAddress,
  listenSocket,
  MSG,
  openSocket,
  type SocketAddress,
  setSocketOption,
} from 'ublk-napi';
import { CallbackOperation, Operation } from '../reactor/operations.js';
import type { Reactor, Timed } from '../reactor/reactor.js';
import { endpointText } from './addresses.js';
import { INITIAL_PACKET_BYTES, initialPacketStream } from './initial-packet.js';
import { shut } from './shut.js';

const BACKLOG = 64;
const GREETING_MS = 2000;
const ACCEPT_PAUSE_MS = 1000;
const GREETINGS_MAX = 64;
/** Strangers come as often as they like; the log tells of them this often. */
const STRANGERS_LOG_MS = 5000;

/** A connection that waits for its peer on this address. */
export interface Awaiting {
  /** Whether a stream from this address (no port) belongs to it. */
  expects(peerAddress: string): boolean;
  /** Takes the socket over. */
  accepted(fd: number, stream: Stream, peerAddress: string): void;
}

export type LogLine = (level: 'err' | 'warning' | 'notice' | 'info', text: string) => void;

class Greeting extends Operation {
  readonly owner = undefined;
  readonly fd: number;
  readonly peer: string;
  readonly deadline: number;
  readonly scratch: number;
  /** It had its time. */
  isDismissed = false;
  readonly #done: (greeting: Greeting, result: number) => void;
  constructor(fd: number, peer: string, deadline: number, scratch: number, done: (greeting: Greeting, result: number) => void) {
    super();
    this.fd = fd;
    this.peer = peer;
    this.deadline = deadline;
    this.scratch = scratch;
    this.#done = done;
  }
  override completed(result: number): void {
    this.#done(this, result);
  }
}

export class Listener implements Timed {
  readonly key: string;
  deadline = Infinity;
  readonly #reactor: Reactor;
  readonly #address: SocketAddress;
  readonly #log: LogLine;
  readonly #waiting = new Set<Awaiting>();
  readonly #greetings = new Set<Greeting>();
  readonly #accept: CallbackOperation;
  #fd = -1;
  #isClosing = false;
  /** When to accept again after a failure. */
  #armAt = Infinity;
  /** When the log told of a stranger last, and how many it has not told of since. */
  #strangerAt = -Infinity;
  #untold = 0;

  constructor(reactor: Reactor, key: string, address: SocketAddress, log: LogLine) {
    this.#reactor = reactor;
    this.key = key;
    this.#address = address;
    this.#log = log;
    this.#accept = new CallbackOperation(undefined, (result) => this.#accepted(result));
    reactor.operations.register(this.#accept);
    reactor.addTimed(this);
  }

  get isIdle(): boolean {
    return this.#waiting.size === 0;
  }

  /** @throws ErrnoError EADDRINUSE, EADDRNOTAVAIL, EACCES */
  add(awaiting: Awaiting): void {
    this.#waiting.add(awaiting);
    // An accept whose socket is being closed completes soon and opens a new one.
    if (this.#accept.inFlight || this.#fd >= 0) return;
    this.#open();
  }

  remove(awaiting: Awaiting): void {
    this.#waiting.delete(awaiting);
    if (this.#waiting.size > 0 || this.#fd < 0) return;
    if (this.#accept.inFlight) {
      this.#isClosing = true;
      shut(this.#fd);
      return;
    }
    closeFile(this.#fd);
    this.#fd = -1;
    this.#armAt = Infinity;
    this.#schedule();
  }

  expire(now: number): void {
    for (const greeting of this.#greetings) {
      if (greeting.deadline <= now) shut(greeting.fd);
    }
    if (this.#armAt <= now) {
      this.#armAt = Infinity;
      this.#arm();
    }
    this.#schedule();
  }

  fail(error: unknown): void {
    throw error;
  }

  #open(): void {
    const fd = openSocket(this.#address.family);
    try {
      setSocketOption(fd, 'reuseAddress', true);
      if (this.#address.family === 'ipv6') setSocketOption(fd, 'v6Only', true);
      bindSocket(fd, this.#address);
      listenSocket(fd, BACKLOG);
    } catch (error) {
      closeFile(fd);
      throw error;
    }
    this.#fd = fd;
    this.#isClosing = false;
    this.#arm();
  }

  #arm(): void {
    const sqe = this.#reactor.begin(this.#accept);
    this.#reactor.ring.prepAccept(sqe, this.#fd);
  }

  #accepted(result: number): void {
    if (result >= 0) this.#greet(result);
    else if (!this.#isClosing) this.#log('warning', `accept on ${this.key}: ${errnoText(result)}`);
    if (!this.#isClosing) {
      if (result >= 0) this.#arm();
      else {
        // Without descriptors or memory: the stranger is still there, and would be at once again.
        this.#armAt = this.#reactor.now + ACCEPT_PAUSE_MS;
        this.#schedule();
      }
      return;
    }
    this.#armAt = Infinity;
    closeFile(this.#fd);
    this.#fd = -1;
    this.#isClosing = false;
    if (this.#waiting.size === 0) return;
    try {
      this.#open();
    } catch (error) {
      if (!(error instanceof ErrnoError)) throw error;
      this.#log('err', `can not listen on ${this.key}: ${error.message}`);
    }
  }

  #greet(fd: number): void {
    let peer = '';
    try {
      peer = endpointText(getPeerAddress(fd));
    } catch {
      // Gone before we looked: closed below like an unknown one.
    }
    const isExpected = this.#find(peer) !== undefined;
    const scratch = isExpected ? this.#reactor.scratch.acquire() : -1;
    if (scratch < 0) {
      if (!isExpected && peer !== '') this.#tellOfStranger(`Closing unexpected connection from ${peer}`);
      closeFile(fd);
      return;
    }
    // A peer says who it is at once: those who have been silent for longest make room.
    if (this.#greetings.size >= GREETINGS_MAX) this.#dismissOldest();
    const greeting = new Greeting(fd, peer, this.#reactor.now + GREETING_MS, scratch, (g, result) => this.#greeted(g, result));
    this.#greetings.add(greeting);
    this.#reactor.operations.register(greeting);
    const sqe = this.#reactor.begin(greeting);
    this.#reactor.ring.prepRecv(sqe, fd, this.#reactor.scratch.slotAddress(scratch), INITIAL_PACKET_BYTES, MSG.WAITALL);
    this.#schedule();
  }

  #greeted(greeting: Greeting, result: number): void {
    const { scratch } = this.#reactor;
    const stream = result === INITIAL_PACKET_BYTES ? initialPacketStream(scratch.view, scratch.slotOffset(greeting.scratch)) : -1;
    scratch.release(greeting.scratch);
    this.#reactor.operations.unregister(greeting);
    this.#greetings.delete(greeting);
    this.#schedule();
    const awaiting = this.#find(greeting.peer);
    if (stream === -1 || awaiting === undefined) {
      if (stream === -1) this.#tellOfStranger(`Error receiving initial packet from ${greeting.peer}`);
      closeFile(greeting.fd);
      return;
    }
    awaiting.accepted(greeting.fd, stream, greeting.peer);
  }

  #dismissOldest(): void {
    for (const greeting of this.#greetings) {
      if (greeting.isDismissed) continue;
      greeting.isDismissed = true;
      shut(greeting.fd);
      return;
    }
  }

  #tellOfStranger(text: string): void {
    const { now } = this.#reactor;
    if (now - this.#strangerAt < STRANGERS_LOG_MS) {
      this.#untold++;
      return;
    }
    this.#log('warning', this.#untold > 0 ? `${text} (and ${this.#untold} more since the last line like this)` : text);
    this.#strangerAt = now;
    this.#untold = 0;
  }

  #find(peer: string): Awaiting | undefined {
    for (const awaiting of this.#waiting) if (awaiting.expects(peer)) return awaiting;
    return undefined;
  }

  #schedule(): void {
    this.deadline = this.#armAt;
    for (const greeting of this.#greetings) this.deadline = Math.min(this.deadline, greeting.deadline);
  }
}

/** All listening sockets of a reactor, by local address. */
export class Listeners {
  readonly #byAddress = new Map<string, Listener>();
  readonly #reactor: Reactor;
  readonly #log: LogLine;

  constructor(reactor: Reactor, log: LogLine) {
    this.#reactor = reactor;
    this.#log = log;
  }

  /** @throws ErrnoError when the address can not be listened on */
  listen(key: string, address: SocketAddress, awaiting: Awaiting): void {
    let listener = this.#byAddress.get(key);
    if (listener === undefined) {
      listener = new Listener(this.#reactor, key, address, this.#log);
      this.#byAddress.set(key, listener);
    }
    listener.add(awaiting);
  }

  forget(key: string, awaiting: Awaiting): void {
    this.#byAddress.get(key)?.remove(awaiting);
  }
}
