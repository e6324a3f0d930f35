// One drbdmeta per minor at a time. The stock tool takes a POSIX record lock on LOCKDIR/drbd-147-MINOR; Node has no call for
// that. So a stock holder is recognised in /proc/locks, and among ourselves the lock is an abstract Unix socket named after
// the lock file: it is taken atomically and vanishes with its process.

import { closeSync, constants, fstatSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CommandIo } from './command-io.js';
import { Exit } from './exit.js';
import { errnoOf, strerror } from './strerror.js';

const WAIT_MS = 1000;
const RETRY_MS = 50;

export interface MinorLock {
  release(): void;
}

/** Waits up to a second for the lock of `minor`; ends the command if somebody else keeps it. */
export async function lockMinor(minor: number, lockDir: string, io: CommandIo): Promise<MinorLock> {
  const path = `${lockDir}/drbd-147-${minor | 0}`;
  let fd: number;
  try {
    try {
      fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      mkdirSync(lockDir, { recursive: true, mode: 0o700 });
      fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    }
  } catch (error) {
    io.stderr(`open(${path}): ${strerror(error)}\n`);
    throw new Exit(20);
  }
  const { dev, ino } = fstatSync(fd);
  const name = `\0udrbd/drbd-147-${minor | 0}/${dev}/${ino}`;
  let holder: number | undefined;
  for (let waited = 0; ; waited += RETRY_MS) {
    holder = posixLockHolder(dev, ino);
    if (holder === undefined) {
      const server = await listen(name);
      if (server) {
        writeHolder(fd);
        return {
          release: () => {
            server.close();
            closeSync(fd);
          },
        };
      }
      holder = readHolder(fd);
    }
    if (waited >= WAIT_MS) break;
    await sleep(RETRY_MS);
  }
  closeSync(fd);
  io.stderr(`lock on ${path} currently held by pid:${holder}\n`);
  throw new Exit(20);
}

function listen(name: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', (error) => (errnoOf(error) === 'EADDRINUSE' ? resolve(undefined) : reject(error)));
    server.listen({ path: name }, () => {
      server.unref();
      resolve(server);
    });
  });
}

/** The process that holds a record lock on the file, as the kernel lists it: `1: POSIX ADVISORY WRITE pid major:minor:inode …` */
function posixLockHolder(dev: number, ino: number): number | undefined {
  let table: string;
  try {
    table = readFileSync('/proc/locks', 'latin1');
  } catch {
    // No /proc: only our own locks are seen.
    return undefined;
  }
  const major = Math.floor(dev / 256) & 0xfff;
  const minor = (dev % 256) + 256 * Math.floor(dev / 0x10_0000);
  const id = `${major.toString(16).padStart(2, '0')}:${minor.toString(16).padStart(2, '0')}:${ino}`;
  for (const line of table.split('\n')) {
    const words = line.trim().split(/\s+/);
    if (words[1] === 'POSIX' && words[5] === id && Number(words[4]) !== process.pid) return Number(words[4]);
  }
  return undefined;
}

function writeHolder(fd: number): void {
  ftruncateSync(fd, 0);
  writeSync(fd, `${process.pid}\n`, 0);
}

function readHolder(fd: number): number {
  return Number.parseInt(readFileSync(`/proc/self/fd/${fd}`, 'latin1'), 10) || 0;
}
