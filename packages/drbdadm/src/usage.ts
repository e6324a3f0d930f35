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

/** For people: what belongs together. A command of the normal help that stands nowhere comes last. */
const TASKS: readonly (readonly [string, readonly string[]])[] = [
  ['Start and stop', ['up', 'down', 'adjust', 'adjust-with-progress', 'wait-connect', 'wait-sync', 'wait-con-int']],
  ['Who may write', ['primary', 'secondary', 'role']],
  ['Look', ['status', 'cstate', 'dstate', 'show-gi', 'get-gi', 'dump', 'dump-xml', 'hidden-commands']],
  ['Data and resynchronisation', ['invalidate', 'invalidate-remote', 'verify', 'pause-sync', 'resume-sync', 'outdate', 'resize']],
  ['Connections', ['connect', 'disconnect', 'new-peer', 'del-peer', 'new-path', 'del-path', 'forget-peer']],
  ['Disks', ['attach', 'detach']],
  ['Settings of what runs', ['resource-options', 'net-options', 'disk-options', 'peer-device-options']],
  ['Meta-data', ['create-md', 'dump-md', 'dump-superblock', 'wipe-md', 'apply-al', 'repair-md']],
];
const PER_ROW = 3;

function tasks(): string {
  const listed = new Set(TASKS.flatMap(([, names]) => names));
  const others = COMMANDS.filter((c) => c.level === 1 && !listed.has(c.name)).map((c) => c.name);
  const groups = others.length > 0 ? [...TASKS, ['Other', others] as const] : TASKS;
  let text = '';
  for (const [task, names] of groups) {
    text += `\n${task.toUpperCase()}:\n`;
    for (let i = 0; i < names.length; i += PER_ROW) {
      const row = names.slice(i, i + PER_ROW).map((name) => name.padEnd(24));
      text += ` ${row.join('').trimEnd()}\n`;
    }
  }
  return text;
}

export function usage(command: Command | undefined, reason: string | undefined, programName: string, byTask = false): string {
  let text = `\nUSAGE: ${programName} ${command?.name ?? 'COMMAND'} [OPTION...] {all|RESOURCE...}\n\nGENERAL OPTIONS:\n`;
  for (const option of GENERAL_OPTIONS) text += `  ${longForm(option)}${shortForm(option)}\n`;
  if (command?.context !== undefined) {
    text += `\nOPTIONS FOR ${command.name}:\n`;
    for (const option of contextOf(command.context)) text += `  ${longForm(option)}\n`;
  }
  if (command === undefined) text += byTask ? tasks() : `\nCOMMANDS:\n${columns(1)}`;
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
