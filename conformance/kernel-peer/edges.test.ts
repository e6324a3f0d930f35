// Sizes that differ, nodes that never had a disk, fencing, rehearsals, discards as large as a device, congestion.
import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import type { Pair } from './pair.js';
import { neverSays, says } from './says.js';
import { startSetting } from './setting.js';

const MIB = 1 << 20;

t.test('edges', async (t) => {
  const setting = await startSetting({ ram: 6, file: 2, sizeMiB: 48 });
  t.teardown(() => setting.stop());
  const { ours } = setting;
  const same = async (t: Test, pair: Pair, what: string): Promise<void> => {
    const { ours: own, kernel } = await pair.sums();
    t.equal(kernel, own, `${what}: the same data on both disks`);
    neverSays(t, ours.log, /internal error/);
    await setting.complaints();
  };
  const optionsOf = (pair: Pair) => ({ resource: pair.name, peerNodeId: 1 });

  await t.test('our disk is larger, then smaller', async (t) => {
    for (const imageMiB of [56, 40]) {
      const pair = setting.pair({ imageMiB });
      await pair.createInSync();
      const sectors = Number(await pair.inGuest(`cat /sys/block/drbd${pair.minor}/size`));
      t.equal(await pair.sizeBytes(), sectors * 512, 'both offer the smaller size');
      await pair.primary();
      const nbd = await pair.open();
      t.equal(nbd.sizeBytes, sectors * 512);
      await nbd.write(sectors * 512 - 65_536, randomBytes(65_536));
      await nbd.close();
      await pair.secondary();
      await same(t, pair, `${imageMiB} MiB`);
    }
  });

  await t.test('a configured size that ends within a block', async (t) => {
    const pair = setting.pair({ diskOptions: { size: 60_003 } });
    await pair.createInSync();
    t.equal(await pair.sizeBytes(), 60_003 * 512);
    t.equal(Number(await pair.inGuest(`cat /sys/block/drbd${pair.minor}/size`)), 60_003);
    await pair.primary();
    await pair.disconnectOurs();
    const nbd = await pair.open();
    await nbd.write(60_002 * 512, randomBytes(512));
    await nbd.write(59_990 * 512, randomBytes(1024));
    await nbd.close();
    await pair.connectOurs();
    await pair.untilInSync('the resync of the last block');
    await pair.secondary();
    await pair.kernel.setup(`invalidate ${pair.minor}`);
    await pair.untilInSync('a full resync to the kernel');
    await pair.ask('invalidate');
    await pair.untilInSync('a full resync to us');
    await same(t, pair, 'odd size');
  });

  await t.test('discards of the whole device', async (t) => {
    const pair = setting.pair({ disk: 'file' });
    await pair.createInSync();
    await pair.primary();
    const nbd = await pair.open();
    await nbd.write(MIB, randomBytes(MIB));
    await nbd.trim(0, nbd.sizeBytes);
    t.ok((await nbd.read(MIB, MIB)).equals(Buffer.alloc(MIB)));
    await nbd.write(3 * MIB, randomBytes(MIB));
    await nbd.writeZeroes(512, nbd.sizeBytes - 1024);
    await nbd.write(5 * MIB, randomBytes(MIB));
    await nbd.close();
    await pair.untilInSync('the end');
    await same(t, pair, 'ours');
    await pair.secondary();
    await pair.kernel.setup(`primary ${pair.minor}`);
    await pair.inGuest(
      '/usr/bin/dd if=/dev/urandom of=DEVICE bs=1M count=8 oflag=direct status=none; /usr/sbin/blkdiscard DEVICE; /usr/bin/dd if=/dev/urandom of=DEVICE bs=1M seek=2 count=8 oflag=direct status=none; /usr/sbin/blkdiscard -z -o 3145728 DEVICE',
    );
    await pair.kernel.setup(`secondary ${pair.minor}`);
    await same(t, pair, "the kernel's");
  });

  const fenced = setting.pair({
    net: { 'ping-int': 3 },
    ourNet: { fencing: 'resource-only' },
    kernelDiskOptions: ['--fencing=resource-only'],
  });
  await t.test('fencing: a Secondary leaves as Outdated, on either side', async (t) => {
    await fenced.createInSync();
    await fenced.kernel.setup(`primary ${fenced.minor}`);
    await fenced.disconnectOurs();
    await fenced.untilWe(({ cs, disk }) => cs === 'StandAlone' && disk === 'Outdated');
    await fenced.kernel.until(({ cs, peerDisk }) => cs === 'WFConnection' && peerDisk === 'Outdated');
    t.equal((await ours.client.request('primary', { resource: fenced.name, force: false })).code, -2, 'Outdated data are not promoted');
    await fenced.connectOurs();
    await fenced.untilInSync('back');
    await fenced.kernel.setup(`secondary ${fenced.minor}`);
    await fenced.primary();
    await fenced.kernel.disconnect();
    await fenced.until(
      'the departure',
      ({ cs, peerDisk }) => cs === 'Connecting' && peerDisk === 'Outdated',
      ({ disk }) => disk === 'Outdated',
    );
    await fenced.kernel.connect();
    await fenced.untilInSync('back');
    await fenced.disconnectOurs();
    await fenced.until(
      'our departure as Primary',
      ({ cs, peerDisk }) => cs === 'StandAlone' && peerDisk === 'Outdated',
      ({ disk }) => disk === 'Outdated',
    );
    await fenced.connectOurs();
    await fenced.untilInSync('back');
    await fenced.secondary();
    await same(t, fenced, 'fencing');
  });

  await t.test('a rehearsal', async (t) => {
    await fenced.disconnectOurs();
    await fenced.untilWe(({ cs }) => cs === 'StandAlone');
    const mark = ours.log.length;
    await ours.ask('connect', { ...optionsOf(fenced), tentative: true, discardMyData: false });
    await fenced.untilWe(({ cs }) => cs === 'StandAlone');
    await says(t, () => ours.log.slice(mark), /dry-run connect: (No resync|Would become)/);
    await fenced.untilWe(({ cs }) => cs === 'StandAlone');
    await fenced.connectOurs();
    await fenced.untilInSync('back');
    await fenced.kernel.disconnect();
    await fenced.kernel.connect(['--tentative']);
    await fenced.kernel.until(({ cs }) => cs === 'StandAlone');
    await fenced.kernel.disconnect().catch(() => '');
    await fenced.kernel.connect();
    await fenced.untilInSync('back');
    await setting.complaints();
  });

  await t.test('nodes that never had a disk', async (t) => {
    await fenced.secondary();
    await fenced.disconnectOurs();
    await fenced.ask('detach', { force: false, diskless: false });
    await fenced.connectOurs();
    await fenced.until(
      'connecting',
      ({ cs, disk, peerDisk }) => cs === 'Connected' && disk === 'Diskless' && peerDisk === 'UpToDate',
      ({ peerDisk }) => peerDisk === 'Diskless',
    );
    await fenced.primary();
    const nbd = await fenced.open();
    const data = randomBytes(MIB);
    await nbd.write(MIB, data, true);
    t.ok((await nbd.read(MIB, MIB)).equals(data));
    await fenced.attachOurs();
    await fenced.untilInSync('the resync after attach');
    await nbd.close();
    await fenced.secondary();
    await same(t, fenced, 'ours was diskless');

    await fenced.kernel.down();
    await fenced.kernel.setup(`new-resource ${fenced.name}`);
    await fenced.kernel.setup(`new-minor ${fenced.name} ${fenced.minor} 0`);
    await fenced.kernel.connect();
    await fenced.until(
      'connecting',
      ({ cs, peerDisk }) => cs === 'Connected' && peerDisk === 'Diskless',
      ({ disk, peerDisk }) => disk === 'Diskless' && peerDisk === 'UpToDate',
    );
    await fenced.kernel.setup(`primary ${fenced.minor}`);
    await fenced.inGuest(
      '/usr/bin/dd if=/dev/urandom of=/tmp/data bs=64k count=8 status=none; dd if=/tmp/data of=DEVICE bs=64k seek=64 oflag=direct 2> /dev/null',
    );
    t.equal(
      await fenced.inGuest('dd if=DEVICE bs=64k skip=64 count=8 iflag=direct 2> /dev/null | sha256sum'),
      await fenced.inGuest('sha256sum < /tmp/data'),
    );
    await fenced.kernel.meta('apply-al');
    await fenced.kernel.setup(`attach ${fenced.minor} ${fenced.options.kernelDisk} ${fenced.options.kernelDisk} internal`);
    await fenced.untilInSync('the resync after attach');
    await fenced.kernel.setup(`secondary ${fenced.minor}`);
    await same(t, fenced, 'the kernel was diskless');
  });

  await t.test('two Primaries do not get together', async (t) => {
    const pair = setting.pair();
    await pair.createInSync();
    await pair.disconnectOurs();
    await pair.primary();
    await pair.kernel.setup(`primary ${pair.minor}`);
    const mark = ours.log.length;
    await pair.connectOurs();
    await pair.untilWe(({ cs }) => cs === 'StandAlone');
    await says(t, () => ours.log.slice(mark), /Split-Brain detected|Multiple primaries not allowed by config/);
    await pair.kernel.disconnect({ force: true }).catch(() => '');
    await pair.kernel.setup(`secondary ${pair.minor}`);
    await pair.connectOurs();
    await pair.kernel.connect(['--discard-my-data']);
    await pair.untilInSync('back');
    await pair.secondary();
    await same(t, pair, 'after two Primaries');
  });

  await t.test('the kernel goes Ahead of us', async (t) => {
    const pair = setting.pair({
      disk: 'file',
      protocol: 'A',
      kernelNet: ['--on-congestion=pull-ahead', '--congestion-fill=64K', '--congestion-extents=1000', '--sndbuf-size=64K'],
    });
    await pair.createInSync();
    await pair.kernel.setup(`primary ${pair.minor}`);
    const mark = ours.log.length;
    const lanes = [0, 1, 2, 3]
      .map((lane) => `/usr/bin/dd if=/dev/zero of=DEVICE bs=1M seek=$((${lane} * 10)) count=10 oflag=direct status=none &`)
      .join(' ');
    for (let i = 0; i < 4; i++) await pair.inGuest(`${lanes} wait`);
    await pair.inGuest('/usr/bin/dd if=/dev/urandom of=DEVICE bs=256k count=100 oflag=direct status=none');
    await pair.untilInSync('catching up');
    await pair.kernel.setup(`secondary ${pair.minor}`);
    await says(t, () => setting.peer.console(), /conn\( Connected -> Ahead \)/);
    await says(t, () => ours.log.slice(mark), /repl\( Established -> Behind \)/);
    await same(t, pair, 'congestion');
  });
});
