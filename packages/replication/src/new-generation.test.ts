import { MDF } from '@udrbd/metadata';
import t from 'tap';
import { STREAM } from './host.js';
import { clock, type MemoryNode, Pair } from './testing/pair.js';

const FORCE = { command: 'new-current-uuid', volume: 0, clearBitmap: false, forceResync: true } as const;

/** Fresh disks with different bytes. */
function fresh(): Pair {
  const pair = new Pair();
  pair.configure({ 'max-buffers': 20000 }, { 'resync-rate': 4_000_000, 'c-plan-ahead': 0 });
  pair.a.disk.fill(7, 0, 4096 * 100);
  pair.b.disk.fill(9, 4096 * 50, 4096 * 200);
  return pair;
}

const areEqual = (pair: Pair): boolean => {
  const bytes = pair.a.core.snapshot(clock.now).volumes[0]!.sizeSectors * 512;
  return Buffer.from(pair.a.disk.subarray(0, bytes)).equals(Buffer.from(pair.b.disk.subarray(0, bytes)));
};
const resyncs = (node: MemoryNode): string[] => node.helpers.filter((name) => name.includes('resync'));

t.test('force-resync fills a connected fresh peer, without a Primary', async (t) => {
  const pair = fresh();
  pair.connect();
  const op = pair.a.control(FORCE);
  pair.run(5000);
  t.equal(pair.a.code(op), 'ok');
  for (const node of pair.nodes) t.equal(pair.state(node), 'Connected(Established) Secondary/Secondary UpToDate/UpToDate');
  t.ok(areEqual(pair));
  t.equal(pair.b.disk[0], 7);
  t.strictSame(resyncs(pair.b), ['before-resync-target', 'after-resync-target']);
  t.ok(pair.a.logs.some((line) => line.endsWith('Preparing to force initial sync')));
  const again = pair.a.control(FORCE);
  pair.run(100);
  t.equal(pair.a.code(again), 'ERR_CONNECTED', 'once there is data it is no initial sync any more');
});

t.test('force-resync alone: the peer gets everything when it connects', async (t) => {
  const pair = fresh();
  const op = pair.a.control(FORCE);
  pair.run(100);
  t.equal(pair.a.code(op), 'ok');
  t.match(pair.state(pair.a), /UpToDate\/DUnknown/);
  pair.connect();
  pair.run(5000);
  t.match(pair.state(pair.b), /UpToDate\/UpToDate/);
  t.ok(areEqual(pair));
});

t.test('the link breaks before the resync has begun: it begins when the peer is back', async (t) => {
  const pair = fresh();
  pair.connect();
  pair.a.holdMeta = true;
  const op = pair.a.control(FORCE);
  pair.rest();
  t.equal(pair.a.code(op), 'pending', 'the generation is durable first');
  pair.partition();
  pair.a.holdMeta = false;
  for (let token = pair.a.heldMeta.shift(); token !== undefined; token = pair.a.heldMeta.shift()) {
    pair.a.core.metaDone(clock.now, token, 0);
    pair.rest();
  }
  t.equal(pair.a.code(op), 'ok');
  pair.heal();
  pair.run(10_000);
  t.match(pair.state(pair.b), /UpToDate\/UpToDate/);
  t.ok(areEqual(pair));
});

t.test('skip and force exclude each other; a disk is needed', async (t) => {
  const pair = fresh();
  const both = pair.a.control({ ...FORCE, clearBitmap: true });
  pair.rest();
  t.equal(pair.a.code(both), 'ERR_INVALID_REQUEST');
  pair.a.control({ command: 'detach', volume: 0, force: false });
  pair.rest();
  const diskless = pair.a.control(FORCE);
  pair.rest();
  t.equal(pair.a.code(diskless), 'ERR_NO_DISK');
});

t.test('clear-bitmap: both count as equal, nothing is copied', async (t) => {
  const pair = fresh();
  pair.connect();
  const op = pair.a.control({ ...FORCE, clearBitmap: true, forceResync: false });
  pair.run(5000);
  t.equal(pair.a.code(op), 'ok');
  for (const node of pair.nodes) t.equal(pair.state(node), 'Connected(Established) Secondary/Secondary UpToDate/UpToDate');
  t.notOk(areEqual(pair));
});

t.test('clear-bitmap while the peer still tells how it connected: what it said before it heard of it does not count', async (t) => {
  for (const kinds of ['data', 'all'] as const) {
    const pair = fresh();
    // What `b` sends from its introduction on is late by one step.
    pair.b.hold(STREAM.Data);
    pair.connect();
    const arrive = (): void => {
      pair.b.arrive(STREAM.Data);
      if (kinds === 'all') pair.b.hold(STREAM.Data);
    };
    for (let i = 0; i < 20 && !pair.state(pair.a).startsWith('Connected(Established)'); i++) {
      arrive();
      pair.a.step();
    }
    t.match(pair.state(pair.a), /^Connected\(Established\) .* Inconsistent\/Inconsistent/);
    if (kinds === 'data') pair.b.hold(STREAM.Data);
    const op = pair.a.control({ ...FORCE, clearBitmap: true, forceResync: false });
    pair.rest();
    pair.b.arrive(STREAM.Data);
    pair.run(5000);
    t.equal(pair.a.code(op), 'ok');
    for (const node of pair.nodes) t.equal(pair.state(node), 'Connected(Established) Secondary/Secondary UpToDate/UpToDate');
  }
});

for (const how of ['clearBitmap', 'forceResync'] as const) {
  t.test(`${how}: a power cut leaves no generation of a disk that is not good`, async (t) => {
    const pair = fresh();
    pair.connect();
    pair.a.holdMeta = true;
    pair.a.control({ ...FORCE, clearBitmap: false, forceResync: false, [how]: true });
    pair.rest();
    const written = pair.a.metaDataOnDisk();
    t.not(written.current_uuid, 4n, 'the first super block is on disk, nothing after it');
    t.equal(written.flags & (MDF.CONSISTENT | MDF.WAS_UP_TO_DATE), MDF.CONSISTENT | MDF.WAS_UP_TO_DATE);
  });
}
