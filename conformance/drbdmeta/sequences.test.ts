// Seeded random sequences of commands, accidents and damage, and random command lines, run on identical images with the stock
// drbdmeta and ours.
//
// UDRBD_SEEDS=first-last runs other seeds; a failing seed is named.

import t from 'tap';
import { oddCommandLines } from './command-lines.js';
import { type Life, Prng, randomLife } from './operations.js';
import { SideBySide } from './side-by-side.js';

const seeds = (first: number, last: number): readonly [number, number] => {
  const [a = first, b = last] = (process.env.UDRBD_SEEDS ?? '').split('-').flatMap((text) => (text === '' ? [] : [Number(text)]));
  return [a, b];
};
const both = new SideBySide();
t.teardown(() => both.close());

async function compare(what: string, [first, last]: readonly [number, number], make: (seed: number) => Life): Promise<void> {
  await t.test(`${what}, seeds ${first} to ${last}`, { timeout: 3_600_000 }, async (t) => {
    const total = last - first + 1;
    const before = { commands: both.commands, crashes: both.crashes };
    let equal = 0;
    for (let seed = first; seed <= last; seed++) {
      const difference = await both.live(make(seed));
      if (difference === undefined) equal++;
      else t.fail(`seed ${seed}: ${difference}`);
    }
    t.equal(equal, total);
    const commands = both.commands - before.commands;
    process.stderr.write(
      `drbdmeta ${what}: ${equal} of ${total} equal (${commands} commands, ${both.crashes - before.crashes} ended stock by a signal)\n`,
    );
  });
}

await compare('sequences', seeds(1, 500), (seed) => randomLife(new Prng(seed), seed % 2 === 0));
await compare('command lines', seeds(1, 60), (seed) => oddCommandLines(new Prng(seed)));
