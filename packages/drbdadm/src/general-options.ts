/** drbdadm's own options, in the order in which help lists them. */
import { COMMANDS } from './commands.js';
import { optionsOfContexts } from './contexts.js';
import type { OptionSpec } from './getopt.js';

export const GENERAL_OPTIONS: readonly OptionSpec[] = [
  { name: 'stacked', short: 'S', argument: 'none' },
  { name: 'dry-run', short: 'd', argument: 'none' },
  { name: 'verbose', short: 'v', argument: 'none' },
  { name: 'config-file', short: 'c', argument: 'required' },
  { name: 'config-to-test', short: 't', argument: 'required' },
  { name: 'config-to-exclude', short: 'E', argument: 'required' },
  { name: 'drbdsetup', short: 's', argument: 'required' },
  { name: 'drbdmeta', short: 'm', argument: 'required' },
  { name: 'drbd-proxy-ctl', short: 'p', argument: 'required' },
  { name: 'sh-varname', short: 'n', argument: 'required' },
  { name: 'version', short: 'V', argument: 'none' },
  { name: 'setup-option', short: 'W', argument: 'required' },
  { name: 'help', short: 'h', argument: 'none' },
];

/**
 * Everything getopt accepts: drbdadm's own options and those of every command. Commands share their context, except that each of those
 * with `meta` has stock's table to itself, as the list of what an ambiguous option may mean shows.
 */
export function acceptedOptions(): OptionSpec[] {
  const contexts = COMMANDS.flatMap((c) => (c.context === undefined ? [] : [c.context]));
  return [...GENERAL_OPTIONS, ...optionsOfContexts(contexts.filter((name, i) => name === 'meta' || contexts.indexOf(name) === i))];
}

export const isGeneral = (name: string): boolean => GENERAL_OPTIONS.some((o) => o.name === name);
