/** `drbdsetup status` with many volumes: the command beside a Node.js that does nothing, and the engine's part of it. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { dial } from './cluster.js';
import { median, rounded, type Table } from './table.js';

const RUNS = Number(process.env.BENCH_RUNS ?? 41);
const VOLUMES = [1, 100, 1000];
const VOLUMES_PER_RESOURCE = 10;

export async function status(): Promise<Table> {
  const rows: (string | number)[][] = [];
  for (const volumes of VOLUMES) {
    const folder = mkdtempSync(join(tmpdir(), 'udrbd-bench.'));
    const env = { ...process.env, UDRBD_RUN_DIR: folder, UDRBD_FRONT_END: 'none', UDRBD_NO_START: '1' };
    const engine = spawn(process.execPath, ['bundle/udrbd-engine.js', '--foreground'], { env, stdio: 'ignore' });
    const ended = new Promise((resolve) => engine.once('exit', resolve));
    try {
      const socket = join(folder, 'control.sock');
      while (!existsSync(socket)) await sleep(20);
      const client = dial(socket);
      for (let minor = 0; minor < volumes; minor++) {
        const resource = `r${Math.floor(minor / VOLUMES_PER_RESOURCE)}`;
        const volume = minor % VOLUMES_PER_RESOURCE;
        if (volume === 0) {
          await client.request('new-resource', { resource, nodeId: 0, options: {} });
          await client.request('new-peer', { resource, peerNodeId: 1, options: { _name: 'beta' } });
        }
        const { code } = await client.request('new-minor', { resource, minor, volume, options: {} });
        if (code !== 101) throw new Error(`new-minor ${minor}: code ${code}`);
      }
      const answers: number[] = [];
      const used = processorSeconds(engine.pid!);
      for (let run = 0; run < RUNS; run++) {
        const began = performance.now();
        await client.request('snapshot', {});
        answers.push(performance.now() - began);
      }
      const perAnswer = ((processorSeconds(engine.pid!) - used) / RUNS) * 1000;
      const bare: number[] = [];
      const whole: number[] = [];
      for (let run = 0; run < RUNS; run++) {
        bare.push(timed(['-e', '0'], env));
        whole.push(timed(['bundle/drbdsetup.js', 'status'], env));
      }
      const ratio = median(whole) / median(bare);
      rows.push([
        volumes,
        median(whole).toFixed(1),
        median(bare).toFixed(1),
        ratio.toFixed(2),
        median(answers).toFixed(1),
        rounded(perAnswer),
      ]);
      client.close();
    } finally {
      engine.kill();
      await ended;
      rmSync(folder, { recursive: true, force: true });
    }
  }
  return {
    title: 'drbdsetup status',
    head: ['volumes', 'command, ms', '`node -e 0`, ms', 'ratio', 'answer of the engine, ms', 'its processor time, ms'],
    rows,
    notes: [`median of ${RUNS} runs, interleaved; ${VOLUMES_PER_RESOURCE} volumes without disk and one peer in each resource`],
  };
}

/** @returns wall-clock milliseconds */
function timed(argv: readonly string[], env: NodeJS.ProcessEnv): number {
  const began = performance.now();
  const result = spawnSync(process.execPath, argv, { env, stdio: ['ignore', 'ignore', 'inherit'] });
  if (result.status !== 0) throw new Error(`${argv.join(' ')}: exit status ${result.status}`);
  return performance.now() - began;
}

function processorSeconds(pid: number): number {
  const [, fields = ''] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ');
  const [user = 0, system = 0] = fields.split(' ').slice(11, 13).map(Number);
  return (user + system) / 100;
}
