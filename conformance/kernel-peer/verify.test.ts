// Online verify and checksum-based resync, started from either side, with every algorithm.
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import t, { type Test } from 'tap';
import { eventually } from '../engine/eventually.js';
import { type Pair, STEADY } from './pair.js';
import { neverSays, says } from './says.js';
import { startSetting } from './setting.js';

const ALGORITHMS = ['crc32c', 'md5', 'sha1', 'sha256'] as const;
/** Resyncs with the others too when UDRBD_ALL_ALGORITHMS is set. */
const CHECKSUMS = process.env.UDRBD_ALL_ALGORITHMS === undefined ? (['crc32c', 'sha256'] as const) : ALGORITHMS;

t.test('verify and checksums', async (t) => {
  const setting = await startSetting({ ram: 1, sizeMiB: 24 });
  t.teardown(() => setting.stop());
  const { ours, peer } = setting;
  await peer.exec('for m in crc32c md5 sha1 sha1_generic sha256 sha256_generic; do modprobe -q $m; done');
  const about = (pair: Pair): { readonly resource: string; readonly peerNodeId: number } => ({ resource: pair.name, peerNodeId: 1 });
  const from = { ours: 0, kernel: 0 };
  /** What each side says counts from now on. */
  const listen = (): void => {
    from.ours = ours.log.length;
    from.kernel = peer.console().length;
  };
  const weSaid = (): string => ours.log.slice(from.ours);
  const kernelSaid = (): string => peer.console().slice(from.kernel);
  const algorithms = { 'verify-alg': 'crc32c', 'csums-alg': 'crc32c' };
  /** We change it, the kernel takes it over. */
  const setAlgorithm = async (pair: Pair, name: keyof typeof algorithms, algorithm: string): Promise<void> => {
    listen();
    await ours.ask('net-options', { ...about(pair), options: { [name]: algorithm }, setDefaults: false });
    algorithms[name] = algorithm;
    await eventually(`the kernel takes ${name} ${algorithm} over`, kernelSaid, (text) => text.includes(`using ${name}: "${algorithm}"`));
  };
  /** Changes single bytes below our DRBD or the kernel's. */
  const plantOurs = (pair: Pair, ...blocks: number[]): void => {
    const fd = openSync(pair.options.image, 'r+');
    for (const block of blocks) writeSync(fd, randomBytes(8), 0, 8, block * 4096 + 100);
    closeSync(fd);
  };
  const plantKernel = async (pair: Pair, ...blocks: number[]): Promise<void> => {
    for (const block of blocks)
      await peer.run(
        `/usr/bin/dd if=/dev/urandom of=${pair.options.kernelDisk} bs=512 count=1 seek=${block * 8 + 3} oflag=direct conv=notrunc status=none`,
      );
  };
  const verifyOurs = (pair: Pair, more: { readonly start?: number; readonly stop?: number } = {}): Promise<void> =>
    ours.ask('verify', { ...about(pair), volume: 0, ...more });
  const verifyKernel = (pair: Pair, more = ''): Promise<string> => pair.kernel.setup(`verify ${pair.minor} ${more}`);
  const untilDone = (pair: Pair): Promise<void> =>
    pair.until(
      'the end of the verify',
      ({ cs }) => cs === 'Connected',
      ({ cs }) => cs === 'Connected',
    );
  /** `start=…, size=…` of what both sides logged since the marks. */
  const found = (text: string): string[] => [...text.matchAll(/Out of sync: (start=\d+, size=\d+)/g)].map((match) => match[1]!);
  const same = async (t: Test, pair: Pair): Promise<void> => {
    const { ours: own, kernel } = await pair.sums();
    t.equal(kernel, own, 'the same data on both disks');
    neverSays(t, ours.log, /internal error/);
  };
  /** With a Primary, a reconnect resyncs what is marked. */
  const repair = async (t: Test, pair: Pair): Promise<void> => {
    await pair.primary();
    await pair.disconnectOurs();
    await pair.connectOurs();
    await pair.untilInSync('the repair');
    await pair.secondary();
    await same(t, pair);
  };

  const pair = setting.pair({ net: { ...algorithms, ...STEADY } });
  await pair.createInSync();

  for (const [i, algorithm] of ALGORITHMS.entries()) {
    await t.test(`planted differences, ${algorithm}`, async (t) => {
      if (i > 0) await setAlgorithm(pair, 'verify-alg', algorithm);
      for (const [turn, side] of (['ours', 'kernel'] as const).entries()) {
        const base = 100 + i * 1000 + turn * 500;
        // The whole device once, around the differences afterwards.
        const isWhole = i + turn === 0;
        const range: { start: number; stop?: number } = isWhole ? { start: 0 } : { start: base * 8 - 64, stop: base * 8 + 1600 };
        plantOurs(pair, base, base + 1);
        await plantKernel(pair, base + 2, base + 150);
        listen();
        if (side === 'ours') await verifyOurs(pair, range);
        else await verifyKernel(pair, `--start=${range.start}s ${range.stop === undefined ? '' : `--stop=${range.stop}s`}`);
        await untilDone(pair);
        const expected = [`start=${base * 8}, size=24`, `start=${(base + 150) * 8}, size=8`];
        t.same(found(weSaid()), expected, `${side}: what we log`);
        t.same(found(kernelSaid()), expected, `${side}: what the kernel logs`);
        const blocks = 4 + 4 * turn;
        t.equal((await pair.state()).oos, blocks * 4);
        t.equal((await pair.kernel.state())?.counters.oos, blocks * 4);
        await says(t, weSaid, /Online verify done \(total \d+ sec; paused 0 sec; \d+ K\/sec\)/);
        await says(t, weSaid, `Online verify found ${blocks} 4k block out of sync!`);
      }
      await repair(t, pair);
    });
  }

  await t.test('start, stop and going on', async (t) => {
    listen();
    await verifyOurs(pair, { start: 1, stop: 100 });
    await untilDone(pair);
    await says(t, weSaid, /Starting Online Verify from sector 0\n[\s\S]*Online Verify reached sector 104/, 'we');
    await says(t, kernelSaid, /Online Verify start sector: 0\b[\s\S]*Online Verify reached sector 104/, 'the kernel');
    listen();
    await verifyKernel(pair, '--start=32768s --stop=36864s');
    await untilDone(pair);
    await says(t, kernelSaid, /Starting Online Verify from sector 32768[\s\S]*Online Verify reached sector 36864/, 'the kernel');
    await says(t, weSaid, /Online Verify start sector: 32768\n[\s\S]*Online Verify reached sector 36864/, 'we');
    // Cut in the middle, and taken up again there.
    await pair.setOurRate(2000);
    listen();
    await verifyOurs(pair, { start: 8000 });
    await pair.until(
      'the verify',
      ({ cs }) => cs === 'VerifyS',
      ({ cs }) => cs === 'VerifyT',
    );
    t.match(await pair.kernel.options.peer.run('cat /proc/drbd'), /verified:/);
    const { statistics } = (await ours.resource(pair.name)).connections[0]!.peerDevices[0]!;
    t.ok(statistics.ovLeft > 0 && statistics.ovLeft <= statistics.rsTotal, `${statistics.ovLeft} of ${statistics.rsTotal} left`);
    t.equal(statistics.ovStartSector, 8000);
    const proc = await ours.client.request('proc', {});
    t.match(proc.data?.text, /cs:VerifyS .*\n.*\n\t\[[=>.]+\] verified: +\d+\.\d% \(\d+\/\d+\)K\n\tfinish: .* want: [\d,]+ K\/sec/);
    await pair.disconnectOurs();
    await says(t, weSaid, /Online Verify reached sector \d+/, 'we');
    const reached = /Online Verify reached sector (\d+)/.exec(weSaid())?.[1];
    t.ok(Number(reached) >= 8000, `reached ${reached}`);
    await pair.connectOurs();
    await pair.untilConnected();
    await pair.setOurRate(102_400);
    await verifyOurs(pair);
    await untilDone(pair);
    await says(t, weSaid, `Starting Online Verify from sector ${reached}\n`, 'we');
    await says(t, kernelSaid, `Online Verify start sector: ${reached}\n`, 'the kernel');
    t.equal((await pair.state()).oos, 0);
  });

  await t.test('while the application writes', async (t) => {
    for (const primary of ['ours', 'kernel'] as const) {
      for (const starter of ['ours', 'kernel'] as const) {
        let writing = true;
        let load: Promise<unknown>;
        if (primary === 'ours') {
          await pair.primary();
          const nbd = await pair.open();
          const lane = async (number: number): Promise<void> => {
            for (let i = 0; writing; i++) await nbd.write(((number * 131 + i * 17) % 500) * 4096, randomBytes(i % 8 === 0 ? 65_536 : 4096));
          };
          load = Promise.all(Array.from({ length: 6 }, (_, number) => lane(number))).then(() => nbd.close());
        } else {
          await pair.kernel.setup(`primary ${pair.minor}`);
          const job = '--ioengine=libaio --direct=1 --rw=randwrite --bsrange=4k-64k --iodepth=6 --runtime=1 --time_based --size=2M';
          load = pair.inGuest(`fio --name=load --filename=DEVICE ${job} > /tmp/fio.out 2>&1 || { cat /tmp/fio.out; false; }`);
        }
        if (starter === 'ours') await verifyOurs(pair, { start: 0, stop: 4096 });
        else await verifyKernel(pair, '--start=0 --stop=4096s');
        await untilDone(pair);
        writing = false;
        await load;
        t.equal((await pair.state()).oos, 0, `${primary} writes, ${starter} verifies: nothing is out of sync here`);
        t.equal((await pair.kernel.state())?.counters.oos, 0, 'nor there');
        if (primary === 'ours') await pair.secondary();
        else await pair.kernel.setup(`secondary ${pair.minor}`);
      }
      await same(t, pair);
    }
  });

  for (const [i, algorithm] of CHECKSUMS.entries()) {
    await t.test(`a resync with ${algorithm} transfers what differs`, async (t) => {
      if (i > 0) await setAlgorithm(pair, 'csums-alg', algorithm);
      const kept = randomBytes(10 * 4096);
      for (const source of ['ours', 'kernel'] as const) {
        // 10 blocks written again with what they hold, 3 with something else; each apart from the next.
        if (source === 'ours') {
          await pair.primary();
          const nbd = await pair.open();
          const write = async (differing: number): Promise<void> => {
            for (let b = 0; b < 10; b++)
              await nbd.write(b * 32_768, b < differing ? randomBytes(4096) : kept.subarray(b * 4096, b * 4096 + 4096));
          };
          await write(0);
          await pair.disconnectOurs();
          await write(3);
          await nbd.close();
        } else {
          await pair.kernel.setup(`primary ${pair.minor}`);
          const write = (from: string): Promise<string> =>
            pair.inGuest(
              `for b in $(seq 0 9); do if [ $b -lt 3 ]; then in=${from}; else in=/tmp/kept; fi; /usr/bin/dd if=$in of=DEVICE bs=4k count=1 seek=$((b * 8)) oflag=direct conv=notrunc status=none || exit 1; done`,
            );
          await pair.inGuest('/usr/bin/dd if=/dev/urandom of=/tmp/kept bs=4k count=1 status=none');
          await write('/tmp/kept');
          await pair.kernel.disconnect();
          await write('/dev/urandom');
        }
        listen();
        if (source === 'ours') await pair.connectOurs();
        else await pair.kernel.connect(Object.entries(algorithms).map(([name, value]) => `--${name}=${value}`));
        await pair.untilInSync('the resync');
        const summary = /70 % had equal checksums, eliminated: 28K; transferred 12K total 40K/;
        await says(t, weSaid, summary, `${source} is the source: our count`);
        await says(t, kernelSaid, summary, 'the count of the kernel');
        if (source === 'ours') await pair.secondary();
        else await pair.kernel.setup(`secondary ${pair.minor}`);
      }
      await same(t, pair);
    });
  }
  // Planted, and compared one by one above.
  t.same(await setting.complaints([/Out of sync: start=/, /Online verify found/]), []);
});
