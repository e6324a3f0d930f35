// Power cuts of either node while data are written, links that break during a resync, a peer that stops answering. Afterwards both disks
// hold the same, and an online verify, started by one node or the other, finds nothing.
import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import { eventually } from '../engine/eventually.js';
import { readImage } from '../engine/images.js';
import type { NbdClient } from '../engine/nbd-client.js';
import { neverSays, says } from './says.js';
import { startSetting } from './setting.js';

const BLOCK = 8192;

/** Writes blocks all over until an error or `stop`; remembers what was acknowledged last for each. */
class Writer {
  readonly acknowledged = new Map<number, Buffer>();
  /** Blocks with a write that was never answered. */
  readonly open = new Set<number>();
  #count = 0;
  #stopped = false;
  #running: Promise<unknown> = Promise.resolve();

  start(nbd: NbdClient, blocks: number): void {
    const worker = async (lane: number): Promise<void> => {
      for (let i = 0; !this.#stopped; i++) {
        const block = (lane + 8 * (i * 37)) % blocks;
        const data = randomBytes(BLOCK);
        this.open.add(block);
        await nbd.write(block * BLOCK, data, i % 10 === 0);
        this.acknowledged.set(block, data);
        this.#count++;
        this.open.delete(block);
      }
    };
    this.#running = Promise.allSettled(Array.from({ length: 8 }, (_, lane) => worker(lane)));
  }

  /** Waits until `more` writes than now are acknowledged. */
  async goesOn(more: number): Promise<void> {
    const wanted = this.#count + more;
    await eventually(
      `the next ${more} writes`,
      () => this.#count,
      (count) => count >= wanted,
    );
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }
}

