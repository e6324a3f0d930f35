/** An NBD client that connects again when the server is gone and repeats what was not answered, as `nbd-client -persist` and qemu do. */
import { setTimeout as sleep } from 'node:timers/promises';
import { NbdClient } from './nbd-client.js';

const RETRY_MS = 5;

export class ReconnectingClient {
  readonly #path: string;
  readonly #first: NbdClient;
  #client: Promise<NbdClient>;
  #isClosed = false;
  /** Connections made. */
  connections = 1;

  static async open(path: string): Promise<ReconnectingClient> {
    return new ReconnectingClient(path, await NbdClient.open(path));
  }

  private constructor(path: string, first: NbdClient) {
    this.#path = path;
    this.#first = first;
    this.#client = Promise.resolve(first);
  }

  get sizeBytes(): number {
    return this.#first.sizeBytes;
  }

  write(offset: number, data: Buffer): Promise<void> {
    return this.#persist((client) => client.write(offset, data));
  }

  read(offset: number, length: number): Promise<Buffer> {
    return this.#persist((client) => client.read(offset, length));
  }

  flush(): Promise<void> {
    return this.#persist((client) => client.flush());
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await (await this.#client).close();
  }

  /** For good; what is under way is rejected. */
  destroy(): void {
    this.#isClosed = true;
    void this.#client.then(
      (client) => client.destroy(),
      () => undefined,
    );
  }

  async #persist<T>(work: (client: NbdClient) => Promise<T>): Promise<T> {
    for (;;) {
      const current = this.#client;
      const client = await current;
      try {
        return await work(client);
      } catch (error) {
        // An answer is an answer.
        if (this.#isClosed || (error as { nbdError?: number }).nbdError !== undefined) throw error;
        if (this.#client === current) {
          this.#client = this.#again(client);
          // Whoever waits for it hears of it; nobody may.
          this.#client.catch(() => undefined);
        }
      }
    }
  }

  async #again(old: NbdClient): Promise<NbdClient> {
    old.destroy();
    for (;;) {
      if (this.#isClosed) throw new Error('closed');
      const client = await NbdClient.open(this.#path).catch(() => undefined);
      if (client === undefined) {
        await sleep(RETRY_MS);
        continue;
      }
      this.connections++;
      if (client.sizeBytes !== this.#first.sizeBytes || client.isReadOnly !== this.#first.isReadOnly) {
        client.destroy();
        throw Object.assign(new Error('the export is not what it was'), { nbdError: -1 });
      }
      return client;
    }
  }
}
