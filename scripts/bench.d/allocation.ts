/**
 * What the heaps of two engines allocate for each write: V8's own record of its collections while fio writes to the Primary.
 * What was allocated is what the heap grew by between two collections; it is known to a tenth of a MiB for each.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, NODES, type NodeName } from './cluster.js';
import { rounded, type Table } from './table.js';

const REQUESTS = Number(process.env.BENCH_REQUESTS ?? 10_000_000);
const WARM_UP = Math.min(REQUESTS, 300_000);
const SIZE_MIB = 256;
const IDLE_MS_MAX = 120_000;
const COLLECTION = /^\[\d+:(0x[0-9a-f]+)\] +\d+ ms: (Scavenge|Mark-Compact)[^0-9]* ([\d.]+) \([\d.]+\) -> ([\d.]+) \([\d.]+\) MB/;

interface Heap {
  collections: number;
  allocatedMiB: number;
  leftMiB: number;
}

class GcLog {
  readonly #path: string;
  #read = 0;
  readonly #heaps = new Map<string, Heap>();

  constructor(path: string) {
    this.#path = path;
  }

  /** Takes in what was written since the last time. @returns what was collected meanwhile, in the order of the first collections: the main thread's, then the reactor's */
  take(): Heap[] {
    const size = statSync(this.#path).size;
    const text = readFileSync(this.#path, 'utf8').slice(this.#read);
    this.#read = size;
    for (const heap of this.#heaps.values()) Object.assign(heap, { collections: 0, allocatedMiB: 0 });
    for (const line of text.split('\n')) {
      const [, isolate, , before, after] = COLLECTION.exec(line) ?? [];
      if (isolate === undefined) continue;
      const heap = this.#heaps.get(isolate) ?? { collections: 0, allocatedMiB: 0, leftMiB: Number(before) };
      heap.collections++;
      heap.allocatedMiB += Math.max(0, Number(before) - heap.leftMiB);
      heap.leftMiB = Number(after);
      this.#heaps.set(isolate, heap);
    }
    return [...this.#heaps.values()].map((heap) => ({ ...heap }));
  }
}

function write(socket: string, requests: number): void {
  const argv = ['--name=w', '--ioengine=nbd', `--uri=nbd+unix:///?socket=${socket}`, '--rw=randwrite', '--bs=4k', '--iodepth=32'];
  execFileSync('fio', [...argv, `--size=${SIZE_MIB - 16}M`, '--norandommap', `--io_size=${requests * 4}k`], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

export async function allocation(): Promise<Table> {
  const cluster = new Cluster(1, SIZE_MIB, { diskFlushes: false, nodeOptions: ['--trace-gc'] });
  const rows: (string | number)[][] = [];
  try {
    await cluster.start();
    const logs = new Map<NodeName, GcLog>(NODES.map((node) => [node, new GcLog(cluster.log(node))]));
    // Code that runs often is compiled, with garbage of its own.
    write(cluster.socket('alpha', 0), WARM_UP);
    const before = new Map(NODES.map((node) => [node, cluster.residentMiB(node)]));
    for (const log of logs.values()) log.take();
    const began = performance.now();
    write(cluster.socket('alpha', 0), REQUESTS);
    const tookMs = performance.now() - began;
    const busy = new Map(NODES.map((node) => [node, logs.get(node)!.take()]));
    // What goes on by itself: the state is told, /proc/drbd is written.
    const idleMs = Math.min(tookMs, IDLE_MS_MAX);
    await sleep(idleMs);
    const idle = new Map(NODES.map((node) => [node, logs.get(node)!.take()]));
    for (const node of NODES) {
      const grown = cluster.residentMiB(node) - before.get(node)!;
      for (const [at, { collections, allocatedMiB }] of busy.get(node)!.entries()) {
        const thread = ['main', 'reactor'][at] ?? '?';
        const atRest = ((idle.get(node)![at]?.allocatedMiB ?? 0) * tookMs) / idleMs;
        const bytes = Math.max(0, ((allocatedMiB - atRest) * 2 ** 20) / REQUESTS);
        rows.push([node, thread, collections, rounded(allocatedMiB), rounded(atRest), bytes.toFixed(1), rounded(Math.max(0, grown))]);
      }
    }
  } finally {
    await cluster.stop();
  }
  return {
    title: `Allocations over ${REQUESTS.toLocaleString('en-US')} writes of 4 KiB`,
    head: ['node', 'thread', 'collections', 'allocated, MiB', 'at rest, MiB', 'bytes a write', 'resident memory grew, MiB'],
    rows,
    notes: ['alpha is Primary, NBD, depth 32, protocol C, after a warm-up; at rest: as much is allocated in the same time without a write'],
  };
}
