import { COMMAND, P_BLOCK_ACK } from '@udrbd/wire';
import t from 'tap';
import { STREAM } from './host.js';
import { OP } from './requests.js';
import { clock, network, Pair } from './testing/pair.js';

const block = (fill: number, bytes = 4096): Uint8Array => new Uint8Array(bytes).fill(fill);
const FAST = { 'resync-rate': 4_000_000, 'c-plan-ahead': 0 };

/** Both Primary/Secondary and in sync. */
function synced(net: Record<string, string | number | boolean> = {}): Pair {
  const pair = new Pair();
  pair.configure({ 'max-buffers': 20000, ...net }, FAST);
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(5000);
  return pair;
}

t.test('two fresh nodes connect and sync nothing', async (t) => {
  const pair = new Pair();
  pair.configure();
  pair.connect();
  t.equal(pair.state(pair.a), 'Connected(Established) Secondary/Secondary Inconsistent/Inconsistent');
  t.equal(pair.state(pair.b), 'Connected(Established) Secondary/Secondary Inconsistent/Inconsistent');
});

t.test('promotion without data is refused', async (t) => {
  const pair = new Pair();
  pair.configure();
  pair.connect();
  const op = pair.a.control({ command: 'primary', force: false });
  pair.rest();
  t.equal(pair.a.code(op), 'SS_NO_UP_TO_DATE_DISK');
});

