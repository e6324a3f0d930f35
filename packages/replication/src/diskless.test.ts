/** A Primary that loses its disk: whose generation the data above it belong to from then on. */

import { COMMAND, P_CONNECTION_FEATURES } from '@udrbd/wire';
import t from 'tap';
import type { Bitmap } from './bitmap.js';
import { STREAM } from './host.js';
import { OP } from './requests.js';
import { clock, type MemoryNode, Pair } from './testing/pair.js';

const block = (fill: number): Uint8Array => new Uint8Array(4096).fill(fill);

/** In sync, with `a` as Primary. */
function synced(): Pair {
  const pair = new Pair();
  pair.configure({ 'max-buffers': 20000 }, { 'resync-rate': 4_000_000, 'c-plan-ahead': 0 });
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(5000);
  return pair;
}

const current = (node: MemoryNode): bigint => node.core.snapshot(clock.now).volumes[0]!.currentUuid & ~1n;
const detach = (node: MemoryNode, force = false): number => node.control({ command: 'detach', volume: 0, force });
const said = (node: MemoryNode, text: string): boolean => node.logs.some((line) => line.includes(text));
/** It offers protocols as old as a kernel does, from its next handshake on. */
function passesForKernel(node: MemoryNode): void {
  node.mangle = (stream, bytes) => {
    const packet = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    if (packet.getUint16(4) === COMMAND.P_CONNECTION_FEATURES) packet.setUint32(8 + P_CONNECTION_FEATURES.at.protocol_min.offset, 86);
    return [{ stream, bytes }];
  };
}

t.test('a Secondary whose own I/O is suspended begins the generation of a Primary without a disk', async (t) => {
  const pair = synced();
  const before = current(pair.b);
  pair.b.control({ command: 'suspend-io' });
  detach(pair.a);
  pair.rest();
  t.match(pair.state(pair.a), /Diskless\/UpToDate$/);
  t.not(current(pair.b), before);
  t.equal(current(pair.a), current(pair.b), 'the Primary knows it');
});

t.test('no generation for a detach that was allowed and did not happen', async (t) => {
  const pair = synced();
  const before = current(pair.b);
  // The answer is lost.
  pair.a.deliver = () => {};
  const operation = detach(pair.a);
  pair.rest();
  t.equal(current(pair.b), before);
  Reflect.deleteProperty(pair.a, 'deliver');
  pair.partition();
  pair.rest();
  t.equal(pair.a.code(operation), 'SS_NO_UP_TO_DATE_DISK', 'no other data are in reach');
  pair.heal();
  pair.run(5000);
  t.notOk(said(pair.a, 'Split-Brain'));
  t.match(pair.state(pair.a), /^Connected\(Established\)/);
});

t.test('the link is lost before the Primary hears of the generation that its peer began', async (t) => {
  const pair = synced();
  const before = current(pair.a);
  pair.a.deliver = () => {};
  detach(pair.a, true);
  const slot = pair.a.submit(OP.Write, 80, block(7));
  pair.rest();
  t.not(current(pair.b), before);
  Reflect.deleteProperty(pair.a, 'deliver');
  pair.partition();
  t.match(pair.state(pair.a), /Primary\/Unknown Diskless\/DUnknown$/);

  const attached = pair.a.control({ command: 'attach', volume: 0, disk: pair.a.backing() });
  pair.rest();
  t.equal(pair.a.code(attached), 'ERR_DATA_NOT_CURRENT', 'the disk lacks what only the peer may have');
  t.ok(said(pair.a, 'Can only attach to data of a generation that follows'));

  pair.heal();
  pair.run(3000);
  t.match(pair.state(pair.a), /^Connected\(Established\) Primary\/Secondary Diskless\/UpToDate$/, 'the peer is taken');
  t.equal(current(pair.a), current(pair.b));
  t.ok(slot >= 0);

  const again = pair.a.control({ command: 'attach', volume: 0, disk: pair.a.backing() });
  pair.run(5000);
  t.equal(pair.a.code(again), 'ok');
  t.match(pair.state(pair.a), /^Connected\(Established\) Primary\/Secondary UpToDate\/UpToDate$/);
  t.strictSame(pair.a.disk.subarray(80 * 512, 81 * 512), pair.b.disk.subarray(80 * 512, 81 * 512));
});

