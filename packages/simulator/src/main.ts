/** The command `scripts/sim`: runs seeds on all cores, or replays one with a trace. */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { Resource } from '@udrbd/replication';
import { type LifeOptions, type LifeResult, runLife } from './life.js';
import { CANARIES } from './life-plan.js';

const USAGE = `usage: scripts/sim --seeds N [--first S] [--workers N] [--canary NAME]
       scripts/sim --seed S [--trace] [--canary NAME]
       scripts/sim --canaries [--limit LIVES]
       each with --two-primaries: in all lives, not only in one of ten
canaries: ${CANARIES.join(' ')}`;

/** A worker thread does not inherit the loader of TypeScript. */
const BOOTSTRAP = `import('tsx/esm/api').then(({ register }) => { register(); return import(${JSON.stringify(import.meta.url)}); });`;

const createCore = (setup: ConstructorParameters<typeof Resource>[0]): Resource => new Resource(setup);

/** Lives in which each deliberate mistake has to be noticed. */
const CANARY_LIMIT = 20_000;

interface Share {
  readonly first: number;
  readonly count: number;
  readonly step: number;
  readonly kind: Kind;
}

/** What all lives of a run have in common. */
type Kind = Pick<LifeOptions, 'canary' | 'twoPrimaries'>;

// The reader of a pipe has seen enough.
process.stdout.on('error', () => process.exit(1));

const live = (seed: number, kind: Kind, trace?: (line: string) => void): LifeResult =>
  runLife(seed, createCore, { ...kind, ...(trace === undefined ? {} : { trace }) });

type Report = { readonly begun: number } | { readonly result: LifeResult };

function work({ first, count, step, kind }: Share): void {
  const tell = (report: Report): void => parentPort!.postMessage(report);
  for (let i = 0; i < count; i++) {
    tell({ begun: first + i * step });
    tell({ result: live(first + i * step, kind) });
  }
}

/** Every deliberate mistake has to be noticed by ordinary lives; tells in which one it was. */
function tryCanaries(limit: number): number {
  let noticed = 0;
  for (const canary of CANARIES) {
    let result: LifeResult | undefined;
    for (let seed = 1; seed <= limit && result?.failure === undefined; seed++) result = live(seed, { canary });
    if (result?.failure !== undefined) noticed++;
    const outcome =
      result?.failure === undefined ? `not noticed in ${limit} lives` : `life ${result.seed}: ${result.failure.split('\n')[0]}`;
    console.log(`${canary.padEnd(22)} ${outcome}`);
  }
  console.log(`${CANARIES.length} canaries, ${noticed} noticed`);
  return noticed === CANARIES.length ? 0 : 1;
}

/** Wall time after which a life is taken for an endless loop. */
const HANG_MS = 300_000;

/** Runs a share of the seeds in a worker thread; after one that hangs, the rest in another. */
function runShare(share: Share, take: (result: LifeResult) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(BOOTSTRAP, {
      eval: true,
      workerData: share,
      execArgv: ['--conditions=udrbd-source'],
      resourceLimits: { maxYoungGenerationSizeMb: 64 },
    });
    let seed = share.first;
    const hang = (): void => {
      const done = (seed - share.first) / share.step + 1;
      take({ seed, failure: 'L3: a call into the core does not return', traceHash: 0, simulatedSeconds: 0, events: 0, writes: 0 });
      worker.removeAllListeners('exit');
      const rest = { ...share, first: seed + share.step, count: share.count - done };
      void worker
        .terminate()
        .then(() => (rest.count > 0 ? runShare(rest, take) : undefined))
        .then(resolve, reject);
    };
    let watchdog = setTimeout(hang, HANG_MS);
    worker.on('message', (report: Report) => {
      clearTimeout(watchdog);
      watchdog = setTimeout(hang, HANG_MS);
      if ('begun' in report) seed = report.begun;
      else take(report.result);
    });
    worker.on('error', reject);
    worker.on('exit', () => {
      clearTimeout(watchdog);
      resolve();
    });
  });
}

function reproduce(seed: number, { canary, twoPrimaries }: Kind): string {
  const words = [...(canary === undefined ? [] : [`--canary ${canary}`]), ...(twoPrimaries ? ['--two-primaries'] : [])];
  return ['scripts/sim', '--seed', seed, '--trace', ...words].join(' ');
}

async function runMany(first: number, seeds: number, workers: number, kind: Kind): Promise<number> {
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
    console.log(`${reproduce(result.seed, kind)}   # ${result.failure.split('\n')[0]}`);
  };
  const shares = Array.from({ length: Math.min(workers, seeds) }, (_, i): Share => {
    return { first: first + i, count: Math.floor((seeds - 1 - i) / workers) + 1, step: workers, kind };
  });
  await Promise.all(shares.map((share) => runShare(share, take)));
  const seconds = (Date.now() - started) / 1000;
  const hours = (simulatedSeconds / 3600).toFixed(1);
  console.log(
    `${hours} simulated hours, ${writes} writes, ${events} events, ${Math.round(events / seconds)} events/s, ${seconds.toFixed(1)} s`,
  );
  console.log(`${lives} lives, ${violations} violations`);
  return violations === 0 && lives === seeds ? 0 : 1;
}

function runOne(seed: number, isTracing: boolean, kind: Kind): number {
  const result = live(seed, kind, isTracing ? (line) => console.log(line) : undefined);
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
      'two-primaries': { type: 'boolean' },
      canaries: { type: 'boolean' },
      limit: option,
      trace: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  });
  const canary = CANARIES.find((name) => name === values.canary);
  if (values.canary !== undefined && canary === undefined) throw new TypeError(`no canary ${values.canary}`);
  const kind: Kind = { ...(canary === undefined ? {} : { canary }), twoPrimaries: values['two-primaries'] === true };
  if (values.canaries) return tryCanaries(number(values.limit, CANARY_LIMIT));
  if (values.help || (values.seed === undefined) === (values.seeds === undefined)) {
    console.log(USAGE);
    return values.help ? 0 : 2;
  }
  if (values.seed !== undefined) return runOne(number(values.seed, 0), values.trace === true, kind);
  return runMany(number(values.first, 1), number(values.seeds, 1), Math.max(1, number(values.workers, availableParallelism())), kind);
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
