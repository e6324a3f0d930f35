// What a command may do to the outside besides its devices: print, ask, look at the environment.

import { createInterface } from 'node:readline';

export interface CommandIo {
  stdout(text: string | Uint8Array): void;
  stderr(text: string): void;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdinIsTty: boolean;
  readonly stdoutIsTty: boolean;
  /** Progress of long work is shown; absent: it is not. */
  readonly stderrIsTty?: boolean;
  readonly columns?: number;
  /** One line of standard input without its newline, or null at its end. */
  readLine(): Promise<string | null>;
  /** All of standard input; needed only by `restore-md` and `verify-dump` without a file name. */
  readAll?(): Uint8Array;
  /** A regular file is as good as a block device; stock asks for `--force`. drbdadm says so of the disks of its configuration. */
  readonly acceptsFiles?: boolean;
  /** Whether an engine has the minor attached. Absent: `drbdsetup dstate` is asked, as the stock tool does. */
  isAttached?(minor: number): Promise<boolean>;
}

/** The i/o of a process of its own. Output is written at once, so that nothing is lost when the process ends. */
export function processIo(write: (fd: number, data: string | Uint8Array) => void, readAll: () => Uint8Array): CommandIo {
  return {
    stdout: (text) => write(1, text),
    stderr: (text) => write(2, text),
    env: process.env,
    stdinIsTty: process.stdin.isTTY === true,
    stdoutIsTty: process.stdout.isTTY === true,
    stderrIsTty: process.stderr.isTTY === true,
    columns: process.stdout.columns ?? 80,
    readLine: () =>
      new Promise((resolve) => {
        const lines = createInterface({ input: process.stdin, terminal: false });
        lines.once('line', (line) => {
          resolve(line);
          lines.close();
          process.stdin.pause();
        });
        lines.once('close', () => resolve(null));
      }),
    readAll,
  };
}
