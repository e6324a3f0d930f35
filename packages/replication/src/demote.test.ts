import t from 'tap';
import { OP } from './requests.js';
import { clock, type MemoryNode, Pair } from './testing/pair.js';

const block = (fill: number, bytes = 4096): Uint8Array => new Uint8Array(bytes).fill(fill);
const SECONDARY_BY_FORCE = { command: 'secondary', openVolumes: [0], force: true } as const;

/** In sync, with `a` as Primary. */
function synced(net: Record<string, string> = {}): Pair {
  const pair = new Pair();
  pair.configure({ 'max-buffers': 20000, ...net }, { 'resync-rate': 4_000_000, 'c-plan-ahead': 0 });
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(5000);
  return pair;
}

const errnoOf = (node: MemoryNode, slot: number): number | undefined => node.completions.filter((done) => done.slot === slot).at(-1)?.errno;
const isFailing = (node: MemoryNode): boolean => node.core.snapshot(clock.now).failIo;
const current = (node: MemoryNode): bigint => node.core.snapshot(clock.now).volumes[0]!.currentUuid;
const areEqual = (pair: Pair): boolean => {
  const bytes = pair.a.core.snapshot(clock.now).volumes[0]!.sizeSectors * 512;
  return Buffer.from(pair.a.disk.subarray(0, bytes)).equals(Buffer.from(pair.b.disk.subarray(0, bytes)));
};

t.test('a device that is open is demoted by force only; its I/O fails until the last close', async (t) => {
  const pair = synced();
  const polite = pair.a.control({ command: 'secondary', openVolumes: [0], force: false });
  pair.rest();
  t.equal(pair.a.code(polite), 'SS_DEVICE_IN_USE');
  const forced = pair.a.control(SECONDARY_BY_FORCE);
  pair.rest();
  t.equal(pair.a.code(forced), 'ok');
  t.ok(pair.a.logs.includes('drbd r0: forced demotion'));
  t.match(pair.state(pair.b), / Secondary\/Secondary /);
  t.ok(isFailing(pair.a));
  const slots = [pair.a.submit(OP.Write, 8, block(1)), pair.a.submit(OP.Read, 8, 4096), pair.a.submit(OP.Flush, 0, 0)];
  pair.rest();
  for (const slot of slots) t.equal(errnoOf(pair.a, slot), 5);
  t.equal(pair.a.disk[8 * 512], 0);

  const early = pair.a.control({ command: 'primary', force: true });
  pair.rest();
  t.equal(pair.a.code(early), 'SS_DEVICE_IN_USE');
  const peer = pair.b.control({ command: 'primary', force: false });
  pair.rest();
  t.equal(pair.b.code(peer), 'ok', 'the peer may take over at once');
  pair.b.control({ command: 'secondary', openVolumes: [], force: false });
  pair.rest();

  pair.a.control({ command: 'closed' });
  pair.rest();
  t.notOk(isFailing(pair.a));
  const late = pair.a.control({ command: 'primary', force: false });
  pair.rest();
  t.equal(pair.a.code(late), 'ok');
  const write = pair.a.submit(OP.Write, 8, block(2));
  pair.rest();
  t.equal(errnoOf(pair.a, write), 0);
});

t.test('a restart does not end what a forced demotion began', async (t) => {
  const pair = synced();
  pair.a.control({ command: 'fail-io' });
  pair.rest();
  t.notOk(isFailing(pair.a), 'a Primary was never demoted');
  pair.a.control({ command: 'secondary', openVolumes: [], force: false });
  pair.rest();
  pair.a.control({ command: 'fail-io' });
  pair.rest();
  t.ok(isFailing(pair.a));
  const read = pair.a.submit(OP.Read, 8, 4096);
  const early = pair.a.control({ command: 'primary', force: true });
  pair.rest();
  t.equal(errnoOf(pair.a, read), 5);
  t.equal(pair.a.code(early), 'SS_DEVICE_IN_USE');
  pair.a.control({ command: 'closed' });
  const late = pair.a.control({ command: 'primary', force: false });
  pair.rest();
  t.equal(pair.a.code(late), 'ok');
});

