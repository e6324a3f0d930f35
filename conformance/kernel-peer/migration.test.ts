// A kernel's node becomes one of ours, on the same disk, and a kernel's again, without converting the meta-data: only changes are resynced.
// guide.test.ts converts them.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { eventually } from '../engine/eventually.js';
import { readImage } from '../engine/images.js';
import { NbdClient } from '../engine/nbd-client.js';
import { OurNode } from './our-node.js';
import { stateOf } from './pair.js';
import { says } from './says.js';
import { startSetting } from './setting.js';

t.test('migration', async (t) => {
  const setting = await startSetting({ file: 1 });
  t.teardown(() => setting.stop());
  const { ours, folder, program } = setting;
  const { namespace, address } = setting.peer;
  const pair = setting.pair({ disk: 'file' });
  const kernelImage = join(folder, 'kernel-0.img');
  await pair.createInSync();
  await pair.primary();
  let nbd = await pair.open();
  await nbd.write(1 << 20, randomBytes(1 << 20));
  const syncedKib = (log: string): number[] =>
    [...log.matchAll(/Began resync as SyncSource \(will sync (\d+) KB/g)].map((match) => Number(match[1]));

  const second = new OurNode(program, namespace, join(folder, 'second'));
  t.teardown(() => second.stop());
  const { minor } = pair;
  const untilSynced = async (node: OurNode): Promise<void> => {
    await eventually(
      'the resync',
      async () => stateOf(await node.resource(pair.name)),
      (state) => state.cs === 'Connected' && state.disk === 'UpToDate' && state.peerDisk === 'UpToDate' && state.oos === 0,
      () => second.log.slice(-3000),
    );
  };
  /** Our second engine takes the kernel's place, with its address and its disk, as drbdadm up would set it up. */
  const takeOver = async (t: Test): Promise<void> => {
    await pair.kernel.down();
    await setting.peer.stop();
    await nbd.write(4 << 20, randomBytes(1 << 20));
    const mark = ours.log.length;
    await beginSecond();
    t.same(syncedKib(ours.log.slice(mark)), [1024], 'only what was written meanwhile');
    await nbd.write(6 << 20, randomBytes(1 << 20));
    await nbd.flush();
    await sameImages(t);
  };
  const sameImages = async (t: Test): Promise<void> => {
    const bytes = await pair.sizeBytes();
    t.ok(readImage(kernelImage, 0, bytes).equals(readImage(pair.options.image, 0, bytes)), 'the same data on both disks');
  };
  const beginSecond = async (): Promise<void> => {
    namespace.addAddress(address);
    await second.start();
    const about = { resource: pair.name, peerNodeId: 0 };
    // Without a node id, as 8.4 knows none: then meta-data are v08.
    await second.ask('new-resource', { resource: pair.name, nodeId: 0xffff_ffff, options: {} });
    await second.ask('new-minor', { resource: pair.name, minor, volume: 0, options: {} });
    await second.ask('new-peer', { ...about, options: { _name: 'first', protocol: 'C', 'connect-int': 1, 'ping-timeout': 30 } });
    const local = { family: 'ipv4', address, port: pair.port } as const;
    await second.ask('new-path', { ...about, local, remote: { ...local, address: pair.peer.hostAddress } });
    await second.drbdmeta(minor, kernelImage, ['apply-al'], 'v08');
    await second.ask('attach', { minor, backingDev: kernelImage, metaDev: kernelImage, metaIndex: -3, options: {} });
    await second.ask('connect', { ...about, tentative: false, discardMyData: false });
    await untilSynced(ours);
    await untilSynced(second);
  };
  /** Over to the second node, and back. */
  const switchOver = async (t: Test): Promise<void> => {
    const data = randomBytes(65_536);
    await nbd.write(10 << 20, data);
    await nbd.close();
    await pair.secondary();
    await second.ask('primary', { resource: pair.name, force: false });
    const there = await NbdClient.open(`${second.runDir}/nbd/${minor}.sock`);
    t.ok((await there.read(10 << 20, data.length)).equals(data), 'the other node has it');
    await there.write(11 << 20, data);
    await there.close();
    await second.ask('secondary', { resource: pair.name, force: false });
    await pair.primary();
    nbd = await pair.open();
    t.ok((await nbd.read(11 << 20, data.length)).equals(data), 'and what it wrote is here');
  };
  /** And the kernel takes it back. */
  const giveBack = async (t: Test): Promise<void> => {
    await second.ask('down', { resource: pair.name });
    await second.stop('SIGTERM');
    await pair.untilWe(({ cs }) => cs === 'Connecting');
    await nbd.write(8 << 20, randomBytes(1 << 20));
    execFileSync('ip', ['-n', namespace.name, 'address', 'delete', `${address}/24`, 'dev', 'bridge']);
    await setting.restartPeer();
    const mark = ours.log.length;
    await pair.kernel.meta('apply-al');
    await pair.kernel.attach();
    await pair.kernel.connect();
    await pair.untilInSync('the resync');
    t.same(syncedKib(ours.log.slice(mark)), [1024], 'only what was written meanwhile');
    const { ours: own, kernel } = await pair.sums();
    t.equal(kernel, own, 'the same data on both disks');
    t.same(await setting.complaints([/operation not supported error, dev ubd/]), []);
  };

  await t.test('there and back', async (t) => {
    await takeOver(t);
    await switchOver(t);
    await giveBack(t);
  });
  await nbd.close();

  await t.test('after crashes: each applies the activity log of the other', async (t) => {
    await pair.secondary();
    await pair.kernel.setup(`primary ${minor}`);
    const load = pair.inGuest(
      'for i in $(seq 200); do /usr/bin/dd if=/dev/urandom of=DEVICE bs=16k seek=$((i * 37 % 300)) count=3 oflag=direct status=none; done',
    );
    load.catch(() => {});
    const { ns } = (await pair.kernel.state())!.counters;
    await pair.kernel.until(({ counters }) => counters.ns > ns + 500);
    await setting.peer.stop();
    await beginSecond();
    await sameImages(t);
    await says(t, () => second.log, /Began resync as SyncSource/, 'what the kernel had written counts');

    await second.ask('primary', { resource: pair.name, force: false });
    const there = await NbdClient.open(`${second.runDir}/nbd/${minor}.sock`);
    const writes = Array.from({ length: 200 }, (_, i) => there.write(((i * 41) % 300) * 16_384, randomBytes(16_384)).catch(() => {}));
    await Promise.race(writes);
    await sleep(100);
    await second.stop();
    await Promise.all(writes);
    execFileSync('ip', ['-n', namespace.name, 'address', 'delete', `${address}/24`, 'dev', 'bridge']);
    await setting.restartPeer();
    t.match(await pair.kernel.meta('apply-al'), /Marked additional|up to date|\d+ KB/i);
    await pair.kernel.attach();
    await pair.kernel.connect();
    await pair.untilInSync('the resync');
    const { ours: own, kernel } = await pair.sums();
    t.equal(kernel, own, 'the same data on both disks');
    t.same(await setting.complaints([/operation not supported error, dev ubd/]), []);
  });
});
