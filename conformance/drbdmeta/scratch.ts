import { accessSync, constants, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';

/** A new directory for images, in memory where that is possible: the commands flush after every step. */
export function scratchDirectory(): string {
  let parent = '/dev/shm';
  try {
    accessSync(parent, constants.W_OK);
  } catch {
    parent = tmpdir();
  }
  return mkdtempSync(`${parent}/drbdmeta-`);
}
