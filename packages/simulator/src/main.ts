/** The command `scripts/sim`: runs seeds on all cores, or replays one with a trace. */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { Resource } from '@udrbd/replication';
import { type LifeResult, runLife } from './life.js';
import { CANARIES, type Canary } from './life-plan.js';

const USAGE = `usage: scripts/sim --seeds N [--first S] [--workers N] [--canary NAME]
       scripts/sim --seed S [--trace] [--canary NAME]
canaries: ${CANARIES.join(' ')}`;

/** A worker thread does not inherit the loader of TypeScript. */
const BOOTSTRAP = `import('tsx/esm/api').then(({ register }) => { register(); return import(${JSON.stringify(import.meta.url)}); });`;

const createCore = (setup: ConstructorParameters<typeof Resource>[0]): Resource => new Resource(setup);

interface Share {
  readonly first: number;
  readonly count: number;
  readonly step: number;
  readonly canary: Canary | undefined;
}

const live = (seed: number, canary: Canary | undefined, trace?: (line: string) => void): LifeResult =>
  runLife(seed, createCore, { ...(canary === undefined ? {} : { canary }), ...(trace === undefined ? {} : { trace }) });

function work({ first, count, step, canary }: Share): void {
  for (let i = 0; i < count; i++) parentPort!.postMessage(live(first + i * step, canary));
}

function reproduce(seed: number, canary: Canary | undefined): string {
  return `scripts/sim --seed ${seed} --trace${canary === undefined ? '' : ` --canary ${canary}`}`;
}

async function runMany(first: number, seeds: number, workers: number, canary: Canary | undefined): Promise<number> {
  const started = Date.now();
  let lives = 0;
  let violations = 0;
  let simulatedSeconds = 0;
  let events = 0;
  let writes = 0;
  const take = (result: LifeResult): void => {
    lives++;
    simulatedSeconds += result.simulatedSeconds;
    events += result.events;
    writes += result.writes;
    if (result.failure === undefined) return;
    violations++;
    console.log(`${reproduce(result.seed, canary)}   # ${result.failure.split('\n')[0]}`);
  };
  await Promise.all(
    Array.from({ length: Math.min(workers, seeds) }, (_, i) => {
      const share: Share = { first: first + i, count: Math.floor((seeds - 1 - i) / workers) + 1, step: workers, canary };
      const worker = new Worker(BOOTSTRAP, { eval: true, workerData: share, execArgv: ['--conditions=udrbd-source'] });
      return new Promise<void>((resolve, reject) => {
        worker.on('message', take);
        worker.on('error', reject);
        worker.on('exit', () => resolve());
      });
    }),
  );
  const seconds = (Date.now() - started) / 1000;
  const hours = (simulatedSeconds / 3600).toFixed(1);
  console.log(
    `${hours} simulated hours, ${writes} writes, ${events} events, ${Math.round(events / seconds)} events/s, ${seconds.toFixed(1)} s`,
  );
  console.log(`${lives} lives, ${violations} violations`);
  return violations === 0 && lives === seeds ? 0 : 1;
}

function runOne(seed: number, isTracing: boolean, canary: Canary | undefined): number {
  const result = live(seed, canary, isTracing ? (line) => console.log(line) : undefined);
  console.log(`seed ${seed}: ${result.failure ?? 'no violation'}`);
  console.log(`${result.simulatedSeconds.toFixed(1)} simulated seconds, ${result.events} events, trace ${result.traceHash.toString(16)}`);
  console.log(`1 lives, ${result.failure === undefined ? 0 : 1} violations`);
  return result.failure === undefined ? 0 : 1;
}

const number = (text: string | undefined, preset: number): number => {
  const value = text === undefined ? preset : Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new TypeError(`not a number: ${text}`);
  return value;
};

async function main(): Promise<number> {
  const option = { type: 'string' } as const;
  const { values } = parseArgs({
    options: {
      seeds: option,
      first: option,
      seed: option,
      workers: option,
      canary: option,
      trace: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  });
  const canary = CANARIES.find((name) => name === values.canary);
  if (values.canary !== undefined && canary === undefined) throw new TypeError(`no canary ${values.canary}`);
  if (values.help || (values.seed === undefined) === (values.seeds === undefined)) {
    console.log(USAGE);
    return values.help ? 0 : 2;
  }
  if (values.seed !== undefined) return runOne(number(values.seed, 0), values.trace === true, canary);
  return runMany(number(values.first, 1), number(values.seeds, 1), Math.max(1, number(values.workers, availableParallelism())), canary);
}

if (isMainThread) {
  main().then(
    (code) => {
      process.exitCode = code;
    },
    (error: unknown) => {
      console.error(error instanceof TypeError ? `${error.message}\n${USAGE}` : error);
      process.exitCode = 2;
    },
  );
} else work(workerData as Share);
