import t from 'tap';
import { OP } from './requests.js';
import { clock, Pair } from './testing/pair.js';

const block = (fill: number, blocks = 1): Uint8Array => new Uint8Array(4096 * blocks).fill(fill);
const FAST = { 'resync-rate': 4_000_000, 'c-plan-ahead': 0 };

/** Apart from each other, so that each is asked for by itself. */
const PLACES = [0, 64, 128, 192, 256];

/** Primary/Secondary, in sync; a wrote while b was away: two blocks with what they held before, three with something else. */
function apart(net: Record<string, string | number | boolean>): Pair {
  const pair = new Pair();
  pair.configure({ 'max-buffers': 20000, ...net }, FAST);
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(5000);
  for (const at of PLACES) pair.a.submit(OP.Write, at, block(at + 1));
  pair.rest();
  pair.a.logs.length = 0;
  pair.b.logs.length = 0;
  pair.partition();
  for (const at of PLACES.slice(0, 2)) pair.a.submit(OP.Write, at, block(at + 1));
  for (const at of PLACES.slice(2)) pair.a.submit(OP.Write, at, block(at + 100));
  pair.rest();
  return pair;
}

const sent = (pair: Pair): number => pair.a.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.sentSectors;
const equalDisks = (pair: Pair): boolean =>
  Buffer.from(pair.a.disk.subarray(0, 1 << 20)).equals(Buffer.from(pair.b.disk.subarray(0, 1 << 20)));
const about = (node: { logs: string[] }): string | undefined => node.logs.find((line) => line.includes('equal checksums'));

t.test('only blocks that differ are transferred, and both count the others', async (t) => {
  const pair = apart({ 'csums-alg': 'sha1' });
  pair.heal();
  pair.run(5000);
  t.match(pair.state(pair.b), /UpToDate\/UpToDate/);
  t.ok(equalDisks(pair));
  t.match(about(pair.a), / 40 % had equal checksums, eliminated: 8K; transferred 12K total 20K$/);
  t.match(about(pair.b), / 40 % had equal checksums, eliminated: 8K; transferred 12K total 20K$/);
  t.equal(sent(pair), 24);
  t.equal(pair.a.core.requests.freePeerSlots, 64);
  t.equal(pair.b.core.requests.freePeerSlots, 64);
});

t.test('after a crash only', async (t) => {
  const pair = apart({ 'csums-alg': 'md5', 'csums-after-crash-only': true });
  pair.heal();
  pair.run(5000);
  t.ok(equalDisks(pair));
  t.match(about(pair.b), / 0 % had equal checksums, eliminated: 0K; transferred 20K total 20K$/);
  t.equal(sent(pair), 40);
});
