/** `<run dir>/proc/drbd`: the classic /proc/drbd as a regular file, rewritten when the state changes and while work goes on. */
import { mkdirSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';

/** Header as DRBD 8.4 prints it; the second line ends in a blank there too. */
export const PROC_HEADER = `version: 8.4.11 (api:1/proto:86-101)\nsrcversion: ${'UDRBD0100'.padEnd(24)} \n`;

const DEBOUNCE_MS = 20;
const ACTIVE_MS = 500;

export class ProcFile {
  readonly #path: string;
  readonly #text: () => Promise<{ readonly text: string; readonly isActive: boolean }>;
  readonly #failed: (error: unknown) => void;
  #timer: NodeJS.Timeout | undefined;
  #isWriting = false;
  #isWanted = false;
  #isClosed = false;
  #last = '';

  /** @param text - the present text, and whether it will change by itself */
  constructor(runDir: string, text: () => Promise<{ text: string; isActive: boolean }>, failed: (error: unknown) => void) {
    mkdirSync(`${runDir}/proc`, { recursive: true, mode: 0o755 });
    this.#path = `${runDir}/proc/drbd`;
    this.#text = text;
    this.#failed = failed;
    this.changed();
  }

  changed(): void {
    this.#schedule(DEBOUNCE_MS);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  #schedule(ms: number): void {
    if (this.#isClosed) return;
    if (this.#isWriting) {
      this.#isWanted = true;
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#isWriting = true;
      this.#write().then(
        (isActive) => this.#written(isActive),
        (error: unknown) => {
          this.#failed(error);
          this.#written(false);
        },
      );
    }, ms);
  }

  #written(isActive: boolean): void {
    this.#isWriting = false;
    if (this.#isWanted) {
      this.#isWanted = false;
      this.#schedule(DEBOUNCE_MS);
    } else if (isActive) this.#schedule(ACTIVE_MS);
  }

  async #write(): Promise<boolean> {
    const { text, isActive } = await this.#text();
    if (text !== this.#last && !this.#isClosed) {
      await writeFile(`${this.#path}.new`, text, { mode: 0o644 });
      await rename(`${this.#path}.new`, this.#path);
      this.#last = text;
    }
    return isActive;
  }
}
