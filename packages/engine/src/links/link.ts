/**
 * One connection's two TCP streams: establishing them, moving bytes, taking them down.
 *
 * ```text
 *   closed --openLink--> connecting --both streams there--> settling --both alive after ping-timeout--> up
 *                            ^------------- one of them died ---------------'    (the peer speaks)      |
 *   closed <--linkDown, nothing in flight-- closing <------- closeLink, end of file, error -------------'
 * ```
 *
 * Connecting follows DRBD 8.4's conn_connect with DRBD 9's choice of who opens which stream first. Both nodes listen and
 * connect; a stream is named by the first packet on it; of two crossing sockets the accepted one stays.
 */
import { type LinkEnd, type Options, STREAM, type Stream } from '@udrbd/replication';
import {
  bindSocket,
  closeFile,
  ERRNO,
  ErrnoError,
  encodeAddressInto,
  errnoName,
  errnoText,
  MSG,
  openSocket,
  setSocketOption,
} from 'ublk-napi';
import type { PathSetup } from '../reactor/messages.js';
import { CallbackOperation } from '../reactor/operations.js';
import type { Reactor } from '../reactor/reactor.js';
import { describeEndpoint, endpointText, listenerKey, opensDataFirst, socketAddress } from './addresses.js';
import { INITIAL_PACKET_BYTES, putInitialPacket } from './initial-packet.js';
import type { LinkHost, StreamEvents } from './link-host.js';
import { LinkMemory } from './link-memory.js';
import type { Awaiting, Listeners } from './listener.js';
import { shut } from './shut.js';
import { StreamReceiver } from './stream-receiver.js';
import { StreamSender } from './stream-sender.js';

type Phase = 'closed' | 'connecting' | 'settling' | 'up' | 'closing';

interface Socket {
  readonly fd: number;
  readonly path: number;
}

/** How often the streams are looked at while they settle; what DRBD's default for ping-timeout is. */
const SETTLE_STEP_MS = 500;
const KEEP_ALIVE_SECONDS = 23;
const KEEP_ALIVE_COUNT = 9;
const PRIORITY_DATA = 4;
const PRIORITY_META = 6;

export class Link implements Awaiting {
  readonly connection: number;
  /** When `expire` wants to be called. */
  deadline = Infinity;
  #phase: Phase = 'closed';
  #paths: readonly PathSetup[] = [];
  #options: Options = {};
  readonly #reactor: Reactor;
  readonly #host: LinkHost;
  readonly #listeners: Listeners;
  readonly #lock: boolean;
  #memory: LinkMemory | undefined;
  #senders: readonly StreamSender[] = [];
  #receivers: readonly StreamReceiver[] = [];
  /** By stream. */
  readonly #sockets: (Socket | undefined)[] = [undefined, undefined];
  #resolveConflicts = false;
  #listeningOn: string[] = [];
  #connecting: CallbackOperation | undefined;
  #connectDeadline = Infinity;
  #nextAttempt = Infinity;
  #nextPath = 0;
  /** When to look at the streams, and when they have been there for long enough. */
  #settleAt = Infinity;
  #settledAt = Infinity;
  /** Short operations (first packets, liveness checks) whose memory is still in use. */
  #pendingShort = 0;
  #isSilent = false;
  #end: LinkEnd = 'closed';
  #endDetail = '';
  #lastComplaint = '';
  #wantsSend = 0;
  #wantsReceive = false;

  constructor(reactor: Reactor, listeners: Listeners, host: LinkHost, connection: number, lock: boolean) {
    this.#reactor = reactor;
    this.#listeners = listeners;
    this.#host = host;
    this.connection = connection;
    this.#lock = lock;
  }

  setPaths(paths: readonly PathSetup[]): void {
    this.#paths = paths;
  }

  get isClosed(): boolean {
    return this.#phase === 'closed';
  }

  /** Number of the path that carries the streams, or -1. */
  get establishedPath(): number {
    return this.#phase === 'up' ? (this.#sockets[STREAM.Data]?.path ?? -1) : -1;
  }

  // Asked by the resource.

