/**
 * The journal of what is configured, `<run dir>/journal.json`: enough for a restarted engine to set everything up again.
 * Rewritten as a whole after each change and renamed into place, so a reader sees the old text or the new one.
 */
import { rename, rm, writeFile } from 'node:fs/promises';
import type { Endpoint } from '@udrbd/control';
import type { Options } from '@udrbd/replication';

export const JOURNAL_VERSION = 1;

export interface JournalResource {
  readonly name: string;
  readonly nodeId: number;
  readonly drbd8Compat: boolean;
  readonly options: Options;
  readonly volumes: readonly {
    readonly volume: number;
    readonly minor: number;
    readonly options: Options;
    readonly disk: null | { readonly backingDev: string; readonly metaDev: string; readonly metaIndex: number; readonly options: Options };
  }[];
  readonly connections: readonly {
    readonly peerNodeId: number;
    readonly options: Options;
    readonly paths: readonly { readonly local: Endpoint; readonly remote: Endpoint }[];
    /** Wants to be connected. */
    readonly connect: boolean;
  }[];
  readonly primary: boolean;
}

export interface Journal {
  readonly version: typeof JOURNAL_VERSION;
  readonly pid: number;
  readonly resources: readonly JournalResource[];
}

export class JournalFile {
  readonly #path: string;
  #writing: Promise<void> = Promise.resolve();
  #next: string | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** Writes the journal; of several in a row only the last one is certain to be written. */
  write(journal: Journal): Promise<void> {
    const isIdle = this.#next === undefined;
    this.#next = `${JSON.stringify(journal, undefined, 1)}\n`;
    if (isIdle) this.#writing = this.#writing.then(() => this.#flush());
    return this.#writing;
  }

  async remove(): Promise<void> {
    await this.#writing;
    await rm(this.#path, { force: true });
  }

  async #flush(): Promise<void> {
    const text = this.#next ?? '';
    this.#next = undefined;
    const temporary = `${this.#path}.new`;
    await writeFile(temporary, text, { mode: 0o600, flush: true });
    await rename(temporary, this.#path);
  }
}
