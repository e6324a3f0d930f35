/**
 * Random configurations and broken ones, run through the distribution's drbdadm 9.22.0 and ours: output, messages and exit codes are the
 * same but for what `releases.ts` lists. DRBDADM_SEEDS=FIRST-LAST runs others than the usual 300.
 */
import { join } from 'node:path';
import t from 'tap';
import { stockUtils } from '../vm/packages.js';
import { compare, explain } from './differential.js';

const [first, last] = (process.env.DRBDADM_SEEDS ?? '1-300').split('-').map(Number) as [number, number];
const stock = join(stockUtils(), 'sbin/drbdadm');

for (const broken of [false, true]) {
  t.test(broken ? 'broken configurations' : 'random configurations', async (t) => {
    const { equal, total, apart, differences } = await compare(stock, { release: '9.22.0', first, count: last - first + 1, broken });
    console.log(`# drbdadm on ${last - first + 1} ${broken ? 'broken' : 'random'} configurations: ${equal} of ${total} equal`);
    for (const [reason, count] of apart) console.log(`#   ${count} cases are not compared: ${reason}`);
    t.strictSame(differences.map(explain), []);
    t.ok(total > 2 * (last - first), 'most cases are compared');
  });
}
