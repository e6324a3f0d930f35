// Replicated writes of every kind, in both directions, under each protocol; the kernel's disk can discard and has a write cache.
import t, { type Test } from 'tap';
import { kernelWrites, writeEveryKind } from './every-write.js';
import { fioVerify } from './fio.js';
import { STEADY } from './pair.js';
import { neverSays } from './says.js';
import { startSetting } from './setting.js';

t.test('writes', async (t) => {
  const setting = await startSetting({ file: 3 });
  t.teardown(() => setting.stop());
  const pairs = (['A', 'B', 'C'] as const).map((protocol) =>
    setting.pair({ disk: 'file', protocol, name: `protocol-${protocol}`, net: STEADY }),
  );
  for (const pair of pairs) await pair.createInSync();

  for (const pair of pairs) {
    const { protocol } = pair.options;
    const same = async (t: Test): Promise<void> => {
      await pair.until(
        'the end of what is under way',
        ({ oos }) => oos === 0,
        ({ counters: { lo, pe, ua, ap, oos } }) => lo + pe + ua + ap + oos === 0,
      );
      const { ours, kernel } = await pair.sums();
      t.equal(kernel, ours, 'the same data on both disks');
      // The files lie in memory, where zero ranges do not exist: the kernel writes zeroes instead.
      t.same(await setting.complaints([/operation not supported error, dev ubd.*WRITE_ZEROES/]), []);
      neverSays(t, setting.ours.log, /internal error|ProtocolError|BrokenPipe|NetworkFailure/);
    };
    await t.test(`protocol ${protocol}, we write`, async (t) => {
      t.match(await pair.kernel.state(), { protocol });
      await pair.primary();
      await writeEveryKind(pair);
      await same(t);
    });
    await t.test(`protocol ${protocol}, fio above us`, async (t) => {
      const { writes, reads } = await fioVerify(pair, 24);
      t.ok(writes > 300 && reads >= writes, `${writes} writes, ${reads} of them read back`);
      await same(t);
      // Every read and write goes to the kernel.
      await pair.ask('detach', { force: false, diskless: false });
      await pair.untilWe(({ disk }) => disk === 'Diskless');
      const { writes: remote } = await fioVerify(pair, 8);
      t.ok(remote > 100, `${remote} writes without a disk of ours`);
      await pair.attachOurs();
      await pair.untilInSync('the resync after attach');
      await same(t);
      await pair.secondary();
    });
    await t.test(`protocol ${protocol}, the kernel writes`, async (t) => {
      await pair.kernel.setup(`primary ${pair.minor}`);
      await pair.inGuest(kernelWrites);
      await same(t);
      await pair.kernel.setup(`secondary ${pair.minor}`);
    });
  }
});
