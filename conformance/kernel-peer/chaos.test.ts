// Random operations on both nodes and the cable, under load, from a seed; after each round both come together and hold the same data.
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { PATIENCE_MS } from '../engine/eventually.js';
import { NbdClient } from '../engine/nbd-client.js';
import type { KernelState } from '../uml/kernel-resource.js';
import { within } from '../uml/within.js';
import type { OurState, Pair } from './pair.js';
import { neverSays } from './says.js';
import { startSetting } from './setting.js';

const SECONDS = Number(process.env.UDRBD_CHAOS_SECONDS ?? 60);
const SEED = Number(process.env.UDRBD_CHAOS_SEED ?? 1);

/** mulberry32: enough to replay the choices. */
function prng(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(state ^ (state >>> 15), 1 | state);
    z = (z + Math.imul(z ^ (z >>> 7), 61 | z)) ^ z;
    return ((z ^ (z >>> 14)) >>> 0) % below;
  };
}

t.test(`chaos, seed ${SEED}`, async (t) => {
  const setting = await startSetting({ file: 1 });
  t.teardown(() => setting.stop());
  const { ours } = setting;
  const pair: Pair = setting.pair({
    disk: 'file',
    net: { 'ping-int': 2 },
    protocol: (['A', 'B', 'C'] as const)[SEED % 3]!,
  });
  await pair.createInSync();
  const below = prng(SEED);
  const trace: string[] = [];
  const say = (text: string): void => void trace.push(`${new Date().toISOString().slice(11, 23)} ${text}`);
  const told = (what: string): string =>
    `seed ${SEED}: ${what}\n${trace.join('\n')}\n${ours.log.slice(-9000)}\n${setting.peer.console().slice(-6000)}`;
  /** Refusals are part of the game; what is wrong shows at the end of the round. */
  const attempt = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
      say(what);
    } catch (error) {
      say(`${what}: ${(error as Error).message.split('\n').slice(-2).join(' ').slice(0, 120)}`);
    }
  };
  const peerDisk = pair.options.kernelDisk;
  const attachKernel = async (): Promise<void> => {
    await pair.kernel.meta('apply-al');
    await pair.kernel.setup(`attach ${pair.minor} ${peerDisk} ${peerDisk} internal --c-plan-ahead=0 --resync-rate=20000`);
  };
  const rate = (): number => [2000, 20_000, 100_000][below(3)]!;

  let primary: 'ours' | 'kernel' = 'ours';
  const end = Date.now() + SECONDS * 1000;
  for (let round = 0; Date.now() < end; round++) {
    say(`round ${round}, ${primary} is Primary`);
    let writing = true;
    let load: Promise<unknown>;
    if (primary === 'ours') {
      await pair.primary();
      const nbd = await NbdClient.open(`${ours.runDir}/nbd/${pair.minor}.sock`);
      const lane = async (number: number): Promise<void> => {
        for (let i = 0; writing; i++) {
          const at = (number + 16 * ((i * 131) % 400)) * 4096;
          const kind = (i + number) % 50;
          if (kind === 7) await nbd.flush();
          else if (kind === 11) await nbd.trim(at, 65_536);
          else if (kind === 13) await nbd.writeZeroes(at, 8192);
          else if (kind === 17) await nbd.read(at, 16_384);
          else await nbd.write(at, randomBytes([512, 4096, 8192, 131_072][i % 4]!), i % 30 === 0);
          if (i % 8 === 0) await sleep(5);
        }
      };
      load = Promise.allSettled(Array.from({ length: 8 }, (_, number) => lane(number))).then(async (results) => {
        for (const result of results) if (result.status === 'rejected') say(`a lane ended: ${String(result.reason)}`);
        await nbd.close();
      });
    } else {
      await pair.kernel.setup(`primary ${pair.minor}`);
      await pair.inGuest('touch /tmp/go');
      load = pair
        .inGuest(
          `for lane in 1 2 3 4; do (i=0; while [ -e /tmp/go ]; do /usr/bin/dd if=/dev/urandom of=DEVICE bs=$((4096 << i % 6)) seek=$(((i * 131 + lane * 17) % 150)) count=3 oflag=direct status=none || exit 1; i=$((i + 1)); done) & done; wait`,
        )
        .catch((error: Error) => say(`kernel's load: ${error.message.slice(-200)}`));
    }
    const steps = 3 + below(4);
    for (let step = 0; step < steps; step++) {
      const what = below(12);
      if (what === 0) await attempt('we disconnect', () => pair.disconnectOurs());
      else if (what === 1) await attempt('the kernel disconnects', () => pair.kernel.disconnect());
      else if (what === 2) await attempt('we disconnect by force', () => pair.disconnectOurs({ force: true }));
      else if (what === 3) {
        say('cable');
        setting.peer.setLink('down');
        await sleep(300 + below(5000));
        setting.peer.setLink('up');
      } else if (what === 4) await attempt('we detach', () => pair.ask('detach', { force: below(2) === 0, diskless: false }));
      else if (what === 5) await attempt('the kernel detaches', () => pair.kernel.setup(`detach ${pair.minor}`));
      else if (what === 6) await attempt('we attach', () => pair.attachOurs());
      else if (what === 7) await attempt('the kernel attaches', attachKernel);
      else if (what === 8)
        await attempt('invalidate the Secondary', async () => {
          const { disk } = (primary === 'ours' ? await pair.state() : await pair.kernel.state()) ?? {};
          // Else it may be the only good copy, and neither kind of Primary takes an older one back.
          if (disk !== 'UpToDate') throw new Error('not while the Primary has no disk');
          await pair.ask(primary === 'ours' ? 'invalidate-remote' : 'invalidate');
        });
      else if (what === 9)
        await attempt('rates', async () => {
          await pair.setOurRate(rate());
          await pair.kernel.setup(`disk-options ${pair.minor} --c-plan-ahead=0 --resync-rate=${rate()}`);
        });
      else if (what === 10) await attempt('we connect', () => pair.connectOurs());
      else await attempt('the kernel connects', () => pair.kernel.connect());
      await sleep(below(1200));
    }
    // Everything is put right again; a Primary that lost its disk takes it back only when it sees the peer's.
    await pair.setOurRate(100_000);
    await attempt('at last: rates', () => pair.kernel.setup(`disk-options ${pair.minor} --c-plan-ahead=0 --resync-rate=100000`));
    const isWhole = ({ cs, disk, peerDisk }: OurState | KernelState): boolean =>
      !['StandAlone', 'Connecting', 'WFConnection', 'Unconnected'].includes(cs) && disk !== 'Diskless' && peerDisk !== 'Diskless';
    // Some of it has to be tried again once the other side has seen the last change.
    for (let tries = 0; tries < 60; tries++) {
      const [own, other] = await Promise.all([pair.state(), pair.kernel.state()]);
      if (tries >= 3 && isWhole(own) && other !== undefined && isWhole(other)) break;
      if (own.cs === 'StandAlone') await attempt('at last: we connect', () => pair.connectOurs());
      // Without a connection and a disk it is not configured, as /proc/drbd tells it.
      if (other === undefined || other.cs === 'StandAlone') await attempt('at last: the kernel connects', () => pair.kernel.connect());
      if (own.disk === 'Diskless') await attempt('at last: we attach', () => pair.attachOurs());
      if (other === undefined || other.disk === 'Diskless') await attempt('at last: the kernel attaches', attachKernel);
      await sleep(1000);
    }
    writing = false;
    if (primary === 'kernel') await pair.inGuest('rm -f /tmp/go');
    try {
      await within(load, PATIENCE_MS, 'the load has not ended');
      await pair.untilInSync('coming together');
    } catch (error) {
      // What the kernel's tasks and its disk wait for, into its console.
      const disks = await pair.inGuest('echo w > /proc/sysrq-trigger; cat /proc/diskstats').catch(String);
      throw new Error(`${told((error as Error).message)}\n${disks}`);
    }
    if (primary === 'ours') await pair.secondary();
    else await pair.kernel.setup(`secondary ${pair.minor}`);
    const { ours: own, kernel } = await pair.sums();
    if (own !== kernel) throw new Error(told('different data'));
    primary = below(2) === 0 ? 'ours' : 'kernel';
    t.pass(`round ${round}`);
  }
  neverSays(t, ours.log, /internal error/);
  if (process.env.UDRBD_CHAOS_SECONDS !== undefined) t.comment(trace.join('\n'));
});
