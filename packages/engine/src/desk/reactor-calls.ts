/** What is sent to the reactor, and the answers that belong to it. */
import type { Outcome } from '@udrbd/control';
import type { ControlRequest } from '@udrbd/replication';
import type { DeskMessage, HostSnapshot, ReactorMessage } from '../reactor/messages.js';
import type { ReactorPort } from './reactor-thread.js';
import type { ResourceEntry } from './resource-entry.js';

/** The answer to an operation: warnings of a success, or a refusal. */
export type Answer = Outcome<readonly string[]>;

export class ReactorCalls {
  readonly #waiting = new Map<number, (message: ReactorMessage) => void>();
  #port: ReactorPort | undefined;
  #lastOperation = 0;

  /** The reactor that hosts the resources. */
  use(port: ReactorPort): void {
    this.#port = port;
  }

  post(message: DeskMessage): void {
    if (this.#port === undefined) throw new Error('no reactor');
    this.#port.post(message);
  }

  control(entry: ResourceEntry, request: ControlRequest): Promise<Answer> {
    return this.ask((operation) => ({ type: 'control', host: entry.host, operation, request }));
  }

  async ask(message: (operation: number) => DeskMessage): Promise<Answer> {
    const answer = await this.#exchange(message);
    if (answer.type !== 'reply') throw new Error(`unexpected ${answer.type}`);
    return answer.error === undefined ? { ok: true, value: answer.info ?? [] } : { ok: false, error: answer.error };
  }

  /** @returns undefined when the reactor does not know the resource (any more) */
  async snapshot(entry: ResourceEntry): Promise<HostSnapshot | undefined> {
    const answer = await this.#exchange((operation) => ({ type: 'snapshot', host: entry.host, operation }));
    return answer.type === 'snapshot' ? answer.snapshot : undefined;
  }

  answered(message: ReactorMessage & { type: 'reply' | 'snapshot' }): void {
    const done = this.#waiting.get(message.operation);
    this.#waiting.delete(message.operation);
    done?.(message);
  }

  #exchange(message: (operation: number) => DeskMessage): Promise<ReactorMessage> {
    this.#lastOperation += 1;
    const operation = this.#lastOperation;
    return new Promise((resolve) => {
      this.#waiting.set(operation, resolve);
      this.post(message(operation));
    });
  }
}
