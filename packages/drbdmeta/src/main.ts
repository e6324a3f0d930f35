#!/usr/bin/env node
import { readFileSync, writeSync } from 'node:fs';
import { processIo } from './command-io.js';
import { run } from './run.js';

/** Writes everything, also to a pipe whose reader is slow; a reader that left ends the output quietly. */
function writeAll(fd: number, data: string | Uint8Array): void {
  const bytes = typeof data === 'string' ? Buffer.from(data) : data;
  for (let done = 0; done < bytes.length; ) {
    try {
      done += writeSync(fd, bytes, done);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'EAGAIN') continue;
      if (code === 'EPIPE') process.exit(141);
      throw error;
    }
  }
}

const io = processIo(writeAll, () => readFileSync(0));
try {
  process.exit(await run(process.argv.slice(2), io));
} catch (error) {
  io.stderr(`drbdmeta: internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exit(100);
}