t.test('without openers force changes nothing', async (t) => {
  const pair = synced();
  const op = pair.a.control({ command: 'secondary', openVolumes: [], force: true });
  pair.rest();
  t.equal(pair.a.code(op), 'ok');
  t.notOk(isFailing(pair.a));
});

t.test('what is in flight ends before the role changes, what comes meanwhile fails', async (t) => {
  const pair = synced();
  pair.b.holdWrites = true;
  pair.a.holdWrites = true;
  const running = pair.a.submit(OP.Write, 8, block(1));
  pair.rest();
  const op = pair.a.control(SECONDARY_BY_FORCE);
  pair.rest();
  t.equal(pair.a.code(op), 'pending');
  const later = pair.a.submit(OP.Write, 800, block(2));
  pair.rest();
  t.equal(errnoOf(pair.a, later), 5);
  t.equal(errnoOf(pair.a, running), undefined);
  pair.b.holdWrites = false;
  for (const slot of pair.b.heldWrites.splice(0)) pair.b.core.diskDone(clock.now, slot, 0);
  pair.rest();
  t.equal(pair.a.code(op), 'pending', 'the own disk too');
  pair.a.holdWrites = false;
  for (const slot of pair.a.heldWrites.splice(0)) pair.a.core.diskDone(clock.now, slot, 0);
  pair.rest();
  t.equal(pair.a.code(op), 'ok');
  t.ok(areEqual(pair));
});

for (const peerGoesOn of [false, true]) {
  t.test(`frozen writes fail; the peer ${peerGoesOn ? 'went on, and its data win' : 'gets them'}`, async (t) => {
    const pair = synced({ fencing: 'resource-and-stonith' });
    pair.a.holdHelpers = true;
    const before = current(pair.a);
    const deliver = pair.b.deliver.bind(pair.b);
    pair.b.deliver = () => undefined;
    const inFlight = pair.a.submit(OP.Write, 8, block(1));
    pair.rest();
    pair.b.deliver = deliver;
    pair.partition();
    const parked = pair.a.submit(OP.Write, 800, block(2));
    pair.rest();
    t.equal(errnoOf(pair.a, parked), undefined);
    const op = pair.a.control(SECONDARY_BY_FORCE);
    pair.rest();
    t.equal(pair.a.code(op), 'ok');
    t.strictSame([errnoOf(pair.a, inFlight), errnoOf(pair.a, parked)], [5, 5]);
    t.equal(current(pair.a) | 1n, before | 1n, 'no generation of its own');
    pair.a.control({ command: 'closed' });
    if (peerGoesOn) {
      pair.b.exitCodes['fence-peer'] = 7;
      const up = pair.b.control({ command: 'primary', force: false });
      pair.rest();
      t.equal(pair.b.code(up), 'ok');
      pair.b.submit(OP.Write, 16, block(3));
      pair.rest();
    }
    pair.heal();
    pair.run(5000);
    t.match(pair.state(pair.a), /^Connected\(Established\) .* UpToDate\/UpToDate$/);
    t.ok(areEqual(pair));
    t.equal(pair.a.disk[8 * 512], peerGoesOn ? 0 : 1);
    t.equal(pair.a.disk[16 * 512], peerGoesOn ? 3 : 0);
  });
}

t.test('promotion and demotion are answered when their super block is on disk', async (t) => {
  const pair = synced();
  pair.a.control({ command: 'secondary', openVolumes: [], force: false });
  pair.rest();
  pair.partition();
  pair.a.holdMeta = true;
  const answered = (op: number): string => {
    pair.rest();
    const before = pair.a.code(op);
    for (let token = pair.a.heldMeta.shift(); token !== undefined; token = pair.a.heldMeta.shift()) {
      pair.a.core.metaDone(clock.now, token, 0);
      pair.rest();
    }
    return `${before} ${pair.a.code(op)}`;
  };
  t.equal(answered(pair.a.control({ command: 'primary', force: false })), 'pending ok', 'the generation of a Primary alone');
  t.equal(answered(pair.a.control({ command: 'secondary', openVolumes: [], force: false })), 'pending ok');
  t.equal(pair.a.metaDataOnDisk().current_uuid & ~1n, current(pair.a) & ~1n);
});
