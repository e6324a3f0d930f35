// What a ring costs from JavaScript: NOPs and 4 KiB page-cache reads per second, and garbage collections meanwhile.
// Run: node --import=tsx --conditions=udrbd-source packages/ublk-napi/bench/ring.ts
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PerformanceObserver, performance } from 'node:perf_hooks';
import { BufferPool, closeFile, O, openFile, Ring } from 'ublk-napi';

const SECONDS = Number(process.argv[2] ?? 2);
let collections = 0;
new PerformanceObserver((list) => {
  collections += list.getEntries().length;
}).observe({ entryTypes: ['gc'] });

/** Calls `batch` until the time is up and prints operations per second. @param batch - returns how many it did */
async function measure(name: string, batch: () => number): Promise<void> {
  for (const end = performance.now() + 300; performance.now() < end; ) batch();
  await new Promise(setImmediate);
  collections = 0;
  const start = performance.now();
  let operations = 0;
  while (performance.now() - start < SECONDS * 1000) for (let i = 0; i < 100; i++) operations += batch();
  const seconds = (performance.now() - start) / 1000;
  await new Promise((resolve) => setTimeout(resolve, 10));
  const rate = operations / seconds;
  console.log(
    `${name.padEnd(36)} ${(rate / 1e6).toFixed(3)} M/s  ${(1e9 / rate).toFixed(0).padStart(6)} ns each  ${((collections * 1e6) / operations).toFixed(2)} collections per million`,
  );
}

const ring = Ring.create({ entries: 128 });
const pool = BufferPool.create({ count: 64, size: 4096 });
const folder = mkdtempSync(join(tmpdir(), 'ring-bench-'));
const path = join(folder, 'file');
const FILE_BYTES = 64 * 2 ** 20;
writeFileSync(path, Buffer.alloc(FILE_BYTES, 1));
const fd = openFile(path, O.RDONLY);

function reap(expected: number): number {
  ring.submitAndWait(expected);
  const ready = ring.cqReady();
  for (let i = 0; i < ready; i++) if (ring.cqRes(i) < 0) throw new Error(`operation ${ring.cqUserDataLo(i)}: ${ring.cqRes(i)}`);
  ring.cqAdvance(ready);
  return ready;
}

for (const depth of [1, 8, 64]) {
  await measure(`NOP, ${depth} a batch`, () => {
    for (let i = 0; i < depth; i++) {
      const slot = ring.getSqe();
      ring.prepNop(slot);
      ring.setUserData(slot, i, 0);
    }
    return reap(depth);
  });
}
let block = 0;
for (const depth of [1, 8, 64]) {
  await measure(`4 KiB page-cache read, ${depth} a batch`, () => {
    for (let i = 0; i < depth; i++) {
      const slot = ring.getSqe();
      block = (block * 1103515245 + 12345) & 0x3fff;
      ring.prepRead(slot, fd, pool.slotAddress(i), 4096, block * 4096);
      ring.setUserData(slot, i, 0);
    }
    return reap(depth);
  });
}
closeFile(fd);
rmSync(folder, { recursive: true });
ring.close();
