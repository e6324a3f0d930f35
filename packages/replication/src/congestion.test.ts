import t from 'tap';
import { STREAM } from './host.js';
import { OP } from './requests.js';
import { clock, type MemoryNode, Pair } from './testing/pair.js';

const FAST = { 'resync-rate': 4_000_000, 'c-plan-ahead': 0 };
const AHEAD = 'Connected(Ahead) Primary/Secondary UpToDate/Consistent';

function synced(net: Record<string, string | number | boolean>): Pair {
  const pair = new Pair();
  pair.configure({ 'max-buffers': 20000, protocol: 'A', ...net }, FAST);
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(5000);
  return pair;
}

const oos = (node: MemoryNode): number => node.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.outOfSyncSectors;
const write = (pair: Pair, sector: number, fill: number): number => pair.a.submit(OP.Write, sector, new Uint8Array(4096).fill(fill));

/** The peer's disk answers no more. */
function congest(pair: Pair, writes: number): void {
  pair.b.holdWrites = true;
  for (let i = 0; i < writes; i++) {
    write(pair, 100 + 8 * i, i + 1);
    pair.rest();
  }
}

function release(pair: Pair): void {
  pair.b.holdWrites = false;
  for (const slot of pair.b.heldWrites.splice(0)) pair.b.core.diskDone(clock.now, slot, 0);
}

function isEqual(pair: Pair): boolean {
  const size = pair.a.core.snapshot(clock.now).volumes[0]!.sizeSectors * 512;
  return Buffer.from(pair.a.disk.subarray(0, size)).equals(Buffer.from(pair.b.disk.subarray(0, size)));
}

