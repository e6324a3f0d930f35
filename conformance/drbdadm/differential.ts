/**
 * Compares our drbdadm with a stock one on random configurations and mutations of them:
 *   node --import=tsx --conditions=udrbd-source conformance/drbdadm/differential.ts STOCK_DRBDADM [COUNT [FIRST_SEED]]
 * The stock program is expected to be 9.22.0; what later releases changed is applied to its output first.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { mutate, randomConfig } from '../../packages/config/src/testing/random-config.js';
import { asNewer } from './releases.js';
import { runCase } from './vector-case.js';

const [stock, count = '100', first = '1'] = process.argv.slice(2);
if (stock === undefined) throw new Error('path of the stock drbdadm wanted');
const COMMANDS: readonly (readonly string[])[] = [
  ['dump'],
  ['-v', 'dump'],
  ['-d', 'dump'],
  ['dump-xml'],
  ['-d', 'dump-xml'],
  ['-d', 'up', 'all'],
  ['-d', 'create-md', 'all'],
  ['-d', 'peer-device-options', 'all'],
  ['sh-resources'],
  ['sh-ll-dev', 'all'],
  ['sh-md-idx', 'all'],
];
const ENV = { __DRBD_NODE__: 'alpha', DRBD_DRIVER_VERSION_OVERRIDE: '9.0.0', FAKE_DRBDSETUP_SHOW: '/dev/null' };

/** The first lines that differ. */
function showDifference(part: string, want: string, got: string): void {
  const [a, b] = [want.split('\n'), got.split('\n')];
  const at = a.findIndex((line, i) => line !== b[i]);
  if (want === got) return;
  const from = at < 0 ? a.length : at;
  console.log(
    `${part}, line ${from + 1}:\n  stock ${a.slice(from, from + 3).join('\n        ')}\n  ours  ${b.slice(from, from + 3).join('\n        ')}`,
  );
}

const directory = mkdtempSync(join(tmpdir(), 'drbdadm-differential-'));
let total = 0;
let equal = 0;
try {
  for (let seed = Number(first); seed < Number(first) + Number(count); seed++) {
    const valid = randomConfig(seed, { release: '9.22.0' });
    const text = seed % 2 === 0 ? valid : mutate(valid, seed);
    writeFileSync(join(directory, 'x.conf'), text);
    for (const command of seed % 2 === 0 ? COMMANDS : COMMANDS.slice(0, 1).concat([['-d', 'up', 'all']])) {
      const argv = ['-c', 'x.conf', ...command];
      const theirs = spawnSync('drbdadm', argv, {
        cwd: directory,
        env: { LC_ALL: 'C', PATH: `${dirname(stock!)}:/usr/bin:/bin`, ...ENV },
        input: '',
        encoding: 'latin1',
      });
      const want = asNewer({ rc: theirs.status ?? -1, stdout: theirs.stdout, stderr: theirs.stderr }, directory);
      const got = await runCase({ id: '', argv, env: ENV, results: {} }, directory, '');
      const gotText = asNewer(
        { rc: got.rc, stdout: got.stdout.map((l) => `${l}\n`).join(''), stderr: got.stderr.map((l) => `${l}\n`).join('') },
        directory,
      );
      // Newer releases pass over volumes without a disk, and let dump show any resync-after.
      if (theirs.stderr.includes('requires a local disk')) continue;
      if (command.some((word) => word.startsWith('dump')) && theirs.stderr.includes("'resync-after' option")) continue;
      total++;
      if (JSON.stringify(want) === JSON.stringify(gotText)) equal++;
      else {
        console.log(`===== seed ${seed}: ${argv.join(' ')}`);
        if (process.env.SHOW_CONFIG) console.log(text);
        for (const part of ['rc', 'stdout', 'stderr'] as const) showDifference(part, String(want[part]), String(gotText[part]));
      }
    }
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
console.log(`${equal} of ${total} equal`);
process.exitCode = equal === total ? 0 : 1;
