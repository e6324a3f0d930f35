// Disks that go away and come back while both nodes are connected, and nodes that work without one.
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { readImage } from '../engine/images.js';
import { type Pair, STEADY } from './pair.js';
import { neverSays } from './says.js';
import { startSetting } from './setting.js';

t.test('disks come and go', async (t) => {
  const setting = await startSetting({ ram: 1 });
  t.teardown(() => setting.stop());
  const pair: Pair = setting.pair({ net: STEADY });
  await pair.createInSync();
  const same = async (t: Test, what: string): Promise<void> => {
    const { ours, kernel } = await pair.sums();
    t.equal(kernel, ours, `${what}: the same data on both disks`);
    t.same(await setting.complaints(), [], 'the kernel has nothing to complain about');
    neverSays(t, setting.ours.log, /internal error|ProtocolError|BrokenPipe|NetworkFailure/);
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

  await t.test('ten switchovers under load, both keep their disks', async (t) => {
    for (let round = 0; round < 5; round++) {
      await pair.kernel.setup(`secondary ${pair.minor}`);
      await pair.primary();
      const nbd = await pair.open();
      // Eight writers until the moment of the change.
      const lane = async (number: number): Promise<void> => {
        for (let i = 0; i < 25; i++)
          await nbd.write((round * 100 + ((i * 7 + number) % 60)) * 8192, randomBytes(512 * (1 + ((i + number) % 16))));
      };
      const load = Promise.all(Array.from({ length: 8 }, (_, number) => lane(number)));
      const refused = await pair.peer.exec(`drbdsetup-84 primary ${pair.minor}`);
      t.not(refused.status, 0, 'the kernel may not be Primary as well');
      t.match(refused.output, /Multiple primaries not allowed/);
      await load;
      await nbd.close();
      await pair.secondary();
      await pair.kernel.setup(`primary ${pair.minor}`);
      await pair.inGuest(
        `for lane in 1 2 3; do /usr/bin/dd if=/dev/urandom of=DEVICE bs=$((4096 * lane)) seek=$((lane * 30 + ${round * 20})) count=30 oflag=direct status=none & done; wait`,
      );
      await same(t, `round ${round}`);
    }
    await pair.untilInSync('the end');
    await same(t, 'failover');
  });

  await t.test('a file system of ours on the kernel, and its changes with us', async (t) => {
    const [folder, image] = [join(setting.folder, 'files'), join(setting.folder, 'ext4.img')];
    mkdirSync(folder);
    for (const name of ['one', 'two', 'three']) writeFileSync(join(folder, name), randomBytes(300_000));
    const sumOf = (name: string): string =>
      createHash('sha256')
        .update(readFileSync(join(folder, name)))
        .digest('hex');
    const fileBytes = 24 << 20;
    execFileSync('mke2fs', ['-q', '-t', 'ext4', '-d', folder, image, `${fileBytes / 1024}k`]);
    await pair.kernel.setup(`secondary ${pair.minor}`);
    await pair.primary();
    const nbd = await pair.open();
    const content = readFileSync(image);
    for (let at = 0; at < fileBytes; at += 1 << 20) await nbd.write(at, content.subarray(at, at + (1 << 20)));
    await nbd.flush();
    await nbd.close();
    await pair.secondary();
    await pair.kernel.setup(`primary ${pair.minor}`);
    const mounted = 'mkdir -p /tmp/mnt && mount -t ext4 DEVICE /tmp/mnt';
    for (const name of ['one', 'two', 'three'])
      t.match(await pair.inGuest(`${mounted} 2>/dev/null; sha256sum /tmp/mnt/${name}`), sumOf(name), `${name} is read back there`);
    await pair.inGuest('cp /tmp/mnt/one /tmp/mnt/four; rm /tmp/mnt/two; sync; umount /tmp/mnt');
    await same(t, 'a file system');
    const ours = join(setting.folder, 'ours.img');
    writeFileSync(ours, readImage(pair.options.image, 0, fileBytes));
    execFileSync('e2fsck', ['-fn', ours], { stdio: 'pipe' });
    execFileSync('debugfs', ['-R', `dump four ${ours}.four`, ours], { stdio: 'pipe' });
    t.equal(
      createHash('sha256')
        .update(readFileSync(`${ours}.four`))
        .digest('hex'),
      sumOf('one'),
      'what the kernel wrote is here',
    );
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
