// Seeded random sequences of commands, accidents and damage, run on identical images with the stock drbdmeta and ours.
//
// UDRBD_SEEDS=first-last runs other seeds; a failing seed is named.

import t from 'tap';
import { Prng, randomLife } from './operations.js';
import { SideBySide } from './side-by-side.js';

const [firstSeed, lastSeed] = (process.env.UDRBD_SEEDS ?? '1-500').split('-').map(Number) as [number, number];
const both = new SideBySide();
t.teardown(() => both.close());

t.test(`seeds ${firstSeed} to ${lastSeed}`, { timeout: 3_600_000 }, async (t) => {
  const total = lastSeed - firstSeed + 1;
  let equal = 0;
  for (let seed = firstSeed; seed <= lastSeed; seed++) {
    const difference = await both.live(randomLife(new Prng(seed), seed % 2 === 0));
    if (difference === undefined) equal++;
    else t.fail(`seed ${seed}: ${difference}`);
  }
  t.equal(equal, total);
  process.stderr.write(
    `drbdmeta sequences: ${equal} of ${total} equal (${both.commands} commands, ${both.crashes} ended stock by a signal)\n`,
  );
});
