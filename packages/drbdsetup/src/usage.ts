/** The texts of `help`, `help COMMAND` and `xml-help COMMAND`. */
import type { CommandOption, Option } from '@udrbd/config/options';
import { COMMANDS, type CommandRow, type ContextArgument, fieldsOf, takesSetDefaults } from './command-catalogue.js';
import { createWrapper } from './wrap.js';

type Field = Option | CommandOption;

/** @param problem - a line that stock adds below the list of commands */
export function generalUsage(width: number, problem?: string): string {
  const wrapper = createWrapper(width);
  for (const { name, summary } of COMMANDS) {
    const [first, ...words] = `${name} - ${summary}`.split(' ');
    wrapper.put(4, first!);
    for (const word of words) wrapper.put(8, ` ${word}`);
    wrapper.put(0, '\n');
  }
  const list = wrapper.text();
  return (
    'drbdsetup - Configure the DRBD kernel module.\n\nUSAGE: drbdsetup command {arguments} [options]\n\nCommands:\n' +
    `${list}\nUse 'drbdsetup help command' for command-specific help.\n\n${problem === undefined ? '' : `\n${problem}\n`}`
  );
}

const argumentHelp = (argument: ContextArgument): string => (argument === 'resource-or-all' ? '{ {resource} | all }' : `{${argument}}`);

/** new-path and del-path have an option list that is empty, and print an empty line for it. */
const hasEmptyOptionList = (row: CommandRow): boolean => row.name === 'new-path' || row.name === 'del-path';

export function commandUsage(row: CommandRow, width: number): string {
  const wrapper = createWrapper(width);
  wrapper.put(0, `drbdsetup ${row.name}`);
  wrapper.put(4, ` - ${row.summary}`);
  wrapper.put(0, '\n\n');
  wrapper.put(0, `USAGE: drbdsetup ${row.name}`);
  for (const argument of row.context) wrapper.put(4, ` ${argumentHelp(argument)}`);
  for (const argument of row.payload ?? []) wrapper.put(4, ` {${argument}}`);
  wrapper.put(0, '\n');
  const options = [
    ...(row.flags ?? []).map(({ name, value }) => (value === 'none' ? `[--${name}]` : `[--${name}=...]`)),
    ...(takesSetDefaults(row) ? ['[--set-defaults]'] : []),
    ...fieldsOf(row).map((field) => `[--${field.name}=${fieldHelp(field)}]`),
  ];
  for (const option of options) wrapper.put(4, ` ${option}`);
  if (options.length > 0 || hasEmptyOptionList(row)) wrapper.put(0, '\n');
  return wrapper.text();
}

function fieldHelp(field: Field): string {
  switch (field.kind) {
    case 'boolean':
    case 'flag':
      return '{yes|no}';
    case 'enum':
      return `{${field.values.join('|')}}`;
    case 'number':
      return `(${field.min} ... ${field.max})`;
    case 'symbol-or-number':
      return `{${field.values.join('|')}}|(${field.min} ... ${field.max})`;
    case 'string':
      return '<str>';
    case 'keyring':
      return '<n/a>';
  }
}

export function commandXml(row: CommandRow): string {
  const lines = [`<command name="${row.name}">`, `\t<summary>${row.summary}</summary>`];
  for (const argument of row.context) {
    if (argument === 'resource-or-all')
      lines.push('\t<group>', '\t\t<argument>resource</argument>', '\t\t<argument>all</argument>', '\t</group>');
    else lines.push(`\t<argument>${argument}</argument>`);
  }
  for (const argument of row.payload ?? []) lines.push(`\t<argument>${argument}</argument>`);
  const option = (name: string, type: string, children: readonly string[]) =>
    lines.push(`\t<option name="${name}" type="${type}">`, ...children.map((child) => `\t\t${child}`), '\t</option>');
  for (const { name, value } of row.flags ?? []) option(name, value === 'none' ? 'flag' : 'string', []);
  if (takesSetDefaults(row)) option('set-defaults', 'flag', []);
  for (const field of fieldsOf(row)) option(field.name, ...fieldXml(field));
  lines.push('</command>');
  return `${lines.join('\n')}\n`;
}

const element = (name: string, text: string | number): string => `<${name}>${text}</${name}>`;
const UNIT_PREFIX = { 1: '1', 512: 's', 1024: 'k' } as const;

function fieldXml(field: Field): [type: string, children: readonly string[]] {
  switch (field.kind) {
    case 'boolean':
    case 'flag':
      return ['boolean', [element('default', field.default)]];
    case 'enum':
      return ['handler', field.values.map((word) => element('handler', word))];
    case 'number':
      return [
        'numeric',
        [
          element('min', field.min),
          element('max', field.max),
          element('default', field.default),
          element('unit_prefix', UNIT_PREFIX[field.scale]),
          ...(field.unit === undefined ? [] : [element('unit', field.unit)]),
        ],
      ];
    case 'symbol-or-number':
      return [
        'numeric-or-symbol',
        [
          element('min', field.min),
          element('max', field.max),
          element('default', field.default),
          ...field.values.map((word) => element('symbol', word)),
        ],
      ];
    case 'string':
    case 'keyring':
      return ['string', []];
  }
}
