/** One engine per run directory: a lock on `engine.lock`, which also tells the pid, and by its age when the engine was alive last. */
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { utimes } from 'node:fs/promises';
import { closeFile, LOCK, lockFile, O, openFile, pwriteFile, truncateFile } from 'ublk-napi';

/** Longer ago than this the peers may have been told that this node is gone. */
const RECENT_MS = 5000;
const BEAT_MS = 1000;

const lockPath = (runDir: string): string => `${runDir}/engine.lock`;

export interface Instance {
  /** The engine before this one was alive a moment ago. */
  readonly isSuccessor: boolean;
  /** Tells the next engine from time to time that this one is alive. */
  beat(): void;
}

/**
 * Takes the lock for the life of the process.
 * @returns undefined when another engine has it
 * @throws ErrnoError when the run directory can not be written
 */
export function lockInstance(runDir: string): Instance | undefined {
  mkdirSync(runDir, { recursive: true, mode: 0o700 });
  const path = lockPath(runDir);
  const age = existsSync(path) ? Date.now() - statSync(path).mtimeMs : Infinity;
  const fd = openFile(path, O.RDWR | O.CREAT);
  if (!lockFile(fd, LOCK.EX | LOCK.NB)) {
    closeFile(fd);
    return undefined;
  }
  truncateFile(fd, 0);
  pwriteFile(fd, new TextEncoder().encode(`${process.pid}\n`), 0);
  return {
    isSuccessor: age >= 0 && age < RECENT_MS,
    beat: () => {
      setInterval(() => void utimes(path, new Date(), new Date()).catch(() => undefined), BEAT_MS).unref();
    },
  };
}
