/** The command as a function: words in, exit status out. The order of the steps decides which error a user sees. */
import { ConnectionClosed, type ControlClient } from '@udrbd/control';
import { type CommandRow, findCommand, longOptionsOf } from './command-catalogue.js';
import { CommandExit, type CommandIo, EXIT_ENGINE_GONE, EXIT_USAGE } from './command-io.js';
import { NoEngine, openEngine } from './engine-client.js';
import { parseArguments } from './getopt.js';
import { type Invocation, isGiven, type Session, takeContext, widthOf } from './invocation.js';
import { commandUsage, commandXml, generalUsage } from './usage.js';

type Runner = (session: Session) => Promise<number>;

/** Loaded when wanted: a command pays for its own code only. */
async function runnerOf(row: CommandRow): Promise<Runner> {
  if (row.kind === 'configuration') return (await import('./configuration-commands.js')).runConfiguration;
  switch (row.name) {
    case 'down':
      return (await import('./configuration-commands.js')).runDown;
    case 'events2':
      return (await import('./events-command.js')).runEvents;
    default:
      break;
  }
  if (row.name.startsWith('wait-')) return (await import('./wait-commands.js')).runWait;
  const query = await import('./query-commands.js');
  const runners: Readonly<Record<string, Runner>> = {
    status: query.runStatus,
    show: query.runShow,
    role: query.runRole,
    'peer-role': query.runPeerRole,
    cstate: query.runCstate,
    dstate: query.runDstate,
    'show-gi': query.runGenerationIdentifiers,
    'get-gi': query.runGenerationIdentifiers,
    'check-resize': query.runCheckResize,
    udev: query.runUdev,
    metrics: query.runMetrics,
  };
  return runners[row.name]!;
}

/** Queries have an answer without an engine: nothing is configured. Watching for changes has not. */
const needsEngine = (invocation: Invocation): boolean =>
  invocation.row.kind === 'configuration' || (invocation.row.name === 'events2' && !isGiven(invocation, 'now'));

/** These succeed when there is no engine, for there is nothing to tear down. */
const TEAR_DOWN: ReadonlySet<string> = new Set(['down', 'secondary', 'disconnect', 'detach']);

/**
 * Runs drbdsetup.
 *
 * @param argv - the words after the program's name
 * @returns the exit status; never rejects for anything a user can cause
 */
export async function run(argv: readonly string[], io: CommandIo): Promise<number> {
  try {
    return await dispatch(argv, io);
  } catch (error) {
    if (error instanceof CommandExit) {
      if (error.stdoutText !== '') io.stdout(error.stdoutText);
      if (error.stderrText !== '') io.stderr(error.stderrText);
      return error.status;
    }
    io.stderr(`drbdsetup: internal error: ${error instanceof Error ? error.message : String(error)}\n`);
    return EXIT_USAGE;
  }
}

async function dispatch(argv: readonly string[], io: CommandIo): Promise<number> {
  const words = reordered(argv);
  const [name] = words;
  const usage = (problem?: string) => new CommandExit(EXIT_USAGE, { stdout: generalUsage(widthOf(io), problem) });
  if (name === undefined) throw usage();
  if (isHelp(name)) return help(name === 'xml-help', words[1], io);

  // Where no engine may be started, its absence is the first thing to be told, as stock tells that of its module.
  const present = io.env.UDRBD_NO_START === '1' ? await engineFor(name, io, true) : undefined;
  try {
    const row = findCommand(name);
    if (row === undefined) throw usage('invalid command');
    const given = words.slice(1);
    const parsed = parseArguments(given, longOptionsOf(row)) ?? (await import('./address-form.js')).parseAddressForm(row, given);
    if (parsed === undefined) throw usage();
    const invocation = takeContext(io, row, parsed);
    const runner = await runnerOf(row);
    return await withEngine(runner, invocation, present ?? (await engineFor(name, io, needsEngine(invocation))));
  } finally {
    present?.close();
  }
}

async function withEngine(runner: Runner, invocation: Invocation, engine: ControlClient): Promise<number> {
  try {
    return await runner({ ...invocation, engine });
  } catch (error) {
    if (error instanceof ConnectionClosed) throw new CommandExit(EXIT_ENGINE_GONE, { stderr: `${invocation.object}: module unloaded\n` });
    throw error;
  } finally {
    engine.close();
  }
}

/** @throws CommandExit with the stock text when there is none */
async function engineFor(name: string, io: CommandIo, needed: boolean): Promise<ControlClient> {
  try {
    return await openEngine(io, needed);
  } catch (error) {
    if (!(error instanceof NoEngine)) throw error;
    const stderr = {
      absent: `Failed to modprobe drbd (${error.message})\n`,
      failed: `Could not connect to 'drbd' generic netlink family\n${error.message}\n`,
      silent: `Could not connect to 'drbd' generic netlink family\n${error.message}\n`,
      mismatch: `API mismatch!\n${error.message}\n`,
    }[error.reason];
    // There may be something to take down where an engine runs.
    const isThere = error.reason === 'mismatch' || error.reason === 'silent';
    throw new CommandExit(TEAR_DOWN.has(name) && !isThere ? 0 : EXIT_USAGE, { stderr });
  }
}

const isHelp = (word: string): boolean => word === 'help' || word === 'xml-help' || word === '--help' || word === '-h';

/** `COMMAND --help` is `--help COMMAND`, and `OBJECT COMMAND` or `--force COMMAND` is the old order of words. */
function reordered(argv: readonly string[]): readonly string[] {
  const [first, second, ...rest] = argv;
  if (first === undefined || second === undefined) return argv;
  if (second === '--help' || second === '-h') return [second, first, ...rest];
  if (isHelp(first)) return argv;
  return findCommand(first) === undefined && findCommand(second) !== undefined ? [second, first, ...rest] : argv;
}

function help(asXml: boolean, name: string | undefined, io: CommandIo): number {
  const row = name === undefined ? undefined : findCommand(name);
  if (row === undefined) {
    io.stdout(generalUsage(widthOf(io), name === undefined ? undefined : 'unknown command'));
    return EXIT_USAGE;
  }
  io.stdout(asXml ? commandXml(row) : commandUsage(row, widthOf(io)));
  return 0;
}
