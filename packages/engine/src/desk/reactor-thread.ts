/** A reactor's worker thread as the front desk sees it: messages in, messages out. */
import { existsSync } from 'node:fs';
import { MessageChannel, Worker } from 'node:worker_threads';
import { EventFd } from 'ublk-napi';
import type { DeskMessage, ReactorMessage } from '../reactor/messages.js';
import type { ReactorServiceOptions } from '../reactor/reactor-service.js';
import type { ReactorWorkerData } from '../reactor-worker.js';

/** The young generation of a reactor's heap: control-plane garbage is collected rarely and quickly. */
const YOUNG_GENERATION_MB = 16;

export interface ReactorPort {
  post(message: DeskMessage): void;
}

export class ReactorThread implements ReactorPort {
  readonly #worker: Worker;
  readonly #eventfd: EventFd;
  readonly #port: MessagePort;
  readonly ready: Promise<void>;
  readonly ended: Promise<void>;

  /** @param died - the thread ended with an error, which is a bug of the engine */
  constructor(options: ReactorServiceOptions, onMessage: (message: ReactorMessage) => void, died: (error: Error) => void) {
    const { port1, port2 } = new MessageChannel();
    this.#eventfd = EventFd.create();
    this.#port = port1;
    const workerData: ReactorWorkerData = { ...options, port: port2, eventfd: this.#eventfd.fd };
    this.#worker = new Worker(workerUrl(), {
      workerData,
      transferList: [port2],
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    });
    let resolveReady: () => void = () => undefined;
    let rejectReady: (error: Error) => void = () => undefined;
    this.ready = new Promise((resolve, reject) => {
      resolveReady = resolve;
      rejectReady = reject;
    });
    port1.on('message', (message: ReactorMessage) => {
      if (message.type === 'ready') resolveReady();
      else onMessage(message);
    });
    this.#worker.on('error', (error) => {
      const reason = error instanceof Error ? error : new Error(String(error));
      rejectReady(reason);
      died(reason);
    });
    this.ended = new Promise((resolve) => this.#worker.on('exit', () => resolve()));
  }

  post(message: DeskMessage): void {
    this.#port.postMessage(message);
    this.#eventfd.signal();
  }

  async stop(): Promise<void> {
    this.post({ type: 'stop' });
    await this.ended;
    this.#port.close();
    this.#eventfd.close();
  }
}

type MessagePort = MessageChannel['port1'];

/** Beside the bundle, or one folder above a bundle's chunk, or the source itself. */
function workerUrl(): URL {
  for (const place of ['./reactor-worker.js', '../reactor-worker.js', '../reactor-worker.ts']) {
    const url = new URL(place, import.meta.url);
    if (existsSync(url)) return url;
  }
  throw new Error('reactor-worker.js is missing beside the engine');
}
