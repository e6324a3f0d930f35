import { readFileSync } from 'node:fs';
import t from 'tap';
import { schemaOf } from './option-schemas.js';
import { checkValue, isDefault, parseNumber, valuesEqual } from './option-values.js';
import { COMMAND_OPTIONS, findOption, OPTIONS, optionsOf, optionsOfCommand } from './options.js';

interface ReferenceOption {
  name: string;
  group: string;
  section: string;
  type: string;
  command?: string;
  min?: number;
  max?: number;
  default: number | string | null;
  scale?: string;
  values?: { name: string }[];
  symbols?: { name: string }[];
  max_length?: number | null;
  drbdsetup: { command: string }[];
}
const vectors = new URL('../../../conformance/vectors/drbdadm/', import.meta.url);
const reference = JSON.parse(readFileSync(new URL('options.json', vectors), 'utf8')) as {
  options: ReferenceOption[];
  command_options: ReferenceOption[];
};
const SCALE: Record<string, number> = { '1': 1, none: 1, k: 1024, s: 512 };
const KIND: Record<string, string> = { numeric: 'number', enum_or_number: 'symbol-or-number' };

t.test('every option agrees with the reference table', async (t) => {
  t.equal(OPTIONS.length, reference.options.length);
  t.equal(COMMAND_OPTIONS.length, reference.command_options.length);
  const rows = [...OPTIONS, ...COMMAND_OPTIONS];
  [...reference.options, ...reference.command_options].forEach((want, i) => {
    const row = rows[i]!;
    const got: Record<string, unknown> = { name: row.name, kind: row.kind, default: row.default };
    const expected: Record<string, unknown> = { name: want.name, kind: KIND[want.type] ?? want.type, default: want.default ?? 0 };
    if ('group' in row) {
      Object.assign(got, { group: row.group, section: row.section, commands: row.commands });
      const commands = want.drbdsetup.map((c) => c.command);
      Object.assign(expected, { group: want.group.split('/').at(-1), section: want.section, commands });
    } else {
      got.command = row.command;
      expected.command = want.command;
    }
    if (row.kind === 'number') {
      Object.assign(got, { min: row.min, max: row.max, scale: row.scale });
      Object.assign(expected, { min: want.min, max: want.max, scale: SCALE[want.scale!] });
    }
    if (row.kind === 'enum' || row.kind === 'symbol-or-number') {
      got.values = row.values;
      expected.values = (want.values ?? want.symbols)!.map((v) => v.name);
    }
    if (row.kind === 'string') {
      got.maxLength = row.maxLength;
      expected.maxLength = want.max_length ?? undefined;
    }
    t.strictSame(got, expected, `${want.name} (${want.group ?? want.command})`);
  });
});

t.test('numbers take one suffix and round up to the stored unit', async (t) => {
  t.equal(parseNumber('3k', 512), 6n);
  t.equal(parseNumber('1', 1024), 1n);
  t.equal(parseNumber('1000s', 1024), 500n);
  t.equal(parseNumber('1s', 1024), 1n);
  t.equal(parseNumber('1T', 1), null);
  t.equal(parseNumber('1kk', 1), null);
  t.equal(parseNumber('0x10', 1), null);
  t.equal(parseNumber('', 1), null);
  t.equal(parseNumber('-1', 1, true), -1n);
  t.equal(parseNumber('99999999999999999999G', 1), 'overflow');
});

t.test('values are checked and compared by meaning', async (t) => {
  const timeout = findOption('net', 'timeout')!;
  t.equal(checkValue(timeout, '0'), 'too small');
  t.equal(checkValue(timeout, '601'), 'too big');
  t.equal(checkValue(timeout, '-1'), 'too big');
  t.equal(checkValue(findOption('disk', 'al-extents')!, '99999'), null);
  t.equal(checkValue(findOption('net', 'protocol')!, 'c'), null);
  t.equal(checkValue(findOption('net', 'protocol')!, 'D'), 'not valid');
  t.equal(checkValue(findOption('options', 'quorum')!, '33'), 'too big');
  t.equal(checkValue(findOption('net', 'cram-hmac-alg')!, 'a'.repeat(64)), 'too long');
  t.ok(valuesEqual(findOption('peer-device', 'c-max-rate')!, '200M', '204800k'));
  t.ok(valuesEqual(findOption('disk', 'disk-flushes')!, undefined, 'yes'));
  t.ok(isDefault(findOption('net', 'ping-int')!, '10'));
  t.ok(optionsOfCommand('attach').some((o) => o.name === 'size'));
  t.equal(optionsOf('peer-device')[0]!.name, 'resync-rate');
});

t.test('the zod schemas refuse and convert as the parser does', async (t) => {
  t.equal(schemaOf(findOption('peer-device', 'c-max-rate')!).parse('1M'), 1024n);
  t.equal(schemaOf(findOption('disk', 'disk-flushes')!).parse('no'), false);
  t.notOk(schemaOf(findOption('net', 'timeout')!).safeParse('0').success);
});
