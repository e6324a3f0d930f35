/** The daemon's log: one line an event, with time and severity. */
import { createWriteStream } from 'node:fs';
import type { LogLevel } from '@udrbd/replication';

export type Log = (level: LogLevel, text: string) => void;

/** @param path - file to append to; undefined: standard error */
export function openLog(path: string | undefined): Log {
  const stream = path === undefined ? process.stderr : createWriteStream(path, { flags: 'a', mode: 0o600 });
  // A full disk must not take the daemon down.
  stream.on('error', () => undefined);
  return (level, text) => {
    const time = new Date().toISOString();
    for (const line of text.split('\n')) if (line !== '') stream.write(`${time} ${level}: ${line}\n`);
  };
}
