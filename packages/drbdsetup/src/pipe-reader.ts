/**
 * Whether anybody still reads the pipe behind standard output. Node learns that from a write only, and a following `events2` may have
 * nothing to write for hours while a shell waits for it: `drbdsetup events2 | grep -q …`.
 */
import { fstatSync, lstatSync, readdirSync, readlinkSync } from 'node:fs';

const LOOK_MS = 500;
/** Processes that are looked at to find the reader. */
const PROCESSES_MAX = 1000;
const MAY_READ = 0o400;

/**
 * @returns a promise that resolves when the last reader seen is gone and no other is found, or undefined when standard output is no
 *   pipe or its reader is not to be seen: then nobody knows
 */
export function watchPipeReader(): { readonly gone: Promise<void>; stop(): void } | undefined {
  let pipe: string;
  try {
    if (!fstatSync(1).isFIFO()) return undefined;
    pipe = readlinkSync('/proc/self/fd/1');
  } catch {
    return undefined;
  }
  let reader = findReader(pipe);
  if (reader === undefined) return undefined;
  let timer: NodeJS.Timeout | undefined;
  const gone = new Promise<void>((resolve) => {
    const look = () => {
      if (reader === undefined || !isReader(reader, pipe)) reader = findReader(pipe);
      if (reader === undefined) resolve();
      else timer = setTimeout(look, LOOK_MS);
    };
    timer = setTimeout(look, LOOK_MS);
  });
  return { gone, stop: () => clearTimeout(timer) };
}

/** A descriptor of a process, as a link in /proc. */
function isReader(link: string, pipe: string): boolean {
  try {
    return readlinkSync(link) === pipe && (lstatSync(link).mode & MAY_READ) !== 0;
  } catch {
    return false;
  }
}

/** The parent first, then those whose number is near: the other members of a pipeline. */
function findReader(pipe: string): string | undefined {
  const distance = (pid: number): number => (pid === process.ppid ? -1 : Math.abs(pid - process.pid));
  const pids = readdirSync('/proc').map(Number).filter(Number.isInteger);
  pids.sort((a, b) => distance(a) - distance(b));
  for (const pid of pids.slice(0, PROCESSES_MAX)) {
    const folder = `/proc/${pid}/fd`;
    let descriptors: string[];
    try {
      descriptors = readdirSync(folder);
    } catch {
      continue;
    }
    for (const descriptor of descriptors) if (isReader(`${folder}/${descriptor}`, pipe)) return `${folder}/${descriptor}`;
  }
  return undefined;
}