t.test('promotion by force starts the initial sync, which ends with equal disks', async (t) => {
  const pair = new Pair();
  pair.configure({ 'max-buffers': 20000 }, FAST);
  pair.a.disk.fill(7, 0, 4096 * 100);
  pair.connect();
  const op = pair.a.control({ command: 'primary', force: true });
  pair.run(5000);
  t.equal(pair.a.code(op), 'ok');
  t.equal(pair.state(pair.a), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
  t.equal(pair.state(pair.b), 'Connected(Established) Secondary/Primary UpToDate/UpToDate');
  const size = pair.a.core.snapshot(clock.now).volumes[0]!.sizeSectors * 512;
  t.ok(Buffer.from(pair.a.disk.subarray(0, size)).equals(Buffer.from(pair.b.disk.subarray(0, size))));
  const [a, b] = pair.nodes.map((n) => n.core.snapshot(clock.now).volumes[0]!);
  t.equal(a!.currentUuid & ~1n, b!.currentUuid & ~1n);
  t.equal(pair.a.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.outOfSyncSectors, 0);
});

for (const protocol of ['A', 'B', 'C']) {
  t.test(`a write is on both disks with protocol ${protocol}`, async (t) => {
    const pair = synced({ protocol });
    const slot = pair.a.submit(OP.Write, 80, block(0x5a));
    pair.rest();
    t.match(pair.a.completions.at(-1), { slot, errno: 0 });
    t.equal(pair.b.disk[80 * 512], 0x5a);
    pair.run(100);
    t.equal(pair.a.core.requests.freeApplicationSlots, 64, 'the slot is free after the barrier ack');
    t.equal(pair.b.core.requests.freePeerSlots, 64);
  });
}

t.test('a second Primary is refused', async (t) => {
  const pair = synced();
  const op = pair.b.control({ command: 'primary', force: false });
  pair.run(2000);
  t.equal(pair.b.code(op), 'SS_TWO_PRIMARIES');
});

t.test('what was written during an outage is resynced, and nothing else', async (t) => {
  const pair = synced();
  pair.partition();
  pair.a.submit(OP.Write, 800, block(0x11));
  pair.a.submit(OP.Write, 1600, block(0x22, 8192));
  pair.rest();
  t.equal(pair.a.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.outOfSyncSectors, 24);
  const before = pair.b.core.snapshot(clock.now).volumes[0]!.writtenSectors;
  pair.heal();
  pair.run(5000);
  t.equal(pair.state(pair.a), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
  t.equal(pair.b.disk[800 * 512], 0x11);
  t.equal(pair.b.disk[1600 * 512], 0x22);
  t.equal(pair.b.core.snapshot(clock.now).volumes[0]!.writtenSectors - before, 24);
});

t.test('failover: the Secondary takes over, the old Primary follows', async (t) => {
  const pair = synced();
  pair.a.submit(OP.Write, 8, block(1));
  pair.rest();
  const down = pair.a.control({ command: 'secondary', openVolumes: [], force: false });
  pair.rest();
  const up = pair.b.control({ command: 'primary', force: false });
  pair.rest();
  t.equal(pair.a.code(down), 'ok');
  t.equal(pair.b.code(up), 'ok');
  t.equal(pair.state(pair.a), 'Connected(Established) Secondary/Primary UpToDate/UpToDate');
  pair.b.submit(OP.Write, 16, block(2));
  pair.rest();
  t.equal(pair.a.disk[16 * 512], 2);
});

t.test('disconnect is graceful and leaves the peer waiting', async (t) => {
  const pair = synced();
  const op = pair.b.control({ command: 'disconnect', connection: 0, force: false });
  pair.run(100);
  t.equal(pair.b.code(op), 'ok');
  t.match(pair.state(pair.b), /^StandAlone/);
  t.match(pair.state(pair.a), /^Connecting/);
  t.equal(pair.a.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.bitmapUuid !== 0n, true, 'the Primary began a new generation');
});

t.test('both nodes disconnect at the same moment', async (t) => {
  for (const first of ['a', 'b'] as const) {
    const pair = synced();
    const [one, other] = first === 'a' ? [pair.a, pair.b] : [pair.b, pair.a];
    // The requests cross: each is asked while it waits for an answer itself.
    for (const node of pair.nodes) node.hold(STREAM.Data);
    const operations = [one, other].map((node) => ({
      node,
      operation: node.control({ command: 'disconnect', connection: 0, force: false }),
    }));
    pair.rest();
    one.arrive(STREAM.Data);
    pair.rest();
    other.arrive(STREAM.Data);
    pair.run(1000);
    for (const { node, operation } of operations) {
      t.equal(node.code(operation), 'ok');
      t.match(pair.state(node), /^StandAlone/);
    }
  }
});

t.test('a local write error detaches, the application sees success', async (t) => {
  const pair = synced();
  pair.a.failNextWrite = 5;
  const slot = pair.a.submit(OP.Write, 240, block(9));
  pair.rest();
  t.match(pair.a.completions.at(-1), { slot, errno: 0 });
  t.match(pair.state(pair.a), /Primary\/Secondary Diskless\/UpToDate$/);
  const read = pair.a.submit(OP.Read, 240, 4096);
  pair.rest();
  t.match(pair.a.completions.at(-1), { slot: read, errno: 0 });
  t.equal(pair.a.buffers.get(read)![0], 9, 'read from the peer');
});

t.test('invalidate copies everything from the peer', async (t) => {
  const pair = synced();
  const op = pair.b.control({ command: 'invalidate', volume: 0 });
  pair.run(5000);
  t.equal(pair.b.code(op), 'ok');
  t.equal(pair.state(pair.b), 'Connected(Established) Secondary/Primary UpToDate/UpToDate');
});

t.test('authentication: equal secrets connect, different ones go StandAlone', async (t) => {
  const pair = new Pair();
  pair.configure({ 'cram-hmac-alg': 'sha1', 'shared-secret': 'S3cr3t' });
  pair.connect();
  t.match(pair.state(pair.a), /^Connected/);
  const other = new Pair();
  other.configure({ 'cram-hmac-alg': 'sha1', 'shared-secret': 'S3cr3t' });
  other.b.control({ command: 'net-options', connection: 0, options: { 'shared-secret': 'other' }, setDefaults: false });
  other.connect();
  t.match(other.state(other.a), /^Disconnecting/, 'each gives the other the time to see why');
  other.run(600);
  t.match(other.state(other.a), /^StandAlone/);
});

t.test('garbage drops the link and the node retries', async (t) => {
  const pair = synced();
  pair.a.deliver(
    0,
    Uint8Array.from({ length: 64 }, (_, i) => i),
  );
  pair.run(100);
  t.match(pair.state(pair.a), /^(Unconnected|Connecting)/);
  pair.run(5000);
  t.equal(pair.state(pair.a), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
});

t.test('a write that the disk still works on when the peer comes back is in the bitmap that it gets', async (t) => {
  const pair = synced();
  pair.partition();
  pair.a.holdWrites = true;
  pair.a.submit(OP.Write, 80, block(0x66));
  pair.rest();
  pair.heal();
  pair.run(50);
  t.match(pair.state(pair.b), /SyncTarget/, 'there is something to sync');
  pair.a.holdWrites = false;
  for (const slot of pair.a.heldWrites.splice(0)) pair.a.core.diskDone(clock.now, slot, 0);
  pair.run(5000);
  t.match(pair.state(pair.a), /Established.*UpToDate\/UpToDate/);
  t.equal(pair.b.disk[80 * 512], 0x66);
  t.equal(pair.a.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.outOfSyncSectors, 0);
});

t.test('a discard that fails is an error of the disk', async (t) => {
  const pair = synced();
  pair.a.failNextWrite = 5;
  const slot = pair.a.submit(OP.Discard, 80, 4096);
  pair.rest();
  t.match(pair.a.completions.at(-1), { slot, errno: 0 }, 'the peer has it');
  t.match(pair.state(pair.a), /Diskless\/UpToDate/);
});

t.test('a ping that overtakes the features is answered', async (t) => {
  const pair = new Pair();
  pair.configure();
  network.isDown = true;
  pair.connect();
  const { core } = pair.a;
  core.linkUp(clock.now, 0, true);
  const ping = Buffer.from('8620ec20000000130000000000000000', 'hex');
  t.equal(core.receive(clock.now, 0, 1, ping, 0, ping.length), ping.length);
  t.equal(core.outbox(0, 1).queued, 0, 'not before the dialect is known');
  const features = Buffer.alloc(80);
  features.write('83740267fffe0048000000640000000d00000065', 'hex');
  core.receive(clock.now, 0, 0, features, 0, features.length);
  t.equal(core.outbox(0, 1).queued, 1);
  t.ok(!pair.a.logs.some((line) => line.includes('magic')));
});

t.test('a new Primary writes when its super block says so', async (t) => {
  const pair = synced();
  pair.a.control({ command: 'secondary', openVolumes: [], force: false });
  pair.run(100);
  pair.a.holdMeta = true;
  pair.a.control({ command: 'primary', force: false });
  pair.rest();
  const slot = pair.a.submit(OP.Write, 80, block(0x31));
  pair.rest();
  t.not(pair.b.disk[80 * 512], 0x31, 'not yet');
  pair.a.holdMeta = false;
  for (const token of pair.a.heldMeta.splice(0)) pair.a.core.metaDone(clock.now, token, 0);
  pair.rest();
  t.match(pair.a.completions.at(-1), { slot, errno: 0 });
  t.equal(pair.b.disk[80 * 512], 0x31);
});

t.test('an attach whose meta-data cannot be written leaves no disk', async (t) => {
  const pair = new Pair();
  const { a } = pair;
  a.control({ command: 'new-minor', volume: 0, minor: 0, options: {} });
  a.control({ command: 'new-peer', connection: 0, peerNodeId: 1, options: { _name: 'b' } });
  a.failNextMeta = 5;
  const attach = a.control({ command: 'attach', volume: 0, disk: a.backing() });
  pair.rest();
  t.equal(a.code(attach), 'ERR_IO_MD_DISK');
  t.equal(a.core.snapshot(clock.now).volumes[0]!.diskState, 'Diskless');
  const again = a.control({ command: 'attach', volume: 0, disk: a.backing() });
  pair.rest();
  t.equal(a.code(again), 'ok');
});

t.test('the end of an epoch clears no bit of a block that was written again without the peer', async (t) => {
  const pair = synced();
  pair.partition();
  pair.a.submit(OP.Write, 80, block(1));
  pair.a.submit(OP.Write, 800, block(1));
  pair.rest();
  // A resync that asks for nothing.
  const options = { 'resync-rate': 1, 'c-plan-ahead': 0 };
  pair.b.control({ command: 'peer-device-options', connection: 0, volume: 0, options, setDefaults: false });
  pair.heal();
  pair.run(200);
  t.match(pair.state(pair.b), /SyncTarget/);
  pair.b.holdFlushes = true;
  pair.a.submit(OP.Write, 80, block(2));
  pair.rest();
  pair.b.control({ command: 'detach', volume: 0, force: true });
  pair.rest();
  pair.a.submit(OP.Write, 80, block(3));
  pair.rest();
  for (const connection of pair.b.heldFlushes.splice(0)) pair.b.core.epochFlushed(clock.now, connection, 0, 0);
  pair.run(100);
  t.equal(pair.a.core.requests.freeApplicationSlots, 64, 'all epochs are through');
  t.equal(pair.a.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.outOfSyncSectors, 16);
});

t.test('protocol A on a node without data of its own completes with the ack of the peer', async (t) => {
  const pair = synced({ protocol: 'A' });
  pair.a.control({ command: 'detach', volume: 0, force: false, diskless: false });
  pair.rest();
  const slot = pair.a.submit(OP.Write, 80, block(0x5a));
  while (pair.a.step());
  t.notOk(
    pair.a.completions.some((done) => done.slot === slot),
    'handed over is not enough',
  );
  pair.rest();
  t.match(pair.a.completions.at(-1), { slot, errno: 0 });
  t.equal(pair.b.disk[80 * 512], 0x5a);
});

t.test('a write that came too late for a disk is in the bitmap for the one attached in its place, though no ack has come', async (t) => {
  const pair = synced();
  const { a, b } = pair;
  b.hold(STREAM.Data);
  b.control({ command: 'detach', volume: 0, force: true });
  pair.rest();
  b.hold(STREAM.Meta);
  a.submit(OP.Write, 800, block(0x33));
  pair.rest();
  b.arrive(STREAM.Data);
  pair.rest();
  t.equal(pair.state(a), 'Connected(Established) Primary/Secondary UpToDate/Diskless');
  b.control({ command: 'attach', volume: 0, disk: b.backing(b.metaDataOnDisk()) });
  pair.rest();
  b.arrive(STREAM.Meta);
  pair.run(5000);
  t.equal(pair.state(a), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
  t.equal(b.disk[800 * 512], 0x33);
  for (const node of pair.nodes) t.equal(node.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.outOfSyncSectors, 0);
});

t.test('a target lets a resync begin when its super block is on the disk: the history of the source is short', async (t) => {
  const pair = synced();
  const { a, b } = pair;
  pair.partition();
  a.submit(OP.Write, 800, block(0x44));
  pair.rest();
  const bitmapUuid = () => a.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.bitmapUuid;
  const before = bitmapUuid();
  b.holdMeta = true;
  for (let outage = 0; outage < 4; outage++) {
    pair.heal();
    pair.run(2000);
    t.match(pair.state(a), /WFBitMapS/);
    pair.partition();
  }
  t.equal(bitmapUuid(), before);
  b.holdMeta = false;
  for (const token of b.heldMeta.splice(0)) b.core.metaDone(clock.now, token, 0);
  pair.heal();
  pair.run(5000);
  t.equal(pair.state(a), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
  t.equal(b.disk[800 * 512], 0x44);
});

const completionsOf = (pair: Pair, slot: number): readonly object[] => pair.a.completions.filter((completion) => completion.slot === slot);

t.test('an epoch that is acked before its writes are is an error of the peer, and the writes end', async (t) => {
  const pair = synced();
  const deliver = pair.a.deliver.bind(pair.a);
  let lost = 0;
  pair.a.deliver = (stream, bytes) => {
    const isWriteAck = bytes.length >= 16 && new DataView(bytes.buffer, bytes.byteOffset).getUint16(6) === COMMAND.P_WRITE_ACK;
    if (isWriteAck && lost++ === 0) deliver(stream, bytes.subarray(16 + P_BLOCK_ACK.size));
    else deliver(stream, bytes);
  };
  const slot = pair.a.submit(OP.Write, 8, block(5));
  pair.rest();
  // One epoch with the first; when it has ended a barrier follows.
  pair.a.submit(OP.Write, 800, block(6));
  pair.run(5000);
  t.equal(lost, 2);
  t.ok(pair.a.logs.some((line) => line.includes('BAD! BarrierAck') && line.endsWith('but a write of it has no ack!')));
  t.strictSame(completionsOf(pair, slot), [{ slot, errno: 0 }]);
  t.equal(pair.a.core.requests.freeApplicationSlots, pair.a.core.requests.applicationSlots);
});

t.test('a resync write that waits for the disk does not overwrite what the Primary wrote later', async (t) => {
  const pair = synced({ protocol: 'A' });
  // Epochs do not wait for each other.
  const options = { 'disk-barrier': false, 'disk-flushes': false, 'disk-drain': false };
  for (const node of pair.nodes) node.control({ command: 'disk-options', volume: 0, options, setDefaults: false });
  pair.partition();
  pair.a.submit(OP.Write, 0, block(1, 8 * 4096));
  pair.rest();
  pair.b.control({ command: 'pause-sync', connection: 0, volume: 0 });
  pair.heal();
  pair.run(100);
  pair.b.holdWrites = true;
  pair.a.submit(OP.Write, 0, block(2));
  pair.rest();
  t.equal(pair.b.heldWrites.length, 1);
  const deliver = pair.a.deliver.bind(pair.a);
  let requests = 0;
  pair.a.deliver = (stream, bytes) => {
    if (bytes.length >= 16 && new DataView(bytes.buffer, bytes.byteOffset).getUint16(6) === COMMAND.P_RS_DATA_REQUEST) requests++;
    deliver(stream, bytes);
  };
  pair.b.control({ command: 'resume-sync', connection: 0, volume: 0 });
  pair.run(1000);
  t.equal(requests, 1, 'and is not asked for again meanwhile');
  pair.a.submit(OP.Write, 16, block(3));
  pair.rest();
  pair.b.holdWrites = false;
  for (const slot of pair.b.heldWrites.splice(0)) pair.b.core.diskDone(clock.now, slot, 0);
  pair.run(5000);
  t.match(pair.state(pair.b), /Established.*UpToDate\/UpToDate/);
  t.equal(pair.b.disk[16 * 512], 3);
  t.strictSame(pair.b.disk.subarray(0, 8 * 4096), pair.a.disk.subarray(0, 8 * 4096));
});

t.test('a disk that never held data is not called Outdated while it is attached', async (t) => {
  const { a } = new Pair();
  a.control({ command: 'new-minor', volume: 0, minor: 0, options: {} });
  a.holdMeta = true;
  const attach = a.control({ command: 'attach', volume: 0, disk: a.backing() });
  while (a.step());
  const outdate = a.control({ command: 'outdate', volume: 0 });
  while (a.step());
  t.strictSame([a.code(attach), a.code(outdate)], ['pending', 'pending']);
  a.holdMeta = false;
  for (const token of a.heldMeta.splice(0)) a.core.metaDone(clock.now, token, 0);
  while (a.step());
  clock.now += 100;
  a.core.tick(clock.now);
  while (a.step());
  t.strictSame([a.code(attach), a.code(outdate)], ['ok', 'SS_LOWER_THAN_OUTDATED']);
  t.equal(a.core.snapshot(clock.now).volumes[0]!.diskState, 'Inconsistent');
});
