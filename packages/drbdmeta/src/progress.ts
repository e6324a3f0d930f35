// One line that says how far long work is; on a terminal only, so that scripts and logs never see it.

import type { CommandIo } from './command-io.js';
import type { Options } from './command-line.js';

const FIRST_AFTER_MS = 500;
const EVERY_MS = 200;

export class Progress {
  readonly #io: CommandIo;
  readonly #title: string;
  readonly #isShown: boolean;
  readonly #now: () => number;
  #next: number;
  #width = 0;

  /** @param title - what is going on, in a word or two */
  constructor(io: CommandIo, options: Options, title: string, now: () => number = Date.now) {
    this.#io = io;
    this.#title = title;
    this.#isShown = io.stderrIsTty === true && !options.quiet;
    this.#now = now;
    this.#next = now() + FIRST_AFTER_MS;
  }

  /** `done` of `total`; short work never shows. */
  at(done: number, total: number): void {
    if (!this.#isShown || this.#now() < this.#next) return;
    this.#next = this.#now() + EVERY_MS;
    const text = `${this.#title}: ${Math.floor((done * 100) / Math.max(1, total))}%`;
    this.#io.stderr(`\r${text}`);
    this.#width = text.length;
  }

  /** Takes the line away again. */
  end(): void {
    if (this.#width > 0) this.#io.stderr(`\r${' '.repeat(this.#width)}\r`);
    this.#width = 0;
  }
}
