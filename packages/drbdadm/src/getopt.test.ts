import t from 'tap';
import { getoptLong, type OptionSpec } from './getopt.js';

const SPECS: readonly OptionSpec[] = [
  { name: 'stacked', short: 'S', argument: 'none' },
  { name: 'verbose', short: 'v', argument: 'none' },
  { name: 'config-file', short: 'c', argument: 'required' },
  { name: 'config-to-test', short: 't', argument: 'required' },
  { name: 'force', argument: 'optional', family: 'backend' },
  { name: 'c-max-rate', argument: 'required', family: 'backend' },
  { name: 'c-min-rate', argument: 'required', family: 'backend' },
];

t.test('options stand anywhere, bundled, abbreviated, with values attached or behind', async (t) => {
  const got = getoptLong(['up', '-vvc', 'x.conf', 'r0', '--stack', '--config-f=y', '--force=no', '--', '--raw', '-v'], SPECS);
  t.strictSame(got.operands, ['up', 'r0', '--raw', '-v']);
  t.strictSame(
    got.options.map(({ name, value }) => [name, value]),
    [
      ['verbose', undefined],
      ['verbose', undefined],
      ['config-file', 'x.conf'],
      ['stacked', undefined],
      ['config-file', 'y'],
      ['force', 'no'],
    ],
  );
});

t.test('a prefix of several options of one family takes the first, any other is ambiguous', async (t) => {
  t.equal(getoptLong(['--c-m=1'], SPECS).options[0]?.name, 'c-max-rate');
  t.equal(getoptLong(['--config'], SPECS).error, "option '--config' is ambiguous; possibilities: '--config-file' '--config-to-test'");
});

t.test('what is wrong is said in the words of glibc', async (t) => {
  const error = (...words: string[]) => getoptLong(words, SPECS).error;
  t.equal(error('--frob'), "unrecognized option '--frob'");
  t.equal(error('-Z'), "invalid option -- 'Z'");
  t.equal(error('-c'), "option requires an argument -- 'c'");
  t.equal(error('--config-file'), "option '--config-file' requires an argument");
  t.equal(error('--stacked=3'), "option '--stacked' doesn't allow an argument");
});
