import t from 'tap';
import { closesCycle, maySync, type ResyncPlace } from './resync-order.js';
import { Pair } from './testing/pair.js';

const place = (after: number, given: Partial<ResyncPlace> = {}): ResyncPlace => ({
  after,
  hasDisk: true,
  isBusy: false,
  isWaiting: false,
  ...given,
});

t.test('a volume waits for whatever is busy in front of it', async (t) => {
  const places = new Map([
    [0, place(-1, { isBusy: true })],
    [1, place(0)],
    [2, place(1)],
    [3, place(99)],
    [4, place(5)],
    [5, place(0, { hasDisk: false })],
    [6, place(0, { hasDisk: false })],
  ]);
  t.same(
    [0, 1, 2, 3, 4, 6].map((minor) => maySync(places, minor)),
    [true, false, false, true, true, true],
    'through idle ones, up to one that is not there or has no disk',
  );
  places.set(0, place(-1));
  t.ok(maySync(places, 2));
});

t.test('a dependency that closes a cycle', async (t) => {
  const places = new Map([
    [0, place(-1)],
    [1, place(0)],
    [2, place(1)],
  ]);
  t.ok(closesCycle(places, 0, 2));
  t.ok(closesCycle(places, 0, 0));
  t.notOk(closesCycle(places, 0, 7), 'a minor that does not exist');
  t.notOk(closesCycle(places, 2, 0));
  t.notOk(closesCycle(places, 0, -1));
  places.set(1, place(0, { hasDisk: false }));
  t.notOk(closesCycle(places, 0, 2), 'nobody waits without a disk');
  places.set(1, place(0));
  places.set(0, place(2));
  t.ok(maySync(places, 0), 'one that came about ends');
});

t.test('a dependency pauses both sides, and the resync goes on afterwards', async (t) => {
  const pair = new Pair();
  pair.configure({ 'max-buffers': 20000 }, { 'resync-rate': 2000, 'c-plan-ahead': 0 });
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(500);
  t.match(pair.state(pair.b), /SyncTarget/);
  t.same(pair.a.places.at(-1), { after: -1, hasDisk: true, isBusy: true, isWaiting: false });
  pair.b.core.resyncDependency(0, 0, true);
  pair.run(100);
  t.match(pair.state(pair.b), /PausedSyncT/);
  t.match(pair.state(pair.a), /PausedSyncS/);
  t.equal(pair.a.core.snapshot(0).connections[0]!.peerDevices[0]!.resyncSuspendedPeer, true);
  const resume = pair.b.control({ command: 'resume-sync', connection: 0, volume: 0 });
  pair.rest();
  t.equal(pair.b.code(resume), 'ERR_PIC_AFTER_DEP');
  const left = pair.a.core.snapshot(0).connections[0]!.peerDevices[0]!.outOfSyncSectors;
  pair.run(5000);
  t.equal(pair.a.core.snapshot(0).connections[0]!.peerDevices[0]!.outOfSyncSectors, left);
  pair.b.core.resyncDependency(0, 0, false);
  pair.run(60_000);
  t.equal(pair.state(pair.b), 'Connected(Established) Secondary/Primary UpToDate/UpToDate');
  t.same(pair.b.places.at(-1), { after: -1, hasDisk: true, isBusy: false, isWaiting: false });
});

t.test('a resync that begins while its volume has to wait begins paused', async (t) => {
  const pair = new Pair();
  pair.configure({ 'max-buffers': 20000 }, { 'resync-rate': 2000, 'c-plan-ahead': 0 });
  pair.connect();
  pair.a.core.resyncDependency(0, 0, true);
  pair.a.control({ command: 'primary', force: true });
  pair.run(500);
  t.match(pair.state(pair.a), /PausedSyncS/);
  t.match(pair.state(pair.b), /PausedSyncT/);
});
