import t from 'tap';
import { getoptLong } from './getopt.js';
import { hexdump } from './hexdump.js';
import { parseNumber, ppsize } from './numbers.js';

const OPTIONS = [
  { long: 'force', short: 'f', takesValue: false },
  { long: 'al-stripes', short: 's', takesValue: true },
  { long: 'al-stripe-size-kB', short: 'z', takesValue: true },
];
const errors = (...argv: string[]): string[] =>
  getoptLong('x', argv, OPTIONS).events.flatMap((event) => (event.type === 'error' ? [event.message] : []));

t.test('options may stand anywhere and be abbreviated', async (t) => {
  const result = getoptLong('x', ['a', '--fo', 'b', '-s', '4', '--al-stripe-=8', '--', '-f'], OPTIONS);
  t.strictSame(result.operands, ['a', 'b', '-f']);
  t.strictSame(result.permuted, ['--fo', '-s', '4', '--al-stripe-=8', '--', 'a', 'b', '-f']);
  t.strictSame(
    result.events.map((event) => (event.type === 'option' ? [event.option.long, event.value] : event.message)),
    [
      ['force', ''],
      ['al-stripes', '4'],
      ['al-stripe-size-kB', '8'],
    ],
  );
  t.strictSame(getoptLong('x', ['-fs4', '-'], OPTIONS).operands, ['-']);
  t.strictSame(getoptLong('x', ['a', '-f'], OPTIONS, true).operands, ['a', '-f']);
});

t.test('mistakes are worded as glibc words them', async (t) => {
  t.strictSame(errors('--bogus'), ["x: unrecognized option '--bogus'\n"]);
  t.strictSame(errors('--al-stri'), ["x: option '--al-stri' is ambiguous; possibilities: '--al-stripes' '--al-stripe-size-kB'\n"]);
  t.strictSame(errors('--force=1'), ["x: option '--force' doesn't allow an argument\n"]);
  t.strictSame(errors('--al-stripes'), ["x: option '--al-stripes' requires an argument\n"]);
  t.strictSame(errors('-s'), ["x: option requires an argument -- 's'\n"]);
  t.strictSame(errors('-1'), ["x: invalid option -- '1'\n"]);
});

t.test('numbers carry units', async (t) => {
  t.equal(parseNumber('42'), 42n);
  t.equal(parseNumber('1k'), 1024n);
  t.equal(parseNumber('32', 'k'), 32n);
  t.equal(parseNumber('1M', 'k'), 1024n);
  t.equal(parseNumber('1s', 'k'), 1n, 'rounds up');
  t.equal(parseNumber('20000000000000000000g'), 'out of range');
  for (const bad of ['x', '1kk', '0x10']) t.equal(parseNumber(bad), 'not a valid number', bad);
  t.equal(parseNumber('1x'), 'not a valid unit');
  t.equal(parseNumber(''), 'missing');
  t.strictSame([0, 4096, 9999, 10000, 16384, 65496, 2 ** 40].map(ppsize), [
    '0 KB',
    '4096 KB',
    '9999 KB',
    '10 MB',
    '16 MB',
    '64 MB',
    '1024 TB',
  ]);
});

t.test('a hex dump folds equal lines but shows the last', async (t) => {
  t.equal(
    hexdump(new Uint8Array(64), 4096),
    '00001000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n*\n' +
      '00001030  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n00001040\n',
  );
});
