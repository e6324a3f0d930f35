/** drbdadm from its command line to its exit code. */
import { type ConfigFile, type LoadRequest, loadConfig, type Place } from '@udrbd/config';
import { type CommandLine, readCommandLine } from './command-line.js';
import { type Command, isHandler, isProxyCommand } from './commands.js';
import { dispatch } from './dispatch.js';
import { pointAt } from './hints.js';
import type { AdmIo } from './io.js';
import { isTty, type Session } from './session.js';
import { moduleVersion, wantsLegacyTools } from './version.js';

/** Where stock looks, in this order. */
const SEARCH = ['/etc/drbd-90.conf', '/etc/drbd-84.conf', '/etc/drbd-83.conf', '/etc/drbd-82.conf', '/etc/drbd-08.conf', '/etc/drbd.conf'];
const MAY_TEST = new Set(['dump', 'dump-xml', 'sh-nop']);

/** @param argv - without the program's name @returns the exit code; everything has been printed */
export async function run(argv: readonly string[], io: AdmIo): Promise<number> {
  const nodeName = nodeNameOf(io);
  if (wantsLegacyTools(io)) return runLegacyTool(argv, io);
  const line = readCommandLine(argv, io);
  switch (line.kind) {
    case 'exit':
      return line.exitCode;
    case 'run':
      return runCommand(line, nodeName, io);
    default:
      return help(line, io);
  }
}

const LEGACY_TOOL = 'drbdadm-84';

/** Leaves everything to the drbdadm of 8.4, as stock does for a kernel module of that version. */
async function runLegacyTool(argv: readonly string[], io: AdmIo): Promise<number> {
  const path = `${io.env.PATH ?? ''}:/lib/drbd`;
  const env = { ...io.env, PATH: path, DRBD_DONT_WARN_ON_VERSION_MISMATCH: '1' };
  const { exitCode } = await io.spawn({ file: LEGACY_TOOL, args: argv, env, stdout: 'inherit', stderr: 'inherit', timeoutMs: 0 });
  if (exitCode !== undefined) return exitCode;
  io.stderr(`execvp() failed to exec ${LEGACY_TOOL}: No such file or directory\n`);
  return 20;
}

async function help(line: Exclude<CommandLine, { kind: 'exit' | 'run' }>, io: AdmIo): Promise<number> {
  const { hiddenCommands, usage, versionText } = await import('./usage.js');
  if (line.kind === 'version') io.stdout(versionText(io));
  else if (line.kind === 'hidden-commands') io.stdout(hiddenCommands());
  else {
    io.stdout(usage(line.command, line.reason, io.programName, io.stdoutIsTty));
    return line.exitCode;
  }
  return 0;
}

/** The node's name: UDRBD_NODE lets several hosts live on one machine; __DRBD_NODE__ is stock's way, with its banner. */
function nodeNameOf(io: AdmIo): string {
  const pretended = io.env.__DRBD_NODE__;
  if (pretended !== undefined && pretended !== '') {
    io.stderr(`\n   found __DRBD_NODE__ in environment\n   PRETENDING that I am >>${pretended}<<\n\n`);
    return pretended;
  }
  return io.env.UDRBD_NODE || io.hostName;
}

async function runCommand(line: CommandLine & { kind: 'run' }, nodeName: string, io: AdmIo): Promise<number> {
  const { command, args, settings } = line;
  if (settings.configsToTest.length > 0 && !MAY_TEST.has(command.name)) {
    io.stderr('The --config-to-test (-t) option is only allowed with the dump and sh-nop commands\n');
    return 1;
  }
  if (args.length === 0 && command.resources === 'required') {
    io.stdout((await import('./usage.js')).usage(command, 'No resource names specified', io.programName));
    return 1;
  }
  if (args.length > 0 && command.resources === 'none') io.stderr('This command will ignore resource names!\n');

  const request = readFiles(line, io);
  if (typeof request === 'number') return request;
  const loaded = loadConfig(request, {
    source: io.source,
    report: (text) => io.stderr(text),
    ...(io.stderrIsTty === true && { show: (place: Place) => io.stderr(pointAt(place, io.columns)) }),
    nodeName,
    isLocalAddress: (address) => io.isLocalAddress(address),
    isDrbdDevice: (path) => io.isDrbdDevice(path),
    moduleVersion: moduleVersion(io),
    proxiesOnly: isProxyCommand(command),
    verbose: settings.verbose,
    get isTty() {
      return isTty(io);
    },
  });
  if (!loaded.ok) return loaded.exitCode;
  const session: Session = {
    io,
    settings,
    command,
    config: loaded.config,
    nodeName,
    stackedMode: settings.stackedMode,
    running: undefined,
    fatalExitCode: undefined,
    manyResources: args.length > 1 || args[0] === 'all',
  };
  return dispatch(session, args);
}

/** Reads the main file and those to test. @returns an exit code after a message */
function readFiles({ command, args, settings }: CommandLine & { kind: 'run' }, io: AdmIo): LoadRequest | number {
  const isDump = command.action === 'dump' || command.action === 'dump-xml';
  const inherit = !isDump || settings.dryRun || settings.verbose > 0;
  const main = mainFile(command, args, settings.configFile, io);
  if (typeof main === 'number') return main;
  const further: ConfigFile[] = [];
  for (const name of settings.configsToTest) {
    const file = open(name, io);
    if (file === undefined) return 20;
    const path = io.source.canonical(io.cwd, name);
    further.push({ ...file, name: path });
  }
  return { main, further, excluded: settings.configsToExclude, inherit };
}

function open(name: string, io: AdmIo): ConfigFile | undefined {
  const content = io.source.read(io.cwd, name);
  if ('text' in content) return { directory: io.cwd, name, text: content.text };
  io.stderr(content.error === 'directory' ? `Cannot parse directory '${name}' as config file.\n` : `Can not open '${name}'.\n`);
  return undefined;
}

function mainFile(command: Command, args: readonly string[], chosen: string | undefined, io: AdmIo): ConfigFile | number {
  if (chosen === '-') return { directory: io.cwd, name: 'STDIN', text: io.readStdin(), isStdin: true };
  if (chosen !== undefined) return open(chosen, io) ?? 20;
  if (isHandler(command) || command.action === 'sh-udev') {
    const registered = registeredFile(args[0] ?? '', io);
    if (registered !== undefined) return registered;
  }
  let reason = '';
  for (const name of SEARCH) {
    const content = io.source.read(io.cwd, name);
    if ('text' in content) return { directory: io.cwd, name, text: content.text };
    ({ reason } = content);
  }
  io.stderr(`Can not open '${SEARCH.at(-1)}': ${reason}\n`);
  return 10;
}

/** The file from which the resource or minor was configured. */
function registeredFile(argument: string, io: AdmIo): ConfigFile | undefined {
  const minor = /^minor-([0-9]+)$/.exec(argument)?.[1];
  const [link, what] =
    minor === undefined
      ? [`drbd-resource-${argument.split(/[/:]/, 1)[0]}.conf`, `resource ${argument}`]
      : [`drbd-minor-${minor}.conf`, `minor ${minor}`];
  const name = io.registered(link);
  if (name !== undefined) {
    const content = io.source.read(io.cwd, name);
    if ('text' in content) return { directory: io.cwd, name, text: content.text };
  }
  io.stderr(`Don't know which config file belongs to ${what}, trying default ones...\n`);
  return undefined;
}
