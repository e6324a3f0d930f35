// From empty disks to a full sync, and bitmap resyncs after disconnects and cut links, in both directions.
import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import type { Pair } from './pair.js';
import { startSetting } from './setting.js';

t.test('full and bitmap resync', async (t) => {
  const setting = await startSetting({ ram: 3 });
  t.teardown(() => setting.stop());
  const { peer } = setting;
  const same = async (t: Test, pair: Pair, what: string): Promise<void> => {
    const { ours, kernel } = await pair.sums();
    t.equal(kernel, ours, `${what}: the same data on both disks`);
  };
  const noComplaints = async (t: Test, ...expected: RegExp[]): Promise<void> => {
    t.same(await setting.complaints(expected), [], 'the kernel has nothing to complain about');
  };
  /** Writes a megabyte, and some single blocks behind it, on our side. */
  const writeOurs = async (pair: Pair, at: number): Promise<void> => {
    const nbd = await pair.open();
    await nbd.write(at, randomBytes(1 << 20));
    for (let i = 0; i < 20; i++) await nbd.write(at + (1 << 20) + i * 12_288, randomBytes(4096));
    await nbd.flush();
    await nbd.close();
  };
  const writeKernel = (pair: Pair, at: number): Promise<string> =>
    pair.inGuest(`dd if=/dev/urandom of=DEVICE bs=4k seek=${at / 4096} count=250 oflag=direct 2> /dev/null`);

  const first = setting.pair();
  await t.test('fresh against fresh, then ours is promoted by force', async (t) => {
    await first.create();
    await first.connect();
    t.match(await first.state(), { role: 'Secondary', peerRole: 'Secondary', disk: 'Inconsistent', peerDisk: 'Inconsistent' });
    t.match(await first.kernel.state(), { disk: 'Inconsistent', peerDisk: 'Inconsistent', peerRole: 'Secondary' });
    await first.primary({ force: true });
    await first.untilInSync('the initial sync');
    t.match(await first.kernel.state(), { role: 'Secondary', peerRole: 'Primary' });
    await same(t, first, 'initial sync');
    await noComplaints(t);
  });

  await t.test('disconnected by us, written to, connected again', async (t) => {
    await first.disconnectOurs();
    await first.until(
      'the loss',
      ({ cs }) => cs === 'StandAlone',
      ({ cs }) => cs === 'WFConnection',
    );
    await writeOurs(first, 3 << 20);
    t.ok((await first.state()).oos >= 1024 + 80);
    await first.connectOurs();
    await first.untilInSync('the resync');
    await same(t, first, 'bitmap resync to the kernel');
    await noComplaints(t);
  });

  await t.test('disconnected by the kernel, written to, connected again', async (t) => {
    await first.kernel.disconnect();
    await first.until(
      'the loss',
      ({ cs }) => cs === 'Connecting',
      ({ cs }) => cs === 'StandAlone',
    );
    await writeOurs(first, 7 << 20);
    await first.kernel.connect();
    await first.untilInSync('the resync');
    await same(t, first, 'bitmap resync to the kernel');
    await noComplaints(t);
  });

  await t.test('failover to the kernel, and the same in the other direction', async (t) => {
    await first.secondary();
    await first.kernel.setup('primary 0');
    await first.until(
      'the roles',
      ({ peerRole }) => peerRole === 'Primary',
      ({ role, peerRole }) => role === 'Primary' && peerRole === 'Secondary',
    );
    t.equal((await setting.ours.client.request('primary', { resource: first.name, force: false })).code, -1, 'one Primary only');
    await writeKernel(first, 1 << 20);
    await first.kernel.disconnect();
    await first.until('the loss', ({ cs }) => cs === 'Connecting');
    await writeKernel(first, 5 << 20);
    await first.kernel.connect();
    await first.untilInSync('the resync');
    await same(t, first, 'disconnected by the kernel, bitmap resync to us');
    await first.disconnectOurs();
    await first.until(
      'the loss',
      ({ cs }) => cs === 'StandAlone',
      ({ cs }) => cs === 'WFConnection',
    );
    await writeKernel(first, 9 << 20);
    await first.connectOurs();
    await first.untilInSync('the resync');
    await same(t, first, 'disconnected by us, bitmap resync to us');
    await noComplaints(t);
  });

  await t.test('the cable is pulled while the kernel writes, then while we do', async (t) => {
    const cut = async (): Promise<void> => {
      peer.setLink('down');
      const lost = ['Connecting', 'WFConnection', 'Unconnected', 'NetworkFailure', 'Timeout'];
      await first.until(
        'noticing',
        ({ cs }) => lost.includes(cs),
        ({ cs }) => lost.includes(cs),
      );
    };
    let writing = first.inGuest(
      'for i in 1 2 3 4 5 6; do dd if=/dev/urandom of=DEVICE bs=64k seek=$((i * 20)) count=20 oflag=direct 2> /dev/null; done',
    );
    await cut();
    await writing;
    peer.setLink('up');
    await first.untilInSync('the resync');
    await same(t, first, 'the kernel wrote');
    await first.kernel.setup('secondary 0');
    await first.primary();
    const nbd = await first.open();
    const ourWrites = async (): Promise<string> => {
      for (let i = 0; i < 200; i++) await nbd.write(((i * 37) % 500) * 4096, randomBytes(8192));
      await nbd.flush();
      return '';
    };
    writing = ourWrites();
    await cut();
    await writing;
    await nbd.close();
    peer.setLink('up');
    await first.untilInSync('the resync');
    await same(t, first, 'we wrote');
    await noComplaints(t, /\[drbd\w* net|sock was/i);
  });

  await t.test('a fresh kernel disk is filled by new-current-uuid --force-resync, without a Primary', async (t) => {
    const filled = setting.pair();
    await filled.create();
    await filled.connect();
    await filled.ask('new-current-uuid', { forceResync: true });
    await filled.untilInSync('the initial sync');
    t.match(await filled.kernel.state(), { role: 'Secondary', peerRole: 'Secondary' });
    await same(t, filled, 'initial sync by command');
    await noComplaints(t);
  });

  const second = setting.pair();
  await t.test('fresh against fresh, then the kernel is promoted by force', async (t) => {
    await second.create();
    await second.connect();
    await second.kernel.setup(`primary ${second.minor} --force`);
    await second.untilInSync('the initial sync');
    t.match(await second.state(), { role: 'Secondary', peerRole: 'Primary' });
    await same(t, second, 'initial sync');
    await noComplaints(t);
  });

  await t.test('invalidate from both sides', async (t) => {
    await second.kernel.setup(`secondary ${second.minor}`);
    for (const [what, invalidate] of [
      ['ours', () => second.ask('invalidate')],
      ['its peer, by us', () => second.ask('invalidate-remote')],
      ['the kernel', () => second.kernel.setup(`invalidate ${second.minor}`)],
      ['its peer, by the kernel', () => second.kernel.setup(`invalidate-remote ${second.minor}`)],
    ] as const) {
      await invalidate();
      await second.untilInSync(`the resync after invalidate of ${what}`);
      await same(t, second, what);
    }
    await noComplaints(t);
  });
});
