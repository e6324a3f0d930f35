// A kernel's node becomes one of ours, on the same disk, and a kernel's again: meta-data converted, only changes resynced.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { readImage } from '../engine/images.js';
import { NbdClient } from '../engine/nbd-client.js';
import { OurNode } from './our-node.js';
import { stateOf } from './pair.js';
import { startSetting } from './setting.js';

/** What stands here for each command that docs/migrating.md prints; the numbers are those of the steps below. */
const GUIDE: ReadonlyMap<string, string> = new Map([
  ['beta# drbdadm down data', 'takeOver 1, giveBack 1'],
  ['beta# rmmod drbd', 'takeOver 1: the kernel is switched off'],
  ['beta# drbdadm create-md data', 'takeOver 2, giveBack 3'],
  ['beta# drbdadm up data', 'takeOver 3, giveBack 4; with drbdadm itself in drbdadm.test.ts'],
  ['beta# drbdadm wait-sync data', 'takeOver 4; with drbdadm itself in drbdadm.test.ts'],
  ['beta# drbdadm status data', 'takeOver 4; with drbdadm itself in drbdadm.test.ts'],
  ['alpha# umount /srv/data', 'switchOver 1'],
  ['alpha# drbdadm secondary data', 'switchOver 2'],
  ['beta# drbdadm primary data', 'switchOver 3'],
  ['beta# mount /dev/drbd0 /srv/data', 'switchOver 4'],
  ['beta# pkill udrbd-engine', 'giveBack 2'],
  ['beta# modprobe drbd', 'giveBack 2: the kernel is switched on'],
]);
const QUESTIONS = { v09: 'Valid v08 meta-data found, convert to v09?', v08: 'Valid v09 meta-data found, convert to v08?' };

t.test('the guide says what is tried here', async (t) => {
  const guide = readFileSync(new URL('../../docs/migrating.md', import.meta.url), 'utf8');
  const blocks = [...guide.matchAll(/^```\n(.*?)^```$/gms)].map((match) => match[1]!);
  const printed = blocks.flatMap((block) =>
    [...block.matchAll(/^(alpha|beta)#\s+(.*)$/gm)].map((match) => `${match[1]}# ${match[2]!.replace(/\s+#.*/, '').trim()}`),
  );
  t.strictSame([...new Set(printed)].sort(), [...GUIDE.keys()].sort());
  for (const question of Object.values(QUESTIONS))
    t.ok(
      blocks.some((block) => block.includes(question)),
      question,
    );
});

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
    for (let i = 0; ; i++) {
      const state = stateOf(await node.resource(pair.name));
      if (state.cs === 'Connected' && state.disk === 'UpToDate' && state.peerDisk === 'UpToDate' && state.oos === 0) return;
      if (i > 300) throw new Error(`came to ${JSON.stringify(state)}\n${second.log.slice(-3000)}`);
      await sleep(100);
    }
  };
  /** Our second engine takes the kernel's place, with its address and its disk, as drbdadm up would set it up. */
  const takeOver = async (t: Test, format: 'v08' | 'v09'): Promise<void> => {
    // 1
    await pair.kernel.down();
    await setting.peer.stop();
    await nbd.write(4 << 20, randomBytes(1 << 20));
    const mark = ours.log.length;
    await beginSecond(t, format);
    t.same(syncedKib(ours.log.slice(mark)), [1024], 'only what was written meanwhile');
    await nbd.write(6 << 20, randomBytes(1 << 20));
    await nbd.flush();
    await sameImages(t);
  };
  const sameImages = async (t: Test): Promise<void> => {
    const bytes = await pair.sizeBytes();
    t.ok(readImage(kernelImage, 0, bytes).equals(readImage(pair.options.image, 0, bytes)), 'the same data on both disks');
  };
  const beginSecond = async (t: Test, format: 'v08' | 'v09'): Promise<void> => {
    // 2
    if (format === 'v09') t.match(await second.drbdmeta(minor, kernelImage, ['create-md', '1']), QUESTIONS.v09);
    // 3
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
    await second.ask('connect', { ...about, tentative: false, discardMyData: false });
    // 4
    await untilSynced(ours);
    await untilSynced(second);
  };
  /** Over to the second node, and back. */
  const switchOver = async (t: Test): Promise<void> => {
    const data = randomBytes(65_536);
    await nbd.write(10 << 20, data);
    // 1, 2, 3, 4
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
  const giveBack = async (t: Test, format: 'v08' | 'v09'): Promise<void> => {
    // 1
    await second.ask('down', { resource: pair.name });
    // 2
    await second.stop('SIGTERM');
    await pair.untilWe(({ cs }) => cs === 'Connecting');
    await nbd.write(8 << 20, randomBytes(1 << 20));
    execFileSync('ip', ['-n', namespace.name, 'address', 'delete', `${address}/24`, 'dev', 'bridge']);
    await setting.restartPeer();
    // 3
    if (format === 'v09') t.match(await pair.kernel.meta('create-md'), QUESTIONS.v08);
    // 4
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
      await switchOver(t);
      await giveBack(t, format);
    });
  }
  await nbd.close();

  await t.test('after crashes: each applies the activity log of the other', async (t) => {
    await pair.secondary();
    await pair.kernel.setup(`primary ${minor}`);
    const load = pair.inGuest(
      'for i in $(seq 200); do /usr/bin/dd if=/dev/urandom of=DEVICE bs=16k seek=$((i * 37 % 300)) count=3 oflag=direct status=none; done',
    );
    load.catch(() => {});
    await sleep(1500);
    await setting.peer.stop();
    await beginSecond(t, 'v08');
    await sameImages(t);
    t.match(second.log, /Began resync as SyncSource/, 'what the kernel had written counts');

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
