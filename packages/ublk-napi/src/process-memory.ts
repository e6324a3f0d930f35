// What a process that serves a block device should ask of the kernel. Refusals are values: most of this needs privileges,
// and a server without them still works.
import { native } from './native.js';

/** 0 when granted, else the positive errno. */
export type Grant = number;

/** Locks present and future pages, each as it is first touched (V8 reserves more than it uses). ENOMEM: RLIMIT_MEMLOCK; EPERM. */
export function lockProcessMemory(): Grant {
  return -native.lockProcessMemory();
}

/**
 * Marks the calling thread, and threads it creates later, as standing below a file system: its memory allocations never wait
 * for block I/O. Needs CAP_SYS_RESOURCE (EPERM) and Linux 5.6 (EINVAL).
 */
export function setIoFlusher(on = true): Grant {
  return -native.setIoFlusher(on);
}
