// The two streams found again and again: whoever has the greater address, whoever comes first, however the last link ended.
import { randomBytes } from 'node:crypto';
import t from 'tap';
import type { Pair } from './pair.js';
import { neverSays } from './says.js';
import { startSetting } from './setting.js';

t.test('connecting', async (t) => {
  const setting = await startSetting({ ram: 2, number: 100 });
  t.teardown(() => setting.stop());
  setting.peer.namespace.addAddress('10.98.0.50');
  const pairs = { greater: setting.pair(), lesser: setting.pair({ ourAddress: '10.98.0.50' }) };
  await Promise.all(Object.values(pairs).map((pair) => pair.createInSync()));

  const cycles: Readonly<Record<string, (pair: Pair) => Promise<void>>> = {
    'we leave and come back': async (pair) => {
      await pair.disconnectOurs();
      await pair.connectOurs();
    },
    'the kernel leaves and comes back': async (pair) => {
      await pair.kernel.disconnect();
      await pair.kernel.connect();
    },
    'both leave, both come at once': async (pair) => {
      await Promise.all([pair.disconnectOurs(), pair.kernel.disconnect().catch(() => '')]);
      await pair.kernel.disconnect().catch(() => '');
      await Promise.all([pair.connectOurs(), pair.kernel.connect()]);
    },
    'we leave without asking': async (pair) => {
      await pair.disconnectOurs({ force: true });
      await pair.connectOurs();
    },
    'the kernel leaves without asking': async (pair) => {
      await pair.kernel.disconnect({ force: true });
      await pair.kernel.connect();
    },
  };
  for (const [address, pair] of Object.entries(pairs)) {
    await t.test(`our address is the ${address}`, async (t) => {
      await pair.primary();
      const nbd = await pair.open();
      for (const [what, cycle] of Object.entries(cycles)) {
        for (let round = 0; round < 4; round++) {
          await cycle(pair);
          await nbd.write(round * 1_000_448, randomBytes(16_384));
          await pair.untilInSync(what);
        }
        t.pass(what);
      }
      await nbd.close();
      await pair.secondary();
      const { ours, kernel } = await pair.sums();
      t.equal(kernel, ours, 'the same data on both disks');
      // A link that is cut without asking may be missed by either side in its own words.
      t.same(await setting.complaints([/sock was (shut down|reset) by peer/, /error receiving/, /short read/]), []);
      neverSays(t, setting.ours.log, /internal error/);
    });
  }
});
