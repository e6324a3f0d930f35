/** The command scripts/fuzz: feeds decoders for as long as is wanted, each in a process of its own that may crash or hang. */
import { fork, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Target } from './target.js';
import { canary, TARGETS } from './targets.js';

const USAGE = `usage: scripts/fuzz [TARGET...] [--time 1h | --count N] [--seed S] [--workers N] [--hang SECONDS]
       scripts/fuzz --list
Time and count are for each target; without them 60s. Inputs are those of the seeds S, S+1 ...; 1 is the first.`;
const SELF = fileURLToPath(import.meta.url);
const FOLDER = fileURLToPath(new URL('../../.cache/fuzz/', import.meta.url));
/** An input that takes more processor time than this, or ten times as long by the clock, is taken for one that never ends. */
const HANG_SECONDS = 30;
const PATIENCE = 10;
/** Of processor time. */
const SLOW_MS = 2000;
const FINDINGS_MAX = 20;
const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000 };

interface Share {
  readonly target: string;
  readonly first: number;
  readonly step: number;
  /** Inputs at most. */
  readonly count: number;
  /** Of the clock, in milliseconds; Infinity: until the count is reached. */
  readonly until: number;
  /** Where the worker writes the seed that it is at. */
  readonly progress: string;
}

type Kind = 'crash' | 'hang' | 'slow';
type Report =
  /** Inputs follow. */
  | { readonly type: 'open' }
  | { readonly type: 'finding'; readonly kind: Kind; readonly seed: number; readonly text: string }
  | { readonly type: 'progress'; readonly peakMiB: number; readonly processorMs: number }
  | { readonly type: 'end' };

const targetOf = (name: string): Target => {
  const found = [...TARGETS, canary].find((target) => target.name === name);
  if (found === undefined) throw new TypeError(`no target ${name}; there are ${TARGETS.map((target) => target.name).join(' ')}`);
  return found;
};

// --- a worker ---

function processorMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

async function processorMsOf(run: () => void | Promise<void>): Promise<number> {
  const began = processorMs();
  try {
    await run();
  } catch {
    // Has been told.
  }
  return processorMs() - began;
}

async function work({ target, first, step, count, until, progress }: Share): Promise<void> {
  const fd = openSync(progress, 'w');
  const at = new Float64Array(1);
  const bytes = new Uint8Array(at.buffer);
  const tell = (report: Report): Promise<void> => new Promise((resolve) => process.send!(report, () => resolve()));
  const fuzzer = await targetOf(target).open();
  await tell({ type: 'open' });
  let told = performance.now();
  const tellProgress = async (): Promise<void> => {
    await tell({ type: 'progress', peakMiB: process.resourceUsage().maxRSS / 1024, processorMs: processorMs() });
    told = performance.now();
  };
  for (let n = 0; n < count && Date.now() < until; n++) {
    const seed = first + n * step;
    at[0] = seed;
    writeSync(fd, bytes, 0, 8, 0);
    const began = performance.now();
    try {
      await fuzzer.run(seed);
    } catch (error) {
      writeFileSync(`${FOLDER}${target}-${seed}.input`, fuzzer.input(seed));
      await tell({ type: 'finding', kind: 'crash', seed, text: error instanceof Error ? String(error.stack) : String(error) });
    }
    const now = performance.now();
    // By the clock first, which costs less to read; a busy machine makes that long for nothing.
    if (now - began > SLOW_MS && (await processorMsOf(() => fuzzer.run(seed))) > SLOW_MS) {
      await tell({ type: 'finding', kind: 'slow', seed, text: `${Math.round(now - began)} ms` });
    }
    if (now - told > 1000) await tellProgress();
  }
  await tellProgress();
  fuzzer.close?.();
  closeSync(fd);
  await tell({ type: 'end' });
  process.disconnect();
}

// --- the supervisor ---

interface Totals {
  executions: number;
  crash: number;
  hang: number;
  slow: number;
  peakMiB: number;
  /** Of all its processes; a busy machine gives them less than the clock says. */
  processorMs: number;
}

