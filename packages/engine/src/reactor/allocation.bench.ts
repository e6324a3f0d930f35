/**
 * Bytes that V8's heap grows by for each replicated write of 4 KiB, both nodes in this thread. BENCH_REQUESTS: how many.
 *
 * ```sh
 * node --import=tsx --conditions=udrbd-source packages/engine/src/reactor/allocation.bench.ts
 * ```
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { heapGrowth } from '../testing/heap.js';
import { ReplicatedPair } from '../testing/replicated-pair.js';
import { inlineSmallFunctions } from './inlining.js';

const REQUESTS = Number(process.env.BENCH_REQUESTS ?? 10_000_000);
const WARM_UP = 200_000;
const PIECE = 5000;
const DEPTH = 32;

inlineSmallFunctions();
const dir = mkdtempSync(`${tmpdir()}/udrbd-`);
try {
  const pair = await ReplicatedPair.create(dir, 64 << 20);
  pair.write(WARM_UP, DEPTH);
  const residentBefore = process.memoryUsage.rss();
  const began = performance.now();
  const bytes = heapGrowth(REQUESTS / PIECE, () => pair.write(PIECE, DEPTH));
  const microseconds = ((performance.now() - began) * 1e3) / REQUESTS;
  const grownKiB = Math.max(0, process.memoryUsage.rss() - residentBefore) / 1024;
  process.stdout.write(
    `${REQUESTS} writes: ${bytes} bytes on the heap, ${(bytes / REQUESTS).toFixed(3)} each; ` +
      `resident memory grew by ${Math.round(grownKiB)} KiB; ${microseconds.toFixed(1)} µs each\n`,
  );
  await pair.close();
} finally {
  rmSync(dir, { recursive: true });
}
