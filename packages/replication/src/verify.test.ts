import t, { type Test } from 'tap';
import { PROTOCOL_VERSIONS } from './host.js';
import { OP } from './requests.js';
import { clock, type MemoryNode, Pair } from './testing/pair.js';

const FAST = { 'resync-rate': 4_000_000, 'c-plan-ahead': 0 };
const block = (fill: number): Uint8Array => new Uint8Array(4096).fill(fill);

function synced(net: Record<string, string | number | boolean> = {}, pair = new Pair()): Pair {
  pair.configure({ 'max-buffers': 20000, 'verify-alg': 'sha1', ...net }, FAST);
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(5000);
  for (const node of pair.nodes) {
    node.logs.length = 0;
    node.helpers.length = 0;
  }
  return pair;
}

const verify = (node: MemoryNode, start?: number, stop?: number): number =>
  node.control({ command: 'verify', connection: 0, volume: 0, start, stop });
const texts = (node: MemoryNode): string[] =>
  node.logs.filter((line) => /verify|Out of sync/i.test(line) && !line.includes('repl(')).map((line) => line.replace(/^.*?: /, ''));
const outOfSync = (node: MemoryNode): number => node.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.outOfSyncSectors;
const slotsAreBack = (t: Test, pair: Pair): void => {
  for (const node of pair.nodes) t.equal(node.core.requests.freePeerSlots, 64, `${node.name} has its slots back`);
};

