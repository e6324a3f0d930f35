// Disks that go away and come back while both nodes are connected, and nodes that work without one.
import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import type { Pair } from './pair.js';
import { startSetting } from './setting.js';

t.test('disks come and go', async (t) => {
  const setting = await startSetting({ ram: 1 });
  t.teardown(() => setting.stop());
  const pair: Pair = setting.pair();
  await pair.createInSync();
  const same = async (t: Test, what: string): Promise<void> => {
    const { ours, kernel } = await pair.sums();
    t.equal(kernel, ours, `${what}: the same data on both disks`);
    t.same(await setting.complaints(), [], 'the kernel has nothing to complain about');
    t.notMatch(setting.ours.log, /internal error|ProtocolError|BrokenPipe|NetworkFailure/);
  };
  // As drbdadm does it.
  const reattachKernel = async (): Promise<void> => {
    await pair.kernel.meta('apply-al');
    await pair.kernel.setup(`attach ${pair.minor} ${pair.options.kernelDisk} ${pair.options.kernelDisk} internal`);
  };

  await t.test('a Secondary kernel detaches and attaches', async (t) => {
    await pair.primary();
    const nbd = await pair.open();
    await pair.kernel.setup(`detach ${pair.minor}`);
    await pair.until(
      'the detach',
      ({ peerDisk }) => peerDisk === 'Diskless',
      ({ disk }) => disk === 'Diskless',
    );
    await nbd.write(1 << 20, randomBytes(300_000 & ~511));
    await nbd.flush();
    await reattachKernel();
    await pair.untilInSync('the resync after attach');
    await nbd.write(2 << 20, randomBytes(65536));
    await nbd.close();
    await same(t, 'the kernel attached again');
  });

  await t.test('we detach as Primary, read and write through the kernel, and attach', async (t) => {
    const nbd = await pair.open();
    const data = randomBytes(1 << 20);
    await nbd.write(4 << 20, data);
    await pair.ask('detach', { force: false, diskless: false });
    await pair.until(
      'the detach',
      ({ disk }) => disk === 'Diskless',
      ({ peerDisk }) => peerDisk === 'Diskless',
    );
    t.ok((await nbd.read(4 << 20, 1 << 20)).equals(data), 'read from the kernel in one piece');
    const parts = await Promise.all(Array.from({ length: 64 }, (_, i) => nbd.read((4 << 20) + i * 16384, 16384)));
    t.ok(Buffer.concat(parts).equals(data), 'and in many');
    const remote = randomBytes(512 * 1024);
    await Promise.all(Array.from({ length: 32 }, (_, i) => nbd.write((6 << 20) + i * 16384, remote.subarray(i * 16384, (i + 1) * 16384))));
    await nbd.flush();
    await nbd.write((6 << 20) + 4096, remote.subarray(0, 4096), true);
    await nbd.trim(7 << 20, 65536);
    t.ok((await nbd.read((6 << 20) + 4096, 4096)).equals(remote.subarray(0, 4096)), 'what was written remotely is read back');
    await nbd.close();
    await pair.attachOurs();
    await pair.untilInSync('the resync after attach');
    await same(t, 'we attached again');
    await pair.secondary();
  });

  await t.test('a Primary kernel without a disk reads and writes through us', async (t) => {
    await pair.kernel.setup(`primary ${pair.minor}`);
    await pair.inGuest(
      '/usr/bin/dd if=/dev/urandom of=/tmp/data bs=64k count=16 status=none; dd if=/tmp/data of=DEVICE bs=64k seek=160 oflag=direct 2> /dev/null',
    );
    await pair.kernel.setup(`detach ${pair.minor}`);
    await pair.until(
      'the detach',
      ({ peerDisk }) => peerDisk === 'Diskless',
      ({ disk }) => disk === 'Diskless',
    );
    const sum = await pair.inGuest('sha256sum < /tmp/data');
    t.equal(await pair.inGuest('dd if=DEVICE bs=64k skip=160 count=16 iflag=direct 2> /dev/null | sha256sum'), sum);
    await pair.inGuest('dd if=/tmp/data of=DEVICE bs=4k seek=4000 count=64 oflag=direct 2> /dev/null; sync');
    t.equal(
      await pair.inGuest('dd if=DEVICE bs=4k skip=4000 count=64 iflag=direct 2> /dev/null | sha256sum'),
      await pair.inGuest('head -c 262144 /tmp/data | sha256sum'),
    );
    await reattachKernel();
    await pair.untilInSync('the resync after attach');
    await same(t, 'the kernel attached again');
  });

  await t.test('we detach as Secondary, the kernel writes, we attach', async (t) => {
    await pair.ask('detach', { force: false, diskless: false });
    await pair.until(
      'the detach',
      ({ disk }) => disk === 'Diskless',
      ({ peerDisk }) => peerDisk === 'Diskless',
    );
    await pair.inGuest('dd if=/dev/urandom of=DEVICE bs=128k seek=100 count=8 oflag=direct 2> /dev/null');
    await pair.attachOurs();
    await pair.untilInSync('the resync after attach');
    await same(t, 'we attached again');
  });

  await t.test('failover there and back while both keep their disks', async (t) => {
    for (let round = 0; round < 3; round++) {
      await pair.kernel.setup(`secondary ${pair.minor}`);
      await pair.primary();
      const nbd = await pair.open();
      for (let i = 0; i < 20; i++) await nbd.write((i + round * 100) * 8192, randomBytes(8192));
      const refused = await pair.peer.exec(`drbdsetup-84 primary ${pair.minor}`);
      t.not(refused.status, 0, 'the kernel may not be Primary as well');
      t.match(refused.output, /Multiple primaries not allowed/);
      await nbd.close();
      await pair.secondary();
      await pair.kernel.setup(`primary ${pair.minor}`);
      await pair.inGuest(`dd if=/dev/urandom of=DEVICE bs=8k seek=${round * 50} count=30 oflag=direct 2> /dev/null`);
    }
    await pair.untilInSync('the end');
    await same(t, 'failover');
  });

  await t.test('a forced detach on either side', async (t) => {
    await pair.kernel.setup(`detach ${pair.minor} --force`);
    await pair.until(
      'the detach',
      ({ peerDisk }) => peerDisk === 'Diskless',
      ({ disk }) => disk === 'Diskless',
    );
    await pair.inGuest('dd if=/dev/urandom of=DEVICE bs=128k seek=30 count=8 oflag=direct 2> /dev/null');
    await reattachKernel();
    await pair.untilInSync('the resync after attach');
    await pair.ask('detach', { force: true, diskless: false });
    await pair.until(
      'the detach',
      ({ disk }) => disk === 'Diskless',
      ({ peerDisk }) => peerDisk === 'Diskless',
    );
    await pair.inGuest('dd if=/dev/urandom of=DEVICE bs=128k seek=50 count=8 oflag=direct 2> /dev/null');
    await pair.attachOurs();
    await pair.untilInSync('the resync after attach');
    await same(t, 'forced detach');
  });

  await t.test('resources go down', async (t) => {
    await pair.kernel.down();
    await pair.options.ours.ask('down', { resource: pair.name });
    t.notMatch(await pair.inGuest('cat /proc/drbd'), / 0: cs:(?!Unconfigured)/);
    t.same(await setting.complaints(), []);
  });
});
