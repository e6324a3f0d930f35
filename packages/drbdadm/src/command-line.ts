/** What a command line asks for: options sorted into settings and backend options, the command, its arguments. */
import { resourceNameProblem } from '@udrbd/config';
import { type Command, DEPRECATED, findCommand } from './commands.js';
import { contextOf } from './contexts.js';
import { acceptedOptions, isGeneral } from './general-options.js';
import { type GivenOption, getoptLong } from './getopt.js';
import { suggestCommand } from './hints.js';
import type { AdmIo } from './io.js';
import type { BackendOption, Settings } from './session.js';

export type CommandLine =
  | { readonly kind: 'run'; readonly command: Command; readonly args: readonly string[]; readonly settings: Settings }
  | { readonly kind: 'usage'; readonly command: Command | undefined; readonly reason: string | undefined; readonly exitCode: number }
  | { readonly kind: 'version' }
  | { readonly kind: 'hidden-commands' }
  /** Everything has been said. */
  | { readonly kind: 'exit'; readonly exitCode: number };

const exit = (exitCode: number): CommandLine => ({ kind: 'exit', exitCode });
const usage = (command: Command | undefined, reason?: string, exitCode = 1): CommandLine => ({ kind: 'usage', command, reason, exitCode });

/**
 * The spelling of DRBD 8.4. Stock 9 drops it without a word and promotes without force; whoever writes it wants the force.
 */
const OVERWRITE = '--overwrite-data-of-peer';

const asBackendOption = (text: string): BackendOption => {
  const wanted = text === OVERWRITE ? '--force' : text;
  // What does not look like an option is none that a context could know.
  return { name: wanted.startsWith('--') ? wanted.slice(2).split('=', 1)[0]! : `\0${wanted}`, text: wanted };
};

/** @param argv - without the program's name */
export function readCommandLine(argv: readonly string[], io: AdmIo): CommandLine {
  const { options, operands, error } = getoptLong(argv, acceptedOptions());
  // What is wrong with an option is told in the order of the command line.
  for (const option of options) {
    if (option.name === 'version') return { kind: 'version' };
    if (!checkOption(option, io)) return exit(20);
  }
  if (error !== undefined) {
    io.stderr(`${io.programName}: ${error}\ntry '${io.programName} help'\n`);
    return exit(1);
  }
  let wantsHelp = false;
  let command: Command | undefined;
  const unchecked: BackendOption[] = [];
  const args: string[] = [];
  const values = new Map<string, string[]>();
  for (const { name, value } of options) {
    if (name === 'help') wantsHelp = true;
    else if (name === 'setup-option') unchecked.push(asBackendOption(value!));
    else values.set(name, [...(values.get(name) ?? []), value ?? '']);
  }
  for (const operand of operands) {
    if (command !== undefined) args.push(operand);
    else if (operand === 'help') wantsHelp = true;
    else if (operand === 'hidden-commands') return { kind: 'hidden-commands' };
    else {
      command = findCommand(substitute(operand, io));
      if (command === undefined) unchecked.push(asBackendOption(operand));
    }
  }
  if (wantsHelp) return usage(command, undefined, command === undefined ? 1 : 0);
  if (command === undefined) {
    if (operands.length === 0) return usage(undefined, 'No command specified');
    io.stderr(`${io.programName}: Unknown command '${operands[0]}'\n`);
    if (io.stderrIsTty === true) io.stderr(suggestCommand(operands[0]!));
    return exit(1);
  }
  const checked: BackendOption[] = [];
  for (const { name, value } of options) {
    if (isGeneral(name)) continue;
    if (command.context === undefined || !isTaken(command, name)) {
      io.stderr(`${io.programName}: unrecognized option '--${name}'\ntry '${io.programName} help ${command.name}'\n`);
      return exit(1);
    }
    checked.push({ name, text: value === undefined ? `--${name}` : `--${name}=${value}` });
  }
  for (const arg of args) {
    const problem = resourceNameProblem(arg);
    if (problem === undefined) continue;
    io.stderr(`${problem}\n`);
    return exit(1);
  }
  return { kind: 'run', command, args, settings: readSettings(values, [...unchecked, ...checked]) };
}

const hasSuspectCharacters = (name: string): boolean => !/^[a-zA-Z0-9_]*$/.test(name);

/** Whether the files and programs that an option names are there. @returns false after a message */
function checkOption({ name, value = '' }: GivenOption, io: AdmIo): boolean {
  switch (name) {
    case 'config-file':
      if (value === '-' || io.isReadable(io.cwd, value)) return true;
      io.stderr(`Can not open '${value}'.\n`);
      return false;
    case 'drbdsetup':
    case 'drbdmeta':
    case 'drbd-proxy-ctl':
      if (io.isExecutable(value)) return true;
      io.stderr('Can not find command (drbdsetup/drbdmeta)\n');
      return false;
    case 'sh-varname':
      if (hasSuspectCharacters(value))
        io.stderr(`ignored --sh-varname=${value}: contains suspect characters, allowed set is [a-zA-Z0-9_]\n`);
      return true;
    default:
      return true;
  }
}

const isTaken = (command: Command, name: string): boolean =>
  command.context === 'anything' || contextOf(command.context!).some((o) => o.name === name);

function substitute(name: string, io: AdmIo): string {
  const current = DEPRECATED[name];
  if (current === undefined) return name;
  io.stderr(`'${io.programName} ${name}' is deprecated, use '${io.programName} ${current}' instead.\n`);
  return current;
}

function readSettings(values: ReadonlyMap<string, string[]>, backendOptions: BackendOption[]): Settings {
  const last = (name: string) => values.get(name)?.at(-1);
  return {
    stackedMode: values.has('stacked'),
    dryRun: values.has('dry-run'),
    verbose: values.get('verbose')?.length ?? 0,
    configFile: last('config-file'),
    configsToTest: values.get('config-to-test') ?? [],
    configsToExclude: values.get('config-to-exclude') ?? [],
    drbdsetup: last('drbdsetup'),
    drbdmeta: last('drbdmeta'),
    proxyCtl: last('drbd-proxy-ctl'),
    shVarname: values
      .get('sh-varname')
      ?.filter((name) => !hasSuspectCharacters(name))
      .at(-1),
    backendOptions,
  };
}
