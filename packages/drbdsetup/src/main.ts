/** The executable: drbdsetup on the real terminal, environment and exit status. */
import { writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import type { CommandIo } from './command-io.js';
import { watchPipeReader } from './pipe-reader.js';
import { run } from './run.js';

let input: AsyncIterator<unknown> | undefined;

const io: CommandIo = {
  stdout: (text) => void process.stdout.write(text),
  stderr: (text) => void process.stderr.write(text),
  env: process.env,
  stdinIsTty: isatty(0),
  stdoutIsTty: process.stdout.isTTY === true,
  ...(process.stdout.isTTY === true && process.stdout.columns > 0 ? { columns: process.stdout.columns } : {}),
  // No command of this program wants whole lines.
  readLine: () => Promise.resolve(null),
  async readText() {
    input ??= process.stdin.setEncoding('utf8')[Symbol.asyncIterator]();
    const next = await input.next();
    return next.done === true ? null : String(next.value);
  },
  watchReader: watchPipeReader,
  openTerminal(lastWords) {
    const { stdin, stdout } = process;
    if (!stdin.isTTY || !stdout.isTTY) return undefined;
    restore = lastWords;
    stdin.setRawMode(true);
    stdin.setEncoding('utf8');
    return {
      get columns() {
        return stdout.columns;
      },
      get rows() {
        return stdout.rows;
      },
      onKeys: (listener) => void stdin.on('data', (keys) => listener(String(keys))),
      onResize: (listener) => void stdout.on('resize', listener),
      release() {
        stdin.setRawMode(false);
        stdin.destroy();
        stdout.removeAllListeners('resize');
      },
    };
  },
};

/** Written when a signal ends us, so that neither colours nor modes outlive us on the terminal. */
let restore = '\x1b[0m';

// Whoever reads our output has gone: nobody is left to tell.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 20));

if (io.stdoutIsTty) {
  for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      writeSync(1, restore);
      if (process.stdin.isRaw) process.stdin.setRawMode(false);
      process.kill(process.pid, signal);
    });
  }
}

process.exitCode = await run(process.argv.slice(2), io);
if (input !== undefined) process.stdin.destroy();
