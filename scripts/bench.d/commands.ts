/** How long a command takes to start: `drbdadm sh-nop` against a Node.js that does nothing, interleaved. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { median, type Table } from './table.js';

const RUNS = Number(process.env.BENCH_RUNS ?? 41);

/** @returns wall-clock milliseconds of one run, which has to end with the given exit status */
function timed({ argv, status = 0 }: Subject, env: NodeJS.ProcessEnv): number {
  const began = process.hrtime.bigint();
  const result = spawnSync(process.execPath, argv, { env, stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' });
  if (result.status !== status) throw new Error(`${argv.join(' ')}: exit status ${result.status}\n${result.stderr}`);
  return Number(process.hrtime.bigint() - began) / 1e6;
}

/** What node_modules/.bin/drbdadm is a link to. */
const DRBDADM = 'packages/drbdadm/bin/drbdadm.js';

interface Subject {
  readonly name: string;
  readonly argv: readonly string[];
  readonly status?: number;
}

export async function commands(): Promise<Table> {
  const folder = mkdtempSync(join(tmpdir(), 'udrbd-bench.'));
  const configuration = join(folder, 'drbd.conf');
  const on = (host: string, address: string): string =>
    `  on ${host} { node-id ${host === 'other' ? 1 : 0}; device minor 0; disk /dev/null; meta-disk internal; address ${address}:7788; }\n`;
  writeFileSync(configuration, `resource r0 {\n${on(hostname(), '127.0.0.1')}${on('other', '127.0.0.2')}}\n`);
  const env = { ...process.env, UDRBD_RUN_DIR: join(folder, 'run') };
  const subjects: readonly Subject[] = [
    { name: 'node -e 0', argv: ['-e', '0'] },
    { name: 'drbdadm sh-nop', argv: [DRBDADM, '-c', configuration, 'sh-nop'] },
    { name: 'drbdadm dump', argv: [DRBDADM, '-c', configuration, 'dump'] },
    { name: 'drbdsetup status', argv: ['bundle/drbdsetup.js', 'status'] },
    { name: 'drbdmeta --help', argv: ['bundle/drbdmeta.js', '--help'], status: 20 },
  ];
  const times = subjects.map((): number[] => []);
  for (let round = 0; round < RUNS; round++) for (const [index, subject] of subjects.entries()) times[index]!.push(timed(subject, env));
  rmSync(folder, { recursive: true, force: true });
  const bare = median(times[0]!);
  return {
    title: 'Start of a command',
    head: ['command', 'ms', 'least', 'of `node -e 0`'],
    rows: subjects.map(({ name }, index) => [
      `\`${name}\``,
      median(times[index]!).toFixed(1),
      Math.min(...times[index]!).toFixed(1),
      (median(times[index]!) / bare).toFixed(2),
    ]),
    notes: [`median of ${RUNS} runs each, interleaved`],
  };
}
