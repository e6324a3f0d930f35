/** drbdmeta on a sparse device of 16 TiB, beside the distribution's: time and memory of create-md and of apply-al. */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { stockDrbdmeta } from '../../conformance/drbdmeta/stock.js';
import {
  AL_BLOCK_BYTES,
  AL_FREE,
  AL_UPDATES_PER_TRANSACTION,
  alContextAdvance,
  encodeAlUpdate,
  META_DATA_ON_DISK_9,
  placement,
} from '../../packages/metadata/src/index.js';
import { median, rounded, type Table } from './table.js';

const RUNS = Number(process.env.BENCH_RUNS ?? 5);
const DEVICE_BYTES = 16 * 2 ** 40;
const SLOTS = 1237;
const LAYOUTS = { internal: 1, 'internal, 7 peers': 7 } as const;

interface Run {
  readonly milliseconds: number;
  readonly mebibytes: number;
}

/** Runs in a mount namespace whose /var/lib is empty, so that nothing is left on this machine. */
function timed(argv: readonly string[], cwd: string): Promise<Run> {
  const prepare = 'mount -t tmpfs none /var/lib && mkdir /var/lib/drbd && exec "$@"';
  const began = process.hrtime.bigint();
  const child = spawn('unshare', [...(process.getuid?.() === 0 ? [] : ['-r']), '-m', 'sh', '-c', prepare, 'sh', ...argv], {
    cwd,
    stdio: 'ignore',
  });
  let kibibytes = 0;
  const look = setInterval(() => {
    try {
      const [, high] = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${child.pid}/status`, 'latin1')) ?? [];
      kibibytes = Math.max(kibibytes, Number(high ?? 0));
    } catch {
      // It has ended.
    }
  }, 2);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (status) => {
      clearInterval(look);
      if (status !== 0) reject(new Error(`${argv.join(' ')}: exit status ${status}`));
      else resolve({ milliseconds: Number(process.hrtime.bigint() - began) / 1e6, mebibytes: kibibytes / 1024 });
    });
  });
}

/** Lets the volume look like one whose node crashed as Primary with a full activity log, its extents all over the device. */
function crash(image: string, maxPeers: number): void {
  const p = placement({ kind: 'internal', deviceBytes: DEVICE_BYTES, maxPeers });
  const fd = openSync(image, 'r+');
  const head = new DataView(new ArrayBuffer(8));
  head.setBigUint64(0, BigInt(p.usableSectors));
  writeSync(fd, new Uint8Array(head.buffer), 0, 8, p.superblockOffsetBytes);
  head.setUint32(0, 0x13);
  writeSync(fd, new Uint8Array(head.buffer), 0, 4, p.superblockOffsetBytes + META_DATA_ON_DISK_9.at.flags.offset);
  const active = new Uint32Array(SLOTS).fill(AL_FREE);
  const extents = Math.floor(p.usableSectors / 8192);
  const block = new Uint8Array(AL_BLOCK_BYTES);
  let contextStart = 0;
  for (let slot = 0, trNumber = 0; slot < SLOTS; trNumber++) {
    const count = Math.min(AL_UPDATES_PER_TRANSACTION, SLOTS - slot);
    const slots = Uint16Array.from({ length: count }, (_, i) => slot + i);
    const numbers = Uint32Array.from(slots, (s) => Math.floor((s * extents) / SLOTS));
    encodeAlUpdate(block, new DataView(block.buffer), trNumber, active, contextStart, slots, numbers, count);
    for (const [i, s] of slots.entries()) active[s] = numbers[i]!;
    writeSync(fd, block, 0, block.length, p.alOffsetBytes + AL_BLOCK_BYTES * (trNumber % 8));
    contextStart = alContextAdvance(contextStart, SLOTS);
    slot += count;
  }
  closeSync(fd);
}

export async function metadata(): Promise<Table> {
  const folder = mkdtempSync(`${existsSync('/dev/shm') ? '/dev/shm' : tmpdir()}/udrbd-bench.`);
  const commands = { stock: [stockDrbdmeta()], ours: [process.execPath, `${process.cwd()}/bundle/drbdmeta.js`] };
  const image = `${folder}/img`;
  const rows: (string | number)[][] = [];
  try {
    for (const [name, peers] of Object.entries(LAYOUTS)) {
      const results: Record<string, Record<keyof typeof commands, Run[]>> = {};
      for (let round = 0; round < RUNS; round++) {
        for (const who of ['stock', 'ours'] as const) {
          rmSync(image, { force: true });
          const fd = openSync(image, 'w');
          ftruncateSync(fd, DEVICE_BYTES);
          closeSync(fd);
          const run = async (command: string, ...args: string[]): Promise<void> => {
            results[command] ??= { stock: [], ours: [] };
            results[command][who].push(await timed([...commands[who], '--force', '-', 'v09', 'img', 'internal', command, ...args], folder));
          };
          await run('create-md', `${peers}`);
          crash(image, peers);
          await run('apply-al');
        }
      }
      for (const [command, { stock, ours }] of Object.entries(results)) {
        const ms = (runs: Run[]): number => median(runs.map((run) => run.milliseconds));
        const mib = (runs: Run[]): number => Math.max(...runs.map((run) => run.mebibytes));
        rows.push([
          `\`${command}\`, ${name}`,
          rounded(ms(stock)),
          rounded(ms(ours)),
          (ms(ours) / ms(stock)).toFixed(2),
          rounded(mib(stock)),
          rounded(mib(ours)),
        ]);
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return {
    title: 'drbdmeta on 16 TiB',
    head: ['command', 'stock ms', 'udrbd ms', 'ratio', 'stock MiB', 'udrbd MiB'],
    rows,
    notes: [`median of ${RUNS} runs, in turn; memory is the largest resident size; the log has ${SLOTS} extents spread over the device`],
  };
}
