import t from 'tap';
import { OP } from './requests.js';
import { clock, Pair } from './testing/pair.js';

const RATE = 40_000;

/** A resync of 16 MiB with an application that writes 128 KiB every 100 ms; KiB that are left after a second. */
function leftAfterASecond(options: Record<string, number>, writes: boolean): number {
  const pair = new Pair(65_536);
  pair.configure({ 'max-buffers': 20000 }, { 'resync-rate': RATE, 'c-plan-ahead': 0, ...options });
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  // Past the first marks: the speed is an average.
  for (let i = 0; i < 10; i++) {
    pair.run(50);
    if (writes) for (let k = 0; k < 2; k++) pair.a.submit(OP.Write, 128 * k, new Uint8Array(65_536).fill(i));
    pair.rest();
    pair.run(50);
  }
  return pair.a.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.outOfSyncSectors / 2;
}

t.test('above c-min-rate a resync makes way for the application', async (t) => {
  const total = 32_768;
  const alone = leftAfterASecond({ 'c-min-rate': 250 }, false);
  t.ok(total - alone > 20_000, `alone: ${total - alone} KiB`);
  const disabled = leftAfterASecond({ 'c-min-rate': 0 }, true);
  t.ok(total - disabled > 20_000, `0 switches it off: ${total - disabled} KiB`);
  const loaded = leftAfterASecond({ 'c-min-rate': 250 }, true);
  t.ok(total - loaded < 16_000, `beside an application: ${total - loaded} KiB`);
  const fast = leftAfterASecond({ 'c-min-rate': RATE * 2 }, true);
  t.ok(total - fast > 20_000, `below the rate nothing is held back: ${total - fast} KiB`);
});

t.test('it ends all the same', async (t) => {
  const pair = new Pair(32_768);
  pair.configure({ 'max-buffers': 20000 }, { 'resync-rate': RATE, 'c-plan-ahead': 0, 'c-min-rate': 2000 });
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  for (let i = 0; i < 150; i++) {
    pair.a.submit(OP.Write, 0, new Uint8Array(65_536).fill(i));
    pair.run(100);
  }
  t.equal(pair.state(pair.b), 'Connected(Established) Secondary/Primary UpToDate/UpToDate');
});
