/** `events2`: state changes a second to 100 readers, and what that does to the latency of writes through the same engine. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { NbdClient } from '../../conformance/engine/nbd-client.js';
import { Cluster } from './cluster.js';
import { median, rounded, type Table } from './table.js';

const SECONDS = Number(process.env.BENCH_SECONDS ?? 4);
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 3);
const READERS = 100;
/** Resources whose state goes to and fro. */
const RESTLESS = 4;
const RESTLESS_MINOR = 50;
/** Changes a second that are asked for; Infinity: as fast as they are answered. */
const RATES = [0, 10, 100, Number.POSITIVE_INFINITY];

/** A process with all the readers: prints how many events they got every time it is sent a line. */
const READER = `
const { connect } = require('node:net');
let events = 0;
for (let i = 0; i < ${READERS}; i++) {
  const socket = connect(process.argv[1]);
  socket.on('data', (bytes) => { for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) events++; });
  socket.on('close', () => process.exit(1));
  socket.write('{"id":1,"command":"events"}\\n');
}
process.stdin.on('data', () => console.log(events)).on('end', () => process.exit(0));
`;

export async function events(): Promise<Table> {
  const cluster = new Cluster(1, 64);
  const rows: (string | number)[][] = [];
  try {
    await cluster.start();
    for (let number = 0; number < RESTLESS; number++) {
      await cluster.ask('alpha', 'new-resource', { resource: `x${number}`, nodeId: 0, options: {} });
      await cluster.ask('alpha', 'new-minor', { resource: `x${number}`, minor: RESTLESS_MINOR + number, volume: 0, options: {} });
    }
    const readers = spawn(process.execPath, ['-e', READER, cluster.controlSocket('alpha')], { stdio: ['pipe', 'pipe', 'inherit'] });
    const lines = createInterface({ input: readers.stdout })[Symbol.asyncIterator]();
    const received = async (): Promise<number> => {
      readers.stdin.write('\n');
      return Number((await lines.next()).value);
    };
    await sleep(1000);
    const nbd = await NbdClient.open(cluster.socket('alpha', 0));
    const latencies = RATES.map((): number[] => []);
    const told = RATES.map(() => 0);
    const changes = RATES.map(() => 0);
    const used = RATES.map(() => 0);
    for (let round = 0; round < ROUNDS; round++) {
      for (const [index, rate] of RATES.entries()) {
        const before = await received();
        const processor = cluster.processorSeconds('alpha');
        const until = performance.now() + SECONDS * 1000;
        const [count] = await Promise.all([change(cluster, rate, until), write(nbd, latencies[index]!, until)]);
        used[index]! += cluster.processorSeconds('alpha') - processor;
        await sleep(300);
        told[index]! += (await received()) - before;
        changes[index]! += count;
      }
    }
    await nbd.close();
    readers.stdin.end();
    const seconds = SECONDS * ROUNDS;
    const quiet = median(latencies[0]!);
    for (const [index] of RATES.entries()) {
      const middle = median(latencies[index]!);
      rows.push([
        rounded(changes[index]! / seconds),
        rounded(told[index]! / seconds),
        (middle * 1000).toFixed(0),
        (middle / quiet).toFixed(2),
        (used[index]! / seconds).toFixed(2),
      ]);
    }
    for (let number = 0; number < RESTLESS; number++) await cluster.ask('alpha', 'down', { resource: `x${number}` });
  } finally {
    await cluster.stop();
  }
  return {
    title: `events2 to ${READERS} readers`,
    head: ['changes/s', 'events delivered/s', '4 KiB write, µs', 'of none', 'processors used'],
    rows,
    notes: [
      `median latency of writes one at a time, ${ROUNDS} rounds of ${SECONDS} s each, in turn; suspend-io and resume-io of ${RESTLESS} other resources`,
    ],
  };
}

/** @returns how many changes there were */
async function change(cluster: Cluster, rate: number, until: number): Promise<number> {
  let count = 0;
  if (rate === 0) {
    await sleep(until - performance.now());
    return 0;
  }
  const began = performance.now();
  const one = async (number: number): Promise<void> => {
    for (let turn = 0; performance.now() < until; turn++) {
      await cluster.ask('alpha', turn % 2 === 0 ? 'suspend-io' : 'resume-io', { minor: RESTLESS_MINOR + number, bdevFreeze: false });
      count += 1;
      const early = began + (count / rate) * 1000 - performance.now();
      if (early > 0) await sleep(early);
    }
    await cluster.ask('alpha', 'resume-io', { minor: RESTLESS_MINOR + number });
  };
  await Promise.all(Array.from({ length: RESTLESS }, (_, number) => one(number)));
  return count;
}

async function write(nbd: NbdClient, latencies: number[], until: number): Promise<void> {
  const block = Buffer.alloc(4096, 0x5a);
  for (let at = 0; performance.now() < until; at = (at + 4096 * 37) % (32 << 20)) {
    const began = performance.now();
    await nbd.write(at, block);
    latencies.push(performance.now() - began);
  }
}
