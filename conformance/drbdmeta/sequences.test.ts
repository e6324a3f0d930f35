// Seeded random sequences of commands, accidents and damage, run on identical images with the stock drbdmeta and ours:
// outputs, exit statuses, size records and every byte of the images have to be equal.
//
// UDRBD_SEEDS=first-last runs other seeds; a failing seed is named.

import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import t from 'tap';
import { runOurs, withoutKnownDifferences } from './capture.js';
import { imageDigest } from './image-digest.js';
import { type Life, type Operation, Prng, randomLife } from './operations.js';
import { scratchDirectory } from './scratch.js';
import { Stock } from './stock.js';

const [firstSeed, lastSeed] = (process.env.UDRBD_SEEDS ?? '1-150').split('-').map(Number) as [number, number];
const root = scratchDirectory();
const dirs = { stock: `${root}/stock`, ours: `${root}/ours` };
for (const dir of Object.values(dirs)) mkdirSync(dir);
const state = { stock: `${root}/oracle/state`, ours: `${root}/state` };
const stock = new Stock(`${root}/oracle`);
mkdirSync(state.ours);
const env = { PATH: '/nonexistent', UDRBD_STATE_DIR: state.ours, UDRBD_LOCK_DIR: `${root}/lock`, UDRBD_UTILS_VERSION: '9.22' };
const masked = (text: string): string => withoutKnownDifferences(text).replaceAll(state.ours, '/var/lib/drbd');

t.teardown(() => {
  stock.close();
  process.chdir('/');
  rmSync(root, { recursive: true });
});

t.test(`seeds ${firstSeed} to ${lastSeed}`, { timeout: 600_000 }, async (t) => {
  let equal = 0;
  let commands = 0;
  let crashes = 0;
  for (let seed = firstSeed; seed <= lastSeed; seed++) {
    const difference = await live(randomLife(new Prng(seed), seed % 2 === 0));
    if (difference === undefined) equal++;
    else t.fail(`seed ${seed}: ${difference}`);
  }
  t.equal(equal, lastSeed - firstSeed + 1);
  process.stderr.write(
    `drbdmeta sequences: ${equal} of ${lastSeed - firstSeed + 1} equal (${commands} commands, ${crashes} ended stock by a signal)\n`,
  );

  /** @returns the first difference in words */
  async function live(life: Life): Promise<string | undefined> {
    for (const dir of [...Object.values(dirs), ...Object.values(state)]) {
      for (const name of readdirSync(dir)) rmSync(`${dir}/${name}`, { recursive: true });
    }
    forBoth((dir) => resize(`${dir}/img`, life.imageBytes));
    for (const [n, operation] of life.operations.entries()) {
      if (operation.type !== 'run' && operation.type !== 'dump') {
        change(operation);
        continue;
      }
      const { argv } = operation;
      if (argv.includes('dump') && !existsSync(`${dirs.stock}/dump`)) continue;
      commands++;
      const theirs = await stock.run(argv, dirs.stock);
      process.chdir(dirs.ours);
      const ours = await runOurs([...argv], env);
      const at = `operation ${n}: drbdmeta ${argv.join(' ')}\n`;
      if (theirs.exit > 128) {
        // Stock gave up on an assertion or crashed; there is nothing left to compare with.
        crashes++;
        return undefined;
      }
      for (const what of ['stdout', 'stderr'] as const) {
        const [is, was] = [masked(ours[what]), masked(theirs[what])];
        if (is !== was) return `${at}${what}:\n${firstDifference(is, was)}`;
      }
      // 9.22 refuses to check what it has no record of; ours makes the record.
      if (argv.at(-1) === 'check-resize' && ours.exit === 0 && theirs.exit === 1) return undefined;
      if (ours.exit !== theirs.exit) return `${at}exit ${ours.exit} instead of ${theirs.exit}: ${theirs.stderr}`;
      if (operation.type === 'dump' && theirs.exit === 0) forBoth((dir) => writeFileSync(`${dir}/dump`, theirs.stdout, 'latin1'));
      if (imageDigest(`${dirs.ours}/img`) !== imageDigest(`${dirs.stock}/img`)) return `${at}image: ${firstByteThatDiffers()}`;
      for (const name of new Set([...readdirSync(state.ours), ...readdirSync(state.stock)])) {
        const text = (dir: string): string => (existsSync(`${dir}/${name}`) ? readFileSync(`${dir}/${name}`, 'latin1') : 'absent');
        if (text(state.ours) !== text(state.stock)) return `${at}${name}: ${text(state.ours)} instead of ${text(state.stock)}`;
      }
    }
    return undefined;
  }
});

function forBoth(act: (dir: string) => void): void {
  act(dirs.stock);
  act(dirs.ours);
}

function change(operation: Exclude<Operation, { type: 'run' | 'dump' }>): void {
  forBoth((dir) => {
    if (operation.type === 'resize') return resize(`${dir}/img`, operation.bytes);
    if (operation.type === 'edit') {
      if (!existsSync(`${dir}/dump`)) return;
      const text = readFileSync(`${dir}/dump`, 'latin1');
      const at = Math.floor((text.length * operation.perMille) / 1000);
      return writeFileSync(`${dir}/dump`, text.slice(0, at) + operation.insert + text.slice(at + operation.cut), 'latin1');
    }
    if (statSync(`${dir}/img`).size <= operation.offset) return;
    const fd = openSync(`${dir}/img`, 'r+');
    if (operation.type === 'write') {
      writeSync(fd, operation.bytes, 0, null, operation.offset);
    } else {
      const byte = new Uint8Array(1);
      readSync(fd, byte, 0, 1, operation.offset);
      byte[0]! ^= operation.mask;
      writeSync(fd, byte, 0, 1, operation.offset);
    }
    closeSync(fd);
  });
}

function resize(path: string, bytes: number): void {
  const fd = openSync(path, existsSync(path) ? 'r+' : 'w');
  ftruncateSync(fd, bytes);
  closeSync(fd);
}

function firstDifference(is: string, was: string): string {
  const [a, b] = [is.split('\n'), was.split('\n')];
  const line = a.findIndex((text, i) => text !== b[i]);
  const at = line < 0 ? a.length : line;
  return `line ${at + 1}: ${JSON.stringify(a.slice(at, at + 3))} instead of ${JSON.stringify(b.slice(at, at + 3))}`;
}

function firstByteThatDiffers(): string {
  const a = readFileSync(`${dirs.ours}/img`);
  const b = readFileSync(`${dirs.stock}/img`);
  for (let i = 0; i < Math.max(a.length, b.length); i++) if (a[i] !== b[i]) return `byte ${i} is ${a[i]} instead of ${b[i]}`;
  return 'equal';
}
