/** Waiting for what another process does: looked at again and again, as no event of it comes here. */
import { setTimeout as sleep } from 'node:timers/promises';

/** It says only that something will never happen: a slow machine with much to do must not reach it. */
export const PATIENCE_MS = 120_000;
const PAUSE_MS = 100;

/**
 * Resolves to what was found once that is as wanted; rejects with what it came to instead.
 * @param told - further lines for the error
 */
export async function eventually<T>(
  what: string,
  look: () => T | Promise<T>,
  isWanted: (found: T) => boolean,
  told: () => string | Promise<string> = () => '',
  timeoutMs = PATIENCE_MS,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    // Asked before the look: a look that takes long is the last one only if it began too late.
    const isLast = Date.now() > deadline;
    const found = await look();
    if (isWanted(found)) return found;
    if (isLast) throw new Error(`${what} did not happen:\n${JSON.stringify(found)}\n${await told()}`);
    await sleep(PAUSE_MS);
  }
}
