import t from 'tap';
import { OP } from './requests.js';
import { clock, type MemoryNode, Pair } from './testing/pair.js';

const FAST = { 'resync-rate': 4_000_000, 'c-plan-ahead': 0 };
const block = (fill: number): Uint8Array => new Uint8Array(4096).fill(fill);

function synced(net: Record<string, string | number | boolean>): Pair {
  const pair = new Pair();
  pair.configure({ 'max-buffers': 20000, ...net }, FAST);
  pair.a.disk.fill(3, 0, 1 << 20);
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(5000);
  for (const node of pair.nodes) node.logs.length = 0;
  return pair;
}
const options = (node: MemoryNode, given: Record<string, string>): number =>
  node.control({ command: 'net-options', connection: 0, options: given, setDefaults: false });
const complaints = (node: MemoryNode): string[] =>
  node.logs.filter((line) => /Digest|error receiving/.test(line)).map((line) => line.replace(/^drbd \S+( drbd\d+)? \w+: /, ''));

t.test('every payload has its digest, and a resync and writes arrive', async (t) => {
  for (const algorithm of ['crc32c', 'md5', 'sha1', 'sha256']) {
    const pair = synced({ 'data-integrity-alg': algorithm });
    t.equal(pair.b.disk[4096], 3, `${algorithm}: the resync`);
    pair.a.submit(OP.Write, 80, block(0x5a));
    const zeroed = pair.a.submit(OP.WriteZeroes, 160, 4096);
    pair.rest();
    t.match(pair.a.completions.at(-1), { slot: zeroed, errno: 0 });
    t.equal(pair.b.disk[80 * 512], 0x5a);
    t.equal(pair.b.disk[160 * 512], 0, 'zeroes go as a discard: DRBD 8.4 cannot read the other packet');
    pair.a.control({ command: 'detach', volume: 0, force: false });
    pair.rest();
    const read = pair.a.submit(OP.Read, 80, 4096);
    pair.rest();
    t.match(pair.a.completions.at(-1), { slot: read, errno: 0 });
    t.equal(pair.a.buffers.get(read)![0], 0x5a, 'a read through the peer');
    t.match(pair.state(pair.a), /Established/);
  }
});

t.test('a damaged write is not written; the connection begins anew and the block is resynced', async (t) => {
  const pair = synced({ 'data-integrity-alg': 'sha1' });
  pair.b.damageNextPayload = true;
  const slot = pair.a.submit(OP.Write, 80, block(0x5a));
  pair.rest();
  t.equal(pair.b.disk[80 * 512], 3);
  t.same(complaints(pair.b), ['Digest integrity check FAILED: 80s +4096', 'error receiving Data, e: -5 l: 4116!']);
  pair.run(20_000);
  t.match(pair.a.completions.at(-1), { slot, errno: 0 });
  t.equal(pair.state(pair.a), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
  t.equal(pair.b.disk[80 * 512], 0x5a);
  for (const node of pair.nodes) {
    t.equal(node.core.requests.freePeerSlots, 64);
    t.equal(node.core.requests.freeApplicationSlots, 64);
  }
});

t.test('a damaged block of a resync is not written', async (t) => {
  const pair = synced({ 'data-integrity-alg': 'crc32c' });
  pair.partition();
  pair.a.submit(OP.Write, 80, block(0x77));
  pair.rest();
  pair.b.damageNextPayload = true;
  pair.heal();
  pair.run(400);
  t.ok(complaints(pair.b).includes('Digest integrity check FAILED: 80s +4096'));
  t.ok(complaints(pair.b).includes('error receiving RSDataReply, e: -5 l: 4100!'));
  t.equal(pair.b.disk[80 * 512], 3);
  pair.run(20_000);
  t.equal(pair.b.disk[80 * 512], 0x77);
  t.equal(pair.b.core.requests.freePeerSlots, 64);
});

t.test('a damaged read fails on a node without a disk', async (t) => {
  const pair = synced({ 'data-integrity-alg': 'md5' });
  pair.a.control({ command: 'detach', volume: 0, force: false });
  pair.rest();
  pair.a.damageNextPayload = true;
  const slot = pair.a.submit(OP.Read, 80, 4096);
  pair.rest();
  t.match(pair.a.completions.at(-1), { slot, errno: 5 });
  t.same(complaints(pair.a), ['Digest integrity check FAILED. Broken NICs?', 'error receiving DataReply, e: -22 l: 4112!']);
  t.equal(pair.a.core.requests.freeApplicationSlots, 64);
});

t.test('settings', async (t) => {
  const pair = synced({});
  const unknown = options(pair.a, { 'data-integrity-alg': 'rot13' });
  pair.rest();
  t.equal(pair.a.code(unknown), 'ERR_INTEGRITY_ALG');
  t.equal(pair.a.core.snapshot(clock.now).connections[0]!.options['data-integrity-alg'], '');
  // In the middle of the stream: only what we send has a digest from here on.
  pair.a.submit(OP.Write, 0, block(1));
  options(pair.a, { 'data-integrity-alg': 'sha256' });
  pair.a.submit(OP.Write, 8, block(2));
  pair.rest();
  t.same([pair.b.disk[0], pair.b.disk[4096]], [1, 2]);
  t.match(pair.state(pair.a), /Established/);
  options(pair.a, { 'data-integrity-alg': '' });
  pair.a.submit(OP.Write, 8, block(4));
  pair.rest();
  t.equal(pair.b.disk[4096], 4);
  // The next connection compares.
  options(pair.a, { 'data-integrity-alg': 'sha1' });
  pair.rest();
  pair.partition();
  pair.heal();
  pair.run(3000);
  t.match(pair.state(pair.a), /^StandAlone/);
  t.ok(pair.b.logs.some((line) => line.endsWith('incompatible data-integrity-alg settings')));
});
