// Another size, asked for on either side, and a link that is pulled ahead of, on either side.
import { randomBytes } from 'node:crypto';
import { truncateSync } from 'node:fs';
import t, { type Test } from 'tap';
import type { Pair } from './pair.js';
import { says } from './says.js';
import { startSetting } from './setting.js';

const MIB = 1 << 20;

t.test('sizes and congestion', async (t) => {
  const setting = await startSetting({ ram: 2 });
  t.teardown(() => setting.stop());
  const { ours } = setting;
  const same = async (t: Test, pair: Pair, what: string): Promise<void> => {
    // What the last comparison read may still be cached there.
    await setting.peer.run('echo 3 > /proc/sys/vm/drop_caches');
    const { ours: own, kernel } = await pair.sums();
    t.equal(kernel, own, `${what}: the same data on both disks`);
  };
  const plain = { assumePeerHasSpace: false, assumeClean: false };
  const kernelBytes = async (pair: Pair): Promise<number> =>
    Number(await pair.inGuest('blockdev --getsize64 DEVICE 2> /dev/null || echo 0'));

  const pair = setting.pair({ kernelDiskOptions: ['--size=20M'] });
  let whole = 0;
  await t.test('the kernel has a configured size', async (t) => {
    await pair.createInSync();
    t.equal(await pair.sizeBytes(), 20 * MIB);
    await pair.primary();
  });

  await t.test('grown by us: our meta-data move, the new blocks are copied to the kernel', async (t) => {
    truncateSync(pair.options.image, 48 * MIB);
    await ours.ask('resize', { minor: pair.minor, ...plain });
    whole = await pair.untilSize((bytes) => bytes > 20 * MIB);
    t.ok(whole > 31 * MIB && whole < 32 * MIB, `${whole}`);
    await pair.untilInSync('the resync of what is new');
    await same(t, pair, 'grown by us');
    const nbd = await pair.open();
    t.equal(nbd.sizeBytes, whole);
    await nbd.write(whole - 65_536, randomBytes(65_536));
    await nbd.flush();
    await nbd.close();
    await same(t, pair, 'a write at the new end');
    t.same(await setting.complaints(), []);
  });

  await t.test('made smaller by us', async (t) => {
    await ours.ask('resize', { minor: pair.minor, ...plain, size: (16 * MIB) / 512 });
    await pair.untilSize((bytes) => bytes === 16 * MIB);
    await pair.untilInSync('the smaller size');
    await pair.secondary();
    await pair.inGuest(`drbdsetup-84 primary ${pair.minor}`);
    t.equal(await kernelBytes(pair), 16 * MIB);
    await same(t, pair, 'smaller');
  });

  await t.test('grown by the kernel: we are told, and copied to', async (t) => {
    await pair.inGuest(`drbdsetup-84 resize ${pair.minor}`);
    await pair.untilSize((bytes) => bytes === whole);
    await pair.untilInSync('the resync of what is new');
    t.equal(await kernelBytes(pair), whole);
    await same(t, pair, 'grown by the kernel');
  });

  await t.test('smaller and larger by the kernel, without a resync', async (t) => {
    await pair.inGuest(`drbdsetup-84 resize ${pair.minor} --size=18M`);
    await pair.untilSize((bytes) => bytes === 18 * MIB);
    await pair.inGuest(`drbdsetup-84 resize ${pair.minor} --assume-clean`);
    await pair.untilSize((bytes) => bytes === whole);
    await pair.untilInSync('the larger size');
    await same(t, pair, 'assumed clean, and it was');
    // Refused on the side of the Secondary as on the other one, while a resync runs.
    await pair.inGuest(`drbdsetup-84 secondary ${pair.minor}`);
    await pair.until('no Primary', ({ peerRole }) => peerRole === 'Secondary');
    const refused = await ours.client.request('resize', { minor: pair.minor, ...plain });
    t.equal(refused.code, 131);
    t.same(await setting.complaints(), []);
  });

  const far = setting.pair({ protocol: 'A', net: { 'on-congestion': 'pull-ahead', 'congestion-fill': 128 } });
  const congested = /Congestion-fill threshold reached/;
  await t.test('we pull ahead of the kernel', async (t) => {
    await far.createInSync();
    await far.primary();
    const nbd = await far.open();
    for (let round = 0; round < 4; round++) {
      await Promise.all(Array.from({ length: 48 }, (_, i) => nbd.write((round * 48 + i) * 65_536, randomBytes(65_536))));
    }
    await says(t, () => ours.log, congested, 'we');
    await nbd.flush();
    await nbd.close();
    await says(t, () => ours.log, /repl\( \w+ -> Ahead \)/, 'we');
    await far.untilInSync('the way back');
    await says(t, () => setting.peer.console(), /-> Behind/, 'the kernel');
    await same(t, far, 'pulled ahead');
    await far.secondary();
    t.same(await setting.complaints(), []);
  });

  await t.test('the kernel pulls ahead of us', async (t) => {
    await far.inGuest(`drbdsetup-84 primary ${far.minor}`);
    // Into the page cache, so that many are under way at a time.
    await far.inGuest('dd if=/dev/urandom of=DEVICE bs=1M count=12 seek=4 conv=fsync 2> /dev/null');
    await says(t, () => setting.peer.console(), congested, 'the kernel');
    await far.untilInSync('the way back');
    await says(t, () => ours.log, /-> Behind/, 'we');
    await same(t, far, 'behind');
    t.same(await setting.complaints(), []);
  });
});