t.test('what only a Secondary gets waits for its super block with the new generation', async (t) => {
  const pair = synced();
  pair.b.holdMeta = true;
  detach(pair.a);
  pair.rest();
  const slot = pair.a.submit(OP.Write, 160, block(3));
  pair.rest();
  t.notOk(
    pair.a.completions.some((done) => done.slot === slot),
    'not answered',
  );
  t.equal(pair.b.disk[160 * 512], 0, 'not on the disk');
  pair.b.holdMeta = false;
  for (const token of pair.b.heldMeta.splice(0)) pair.b.core.metaDone(clock.now, token, 0);
  pair.run(100);
  t.ok(pair.a.completions.some((done) => done.slot === slot && done.errno === 0));
  t.equal(pair.b.disk[160 * 512], 3);
});

t.test('so it is without a new generation: the super block has to say that there is a Primary', async (t) => {
  const pair = synced();
  const demote = { command: 'secondary', openVolumes: [], force: false } as const;
  pair.a.control(demote);
  pair.rest();
  pair.b.control({ command: 'primary', force: false });
  pair.rest();
  // The activity log of b has the extent already.
  pair.b.submit(OP.Write, 160, block(1));
  pair.rest();
  pair.b.control(demote);
  pair.rest();
  pair.a.control({ command: 'primary', force: false });
  pair.rest();
  for (const node of pair.nodes)
    node.control({ command: 'peer-device-options', connection: 0, volume: 0, options: { 'resync-rate': 40 }, setDefaults: false });
  pair.a.control({ command: 'invalidate', volume: 0 });
  pair.run(200);
  t.match(pair.state(pair.a), /SyncTarget/);
  pair.b.holdMeta = true;
  const before = current(pair.b);
  detach(pair.a, true);
  pair.rest();
  pair.a.submit(OP.Write, 160, block(3));
  pair.rest();
  t.equal(current(pair.b), before);
  t.equal(pair.b.disk[160 * 512], 1, 'not on the disk');
  t.notOk(said(pair.a, 'IO ERROR'));
  pair.b.holdMeta = false;
  for (const token of pair.b.heldMeta.splice(0)) pair.b.core.metaDone(clock.now, token, 0);
  pair.run(100);
  t.equal(pair.b.disk[160 * 512], 3);
});

t.test('a promotion whose generation never reached the disk exposes nothing', async (t) => {
  const pair = synced();
  pair.a.control({ command: 'secondary', openVolumes: [], force: false });
  pair.rest();
  const shared = current(pair.b);
  pair.partition();
  pair.a.failNextMeta = 5;
  pair.a.control({ command: 'primary', force: false });
  pair.rest();
  t.match(pair.state(pair.a), /Diskless\/DUnknown$/);
  pair.heal();
  pair.run(3000);
  t.match(pair.state(pair.a), /^Connected\(Established\) Primary\/Secondary Diskless\/UpToDate$/);
  t.equal(pair.b.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.bitmapUuid & ~1n, shared, 'the peer went on from there');
});

t.test('a peer that re-attaches while I/O is frozen: no generation of its own is left over', async (t) => {
  const pair = synced();
  pair.a.control({ command: 'suspend-io' });
  detach(pair.b);
  pair.run(100);
  const before = current(pair.a);
  pair.b.control({ command: 'attach', volume: 0, disk: pair.b.backing(pair.b.metaDataOnDisk()) });
  pair.run(3000);
  t.match(pair.state(pair.a), /UpToDate\/UpToDate$/);
  pair.a.control({ command: 'resume-io' });
  pair.rest();
  t.equal(current(pair.a), before);
});

