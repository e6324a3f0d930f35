/**
 * Compares our drbdadm with a stock one on configurations that nobody wrote down: random sites, broken ones, and running states that
 * differ from the configuration. By hand:
 *   node --import=tsx --conditions=udrbd-source conformance/drbdadm/differential.ts STOCK_DRBDADM [COUNT [FIRST_SEED]]
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Random } from '../../packages/config/src/testing/random-config.js';
import { breakSite, randomSite, type Site } from '../../packages/config/src/testing/random-site.js';
import { type Printed, type Release, reasonApart, type Situation, settle } from './releases.js';
import { disturb, showOf, showText } from './running-state.js';
import { runCase } from './vector-case.js';

/** What is asked about every configuration. */
const ALWAYS: readonly (readonly string[])[] = [['dump'], ['-d', 'up', 'all']];
/** Some of these, too, chosen by the seed. `RES`, `PEER`, `MINOR` are filled in. */
const SOMETIMES: readonly (readonly string[])[] = [
  ['-v', 'dump'],
  ['-d', 'dump'],
  ['dump-xml'],
  ['-d', 'dump-xml'],
  ['-v', 'dump-xml', 'RES'],
  ['dump', 'RES'],
  ['sh-nop'],
  ['sh-resources'],
  ['-S', 'sh-resources'],
  ['sh-resource', 'all'],
  ['sh-mod-parms'],
  ['sh-minor', 'all'],
  ['sh-ll-dev', 'all'],
  ['sh-md-dev', 'RES'],
  ['sh-md-idx', 'RES'],
  ['sh-ip', 'all'],
  ['sh-udev', 'RES/0'],
  ['sh-udev', 'minor-MINOR'],
  ['sh-lr-of', '-S', 'RES'],
  ['-d', '-S', 'up', 'all'],
  ['-d', 'up', 'RES:PEER'],
  ['-d', 'down', 'all'],
  ['-d', 'create-md', 'RES'],
  ['-d', 'create-md', 'minor-MINOR'],
  ['-d', '--max-peers=3', 'create-md', 'RES/0'],
  ['-d', 'wait-connect', 'RES'],
  ['-d', '-S', 'wait-connect', 'all'],
  ['-d', 'wait-sync', 'RES:PEER/0'],
  ['-d', 'primary', '--force', 'RES'],
  ['-d', 'attach', 'RES'],
  ['-d', 'resize', '--assume-clean', 'RES/0'],
  ['-d', 'invalidate', 'RES:PEER/0'],
  ['-d', 'invalidate-remote', 'all'],
  ['-d', 'new-peer', 'all'],
  ['-d', 'net-options', 'RES:PEER'],
  ['-d', 'disk-options', 'RES'],
  ['-d', 'peer-device-options', 'all'],
  ['-d', 'new-path', 'all'],
  ['-d', 'del-path', 'RES'],
  ['-d', 'show-gi', 'RES:PEER/0'],
  ['-d', 'dump-md', 'RES'],
  ['-d', 'forget-peer', 'RES:PEER'],
  ['-d', 'fence-peer', 'RES'],
  ['-d', 'split-brain', 'minor-MINOR'],
  ['-d', 'proxy-up', 'all'],
  ['-d', 'proxy-down', 'all'],
  ['-d', '--', '1:2:3:4', 'set-gi', 'RES/0'],
  ['-d', 'verify', '--start=0', 'RES:PEER/0'],
];
const ADJUST: readonly (readonly string[])[] = [
  ['-d', 'adjust', 'all'],
  ['-d', 'adjust', 'RES'],
  ['-d', '--skip-net', 'adjust', 'RES'],
  ['-d', '--skip-disk', 'adjust', 'RES:PEER'],
  ['-d', 'adjust', 'RES/0'],
];

export interface Difference {
  readonly seed: number;
  readonly argv: readonly string[];
  readonly site: Site;
  readonly want: Printed;
  readonly got: Printed;
}

export interface Comparison {
  readonly equal: number;
  readonly total: number;
  /** How many cases could not be compared, by reason. */
  readonly apart: ReadonlyMap<string, number>;
  readonly differences: readonly Difference[];
}

interface Case {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

function runStock(stock: string, { argv, env }: Case, directory: string): Promise<Printed> {
  return new Promise((resolve, reject) => {
    const child = spawn(stock, argv, {
      argv0: 'drbdadm',
      cwd: directory,
      env: { LC_ALL: 'C', PATH: `${dirname(stock)}:/usr/bin:/bin`, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const texts = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) child[name].setEncoding('latin1').on('data', (text: string) => (texts[name] += text));
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ rc: signal === null ? (code ?? -1) : -1, ...texts }));
  });
}

async function runOurs({ argv, env }: Case, directory: string): Promise<Printed> {
  const { rc, stdout, stderr } = await runCase({ id: '', argv, env, results: {} }, directory, '');
  const join = (lines: readonly string[]) => lines.map((line) => (line.endsWith('\0NOEOL') ? line.slice(0, -6) : `${line}\n`)).join('');
  return { rc, stdout: join(stdout), stderr: join(stderr) };
}

function writeSite(site: Site, directory: string): void {
  for (const [name, text] of Object.entries(site)) {
    const path = join(directory, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
}

/** Names that the configuration has, for the arguments of commands. */
function fillIn(random: Random, argv: readonly string[], site: Site): string[] {
  const text = Object.values(site).join('\n');
  const all = (pattern: RegExp) => [...text.matchAll(pattern)].map((m) => m[1]!);
  const res = random.pick([...all(/^resource\s+"?([^"\s{]+)/gm), 'r0']);
  const peer = random.pick([...all(/^\s*on\s+"?([^"\s{]+)/gm), 'bravo', '10.7.0.2_7000']);
  const minor = random.pick([...all(/minor\s+([0-9]+)/g), ...all(/drbd([0-9]+)/g), '0']);
  return argv.map((word) =>
    word
      .replace('RES', () => res)
      .replace('PEER', () => peer)
      .replace('MINOR', () => minor),
  );
}

