// Resyncs under load, pauses, bitmaps of several packets, settings that change while connected, an idle link.
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { type Pair, STEADY } from './pair.js';
import { neverSays } from './says.js';
import { startSetting } from './setting.js';

t.test('load', async (t) => {
  const setting = await startSetting({ file: 1, sizeMiB: 192 });
  t.teardown(() => setting.stop());
  const same = async (t: Test, pair: Pair, what: string): Promise<void> => {
    const { ours, kernel } = await pair.sums();
    t.equal(kernel, ours, `${what}: the same data on both disks`);
    t.same(await setting.complaints([/operation not supported error, dev ubd/]), []);
    neverSays(t, setting.ours.log, /internal error/);
  };
  /** Fresh disks with different data, declared equal: what differs is found out of sync only where the bitmap says so. */
  const createWithoutSync = async (pair: Pair, t: Test): Promise<void> => {
    await pair.create({ empty: true });
    await pair.connect();
    await pair.kernel.setup(`new-current-uuid ${pair.minor} --clear-bitmap`);
    await pair.untilInSync('skipping the initial sync');
    neverSays(t, setting.peer.console(), new RegExp(`drbd${pair.minor}: Began resync`));
  };
  const kernelRate = (pair: Pair, rate: number): Promise<string> =>
    pair.kernel.setup(`disk-options ${pair.minor} --c-plan-ahead=0 --resync-rate=${rate} --c-min-rate=0`);

  const pair = setting.pair({ disk: 'file', net: { 'ping-int': 2, ...STEADY } });
  await t.test('the initial sync is skipped', async (t) => {
    await createWithoutSync(pair, t);
    await same(t, pair, 'empty disks');
  });

  await t.test('a scattered bitmap in both encodings, to the kernel and to us', async (t) => {
    const scattered = async (write: (block: number) => Promise<void>): Promise<void> => {
      // Pseudo-random, so dense that runs do not compress; then sparse.
      let state = 12345;
      const next = (): number => {
        state = (state * 1103515245 + 12345) % 2147483648;
        return state / 2147483648;
      };
      for (let block = 0; block < 46_000; block++) if (next() < (block < 34_000 ? 0.05 : 0.002)) await write(block);
    };
    await pair.disconnectOurs();
    await pair.primary();
    const nbd = await pair.open();
    const block = randomBytes(4096);
    let writes: Promise<void>[] = [];
    await scattered(async (at) => {
      writes.push(nbd.write(at * 4096, block));
      if (writes.length >= 64) await Promise.all(writes.splice(0));
    });
    await Promise.all(writes);
    await pair.connectOurs();
    await pair.untilInSync('the resync to the kernel');
    await same(t, pair, 'compressed');
    await pair.disconnectOurs();
    await setting.ours.ask('net-options', { resource: pair.name, peerNodeId: 1, options: { 'use-rle': false }, setDefaults: false });
    writes = [];
    await scattered(async (at) => {
      writes.push(nbd.write(at * 4096 + 4096, block));
      if (writes.length >= 64) await Promise.all(writes.splice(0));
    });
    await Promise.all(writes);
    await nbd.close();
    await pair.connectOurs();
    await pair.untilInSync('the resync to the kernel');
    await same(t, pair, 'plain');
    await pair.secondary();
    await pair.kernel.setup(`primary ${pair.minor}`);
    await pair.disconnectOurs();
    await pair.inGuest(
      'for i in $(seq 400); do echo $((i * i * 7919 % 45000)); done > /tmp/at; while read at; do dd if=/tmp/at of=DEVICE bs=4k count=1 seek=$at conv=notrunc 2> /dev/null; done < /tmp/at; sync',
    );
    await pair.connectOurs();
    await pair.untilInSync('the resync to us');
    await same(t, pair, 'from the kernel');
    await pair.kernel.setup(`secondary ${pair.minor}`);
  });

  await t.test('we write as sync source', async (t) => {
    await pair.primary();
    await kernelRate(pair, 20_000);
    await pair.ask('invalidate-remote');
    const nbd = await pair.open();
    await pair.until(
      'the resync',
      ({ cs }) => cs === 'SyncSource',
      ({ cs }) => cs === 'SyncTarget',
    );
    let count = 0;
    const lanes = Array.from({ length: 16 }, async (_, lane) => {
      while ((await pair.state()).cs === 'SyncSource') {
        for (let i = 0; i < 20; i++)
          await nbd.write(((lane * 331 + count++ * 97) % 46_000) * 4096, randomBytes(lane % 4 === 0 ? 65536 : 4096));
      }
    });
    await sleep(1500);
    await kernelRate(pair, 200_000);
    await Promise.all(lanes);
    await nbd.close();
    await pair.untilInSync('the resync');
    t.ok(count > 300, `${count} writes meanwhile`);
    await same(t, pair, 'after writes of the source');
  });

  await t.test('we write as sync target', async (t) => {
    await pair.setOurRate(20_000);
    await pair.secondary();
    await pair.ask('invalidate');
    await pair.until(
      'the resync',
      ({ cs }) => cs === 'SyncTarget',
      ({ cs }) => cs === 'SyncSource',
    );
    await pair.primary();
    const nbd = await pair.open();
    let [count, wrong] = [0, 0];
    const lanes = Array.from({ length: 16 }, async (_, lane) => {
      while ((await pair.state()).cs === 'SyncTarget') {
        for (let i = 0; i < 20; i++) {
          // Each lane has blocks of its own.
          const at = (lane + 16 * ((count++ * 97) % 2800)) * 4096;
          const data = randomBytes(4096);
          await nbd.write(at, data);
          if (!(await nbd.read(at, 4096)).equals(data)) wrong++;
        }
      }
    });
    await sleep(1500);
    await pair.setOurRate(200_000);
    await Promise.all(lanes);
    await nbd.close();
    await pair.untilInSync('the resync');
    t.ok(count > 300, `${count} writes meanwhile`);
    t.equal(wrong, 0, 'all read back as written');
    await same(t, pair, 'after writes of the target');
    await pair.secondary();
  });

  await t.test('the kernel writes as sync source and as sync target', async (t) => {
    await pair.kernel.setup(`primary ${pair.minor}`);
    await pair.setOurRate(20_000);
    await pair.ask('invalidate');
    const load = `fio --name=load --filename=DEVICE --ioengine=libaio --direct=1 --rw=randwrite --bs=4k --iodepth=16 --runtime=4 --time_based --size=150M --verify=crc32c --verify_backlog=64 > /tmp/fio.out 2>&1 || { cat /tmp/fio.out; false; }`;
    await pair.until('the resync', ({ cs }) => cs === 'SyncTarget');
    let running = pair.inGuest(load);
    await sleep(1500);
    await pair.setOurRate(200_000);
    await running;
    await pair.untilInSync('the resync');
    await same(t, pair, 'after writes of the source');
    await pair.kernel.setup(`secondary ${pair.minor}`);
    await kernelRate(pair, 20_000);
    await pair.kernel.setup(`invalidate ${pair.minor}`);
    await pair.until(
      'the resync',
      ({ cs }) => cs === 'SyncSource',
      ({ cs }) => cs === 'SyncTarget',
    );
    await pair.kernel.setup(`primary ${pair.minor}`);
    running = pair.inGuest(load);
    await sleep(1500);
    await kernelRate(pair, 200_000);
    await running;
    await pair.untilInSync('the resync');
    await same(t, pair, 'after writes of the target');
    await pair.kernel.setup(`secondary ${pair.minor}`);
  });

  await t.test('the resync is paused and resumed from both sides', async (t) => {
    await kernelRate(pair, 10_000);
    await pair.kernel.setup(`invalidate ${pair.minor}`);
    await pair.until(
      'the resync',
      ({ cs }) => cs === 'SyncSource',
      ({ cs }) => cs === 'SyncTarget',
    );
    const about = { resource: pair.name, peerNodeId: 1, volume: 0 };
    await setting.ours.ask('pause-sync', about);
    await pair.until(
      'our pause',
      ({ cs }) => cs === 'PausedSyncS',
      ({ cs }) => cs === 'PausedSyncT',
    );
    await pair.kernel.setup(`pause-sync ${pair.minor}`);
    await setting.ours.ask('resume-sync', about);
    // Flags: its own dependency, the peer, its user.
    await pair.kernel.until(({ flags }) => flags.slice(1, 4) === '--u');
    t.equal((await pair.state()).cs, 'PausedSyncS', 'the kernel keeps it paused');
    await pair.kernel.setup(`resume-sync ${pair.minor}`);
    await pair.until(
      'the resync',
      ({ cs }) => cs === 'SyncSource',
      ({ cs }) => cs === 'SyncTarget',
    );
    await kernelRate(pair, 200_000);
    await pair.untilInSync('the end of the resync');

    await pair.setOurRate(10_000);
    await pair.ask('invalidate');
    await pair.until(
      'the resync',
      ({ cs }) => cs === 'SyncTarget',
      ({ cs }) => cs === 'SyncSource',
    );
    await pair.kernel.setup(`pause-sync ${pair.minor}`);
    await pair.until(
      'the kernel pauses',
      ({ cs }) => cs === 'PausedSyncT',
      ({ cs }) => cs === 'PausedSyncS',
    );
    await pair.kernel.setup(`resume-sync ${pair.minor}`);
    await pair.until(
      'the resync',
      ({ cs }) => cs === 'SyncTarget',
      ({ cs }) => cs === 'SyncSource',
    );
    await pair.setOurRate(200_000);
    await pair.untilInSync('the end of the resync');
    await same(t, pair, 'after pauses');
  });

  await t.test('the protocol changes while connected', async (t) => {
    await pair.primary();
    const nbd = await pair.open();
    for (const protocol of ['A', 'B', 'C'] as const) {
      await setting.ours.ask('net-options', { resource: pair.name, peerNodeId: 1, options: { protocol }, setDefaults: false });
      await pair.kernel.until((state) => state.protocol === protocol);
      await Promise.all(Array.from({ length: 100 }, (_, i) => nbd.write(i * 40_960, randomBytes(4096))));
    }
    await nbd.close();
    await pair.secondary();
    await pair.untilInSync('the end');
    await pair.kernel.setup(`primary ${pair.minor}`);
    await pair.kernel.setup(
      `net-options ipv4:${setting.peer.address}:${pair.port} ipv4:${setting.peer.hostAddress}:${pair.port} --protocol=A`,
    );
    await pair.inGuest('/usr/bin/dd if=/dev/urandom of=DEVICE bs=64k count=50 oflag=direct status=none');
    await pair.kernel.setup(
      `net-options ipv4:${setting.peer.address}:${pair.port} ipv4:${setting.peer.hostAddress}:${pair.port} --protocol=C`,
    );
    await pair.inGuest('/usr/bin/dd if=/dev/urandom of=DEVICE bs=64k seek=100 count=50 oflag=direct status=none');
    await pair.kernel.setup(`secondary ${pair.minor}`);
    await pair.untilInSync('the end');
    await same(t, pair, 'after changes of the protocol');
  });

  await t.test('an online verify asked for by the kernel is refused, and nothing breaks', async (t) => {
    const result = await setting.peer.exec(`drbdsetup-84 verify ${pair.minor}`);
    t.not(result.status, 0);
    await pair.untilInSync('all as before');
    await setting.complaints();
  });

  await t.test('an idle link stays', async (t) => {
    const mark = setting.ours.log.length;
    // Two pings.
    await sleep(5000);
    await pair.untilInSync('all as before');
    t.equal(setting.ours.log.slice(mark), '', 'nothing happened');
    t.same(await setting.complaints(), []);
  });
});