t.test('an Outdated disk that knows of blocks it lacks does not become good by a Primary without a disk', async (t) => {
  const pair = synced();
  // A full sync of `b` that ends before it begins: `b` has marks, and the generation of `a`.
  pair.a.deliver = () => {};
  pair.b.control({ command: 'invalidate', volume: 0 });
  pair.rest();
  Reflect.deleteProperty(pair.a, 'deliver');
  pair.partition();
  pair.b.control({ command: 'outdate', volume: 0 });
  pair.b.core.volumes.get(0)!.disk!.bitmap.setRange(0, 0, 8192);
  pair.a.core.volumes.get(0)!.expose(current(pair.b));
  detach(pair.a, true);
  pair.rest();
  pair.a.core.volumes.get(0)!.expose(current(pair.b));
  pair.heal();
  pair.run(3000);
  t.match(pair.state(pair.b), /^StandAlone\(Off\) Secondary\/Unknown Outdated/, 'an administrator decides');
  t.ok(said(pair.b, 'Refusing to be Outdated while Connected'));
  t.match(pair.state(pair.a), /Primary\/Unknown Diskless\/Outdated$/);
});

t.test('an Outdated disk is good again by a Primary without a disk that knows this very generation', async (t) => {
  for (const freezes of [false, true]) {
    const pair = synced();
    if (freezes) pair.a.control({ command: 'resource-options', options: { 'on-no-data-accessible': 'suspend-io' } });
    detach(pair.a);
    pair.rest();
    const slot = pair.a.submit(OP.Write, 160, block(8));
    pair.rest();
    t.ok(pair.a.completions.some((done) => done.slot === slot && done.errno === 0));
    pair.partition();
    const outdated = pair.b.control({ command: 'outdate', volume: 0 });
    const read = pair.a.submit(OP.Read, 160, 4096);
    pair.rest();
    t.equal(pair.b.code(outdated), 'ok');
    t.match(pair.state(pair.b), /Outdated/);
    pair.heal();
    pair.run(3000);
    t.match(pair.state(pair.a), /^Connected\(Established\) Primary\/Secondary Diskless\/UpToDate$/, 'nobody could have written since');
    t.match(pair.state(pair.b), /^Connected\(Established\) Secondary\/Primary UpToDate\/Diskless$/);
    t.match(pair.a.completions.at(-1), { slot: read, errno: freezes ? 0 : 5 });
    t.notOk(pair.a.core.snapshot(clock.now).suspendedNoData, 'thawed');
  }
});

t.test('an Outdated disk that a Primary without a disk does not know stays Outdated', async (t) => {
  for (const fencing of ['dont-care', 'resource-only']) {
    const pair = synced();
    pair.b.control({ command: 'net-options', connection: 0, options: { fencing }, setDefaults: false });
    pair.partition();
    pair.b.control({ command: 'outdate', volume: 0 });
    pair.a.submit(OP.Write, 160, block(8));
    pair.rest();
    detach(pair.a, true);
    pair.rest();
    pair.heal();
    pair.run(3000);
    t.ok(said(pair.a, 'Can only connect to data with current UUID='));
    t.match(pair.state(pair.b), /Secondary\/Unknown Outdated/);
    const op = pair.b.control({ command: 'primary', force: false });
    pair.run(3000);
    t.equal(pair.b.code(op), 'SS_NO_UP_TO_DATE_DISK', 'its data are old');
  }
});

t.test('opposite a kernel, which would take the role alone for a verdict, the Primary looks at its generations first', async (t) => {
  for (const isKnown of [true, false]) {
    const pair = synced();
    passesForKernel(pair.b);
    if (isKnown) detach(pair.a, true);
    pair.rest();
    pair.partition();
    pair.b.control({ command: 'outdate', volume: 0 });
    pair.rest();
    // A generation of its own, as it has lost its peer.
    if (!isKnown) detach(pair.a, true);
    pair.rest();
    const sent: number[] = [];
    pair.a.mangle = (stream, bytes) => {
      if (stream === STREAM.Data) sent.push(new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getUint16(6));
      return [{ stream, bytes }];
    };
    pair.heal();
    pair.run(3000);
    t.equal(pair.a.core.connections[0]!.isPeerGenuine, true);
    t.ok(sent.includes(COMMAND.P_SIZES), 'it has introduced itself');
    t.equal(sent.includes(COMMAND.P_STATE), isKnown, 'it says that it is Primary to whom has its data');
    t.equal(said(pair.a, 'Can only connect to data with current UUID='), !isKnown);
    t.match(pair.state(pair.b), isKnown ? /Secondary\/Primary UpToDate\/Diskless$/ : /Secondary\/Unknown Outdated/);
  }
});

