import t from 'tap';
import { STREAM } from './host.js';
import { OP } from './requests.js';
import { clock, type MemoryNode, Pair } from './testing/pair.js';

function synced(): Pair {
  const pair = new Pair();
  pair.configure({ 'max-buffers': 20000 }, { 'resync-rate': 4_000_000, 'c-plan-ahead': 0 });
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(5000);
  pair.a.control({ command: 'disk-options', volume: 0, options: { 'disk-timeout': 30 }, setDefaults: false });
  pair.rest();
  return pair;
}

const disk = (node: MemoryNode): string => node.core.snapshot(clock.now).volumes[0]!.diskState;
const write = (pair: Pair, sector = 80): number => pair.a.submit(OP.Write, sector, new Uint8Array(4096).fill(7));

t.test('a disk that does not answer in time is given up, and its requests go on with the peer', async (t) => {
  const pair = synced();
  pair.a.holdWrites = true;
  const slot = write(pair);
  pair.run(2900);
  t.equal(pair.a.completions.length, 0, 'the application waits for the disk');
  t.equal(disk(pair.a), 'UpToDate');
  pair.run(200);
  t.match(pair.a.completions.at(-1), { slot, errno: 0 }, 'the peer has it');
  t.equal(disk(pair.a), 'Failed', 'until the disk has come to an end');
  t.match(pair.state(pair.b), /UpToDate\/Failed$/);
  t.ok(pair.a.logs.some((line) => line.endsWith('Local backing device failed to meet the disk-timeout')));
  const next = write(pair, 160);
  pair.rest();
  t.match(pair.a.completions.at(-1), { slot: next, errno: 0 });
  const attach = pair.a.control({ command: 'attach', volume: 0, disk: pair.a.backing() });
  pair.rest();
  t.equal(pair.a.code(attach), 'ERR_DISK_CONFIGURED');
  pair.run(60_000);
  t.equal(disk(pair.a), 'Failed');
  pair.a.holdWrites = false;
  pair.a.diskReturns();
  pair.run(100);
  t.equal(disk(pair.a), 'Diskless');
  t.equal(pair.a.core.requests.freeApplicationSlots, 64);
});

t.test('without a peer the request fails', async (t) => {
  const pair = synced();
  pair.partition();
  pair.a.holdWrites = true;
  const slot = write(pair);
  pair.run(3100);
  t.match(pair.a.completions.at(-1), { slot, errno: 5 });
});

t.test('requests that are answered one after the other are no reason', async (t) => {
  const pair = synced();
  pair.a.holdWrites = true;
  for (let i = 0; i < 20; i++) {
    write(pair, 800 + 8 * i);
    pair.run(1000);
    // The one before.
    const held = pair.a.heldWrites.splice(0, pair.a.heldWrites.length - 1);
    for (const slot of held) pair.a.core.diskDone(clock.now, slot, 0);
    pair.rest();
  }
  t.equal(disk(pair.a), 'UpToDate');
});

t.test('meta-data that are not written in time', async (t) => {
  const pair = synced();
  pair.a.holdMeta = true;
  const slot = pair.a.submit(OP.Write, 8192, new Uint8Array(4096).fill(3));
  pair.run(2900);
  t.equal(pair.a.completions.length, 0, 'its extent is not in the activity log');
  pair.run(200);
  t.match(pair.a.completions.at(-1), { slot, errno: 0 });
  t.equal(disk(pair.a), 'Failed');
  t.ok(pair.a.logs.some((line) => line.endsWith('meta-data IO operation timed out')));
});

t.test('without disk-timeout nothing is given up, but by force', async (t) => {
  const pair = synced();
  pair.a.control({ command: 'disk-options', volume: 0, options: { 'disk-timeout': 0 }, setDefaults: false });
  pair.a.holdWrites = true;
  const slot = write(pair);
  pair.run(600_000);
  t.equal(disk(pair.a), 'UpToDate');
  const detach = pair.a.control({ command: 'detach', volume: 0, force: true });
  pair.run(600);
  t.equal(pair.a.code(detach), 'ok');
  t.equal(disk(pair.a), 'Failed');
  t.match(pair.a.completions.at(-1), { slot, errno: 0 });
});

/** The disk of `a` has failed with a write that `b` has acked; `b` has not heard of that yet. */
function unheardLoss(pair = synced()): { pair: Pair; slot: number; flush: number } {
  pair.a.holdWrites = true;
  const slot = write(pair);
  pair.run(100);
  pair.a.hold(STREAM.Data);
  pair.run(3000);
  const flush = pair.a.submit(OP.Flush, 0, 0);
  pair.rest();
  return { pair, slot, flush };
}

t.test('what only the peer has is completed when the peer has a generation of its own on its disk', async (t) => {
  const { pair, slot, flush } = unheardLoss();
  const before = pair.b.metaDataOnDisk().current_uuid & ~1n;
  t.equal(disk(pair.a), 'Failed');
  t.strictSame(pair.a.completions, [], 'after a crash now our disk would pass for the better one');
  pair.b.holdMeta = true;
  pair.a.arrive(STREAM.Data);
  pair.rest();
  t.match(pair.state(pair.b), /UpToDate\/Failed$/);
  t.strictSame(pair.a.completions, [], 'the generation is not durable yet');
  pair.b.holdMeta = false;
  for (const token of pair.b.heldMeta.splice(0)) pair.b.core.metaDone(clock.now, token, 0);
  pair.rest();
  t.not(pair.b.metaDataOnDisk().current_uuid & ~1n, before);
  t.same(
    new Map(pair.a.completions.map((c) => [c.slot, c.errno])),
    new Map([
      [slot, 0],
      [flush, 0],
    ]),
  );
});

t.test('a peer that is lost before it has heard of that: the application is told of no success', async (t) => {
  const { pair, slot, flush } = unheardLoss();
  pair.partition();
  t.same(
    new Map(pair.a.completions.map((c) => [c.slot, c.errno])),
    new Map([
      [slot, 5],
      [flush, 5],
    ]),
  );
});

t.test('two Primaries: others that wait for the place of such a write are woken once', async (t) => {
  const pair = synced();
  for (const node of pair.nodes)
    node.control({ command: 'net-options', connection: 0, options: { 'allow-two-primaries': true }, setDefaults: false });
  pair.b.control({ command: 'primary', force: false });
  pair.rest();
  t.match(pair.state(pair.a), /Primary\/Primary/);
  pair.a.holdWrites = true;
  const slots = [write(pair)];
  pair.run(100);
  pair.a.hold(STREAM.Data);
  // The second one takes the place of the first one, and the third one waits on.
  slots.push(write(pair), write(pair));
  pair.run(3000);
  t.equal(disk(pair.a), 'Failed');
  t.strictSame(pair.a.completions, []);
  pair.a.arrive(STREAM.Data);
  pair.rest();
  t.same(
    pair.a.completions,
    slots.map((slot) => ({ slot, errno: 0 })),
  );
});

t.test('an I/O error is told to the peer before the write that only the peer has is completed', async (t) => {
  const pair = synced();
  pair.a.failNextWrite = 5;
  pair.b.holdMeta = true;
  const slot = write(pair);
  pair.rest();
  t.equal(pair.a.completions.length, 0);
  pair.b.holdMeta = false;
  for (const token of pair.b.heldMeta.splice(0)) pair.b.core.metaDone(clock.now, token, 0);
  pair.rest();
  t.match(pair.a.completions.at(-1), { slot, errno: 0 });
});