t.test('pull-ahead: writes complete, are only told of, and are copied when the peer has caught up', async (t) => {
  const pair = synced({ 'on-congestion': 'pull-ahead', 'congestion-fill': 16 });
  const { currentUuid } = pair.a.core.snapshot(clock.now).volumes[0]!;
  congest(pair, 6);
  t.equal(pair.state(pair.a), AHEAD);
  t.equal(pair.state(pair.b), 'Connected(Behind) Secondary/Primary Outdated/UpToDate');
  t.equal(pair.a.completions.filter(({ errno }) => errno === 0).length, 6, 'the application does not wait');
  // The third one found two in flight; sector 100 is in the middle of a block.
  t.equal(oos(pair.a), 40);
  t.equal(oos(pair.b), 40, 'and the peer knows');
  t.equal(pair.a.core.snapshot(clock.now).volumes[0]!.currentUuid, currentUuid, 'no new generation');
  t.equal(pair.a.logs.filter((line) => line.endsWith('Congestion-fill threshold reached')).length, 1);
  pair.run(3000);
  t.equal(pair.state(pair.a), AHEAD, 'not before everything is acked');
  release(pair);
  pair.run(900);
  t.equal(pair.state(pair.a), AHEAD, 'and not at once');
  write(pair, 100, 0x77);
  pair.run(4000);
  t.equal(pair.state(pair.a), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
  t.equal(pair.state(pair.b), 'Connected(Established) Secondary/Primary UpToDate/UpToDate');
  t.ok(isEqual(pair));
  t.equal(oos(pair.a) + oos(pair.b), 0);
  t.ok(pair.b.helpers.includes('after-resync-target'));
});

t.test('a generation that begins while ahead is known to the peer when it has caught up', async (t) => {
  const pair = synced({ 'on-congestion': 'pull-ahead', 'congestion-fill': 16 });
  const current = (node: MemoryNode): bigint => node.core.snapshot(clock.now).volumes[0]!.currentUuid & ~1n;
  const before = current(pair.a);
  congest(pair, 6);
  t.equal(pair.state(pair.a), AHEAD);
  // Its state tells that it is Outdated.
  for (const command of ['pause-sync', 'resume-sync'] as const) pair.b.control({ command, connection: 0, volume: 0 });
  pair.rest();
  t.match(pair.state(pair.a), /Outdated$/);
  t.not(current(pair.a), before);
  release(pair);
  pair.run(5000);
  for (const node of pair.nodes) t.match(pair.state(node), /^Connected\(Established\) .* UpToDate\/UpToDate$/, node.name);
  t.equal(current(pair.b), current(pair.a));
});

t.test('a link lost in the resync that follows, of which the peer may not have heard, begins a generation', async (t) => {
  const pair = synced({ 'on-congestion': 'pull-ahead', 'congestion-fill': 16 });
  const current = (node: MemoryNode): bigint => node.core.snapshot(clock.now).volumes[0]!.currentUuid & ~1n;
  const before = current(pair.a);
  congest(pair, 6);
  release(pair);
  pair.rest();
  // What the resync brings takes its time.
  pair.b.holdWrites = true;
  for (let i = 0; i < 300 && !pair.state(pair.a).includes('SyncSource'); i++) pair.run(10);
  t.match(pair.state(pair.a), /SyncSource/);
  t.equal(current(pair.a), before);
  pair.partition();
  t.not(current(pair.a), before);
  release(pair);
  pair.heal();
  pair.run(8000);
  for (const node of pair.nodes) t.match(pair.state(node), /^Connected\(Established\) .* UpToDate\/UpToDate$/, node.name);
  t.ok(isEqual(pair));
});

t.test('hot extents count as congestion too', async (t) => {
  const pair = synced({ 'on-congestion': 'pull-ahead', 'congestion-extents': 67 });
  congest(pair, 6);
  t.match(pair.state(pair.a), /Established/, 'two extents are not that many');
});

t.test('block: the link is waited for', async (t) => {
  const pair = synced({ 'on-congestion': 'block', 'congestion-fill': 16 });
  congest(pair, 6);
  t.match(pair.state(pair.a), /Established/);
});

t.test('disconnect: the Primary goes on alone and stays so', async (t) => {
  const pair = synced({ 'on-congestion': 'disconnect', 'congestion-fill': 16 });
  const { currentUuid } = pair.a.core.snapshot(clock.now).volumes[0]!;
  congest(pair, 6);
  release(pair);
  pair.run(2000);
  t.match(pair.state(pair.a), /^StandAlone.*UpToDate/);
  t.match(pair.state(pair.b), /^Connecting/);
  t.not(pair.a.core.snapshot(clock.now).volumes[0]!.currentUuid, currentUuid, 'a generation of its own');
  pair.a.control({ command: 'connect', connection: 0, tentative: false, discardMyData: false });
  pair.run(8000);
  t.equal(pair.state(pair.a), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
  t.ok(isEqual(pair));
});

t.test('a connection lost while ahead begins a generation; its resync has everything', async (t) => {
  const pair = synced({ 'on-congestion': 'pull-ahead', 'congestion-fill': 16 });
  const { currentUuid } = pair.a.core.snapshot(clock.now).volumes[0]!;
  congest(pair, 6);
  pair.partition();
  t.not(pair.a.core.snapshot(clock.now).volumes[0]!.currentUuid, currentUuid);
  t.match(pair.state(pair.b), /Secondary\/Unknown Outdated\/DUnknown/);
  release(pair);
  pair.rest();
  pair.heal();
  pair.run(5000);
  t.equal(pair.state(pair.b), 'Connected(Established) Secondary/Primary UpToDate/UpToDate');
  t.ok(isEqual(pair));
});

t.test('a Primary that is ahead steps down when its peer has caught up', async (t) => {
  const pair = synced({ 'on-congestion': 'pull-ahead', 'congestion-fill': 16 });
  congest(pair, 4);
  const down = pair.a.control({ command: 'secondary', openVolumes: [], force: false });
  pair.rest();
  t.equal(pair.a.code(down), 'pending');
  release(pair);
  pair.run(4000);
  t.equal(pair.a.code(down), 'ok');
  t.equal(pair.state(pair.b), 'Connected(Established) Secondary/Secondary UpToDate/UpToDate');
  t.ok(isEqual(pair));
});

t.test('ahead again during the resync: what was under way is told of anew', async (t) => {
  const pair = synced({ 'on-congestion': 'pull-ahead', 'congestion-fill': 16 });
  pair.a.control({
    command: 'peer-device-options',
    connection: 0,
    volume: 0,
    options: { 'resync-rate': 40 },
    setDefaults: false,
  });
  pair.b.control({ command: 'peer-device-options', connection: 0, volume: 0, options: { 'resync-rate': 40 }, setDefaults: false });
  congest(pair, 40);
  release(pair);
  pair.run(1500);
  t.match(pair.state(pair.a), /SyncSource/);
  pair.b.holdWrites = true;
  for (let i = 0; i < 6; i++) {
    write(pair, 100 + 8 * i, 0x50 + i);
    pair.rest();
  }
  t.match(pair.state(pair.a), /Ahead/);
  t.match(pair.state(pair.b), /Behind.*Inconsistent\/UpToDate/);
  release(pair);
  for (const node of pair.nodes) {
    node.control({ command: 'peer-device-options', connection: 0, volume: 0, options: { 'resync-rate': 4_000_000 }, setDefaults: false });
  }
  pair.run(6000);
  t.equal(pair.state(pair.a), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
  t.equal(pair.state(pair.b), 'Connected(Established) Secondary/Primary UpToDate/UpToDate');
  t.ok(isEqual(pair));
  t.equal(oos(pair.a) + oos(pair.b), 0);
});

t.test('a target that pulls ahead as its resync ends: the source, which has not noticed the end, follows', (t) => {
  const pair = synced({ 'on-congestion': 'pull-ahead', 'congestion-fill': 16 });
  const { a, b } = pair;
  a.control({ command: 'secondary', openVolumes: [], force: false });
  pair.rest();
  b.control({ command: 'primary', force: false });
  pair.rest();
  b.control({ command: 'detach', volume: 0, force: true });
  pair.rest();
  b.submit(OP.Write, 800, new Uint8Array(4096).fill(9));
  pair.rest();
  b.holdWrites = true;
  b.control({ command: 'attach', volume: 0, disk: b.backing(b.metaDataOnDisk()) });
  pair.run(100);
  t.match(pair.state(b), /SyncTarget/);
  b.hold(STREAM.Data);
  release(pair);
  pair.rest();
  t.match(pair.state(b), /Established/);
  b.hold(STREAM.Meta);
  for (let i = 0; i < 4; i++) b.submit(OP.Write, 1600 + 8 * i, new Uint8Array(4096).fill(0x60 + i));
  pair.rest();
  t.match(pair.state(b), /Ahead/);
  t.match(pair.state(a), /SyncSource/);
  b.arrive(STREAM.Data);
  pair.rest();
  t.match(pair.state(a), /Behind/);
  t.match(a.logs.join('\n'), /Resync done/);
  t.equal(a.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.bitmapUuid, 0n);
  b.arrive(STREAM.Meta);
  pair.run(5000);
  t.equal(pair.state(b), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
  t.ok(isEqual(pair));
  t.equal(oos(a) + oos(b), 0);
  t.notOk([...a.logs, ...b.logs].some((line) => line.includes('ProtocolError')));
  t.end();
});
