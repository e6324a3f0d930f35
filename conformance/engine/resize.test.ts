/** Online resize on two engines over image files: grown together, alone, and while one was detached; what an NBD client sees. */
import { randomBytes } from 'node:crypto';
import { truncateSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { applyActivityLog, metaData } from './configure.js';
import { dataBytes, readImage } from './images.js';
import { NbdClient } from './nbd-client.js';
import { TwoEngines } from './two-engines.js';

const MIB = 1 << 20;
const SIZES = [16 * MIB, 48 * MIB, 80 * MIB] as const;

t.test('online resize', async (t) => {
  const two = await TwoEngines.start(t, { size: SIZES[0] });
  const { dir, a, b, images } = two;
  const nodes = [a, b];
  await two.bringUp();
  const synced = (what: string, bytes: number): Promise<unknown> =>
    Promise.all(
      nodes.map((node) =>
        node.until(
          'r0',
          what,
          ({ devices: [device], connections: [connection] }) =>
            device!.statistics.size === bytes / 512 &&
            device!.state.diskState === 'UpToDate' &&
            connection!.peerDevices[0]!.state.diskState === 'UpToDate' &&
            connection!.peerDevices[0]!.state.replicationState === 'Established' &&
            connection!.peerDevices[0]!.statistics.outOfSync === 0,
          60_000,
        ),
      ),
    );
  await synced('the initial sync', dataBytes(SIZES[0]));
  const plain = { assumePeerHasSpace: false, assumeClean: false };
  // As `drbdsetup check-resize` leaves it, which `drbdadm resize` calls last.
  const remember = (minor: number, bytes: number): void => writeFileSync(`${dir}/drbd-minor-${minor}.lkbd`, `${bytes}\t${images[minor]}\n`);
  const sameUpTo = (bytes: number): boolean => readImage(images[0], 0, bytes).equals(readImage(images[1], 0, bytes));

  const before = await NbdClient.open(`${a.runDir}/nbd/0.sock`);
  await before.write(MIB, randomBytes(MIB));
  for (const image of images) truncateSync(image, SIZES[1]);
  const refused = await a.client.request('resize', { minor: 0, ...plain, alStripes: 1, alStripeSizeKiB: 4 });
  t.equal(refused.code, 168);
  await a.ask('resize', { minor: 0, ...plain });
  const grown = dataBytes(SIZES[1]);
  await synced('both grown', grown);
  t.ok(sameUpTo(grown), 'what is new is the same on both');
  t.equal(before.sizeBytes, dataBytes(SIZES[0]), 'a client learns the size when it connects');
  const tail = randomBytes(65_536);
  await before.write(grown - tail.length, tail);
  await before.flush();
  await before.close();
  const nbd = await NbdClient.open(`${a.runDir}/nbd/0.sock`);
  t.equal(nbd.sizeBytes, grown, 'the next client has all of it');
  t.ok((await nbd.read(grown - tail.length, tail.length)).equals(tail));
  t.ok(readImage(images[1], grown - tail.length, tail.length).equals(tail));

  await a.ask('resize', { minor: 0, ...plain, size: (20 * MIB) / 512 });
  await synced('an explicit size', 20 * MIB);
  await t.rejects(nbd.read(20 * MIB, 4096), { message: 'NBD error 22' });
  t.equal((await b.resource('r0')).devices[0]!.disk?.options.size, (20 * MIB) / 512, 'the peer has taken it over');
  await a.ask('resize', { minor: 0, ...plain });
  await synced('all there is, again', grown);

  // One device grows while it is detached: its meta-data are moved before it is attached.
  remember(1, SIZES[1]);
  await b.ask('detach', { minor: 1, force: false, diskless: false });
  await nbd.write(3 * MIB, randomBytes(MIB));
  for (const image of images) truncateSync(image, SIZES[2]);
  const unknown = await b.client.request('attach', { minor: 1, backingDev: images[1], metaDev: images[1], metaIndex: -3, options: {} });
  t.equal(unknown.code, 119);
  await metaData(1, images[1], 'check-resize');
  await applyActivityLog(1, images[1]);
  await b.ask('attach', { minor: 1, backingDev: images[1], metaDev: images[1], metaIndex: -3, options: {} });
  await synced('the grown disk attached', grown);
  await b.ask('resize', { minor: 1, ...plain });
  await synced('asked on the Secondary', dataBytes(SIZES[2]));
  await nbd.write(dataBytes(SIZES[2]) - tail.length, tail);
  await nbd.flush();
  t.ok(sameUpTo(dataBytes(SIZES[2])));

  await nbd.close();
  // The journal knows nothing of sizes: the next engine has them from the disk.
  await a.stop('SIGKILL');
  await a.start();
  const next = await NbdClient.open(`${a.runDir}/nbd/0.sock`);
  t.equal(next.sizeBytes, dataBytes(SIZES[2]), 'taken over with the size to which it has grown');
  t.ok((await next.read(dataBytes(SIZES[2]) - tail.length, tail.length)).equals(tail));
  await next.close();
  await synced('after the kill', dataBytes(SIZES[2]));
  // Killed right after a change: the meta-data are complete, at the new place or at the one that the record tells.
  for (const image of images) truncateSync(image, SIZES[2] + 8 * MIB);
  await a.ask('resize', { minor: 0, ...plain });
  await Promise.all(nodes.map((node) => node.stop('SIGKILL')));
  for (const [i, image] of images.entries()) {
    remember(i, SIZES[2]);
    await metaData(i, image, 'check-resize');
    await applyActivityLog(i, image);
  }
});
