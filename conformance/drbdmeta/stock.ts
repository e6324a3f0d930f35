// The distribution's drbdmeta as an oracle: it runs in a mount namespace of its own, so that neither its lock files nor its
// records of device sizes touch this machine.

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { stockUtils } from '../vm/packages.js';
import type { Result } from './capture.js';

/** Path of the stock drbdmeta. */
export const stockDrbdmeta = (): string => join(stockUtils(), 'sbin/drbdmeta');

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
