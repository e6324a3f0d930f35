/** Help and version texts, as stock lays them out. */
import { COMMANDS, type Command } from './commands.js';
import { contextOf } from './contexts.js';
import { GENERAL_OPTIONS } from './general-options.js';
import type { OptionSpec } from './getopt.js';
import { shellEscape } from './helper.js';
import type { AdmIo } from './io.js';
import { BUILD_TAG, moduleVersion, VERSION } from './version.js';

const VALUE_MARK = { none: '', required: '=...', optional: '[=...]' } as const;
const longForm = (o: Pick<OptionSpec, 'name' | 'argument'>): string => `--${o.name}${VALUE_MARK[o.argument]}`;
const shortForm = (o: OptionSpec): string => `, -${o.short}${o.argument === 'none' ? '' : ' ...'}`;

/** Names in two columns, the first half left. */
function columns(level: Command['level']): string {
  const names = COMMANDS.filter((c) => c.level === level)
    .map((c) => c.name)
    .sort();
  const half = Math.ceil(names.length / 2);
  return names
    .slice(0, half)
    .map((name, i) => ` ${name.padEnd(35)}${half + i < names.length ? ` ${names[half + i]!.padEnd(35)}` : ''}\n`)
    .join('');
}

export function usage(command: Command | undefined, reason: string | undefined, programName: string): string {
  let text = `\nUSAGE: ${programName} ${command?.name ?? 'COMMAND'} [OPTION...] {all|RESOURCE...}\n\nGENERAL OPTIONS:\n`;
  for (const option of GENERAL_OPTIONS) text += `  ${longForm(option)}${shortForm(option)}\n`;
  if (command?.context !== undefined) {
    text += `\nOPTIONS FOR ${command.name}:\n`;
    for (const option of contextOf(command.context)) text += `  ${longForm(option)}\n`;
  }
  if (command === undefined) text += `\nCOMMANDS:\n${columns(1)}`;
  text += `\nVersion: ${VERSION} (api:2)\n${BUILD_TAG}\n`;
  return reason === undefined ? text : `${text}\n${reason}\n`;
}

export function hiddenCommands(): string {
  return [
    ['These additional commands might be useful for writing\nnifty shell scripts around drbdadm:', 2],
    ['These commands are used by the kernel part of DRBD to\ninvoke user mode helper programs:', 3],
    ['These commands ought to be used by experts and developers:', 4],
  ]
    .map(([head, level]) => `\n${head}\n\n${columns(level as Command['level'])}`)
    .join('')
    .concat('\n');
}

const code = (version: string): number => version.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
const hex = (version: string): string => `0x${code(version).toString(16).padStart(6, '0')}`;

export function versionText(io: AdmIo): string {
  const running = moduleVersion(io);
  return [
    `DRBDADM_BUILDTAG=${shellEscape(BUILD_TAG)}`,
    'DRBDADM_API_VERSION=2',
    `DRBD_KERNEL_VERSION_CODE=${hex(running)}`,
    `DRBD_KERNEL_VERSION=${running}`,
    `DRBDADM_VERSION_CODE=${hex(VERSION)}`,
    `DRBDADM_VERSION=${VERSION}`,
    '',
  ].join('\n');
}
