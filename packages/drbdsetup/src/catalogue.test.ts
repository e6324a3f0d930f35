/** The engine's option tables (control) and the option catalogue (config) are two views of one thing. */
import { type Option, optionsOfCommand } from '@udrbd/config/options';
import {
  DEVICE_OPTIONS,
  DISK_OPTIONS,
  NET_OPTIONS,
  type OptionRow,
  type OptionTable,
  PEER_DEVICE_OPTIONS,
  RESOURCE_OPTIONS,
} from '@udrbd/control';
import t from 'tap';
import { COMMANDS, findCommand, longOptionsOf } from './command-catalogue.js';
import { parseArguments } from './getopt.js';

function rowOf(option: Option): object {
  switch (option.kind) {
    case 'boolean':
    case 'flag':
      return { kind: 'yes-no', default: option.default === 'yes' };
    case 'enum':
      return { kind: 'word', words: option.values, default: option.default };
    case 'number':
      return { kind: 'number', min: option.min, max: option.max, default: option.default, ...(option.clamped ? { clamped: true } : {}) };
    case 'symbol-or-number':
      return { kind: 'number-or-word', words: option.values, min: option.min, max: option.max, default: option.default };
    default:
      return { kind: 'text', maxLength: option.maxLength ?? 63, default: '' };
  }
}

t.test('both tables agree on every option, its range and its default', async (t) => {
  const tables: Record<string, OptionTable> = {
    'new-resource': RESOURCE_OPTIONS,
    'new-minor': DEVICE_OPTIONS,
    attach: DISK_OPTIONS,
    'new-peer': NET_OPTIONS,
    'peer-device-options': PEER_DEVICE_OPTIONS,
  };
  for (const [command, table] of Object.entries(tables)) {
    const options = optionsOfCommand(command) as Option[];
    t.strictSame(
      Object.keys(table),
      options.map(({ name }) => name),
      `${command}: names and order`,
    );
    for (const option of options) t.strictSame(table[option.name] as OptionRow, rowOf(option), `${command} --${option.name}`);
  }
});

t.test('the rules of getopt_long', async (t) => {
  const known = [
    { name: 'verbose', short: 'v', value: 'none' },
    { name: 'color', short: 'c', value: 'optional' },
    { name: 'wfc-timeout', short: 't', value: 'required' },
    { name: 'wait', value: 'none' },
    { name: 'wait-after-sb', short: 'w', value: 'optional' },
  ] as const;
  const parse = (line: string) => {
    const parsed = parseArguments(line.split(' '), known);
    return (
      parsed && [
        parsed.options.map(({ name, value }) => (value === undefined ? name : `${name}=${value}`)).join(' '),
        ...parsed.positionals,
      ]
    );
  };
  t.strictSame(parse('a --verbose b -vv'), ['verbose verbose verbose', 'a', 'b'], 'options and arguments in any order');
  t.strictSame(parse('--color red --color=red'), ['color color=red', 'red'], 'an optional value has to be attached');
  t.strictSame(parse('--wfc 3 --wfc-timeout=4 -t5 -t 6'), ['wfc-timeout=3 wfc-timeout=4 wfc-timeout=5 wfc-timeout=6']);
  t.strictSame(parse('--wait'), ['wait'], 'an exact name wins over longer ones');
  t.equal(parse('--wa'), undefined, 'ambiguous');
  const alike = parseArguments(['--on-no=x'], longOptionsOf(findCommand('resource-options')!));
  t.strictSame(alike?.options, [{ name: 'on-no-data-accessible', value: 'x' }], 'the first of several that are alike');
  t.equal(parseArguments(['--al=1'], longOptionsOf(findCommand('attach')!)), undefined, 'these are not');
  t.equal(parse('--bogus'), undefined);
  t.equal(parse('--verbose=1'), undefined, 'takes no value');
  t.equal(parse('--wfc-timeout'), undefined, 'lacks its value');
  t.strictSame(parse('-vcred -- --verbose -'), ['verbose color=red', '--verbose', '-']);
  t.strictSame(parse('-'), ['', '-'], 'a single dash is an argument');
});

t.test('no command has an option twice', async (t) => {
  for (const row of COMMANDS) {
    const names = longOptionsOf(row).map(({ name }) => name);
    t.equal(new Set(names).size, names.length, row.name);
  }
});
