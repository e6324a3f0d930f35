/**
 * The journal of what is configured, `<run dir>/journal.json`: enough for the next engine to set everything up again when this one is
 * killed. Rewritten as a whole after each change and renamed into place, so a reader sees the old text or the new one. It holds shared
 * secrets: root alone may read it.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import type { Endpoint } from '@udrbd/control';
import type { Options } from '@udrbd/replication';
import { ENGINE_VERSION } from '../version.js';
import type { Log } from './log.js';

/** Raised when an older engine would set something up in a wrong way. */
export const JOURNAL_VERSION = 3;
/** The oldest one that is still read; it says nothing of I/O that fails. */
export const OLDEST_JOURNAL_VERSION = 2;

export interface JournalPeerDevice {
  readonly volume: number;
  readonly options: Options;
  /** pause-sync was said. */
  readonly resyncPaused: boolean;
}

export interface JournalConnection {
  readonly peerNodeId: number;
  readonly options: Options;
  readonly paths: readonly { readonly local: Endpoint; readonly remote: Endpoint }[];
  readonly peerDevices: readonly JournalPeerDevice[];
  /** Wants to be connected. */
  readonly connect: boolean;
}

export interface JournalDisk {
  readonly backingDev: string;
  readonly metaDev: string;
  readonly metaIndex: number;
  readonly options: Options;
}

export interface JournalResource {
  readonly name: string;
  readonly nodeId: number;
  readonly drbd8Compat: boolean;
  readonly options: Options;
  readonly volumes: readonly {
    readonly volume: number;
    readonly minor: number;
    readonly options: Options;
    readonly disk: null | JournalDisk;
  }[];
  readonly connections: readonly JournalConnection[];
  readonly primary: boolean;
  /** suspend-io was said. */
  readonly ioSuspended: boolean;
  /** Demoted by force while somebody had it open, and has it still: its I/O fails. */
  readonly failIo: boolean;
}

export interface Journal {
  /** {@link JOURNAL_VERSION}, once it has been judged. */
  readonly version: number;
  /** Of the kernel that runs: what was written before a reboot is history. */
  readonly bootId: string;
  readonly pid: number;
  readonly resources: readonly JournalResource[];
  /** Of the engine that wrote it, over all the rest: see {@link isSealed}. */
  readonly seal?: string;
}

const sealOf = ({ seal: _, ...rest }: Journal): string =>
  createHash('sha256')
    .update(`${ENGINE_VERSION}\n${JSON.stringify(rest)}`)
    .digest('hex');

/**
 * The journal is as an engine of this version wrote it: what it asks for was judged when it was asked for first. No protection against
 * somebody who wants to get through, who would be root.
 */
export const isSealed = (journal: Journal): boolean => journal.seal === sealOf(journal);

/** Differs after each boot. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

/** The journal is of an engine that this one does not understand. */
export class NewerJournal extends Error {
  override readonly name = 'NewerJournal';
}

/**
 * What an earlier engine left, or undefined when there is nothing that counts: none, one from before a reboot, or a damaged one, which
 * is moved aside.
 * @throws NewerJournal: to go on without it would throw it away
 */
export function readJournal(path: string, log: Log): Journal | undefined {
  if (!existsSync(path)) return undefined;
  const journal = parseJournal(readFileSync(path, 'utf8'));
  if (journal === undefined) {
    log('err', `journal: ${path} is damaged and was renamed to ${path}.damaged; nothing is set up`);
    renameSync(path, `${path}.damaged`);
    return undefined;
  }
  const { version } = journal;
  if (version > JOURNAL_VERSION) {
    throw new NewerJournal(
      `${path} was written by a newer engine (version ${version}, this engine knows ${JOURNAL_VERSION}): start that one, or take all resources down with it`,
    );
  }
  if (version >= OLDEST_JOURNAL_VERSION && journal.bootId === bootId()) return journal;
  // From before a reboot, or of version 1, which nobody ever read.
  rmSync(path);
  return undefined;
}

