/** NBD clients that write, connect again when the server goes, and know what was acknowledged. */
import { randomBytes } from 'node:crypto';
import { ReconnectingClient } from '../../conformance/engine/reconnecting-client.js';

const WRITERS = 8;
const BLOCK = 4096;

export class Load {
  readonly #client: ReconnectingClient;
  readonly #blocks: number;
  readonly #acknowledged = new Map<number, Buffer>();
  readonly #running: Promise<void>[];
  #isStopping = false;
  #lastCompletion = performance.now();
  #longest = 0;

  static async start(socket: string, sizeMiB: number): Promise<Load> {
    return new Load(await ReconnectingClient.open(socket), (sizeMiB * 2 ** 20) / BLOCK);
  }

  private constructor(client: ReconnectingClient, blocks: number) {
    this.#client = client;
    this.#blocks = blocks;
    this.#running = Array.from({ length: WRITERS }, (_, writer) => this.#write(writer));
  }

  /** From now on. @returns tells, milliseconds, after another write has been completed */
  longestPause(): () => Promise<number> {
    this.#longest = 0;
    return async () => {
      const before = this.#lastCompletion;
      while (this.#lastCompletion === before) await new Promise((resolve) => setTimeout(resolve, 1));
      return this.#longest;
    };
  }

  /** @returns blocks that are not what was acknowledged */
  async stop(): Promise<number> {
    this.#isStopping = true;
    await Promise.all(this.#running);
    let wrong = 0;
    for (const [block, data] of this.#acknowledged) if (!(await this.#client.read(block * BLOCK, BLOCK)).equals(data)) wrong++;
    await this.#client.close();
    return wrong;
  }

  async #write(writer: number): Promise<void> {
    while (!this.#isStopping) {
      const block = Math.floor((Math.random() * this.#blocks) / WRITERS) * WRITERS + writer;
      const data = randomBytes(BLOCK);
      await this.#client.write(block * BLOCK, data);
      this.#acknowledged.set(block, data);
      const now = performance.now();
      this.#longest = Math.max(this.#longest, now - this.#lastCompletion);
      this.#lastCompletion = now;
    }
  }
}
