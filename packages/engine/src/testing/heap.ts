/** What a piece of synchronous work leaves on V8's heap. */
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/**
 * Bytes by which the heap grows. The work is done in pieces, so that a collection in one of them hides little; what asking for the
 * heap's size itself allocates is taken off.
 */
export function heapGrowth(pieces: number, work: () => void): number {
  collect();
  let growth = 0;
  let asking = 0;
  for (let piece = 0; piece < pieces; piece++) {
    const first = getHeapStatistics().used_heap_size;
    const before = getHeapStatistics().used_heap_size;
    work();
    growth += Math.max(0, getHeapStatistics().used_heap_size - before);
    asking += Math.max(0, before - first);
  }
  return Math.max(0, growth - asking);
}
