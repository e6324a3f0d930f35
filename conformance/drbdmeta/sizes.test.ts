// Devices from the smallest legal one to 1 PiB and beyond, all layouts, 1 to 31 peers, activity logs of several stripes: created, shown,
// converted, saved and restored, wiped beside stock.

import t from 'tap';
import { type Life, type Operation, Prng } from './operations.js';
import { SideBySide } from './side-by-side.js';

const KIB = 1024;
const MIB = 1024 * KIB;
const TIB = 2 ** 40;
const SIZES = [
  68 * KIB - 512,
  68 * KIB,
  68 * KIB + 1,
  68 * KIB + 511,
  70 * KIB,
  72 * KIB,
  76 * KIB,
  128 * KIB,
  MIB - 4096,
  MIB,
  MIB + 4095,
  128 * MIB,
  128 * MIB + 4096,
  256 * MIB,
  1000 * MIB + 512,
  TIB - 512,
  TIB,
  3 * TIB + 12345 * 512,
  16 * TIB,
  64 * TIB,
  255 * TIB,
  511 * TIB,
  1023 * TIB,
  1024 * TIB - 4096,
  1024 * TIB,
  1024 * TIB + 4096,
  2048 * TIB,
]; // prettier-ignore

function life(seed: number): Life {
  const prng = new Prng(seed);
  const operations: Operation[] = [];
  const img = prng.chance(70) ? prng.pick(SIZES) : 512 * Math.floor(2 ** (8 + prng.below(300) / 10));
  const index = prng.pick(['internal', 'internal', 'flex-external', 'flex-internal', '0', '1', '7']);
  const peers = prng.chance(40) ? prng.pick([1, 31]) : 1 + prng.below(31);
  const run = (format: string, command: string, ...args: string[]): void => {
    operations.push({ type: 'run', argv: ['--force', '-v', '-v', '-', format, 'img', index, command, ...args] });
  };
  const create = (format: string): void => {
    // Long bitmaps are not written, nor those that an area of 128 MiB cannot hold; short ones are.
    const clear = img > 4 * TIB || (/^\d/.test(index) && img > 2 ** 36) || (img > 256 * MIB && prng.chance(80)) ? ['-b', 'skip'] : [];
    const stripes = img > 2 * MIB && prng.chance(40) ? ['-s', prng.pick(['2', '3', '8']), '-z', prng.pick(['32', '64', '100'])] : [];
    run(format, 'create-md', ...(format === 'v09' ? [`${peers}`] : []), ...clear, ...stripes);
  };
  const first = prng.pick(['v09', 'v09', 'v08', 'v07']);
  create(first);
  run(first, 'dstate');
  operations.push({ type: 'dump', argv: ['--force', '-', first, 'img', index, 'dump-md'] });
  run(first, 'restore-md', 'dump');
  const second = prng.pick(['v07', 'v08', 'v09']);
  create(second);
  run(second, 'show-gi', '--node-id=0');
  run(second, 'apply-al');
  run(second, 'wipe-md');
  return { images: { img }, operations };
}

const [first, last] = (process.env.UDRBD_SEEDS ?? '1-60').split('-').map(Number) as [number, number];
const both = new SideBySide();
t.teardown(() => both.close());

t.test(`seeds ${first} to ${last}`, { timeout: 3_600_000 }, async (t) => {
  let equal = 0;
  for (let seed = first; seed <= last; seed++) {
    const difference = await both.live(life(seed));
    if (difference === undefined) equal++;
    else t.fail(`seed ${seed}: ${difference}`);
  }
  const total = last - first + 1;
  t.equal(equal, total);
  process.stderr.write(`drbdmeta sizes: ${equal} of ${total} equal (${both.commands} commands, ${both.crashes} ended stock by a signal)\n`);
});