/** @returns undefined for what no engine wrote; of a journal that is not read only the version is looked at */
export function parseJournal(text: string): Journal | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isObject(value) || typeof value.version !== 'number') return undefined;
  const { version } = value;
  if (version < OLDEST_JOURNAL_VERSION || version > JOURNAL_VERSION) return value as unknown as Journal;
  const complete = { ...value, resources: version === OLDEST_JOURNAL_VERSION ? withoutFailingIo(value.resources) : value.resources };
  return isJournal(complete) ? (complete as unknown as Journal) : undefined;
}

const withoutFailingIo = (resources: unknown): unknown =>
  Array.isArray(resources)
    ? resources.map((resource: unknown) => (isObject(resource) ? { ...resource, failIo: false } : resource))
    : resources;

type Check = (value: unknown) => boolean;
const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isNumber: Check = (value) => typeof value === 'number';
const isText: Check = (value) => typeof value === 'string';
const isFlag: Check = (value) => typeof value === 'boolean';
const listOf =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(check);
const objectOf =
  (fields: Readonly<Record<string, Check>>): Check =>
  (value) =>
    isObject(value) && Object.entries(fields).every(([name, check]) => Object.hasOwn(value, name) && check(value[name]));

const isDisk = objectOf({ backingDev: isText, metaDev: isText, metaIndex: isNumber, options: isObject });
/** The form only: whether it makes sense is judged when it is set up, request by request. */
const isJournal = objectOf({
  bootId: isText,
  pid: isNumber,
  resources: listOf(
    objectOf({
      name: isText,
      nodeId: isNumber,
      drbd8Compat: isFlag,
      options: isObject,
      volumes: listOf(objectOf({ volume: isNumber, minor: isNumber, options: isObject, disk: (disk) => disk === null || isDisk(disk) })),
      connections: listOf(
        objectOf({
          peerNodeId: isNumber,
          options: isObject,
          paths: listOf(objectOf({ local: isObject, remote: isObject })),
          peerDevices: listOf(objectOf({ volume: isNumber, options: isObject, resyncPaused: isFlag })),
          connect: isFlag,
        }),
      ),
      primary: isFlag,
      ioSuspended: isFlag,
      failIo: isFlag,
    }),
  ),
});

/** How often a journal that could not be written is tried again. */
const RETRY_MS = 1000;

export class JournalFile {
  readonly path: string;
  readonly #recovered: () => void;
  #retry: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #next: string | undefined;
  /** What the file says. */
  #written: string | undefined;

  /** @param recovered - told when a journal that could not be written stands in the file after all */
  constructor(path: string, recovered: () => void = () => undefined) {
    this.path = path;
    this.#recovered = recovered;
  }

  /** Writes the journal; of several in a row only the last one is certain to be written. */
  write(journal: Journal): Promise<void> {
    const isIdle = this.#next === undefined;
    const text = `${JSON.stringify({ ...journal, seal: sealOf(journal) }, undefined, 1)}\n`;
    // Most operations change states, not what is configured.
    if (isIdle && text === this.#written) return this.#writing;
    this.#next = text;
    // A write that failed (a full disk) does not keep the next one from being tried.
    if (isIdle) this.#writing = this.#writing.catch(() => undefined).then(() => this.#flush());
    return this.#writing;
  }

  /** Resolves when what was given to `write` stands in the file, or could not be written. */
  written(): Promise<void> {
    return this.#writing.catch(() => undefined);
  }

  async remove(): Promise<void> {
    await this.#writing.catch(() => undefined);
    clearTimeout(this.#retry);
    this.#written = undefined;
    await rm(this.path, { force: true });
  }

  async #flush(): Promise<void> {
    const text = this.#next ?? '';
    this.#next = undefined;
    this.#written = undefined;
    clearTimeout(this.#retry);
    try {
      await this.#replace(text);
    } catch (error) {
      // What is configured may not change for a long time, and the engine be killed meanwhile.
      this.#retry = setTimeout(() => this.#tryAgain(text), RETRY_MS).unref();
      throw error;
    }
    this.#written = text;
  }

  #tryAgain(text: string): void {
    if (this.#next !== undefined) return;
    this.#next = text;
    this.#writing = this.#flush();
    this.#writing.then(this.#recovered, () => undefined);
  }

  async #replace(text: string): Promise<void> {
    const temporary = `${this.path}.new`;
    // What a crash has left may have another mode.
    await rm(temporary, { force: true });
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, this.path);
  }
}
