/**
 * A volume as an NBD export on a Unix socket, `<run dir>/nbd/<minor>.sock`. The default export and `drbd<minor>` are the
 * volume; any number of clients may be connected. On a Secondary the export is read-only.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { bindSocket, closeFile, ErrnoError, errnoText, listenSocket, openSocket } from 'ublk-napi';
import { shut } from '../links/shut.js';
import type { NbdExport, NbdExports } from '../nbd/index.js';
import { CallbackOperation } from '../reactor/operations.js';
import { BLOCK_BYTES_MAX } from '../reactor/payload-memory.js';
import type { Reactor, Timed } from '../reactor/reactor.js';
import type { FrontEndHost } from './front-end.js';
import { NbdConnection, type NbdVolume } from './nbd-connection.js';

const BACKLOG = 64;

/** As long as this nobody is accepted after it has failed. */
const ACCEPT_PAUSE_MS = 1000;

export class NbdFrontEnd implements NbdVolume, Timed {
  readonly host: FrontEndHost;
  readonly volume: number;
  readonly exports: NbdExports;
  readonly path: string;
  writable = false;
  /** When to accept again after a failure. */
  deadline = Infinity;
  readonly #reactor: Reactor;
  readonly #lock: boolean;
  readonly #accept: CallbackOperation;
  readonly #connections: NbdConnection[] = [];
  readonly #slotConnection: (NbdConnection | undefined)[];
  readonly #slotRow: Int32Array;
  #sizeSectors = 0;
  #fd = -1;
  #stopped: (() => void) | undefined;

  constructor(reactor: Reactor, host: FrontEndHost, volume: number, minor: number, path: string, lock: boolean) {
    this.#reactor = reactor;
    this.host = host;
    this.volume = volume;
    this.path = path;
    this.#lock = lock;
    this.#slotConnection = new Array<NbdConnection | undefined>(host.core.requests.capacity).fill(undefined);
    this.#slotRow = new Int32Array(host.core.requests.capacity);
    const exported = this.#export(`drbd${minor}`);
    this.exports = {
      list: () => [exported],
      find: (name) => (name === '' || name === exported.name ? exported : undefined),
    };
    this.#accept = new CallbackOperation(host, (result) => this.#accepted(result));
  }

  get isOpen(): boolean {
    for (const connection of this.#connections) if (connection.isOpen) return true;
    return false;
  }

  get openForWriting(): boolean {
    for (const connection of this.#connections) if (connection.isWriter) return true;
    return false;
  }

  update(sizeSectors: number, writable: boolean): void {
    this.#sizeSectors = sizeSectors;
    this.writable = writable;
  }

  complete(slot: number, errno: number): void {
    const connection = this.#slotConnection[slot];
    this.#slotConnection[slot] = undefined;
    connection?.completed(slot, this.#slotRow[slot]!, errno);
  }

  resume(): void {
    for (const connection of [...this.#connections]) connection.resume();
  }

  settle(): void {
    for (let i = 0; i < this.#connections.length; i++) this.#connections[i]!.flush();
  }

  stop(stopped: () => void): void {
    this.#stopped = stopped;
    if (this.#fd >= 0) shut(this.#fd);
    for (const connection of [...this.#connections]) connection.close();
    this.#finishStop();
  }

  assign(slot: number, connection: NbdConnection, row: number): void {
    this.#slotConnection[slot] = connection;
    this.#slotRow[slot] = row;
  }

  closed(connection: NbdConnection): void {
    const at = this.#connections.indexOf(connection);
    if (at >= 0) this.#connections.splice(at, 1);
    this.host.openChanged();
    this.#finishStop();
  }

  #export(name: string): NbdExport {
    const front = this;
    return {
      name,
      description: '',
      get sizeBytes() {
        return front.#sizeSectors * 512;
      },
      get readOnly() {
        // What fails for another reason is not told to be forbidden.
        return !front.writable && !front.host.core.failIo;
      },
      get refusal() {
        return front.host.core.failIo ? 'demoted by force: other clients have to close first' : undefined;
      },
      rotational: false,
      canFlush: true,
      canFua: true,
      canTrim: true,
      canWriteZeroes: true,
      blockSize: { minimum: 512, preferred: 4096, maximum: BLOCK_BYTES_MAX },
    };
  }

  /** From now on clients are served. What an engine that was killed has left at the path is replaced. */
  listen(): void {
    if (this.#fd >= 0 || this.#stopped !== undefined) return;
    try {
      mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 });
      rmSync(this.path, { force: true });
      const fd = openSocket('unix');
      try {
        bindSocket(fd, { family: 'unix', path: this.path });
        listenSocket(fd, BACKLOG);
      } catch (error) {
        closeFile(fd);
        throw error;
      }
      this.#fd = fd;
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      this.host.log('err', `no NBD export at ${this.path}: ${error.message}`);
      return;
    }
    this.#reactor.operations.register(this.#accept);
    this.#reactor.addTimed(this);
    this.#arm();
  }

  #arm(): void {
    this.#reactor.ring.prepAccept(this.#reactor.begin(this.#accept), this.#fd);
  }

  expire(): void {
    this.deadline = Infinity;
    if (this.#stopped === undefined) this.#arm();
  }

  fail(error: unknown): void {
    this.host.fail(error);
  }

  #accepted(result: number): void {
    if (this.#stopped !== undefined) {
      if (result >= 0) closeFile(result);
      this.#finishStop();
      return;
    }
    if (result < 0) {
      // Without descriptors or memory: the client still waits, and would be refused again at once.
      this.host.log('warning', `accept on ${this.path}: ${errnoText(result)}`);
      this.deadline = this.#reactor.now + ACCEPT_PAUSE_MS;
      return;
    } else {
      try {
        const connection = new NbdConnection(this.#reactor, this, result, this.#lock);
        if (!connection.isFinished) this.#connections.push(connection);
      } catch (error) {
        if (!(error instanceof ErrnoError)) throw error;
        closeFile(result);
        this.host.log('warning', `NBD client refused: ${error.message}`);
      }
    }
    this.#arm();
  }

  #finishStop(): void {
    const stopped = this.#stopped;
    if (stopped === undefined || this.#accept.inFlight || this.#connections.length > 0) return;
    this.#stopped = undefined;
    if (this.#fd >= 0) {
      this.#reactor.operations.unregister(this.#accept);
      this.#reactor.removeTimed(this);
      closeFile(this.#fd);
      this.#fd = -1;
      rmSync(this.path, { force: true });
    }
    stopped();
  }
}
