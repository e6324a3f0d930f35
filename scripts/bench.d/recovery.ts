/**
 * How long the clients of a Primary wait when its engine is killed, or hands over to another one: from the signal to the first
 * completed write after it. Two engines on image files, NBD, protocol C, eight writers of 4 KiB that connect again.
 */
import { Cluster } from './cluster.js';
import { Load } from './load.js';
import { median, type Table } from './table.js';

const KILLS = Number(process.env.BENCH_KILLS ?? 200);
const UPGRADES = Number(process.env.BENCH_UPGRADES ?? 20);
/** Few enough that what the activity log names is copied in a moment. */
const SIZE_MIB = 64;

type Interruption = (cluster: Cluster) => Promise<void>;

/** As a service manager would: the next one is started as soon as the last one is gone. */
const kill: Interruption = async (cluster) => {
  await cluster.kill('alpha');
  await cluster.startEngine('alpha');
};
const upgrade: Interruption = (cluster) => cluster.startEngine('alpha', '--upgrade');

export async function recovery(): Promise<Table> {
  const cluster = new Cluster(1, SIZE_MIB);
  const rows: (string | number)[][] = [];
  let unanswered = 0;
  try {
    await cluster.start();
    // Also beside the writers.
    const options = { 'c-plan-ahead': 0, 'resync-rate': 200_000, 'c-min-rate': 0 };
    await cluster.ask('alpha', 'peer-device-options', { resource: 'r0', peerNodeId: 1, volume: 0, options, setDefaults: false });
    await cluster.ask('beta', 'peer-device-options', { resource: 'r0', peerNodeId: 0, volume: 0, options, setDefaults: false });
    const load = await Load.start(cluster.socket('alpha', 0), SIZE_MIB - 16);
    for (const [what, times, interrupt] of [
      ['kill -9', KILLS, kill],
      ['--upgrade', UPGRADES, upgrade],
    ] as const) {
      const pauses: number[] = [];
      for (let time = 0; time < times; time++) {
        const pause = load.longestPause();
        await interrupt(cluster);
        await cluster.untilInSync();
        pauses.push(await pause());
        process.stderr.write(`${what} ${time + 1}: ${Math.round(pauses.at(-1)!)} ms\n`);
      }
      rows.push([what, times, Math.round(median(pauses)), Math.round(Math.max(...pauses))]);
    }
    unanswered = await load.stop();
  } finally {
    await cluster.stop();
  }
  if (unanswered > 0) throw new Error(`${unanswered} blocks are not what was acknowledged`);
  return {
    title: 'Pause of a Primary’s clients, ms',
    head: ['what', 'times', 'median', 'worst'],
    rows,
    notes: ['longest time without a completed write around each interruption; every acknowledged block was read back at the end'],
  };
}
