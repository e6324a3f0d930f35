/**
 * The NBD front end between two engines on image files, protocol C, beside two servers of others with the same fio:
 * nbdkit's file plugin (one copy, no network) and qemu-storage-daemon's quorum (two copies in one process, no network).
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Cluster, serve, writeImage } from './cluster.js';
import { median, rounded, type Table } from './table.js';

const JOBS = ['randwrite:4k:1', 'randwrite:4k:32', 'randread:4k:1', 'randread:4k:32', 'write:128k:8', 'read:128k:8'];
const SECONDS = Number(process.env.BENCH_SECONDS ?? 4);
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 3);
const SIZE_MIB = 256;

interface FioSide {
  readonly iops: number;
  readonly bw_bytes: number;
  readonly total_ios: number;
}

/** @returns operations a second, or MiB/s when blocks are large */
function fio(uri: string, job: string): number {
  const [pattern, block, depth] = job.split(':') as [string, string, string];
  const argv = [
    '--name=figure',
    '--ioengine=nbd',
    `--uri=${uri}`,
    `--rw=${pattern}`,
    `--bs=${block}`,
    `--iodepth=${depth}`,
    `--size=${SIZE_MIB - 16}M`,
    '--time_based',
    '--ramp_time=1',
    `--runtime=${SECONDS}`,
    '--randrepeat=1',
    '--norandommap',
    '--output-format=json',
  ];
  const text = execFileSync('fio', argv, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  const parsed = JSON.parse(text.slice(text.indexOf('{'))) as { jobs: [{ read: FioSide; write: FioSide; error: number }] };
  const [result] = parsed.jobs;
  if (result.error !== 0) throw new Error(`fio ${job} on ${uri}: error ${result.error}`);
  const side = result.write.total_ios > 0 ? result.write : result.read;
  return isLarge(job) ? side.bw_bytes / 2 ** 20 : side.iops;
}

const isLarge = (job: string): boolean => job.includes(':128k:');

export async function native(): Promise<Table> {
  const folder = mkdtempSync(join(tmpdir(), 'udrbd-bench.'));
  const image = (name: string): string => {
    const path = join(folder, name);
    writeImage(path, SIZE_MIB);
    return path;
  };
  const endings: (() => Promise<void>)[] = [];
  try {
    const cluster = new Cluster(1, SIZE_MIB);
    endings.push(() => cluster.stop());
    await cluster.start();
    const unflushed = new Cluster(1, SIZE_MIB, { diskFlushes: false, firstPort: 7510 });
    endings.push(() => unflushed.stop());
    await unflushed.start();
    const nbdkit = join(folder, 'nbdkit.sock');
    endings.push(await serve(nbdkit, 'nbdkit', ['--foreground', '--unix', nbdkit, 'file', image('nbdkit.img')]));
    const quorum = join(folder, 'quorum.sock');
    const file = (name: string): string[] => [
      '--blockdev',
      `driver=file,node-name=${name},filename=${image(`${name}.img`)},cache.direct=on,aio=threads`,
    ];
    endings.push(
      await serve(quorum, 'qemu-storage-daemon', [
        ...file('one'),
        ...file('two'),
        '--blockdev',
        'driver=quorum,node-name=both,children.0=one,children.1=two,vote-threshold=2',
        '--nbd-server',
        `addr.type=unix,addr.path=${quorum}`,
        '--export',
        'type=nbd,id=both,node-name=both,name=both,writable=on',
      ]),
    );
    const targets = [
      `nbd+unix:///?socket=${cluster.socket('alpha', 0)}`,
      `nbd+unix:///?socket=${unflushed.socket('alpha', 0)}`,
      `nbd+unix:///?socket=${nbdkit}`,
      `nbd+unix:///both?socket=${quorum}`,
    ] as const;
    const figures = JOBS.map(() => targets.map((): number[] => []));
    for (let round = 0; round < ROUNDS; round++) {
      for (const [row, job] of JOBS.entries()) {
        for (const [column, uri] of targets.entries()) figures[row]![column]!.push(fio(uri, job));
      }
      process.stderr.write(`native: round ${round + 1} of ${ROUNDS}\n`);
    }
    return {
      title: 'NBD front end, two engines, protocol C, image files',
      head: ['fio job', 'unit', 'udrbd', 'without flushes', 'nbdkit file', 'quorum of two', 'udrbd / quorum', 'without flushes / quorum'],
      rows: JOBS.map((job, row) => {
        const [ours, unflushed, one, two] = figures[row]!.map(median) as [number, number, number, number];
        const ratios = [ours / two, unflushed / two].map((ratio) => ratio.toFixed(2));
        return [job, isLarge(job) ? 'MiB/s' : 'IOPS', ...[ours, unflushed, one, two].map(rounded), ...ratios];
      }),
      notes: [
        `a job is pattern:block:depth; median of ${ROUNDS} interleaved rounds of ${SECONDS} s after 1 s of warming up`,
        'udrbd without flushes has disk-flushes off, as the quorum, which never flushes by itself',
        'udrbd writes two images through O_DIRECT and TCP on loopback; the quorum writes two images with O_DIRECT in one process; nbdkit writes one image through the page cache',
      ],
    };
  } finally {
    for (const end of endings.reverse()) await end();
    rmSync(folder, { recursive: true, force: true });
  }
}
