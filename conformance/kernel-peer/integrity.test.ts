// data-integrity-alg with every algorithm: writes, resyncs and reads through the peer, in both directions; settings that do not fit.
import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import type { Pair } from './pair.js';
import { neverSays, says } from './says.js';
import { startSetting } from './setting.js';

const ALGORITHMS = ['crc32c', 'md5', 'sha1', 'sha256'] as const;

t.test('data integrity', async (t) => {
  const setting = await startSetting({ file: 5, sizeMiB: 12 });
  t.teardown(() => setting.stop());
  const { ours, peer } = setting;
  await peer.exec('for m in crc32c md5 sha1 sha1_generic sha256 sha256_generic; do modprobe -q $m; done');
  const same = async (t: Test, pair: Pair, what: string): Promise<void> => {
    const { ours: own, kernel } = await pair.sums();
    t.equal(kernel, own, `${what}: the same data on both disks`);
    t.same(await setting.complaints([/operation not supported error, dev ubd/]), []);
    neverSays(t, ours.log, /Digest|ProtocolError|internal error/);
  };
  /** Sizes from a sector to a megabyte, discards and zeroes among them, 16 at once. */
  const weWrite = async (pair: Pair): Promise<void> => {
    const nbd = await pair.open();
    const lane = async (number: number): Promise<void> => {
      for (let i = 0; i < 8; i++) {
        const at = ((number + 16 * ((i * 37) % 100)) * 12_288) % (10 << 20);
        if (i % 10 === 4) await nbd.trim(at, 65_536);
        else if (i % 10 === 7) await nbd.writeZeroes(at, 8192);
        else await nbd.write(at, randomBytes([512, 4096, 8192, 65_536, 4608, 1 << 20][(number + i) % 6]!));
      }
    };
    await Promise.all(Array.from({ length: 16 }, (_, number) => lane(number)));
    await nbd.flush();
    await nbd.close();
  };
  const kernelWrites = (pair: Pair): Promise<string> => {
    const job =
      '--ioengine=libaio --direct=1 --rw=randrw --bsrange=512-512k --iodepth=16 --size=10M --io_size=6M --verify=crc32c --verify_backlog=32';
    return pair.inGuest(`fio --name=load --filename=DEVICE ${job} > /tmp/fio.out 2>&1 || { cat /tmp/fio.out; false; }`);
  };

  for (const algorithm of ALGORITHMS) {
    await t.test(`${algorithm}, both directions`, async (t) => {
      const pair = setting.pair({ disk: 'file', net: { 'data-integrity-alg': algorithm } });
      await pair.createInSync();
      await same(t, pair, 'a resync from us');
      await pair.primary();
      await weWrite(pair);
      await pair.untilInSync('our writes');
      await same(t, pair, 'our writes');
      if (algorithm === 'md5' || algorithm === 'sha1') {
        await pair.secondary();
        await pair.kernel.setup(`primary ${pair.minor}`);
        await kernelWrites(pair);
        await pair.untilInSync('the kernel’s writes');
        return same(t, pair, 'the kernel’s writes');
      }
      // Reads and writes through the kernel, then a resync from it.
      await pair.ask('detach', { force: false, diskless: false });
      const nbd = await pair.open();
      const data = randomBytes(128 * 1024);
      await nbd.write(1 << 20, data);
      t.ok((await nbd.read(1 << 20, data.length)).equals(data), 'read through the kernel');
      await nbd.close();
      await pair.attachOurs();
      await pair.untilInSync('the resync to us');
      await pair.secondary();
      await pair.kernel.setup(`primary ${pair.minor}`);
      await kernelWrites(pair);
      await pair.untilInSync('the kernel’s writes');
      await pair.kernel.setup(`detach ${pair.minor}`);
      await pair.inGuest('/usr/bin/dd if=/dev/urandom of=/tmp/data bs=64k count=4 status=none');
      await pair.inGuest('/usr/bin/dd if=/tmp/data of=DEVICE bs=64k seek=20 oflag=direct conv=notrunc status=none');
      const read = '/usr/bin/dd if=DEVICE bs=64k skip=20 count=4 iflag=direct status=none';
      await pair.inGuest(`test "$(${read} | sha256sum)" = "$(sha256sum < /tmp/data)"`);
      await pair.kernel.setup(`secondary ${pair.minor}`);
      await pair.kernel.down();
      await pair.kernel.meta('apply-al').catch(() => '');
      await pair.kernel.attach();
      await pair.kernel.connect();
      await pair.untilInSync('the resync to the kernel');
      await same(t, pair, 'the kernel’s writes');
    });
  }

  await t.test('different settings, unknown ones, and a change while connected', async (t) => {
    const pair = setting.pair({ disk: 'file' });
    await pair.createInSync();
    const about = { resource: pair.name, peerNodeId: 1 };
    const change = (algorithm: string) =>
      ours.client.request('net-options', { ...about, options: { 'data-integrity-alg': algorithm }, setDefaults: false });
    t.equal((await change('rot13')).code, 141, 'one that nobody has');
    // Each direction by itself, in the middle of the stream.
    const ends = `ipv4:${peer.address}:${pair.port} ipv4:${peer.hostAddress}:${pair.port}`;
    await pair.primary();
    const nbd = await pair.open();
    const writes = Promise.all(Array.from({ length: 300 }, (_, i) => nbd.write(i * 8192, randomBytes(4096))));
    t.equal((await change('sha1')).code, 101);
    await peer.run(`drbdsetup-84 net-options ${ends} --data-integrity-alg=md5`);
    await writes;
    await Promise.all(Array.from({ length: 100 }, (_, i) => nbd.write(i * 8192, randomBytes(4096))));
    await nbd.close();
    await pair.secondary();
    await pair.kernel.setup(`primary ${pair.minor}`);
    await pair.inGuest('/usr/bin/dd if=/dev/urandom of=DEVICE bs=64k count=20 oflag=direct conv=notrunc status=none');
    await pair.kernel.setup(`secondary ${pair.minor}`);
    await pair.untilInSync('all writes');
    await same(t, pair, 'after changes while connected');
    await pair.disconnectOurs();
    await pair.connectOurs();
    await pair.until(
      'the refusal',
      ({ cs }) => cs === 'StandAlone',
      ({ cs }) => cs === 'StandAlone',
    );
    await says(t, () => ours.log, /incompatible data-integrity-alg settings/);
    await says(t, () => peer.console(), /incompatible data-integrity-alg settings/);
  });
});
