// A recorded scenario, replayed with our drbdmeta step by step.

import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { inflateSync } from 'node:zlib';
import { lockMinor } from '../../packages/drbdmeta/src/minor-lock.js';
import { type Result, runOurs, shellWords, withoutAssertions, withoutKnownDifferences } from './capture.js';
import { imageDigest } from './image-digest.js';

interface FileChange {
  readonly size?: number;
  readonly patches?: readonly [offset: number, data: string][];
  readonly text?: string;
  readonly removed?: true;
}
export interface Step {
  readonly files?: Readonly<Record<string, FileChange>>;
  readonly device?: true;
  readonly args: string;
  readonly tty?: string;
  /** The standard output was not recorded. */
  readonly quiet?: true;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly exit: number;
  readonly after?: Readonly<Record<string, string | null>>;
}

export class Replay {
  readonly #env: Record<string, string | undefined>;
  readonly #masked: (text: string) => string;
  #loop: string | undefined;

  /** The current directory is the scenario's, and empty. `version`: drbd-utils to compare with. */
  constructor(version: string) {
    mkdirSync('state');
    mkdirSync('lock');
    // What is masked for 9.22 are differences from 9.34.
    this.#masked = version === '9.34' ? withoutAssertions : withoutKnownDifferences;
    this.#env = { PATH: `${process.cwd()}/fakebin`, UDRBD_STATE_DIR: 'state', UDRBD_LOCK_DIR: 'lock', UDRBD_UTILS_VERSION: version };
  }

  /** @returns what differs, in words; empty if all is equal */
  async step(step: Step): Promise<string[]> {
    for (const [name, change] of Object.entries(step.files ?? {})) applyChange(name, change);
    if (step.device) this.#attachLoop();
    else this.#detachLoop();
    const release = await this.#interfere(step);
    let ours: Result;
    try {
      ours = await runOurs(shellWords(step.args), this.#env, step.tty);
    } finally {
      release();
    }
    if (step.device) execFileSync('sync', ['-d', 'dev']);
    const differences: string[] = [];
    const compare = (what: string, is: unknown, was: unknown): void => {
      if (is !== was) differences.push(`${what}:\n${JSON.stringify(is)}\ninstead of\n${JSON.stringify(was)}`);
    };
    const text = (raw: string): string => this.#masked(raw).replace(/lock on \/var\/(run\/drbd\/)?lock\//, 'lock on lock/');
    if (!step.quiet) compare('stdout', text(ours.stdout), text(step.stdout ?? ''));
    compare('stderr', text(ours.stderr), text(step.stderr ?? ''));
    compare('exit', ours.exit, step.exit);
    for (const [name, was] of Object.entries(step.after ?? {})) {
      if (name.startsWith('state/')) compare(name, readOrNull(name), was);
      else compare(name, imageDigest(name), was);
    }
    return differences;
  }

  close(): void {
    this.#detachLoop();
  }

  /** Some recordings had another process at work: it held the device, or the lock. */
  async #interfere(step: Step): Promise<() => void> {
    if (/open\(dev\) failed: Device or resource busy/.test(step.stderr ?? '')) {
      const fd = openSync('dev', constants.O_RDONLY | constants.O_EXCL);
      return () => closeSync(fd);
    }
    if (/currently held by pid/.test(step.stderr ?? '')) {
      const lock = await lockMinor(904, 'lock', { stderr: () => {} } as never);
      return () => lock.release();
    }
    return () => {};
  }

  #attachLoop(): void {
    if (this.#loop !== undefined) {
      execFileSync('losetup', ['-c', this.#loop]);
      return;
    }
    this.#loop = execFileSync('losetup', ['-f', '--show', 'back.img'], { encoding: 'utf8' }).trim();
    rmSync('dev', { force: true });
    symlinkSync(this.#loop, 'dev');
  }

  #detachLoop(): void {
    if (this.#loop === undefined) return;
    execFileSync('losetup', ['-d', this.#loop]);
    rmSync('dev', { force: true });
    this.#loop = undefined;
  }
}

function applyChange(name: string, change: FileChange): void {
  if (change.removed) {
    rmSync(name, { force: true });
    return;
  }
  mkdirSync(dirname(name), { recursive: true });
  if (change.text !== undefined) {
    writeFileSync(name, change.text, { encoding: 'latin1', mode: name.startsWith('fakebin/') ? 0o755 : 0o644 });
    return;
  }
  const fd = openSync(name, constants.O_RDWR | constants.O_CREAT);
  ftruncateSync(fd, change.size);
  for (const [offset, data] of change.patches ?? []) writeSync(fd, inflateSync(Buffer.from(data, 'base64')), 0, null, offset);
  closeSync(fd);
}

function readOrNull(path: string): string | null {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return null;
  }
}
