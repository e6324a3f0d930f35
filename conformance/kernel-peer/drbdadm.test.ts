// One drbd.conf of the kind that 8.4 knows, two volumes: drbdadm on our side, the stock one on the kernel's.
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { eventually } from '../engine/eventually.js';
import { readImage } from '../engine/images.js';
import { NbdClient } from '../engine/nbd-client.js';
import { parseProcDrbd } from '../uml/kernel-resource.js';
import { bundleDrbdadm, ourDrbdadm } from './our-drbdadm.js';
import { complaints } from './pair.js';
import { neverSays } from './says.js';
import { startSetting } from './setting.js';

const SIZE_MIB = 24;

const configuration = (folder: string, address: { readonly ours: string; readonly kernel: string }, protocol: string): string => `
global { usage-count no; }
common {
  net { protocol ${protocol}; ping-int 5; ping-timeout 30; after-sb-0pri discard-zero-changes; }
  disk { c-plan-ahead 0; resync-rate 100M; }
}
resource data {
  on ours {
    address ${address.ours}:7790;
    volume 0 { device /dev/drbd10; disk ${folder}/one.img; meta-disk internal; }
    volume 1 { device /dev/drbd11; disk ${folder}/two.img; meta-disk internal; }
  }
  on kernel1 {
    address ${address.kernel}:7790;
    volume 0 { device /dev/drbd10; disk /dev/ram1; meta-disk internal; }
    volume 1 { device /dev/drbd11; disk /dev/ram2; meta-disk internal; }
  }
}
`;

