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
  /** What the file says. */
  #written: string | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** Writes the journal; of several in a row only the last one is certain to be written. */
  write(journal: Journal): Promise<void> {
    const isIdle = this.#next === undefined;
    const text = `${JSON.stringify(journal, undefined, 1)}\n`;
    // Most operations change states, not what is configured.
    if (isIdle && text === this.#written) return this.#writing;
    this.#next = text;
    // A write that failed (a full disk) does not keep the next one from being tried.
    if (isIdle) this.#writing = this.#writing.catch(() => undefined).then(() => this.#flush());
    return this.#writing;
  }

  async remove(): Promise<void> {
    await this.#writing.catch(() => undefined);
    this.#written = undefined;
    await rm(this.#path, { force: true });
  }

  async #flush(): Promise<void> {
    const text = this.#next ?? '';
    this.#next = undefined;
    this.#written = undefined;
    const temporary = `${this.#path}.new`;
    await writeFile(temporary, text, { mode: 0o600, flush: true });
    await rename(temporary, this.#path);
    this.#written = text;
  }
}
