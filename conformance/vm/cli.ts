// scripts/vm: runs a command in a virtual machine, or one in each of two joined machines.
import { runVm, type VmEnd, type VmOptions, type VmResult } from './machine.js';
import { runPair } from './pair.js';

const USAGE = `usage: scripts/vm [OPTIONS] [--] SCRIPT [ARGS...]
       scripts/vm pair [OPTIONS] [--] SCRIPT_A SCRIPT_B
options: --net NAME:0|1  join the network NAME as 10.99.0.1 (0) or 10.99.0.2 (1)
         --mem MIB  --smp N  --timeout SECONDS  --file GUEST_PATH=HOST_PATH  --out FOLDER
SCRIPT is a shell script, a .ts, .mjs or .js file, or a command that the guest has.
exit status: the script's; 241 kernel panic, 242 out of time, 243 the machine died, 244 the machine could not be started, 64 usage
`;

/** Statuses that no sensible script uses; the message on stderr says the same in words. */
const STATUS = { panic: 241, timeout: 242, died: 243, notStarted: 244, usage: 64 } as const;

class UsageError extends Error {}

interface CommandLine {
  readonly pair: boolean;
  readonly words: readonly string[];
  readonly options: Omit<VmOptions, 'script'>;
}

function parse(argv: readonly string[]): CommandLine {
  const pair = argv[0] === 'pair';
  const rest = pair ? argv.slice(1) : [...argv];
  const options: { -readonly [K in keyof VmOptions]?: VmOptions[K] } = {};
  const files: Record<string, string> = {};
  while (rest[0]?.startsWith('--')) {
    const flag = rest.shift()!;
    if (flag === '--') break;
    const [name, value = rest.shift()] = flag.split(/=(.*)/s, 2) as [string, string?];
    if (value === undefined) throw new UsageError(`${name} needs a value`);
    if (name === '--net') options.net = networkOf(value);
    else if (name === '--mem') options.memory = positive(name, value);
    else if (name === '--smp') options.processors = positive(name, value);
    else if (name === '--timeout') options.timeout = positive(name, value);
    else if (name === '--out') options.out = value;
    else if (name === '--file' && value.includes('=')) files[value.split('=')[0]!] = value.slice(value.indexOf('=') + 1);
    else throw new UsageError(`unknown option ${name} ${value}`);
  }
  if (pair ? rest.length !== 2 : rest.length === 0) throw new UsageError(pair ? 'pair needs two scripts' : 'no script given');
  return { pair, words: rest, options: { ...options, files } };
}

function positive(name: string, value: string): number {
  const number = Number(value);
  if (!Number.isInteger(number) || number <= 0) throw new UsageError(`${name} ${value}: not a positive number`);
  return number;
}

function networkOf(value: string): { name: string; node: 0 | 1 } {
  const [, name, node] = /^([\w-]+):([01])$/.exec(value) ?? [];
  if (name === undefined) throw new UsageError(`--net ${value}: write NAME:0 or NAME:1`);
  return { name, node: node === '0' ? 0 : 1 };
}

function describe(end: VmEnd): string {
  switch (end.kind) {
    case 'exited':
      return `the script exited with status ${end.status}`;
    case 'panic':
      return `the guest's kernel panicked: ${end.message}`;
    case 'timeout':
      return `out of time after ${end.seconds} s`;
    case 'died':
      return end.message;
  }
}

/** Exit status for a result; says on stderr what went wrong and where the logs are. */
function report(result: VmResult, who: string): number {
  const { end, logs, seconds, complaints } = result;
  for (const line of complaints) process.stderr.write(`scripts/vm: ${who}kernel: ${line}\n`);
  if (logs !== undefined) process.stderr.write(`scripts/vm: ${who}${describe(end)} (${seconds.toFixed(1)} s); logs in ${logs}\n`);
  return end.kind === 'exited' ? end.status : STATUS[end.kind];
}

async function main(argv: readonly string[]): Promise<number> {
  try {
    const { pair, words, options } = parse(argv);
    if (!pair) {
      const [script = '', ...args] = words;
      return report(await runVm({ ...options, script, args, onOutput: (chunk) => process.stdout.write(chunk) }), '');
    }
    const [a = '', b = ''] = words;
    const results = await runPair({ ...options, scripts: [a, b], onLine: (node, line) => process.stdout.write(`vm${node}| ${line}\n`) });
    const statuses = results.map((result, node) => report(result, `vm${node}: `));
    return statuses.find((status) => status !== 0) ?? 0;
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    process.stderr.write(`scripts/vm: ${text}\n${error instanceof UsageError ? USAGE : ''}`);
    return error instanceof UsageError ? STATUS.usage : STATUS.notStarted;
  }
}

process.exitCode = await main(process.argv.slice(2));
