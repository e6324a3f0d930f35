/** One engine per run directory: a lock on `engine.lock`, which also tells the pid, and by its age when the engine was alive last. */
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { utimes } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { closeFile, LOCK, lockFile, O, openFile, pwriteFile, truncateFile } from 'ublk-napi';

/** Longer ago than this the peers may have been told that this node is gone. */
const RECENT_MS = 5000;
const BEAT_MS = 1000;

/** Asks an engine to hand over. One that does not know it dies of it, which is a hand-over too. */
export const HAND_OVER_SIGNAL = 'SIGUSR2';
const SUCCESSION_MS = 15_000;

const successorPath = (runDir: string): string => `${runDir}/engine.successor`;
const lockPath = (runDir: string): string => `${runDir}/engine.lock`;

export interface Instance {
  /** The engine before this one was alive a moment ago. */
  readonly isSuccessor: boolean;
  /** Tells the next engine from time to time that this one is alive. */
  beat(): void;
}

/** The engine that serves the run directory, or undefined. */
export function runningEngine(runDir: string): number | undefined {
  const path = lockPath(runDir);
  if (!existsSync(path)) return undefined;
  const fd = openFile(path, O.RDWR);
  try {
    return lockFile(fd, LOCK.EX | LOCK.NB) ? undefined : Number.parseInt(readFileSync(path, 'utf8'), 10) || undefined;
  } finally {
    closeFile(fd);
  }
}

/**
 * Takes the lock from the engine that has it, which hands over when it is asked to. Its last act is to name its successor in the file,
 * for a service manager that looks there as soon as it has ended.
 * @returns undefined when it does not let go in time
 */
export async function succeedInstance(runDir: string): Promise<Instance | undefined> {
  const pid = runningEngine(runDir);
  if (pid !== undefined) {
    writeFileSync(successorPath(runDir), `${process.pid}\n`, { mode: 0o600 });
    process.kill(pid, HAND_OVER_SIGNAL);
  }
  for (const deadline = performance.now() + SUCCESSION_MS; performance.now() < deadline; await sleep(1)) {
    const instance = lockInstance(runDir);
    if (instance !== undefined) {
      rmSync(successorPath(runDir), { force: true });
      return instance;
    }
  }
  return undefined;
}

/** The last act of an engine that hands over. */
export function nameSuccessor(runDir: string): void {
  try {
    writeFileSync(lockPath(runDir), readFileSync(successorPath(runDir)));
  } catch {
    // It was the signal alone: whoever comes next writes his own.
  }
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
