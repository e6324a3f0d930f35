/** The control socket: lines of JSON in, answers and events out. Nothing a client sends makes it throw. */
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { encodeLine, type Notification, RETURN_CODES, type Reply, type Request } from '@udrbd/control';
import { parseRequest } from '@udrbd/control/schemas';
import { getPeerCredentials } from 'ublk-napi';
import { CONNECTION_LIMITS, type ConnectionLimits, ControlConnection } from './control-connection.js';
import type { Log } from './log.js';

/** Longest path of a Unix socket; Node would cut a longer one. */
const SOCKET_PATH_BYTES_MAX = 107;

/**
 * The engine's disks and links need descriptors too. For a client beyond these the one that has been idle for longest is let go; without
 * an idle one the client is turned away.
 */
const CLIENTS_MAX = 4096;
/** Clients that are being let go, and have not gone yet. */
const LEAVING_MAX = 256;

export interface ControlHandler {
  handle(request: Request): Promise<Reply>;
  /** Brings the counters in `present` up to date. */
  refresh(): Promise<void>;
  /** Everything there is, exactly as subscribers know it by now. */
  present(): readonly Notification[];
  /** @returns how to end the subscription */
  subscribe(listener: (batch: readonly Notification[]) => void): () => void;
}

export interface ControlServerOptions {
  readonly limits?: Partial<ConnectionLimits>;
  /** User id of who connected. */
  readonly uidOf?: (socket: Socket) => number;
  readonly clientsMax?: number;
}

interface Subscription {
  readonly connection: ControlConnection;
  readonly id: number;
}

export class ControlServer {
  readonly #handler: ControlHandler;
  readonly #log: Log;
  readonly #server: Server;
  /** In the order in which they came, with what they are subscribed to. */
  readonly #connections = new Map<ControlConnection, readonly Subscription[]>();
  readonly #subscriptions = new Set<Subscription>();
  readonly #limits: ConnectionLimits;
  readonly #uidOf: (socket: Socket) => number;
  readonly #path: string;
  readonly #clientsMax: number;
  #unsubscribe: (() => void) | undefined;

  constructor(path: string, handler: ControlHandler, log: Log, options: ControlServerOptions = {}) {
    this.#path = path;
    this.#handler = handler;
    this.#log = log;
    this.#limits = { ...CONNECTION_LIMITS, ...options.limits };
    this.#uidOf = options.uidOf ?? connectedUid;
    // A client that has sent its last request may still want the answers.
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket));
    this.#clientsMax = options.clientsMax ?? CLIENTS_MAX;
    this.#server.maxConnections = this.#clientsMax + LEAVING_MAX;
  }

  /** The caller holds the instance lock, so a socket file that is there is a stale one. */
  listen(): Promise<void> {
    if (Buffer.byteLength(this.#path) > SOCKET_PATH_BYTES_MAX) {
      return Promise.reject(new Error(`${this.#path}: too long for a socket, at most ${SOCKET_PATH_BYTES_MAX} bytes`));
    }
    rmSync(this.#path, { force: true });
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      const umask = process.umask(0o177);
      // A burst of clients longer than the queue would be refused rather than kept waiting.
      this.#server.listen({ path: this.#path, backlog: CLIENTS_MAX }, () => {
        chmodSync(this.#path, 0o600);
        this.#server.removeListener('error', reject);
        this.#server.on('error', (error) => this.#log('err', `control socket: ${error.message}`));
        resolve();
      });
      // Bound by now: nobody but root could connect at any moment.
      process.umask(umask);
    });
  }

  /** Waits until answers under way have been written. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const connection of this.#connections.keys()) connection.close();
    setTimeout(() => {
      for (const connection of this.#connections.keys()) connection.destroy();
    }, 500).unref();
    await closed;
    rmSync(this.#path, { force: true });
  }

  #serve(socket: Socket): void {
    const subscriptions: Subscription[] = [];
    const connection = new ControlConnection(
      socket,
      this.#limits,
      (value) => this.#accept(connection, value, subscriptions),
      () => {
        this.#connections.delete(connection);
        for (const subscription of subscriptions) this.#end(subscription);
      },
    );
    this.#connections.set(connection, subscriptions);
    if (this.#connections.size > this.#clientsMax) this.#makeRoom(connection);
    const uid = this.#uidOf(socket);
    if (uid !== 0 && uid !== process.geteuid!()) {
      this.#log('warning', `control socket: user ${uid} was turned away`);
      connection.refuse(0, 'only root may talk to the engine', RETURN_CODES.ERR_PERM.code);
    }
  }

  #makeRoom(latest: ControlConnection): void {
    let present = 0;
    let idle: ControlConnection | undefined;
    for (const [connection, subscriptions] of this.#connections) {
      if (!connection.isOpen) continue;
      present += 1;
      if (connection.isIdle && subscriptions.length === 0) idle ??= connection;
    }
    if (present > this.#clientsMax) (idle ?? latest).refuse(0, 'too many clients');
  }

  #accept(connection: ControlConnection, value: unknown, subscriptions: Subscription[]): Promise<void> | undefined {
    const parsed = parseRequest(value);
    if (!parsed.ok) {
      connection.answer(encodeLine(parsed.reply));
      return undefined;
    }
    const { request } = parsed;
    return (request.command === 'events' ? this.#events(connection, request, subscriptions) : this.#answer(connection, request)).catch(
      (error: unknown) => {
        this.#log('err', `internal error in ${request.command}: ${error instanceof Error ? error.stack : String(error)}`);
        const info = ['internal error, see the log of the engine'];
        connection.answer(encodeLine({ id: request.id, code: RETURN_CODES.ERR_INVALID_REQUEST.code, info }));
      },
    );
  }

  async #answer(connection: ControlConnection, request: Request): Promise<void> {
    connection.answer(encodeLine(await this.#handler.handle(request)));
  }

  async #events(connection: ControlConnection, { id, subscribe }: Request & { command: 'events' }, list: Subscription[]): Promise<void> {
    await this.#handler.refresh();
    if (!connection.isOpen) return;
    // Nothing can happen between the state and the subscription: what is told next is what changes in this state.
    connection.answer(encodeEvents(id, [...this.#handler.present(), { action: 'exists', kind: '-' }]));
    if (!subscribe) {
      connection.answer(encodeLine({ id, code: RETURN_CODES.NO_ERROR.code, info: [] }));
      return;
    }
    const subscription = { connection, id };
    list.push(subscription);
    this.#subscriptions.add(subscription);
    this.#unsubscribe ??= this.#handler.subscribe((batch) => this.#tell(batch));
  }

  #end(subscription: Subscription): void {
    this.#subscriptions.delete(subscription);
    if (this.#subscriptions.size > 0) return;
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
  }

  /** A batch is encoded once, however many read it: nearly all of them use the same id. */
  #tell(batch: readonly Notification[]): void {
    const encoded = new Map<number, Buffer>();
    for (const { connection, id } of this.#subscriptions) {
      let lines = encoded.get(id);
      if (lines === undefined) {
        lines = encodeEvents(id, batch);
        encoded.set(id, lines);
      }
      connection.tell(lines);
    }
  }
}

const encodeEvents = (id: number, events: readonly Notification[]): Buffer =>
  Buffer.from(events.map((event) => encodeLine({ id, event })).join(''));

/** @throws ErrnoError, which the caller must not survive with a connection */
function connectedUid(socket: Socket): number {
  // Node has no name for the descriptor of a socket.
  const { fd } = (socket as unknown as { readonly _handle: { readonly fd: number } })._handle;
  return getPeerCredentials(fd).uid;
}
