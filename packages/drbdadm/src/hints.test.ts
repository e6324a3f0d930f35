import t from 'tap';
import { pointAt, suggestCommand } from './hints.js';
import { nodeIo } from './node-io.js';
import { run } from './run.js';

/** Runs with a configuration on stdin. */
async function runWith(config: string, argv: readonly string[], isTerminal: boolean): Promise<{ stdout: string; stderr: string }> {
  const said = { stdout: '', stderr: '' };
  await run(argv, {
    ...nodeIo(),
    env: {},
    hostName: 'alpha',
    stdinIsTty: isTerminal,
    stdoutIsTty: isTerminal,
    stderrIsTty: isTerminal,
    columns: 80,
    readStdin: () => config,
    stdout: (text) => {
      said.stdout += String(text);
    },
    stderr: (text) => {
      said.stderr += text;
    },
  });
  return said;
}

t.test('a mark stands under the word', async (t) => {
  t.equal(
    pointAt({ text: 'net { timeot 5; }', column: 7, length: 6, suggestion: 'timeout' }),
    "    net { timeot 5; }\n          ^^^^^^ did you mean 'timeout'?\n",
  );
  t.equal(pointAt({ text: '\tfoo', column: 2, length: 3, suggestion: undefined }), '    \tfoo\n    \t^^^\n', 'behind tabs');
  t.equal(pointAt({ text: 'whole line', column: 0, length: 0, suggestion: undefined }), '    whole line\n');
  const [quoted, mark] = pointAt({
    text: `${'x '.repeat(100)}wrong ${'y '.repeat(100)}`,
    column: 201,
    length: 5,
    suggestion: undefined,
  }).split('\n');
  t.ok(quoted!.length <= 80, 'a long line is cut');
  t.equal(quoted!.slice(mark!.indexOf('^'), mark!.length), 'wrong', 'around the word');
});

t.test('on a terminal errors show their place, elsewhere they are as ever', async (t) => {
  const cases: readonly [string, string][] = [
    ['resource r {\n  dsik /dev/a;\n}\n', "    dsik /dev/a;\n      ^^^^ did you mean 'disk'?\n"],
    ['resource r {\n  net { timeuot 5; }\n}\n', "^^^^^^^ did you mean 'timeout'?\n"],
    ['resource r {\n  net { protocol D; }\n}\n', '                 ^\n'],
    ['common { net { timeout 99999; } }\n', '                           ^^^^^\n'],
  ];
  for (const [config, hint] of cases) {
    const plain = await runWith(config, ['-c', '-', 'dump'], false);
    const shown = await runWith(config, ['-c', '-', 'dump'], true);
    t.notMatch(plain.stderr, /\^|did you mean/);
    t.ok(shown.stderr.includes(hint), `${shown.stderr} has ${hint}`);
    t.ok(shown.stderr.startsWith(plain.stderr.split('\n')[0]!), 'the message itself comes first');
  }
});

t.test('a misspelt command suggests the nearest', async (t) => {
  t.equal(suggestCommand('ajust'), "did you mean 'adjust'?\n");
  t.equal(suggestCommand('frobnicate'), '');
  t.equal((await runWith('', ['ajust', 'all'], false)).stderr, "drbdadm: Unknown command 'ajust'\n");
  t.match((await runWith('', ['ajust', 'all'], true)).stderr, "did you mean 'adjust'?");
});

t.test('help is by task on a terminal only, and has every command', async (t) => {
  const plain = (await runWith('', ['--help'], false)).stdout;
  const shown = (await runWith('', ['--help'], true)).stdout;
  t.match(plain, '\nCOMMANDS:\n');
  t.notMatch(plain, 'START AND STOP');
  t.match(shown, '\nSTART AND STOP:\n');
  const commandsOf = (text: string): string[] =>
    text
      .split('\n')
      .filter((line) => /^ [a-z]/.test(line))
      .flatMap((line) => line.trim().split(/ +/))
      .sort();
  t.strictSame(commandsOf(shown), commandsOf(plain));
});
