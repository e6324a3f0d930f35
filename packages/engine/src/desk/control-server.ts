/** The control socket: lines of JSON in, answers and events out. Nothing a client sends makes it throw. */
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { StringDecoder } from 'node:string_decoder';
import { createLineDecoder, encodeLine, type Notification, REQUEST_LINE_MAX, RETURN_CODES, type Reply, type Request } from '@udrbd/control';
import { parseRequest } from '@udrbd/control/schemas';
import type { Log } from './log.js';

/** A subscriber that lets this much pile up is disconnected. */
const BACKLOG_BYTES_MAX = 64 << 20;

/** Longest path of a Unix socket; Node would cut a longer one. */
const SOCKET_PATH_BYTES_MAX = 107;

export interface ControlHandler {
  handle(request: Request): Promise<Reply>;
  /** The present state as notifications. */
  initialState(): Promise<readonly Notification[]>;
  /** @returns how to end the subscription */
  subscribe(listener: (notification: Notification) => void): () => void;
}

export class ControlServer {
  readonly #handler: ControlHandler;
  readonly #log: Log;
  readonly #server: Server;
  readonly #clients = new Set<Socket>();
  readonly #path: string;

  constructor(path: string, handler: ControlHandler, log: Log) {
    this.#path = path;
    this.#handler = handler;
    this.#log = log;
    this.#server = createServer((socket) => this.#serve(socket));
  }

  /** The caller holds the instance lock, so a socket file that is there is a stale one. */
  listen(): Promise<void> {
    if (Buffer.byteLength(this.#path) > SOCKET_PATH_BYTES_MAX) {
      return Promise.reject(new Error(`${this.#path}: too long for a socket, at most ${SOCKET_PATH_BYTES_MAX} bytes`));
    }
    rmSync(this.#path, { force: true });
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.#path, () => {
        chmodSync(this.#path, 0o600);
        this.#server.removeListener('error', reject);
        this.#server.on('error', (error) => this.#log('err', `control socket: ${error.message}`));
        resolve();
      });
    });
  }

  /** Waits until answers under way have been written. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#clients) socket.end();
    setTimeout(() => {
      for (const socket of this.#clients) socket.destroy();
    }, 500).unref();
    await closed;
    rmSync(this.#path, { force: true });
  }

  #serve(socket: Socket): void {
    const text = new StringDecoder('utf8');
    const lines = createLineDecoder(REQUEST_LINE_MAX);
    const endings: (() => void)[] = [];
    this.#clients.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#clients.delete(socket);
      for (const end of endings) end();
    });
    socket.on('data', (bytes) => {
      for (const line of lines.push(text.write(bytes))) {
        if (!line.ok) {
          send(socket, refusal(0, line.error === 'not-json' ? 'not a line of JSON' : 'line too long'));
          socket.end();
          return;
        }
        const parsed = parseRequest(line.value);
        if (!parsed.ok) send(socket, parsed.reply);
        else if (parsed.request.command === 'events') this.#events(socket, parsed.request, endings);
        else this.#answer(socket, parsed.request);
      }
    });
  }

  #answer(socket: Socket, request: Request): void {
    this.#handler.handle(request).then(
      (reply) => send(socket, reply),
      (error: unknown) => {
        this.#log('err', `internal error in ${request.command}: ${error instanceof Error ? error.stack : String(error)}`);
        send(socket, refusal(request.id, 'internal error, see the log of the engine'));
      },
    );
  }

  #events(socket: Socket, request: Request & { command: 'events' }, endings: (() => void)[]): void {
    const { id } = request;
    const tell = (event: Notification) => {
      if (socket.writableLength > BACKLOG_BYTES_MAX) socket.destroy();
      else if (!socket.destroyed) socket.write(encodeLine({ id, event }));
    };
    // Subscribed before the state is read, so nothing is lost; what comes meanwhile is told after it.
    let waiting: Notification[] | undefined = [];
    if (request.subscribe) {
      endings.push(
        this.#handler.subscribe((event) => {
          if (waiting === undefined) tell(event);
          else waiting.push(event);
        }),
      );
    }
    this.#handler.initialState().then(
      (state) => {
        for (const event of state) tell(event);
        tell({ action: 'exists', kind: '-' });
        for (const event of waiting ?? []) tell(event);
        waiting = undefined;
        if (!request.subscribe) send(socket, { id, code: RETURN_CODES.NO_ERROR.code, info: [] });
      },
      (error: unknown) => {
        this.#log('err', `internal error in events: ${error instanceof Error ? error.stack : String(error)}`);
        socket.destroy();
      },
    );
  }
}

const refusal = (id: number, info: string): Reply => ({ id, code: RETURN_CODES.ERR_INVALID_REQUEST.code, info: [info] });

function send(socket: Socket, reply: Reply): void {
  if (!socket.destroyed && socket.writable) socket.write(encodeLine(reply));
}