class Supervisor {
  readonly totals: Totals = { executions: 0, crash: 0, hang: 0, slow: 0, peakMiB: 0, processorMs: 0 };
  readonly #hangMs: number;

  constructor(hangMs: number) {
    this.#hangMs = hangMs;
  }

  get findings(): number {
    return this.totals.crash + this.totals.hang + this.totals.slow;
  }

  note(target: string, kind: Kind, seed: number, text: string): void {
    this.totals[kind]++;
    const base = `${FOLDER}${target}-${seed}`;
    writeFileSync(`${base}.txt`, `${kind}\n${text}\n`);
    // One that does not come to an end, or ends its process, has not written it.
    if (!existsSync(`${base}.input`))
      spawnSync(process.execPath, [...process.execArgv, SELF, '--write-input', target, '--seed', String(seed)], { timeout: 60_000 });
    console.log(`${target}: ${kind} with seed ${seed}: ${text.split('\n')[0]}`);
    console.log(`  scripts/fuzz ${target} --seed ${seed} --count 1     # ${base}.input, ${base}.txt`);
  }

  /** Runs a share; after an input that ends or stops its process the rest goes on in another. */
  async share(share: Share): Promise<void> {
    let left: Share | undefined = share;
    while (left !== undefined && left.count > 0 && Date.now() < left.until && this.findings < FINDINGS_MAX) left = await this.#worker(left);
  }

  #worker(share: Share): Promise<Share | undefined> {
    const { target, progress } = share;
    writeFileSync(progress, new Uint8Array(new Float64Array([share.first]).buffer));
    return new Promise((resolve) => {
      const child = fork(SELF, ['--worker', JSON.stringify({ ...share, until: String(share.until) })], {
        stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      });
      let said = '';
      let hasEnded = false;
      let last = share.first;
      let lastMoved = Date.now();
      let usedThen = 0;
      let told = 0;
      // Until then it loads programs, which takes its time on a busy machine.
      let isOpen = false;
      child.stderr!.setEncoding('utf8').on('data', (text: string) => {
        said = (said + text).slice(-4000);
      });
      const watch = setInterval(() => {
        const seed = seedAt(progress);
        const used = childProcessorMs(child.pid!);
        if (seed !== last || !isOpen) {
          last = seed;
          lastMoved = Date.now();
          usedThen = used;
        } else if (used - usedThen > this.#hangMs || Date.now() - lastMoved > PATIENCE * this.#hangMs) {
          this.note(target, 'hang', seed, `no end in ${this.#hangMs / 1000} s`);
          clearInterval(watch);
          hasEnded = true;
          child.kill('SIGKILL');
        }
      }, 500);
      child.on('message', (report: Report) => {
        if (report.type === 'finding') this.note(target, report.kind, report.seed, report.text);
        else if (report.type === 'open') isOpen = true;
        else if (report.type === 'end') hasEnded = true;
        else {
          this.totals.peakMiB = Math.max(this.totals.peakMiB, report.peakMiB);
          this.totals.processorMs += report.processorMs - told;
          told = report.processorMs;
        }
        if (this.findings >= FINDINGS_MAX) child.kill('SIGKILL');
      });
      child.on('exit', (code, signal) => {
        clearInterval(watch);
        const seed = seedAt(progress);
        const wasKilled = signal === 'SIGKILL' && hasEnded;
        if (!hasEnded && this.findings < FINDINGS_MAX) this.note(target, 'crash', seed, `the process ended: ${signal ?? code}\n${said}`);
        const done = Math.round((seed - share.first) / share.step) + 1;
        this.totals.executions += done;
        resolve(hasEnded && !wasKilled ? undefined : { ...share, first: seed + share.step, count: share.count - done });
      });
    });
  }
}

/** Of another process, 0 when it is gone. Its clock ticks 100 times a second. */
function childProcessorMs(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').at(-1)!.split(' ');
    return (Number(fields[11]) + Number(fields[12])) * 10;
  } catch {
    return 0;
  }
}

