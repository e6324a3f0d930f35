/** Values of configuration options: from the words of the command line to typed values in storage units. */
import type { CommandOption, Option } from '@udrbd/config/options';
import { fieldsOf, optionName } from './command-catalogue.js';
import { CommandExit, EXIT_USAGE } from './command-io.js';
import type { Invocation } from './invocation.js';
import { parseScaledNumber } from './numbers.js';

export type OptionValue = string | number | boolean;

/** Fields of 64 bits; all other numbers have 32. */
const WIDE_FIELDS: ReadonlySet<string> = new Set(['size', 'start', 'stop']);

/**
 * @returns the given fields by name, the last occurrence winning; a flag that was turned off is not among them
 * @throws CommandExit with the stock text for a word that the field does not take
 */
export function givenFields(invocation: Invocation): Readonly<Record<string, OptionValue>> {
  const fields = new Map(fieldsOf(invocation.row).map((field) => [field.name, field]));
  const values: Record<string, OptionValue> = {};
  for (const { name: given, value } of invocation.options) {
    const name = optionName(invocation.row, given);
    const field = fields.get(name);
    if (field === undefined) continue;
    const parsed = fieldValue(field, given, value);
    if (parsed === undefined) delete values[name];
    else values[name] = parsed;
  }
  return values;
}

function fieldValue(field: Option | CommandOption, given: string, value: string | undefined): OptionValue | undefined {
  const refuse = () => new CommandExit(EXIT_USAGE, { stderr: `Option --${given}: invalid argument '${value}'\n` });
  switch (field.kind) {
    case 'boolean':
    case 'flag':
      if (value !== undefined && value !== 'yes' && value !== 'no') throw refuse();
      if (value === 'no') return field.kind === 'flag' ? undefined : false;
      return true;
    case 'enum': {
      const word = field.values.find((known) => (field.ignoreCase ? known.toLowerCase() === value?.toLowerCase() : known === value));
      if (word === undefined) throw refuse();
      return word;
    }
    case 'number': {
      const number = parseScaledNumber(value ?? '', field.scale);
      if (WIDE_FIELDS.has(field.name)) return Number(BigInt.asUintN(64, number));
      return Number(field.signed ? BigInt.asIntN(32, number) : BigInt.asUintN(32, number));
    }
    case 'symbol-or-number': {
      if (field.values.includes(value ?? '')) return value;
      const number = Number(BigInt.asUintN(32, parseScaledNumber(value ?? '', 1)));
      return WORD_NUMBERS[number] ?? number;
    }
    case 'string':
      return value ?? '';
    case 'keyring':
      // Keys are looked up in the kernel's keyring, which a build without keyutils does not have.
      return undefined;
  }
}

/** The numbers behind the words of quorum and quorum-minimum-redundancy. */
const WORD_NUMBERS: Readonly<Record<number, string>> = { 0: 'off', 1024: 'majority', 1025: 'all' };
