// What ring tests do with completions.
import type { Ring } from '../ring.js';

export interface Completion {
  readonly lo: number;
  readonly hi: number;
  readonly res: number;
  readonly flags: number;
}

/** Submits, waits (10 s at most) for `count` completions and takes everything that is there. */
export function reap(ring: Ring, count: number): Completion[] {
  const seen: Completion[] = [];
  const deadline = Date.now() + 10_000;
  ring.submit();
  do {
    if (seen.length < count) ring.submitAndWait(1, 1e6);
    const ready = ring.cqReady();
    for (let i = 0; i < ready; i++)
      seen.push({ lo: ring.cqUserDataLo(i), hi: ring.cqUserDataHi(i), res: ring.cqRes(i), flags: ring.cqFlags(i) });
    ring.cqAdvance(ready);
  } while (seen.length < count && Date.now() < deadline);
  return seen;
}

/** The one completion of the one operation prepared. */
export function reapOne(ring: Ring): Completion {
  const [only, ...more] = reap(ring, 1);
  if (only === undefined || more.length > 0) throw new Error(`${more.length + (only === undefined ? 0 : 1)} completions instead of one`);
  return only;
}