function seedAt(path: string): number {
  const at = new Float64Array(1);
  const fd = openSync(path, 'r');
  readSync(fd, new Uint8Array(at.buffer), 0, 8, 0);
  closeSync(fd);
  return at[0]!;
}

async function fuzz(target: Target, seed: number, count: number, milliseconds: number, workers: number, hangMs: number): Promise<number> {
  const supervisor = new Supervisor(hangMs);
  const began = Date.now();
  await Promise.all(
    Array.from({ length: Math.min(workers, count) }, (_, i) => {
      const share = Math.floor((count - 1 - i) / workers) + 1;
      const progress = `${FOLDER}.${target.name}-${process.pid}-${i}`;
      return supervisor
        .share({ target: target.name, first: seed + i, step: workers, count: share, until: began + milliseconds, progress })
        .finally(() => rmSync(progress, { force: true }));
    }),
  );
  const { executions, crash, hang, slow, peakMiB, processorMs } = supervisor.totals;
  const seconds = (Date.now() - began) / 1000;
  const rate = Math.round(executions / seconds);
  console.log(
    `${target.name.padEnd(14)} ${executions} executions in ${seconds.toFixed(0)} s (${rate}/s; ${Math.round(processorMs / 1000)} s of a processor), ${crash} crashes, ${hang} hangs, ${slow} slow, peak ${Math.round(peakMiB)} MiB`,
  );
  appendFileSync(
    `${FOLDER}runs.jsonl`,
    `${JSON.stringify({ target: target.name, seed, executions, seconds, processorSeconds: processorMs / 1000, crash, hang, slow, peakMiB: Math.round(peakMiB) })}\n`,
  );
  return supervisor.findings;
}

const number = (text: string | undefined, preset: number): number => {
  const value = text === undefined ? preset : Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new TypeError(`not a number: ${text}`);
  return value;
};

function timeOf(text: string): number {
  const [, amount, unit] = /^(\d+)([smh])$/.exec(text) ?? [];
  if (amount === undefined || unit === undefined) throw new TypeError(`not a time: ${text}`);
  return Number(amount) * UNITS[unit]!;
}

async function main(): Promise<number> {
  const option = { type: 'string' } as const;
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      time: option,
      count: option,
      seed: option,
      workers: option,
      hang: option,
      list: { type: 'boolean' },
      help: { type: 'boolean' },
      worker: option,
      'write-input': option,
    },
  });
  if (values.help || values.list) {
    console.log(values.help ? USAGE : TARGETS.map(({ name, what }) => `${name.padEnd(14)} ${what}`).join('\n'));
    return 0;
  }
  if (values.worker !== undefined) {
    const share = JSON.parse(values.worker) as Share & { readonly until: string };
    await work({ ...share, until: Number(share.until) });
    return 0;
  }
  const seed = number(values.seed, 1);
  mkdirSync(FOLDER, { recursive: true });
  if (values['write-input'] !== undefined) {
    const fuzzer = await targetOf(values['write-input']).open();
    writeFileSync(`${FOLDER}${values['write-input']}-${seed}.input`, fuzzer.input(seed));
    fuzzer.close?.();
    return 0;
  }
  const targets = positionals.length > 0 ? positionals.map(targetOf) : TARGETS;
  const count = number(values.count, Number.MAX_SAFE_INTEGER);
  const milliseconds = values.time !== undefined ? timeOf(values.time) : values.count !== undefined ? Number.POSITIVE_INFINITY : 60_000;
  const workers = number(values.workers, availableParallelism());
  const hangMs = number(values.hang, HANG_SECONDS) * 1000;
  let findings = 0;
  for (const target of targets) findings += await fuzz(target, seed, count, milliseconds, workers, hangMs);
  console.log(`${targets.length} targets, ${findings} findings`);
  return findings > 0 ? 1 : 0;
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    console.error(error instanceof TypeError ? `${error.message}\n${USAGE}` : error);
    process.exitCode = 2;
  },
);
