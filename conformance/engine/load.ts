/** What is written while engines come and go, and what has to be there afterwards. */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ReconnectingClient } from './reconnecting-client.js';

const BLOCK = 4096;
const WRITERS = 12;
/** Blocks that the writers share; the append log lies behind them. */
const BLOCKS = 6144;

/** Writes random blocks for ever; every block belongs to one writer, so that writes to it are in order. */
export class Load {
  readonly acknowledged = new Map<number, Buffer>();
  records = 0;
  lastCompletion = 0;
  #isStopping = false;
  readonly #nbd: ReconnectingClient;
  readonly #running: Promise<void>[];

  constructor(nbd: ReconnectingClient) {
    this.#nbd = nbd;
    this.#running = [...Array.from({ length: WRITERS }, (_, writer) => this.#write(writer)), this.#append()];
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await Promise.all(this.#running);
  }

  /** The first completion after now. */
  async progress(): Promise<number> {
    const since = performance.now();
    while (this.lastCompletion < since) await sleep(1);
    return this.lastCompletion;
  }

  /** Blocks and records that are not what was acknowledged. */
  async wrong(): Promise<number> {
    let wrong = 0;
    for (const [block, data] of this.acknowledged) if (!(await this.#nbd.read(block * BLOCK, BLOCK)).equals(data)) wrong++;
    for (let n = 0; n < this.records; n++) if (!(await this.#nbd.read((BLOCKS + n) * BLOCK, BLOCK)).equals(record(n))) wrong++;
    return wrong;
  }

  async #write(writer: number): Promise<void> {
    while (!this.#isStopping) {
      const block = Math.floor((Math.random() * BLOCKS) / WRITERS) * WRITERS + writer;
      const data = randomBytes(BLOCK);
      await this.#nbd.write(block * BLOCK, data);
      this.acknowledged.set(block, data);
      this.lastCompletion = performance.now();
    }
  }

  /** A log whose records count once they were flushed. */
  async #append(): Promise<void> {
    while (!this.#isStopping && BLOCKS + this.records < this.#nbd.sizeBytes / BLOCK - 1) {
      await this.#nbd.write((BLOCKS + this.records) * BLOCK, record(this.records));
      await this.#nbd.flush();
      this.records++;
    }
  }
}

function record(number: number): Buffer {
  const bytes = Buffer.alloc(BLOCK, number & 0xff);
  bytes.writeUInt32BE(number);
  return bytes;
}
