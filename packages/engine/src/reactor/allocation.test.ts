/** Nothing is allocated for a write, neither on the node that it is submitted to nor on its peer. */
import { mkdirSync } from 'node:fs';
import t from 'tap';
import { heapGrowth } from '../testing/heap.js';
import { ReplicatedPair } from '../testing/replicated-pair.js';
import { inlineSmallFunctions } from './inlining.js';

const DEPTH = 32;
/** The compilers have done with what runs by then. */
const WARM_UP = 80_000;
const WINDOWS = 4;
const PIECES = 10;
const WRITES = 2000;
/** The smallest object has 16 bytes. What comes with time and not with writes (pings, a look at the clock) is far below this. */
const BYTES_MAX = 8;

inlineSmallFunctions();

t.test('replicated writes', async (t) => {
  const dir = t.testdir();
  mkdirSync(dir, { recursive: true });
  const pair = await ReplicatedPair.create(dir, 64 << 20);
  pair.write(WARM_UP, DEPTH);
  // Code that is compiled once more is no allocation of a write: what each write costs is in all of them.
  const bytes = Array.from({ length: WINDOWS }, () => heapGrowth(PIECES, () => pair.write(WRITES, DEPTH)) / PIECES / WRITES);
  t.ok(Math.min(...bytes) < BYTES_MAX, `bytes a write: ${bytes.map((each) => each.toFixed(2)).join(' ')}`);
  await pair.close();
});