t.test('without differences', async (t) => {
  const pair = synced();
  const sectors = pair.a.core.snapshot(0).volumes[0]!.sizeSectors;
  verify(pair.a);
  pair.run(60_000);
  t.equal(pair.state(pair.a), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
  t.match(texts(pair.a), ['Starting Online Verify from sector 0', /^Online verify done \(total \d+ sec; paused 0 sec; \d+ K\/sec\)$/]);
  t.match(texts(pair.b), ['Online Verify start sector: 0', /^Online verify done/]);
  t.equal(texts(pair.a).length, 2);
  t.equal(outOfSync(pair.a), 0);
  t.same(pair.a.helpers, []);
  t.ok(pair.a.core.snapshot(0).volumes[0]!.readSectors >= sectors, 'every block was read');
  slotsAreBack(t, pair);
});

t.test('finds exactly what differs, from either side, and calls the handler on both', async (t) => {
  for (const start of ['a', 'b'] as const) {
    const pair = synced();
    pair.b.disk[1 << 20] = 1;
    pair.b.disk[(2 << 20) + 1] = 1;
    pair.b.disk[(2 << 20) + 4096] = 1;
    pair.a.disk[(3 << 20) + 4095] = 1;
    verify(pair[start]);
    pair.run(60_000);
    for (const node of pair.nodes) {
      t.same(
        texts(node).filter((text) => text.startsWith('Out of')),
        [
          'Out of sync: start=2048, size=8 (sectors)',
          'Out of sync: start=4096, size=16 (sectors)',
          'Out of sync: start=6144, size=8 (sectors)',
        ],
        `${node.name}, started on ${start}`,
      );
      t.equal(outOfSync(node), 32);
      t.same(node.helpers, ['out-of-sync']);
      t.equal(texts(node).at(-1), 'Online verify found 4 4k block out of sync!');
    }
    slotsAreBack(t, pair);
  }
});

t.test('start and stop', async (t) => {
  const pair = synced();
  verify(pair.a, 1, 100);
  pair.run(5000);
  t.equal(texts(pair.a)[0], 'Starting Online Verify from sector 0');
  t.equal(texts(pair.a).at(-1), 'Online Verify reached sector 104');
  t.equal(texts(pair.b).at(-1), 'Online Verify reached sector 104');
  verify(pair.a);
  pair.run(60_000);
  t.ok(texts(pair.a).includes('Starting Online Verify from sector 104'), 'the next one goes on there');
  const last = pair.a.core.snapshot(0).volumes[0]!.sizeSectors - 1;
  verify(pair.b, 1e9);
  pair.run(5000);
  t.ok(texts(pair.b).includes(`Starting Online Verify from sector ${last - (last % 8)}`), 'behind the end is the last block');
  t.match(pair.state(pair.b), /Established/);
  verify(pair.b);
  pair.run(60_000);
  t.equal(texts(pair.b).filter((text) => text === 'Starting Online Verify from sector 0').length, 1, 'after the end it begins anew');
  slotsAreBack(t, pair);
});

t.test('refusals', async (t) => {
  const pair = new Pair();
  pair.configure({ 'max-buffers': 20000 }, FAST);
  const alone = verify(pair.a);
  pair.rest();
  t.equal(pair.a.code(alone), 'SS_NEED_CONNECTION');
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(5000);
  const without = verify(pair.a);
  pair.rest();
  t.equal(pair.a.code(without), 'SS_NO_VERIFY_ALG');
  const unknown = pair.a.control({ command: 'net-options', connection: 0, options: { 'verify-alg': 'rot13' }, setDefaults: false });
  pair.rest();
  t.equal(pair.a.code(unknown), 'ERR_VERIFY_ALG');
  pair.a.control({ command: 'net-options', connection: 0, options: { 'verify-alg': 'md5' }, setDefaults: false });
  pair.rest();
  t.ok(
    pair.b.logs.some((line) => line.endsWith('using verify-alg: "md5"')),
    'the peer takes it over',
  );
  t.equal(pair.b.core.snapshot(0).connections[0]!.options['verify-alg'], 'md5');
  const runs = verify(pair.a, 0, 8000);
  pair.rest();
  t.equal(pair.a.code(runs), 'ok');
  t.equal(pair.state(pair.b), 'Connected(VerifyT) Secondary/Primary UpToDate/UpToDate');
  const change = pair.a.control({ command: 'net-options', connection: 0, options: { 'verify-alg': 'sha1' }, setDefaults: false });
  const invalidate = pair.b.control({ command: 'invalidate', volume: 0 });
  const other = verify(pair.b);
  pair.rest();
  t.equal(pair.a.code(change), 'ERR_VERIFY_RUNNING');
  t.equal(pair.b.code(invalidate), 'SS_RESYNC_RUNNING');
  t.equal(pair.b.code(other), 'SS_RESYNC_RUNNING');
  verify(pair.a, undefined, 16);
  pair.run(3000);
  t.match(pair.state(pair.a), /Established/, 'a stop sector that has been passed ends it');
  slotsAreBack(t, pair);
});

t.test('a lost link ends it; the next one goes on where it was', async (t) => {
  const pair = synced();
  const options = { 'resync-rate': 2000, 'c-plan-ahead': 0 };
  pair.a.control({ command: 'peer-device-options', connection: 0, volume: 0, options, setDefaults: false });
  verify(pair.a);
  pair.run(300);
  const position = pair.a.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.resync!;
  t.equal(position.leftBits, position.totalBits - 200);
  pair.partition();
  t.equal(texts(pair.a).at(-1), 'Online Verify reached sector 1600');
  t.equal(texts(pair.b).at(-1), 'Online Verify reached sector 1600');
  pair.heal();
  pair.run(5000);
  verify(pair.a);
  pair.run(60_000);
  t.ok(texts(pair.a).includes('Starting Online Verify from sector 1600'));
  t.ok(texts(pair.b).includes('Online Verify start sector: 1600'));
  t.match(pair.state(pair.a), /Established/);
  slotsAreBack(t, pair);
});

t.test('writes of the application are not taken for differences', async (t) => {
  for (const protocol of ['A', 'B', 'C']) {
    for (const start of ['a', 'b'] as const) {
      const pair = synced({ protocol });
      verify(pair[start]);
      for (let turn = 0; turn < 40; turn++) {
        for (let i = 0; i < 20; i++) pair.a.submit(OP.Write, ((turn * 7 + i * 3) % 90) * 8, block(turn + i));
        pair.run(50);
      }
      pair.run(60_000);
      t.match(pair.state(pair.a), /Established/);
      t.equal(outOfSync(pair.a) + outOfSync(pair.b), 0, `${protocol}, started on ${start}`);
      t.equal(pair.a.completions.length, 800);
      slotsAreBack(t, pair);
    }
  }
});

t.test('a disk that goes away ends it on both sides', async (t) => {
  for (const lost of ['a', 'b'] as const) {
    const pair = synced();
    const options = { 'resync-rate': 2000, 'c-plan-ahead': 0 };
    pair.a.control({ command: 'peer-device-options', connection: 0, volume: 0, options, setDefaults: false });
    verify(pair.a);
    pair.run(300);
    pair[lost].control({ command: 'detach', volume: 0, force: true });
    pair.run(3000);
    t.match(pair.state(pair.a), lost === 'a' ? /Established.*Diskless\/UpToDate/ : /Established.*UpToDate\/Diskless/);
    t.ok(pair[lost].logs.some((line) => line.includes('Online-verify aborted.')));
    slotsAreBack(t, pair);
  }
});

t.test('a stop sector that is set while it runs: not opposite a peer that would not hear of the end', async (t) => {
  for (const [max, reached] of [
    [101, 'Online Verify reached sector 1000'],
    [95, undefined],
  ] as const) {
    const offers = { ...PROTOCOL_VERSIONS, max };
    const pair = synced({}, new Pair(16384, offers, offers));
    verify(pair.a);
    pair.rest();
    t.match(pair.state(pair.a), /VerifyS/);
    verify(pair.a, undefined, 1000);
    pair.run(60_000);
    for (const node of pair.nodes) t.match(pair.state(node), /Established/, `${max}, ${node.name}`);
    t.equal(
      texts(pair.a).find((text) => text.includes('reached')),
      reached,
    );
  }
});

t.test('two Primaries: blocks that are being written to are not compared, and both sides come to the end', async (t) => {
  for (const max of [100, 101]) {
    const offers = { ...PROTOCOL_VERSIONS, max };
    const pair = synced({ 'allow-two-primaries': true, 'max-buffers': 32 }, new Pair(16384, offers, offers));
    const { a, b } = pair;
    pair.run(60_000);
    t.match(pair.state(a), /Established/);
    b.control({ command: 'primary', force: false });
    pair.rest();
    a.holdWrites = true;
    const slot = a.submit(OP.Write, 800, new Uint8Array(40 * 4096).fill(1));
    pair.rest();
    // Such blocks alone, and others before and behind them.
    for (const [start, stop] of [
      [800, 801],
      [0, undefined],
    ] as const) {
      verify(a, start, stop);
      pair.run(60_000);
      for (const node of pair.nodes) t.match(pair.state(node), /Established/, `${max}, ${node.name} from ${start}`);
    }
    verify(b, 0);
    pair.run(60_000);
    for (const node of pair.nodes) t.match(pair.state(node), /Verify/, `${max}, ${node.name} reads after its own write`);
    a.holdWrites = false;
    for (const write of a.heldWrites.splice(0)) a.core.diskDone(clock.now, write, 0);
    pair.run(60_000);
    for (const node of pair.nodes) t.match(pair.state(node), /Established/, `${max}, ${node.name}`);
    t.match(a.completions.at(-1), { slot, errno: 0 });
    t.equal(outOfSync(a) + outOfSync(b), 0);
    slotsAreBack(t, pair);
  }
});