  /** @param options - of the connection, as in `show` */
  open(options: Options): void {
    if (this.#phase !== 'closed') throw new Error(`connection ${this.connection} is open already`);
    this.#options = options;
    this.#phase = 'connecting';
    this.#lastComplaint = '';
    this.#resolveConflicts = false;
    this.#end = 'closed';
    this.#endDetail = '';
    this.#listen();
    this.#attempt(0);
  }

  close(): void {
    this.#shutDown('closed', '');
  }

  /** Shuts down without telling the core, which has failed. */
  abort(): void {
    this.#isSilent = true;
    this.#shutDown('closed', '');
  }

  wantSend(stream: Stream): void {
    this.#wantsSend |= 1 << stream;
  }

  wantReceive(): void {
    this.#wantsReceive = true;
  }

  /** Memory was given back: a payload may have waited for it. */
  get awaitsMemoryFor(): number {
    return this.#phase === 'up' ? (this.#receivers[STREAM.Data]?.payloadSlot ?? -1) : -1;
  }

  /** Carries out what was wanted since the last call. */
  settle(): void {
    if (this.#phase !== 'up') {
      this.#wantsSend = 0;
      this.#wantsReceive = false;
      return;
    }
    if (this.#wantsReceive) {
      this.#wantsReceive = false;
      this.#receivers[STREAM.Data]!.pump();
    }
    if ((this.#wantsSend & 2) !== 0) this.#senders[STREAM.Meta]!.flush();
    if ((this.#wantsSend & 1) !== 0) this.#senders[STREAM.Data]!.flush();
    this.#wantsSend = 0;
  }

  /** Gives everything back; only when closed. */
  dispose(): void {
    if (this.#phase !== 'closed') throw new Error(`connection ${this.connection} is still open`);
    for (const sender of this.#senders) sender.close();
    for (const receiver of this.#receivers) receiver.close();
    this.#senders = [];
    this.#receivers = [];
    this.#memory?.close();
    this.#memory = undefined;
  }

  expire(now: number): void {
    if (this.#connectDeadline <= now) {
      this.#connectDeadline = Infinity;
      if (this.#connecting !== undefined) this.#reactor.cancel(this.#connecting);
    }
    if (this.#phase === 'settling' && this.#settleAt <= now) {
      this.#settleAt = Infinity;
      this.#checkAlive();
    }
    if (this.#phase === 'connecting' && this.#nextAttempt <= now) {
      this.#nextAttempt = Infinity;
      this.#connect();
    }
    this.#schedule();
  }

  // Told by the listener.

  expects(peerAddress: string): boolean {
    return (
      (this.#phase === 'connecting' || this.#phase === 'settling') &&
      this.#paths.some((path) => endpointText(socketAddress(path.remote)) === peerAddress)
    );
  }

  accepted(fd: number, stream: Stream, peerAddress: string): void {
    const path = this.#paths.findIndex((p) => endpointText(socketAddress(p.remote)) === peerAddress);
    if (path < 0) {
      closeFile(fd);
      return;
    }
    if (this.#sockets[stream] !== undefined) {
      this.#host.log('info', `initial packet ${stream === STREAM.Data ? 'S' : 'M'} crossed`);
      this.#drop(stream);
    }
    if (stream === STREAM.Meta) this.#resolveConflicts = true;
    this.#take({ fd, path }, stream);
    if (this.#phase === 'connecting') this.#attempt(0);
  }

  // Establishing.

  #number(name: string, fallback: number): number {
    const value = this.#options[name];
    return typeof value === 'number' ? value : fallback;
  }

  get #connectMs(): number {
    return this.#number('connect-int', 10) * 1000;
  }

  /** The time between two attempts varies by a seventh, so that two nodes do not run in step. */
  #retryMs(): number {
    return this.#connectMs * (1 + (Math.random() < 0.5 ? -1 : 1) / 7);
  }

  #listen(): void {
    for (const path of this.#paths) {
      const key = listenerKey(path.local);
      if (this.#listeningOn.includes(key)) continue;
      try {
        this.#listeners.listen(key, socketAddress(path.local), this);
        this.#listeningOn.push(key);
      } catch (error) {
        if (!(error instanceof ErrnoError)) throw error;
        this.#listeners.forget(key, this);
        this.#complain(`can not listen on ${describeEndpoint(path.local)}: ${errnoText(error.errno)}`);
      }
    }
  }

  #stopListening(): void {
    for (const key of this.#listeningOn) this.#listeners.forget(key, this);
    this.#listeningOn = [];
  }

  #attempt(afterMs: number): void {
    this.#nextAttempt = Math.min(this.#nextAttempt, this.#reactor.now + afterMs);
    this.#schedule();
  }

  /** The resource takes the deadline over when it settles. */
  #schedule(): void {
    this.#host.touched = true;
    this.deadline = Math.min(
      this.#connectDeadline,
      this.#phase === 'settling' ? this.#settleAt : Infinity,
      this.#phase === 'connecting' ? this.#nextAttempt : Infinity,
    );
  }

  #connect(): void {
    if (this.#connecting !== undefined || this.#paths.length === 0) return;
    this.#listen();
    const index = this.#nextPath % this.#paths.length;
    const path = this.#paths[index]!;
    const local = socketAddress(path.local, 0);
    const scratch = this.#reactor.scratch.acquire();
    let fd = -1;
    try {
      if (scratch < 0) throw new ErrnoError(ERRNO.ENOBUFS, 'connect');
      fd = openSocket(local.family);
      this.#setBuffers(fd);
      setSocketOption(fd, 'reuseAddress', true);
      bindSocket(fd, local);
    } catch (error) {
      if (!(error instanceof ErrnoError)) throw error;
      if (fd >= 0) closeFile(fd);
      if (scratch >= 0) this.#reactor.scratch.release(scratch);
      this.#complain(`can not connect from ${describeEndpoint(path.local)}: ${errnoText(error.errno)}`);
      this.#attempt(this.#retryMs());
      return;
    }
    const length = encodeAddressInto(this.#reactor.scratch.bytes, this.#reactor.scratch.slotOffset(scratch), socketAddress(path.remote));
    const operation = new CallbackOperation(this.#host, (result) => {
      this.#reactor.operations.unregister(operation);
      this.#reactor.scratch.release(scratch);
      this.#connecting = undefined;
      this.#connectDeadline = Infinity;
      this.#connected({ fd, path: index }, result);
    });
    this.#connecting = operation;
    this.#connectDeadline = this.#reactor.now + this.#connectMs;
    this.#reactor.operations.register(operation);
    const sqe = this.#reactor.begin(operation);
    this.#reactor.ring.prepConnect(sqe, fd, this.#reactor.scratch.slotAddress(scratch), length);
  }

  #connected(socket: Socket, result: number): void {
    if (this.#phase === 'closing') {
      closeFile(socket.fd);
      this.#finishClosing();
      return;
    }
    if (result < 0 || this.#phase !== 'connecting') {
      closeFile(socket.fd);
      if (this.#phase !== 'connecting') return;
      const path = this.#paths[socket.path];
      if (path !== undefined) this.#complain(`connect to ${describeEndpoint(path.remote)}: ${errnoText(result)}`);
      this.#nextPath++;
      this.#attempt(this.#nextPath % Math.max(1, this.#paths.length) === 0 ? this.#retryMs() : 0);
      return;
    }
    const path = this.#paths[socket.path]!;
    const preferred = opensDataFirst(path.local, path.remote) ? STREAM.Data : STREAM.Meta;
    const other = preferred === STREAM.Data ? STREAM.Meta : STREAM.Data;
    const stream = this.#sockets[preferred] === undefined ? preferred : this.#sockets[other] === undefined ? other : undefined;
    if (stream === undefined) {
      closeFile(socket.fd);
      return;
    }
    if (stream === STREAM.Meta) this.#resolveConflicts = false;
    this.#sendInitialPacket(socket.fd, stream);
    this.#take(socket, stream);
    if (this.#phase === 'connecting') this.#attempt(this.#retryMs());
  }

  #sendInitialPacket(fd: number, stream: Stream): void {
    const { scratch, ring } = this.#reactor;
    const slot = scratch.acquire();
    if (slot < 0) return;
    putInitialPacket(scratch.view, scratch.slotOffset(slot), stream);
    this.#short(
      (sqe) => ring.prepSend(sqe, fd, scratch.slotAddress(slot), INITIAL_PACKET_BYTES, MSG.WAITALL | MSG.NOSIGNAL),
      () => {
        // A failed send shows when the stream is checked.
        scratch.release(slot);
      },
    );
  }

  /** One operation that ends soon by itself. */
  #short(prepare: (sqe: number) => void, done: (result: number) => void): void {
    const operation = new CallbackOperation(this.#host, (result) => {
      this.#reactor.operations.unregister(operation);
      this.#pendingShort--;
      done(result);
      if (this.#phase === 'closing') this.#finishClosing();
    });
    this.#pendingShort++;
    this.#reactor.operations.register(operation);
    prepare(this.#reactor.begin(operation));
  }

  #take(socket: Socket, stream: Stream): void {
    this.#sockets[stream] = socket;
    const other = stream === STREAM.Data ? STREAM.Meta : STREAM.Data;
    const peer = this.#sockets[other];
    if (peer !== undefined && peer.path !== socket.path) {
      this.#host.log('info', 'initial paths crossed');
      this.#drop(other);
    }
    this.#phase = 'connecting';
    if (this.#sockets[STREAM.Data] === undefined || this.#sockets[STREAM.Meta] === undefined) return;
    this.#phase = 'settling';
    const { now } = this.#reactor;
    this.#settledAt = now + (this.#number('socket-check-timeout', 0) || this.#number('ping-timeout', 5)) * 100;
    this.#settleAt = Math.min(this.#settledAt, now + SETTLE_STEP_MS);
    this.#schedule();
  }

  #drop(stream: Stream): void {
    const socket = this.#sockets[stream];
    if (socket === undefined) return;
    this.#sockets[stream] = undefined;
    shut(socket.fd);
    closeFile(socket.fd);
  }

  /**
   * Looks at both streams without taking anything: end of file or an error means that the peer chose other sockets. One that has sent
   * something more has settled on these, and does not wait for long: its ping-timeout may be much shorter than ours.
   */
  #checkAlive(): void {
    const { now, scratch, ring } = this.#reactor;
    let left = 2;
    let hasSpoken = false;
    for (const stream of [STREAM.Data, STREAM.Meta]) {
      const socket = this.#sockets[stream]!;
      const slot = scratch.acquire();
      if (slot < 0) {
        this.#settleAt = this.#reactor.now + 100;
        return;
      }
      this.#short(
        (sqe) => ring.prepRecv(sqe, socket.fd, scratch.slotAddress(slot), 1, MSG.PEEK | MSG.DONTWAIT),
        (result) => {
          scratch.release(slot);
          left--;
          if (result > 0) hasSpoken = true;
          if (this.#phase === 'settling' && this.#sockets[stream] === socket && result <= 0 && result !== -ERRNO.EAGAIN) {
            this.#drop(stream);
            this.#phase = 'connecting';
            this.#settleAt = Infinity;
            this.#attempt(Math.random() * 500);
          }
          // A socket that was replaced meanwhile has set a new time to settle.
          if (left > 0 || this.#phase !== 'settling' || this.#settleAt !== Infinity) return;
          if (hasSpoken || this.#settledAt <= now) return this.#established();
          this.#settleAt = Math.min(this.#settledAt, now + SETTLE_STEP_MS);
          this.#schedule();
        },
      );
    }
  }

  #established(): void {
    const data = this.#sockets[STREAM.Data]!;
    const meta = this.#sockets[STREAM.Meta]!;
    this.#stopListening();
    this.#phase = 'up';
    this.#nextAttempt = Infinity;
    this.#schedule();
    this.#lastComplaint = '';
    if (this.#connecting !== undefined) this.#reactor.cancel(this.#connecting);
    this.#tune(data.fd, PRIORITY_DATA);
    this.#tune(meta.fd, PRIORITY_META);
    const streams = this.#streams();
    this.#host.touched = true;
    this.#host.core.linkUp(this.#reactor.now, this.connection, this.#resolveConflicts);
    for (const [stream, socket] of [data, meta].entries()) {
      streams.senders[stream]!.open(socket.fd);
      streams.receivers[stream]!.open(socket.fd);
    }
    this.#wantsSend = 3;
    this.#host.pathsChanged();
  }

  #streams(): { readonly senders: readonly StreamSender[]; readonly receivers: readonly StreamReceiver[] } {
    if (this.#memory === undefined) {
      const memory = new LinkMemory(this.#reactor.memory, this.#lock);
      this.#memory = memory;
      const events = (stream: Stream, isSending: boolean): StreamEvents => ({
        broken: (errno) => this.#broken(errno, isSending),
        idle: () => {
          this.#host.touched = true;
          this.wantSend(stream);
        },
      });
      const of = (stream: Stream) => (stream === STREAM.Data ? memory.data : memory.meta);
      const sender = (stream: Stream) =>
        new StreamSender(this.#reactor, this.#host, this.connection, stream, of(stream), events(stream, true));
      const receiver = (stream: Stream) =>
        new StreamReceiver(this.#reactor, this.#host, this.connection, stream, of(stream), events(stream, false));
      this.#senders = [sender(STREAM.Data), sender(STREAM.Meta)];
      this.#receivers = [receiver(STREAM.Data), receiver(STREAM.Meta)];
    }
    return { senders: this.#senders, receivers: this.#receivers };
  }

  #setBuffers(fd: number): void {
    const send = this.#number('sndbuf-size', 0);
    const receive = this.#number('rcvbuf-size', 0);
    if (send > 0) setSocketOption(fd, 'sendBuffer', Math.floor(send / 2));
    if (receive > 0) setSocketOption(fd, 'receiveBuffer', Math.floor(receive / 2));
  }

  #tune(fd: number, priority: number): void {
    try {
      this.#setBuffers(fd);
      setSocketOption(fd, 'noDelay', true);
      setSocketOption(fd, 'keepAlive', true);
      setSocketOption(fd, 'keepIdle', KEEP_ALIVE_SECONDS);
      setSocketOption(fd, 'keepInterval', KEEP_ALIVE_SECONDS);
      setSocketOption(fd, 'keepCount', KEEP_ALIVE_COUNT);
      setSocketOption(fd, 'priority', priority);
    } catch (error) {
      if (!(error instanceof ErrnoError)) throw error;
      this.#complain(error.message);
    }
  }

  // Taking down.

  #broken(errno: number, sending: boolean): void {
    if (this.#phase === 'closing') {
      this.#finishClosing();
      return;
    }
    if (errno === 0) this.#shutDown('closed', 'sock was shut down by peer');
    else {
      const end: LinkEnd = errno === ERRNO.ECONNRESET || errno === ERRNO.EPIPE ? 'broken-pipe' : 'network-failure';
      const detail =
        errno === ERRNO.ECONNRESET ? 'sock was reset by peer' : `${sending ? 'sendmsg' : 'recvmsg'} returned ${errnoName(errno)}`;
      this.#shutDown(end, detail);
    }
  }

  #shutDown(end: LinkEnd, detail: string): void {
    if (this.#phase === 'closed' || this.#phase === 'closing') return;
    const wasUp = this.#phase === 'up';
    this.#phase = 'closing';
    this.#end = end;
    this.#endDetail = detail;
    this.#nextAttempt = Infinity;
    this.#settleAt = Infinity;
    this.#schedule();
    this.#stopListening();
    if (this.#connecting !== undefined) this.#reactor.cancel(this.#connecting);
    for (const sender of this.#senders) sender.stop();
    for (const receiver of this.#receivers) receiver.stop();
    for (const socket of this.#sockets) if (socket !== undefined) shut(socket.fd);
    if (wasUp) this.#host.pathsChanged();
    this.#finishClosing();
  }

  /** Says linkDown once the kernel has given back everything. */
  #finishClosing(): void {
    if (this.#connecting !== undefined || this.#pendingShort > 0) return;
    for (const sender of this.#senders) if (sender.inFlight) return;
    for (const receiver of this.#receivers) if (receiver.inFlight) return;
    for (const sender of this.#senders) sender.abandon();
    for (const receiver of this.#receivers) receiver.abandon();
    for (const stream of [STREAM.Data, STREAM.Meta]) {
      const socket = this.#sockets[stream];
      if (socket !== undefined) closeFile(socket.fd);
      this.#sockets[stream] = undefined;
    }
    this.#phase = 'closed';
    this.#wantsSend = 0;
    this.#wantsReceive = false;
    this.#host.touched = true;
    if (!this.#isSilent) this.#host.core.linkDown(this.#reactor.now, this.connection, this.#end, this.#endDetail);
  }

  /** The same trouble at each retry is told once. */
  #complain(text: string): void {
    if (text === this.#lastComplaint) return;
    this.#lastComplaint = text;
    this.#host.log('info', text);
  }
}