const NODES = ['alpha', 'alpha', 'alpha', 'bravo', 'charlie', 'ALPHA.example.com', 'pxy-a', '10.7.0.1'];

export interface Options {
  /** Which release the stock program is. */
  readonly release: Release;
  readonly count: number;
  readonly first: number;
  readonly broken: boolean;
}

interface Question {
  readonly argv: readonly string[];
  readonly node: string;
  readonly fakes: readonly [stock: Readonly<Record<string, string>>, ours: Readonly<Record<string, string>>];
}

/** What is asked about the configuration of this seed, which is written to the directory. */
async function questionsOf(seed: number, site: Site, directory: string, { broken, release }: Options): Promise<Question[]> {
  const random = new Random(seed ^ 0x3c6ef372);
  writeSite(site, directory);
  const node = random.pick(NODES);
  const commands = [...ALWAYS, ...Array.from({ length: broken ? 1 : 4 }, () => random.pick(SOMETIMES))];
  const question = (command: readonly string[], fakes: Question['fakes'] = [{}, {}]): Question => ({
    argv: ['-c', 'drbd.conf', ...fillIn(random, command, site)],
    node,
    fakes,
  });
  const questions = commands.map((command) => question(command));
  const nothing = await runOurs(caseOf(question(ADJUST[0]!), { FAKE_DRBDSETUP_SHOW: '/dev/null' }), directory);
  if (nothing.rc === 0) {
    const running = disturb(random, showOf(nothing.stdout));
    const fakes = ([release, '9.34'] as const).map((r, i) => {
      writeFileSync(join(directory, `show${i}`), showText(running, r));
      return { FAKE_DRBDSETUP_SHOW: `show${i}` };
    });
    for (const command of [ADJUST[0]!, random.pick(ADJUST)]) questions.push(question(command, [fakes[0]!, fakes[1]!]));
  }
  return questions;
}

const caseOf = ({ argv, node }: Question, fakes: Readonly<Record<string, string>>): Case => ({
  argv,
  env: { __DRBD_NODE__: node, DRBD_DRIVER_VERSION_OVERRIDE: '9.0.0', ...fakes },
});

/** The running states that stand in a directory, for people. */
function shownIn(directory: string): Site {
  const names = ['show0', 'show1'].filter((name) => existsSync(join(directory, name)));
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(directory, name), 'utf8')]));
}

/** Runs both programs on `count` configurations from seed `first` on. */
export async function compare(stock: string, options: Options): Promise<Comparison> {
  const { release, count, first, broken } = options;
  const differences: Difference[] = [];
  const apart = new Map<string, number>();
  let total = 0;
  for (let seed = first; seed < first + count; seed++) {
    const directory = mkdtempSync(join(tmpdir(), 'drbdadm-differential-'));
    try {
      const whole = randomSite(seed, release);
      const site = broken ? breakSite(whole, seed) : whole;
      const questions = await questionsOf(seed, site, directory, options);
      const answers = questions.map((question) => runStock(stock, caseOf(question, question.fakes[0]), directory));
      for (const [i, question] of questions.entries()) {
        const answer = await answers[i]!;
        const own = await runOurs(caseOf(question, question.fakes[1]), directory);
        const { argv, node } = question;
        const situation: Situation = { release, argv, node, directory, config: Object.values(site).join('\n') };
        const reason = reasonApart(answer, situation);
        if (reason !== undefined) {
          apart.set(reason, (apart.get(reason) ?? 0) + 1);
          continue;
        }
        total++;
        const [want, got] = [settle(answer, situation), settle(own, situation)];
        if (JSON.stringify(want) !== JSON.stringify(got))
          differences.push({ seed, argv, site: { ...site, ...shownIn(directory) }, want, got });
      }
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }
  return { equal: total - differences.length, total, apart, differences };
}

/** The first lines that differ, for people. */
export function explain({ seed, argv, want, got }: Difference): string {
  const parts = [`===== seed ${seed}: drbdadm ${argv.join(' ')}`];
  for (const part of ['rc', 'stdout', 'stderr'] as const) {
    const [a, b] = [String(want[part]).split('\n'), String(got[part]).split('\n')];
    const at = a.findIndex((line, i) => line !== b[i]);
    if (want[part] === got[part]) continue;
    const from = at < 0 ? a.length : at;
    const lines = (list: readonly string[]) => list.slice(from, from + 4).join('\n        ');
    parts.push(`${part}, line ${from + 1}:\n  stock ${lines(a)}\n  ours  ${lines(b)}`);
  }
  return parts.join('\n');
}

async function main(): Promise<void> {
  const [stock, count = '100', first = '1'] = process.argv.slice(2);
  if (stock === undefined) throw new Error('path of the stock drbdadm wanted');
  const release: Release = process.env.RELEASE === '9.34' ? '9.34' : '9.22.0';
  for (const broken of [false, true]) {
    if (process.env.ONLY !== undefined && (process.env.ONLY === 'broken') !== broken) continue;
    const result = await compare(stock, { release, count: Number(count), first: Number(first), broken });
    for (const difference of result.differences) {
      console.log(explain(difference));
      if (process.env.SHOW_CONFIG) for (const [name, text] of Object.entries(difference.site)) console.log(`--- ${name}\n${text}`);
    }
    for (const [reason, count] of result.apart) console.log(`not compared: ${count}, ${reason}`);
    console.log(`${broken ? 'broken' : 'random'}: ${result.equal} of ${result.total} equal`);
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main();
