// The cache folder of the VM harness: what was downloaded, unpacked and built, and the logs of runs that failed.
import { createHash } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The checkout. */
export const repository = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

/** `.cache/vm` of the checkout, or what UDRBD_VM_CACHE names. */
export const cacheFolder = process.env.UDRBD_VM_CACHE ?? join(repository, '.cache', 'vm');

const sleepSync = (ms: number): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Runs `work` while no other process on this machine runs work under the same name. Waits at most ten minutes. */
export function withLock<T>(name: string, work: () => T): T {
  mkdirSync(cacheFolder, { recursive: true });
  const path = join(cacheFolder, `${name}.lock`);
  const deadline = Date.now() + 600_000;
  for (;;) {
    try {
      const fd = openSync(path, 'wx');
      writeSync(fd, `${process.pid}`);
      closeSync(fd);
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      if (isAbandoned(path)) rmSync(path, { force: true });
      else if (Date.now() > deadline) throw new Error(`${path} is held by another process`);
      else sleepSync(100);
    }
  }
  try {
    return work();
  } finally {
    rmSync(path, { force: true });
  }
}

function isAbandoned(path: string): boolean {
  try {
    const owner = Number(readFileSync(path, 'latin1'));
    // The owner writes its number right after it created the file.
    return owner > 0 ? !isAlive(owner) : Date.now() - statSync(path).mtimeMs > 5_000;
  } catch {
    return false;
  }
}

/** Makes `cacheFolder/name` once: `build` fills a scratch folder, which takes its name when it is complete. */
export function once(name: string, build: (scratch: string) => void): string {
  const final = join(cacheFolder, name);
  if (existsSync(final)) return final;
  return withLock(name.replaceAll('/', '_'), () => {
    if (existsSync(final)) return final;
    const scratch = `${final}.part`;
    rmSync(scratch, { recursive: true, force: true });
    mkdirSync(scratch, { recursive: true });
    build(scratch);
    renameSync(scratch, final);
    return final;
  });
}

/** A short name for a list of inputs: files count with path, size and time, other strings as they are. */
export function fingerprint(inputs: readonly string[]): string {
  const hash = createHash('sha256');
  for (const input of inputs) {
    const file = input.startsWith('/') && existsSync(input) ? statSync(input) : undefined;
    hash.update(file?.isFile() ? `${input} ${file.size} ${file.mtimeMs}\n` : `${input}\n`);
  }
  return hash.digest('hex').slice(0, 16);
}
