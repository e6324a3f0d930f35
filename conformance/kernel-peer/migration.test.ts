// A kernel's node becomes one of ours, on the same disk, and a kernel's again: meta-data converted, only changes resynced.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { readImage } from '../engine/images.js';
import { OurNode } from './our-node.js';
import { stateOf } from './pair.js';
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
  const nbd = await pair.open();
  await nbd.write(1 << 20, randomBytes(1 << 20));
  const syncedKib = (log: string): number[] =>
    [...log.matchAll(/Began resync as SyncSource \(will sync (\d+) KB/g)].map((match) => Number(match[1]));

  const second = new OurNode(program, namespace, join(folder, 'second'));
  t.teardown(() => second.stop());
  const { minor } = pair;
  const untilSynced = async (node: OurNode): Promise<void> => {
    for (let i = 0; ; i++) {
      const state = stateOf(await node.resource(pair.name));
      if (state.cs === 'Connected' && state.disk === 'UpToDate' && state.peerDisk === 'UpToDate' && state.oos === 0) return;
      if (i > 300) throw new Error(`came to ${JSON.stringify(state)}\n${second.log.slice(-3000)}`);
      await sleep(100);
    }
  };
  /** Our second engine takes the kernel's place, with its address and its disk, as drbdadm up would set it up. */
  const takeOver = async (t: Test, format: 'v08' | 'v09'): Promise<void> => {
    await pair.kernel.down();
    await setting.peer.stop();
    await nbd.write(4 << 20, randomBytes(1 << 20));
    if (format === 'v09')
      t.match(await second.drbdmeta(minor, kernelImage, ['create-md', '1']), /Valid v08 meta-data found, convert to v09/);
    namespace.addAddress(address);
    await second.start();
    const about = { resource: pair.name, peerNodeId: 0 };
    // Without a node id, as 8.4 knows none: then meta-data are v08.
    await second.ask('new-resource', { resource: pair.name, nodeId: format === 'v08' ? 0xffff_ffff : 1, options: {} });
    await second.ask('new-minor', { resource: pair.name, minor, volume: 0, options: {} });
    await second.ask('new-peer', { ...about, options: { _name: 'first', protocol: 'C', 'connect-int': 1 } });
    const local = { family: 'ipv4', address, port: pair.port } as const;
    await second.ask('new-path', { ...about, local, remote: { ...local, address: pair.peer.hostAddress } });
    await second.drbdmeta(minor, kernelImage, ['apply-al'], format);
    await second.ask('attach', { minor, backingDev: kernelImage, metaDev: kernelImage, metaIndex: -3, options: {} });
    const mark = ours.log.length;
    await second.ask('connect', { ...about, tentative: false, discardMyData: false });
    await untilSynced(ours);
    await untilSynced(second);
    t.same(syncedKib(ours.log.slice(mark)), [1024], 'only what was written meanwhile');
    await nbd.write(6 << 20, randomBytes(1 << 20));
    await nbd.flush();
    const bytes = await pair.sizeBytes();
    t.ok(readImage(kernelImage, 0, bytes).equals(readImage(pair.options.image, 0, bytes)), 'the same data on both disks');
  };
  /** And the kernel takes it back. */
  const giveBack = async (t: Test, format: 'v08' | 'v09'): Promise<void> => {
    await second.ask('down', { resource: pair.name });
    await second.stop('SIGTERM');
    await pair.untilWe(({ cs }) => cs === 'Connecting');
    await nbd.write(8 << 20, randomBytes(1 << 20));
    execFileSync('ip', ['-n', namespace.name, 'address', 'delete', `${address}/24`, 'dev', 'bridge']);
    await setting.restartPeer();
    if (format === 'v09') t.match(await pair.kernel.meta('create-md'), /Valid v09 meta-data found, convert to v08/);
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

  for (const [format, what] of [
    ['v09', 'the meta-data are converted'],
    ['v08', 'the meta-data are used as they are'],
  ] as const) {
    await t.test(what, async (t) => {
      await takeOver(t, format);
      await giveBack(t, format);
    });
  }
  await nbd.close();
});