t.test('crashes', async (t) => {
  const setting = await startSetting({ file: 1, sizeMiB: 32 });
  t.teardown(() => setting.stop());
  const pair = setting.pair({ disk: 'file', net: { 'ping-int': 3, 'verify-alg': 'crc32c' } });
  await setting.peer.exec('modprobe crc32c');
  await pair.createInSync();
  let verifies = 0;
  const same = async (t: Test, what: string): Promise<void> => {
    const { ours, kernel } = await pair.sums();
    t.equal(kernel, ours, `${what}: the same data on both disks`);
    const mark = setting.ours.log.length;
    if (verifies++ % 2 === 0) await setting.ours.ask('verify', { resource: pair.name, peerNodeId: 1, volume: 0 });
    else await pair.kernel.setup(`verify ${pair.minor}`);
    await pair.until(
      'the end of the verify',
      ({ cs }) => cs === 'Connected',
      ({ cs }) => cs === 'Connected',
    );
    await says(t, () => setting.ours.log.slice(mark), /Online verify done /);
    neverSays(t, setting.ours.log.slice(mark), /Out of sync|Online verify found/);
    t.equal((await pair.state()).oos, 0);
    t.equal((await pair.kernel.state())?.counters.oos, 0);
    neverSays(t, setting.ours.log, /internal error/);
  };
  const acknowledgedIsThere = (t: Test, writer: Writer): void => {
    let lost = 0;
    for (const [block, data] of writer.acknowledged) {
      if (!writer.open.has(block) && !readImage(pair.options.image, block * BLOCK, BLOCK).equals(data)) lost++;
    }
    t.equal(lost, 0, `${writer.acknowledged.size} acknowledged blocks are there`);
  };
  const bringKernelBack = async (): Promise<void> => {
    await setting.restartPeer();
    await setting.peer.exec('modprobe crc32c');
    await pair.kernel.meta('apply-al');
    await pair.kernel.attach();
    await pair.kernel.connect();
  };
  /** Waits until so many KiB more than now are on our disk as well. */
  const kernelWrites = async (more: number): Promise<void> => {
    const { ns } = (await pair.kernel.state())!.counters;
    await pair.kernel.until(({ counters }) => counters.ns >= ns + more);
  };
  const bringOursBack = async (): Promise<void> => {
    await setting.ours.start();
    await pair.configureOurs();
    await pair.connectOurs();
  };

  await t.test('the Secondary kernel loses power', async (t) => {
    await pair.primary();
    const nbd = await pair.open();
    const writer = new Writer();
    writer.start(nbd, 2000);
    await writer.goesOn(500);
    await pair.peer.stop();
    await pair.untilWe(({ cs }) => cs === 'Connecting' || cs === 'Unconnected');
    await writer.goesOn(500);
    await bringKernelBack();
    await writer.goesOn(500);
    await writer.stop();
    await nbd.close();
    await pair.untilInSync('the resync');
    acknowledgedIsThere(t, writer);
    await same(t, 'after the power cut');
    t.same(await setting.complaints([/operation not supported error, dev ubd/]), []);
  });

  await t.test('our engine is killed as Primary and comes back', async (t) => {
    const nbd = await pair.open();
    const writer = new Writer();
    writer.start(nbd, 2000);
    await writer.goesOn(500);
    await setting.ours.stop();
    await writer.stop();
    nbd.destroy();
    await pair.kernel.until(({ cs }) => cs === 'WFConnection');
    await bringOursBack();
    await pair.untilInSync('the resync');
    await same(t, 'after the kill');
    acknowledgedIsThere(t, writer);
  });

  await t.test('our engine is killed as Primary, the kernel takes over, we come back', async (t) => {
    await pair.primary();
    const nbd = await pair.open();
    const writer = new Writer();
    writer.start(nbd, 2000);
    await writer.goesOn(500);
    await setting.ours.stop();
    await writer.stop();
    nbd.destroy();
    await pair.kernel.until(({ cs }) => cs === 'WFConnection');
    await pair.kernel.setup(`primary ${pair.minor}`);
    await pair.inGuest('/usr/bin/dd if=/dev/urandom of=DEVICE bs=8k seek=2000 count=100 oflag=direct status=none');
    await bringOursBack();
    await pair.untilInSync('the resync');
    t.match(await pair.state(), { role: 'Secondary', peerRole: 'Primary' });
    await same(t, 'after the takeover');
    acknowledgedIsThere(t, writer);
  });

  await t.test('the Primary kernel loses power, we take over, it comes back', async (t) => {
    const writing = pair
      .inGuest(
        'i=0; while true; do /usr/bin/dd if=/dev/urandom of=DEVICE bs=16k seek=$((i * 13 % 1800)) count=10 oflag=direct status=none; i=$((i + 1)); done',
      )
      .catch(() => '');
    await kernelWrites(300);
    await pair.peer.stop();
    await writing;
    await pair.untilWe(({ cs }) => cs === 'Connecting' || cs === 'Unconnected');
    await pair.primary();
    const nbd = await pair.open();
    for (let i = 0; i < 100; i++) await nbd.write(i * 65536, randomBytes(4096));
    await nbd.close();
    await bringKernelBack();
    await pair.untilInSync('the resync');
    await same(t, 'after the takeover');
    await pair.secondary();
  });

  await t.test('the Primary kernel loses power and becomes Primary again', async (t) => {
    await pair.kernel.setup(`primary ${pair.minor}`);
    const writing = pair
      .inGuest(
        'i=0; while true; do /usr/bin/dd if=/dev/urandom of=DEVICE bs=16k seek=$((i * 13 % 1800)) count=10 oflag=direct status=none; i=$((i + 1)); done',
      )
      .catch(() => '');
    await kernelWrites(300);
    await pair.peer.stop();
    await writing;
    await bringKernelBack();
    await pair.untilInSync('the resync');
    await same(t, 'after the crash');
    await pair.kernel.setup(`primary ${pair.minor}`);
    await pair.inGuest('/usr/bin/dd if=/dev/urandom of=DEVICE bs=8k seek=2000 count=100 oflag=direct status=none');
    await same(t, 'and on');
    await pair.kernel.setup(`secondary ${pair.minor}`);
  });

  await t.test('the cable is pulled in the middle of a resync, twice, to the kernel', async (t) => {
    await pair.primary();
    await pair.disconnectOurs();
    await pair.ask('invalidate-remote').catch(() => undefined);
    const nbd = await pair.open();
    for (let i = 0; i < 28; i++) await nbd.write(i << 20, randomBytes(1 << 20));
    await pair.setOurRate(4000);
    await pair.kernel.setup(`disk-options ${pair.minor} --c-plan-ahead=0 --resync-rate=4000`);
    await pair.connectOurs();
    for (let round = 0; round < 2; round++) {
      await pair.until(
        'the resync',
        ({ cs }) => cs === 'SyncSource',
        ({ cs }) => cs === 'SyncTarget',
      );
      await nbd.write(round * 123 * 4096, randomBytes(4096 * 50));
      setting.peer.setLink('down');
      await pair.until(
        'the loss',
        ({ cs }) => cs === 'Connecting' || cs === 'Unconnected',
        ({ cs }) => cs === 'WFConnection',
      );
      await nbd.write((round + 3) * 123 * 4096, randomBytes(4096 * 50));
      setting.peer.setLink('up');
    }
    await pair.setOurRate(100_000);
    await pair.kernel.setup(`disk-options ${pair.minor} --c-plan-ahead=0 --resync-rate=100000`);
    await nbd.close();
    await pair.untilInSync('the rest of the resync');
    await same(t, 'after the interruptions');
    await pair.secondary();
  });

  await t.test('our engine is killed in the middle of a resync from the kernel', async (t) => {
    await pair.kernel.setup(`primary ${pair.minor}`);
    await pair.disconnectOurs();
    await pair.inGuest('/usr/bin/dd if=/dev/urandom of=DEVICE bs=1M seek=3 count=25 oflag=direct status=none');
    await pair.setOurRate(4000);
    await pair.connectOurs();
    await pair.until(
      'the resync',
      ({ cs }) => cs === 'SyncTarget',
      ({ cs }) => cs === 'SyncSource',
    );
    const { oos } = await pair.state();
    await pair.untilWe((state) => state.oos < oos - 1000);
    await setting.ours.stop();
    await pair.kernel.until(({ cs }) => cs === 'WFConnection');
    await pair.inGuest('/usr/bin/dd if=/dev/urandom of=DEVICE bs=64k seek=10 count=50 oflag=direct status=none');
    const mark = setting.ours.log.length;
    await bringOursBack();
    await says(t, () => setting.ours.log.slice(mark), /Began resync as SyncTarget/);
    await pair.untilInSync('the rest of the resync');
    await same(t, 'after the kill');
    await pair.kernel.setup(`secondary ${pair.minor}`);
  });

  await t.test('our engine stops answering while the kernel writes', async (t) => {
    await pair.kernel.setup(`primary ${pair.minor}`);
    setting.ours.signal('SIGSTOP');
    try {
      await pair.inGuest('/usr/bin/dd if=/dev/urandom of=DEVICE bs=64k seek=30 count=50 oflag=direct status=none');
      await pair.kernel.until(({ cs }) => cs === 'WFConnection' || cs === 'NetworkFailure' || cs === 'Timeout');
    } finally {
      setting.ours.signal('SIGCONT');
    }
    await pair.untilInSync('the resync');
    await same(t, 'after the pause');
  });
});
