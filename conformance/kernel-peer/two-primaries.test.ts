// Two Primaries, the kernel's DRBD and ours, whose applications write to the same few blocks at the same time.
import t, { type Test } from 'tap';
import { writeAnywhere } from '../engine/write-anywhere.js';
import { type Pair, STEADY } from './pair.js';
import { neverSays, says } from './says.js';
import { startSetting } from './setting.js';

/** Where both write: few blocks, so that many writes cross. */
const PLACE_BYTES = 64 * 1024;
const DEPTH = 8;
/** More, and with disks of both kinds for either decision, when this is set. */
const SECONDS = Number(process.env.UDRBD_TWO_PRIMARIES_SECONDS ?? 3);
const IS_LONG = process.env.UDRBD_TWO_PRIMARIES_SECONDS !== undefined;
/** What the kernel says with two kernels, too: several writes of its peer overlapped one of its own; file disks cannot write zeroes. */
const EXPECTED = [
  /Concurrent writes detected/,
  /ASSERT\( req->rq_state & RQ_NET_PENDING \)/,
  /operation not supported error.*WRITE_ZEROES/,
];

t.test('two Primaries', async (t) => {
  const setting = await startSetting({ ram: 3, file: 2, sizeMiB: 16 });
  t.teardown(() => setting.stop());
  const { ours } = setting;

  const primaries = async (pair: Pair, weDecide: boolean): Promise<void> => {
    await pair.create();
    // Who begins second opens the data stream, and accepts the other one.
    if (weDecide) {
      await pair.kernel.connect();
      await pair.kernel.until(({ cs }) => cs === 'WFConnection');
      await pair.connectOurs();
    } else {
      await pair.connectOurs();
      await pair.untilWe(({ cs }) => cs === 'Connecting');
      await pair.kernel.connect();
    }
    await pair.untilConnected();
    await pair.primary({ force: true });
    await pair.untilInSync('the initial sync');
    await pair.kernel.setup(`primary ${pair.minor}`);
    await pair.until(
      'two Primaries',
      ({ role, peerRole }) => role === 'Primary' && peerRole === 'Primary',
      ({ role, peerRole }) => role === 'Primary' && peerRole === 'Primary',
    );
  };
  const same = async (t: Test, pair: Pair, what: string): Promise<void> => {
    await pair.until(
      `${what}: rest`,
      ({ cs, oos }) => cs === 'Connected' && oos === 0,
      ({ cs, counters: { oos, pe, ua, ap } }) => cs === 'Connected' && oos + pe + ua + ap === 0,
    );
    const { ours: own, kernel } = await pair.sums();
    t.equal(kernel, own, `${what}: the same data on both disks`);
  };

  for (const weDecide of [true, false]) {
    for (const disk of IS_LONG ? (['ram', 'file'] as const) : [weDecide ? ('ram' as const) : ('file' as const)]) {
      await t.test(`${weDecide ? 'we decide' : 'the kernel decides'}, its disk a ${disk}`, async (t) => {
        // Whoever waits does so for long: it shall not call in the same moment as the other one.
        const net = { 'connect-int': 20, ...STEADY };
        const pair = setting.pair({ disk, net, ourNet: { 'allow-two-primaries': true }, kernelNet: ['--allow-two-primaries=yes'] });
        await primaries(pair, weDecide);
        const mark = ours.log.length;
        await setting.complaints();
        const nbd = await pair.open();
        const lanes = Array.from({ length: DEPTH }, (_, lane) => {
          const size = [512, 4096, 4096, 8192, 16384, 2048, 4096, 12288][lane]!;
          const blocks = Math.floor(PLACE_BYTES / size) - 1;
          const one = `/usr/bin/dd if=/dev/urandom of=DEVICE bs=${size} seek=$((RANDOM % ${blocks})) count=1 oflag=direct conv=notrunc status=none`;
          return `(while [ -e /run/go ]; do ${one} || echo failed; done) &`;
        });
        const inGuest = pair.inGuest(`touch /run/go; (sleep ${SECONDS}; rm /run/go) & ${lanes.join(' ')} wait`);
        const [count, said] = await Promise.all([writeAnywhere(nbd, { bytes: PLACE_BYTES, depth: DEPTH, seconds: SECONDS }), inGuest]);
        await nbd.close();
        const log = ours.log.slice(mark);
        t.comment(`${count} writes of ours, ${log.match(/Concurrent writes detected/g)?.length ?? 0} lines about them`);
        t.notMatch(said, /failed/);
        const concurrent = weDecide ? /Concurrent writes .* came first/ : /Concurrent writes detected: local=\S+ \+\d+, remote=\S+ \+\d+\n/;
        await says(t, () => ours.log.slice(mark), concurrent);
        // The connection stood all the time.
        neverSays(t, log, /conn\(|BAD!|internal error/);
        await same(t, pair, 'after the writes');
        t.strictSame(await setting.complaints(EXPECTED), []);
        await pair.kernel.setup(`secondary ${pair.minor}`);
        await pair.secondary();
        await pair.untilInSync('two Secondaries');
      });
    }
  }
});
