/** Nothing is allocated for a write, neither on the node that it is submitted to nor on its peer. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import t, { type Test } from 'tap';
import { heapGrowth } from '../testing/heap.js';
import { ReplicatedPair } from '../testing/replicated-pair.js';
import { inlineSmallFunctions } from './inlining.js';

const WINDOWS = 4;

inlineSmallFunctions();

/** In memory where there is a file system for that: the disks are not what is looked at. */
function folder(t: Test): string {
  const dir = mkdtempSync(`${existsSync('/dev/shm') ? '/dev/shm' : tmpdir()}/udrbd-allocation-`);
  t.teardown(() => rmSync(dir, { recursive: true }));
  return dir;
}

/** Bytes for each write in each of some windows. Code that is compiled once more is no allocation of a write: what each costs is in all of them. */
const measure = (pair: ReplicatedPair, pieces: number, writes: number, depth: number): number[] =>
  Array.from({ length: WINDOWS }, () => heapGrowth(pieces, () => pair.write(writes, depth)) / pieces / writes);

t.test('replicated writes', async (t) => {
  const pair = await ReplicatedPair.create(folder(t), 64 << 20);
  // The compilers have done with what runs by then.
  pair.write(80_000, 32);
  const bytes = measure(pair, 10, 2000, 32);
  // The smallest object has 16 bytes. What comes with time and not with writes (pings, a look at the clock) is far below this.
  t.ok(Math.min(...bytes) < 8, `bytes a write: ${bytes.map((each) => each.toFixed(2)).join(' ')}`);
  await pair.close();
});

t.test('writes that need a transaction of the activity log', async (t) => {
  // More extents than the log has room for, one write after the other.
  const pair = await ReplicatedPair.create(folder(t), 512 << 20, {}, { 'al-extents': 67 });
  pair.write(30_000, 1);
  const before = pair.transactions;
  const bytes = measure(pair, 20, 50, 1);
  const writes = WINDOWS * 20 * 50;
  t.ok(pair.transactions - before > writes / 2, `${pair.transactions - before} transactions for ${writes} writes`);
  // A receive that brings nothing but this write makes some numbers where V8 has not put the functions into each other; a transaction made
  // of objects made 3,300 bytes.
  t.ok(Math.min(...bytes) < 300, `bytes a write: ${bytes.map((each) => each.toFixed(2)).join(' ')}`);
  await pair.close();
});

t.test('transactions that write pages of the bitmap first', async (t) => {
  const pair = await ReplicatedPair.create(folder(t), 512 << 20, {}, { 'al-extents': 67 });
  pair.disconnect();
  pair.write(30_000, 1);
  const before = pair.bitmapPages;
  const bytes = measure(pair, 20, 50, 1);
  const writes = WINDOWS * 20 * 50;
  t.ok(pair.bitmapPages - before > writes / 8, `${pair.bitmapPages - before} pages for ${writes} writes`);
  // As above; with closures and views of pages 350 bytes and more.
  t.ok(Math.min(...bytes) < 300, `bytes a write: ${bytes.map((each) => each.toFixed(2)).join(' ')}`);
  await pair.close();
});
