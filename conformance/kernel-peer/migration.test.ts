// A kernel's node becomes one of ours, on the same disk, and a kernel's again: meta-data converted, only changes resynced.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import t from 'tap';
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

  await pair.kernel.down();
  await setting.peer.stop();
  await nbd.write(4 << 20, randomBytes(1 << 20));

  const second = new OurNode(program, namespace, join(folder, 'second'));
  t.teardown(() => second.stop());
  await t.test('to ours', async (t) => {
    t.match(await second.drbdmeta(1, kernelImage, 'create-md', '1'), /Valid v08 meta-data found, convert to v09/);
    t.match(await second.drbdmeta(1, kernelImage, 'dump-md'), /version "v09"/);
    namespace.addAddress(address);
    await second.start();
    const about = { resource: pair.name, peerNodeId: 0 };
    await second.ask('new-resource', { resource: pair.name, nodeId: 1, options: {} });
    await second.ask('new-minor', { resource: pair.name, minor: 1, volume: 0, options: {} });
    await second.ask('new-peer', { ...about, options: { _name: 'first', protocol: 'C', 'connect-int': 1 } });
    const local = { family: 'ipv4', address, port: pair.port } as const;
    await second.ask('new-path', { ...about, local, remote: { ...local, address: pair.peer.hostAddress } });
    await second.drbdmeta(1, kernelImage, 'apply-al');
    await second.ask('attach', { minor: 1, backingDev: kernelImage, metaDev: kernelImage, metaIndex: -3, options: {} });
    const mark = ours.log.length;
    await second.ask('connect', { ...about, tentative: false, discardMyData: false });
    for (const [node, what] of [
      [ours, 'ours'],
      [second, 'the converted one'],
    ] as const) {
      for (let i = 0; ; i++) {
        const state = stateOf(await node.resource(pair.name));
        if (state.cs === 'Connected' && state.disk === 'UpToDate' && state.peerDisk === 'UpToDate' && state.oos === 0) break;
        if (i > 300) throw new Error(`${what} came to ${JSON.stringify(state)}\n${second.log.slice(-3000)}`);
        await new Promise((settle) => setTimeout(settle, 100));
      }
    }
    t.same(syncedKib(ours.log.slice(mark)), [1024], 'only what was written meanwhile');
    await nbd.write(6 << 20, randomBytes(1 << 20));
    await nbd.flush();
    const bytes = await pair.sizeBytes();
    t.ok(readImage(kernelImage, 0, bytes).equals(readImage(pair.options.image, 0, bytes)), 'the same data on both disks');
    await second.ask('down', { resource: pair.name });
    await second.stop('SIGTERM');
  });

  await t.test('and back to the kernel', async (t) => {
    await pair.untilWe(({ cs }) => cs === 'Connecting');
    await nbd.write(8 << 20, randomBytes(1 << 20));
    execFileSync('ip', ['-n', namespace.name, 'address', 'delete', `${address}/24`, 'dev', 'bridge']);
    await setting.restartPeer();
    t.match(await pair.kernel.meta('create-md'), /Valid v09 meta-data found, convert to v08/);
    const mark = ours.log.length;
    await pair.kernel.meta('apply-al');
    await pair.kernel.attach();
    await pair.kernel.connect();
    await pair.untilInSync('the resync');
    t.same(syncedKib(ours.log.slice(mark)), [1024], 'only what was written meanwhile');
    await nbd.close();
    await pair.secondary();
    const { ours: own, kernel } = await pair.sums();
    t.equal(kernel, own, 'the same data on both disks');
    t.same(await setting.complaints([/operation not supported error, dev ubd/]), []);
  });
});
