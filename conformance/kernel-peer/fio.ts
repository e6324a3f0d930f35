// fio above our NBD front end: it reads back what it has written, while it goes on and in the end.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { command } from '../vm/host-tools.js';
import type { Pair } from './pair.js';

/** 512 bytes to 1 MiB, most of them not in whole blocks of 4 KiB, at any sector; fio makes one shorter where it would overlap another. */
const SIZES = '512/20:1536/15:4k/15:6656/15:20992/15:68k/10:261632/6:1m/4';

interface FioSide {
  readonly total_ios: number;
  readonly io_kbytes: number;
}

/** @returns writes and reads that were verified; rejects when one was not as it should be */
export async function fioVerify(pair: Pair, sizeMiB: number): Promise<{ readonly writes: number; readonly reads: number }> {
  const { ours } = pair.options;
  const argv = [
    '--name=verify',
    '--ioengine=nbd',
    `--uri=nbd+unix:///?socket=${ours.runDir}/nbd/${pair.minor}.sock`,
    '--rw=randwrite',
    `--bssplit=${SIZES}`,
    `--size=${sizeMiB}M`,
    '--iodepth=16',
    '--fsync=50',
    '--verify=crc32c',
    '--verify_fatal=1',
    '--verify_backlog=32',
    '--do_verify=1',
    '--output-format=json',
  ];
  const { stdout } = await promisify(execFile)(command('fio'), argv, { cwd: ours.runDir, timeout: 120_000 });
  const { jobs } = JSON.parse(stdout.slice(stdout.indexOf('{'))) as {
    jobs: [{ readonly read: FioSide; readonly write: FioSide; readonly error: number }];
  };
  const [{ read, write, error }] = jobs;
  if (error !== 0 || write.io_kbytes < sizeMiB * 1024) throw new Error(`fio: error ${error}, ${write.io_kbytes} KiB written\n${stdout}`);
  return { writes: write.total_ios, reads: read.total_ios };
}