t.test('drbdadm on both sides', async (t) => {
  const setting = await startSetting({ ram: 2, sizeMiB: SIZE_MIB });
  t.teardown(() => setting.stop());
  const { folder, peer, ours } = setting;
  const program = await bundleDrbdadm(`${folder}/bundle`);
  for (const name of ['one', 'two']) {
    const fd = openSync(`${folder}/${name}.img`, 'w');
    ftruncateSync(fd, SIZE_MIB << 20);
    closeSync(fd);
  }
  const addresses = { ours: peer.hostAddress, kernel: peer.address };
  const configure = async (protocol: string): Promise<void> => {
    const text = configuration(folder, addresses, protocol);
    writeFileSync(`${folder}/drbd.conf`, text);
    await peer.run(`echo ${Buffer.from(text).toString('base64')} | base64 -d > /etc/drbd.conf`);
  };
  await configure('C');

  const at = { program, ours, configuration: `${folder}/drbd.conf`, name: 'ours', folder };
  const adm = (...words: string[]): Promise<string> => ourDrbdadm(at, words);
  const kernelAdm = (words: string): Promise<string> => peer.run(`drbdadm ${words} 2>&1`);
  const procs = async (): Promise<{ readonly ours: string; readonly kernel: string }> => ({
    ours: readFileSync(`${ours.runDir}/proc/drbd`, 'utf8'),
    kernel: `${await peer.run('cat /proc/drbd')}\n`,
  });
  const untilBoth = async (what: string, ours: object, kernel: object): Promise<void> => {
    const fits = (text: string, wanted: object): boolean =>
      [10, 11].every((minor) => {
        const state = parseProcDrbd(text, minor) as object | undefined;
        return state !== undefined && Object.entries(wanted).every(([key, value]) => (state as Record<string, unknown>)[key] === value);
      });
    await eventually(what, procs, (texts) => fits(texts.ours, ours) && fits(texts.kernel, kernel));
  };
  const inSync = (what: string, roles: { readonly ours: string; readonly kernel: string }, protocol = 'C'): Promise<void> => {
    const both = { cs: 'Connected', disk: 'UpToDate', peerDisk: 'UpToDate', protocol };
    return untilBoth(what, { ...both, role: roles.ours, peerRole: roles.kernel }, { ...both, role: roles.kernel, peerRole: roles.ours });
  };
  const same = async (what: string): Promise<void> => {
    for (const [index, name] of ['one', 'two'].entries()) {
      const bytes = 512 * Number(await peer.run(`cat /sys/block/drbd${10 + index}/size`));
      const blocks = Math.floor(bytes / 4096);
      const sum = await peer.run(
        `dd if=/dev/ram${1 + index} bs=4096 count=${blocks} iflag=direct 2> /dev/null | sha256sum | cut -d ' ' -f 1`,
      );
      t.equal(
        createHash('sha256')
          .update(readImage(`${folder}/${name}.img`, 0, blocks * 4096))
          .digest('hex'),
        sum,
        `${what}: volume ${index}`,
      );
    }
  };

  t.match(await kernelAdm('-- --force create-md data'), /New drbd meta data block successfully created/);
  t.match(await adm('--', '--force', 'create-md', 'data'), /New drbd meta data block successfully created/);
  await Promise.all([adm('up', 'data'), kernelAdm('up data')]);
  await adm('wait-connect', 'data');
  t.match(await adm('cstate', 'data'), /Connected/);
  await adm('primary', '--force', 'data');
  await adm('wait-sync', 'data');
  await inSync('the initial sync', { ours: 'Primary', kernel: 'Secondary' });
  t.match(await adm('role', 'data'), /^Primary/m);
  t.match(await adm('dstate', 'data'), /UpToDate\/UpToDate/);
  t.match(await kernelAdm('role data'), /^Secondary\/Primary$/m);
  t.match(await adm('status', 'data'), /kernel1 role:Secondary\n {4}volume:0 peer-disk:UpToDate\n {4}volume:1 peer-disk:UpToDate/);

  const disks = await Promise.all([10, 11].map((minor) => NbdClient.open(`${ours.runDir}/nbd/${minor}.sock`)));
  const writeBoth = async (count: number): Promise<void> => {
    await Promise.all(
      disks.flatMap((disk, lane) =>
        Array.from({ length: count }, (_, i) => disk.write(((i * 61 + lane * 7) % 1500) * 8192, randomBytes(8192), i % 20 === 0)),
      ),
    );
    await Promise.all(disks.map((disk) => disk.flush()));
  };
  await writeBoth(200);
  await same('replicated');

  await adm('disconnect', 'data');
  await writeBoth(100);
  await adm('connect', 'data');
  await adm('wait-sync', 'data');
  await inSync('the resync', { ours: 'Primary', kernel: 'Secondary' });
  await same('after disconnect and connect');

  await configure('A');
  await adm('adjust', 'data');
  await kernelAdm('adjust data');
  await inSync('the other protocol', { ours: 'Primary', kernel: 'Secondary' }, 'A');
  await writeBoth(100);
  await Promise.all(disks.map((disk) => disk.close()));
  await adm('secondary', 'data');
  // Nobody has waited for the peer: it knows of the role when it has received everything before.
  await inSync('no Primary', { ours: 'Secondary', kernel: 'Secondary' }, 'A');
  await same('with protocol A');

  await kernelAdm('primary data');
  await inSync('the failover', { ours: 'Secondary', kernel: 'Primary' }, 'A');
  await peer.run('for n in 10 11; do dd if=/dev/urandom of=/dev/drbd$n bs=64k seek=20 count=30 oflag=direct; done 2> /dev/null');
  await kernelAdm('detach data/1');
  await kernelAdm('attach data/1');
  await adm('detach', 'data/0');
  await peer.run('for n in 10 11; do dd if=/dev/urandom of=/dev/drbd$n bs=64k seek=60 count=30 oflag=direct; done 2> /dev/null');
  await adm('attach', 'data/0');
  await inSync('disks coming back', { ours: 'Secondary', kernel: 'Primary' }, 'A');
  await same('after detach and attach');
  await adm('invalidate', 'data/1');
  await adm('wait-sync', 'data');
  await inSync('the resync', { ours: 'Secondary', kernel: 'Primary' }, 'A');
  await kernelAdm('secondary data');
  await same('after invalidate');

  await adm('down', 'data');
  await kernelAdm('down data');
  // We leave first.
  t.same(await complaints(peer), [], 'the kernel has nothing to complain about');
  neverSays(t, ours.log, /internal error/);
});
