/**
 * The option catalogue of DRBD 9.34 and how to look things up in it. One row feeds the parser, the value check, `drbdadm adjust`,
 * drbdsetup's flags and `show`. Loading this module loads nothing else but the table; zod schemas are in `option-schemas.ts`.
 */
import { COMMAND_OPTION_ROWS, OPTION_ROWS } from './option-table.js';

/** Which object of the running system an option belongs to; the sections of drbd.conf map onto these. */
export type OptionGroup = 'options' | 'net' | 'disk' | 'device' | 'peer-device' | 'startup' | 'handlers' | 'proxy';

interface Described {
  readonly name: string;
  /** First drbd-utils release that knows it; absent = 9.0 or earlier. */
  readonly since?: string;
  readonly doc: string;
}

/** `yes`/`no`; a flag is a boolean that is never on by default. */
export interface BooleanKind {
  readonly kind: 'boolean' | 'flag';
  readonly default: string;
}

export interface EnumKind {
  readonly kind: 'enum';
  readonly values: readonly string[];
  readonly default: string;
  readonly ignoreCase?: boolean;
}

/** A number with an optional suffix; `scale` is the size in bytes of one stored unit, 1 when the number is no amount of data. */
export interface NumberKind {
  readonly kind: 'number';
  readonly min: number;
  readonly max: number;
  readonly default: number;
  readonly scale: 1 | 512 | 1024;
  readonly unit?: string;
  readonly signed?: boolean;
  /** Out of range is silently brought into range by the receiver, so no range error. */
  readonly clamped?: boolean;
  /** Not looked at while parsing (`resync-after`: a resource name in drbd.conf, a minor for drbdsetup). */
  readonly unchecked?: boolean;
}

export interface SymbolOrNumberKind {
  readonly kind: 'symbol-or-number';
  readonly values: readonly string[];
  readonly min: number;
  readonly max: number;
  readonly default: string;
}

/** `maxLength` counts characters without the terminator; absent = unlimited. A keyring value names a kernel key. */
export interface StringKind {
  readonly kind: 'string' | 'keyring';
  readonly default: string;
  readonly maxLength?: number;
  readonly keyType?: string;
}

export type OptionKind = BooleanKind | EnumKind | NumberKind | SymbolOrNumberKind | StringKind;

/** An option of drbd.conf. `section` is where the file has it, `commands` are the drbdsetup commands that take `--name`. */
export type Option = Described &
  OptionKind & {
    readonly section: string;
    readonly group: OptionGroup;
    readonly commands: readonly string[];
  };

/** An option that only exists on the command line of one drbdsetup command. */
export type CommandOption = Described & OptionKind & { readonly command: string };

export const OPTIONS: readonly Option[] = OPTION_ROWS;
export const COMMAND_OPTIONS: readonly CommandOption[] = COMMAND_OPTION_ROWS;

/** Commands that take `--set-defaults`: every option of their group goes back to its default before the given ones apply. */
export const SET_DEFAULTS_COMMANDS: readonly string[] = ['net-options', 'disk-options', 'resource-options', 'peer-device-options'];

const byGroup = new Map<OptionGroup, Map<string, Option>>();
for (const option of OPTIONS) {
  const rows = byGroup.get(option.group) ?? new Map<string, Option>();
  rows.set(option.name, option);
  byGroup.set(option.group, rows);
}

/** All options of a group, in table order. */
export function optionsOf(group: OptionGroup): readonly Option[] {
  return [...(byGroup.get(group)?.values() ?? [])];
}

export function findOption(group: OptionGroup, name: string): Option | undefined {
  return byGroup.get(group)?.get(name);
}

/** Every option that a drbdsetup command accepts: those of drbd.conf and its own, in table order. */
export function optionsOfCommand(command: string): readonly (Option | CommandOption)[] {
  return [...OPTIONS.filter((o) => o.commands.includes(command)), ...COMMAND_OPTIONS.filter((o) => o.command === command)];
}
