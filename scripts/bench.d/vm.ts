/** The same fio jobs on our /dev/drbd0 (ublk) and on the kernel's DRBD, interleaved in one virtual machine on brd disks. */
import { spawn } from 'node:child_process';
import { median, rounded, type Table } from './table.js';

interface Figure {
  readonly device: string;
  readonly job: string;
  readonly iops: number;
  readonly mibps: number;
}

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 3);

export async function vm(): Promise<Table> {
  const argv = ['--mem', '2048', '--timeout', '1500', 'scripts/bench.d/vm-guest.sh', String(ROUNDS)];
  const child = spawn('scripts/vm', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  for await (const chunk of child.stdout) {
    text += String(chunk);
    process.stderr.write(String(chunk));
  }
  const status = await new Promise<number | null>((resolve) =>
    child.exitCode === null ? child.once('exit', resolve) : resolve(child.exitCode),
  );
  if (status !== 0) throw new Error(`scripts/vm: exit status ${status}`);
  const figures = text.split('\n').flatMap((line) => (line.startsWith('{"device"') ? [JSON.parse(line) as Figure] : []));
  const jobs = [...new Set(figures.map(({ job }) => job))];
  const value = ({ job, iops, mibps }: Figure): number => (job.includes(':128k:') ? mibps : iops);
  const of = (device: string, job: string): number =>
    median(figures.filter((figure) => figure.device === device && figure.job === job).map(value));
  return {
    title: 'ublk in a virtual machine beside the kernel’s DRBD',
    head: ['fio job', 'unit', 'udrbd', 'kernel DRBD 8.4', 'ratio'],
    rows: jobs.map((job) => {
      const [ours, kernel] = [of('udrbd', job), of('kernel', job)];
      return [job, job.includes(':128k:') ? 'MiB/s' : 'IOPS', rounded(ours), rounded(kernel), (ours / kernel).toFixed(2)];
    }),
    notes: [
      `median of ${ROUNDS} interleaved rounds of 4 s; both nodes of both in one machine, protocol C, brd disks; fully emulated, so only the ratio means something`,
    ],
  };
}
