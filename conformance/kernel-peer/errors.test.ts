// Disks that fail below either node: faults injected into the kernel's DRBD, a full file system below ours.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Pair } from './pair.js';
import { neverSays, says } from './says.js';
import { startSetting } from './setting.js';

/** Bits of the kernel's parameter enable_faults (drbd_int.h). */
const FAULT = { metaDataWrite: 1, resyncWrite: 4, resyncRead: 8, write: 16, read: 32 } as const;

t.test('failing disks', async (t) => {
  const setting = await startSetting({ ram: 3, smallMiB: 16 });
  t.teardown(() => setting.stop());
  const { peer, folder } = setting;
  const same = async (t: Test, pair: Pair, what: string): Promise<void> => {
    const { ours, kernel } = await pair.sums();
    t.equal(kernel, ours, `${what}: the same data on both disks`);
    neverSays(t, setting.ours.log, /internal error|ProtocolError/);
    await setting.complaints();
  };
  const inject = async (fault: number, work: () => Promise<void>): Promise<void> => {
    const parameters = '/sys/module/drbd/parameters';
    await peer.run(`echo ${fault === 0 ? 0 : 100} > ${parameters}/fault_rate; echo ${fault} > ${parameters}/enable_faults`);
    try {
      await work();
    } finally {
      await peer.run(`echo 0 > ${parameters}/enable_faults; echo 0 > ${parameters}/fault_rate`);
    }
  };
  const pair = setting.pair();
  await pair.createInSync();
  const reattachKernel = async (): Promise<void> => {
    await pair.kernel.meta('apply-al');
    await pair.kernel.setup(`attach ${pair.minor} ${pair.options.kernelDisk} ${pair.options.kernelDisk} internal`);
  };

  await t.test('writes fail on the Secondary kernel', async (t) => {
    await pair.primary();
    const nbd = await pair.open();
    await inject(FAULT.write, async () => {
      for (let i = 0; i < 20; i++) await nbd.write(i * 65_536, randomBytes(16_384));
      await nbd.flush();
      await pair.until(
        'the detach',
        ({ peerDisk }) => peerDisk === 'Diskless',
        ({ disk }) => disk === 'Diskless',
      );
    });
    await nbd.write(5 << 20, randomBytes(65_536));
    await nbd.close();
    await reattachKernel();
    await pair.untilInSync('the resync after attach');
    await same(t, pair, 'writes');
  });

  await t.test('resync writes fail on the kernel', async (t) => {
    await inject(FAULT.resyncWrite, async () => {
      await pair.kernel.setup(`invalidate ${pair.minor}`);
      await pair.until(
        'the detach',
        ({ peerDisk }) => peerDisk === 'Diskless',
        ({ disk }) => disk === 'Diskless',
      );
    });
    await reattachKernel();
    await pair.untilInSync('the resync after attach');
    await same(t, pair, 'resync writes');
    await pair.secondary();
  });

  await t.test('reads and writes fail on the Primary kernel', async (t) => {
    await pair.kernel.setup(`primary ${pair.minor}`);
    for (const fault of [FAULT.read, FAULT.write]) {
      await pair.inGuest(
        '/usr/bin/dd if=/dev/urandom of=/tmp/data bs=64k count=8 status=none; dd if=/tmp/data of=DEVICE bs=64k seek=32 oflag=direct 2> /dev/null',
      );
      await inject(fault, async () => {
        t.equal(
          await pair.inGuest('dd if=DEVICE bs=64k skip=32 count=8 iflag=direct 2> /dev/null | sha256sum'),
          await pair.inGuest('sha256sum < /tmp/data'),
          'read all the same',
        );
        await pair.inGuest('dd if=/dev/urandom of=DEVICE bs=64k seek=50 count=8 oflag=direct 2> /dev/null');
        await pair.until(
          'the detach',
          ({ peerDisk }) => peerDisk === 'Diskless',
          ({ disk }) => disk === 'Diskless',
        );
      });
      await pair.inGuest('dd if=/dev/urandom of=DEVICE bs=64k seek=70 count=8 oflag=direct 2> /dev/null');
      await reattachKernel();
      await pair.untilInSync('the resync after attach');
      await same(t, pair, 'faults');
    }
  });

  await t.test('the kernel can not read what we resync, and does not detach', async (t) => {
    await pair.kernel.setup(`disk-options ${pair.minor} --on-io-error=pass_on`);
    await pair.setOurRate(1000);
    await pair.ask('invalidate');
    await pair.until(
      'the resync',
      ({ cs }) => cs === 'SyncTarget',
      ({ cs }) => cs === 'SyncSource',
    );
    await inject(FAULT.resyncRead, async () => {
      await pair.setOurRate(100_000);
      await pair.untilWe(({ cs }) => cs === 'Connected');
    });
    t.match(await pair.state(), { disk: 'Inconsistent', peerDisk: 'UpToDate' });
    await says(t, () => setting.ours.log, /[0-9]+ failed blocks/);
    // 8.4 as source ends a resync only when the target is UpToDate: it waits until they connect again.
    t.match(await pair.kernel.state(), { cs: 'SyncSource' });
    await pair.disconnectOurs();
    await pair.connectOurs();
    await pair.untilInSync('the resync');
    await same(t, pair, 'failed blocks');
    await pair.kernel.setup(`secondary ${pair.minor}`);
  });

  const small = join(folder, 'small');
  const filled = setting.pair({ image: join(small, 'full.img') });
  await t.test('our disk is full: we are Secondary', async (t) => {
    await filled.create({ empty: true });
    await filled.connect();
    await filled.kernel.setup(`new-current-uuid ${filled.minor} --clear-bitmap`);
    await filled.untilInSync('skipping the initial sync');
    await filled.kernel.setup(`primary ${filled.minor}`);
    await filled.inGuest('/usr/bin/dd if=/dev/urandom of=DEVICE bs=64k count=400 oflag=direct status=none');
    await filled.until(
      'our detach',
      ({ disk }) => disk === 'Diskless',
      ({ peerDisk }) => peerDisk === 'Diskless',
    );
    await filled.inGuest('/usr/bin/dd if=/dev/urandom of=DEVICE bs=64k count=400 oflag=direct status=none');
    await filled.kernel.setup(`secondary ${filled.minor}`);
    neverSays(t, setting.ours.log, /internal error/);
  });

  await t.test('our disk is full: we are Primary', async (t) => {
    const other = setting.pair({ image: join(small, 'again.img') });
    execFileSync('rm', [filled.options.image]);
    await setting.ours.ask('down', { resource: filled.name });
    await other.create({ empty: true });
    await other.connect();
    await other.kernel.setup(`new-current-uuid ${other.minor} --clear-bitmap`);
    await other.untilInSync('skipping the initial sync');
    await other.primary();
    const nbd = await other.open();
    const data = randomBytes(1 << 20);
    for (let i = 0; i < 28; i++) await nbd.write(i << 20, data);
    await nbd.flush();
    await other.until(
      'our detach',
      ({ disk }) => disk === 'Diskless',
      ({ peerDisk }) => peerDisk === 'Diskless',
    );
    let wrong = 0;
    for (let i = 0; i < 28; i++) if (!(await nbd.read(i << 20, 1 << 20)).equals(data)) wrong++;
    t.equal(wrong, 0, 'every megabyte is there');
    await nbd.close();
    neverSays(t, setting.ours.log, /internal error/);
  });
});
