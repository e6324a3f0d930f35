/**
 * Bytes that V8's heap grows by for each replicated write of 4 KiB, both nodes in this thread: to extents that the activity log has, and to
 * others, where each write is a transaction of it on both. BENCH_REQUESTS: how many.
 *
 * ```sh
 * node --import=tsx --conditions=udrbd-source packages/engine/src/reactor/allocation.bench.ts
 * ```
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import type { Options } from '@udrbd/replication';
import { heapGrowth } from '../testing/heap.js';
import { ReplicatedPair } from '../testing/replicated-pair.js';
import { inlineSmallFunctions } from './inlining.js';

const REQUESTS = Number(process.env.BENCH_REQUESTS ?? 10_000_000);

interface Load {
  readonly what: string;
  readonly imageBytes: number;
  readonly options: Options;
  readonly requests: number;
  readonly warmUp: number;
  readonly depth: number;
  /** Writes between two looks at the heap: what is collected meanwhile is not seen. */
  readonly piece: number;
}

const LOADS: readonly Load[] = [
  { what: 'writes', imageBytes: 64 << 20, options: {}, requests: REQUESTS, warmUp: 200_000, depth: 32, piece: 5000 },
  // More extents than the log has room for, one after the other.
  {
    what: 'transactions',
    imageBytes: 512 << 20,
    options: { 'al-extents': 67 },
    requests: REQUESTS / 50,
    warmUp: 20_000,
    depth: 1,
    piece: 100,
  },
];

inlineSmallFunctions();
const dir = mkdtempSync(`${tmpdir()}/udrbd-`);
try {
  for (const { what, imageBytes, options, requests, warmUp, depth, piece } of LOADS) {
    mkdirSync(`${dir}/${what}`);
    const pair = await ReplicatedPair.create(`${dir}/${what}`, imageBytes, {}, options);
    pair.write(warmUp, depth);
    const residentBefore = process.memoryUsage.rss();
    const transactionsBefore = pair.transactions;
    const began = performance.now();
    const bytes = heapGrowth(requests / piece, () => pair.write(piece, depth));
    const microseconds = ((performance.now() - began) * 1e3) / requests;
    const grownKiB = Math.max(0, process.memoryUsage.rss() - residentBefore) / 1024;
    process.stdout.write(
      `${requests} ${what}: ${bytes} bytes on the heap, ${(bytes / requests).toFixed(3)} each; ` +
        `resident memory grew by ${Math.round(grownKiB)} KiB; ${microseconds.toFixed(1)} µs each; ` +
        `${((pair.transactions - transactionsBefore) / requests).toFixed(2)} transactions a write\n`,
    );
    await pair.close();
  }
} finally {
  rmSync(dir, { recursive: true });
}
