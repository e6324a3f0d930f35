// A disk that is known to be old opposite a Primary without one: only the Primary knows whether these are its last data.
import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import { readImage } from '../engine/images.js';
import type { Pair } from './pair.js';
import { neverSays, says } from './says.js';
import { startSetting } from './setting.js';

const AT = 1 << 20;
const BYTES = 64 * 1024;
const OTHER = /Can only connect to data with current UUID=/;

t.test('Outdated disks and Primaries without one', async (t) => {
  const setting = await startSetting({ ram: 2, sizeMiB: 8 });
  t.teardown(() => setting.stop());
  const { ours } = setting;
  const ourPart = (pair: Pair): Buffer => readImage(pair.options.image, AT, BYTES);
  const kernelReads = (pair: Pair): Promise<string> =>
    pair.inGuest(`dd if=DEVICE bs=64k skip=${AT / BYTES} count=1 iflag=direct 2> /dev/null | base64 -w 0`);
  const kernelWrites = (pair: Pair): Promise<string> =>
    pair.inGuest(`/usr/bin/dd if=/dev/urandom of=DEVICE bs=64k seek=${AT / BYTES} count=1 oflag=direct conv=notrunc status=none`);
  const reattachKernel = async (pair: Pair): Promise<void> => {
    await pair.kernel.meta('apply-al');
    await pair.kernel.setup(`attach ${pair.minor} ${pair.options.kernelDisk} ${pair.options.kernelDisk} internal`);
  };
  const same = async (t: Test, pair: Pair): Promise<void> => {
    const { ours: own, kernel } = await pair.sums();
    t.equal(kernel, own, 'the same data on both disks');
    neverSays(t, ours.log, /internal error/);
  };

  const pair = setting.pair();
  await pair.createInSync();

  await t.test('our Outdated disk has the last data of the kernel, which is Primary without a disk', async (t) => {
    await pair.kernel.setup(`primary ${pair.minor}`);
    await kernelWrites(pair);
    await pair.kernel.setup(`detach ${pair.minor}`);
    await pair.until('the detach', ({ peerDisk }) => peerDisk === 'Diskless');
    await pair.disconnectOurs({ force: true });
    await pair.kernel.until(({ cs, disk }) => cs === 'WFConnection' && disk === 'Diskless');
    await pair.ask('outdate');
    t.match(await pair.state(), { cs: 'StandAlone', disk: 'Outdated' }, 'alone with an old disk');
    await pair.connectOurs();
    await pair.until(
      'the verdict of the Primary',
      ({ cs, disk, peerRole, peerDisk }) => cs === 'Connected' && disk === 'UpToDate' && peerRole === 'Primary' && peerDisk === 'Diskless',
      ({ cs, disk, peerDisk }) => cs === 'Connected' && disk === 'Diskless' && peerDisk === 'UpToDate',
    );
    t.equal(await kernelReads(pair), ourPart(pair).toString('base64'), 'it reads from our disk');
    await kernelWrites(pair);
    await reattachKernel(pair);
    await pair.untilInSync('the resync after attach');
    await same(t, pair);
  });

  await t.test('our Outdated disk is really older', async (t) => {
    await pair.disconnectOurs();
    await pair.kernel.until(({ cs }) => cs === 'WFConnection');
    await pair.ask('outdate');
    await kernelWrites(pair);
    await pair.kernel.setup(`detach ${pair.minor} --force`);
    await pair.kernel.until(({ disk }) => disk === 'Diskless');
    await pair.connectOurs();
    await says(t, () => setting.peer.console(), OTHER, 'the kernel');
    await pair.untilWe(({ cs }) => cs !== 'Connected');
    t.match(await pair.state(), { disk: 'Outdated' }, 'and ours stays old');
    await pair.disconnectOurs();
    await pair.kernel.disconnect().catch(() => '');
    await reattachKernel(pair);
    await pair.connect();
    await pair.untilInSync('the resync of what we missed');
    await same(t, pair);
    await pair.kernel.setup(`secondary ${pair.minor}`);
  });

  await t.test("the kernel's Outdated disk has our last data, and we are Primary without a disk", async (t) => {
    await pair.primary();
    const nbd = await pair.open();
    const data = randomBytes(BYTES);
    await nbd.write(AT, data);
    await pair.ask('detach', { force: false, diskless: false });
    await pair.kernel.until(({ peerDisk }) => peerDisk === 'Diskless');
    await pair.kernel.disconnect({ force: true });
    await pair.untilWe(({ cs, disk }) => cs === 'Connecting' && disk === 'Diskless');
    await pair.kernel.setup(`outdate ${pair.minor}`);
    t.match(await pair.kernel.state(), { cs: 'StandAlone', disk: 'Outdated' }, 'alone with an old disk');
    await pair.kernel.connect();
    await pair.until(
      'our verdict',
      ({ cs, disk, peerDisk }) => cs === 'Connected' && disk === 'Diskless' && peerDisk === 'UpToDate',
      ({ cs, disk, peerRole, peerDisk }) => cs === 'Connected' && disk === 'UpToDate' && peerRole === 'Primary' && peerDisk === 'Diskless',
    );
    t.ok((await nbd.read(AT, BYTES)).equals(data), 'we read from its disk');
    await nbd.write(AT, randomBytes(BYTES));
    await nbd.close();
    await pair.attachOurs();
    await pair.untilInSync('the resync after attach');
    await same(t, pair);
  });

  await t.test("the kernel's Outdated disk is really older", async (t) => {
    await pair.kernel.disconnect();
    await pair.untilWe(({ cs }) => cs === 'Connecting');
    await pair.kernel.setup(`outdate ${pair.minor}`);
    const nbd = await pair.open();
    await nbd.write(AT, randomBytes(BYTES));
    await nbd.close();
    await pair.ask('detach', { force: true, diskless: false });
    await pair.untilWe(({ disk }) => disk === 'Diskless');
    const mark = ours.log.length;
    await pair.kernel.connect();
    await says(t, () => ours.log.slice(mark), OTHER, 'we');
    await pair.untilWe(({ cs }) => cs === 'StandAlone');
    await pair.kernel.until(({ cs }) => cs === 'WFConnection');
    t.match(await pair.kernel.state(), { disk: 'Outdated' }, 'and it stays old');
    await pair.attachOurs();
    await pair.connectOurs();
    await pair.untilInSync('the resync of what the kernel missed');
    await same(t, pair);
  });
});