t.test('two Primaries without a disk do not wait for each other', async (t) => {
  const pair = new Pair();
  pair.configure({ 'allow-two-primaries': true }, {});
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(5000);
  pair.b.control({ command: 'primary', force: false });
  pair.run(1000);
  for (const node of pair.nodes) passesForKernel(node);
  pair.partition();
  pair.rest();
  for (const node of pair.nodes) detach(node, true);
  pair.rest();
  pair.heal();
  pair.run(3000);
  for (const node of pair.nodes) t.match(pair.state(node), /^StandAlone\(Off\)/, 'neither has data for the other');
});

t.test('nor does a Secondary without a disk make it good: what was newer may have been on the disk that is gone', async (t) => {
  const pair = synced();
  pair.partition();
  pair.b.control({ command: 'outdate', volume: 0 });
  pair.a.submit(OP.Write, 160, block(8));
  pair.rest();
  pair.a.control({ command: 'secondary', openVolumes: [], force: false });
  detach(pair.a, true);
  pair.rest();
  pair.heal();
  pair.run(3000);
  t.match(pair.state(pair.b), /^StandAlone\(Off\) Secondary\/Unknown Outdated/, 'an administrator decides');
  pair.a.control({ command: 'attach', volume: 0, disk: pair.a.backing(pair.a.metaDataOnDisk()) });
  pair.b.control({ command: 'connect', connection: 0, tentative: false, discardMyData: false });
  pair.run(5000);
  t.equal(pair.state(pair.b), 'Connected(Established) Secondary/Secondary UpToDate/UpToDate');
  t.equal(pair.b.disk[160 * 512], 8);
});

t.test('but not where blocks were marked for it when the disk of the Primary was lost, though the generation is the same', async (t) => {
  const pair = synced();
  pair.partition();
  pair.a.submit(OP.Write, 800, block(1));
  pair.rest();
  // The resync ends at its target, whose last word never arrives; the source writes on in the same generation.
  const deliver = pair.a.deliver.bind(pair.a);
  const state = (node: MemoryNode) => node.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.replicationState;
  pair.a.deliver = (stream, bytes) => {
    if (state(pair.b) !== 'Established' || !state(pair.a).startsWith('Sync')) deliver(stream, bytes);
  };
  pair.heal();
  for (let i = 0; i < 100 && !(state(pair.b) === 'Established' && state(pair.a) === 'SyncSource'); i++) pair.run(10);
  t.strictSame([state(pair.a), state(pair.b)], ['SyncSource', 'Established']);
  pair.a.deliver = deliver;
  pair.partition();
  const slot = pair.a.submit(OP.Write, 1600, block(2));
  pair.rest();
  t.ok(pair.a.completions.some((done) => done.slot === slot && done.errno === 0));
  t.equal(current(pair.a), current(pair.b));
  detach(pair.a, true);
  pair.b.control({ command: 'outdate', volume: 0 });
  pair.rest();
  pair.heal();
  pair.run(3000);
  t.ok(said(pair.a, 'Can only connect to data with current UUID='));
  t.match(pair.state(pair.a), /^StandAlone\(Off\) Primary\/Unknown Diskless/);
  t.match(pair.state(pair.b), /Outdated/);
  pair.a.control({ command: 'attach', volume: 0, disk: pair.a.backing(pair.a.metaDataOnDisk()) });
  pair.a.control({ command: 'connect', connection: 0, tentative: false, discardMyData: false });
  pair.run(10_000);
  t.match(pair.state(pair.a), /^Connected\(Established\) Primary\/Secondary UpToDate\/UpToDate$/);
  t.equal(pair.b.disk[1600 * 512], 2);
});

t.test('a Primary without a disk keeps its size when its peer, whose disk has grown, is told to resize', async (t) => {
  const pair = synced();
  const { a, b } = pair;
  const size = b.core.snapshot(clock.now).volumes[0]!.sizeSectors;
  detach(a);
  pair.rest();
  b.grow(32768);
  const resize = { command: 'resize', volume: 0, size: 0, assumePeerHasSpace: false, assumeClean: false } as const;
  const operation = b.control(resize);
  pair.run(100);
  t.not(b.code(operation), 'pending');
  for (const node of pair.nodes) t.equal(node.core.snapshot(clock.now).volumes[0]!.sizeSectors, size, node.name);
  t.match(pair.state(a), /^Connected.*Diskless\/UpToDate/);
});

