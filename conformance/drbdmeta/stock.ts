// The distribution's drbdmeta as an oracle: its package is downloaded and unpacked, never installed, and runs in a mount
// namespace of its own, so that neither its lock files nor its records of device sizes touch this machine.

import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Result } from './capture.js';

const CACHE = fileURLToPath(new URL('../../.cache/stock', import.meta.url));

/** Path of the stock drbdmeta; downloads it into .cache/stock the first time. */
export function stockDrbdmeta(): string {
  const find = (): string | undefined => ['sbin', 'usr/sbin'].map((d) => `${CACHE}/${d}/drbdmeta`).find(existsSync);
  const there = find();
  if (there) return there;
  mkdirSync(CACHE, { recursive: true });
  const sh = (script: string): void => void execFileSync('sh', ['-ec', script], { cwd: CACHE, stdio: ['ignore', 'ignore', 'inherit'] });
  try {
    sh('apt-get -qq download drbd-utils');
  } catch {
    // The package lists may be missing; without root the first attempt is all there is.
    sh('apt-get -qq update && apt-get -qq download drbd-utils');
  }
  sh('for deb in drbd-utils_*.deb; do dpkg -x "$deb" .; done');
  const unpacked = find();
  if (!unpacked) throw new Error(`no drbdmeta in the drbd-utils package under ${CACHE}`);
  return unpacked;
}

const quote = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;

export class Stock {
  readonly #binary: string;
  readonly #directory: string;
  readonly #shell: ChildProcessWithoutNullStreams;
  #pending: ((status: number) => void) | undefined;

  /** @param directory - scratch space; `state/` in it stands for /var/lib/drbd */
  constructor(directory: string) {
    this.#binary = stockDrbdmeta();
    this.#directory = directory;
    mkdirSync(`${directory}/state`, { recursive: true });
    const isRoot = process.getuid?.() === 0;
    const prepare =
      'mkdir -p /var/lib/drbd 2>/dev/null || { mount -t tmpfs none /var/lib && mkdir /var/lib/drbd; }; ' +
      `mount --bind ${quote(`${directory}/state`)} /var/lib/drbd && mount -t tmpfs none "$(readlink -f /var/lock)" && exec sh`;
    this.#shell = spawn('unshare', [...(isRoot ? [] : ['-r']), '-m', 'sh', '-c', prepare], {
      env: { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: process.env.TZ ?? 'UTC' },
    });
    let seen = '';
    this.#shell.stdout.setEncoding('utf8').on('data', (text: string) => {
      seen += text;
      const match = /^(\d+)\n/.exec(seen);
      if (!match) return;
      seen = seen.slice(match[0].length);
      const pending = this.#pending;
      this.#pending = undefined;
      pending?.(Number(match[1]));
    });
    this.#shell.stderr.on('data', (text: Buffer) => process.stderr.write(text));
  }

  /** Runs one command in `cwd` with an empty standard input. */
  async run(argv: readonly string[], cwd: string): Promise<Result> {
    const out = `${this.#directory}/stdout`;
    const err = `${this.#directory}/stderr`;
    const command = [this.#binary, ...argv].map(quote).join(' ');
    const exit = await new Promise<number>((resolve, reject) => {
      this.#pending = resolve;
      this.#shell.once('exit', () => reject(new Error('the mount namespace for the stock tool ended')));
      this.#shell.stdin.write(`(cd ${quote(cwd)} && exec ${command}) </dev/null >${quote(out)} 2>${quote(err)}; echo $?\n`);
    });
    this.#shell.removeAllListeners('exit');
    return { stdout: readFileSync(out, 'latin1'), stderr: readFileSync(err, 'latin1'), exit };
  }

  close(): void {
    this.#shell.stdin.end();
  }
}
