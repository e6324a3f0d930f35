/**
 * The asking side of the control language, over any transport.
 *
 * The engine is trusted (its socket belongs to root), so answers are matched by their id and not validated field by field.
 */
import { createLineDecoder, encodeLine, REPLY_LINE_MAX } from './ndjson.js';
import type { Notification } from './notifications.js';
import type { Command, Reply, RequestParameters } from './requests.js';

/** A two-way stream of text. `onText` and `onClose` are called by the host; `close` may be called more than once. */
export interface Transport {
  send(text: string): void;
  onText(listener: (text: string) => void): void;
  onClose(listener: () => void): void;
  close(): void;
}

/** Rejection of a request whose connection ended before the answer came. */
export class ConnectionClosed extends Error {
  override readonly name = 'ConnectionClosed';
  constructor() {
    super('the engine closed the connection');
  }
}

export interface ControlClient {
  /** @returns the engine's answer, whatever its code; rejects with ConnectionClosed only */
  request<C extends Exclude<Command, 'events'>>(command: C, parameters: RequestParameters[C]): Promise<Reply<C>>;
  /**
   * Asks for the initial state, and with `subscribe` for every change after it.
   * @returns a promise that settles when the stream ends: the answer that ended it, or ConnectionClosed. With `subscribe` an
   *   answer means that the engine refuses to go on: its `info` says why
   */
  events(parameters: RequestParameters['events'], listener: (event: Notification) => void): Promise<Reply<'events'>>;
  close(): void;
}

interface Waiter {
  resolve(reply: Reply): void;
  reject(error: Error): void;
  event?: (event: Notification) => void;
}

export function createClient(transport: Transport): ControlClient {
  const decoder = createLineDecoder(REPLY_LINE_MAX);
  const waiting = new Map<number, Waiter>();
  let lastId = 0;
  let closed = false;

  const end = () => {
    if (closed) return;
    closed = true;
    for (const waiter of waiting.values()) waiter.reject(new ConnectionClosed());
    waiting.clear();
  };

  const accept = (value: unknown): boolean => {
    if (typeof value !== 'object' || value === null) return false;
    const line = value as { id?: unknown; code?: unknown; info?: unknown; event?: unknown };
    if (typeof line.id !== 'number') return false;
    if (line.id === 0 && typeof line.code === 'number' && Array.isArray(line.info)) {
      // Not about one request: the engine does not talk to us any more.
      for (const waiter of waiting.values()) waiter.resolve(value as Reply);
      waiting.clear();
      return true;
    }
    const waiter = waiting.get(line.id);
    if (waiter === undefined) return true; // an answer nobody waits for any more
    if (line.event !== undefined) {
      try {
        waiter.event?.(line.event as Notification);
      } catch (error) {
        // Whoever reads it could not make sense of it: his stream is at its end, the program is not.
        waiting.delete(line.id);
        waiter.reject(error instanceof Error ? error : new Error(String(error)));
      }
      return true;
    }
    if (typeof line.code !== 'number' || !Array.isArray(line.info)) return false;
    waiting.delete(line.id);
    waiter.resolve(value as Reply);
    return true;
  };

  transport.onText((text) => {
    for (const line of decoder.push(text)) {
      if (closed) return;
      if (!line.ok || !accept(line.value)) {
        transport.close();
        end();
        return;
      }
    }
  });
  transport.onClose(end);

  const ask = (command: Command, parameters: object, event?: Waiter['event']): Promise<Reply> =>
    new Promise((resolve, reject) => {
      if (closed) {
        reject(new ConnectionClosed());
        return;
      }
      lastId += 1;
      waiting.set(lastId, event === undefined ? { resolve, reject } : { resolve, reject, event });
      transport.send(encodeLine({ id: lastId, command, ...parameters }));
    });

  return {
    request: (command, parameters) => ask(command, parameters) as Promise<Reply<typeof command>>,
    events: (parameters, listener) => ask('events', parameters, listener) as Promise<Reply<'events'>>,
    close() {
      transport.close();
      end();
    },
  };
}
