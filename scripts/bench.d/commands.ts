/** How long a command takes to start: `drbdadm sh-nop` against a Node.js that does nothing, interleaved. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { median, type Table } from './table.js';

const RUNS = Number(process.env.BENCH_RUNS ?? 41);

/** @returns wall-clock milliseconds of one run */
function timed(argv: readonly string[], env: NodeJS.ProcessEnv): number {
  const began = process.hrtime.bigint();
  const { status, stderr } = spawnSync(process.execPath, argv, { env, stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' });
  if (status !== 0) throw new Error(`${argv.join(' ')}: exit status ${status}\n${stderr}`);
  return Number(process.hrtime.bigint() - began) / 1e6;
}

export async function commands(): Promise<Table> {
  const folder = mkdtempSync(join(tmpdir(), 'udrbd-bench.'));
  const configuration = join(folder, 'drbd.conf');
  const on = (host: string, address: string): string =>
    `  on ${host} { device minor 0; disk /dev/null; meta-disk internal; address ${address}:7788; }\n`;
  writeFileSync(configuration, `resource r0 {\n${on(hostname(), '127.0.0.1')}${on('other', '127.0.0.2')}}\n`);
  const env = { ...process.env, UDRBD_RUN_DIR: join(folder, 'run') };
  const subjects: readonly (readonly [string, readonly string[]])[] = [
    ['node -e 0', ['-e', '0']],
    ['drbdadm sh-nop', ['bundle/drbdadm.js', '-c', configuration, 'sh-nop']],
    ['drbdadm dump', ['bundle/drbdadm.js', '-c', configuration, 'dump']],
    ['drbdsetup help', ['bundle/drbdsetup.js', 'help']],
    ['drbdmeta help', ['bundle/drbdmeta.js', 'help']],
  ];
  const works = subjects.filter(([, argv]) => spawnSync(process.execPath, argv, { env, stdio: 'ignore' }).status === 0);
  if (!works.some(([name]) => name === 'drbdadm sh-nop')) throw new Error('drbdadm sh-nop does not run; was the bundle built?');
  const times = works.map((): number[] => []);
  for (let run = 0; run < RUNS; run++) for (const [index, [, argv]] of works.entries()) times[index]!.push(timed(argv, env));
  rmSync(folder, { recursive: true, force: true });
  const bare = median(times[0]!);
  return {
    title: 'Start of a command',
    head: ['command', 'ms', 'least', 'of `node -e 0`'],
    rows: works.map(([name], index) => [
      `\`${name}\``,
      median(times[index]!).toFixed(1),
      Math.min(...times[index]!).toFixed(1),
      (median(times[index]!) / bare).toFixed(2),
    ]),
    notes: [`median of ${RUNS} runs each, interleaved`],
  };
}
