// The recorded runs of stock drbdmeta, replayed with ours: output, exit status and every byte of every image. Those of 9.34
// (folder 9.34) run with UDRBD_UTILS_VERSION=9.34.

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { placement } from '../../packages/metadata/src/index.js';
import { Replay, type Step } from './recorded.js';
import { scratchDirectory } from './scratch.js';

const VECTORS = fileURLToPath(new URL('../vectors/metadata/', import.meta.url));

/** Steps (counted from 1) that differ from 9.22.0, and why. Everything else has to be equal. */
const DEVIATIONS: Readonly<Record<string, Readonly<Record<string, readonly number[]>>>> = {
  '05-dump-restore-v09': { 'the `members` line of 9.34 is understood': [22] },
  '10-check-resize': { '9.22.0 shifts the bitmap when it grows': [7, 9] },
  '9.34/06-apply-al-v08-83style': { '9.34 counts nothing as marked': [2] },
  '9.34/06-apply-al-v08-84unclean': { '9.34 counts nothing as marked': [3] },
  '9.34/06-apply-al-v09-beyond': { '9.34 leaves out the last extent of a bitmap': [2] },
  '9.34/06-apply-al-v09-lastextent': { '9.34 leaves out the last extent of a bitmap': [2] },
  '9.34/06-apply-al-v09-pmem': { '9.34 counts nothing as marked': [2] },
  '9.34/06-apply-al-v09-primary': { '9.34 counts nothing as marked': [2] },
  '9.34/06-apply-al-v09-striped': { '9.34 counts nothing as marked': [2] },
  '9.34/m2-create-md-options': {
    'a bad --initial-current-uuid is refused before anything is written': [11, 14],
    'block sizes do not exist for indexed areas; 9.34 aborts': [40],
  },
  '9.34/m3-apply-al-large-bitmap-blocks': { '9.34 counts nothing as marked, and shows its reckoning': [2, 5, 8, 11] },
};

const canLoop = ((): boolean => {
  try {
    return process.getuid?.() === 0 && execFileSync('losetup', ['-f'], { encoding: 'utf8', stdio: 'pipe' }).startsWith('/dev/loop');
  } catch {
    return false;
  }
})();

let equal = 0;
let total = 0;
const list = (folder: string): string[] => readdirSync(VECTORS + folder).flatMap((name) => (name.endsWith('.json') ? [folder + name] : []));
for (const file of [...list(''), ...list('9.34/')]) {
  const name = file.replace('.json', '');
  const steps = JSON.parse(readFileSync(VECTORS + file, 'utf8')) as Step[];
  const needsLoop = steps.some((step) => step.device);
  t.test(name, { skip: needsLoop && !canLoop ? 'needs root and loop devices' : false }, async (t) => {
    const directory = scratchDirectory();
    process.chdir(directory);
    const replay = new Replay(file.startsWith('9.34') ? '9.34' : '9.22');
    t.teardown(() => {
      replay.close();
      process.chdir('/');
      rmSync(directory, { recursive: true });
    });
    for (const [i, step] of steps.entries()) {
      const differences = await replay.step(step);
      total++;
      const reason = Object.entries(DEVIATIONS[name] ?? {}).find(([, numbers]) => numbers.includes(i + 1))?.[0];
      if (differences.length === 0) equal++;
      if (reason === undefined) t.strictSame(differences, [], `${i + 1}: drbdmeta ${step.args}`);
      else t.not(differences.length, 0, `${i + 1}: differs: ${reason}`);
    }
  });
}

t.test('sizes and offsets', async (t) => {
  for (const line of readFileSync(`${VECTORS}size-table.txt`, 'utf8').split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const [deviceBytes, maxPeers, alBlocks, ...expected] = line.split(' ').map(Number) as [number, number, number, ...number[]];
    const p = placement({ kind: 'internal', deviceBytes, maxPeers, alStripes: 1, alStripeSize4k: alBlocks });
    const computed = [p.superblockOffsetBytes, p.alOffsetBytes, p.bmOffsetBytes, p.md_size_sect, p.usableSectors];
    total++;
    if (computed.join() === expected.join()) equal++;
    t.strictSame(computed, expected, line);
  }
});

t.teardown(() => process.stderr.write(`drbdmeta golden: ${equal} of ${total} equal\n`));
