/**
 * Every abbreviation of every option of every drbdsetup command, in several forms: does stock's drbdsetup take the command line?
 *
 * With a file where it looks for the kernel's module, stock 9.22.0 parses the options and fails only when it looks for the module itself.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { COMMANDS, longOptionsOf } from '../../packages/drbdsetup/src/command-catalogue.js';
import { parseArguments } from '../../packages/drbdsetup/src/getopt.js';
import { runCase } from '../drbdadm/vector-case.js';
import { STOCK } from './programs.js';

const dir = mkdtempSync(join(tmpdir(), 'udrbd-'));
t.teardown(() => rmSync(dir, { recursive: true }));
const stock = join(STOCK, 'drbdsetup');

/** Runs a script in a mount namespace in which the module seems to be there. */
function inNamespace(script: string, ...argv: string[]) {
  const prepare = 'mount -t tmpfs none /proc && echo "version: 9.2.0 (api:2/proto:86-121)" >/proc/drbd';
  const result = spawnSync('unshare', ['--mount', 'sh', '-c', `${prepare} && ${script}`, 'sh', ...argv], {
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    env: { ...process.env, DRBD_DRIVER_VERSION_OVERRIDE: '9.2.0', LC_ALL: 'C' },
  });
  return { status: result.status, stdout: result.stdout ?? '' };
}
const canMount = process.getuid?.() === 0 && inNamespace('true').status === 0;

/** Names of the options that stock's release has: later ones would make abbreviations ambiguous that were not. */
const stockOptions = (command: string): ReadonlySet<string> => {
  const xml = spawnSync(stock, ['xml-help', command], { encoding: 'utf8' }).stdout;
  return new Set([...xml.matchAll(/<option name="([^"]+)"/g)].map((match) => match[1]!));
};
/** Second names, which xml-help does not tell. */
const ALIASES = new Set(['overwrite-data-of-peer', 'dry-run']);
/** Younger than the release that is compared with. */
const YOUNGER = new Set(['peer-role', 'udev']);

/** @returns for each line whether stock's drbdsetup got as far as looking for the module */
function taken(lines: readonly string[]): boolean[] {
  const file = join(dir, 'lines');
  writeFileSync(file, lines.map((line) => `${line}\n`).join(''));
  const script = `while IFS= read -r line; do case $("$1" $line 2>&1 >/dev/null) in *"Could not connect"*) echo y ;; *) echo n ;; esac; done <"$2"`;
  return inNamespace(script, stock, file)
    .stdout.trimEnd()
    .split('\n')
    .map((word) => word === 'y');
}

t.test('what our drbdadm would call, stock drbdsetup takes', { skip: !canMount && 'needs root' }, async (t) => {
  const site = (host: string, id: number): string =>
    `on ${host} { node-id ${id}; address 192.0.2.${id}:7788; volume 0 { device minor ${id}; disk /dev/null; meta-disk internal; } }\n`;
  const options = `options { quorum majority; on-no-quorum io-error; }
net { protocol A; allow-two-primaries yes; after-sb-0pri discard-zero-changes; sndbuf-size 1M; cram-hmac-alg sha1; shared-secret "x"; fencing resource-only; }
disk { on-io-error detach; al-extents 1801; c-max-rate 100M; c-plan-ahead 10; disk-flushes no; read-balancing 64K-striping; size 1G; }
`;
  writeFileSync(join(dir, 'r0.conf'), `global { usage-count no; }\nresource r0 {\n${options}${site('alpha', 0)}${site('beta', 1)}}\n`);
  const lines: string[] = [];
  for (const command of [
    'up',
    'down',
    'primary',
    'secondary',
    'attach',
    'detach',
    'connect',
    'disconnect',
    'verify',
    'resize',
    'invalidate',
    'invalidate-remote',
    'outdate',
    'pause-sync',
    'resume-sync',
    'suspend-io',
    'resume-io',
    'resource-options',
    'net-options',
    'disk-options',
    'peer-device-options',
    'wait-connect',
    'wait-sync',
    'role',
    'cstate',
    'dstate',
    'status',
    'show-gi',
    'get-gi',
    'new-minor',
    'new-peer',
    'new-path',
    'del-path',
    'del-peer',
    'del-minor',
    'new-resource',
  ] as const) {
    const { stdout } = await runCase(
      {
        id: '',
        argv: ['-c', 'r0.conf', '-d', command, 'r0'],
        env: { __DRBD_NODE__: 'alpha', DRBD_DRIVER_VERSION_OVERRIDE: '9.2.0' },
        results: {},
      },
      dir,
      '',
    );
    // The configured size is only shown, as stock shows it, and not passed.
    const passed = (line: string) => (command === 'disk-options' ? line.replace(/ --size=\S+/, '') : line);
    const calls = stdout.filter((line) => line.startsWith('drbdsetup ')).map(passed);
    t.ok(calls.length > 0, `${command} calls drbdsetup`);
    lines.push(...calls.map((line) => line.slice('drbdsetup '.length)));
  }
  const answers = taken(lines);
  t.strictSame(
    lines.filter((_line, index) => answers[index] !== true),
    [],
  );
});

t.test('abbreviations, attached and separate values, clusters', { skip: !canMount && 'needs root' }, async (t) => {
  const cases: { readonly words: string[]; readonly ours: boolean }[] = [];
  for (const row of COMMANDS.filter(({ name }) => !YOUNGER.has(name))) {
    const inStock = stockOptions(row.name);
    const known = longOptionsOf(row).filter(({ name }) => inStock.has(name) || ALIASES.has(name));
    const lines = new Set<string>();
    for (const { name } of known) {
      for (let length = 1; length <= name.length; length++) {
        const part = name.slice(0, length);
        for (const form of [`--${part}`, `--${part}=1`]) lines.add(form);
      }
      lines.add(`--${name}x`);
      lines.add(`x y --${name} -- --no-such`);
    }
    for (const letter of 'vscjDTnpfidtow(Xh1')
      for (const form of [`-${letter}`, `-${letter}v`, `-${letter}1`, `- -${letter}`]) lines.add(form);
    for (const line of lines) {
      const words = line.split(' ');
      // A help option as the second word would change the command.
      if (words.some((word) => ['-h', '--h', '--help'].includes(word))) continue;
      cases.push({ words: [row.name, ...words], ours: parseArguments(words, known) !== undefined });
    }
  }
  const theirs = taken(cases.map(({ words }) => words.join(' ')));
  t.equal(theirs.length, cases.length);
  const differing = cases.filter(({ ours }, index) => ours !== theirs[index]).map(({ words }) => words.join(' '));
  console.log(`# drbdsetup command lines: ${cases.length - differing.length} of ${cases.length} equal`);
  t.strictSame(differing, []);
  t.ok(theirs.includes(true) && theirs.includes(false));
});
