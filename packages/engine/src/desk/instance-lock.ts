/** One engine per run directory: a lock on `engine.lock`, which also tells the pid. */
import { mkdirSync } from 'node:fs';
import { closeFile, LOCK, lockFile, O, openFile, pwriteFile, truncateFile } from 'ublk-napi';

/**
 * Takes the lock for the life of the process.
 * @returns false when another engine has it
 * @throws ErrnoError when the run directory can not be written
 */
export function lockInstance(runDir: string): boolean {
  mkdirSync(runDir, { recursive: true, mode: 0o700 });
  const fd = openFile(`${runDir}/engine.lock`, O.RDWR | O.CREAT);
  if (!lockFile(fd, LOCK.EX | LOCK.NB)) {
    closeFile(fd);
    return false;
  }
  truncateFile(fd, 0);
  pwriteFile(fd, new TextEncoder().encode(`${process.pid}\n`), 0);
  return true;
}
