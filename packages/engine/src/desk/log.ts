/** The daemon's log: one line an event, with time and severity. */
import { openSync, writeSync } from 'node:fs';
import type { LogLevel } from '@udrbd/replication';

export type Log = (level: LogLevel, text: string) => void;

/**
 * Lines that cannot be written (a full disk) are lost and counted; the first one that can be written again is preceded by their number.
 * @param path - file to append to; undefined: standard error
 */
export function openLog(path: string | undefined): Log {
  const append = path === undefined ? appendToStderr() : appendTo(openSync(path, 'a', 0o600));
  return (level, text) => {
    const time = new Date().toISOString();
    for (const line of text.split('\n')) if (line !== '') append(`${time} ${level}: ${line}\n`);
  };
}

function appendToStderr(): (line: string) => void {
  // Nobody reads it any more.
  process.stderr.on('error', () => undefined);
  return (line) => void process.stderr.write(line);
}

function appendTo(fd: number): (line: string) => void {
  return lineAppender((bytes) => writeSync(fd, bytes));
}

/** @param append - writes as many of the bytes as it can and returns how many that were, or throws */
export function lineAppender(append: (bytes: Uint8Array) => number): (line: string) => void {
  let lost = 0;
  /** Some part of a line stands there without its end. */
  let isTorn = false;
  const write = (text: string): void => {
    const bytes = Buffer.from(isTorn ? `\n${text}` : text);
    const written = append(bytes);
    isTorn = written < bytes.length;
    if (isTorn) throw new Error('the disk is full');
  };
  return (line) => {
    try {
      if (lost > 0) {
        write(`${new Date().toISOString()} warning: ${lost} lines are missing here: they could not be written\n`);
        lost = 0;
      }
      write(line);
    } catch {
      lost++;
    }
  };
}
