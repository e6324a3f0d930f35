// What a process that serves a block device should ask of the kernel. Refusals are values: most of this needs privileges,
// and a server without them still works.
import { writeFileSync } from 'node:fs';
import { ERRNO } from './errno.js';
import { native } from './native.js';

/** 0 when granted, else the positive errno. */
export type Grant = number;

/**
 * Locks the program, its libraries, the stack and the C heap against being dropped under memory pressure, each page as it is first
 * touched. The heap of V8 cannot be locked: V8 returns pages in a way that locked memory refuses, and aborts. Keep it out of swap with
 * `memory.swap.max = 0` of the process's control group. Buffer pools lock themselves. Refusals: ENOMEM or EAGAIN (RLIMIT_MEMLOCK
 * without CAP_IPC_LOCK), EPERM.
 */
export function lockProcessMemory(): Grant {
  return -native.lockProcessMemory();
}

/**
 * Sets how likely the out-of-memory killer is to choose this process: -1000 = never, 1000 = first. Lowering it needs
 * CAP_SYS_RESOURCE (EACCES, EPERM).
 */
export function setOomScore(adjustment: number): Grant {
  try {
    writeFileSync('/proc/self/oom_score_adj', String(adjustment));
    return 0;
  } catch (error) {
    return Math.abs((error as NodeJS.ErrnoException).errno ?? ERRNO.EIO);
  }
}

/**
 * Marks the calling thread, and threads it creates later, as standing below a file system: its memory allocations never wait
 * for block I/O. Needs CAP_SYS_RESOURCE (EPERM) and Linux 5.6 (EINVAL).
 */
export function setIoFlusher(on = true): Grant {
  return -native.setIoFlusher(on);
}