/** The disk of the Primary answers no meta-data writes any more, and is given up. */
function givenUp(pair: Pair): void {
  pair.run(3500);
  pair.a.diskReturns();
  pair.run(100);
  t.match(pair.state(pair.a), /Primary\/.* Diskless\//);
}

const WITH_TIMEOUT = { command: 'disk-options', volume: 0, options: { 'disk-timeout': 30 }, setDefaults: false } as const;

t.test('a resync began under a generation that the disk never got: its older super block is as good', async (t) => {
  const pair = synced();
  pair.a.control(WITH_TIMEOUT);
  const kept = pair.a.metaDataOnDisk();
  pair.a.holdMeta = true;
  pair.partition();
  const slot = pair.a.submit(OP.Write, 80, block(7));
  pair.heal();
  t.match(pair.state(pair.a), /SyncSource/);
  t.not(current(pair.a), kept.current_uuid & ~1n);
  givenUp(pair);
  t.match(pair.a.completions.at(-1), { slot, errno: 5 });
  const attach = pair.a.control({ command: 'attach', volume: 0, disk: pair.a.backing(kept) });
  pair.run(5000);
  t.equal(pair.a.code(attach), 'ok');
  t.match(pair.state(pair.a), /^Connected\(Established\) Primary\/Secondary UpToDate\/UpToDate/);
});

t.test('a promotion by force whose generation reached the disk late: the disk may come back with it', async (t) => {
  const pair = new Pair();
  pair.configure({ 'max-buffers': 20000 }, { 'resync-rate': 4_000_000, 'c-plan-ahead': 0 });
  pair.a.control(WITH_TIMEOUT);
  pair.rest();
  pair.a.holdMeta = true;
  const promotion = pair.a.control({ command: 'primary', force: true });
  pair.rest();
  t.equal(pair.a.code(promotion), 'pending', 'not before its generation is on disk');
  givenUp(pair);
  t.equal(pair.a.code(promotion), 'ok', 'Primary all the same');
  const late = pair.a.metaDataOnDisk();
  t.not(late.current_uuid, 4n);
  const attach = pair.a.control({ command: 'attach', volume: 0, disk: pair.a.backing(late) });
  pair.rest();
  t.equal(pair.a.code(attach), 'ok');
  pair.connect();
  pair.run(5000);
  t.match(pair.state(pair.a), /^Connected\(Established\) Primary\/Secondary UpToDate\/UpToDate/);
});

t.test('the generation of a peer with bad data is not that of a Primary that lost its disk', async (t) => {
  const pair = synced();
  const { a, b } = pair;
  for (const node of pair.nodes)
    node.control({ command: 'peer-device-options', connection: 0, volume: 0, options: { 'resync-rate': 40 }, setDefaults: false });
  const kept = current(a);
  b.control({ command: 'invalidate', volume: 0 });
  pair.run(200);
  t.match(pair.state(b), /SyncTarget/);
  a.control(WITH_TIMEOUT);
  a.holdWrites = true;
  a.submit(OP.Write, 80, block(7));
  pair.run(3500);
  a.holdWrites = false;
  a.diskReturns();
  pair.run(100);
  t.match(pair.state(a), /^Connected.* Primary\/Secondary Diskless\/Inconsistent/);
  t.not(current(b), kept);
  // It tells what it has.
  b.grow(32768);
  b.control({ command: 'resize', volume: 0, size: 0, assumePeerHasSpace: false, assumeClean: false });
  pair.run(100);
  t.equal(current(a), kept);
  const attach = a.control({ command: 'attach', volume: 0, disk: a.backing(a.metaDataOnDisk()) });
  pair.run(100);
  t.equal(a.code(attach), 'ok');
  t.match(pair.state(a), /SyncSource/);
});

t.test('nor is the generation of a peer with old data, whose resync had not begun', async (t) => {
  const pair = synced();
  const { a, b } = pair;
  a.control(WITH_TIMEOUT);
  pair.partition();
  const slot = a.submit(OP.Write, 80, block(7));
  b.control({ command: 'outdate', volume: 0 });
  b.control({ command: 'pause-sync', connection: 0, volume: 0 });
  pair.run(100);
  t.match(a.completions.at(-1), { slot, errno: 0 });
  const kept = current(a);
  // The peer is not told that it is sync target before the super block with the generation of the resync is on disk.
  a.holdMeta = true;
  pair.heal();
  pair.run(100);
  b.control({ command: 'resume-sync', connection: 0, volume: 0 });
  pair.run(100);
  t.match(pair.state(b), /WFSyncUUID\).* Outdated\//);
  givenUp(pair);
  t.match(pair.state(a), /^Connected\(Established\) Primary\/Secondary Diskless\/Consistent$/);
  t.not(current(b), kept);
  b.grow(32768);
  b.control({ command: 'resize', volume: 0, size: 0, assumePeerHasSpace: false, assumeClean: false });
  pair.run(100);
  t.equal(current(a), kept);
  a.holdMeta = false;
  const attach = a.control({ command: 'attach', volume: 0, disk: a.backing(a.metaDataOnDisk()) });
  pair.run(5000);
  t.equal(a.code(attach), 'ok');
  t.match(pair.state(a), /^Connected\(Established\) Primary\/Secondary UpToDate\/UpToDate$/);
  t.equal(b.disk[80 * 512], 7);
});

t.test('two nodes attach at once, and a state packet that was sent before crosses: nobody breaks the protocol', async (t) => {
  const pair = synced();
  pair.a.control({ command: 'secondary', openVolumes: [], force: false });
  pair.rest();
  for (const node of [pair.b, pair.a]) {
    detach(node);
    pair.rest();
  }
  const attach = (node: MemoryNode): number => node.control({ command: 'attach', volume: 0, disk: node.backing(node.metaDataOnDisk()) });
  attach(pair.a);
  pair.rest();
  t.match(pair.state(pair.a), /Negotiating\/Diskless$/);
  pair.a.hold(STREAM.Data);
  pair.a.control({ command: 'pause-sync', connection: 0, volume: 0 });
  pair.a.step();
  attach(pair.b);
  pair.b.step();
  pair.a.arrive(STREAM.Data);
  pair.run(3000);
  t.notOk(pair.nodes.some((node) => said(node, 'ProtocolError')));
  for (const node of pair.nodes) t.match(pair.state(node), /^Connected\(Established\) .* UpToDate\/UpToDate$/, node.name);
});

t.test('a disk attached after the peer was told that there is none, and before that one is seen, is compared with its data', async (t) => {
  const pair = synced();
  const { a, b } = pair;
  a.control({ command: 'secondary', openVolumes: [], force: false });
  detach(b);
  pair.partition();
  const late: Uint8Array[] = [];
  a.mangle = (stream, bytes) => {
    const isHandshake = new DataView(bytes.buffer, bytes.byteOffset).getUint16(4) === COMMAND.P_CONNECTION_FEATURES;
    if (!isHandshake) late.push(bytes);
    return isHandshake ? [{ stream, bytes }] : [];
  };
  pair.heal();
  t.match(pair.state(a), /^Connected\(Established\) .* UpToDate\/Diskless$/);
  t.ok(late.length > 0);
  b.control({ command: 'attach', volume: 0, disk: b.backing(b.metaDataOnDisk()) });
  a.control({ command: 'primary', force: false });
  pair.rest();
  a.submit(OP.Write, 800, block(7));
  a.mangle = undefined;
  b.deliver(STREAM.Data, Buffer.concat(late));
  pair.run(5000);
  for (const node of pair.nodes) t.match(pair.state(node), /^Connected\(Established\) .* UpToDate\/UpToDate$/, node.name);
  t.same(b.disk.subarray(800 * 512, 800 * 512 + 4096), block(7));
  t.equal(current(a), current(b));
});

t.test('a block that is marked while the end of the resync is being agreed on is copied, too', async (t) => {
  const pair = synced();
  const { a, b } = pair;
  detach(a);
  pair.rest();
  a.submit(OP.Write, 800, block(3));
  a.submit(OP.Write, 1600, block(4));
  pair.rest();
  const marks = ({ core }: MemoryNode): { bitmap: Bitmap; slot: number } => {
    const volume = core.volumes.get(0)!;
    return { bitmap: volume.disk!.bitmap, slot: volume.peerDevices[0]!.bitmapSlot };
  };
  // Its answer to the ping with which the target makes sure that it has the last word.
  b.hold(STREAM.Meta);
  a.control({ command: 'attach', volume: 0, disk: a.backing(a.metaDataOnDisk()) });
  const left = (): number => pair.nodes.reduce((sum, node) => sum + marks(node).bitmap.weight(marks(node).slot), 0);
  for (let i = 0; i < 40 && (!pair.state(a).includes('SyncTarget') || left() > 0); i++) pair.run(10);
  t.equal(left(), 0);
  t.match(pair.state(a), /SyncTarget/);
  // As a write does that only the peer has, from before the attach, when its epoch ends now.
  marks(a).bitmap.setRange(marks(a).slot, 1600, 4096);
  a.disk.fill(0, 1600 * 512, 1608 * 512);
  b.arrive(STREAM.Meta);
  pair.run(3000);
  for (const node of pair.nodes) t.match(pair.state(node), /^Connected\(Established\) .* UpToDate\/UpToDate$/, node.name);
  t.equal(left(), 0);
  t.same(a.disk.subarray(1600 * 512, 1608 * 512), block(4));
});

t.test('a new generation that fails with the disk is not what that disk comes back with, when its peer went on', async (t) => {
  const pair = synced();
  const before = current(pair.a);
  pair.a.failNextMeta = 5;
  pair.partition();
  t.match(pair.state(pair.a), /Primary\/Unknown Diskless\/DUnknown$/);
  t.equal(pair.a.metaDataOnDisk().current_uuid & ~1n, before, 'nobody has seen data of another one');
  pair.heal();
  pair.run(100);
  t.match(pair.state(pair.a), /^Connected.*Diskless\/UpToDate$/);
  t.not(current(pair.b), before);
  const slot = pair.a.submit(OP.Write, 80, block(7));
  pair.rest();
  t.match(pair.a.completions.at(-1), { slot, errno: 0 });
  const attach = pair.a.control({ command: 'attach', volume: 0, disk: pair.a.backing(pair.a.metaDataOnDisk()) });
  pair.run(5000);
  t.equal(pair.a.code(attach), 'ok');
  t.notOk(said(pair.b, 'Split-Brain'));
  t.match(pair.state(pair.a), /^Connected\(Established\) Primary\/Secondary UpToDate\/UpToDate/);
  t.equal(pair.a.disk[80 * 512], 7);
});

t.test('a disk on its way out has blocks that the peer has not: the peer is not taken for as good, and hears of nothing', async (t) => {
  const pair = synced();
  const before = current(pair.b);
  pair.a.holdWrites = true;
  pair.a.hold(STREAM.Data);
  pair.a.submit(OP.Write, 80, block(7));
  pair.a.core.settle(clock.now);
  pair.rest();
  pair.a.failNextMeta = 5;
  pair.partition();
  t.match(pair.state(pair.a), /Primary\/Unknown Failed\/DUnknown$/);
  pair.heal();
  pair.run(1000);
  t.ok(said(pair.a, 'Can only connect to data with current UUID='));
  t.equal(current(pair.b), before, 'it begins no generation for a Primary that turns it down');
  pair.a.holdWrites = false;
  for (const slot of pair.a.heldWrites.splice(0)) pair.a.core.diskDone(clock.now, slot, 0);
  pair.rest();
  t.match(pair.state(pair.a), /Diskless/);
  const attach = pair.a.control({ command: 'attach', volume: 0, disk: pair.a.backing(pair.a.metaDataOnDisk()) });
  pair.rest();
  t.equal(pair.a.code(attach), 'ok');
  pair.a.control({ command: 'connect', connection: 0, tentative: false, discardMyData: false });
  pair.run(5000);
  t.match(pair.state(pair.a), /^Connected\(Established\) Primary\/Secondary UpToDate\/UpToDate/);
  t.equal(pair.b.disk[80 * 512], 7);
});
