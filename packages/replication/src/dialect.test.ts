// Protocol versions before 101: what is sent then, what is not, and who is not let in.
import { COMMAND, decodeHeader, HEADER_KIND, PACKETS, PacketHeader, packetNameOf, putConnectionFeatures, putHeader } from '@udrbd/wire';
import t, { type Test } from 'tap';
import { STREAM } from './host.js';
import { OP } from './requests.js';
import { clock, type MemoryNode, network, Pair } from './testing/pair.js';

const KIB = 1024;

interface Sent {
  readonly name: string;
  readonly bytes: number;
  readonly magic: number;
  readonly flags: number;
}

/** Every packet of a node from now on. */
function packetsOf(node: MemoryNode, apv: number): Sent[] {
  const sent: Sent[] = [];
  const header = new PacketHeader();
  const kind = apv >= 100 ? HEADER_KIND.H100 : HEADER_KIND.H95;
  node.onSend = (_stream, view) => {
    if (decodeHeader(view, 0, view.byteLength, kind, header) !== 0) throw new Error('not a packet of this version');
    const isData = header.command === COMMAND.P_DATA;
    const flags = isData ? view.getUint32(header.headerBytes + 20) : 0;
    const bytes = header.length - (isData ? 24 : 0);
    sent.push({ name: packetNameOf(header.command)!, bytes, magic: view.getUint32(0), flags });
  };
  return sent;
}

const limited = (max: number, net: Record<string, string | number | boolean> = {}, sectors?: number): Pair => {
  const pair = new Pair(sectors, { min: 95, max });
  pair.configure(net);
  return pair;
};

function synced(max: number, net: Record<string, string | number | boolean> = {}): Pair {
  const pair = limited(max, { protocol: 'C', ...net });
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(30_000);
  return pair;
}

const equal = (t: Test, { a, b }: Pair): void => {
  const end = a.backing(a.metaDataOnDisk()).usableSectors * 512;
  t.ok(Buffer.from(a.disk.subarray(0, end)).equals(b.disk.subarray(0, end)), 'equal disks');
};

for (const version of [95, 96, 97, 99, 100]) {
  t.test(`version ${version}: full sync, writes, bitmap resyncs`, async (t) => {
    const pair = synced(version);
    const { a, b } = pair;
    t.equal(a.core.snapshot(clock.now).connections[0]!.agreedProtocolVersion, version);
    t.equal(pair.state(a), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
    const data = new Uint8Array(1024 * KIB).map((_, i) => i ^ (i >> 8));
    const sent = packetsOf(a, version);
    const slot = a.submit(OP.Write, 8, data);
    pair.run(100);
    t.strictSame(a.completions.pop(), { slot, errno: 0 });
    const parts = sent.filter(({ name }) => name === 'P_DATA');
    t.strictSame(
      parts.map(({ bytes }) => bytes / KIB),
      version < 100 ? [128, 128, 128, 128, 128, 128, 128, 128] : [1024],
      'in parts below 100',
    );
    t.strictSame(
      new Set(parts.map(({ magic }) => magic >>> 16)),
      new Set([version < 100 ? 0x835a : 0x8620]),
      'the header of large packets',
    );
    t.strictSame(new Set(parts.map(({ flags }) => flags)), new Set([version < 100 ? 0 : 256]), 'ack flags from 100 on');
    equal(t, pair);
    t.equal(a.core.connections[0]!.logHead, -1, 'the epoch was acked');

    a.onSend = () => {};
    pair.partition();
    a.submit(OP.Write, 4096, data.subarray(0, 300 * KIB));
    pair.run(100);
    pair.heal();
    pair.run(10_000);
    t.match(b.logs.join('\n'), /Began resync as SyncTarget \(will sync 300 KB/);
    t.equal(pair.state(b), 'Connected(Established) Secondary/Primary UpToDate/UpToDate');
    equal(t, pair);
  });

  t.test(`version ${version}: a diskless Primary reads and writes in parts`, async (t) => {
    const pair = synced(version);
    const { a } = pair;
    const data = new Uint8Array(700 * KIB).map((_, i) => i ^ (i >> 7));
    a.submit(OP.Write, 16, data);
    pair.run(100);
    a.control({ command: 'detach', volume: 0, force: false });
    pair.run(100);
    const sent = packetsOf(a, version);
    const slot = a.submit(OP.Read, 16, data.length);
    pair.run(100);
    t.strictSame(a.completions.pop(), { slot, errno: 0 });
    t.ok(Buffer.from(a.buffers.get(slot)!).equals(data));
    t.equal(sent.filter(({ name }) => name === 'P_DATA_REQUEST').length, version < 100 ? 6 : 1);
  });

  t.test(`version ${version}: disconnect by either node`, async (t) => {
    const pair = synced(version);
    for (const node of pair.nodes) {
      const sent = packetsOf(node, version);
      const operation = node.control({ command: 'disconnect', connection: 0, force: false });
      pair.run(3000);
      t.equal(node.code(operation), 'ok');
      t.match(pair.state(node), /^StandAlone/);
      t.ok(sent.some(({ name }) => name === (version < 100 ? 'P_STATE_CHG_REQ' : 'P_CONN_ST_CHG_REQ')));
      node.onSend = () => {};
      node.control({ command: 'connect', connection: 0, tentative: false, discardMyData: false });
      pair.run(3000);
      t.match(pair.state(node), /^Connected/);
    }
  });

  t.test(`version ${version}: nothing is sent that it does not know`, async (t) => {
    const pair = synced(version, { 'verify-alg': 'crc32c', 'csums-alg': 'md5' });
    const all = pair.nodes.map((node) => packetsOf(node, version));
    pair.a.submit(OP.Discard, 64, 64 * KIB);
    pair.a.submit(OP.WriteZeroes, 512, 64 * KIB);
    pair.a.submit(OP.Write, 1024, new Uint8Array(512));
    pair.run(100);
    pair.a.control({ command: 'net-options', connection: 0, options: { 'csums-alg': 'sha1' }, setDefaults: false });
    const verify = pair.a.control({ command: 'verify', connection: 0, volume: 0, start: 0, stop: 4096 });
    pair.run(5000);
    t.equal(pair.a.code(verify), 'ok');
    pair.b.control({ command: 'invalidate', volume: 0 });
    pair.run(10_000);
    for (const sent of all) {
      t.ok(sent.length > 10);
      for (const { name } of sent) {
        const { since, until } = PACKETS[name as keyof typeof PACKETS];
        if (version < since || version > until) t.fail(`${name} at ${version}`);
      }
    }
    equal(t, pair);
  });

  t.test(`version ${version}: network options that the peer has to be told`, async (t) => {
    const { a } = synced(version);
    const change = (options: Record<string, string | boolean>): string => {
      const operation = a.control({ command: 'net-options', connection: 0, options, setDefaults: false });
      a.step();
      return a.code(operation);
    };
    t.equal(change({ protocol: 'A' }), version < 100 ? 'ERR_NEED_APV_100' : 'ok');
    t.equal(change({ 'verify-alg': 'sha1' }), 'ok');
  });
}

for (const protocol of ['A', 'B'] as const) {
  t.test(`protocol ${protocol} at 97`, async (t) => {
    const pair = synced(97, { protocol });
    const slot = pair.a.submit(OP.Write, 8, new Uint8Array(200 * KIB).fill(7));
    pair.run(100);
    t.strictSame(pair.a.completions.pop(), { slot, errno: 0 });
    t.equal(pair.a.core.connections[0]!.logHead, -1);
    equal(t, pair);
    const refused = pair.a.submit(OP.Write, 8, new Uint8Array(200 * KIB).fill(8));
    pair.b.failNextWrite = 5;
    pair.run(100);
    t.strictSame(pair.a.completions.pop(), { slot: refused, errno: 0 });
    t.equal(pair.a.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.outOfSyncSectors, 400, 'a part that failed marks all of it');
  });
}

t.test('at 95 a Primary waits while the bitmaps are exchanged', async (t) => {
  for (const version of [95, 96]) {
    const pair = synced(version);
    const { a } = pair;
    pair.partition();
    a.submit(OP.Write, 8, new Uint8Array(4096).fill(1));
    pair.run(100);
    a.completions.length = 0;
    network.isDown = false;
    a.connect();
    for (let i = 0; !pair.state(a).includes('WFBitMapS'); i++) {
      if (i > 1000) throw new Error(pair.state(a));
      pair.nodes[i % 2]!.step();
    }
    const sent = packetsOf(a, version);
    a.submit(OP.Write, 80, new Uint8Array(4096).fill(2));
    a.step();
    if (version === 95) t.equal(a.completions.length, 0);
    t.equal(
      sent.some(({ name }) => name === 'P_OUT_OF_SYNC'),
      version > 95,
    );
    pair.run(10_000);
    t.equal(a.completions.length, 1);
    t.equal(pair.state(a), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
    equal(t, pair);
  }
});

/** A peer's P_CONNECTION_FEATURES. */
function features(protocolMin: number, protocolMax: number): Uint8Array {
  const bytes = new Uint8Array(80);
  const view = new DataView(bytes.buffer);
  putHeader(view, 0, HEADER_KIND.H80, 0, COMMAND.P_CONNECTION_FEATURES, 72);
  putConnectionFeatures(view, 8, { protocolMin, protocolMax, features: 0 });
  return bytes;
}

t.test('a peer below 95 is refused for good', async (t) => {
  for (const [min, max] of [
    [86, 94],
    [86, 0],
    [110, 124],
  ] as const) {
    const pair = limited(101);
    const { a } = pair;
    a.control({ command: 'connect', connection: 0, tentative: false, discardMyData: false });
    pair.rest();
    a.core.linkUp(clock.now, 0, true);
    a.linked = true;
    a.deliver(STREAM.Data, features(min, max));
    pair.run(2000);
    t.match(a.logs.join('\n'), `incompatible DRBD dialects: I support 95-101, peer supports ${min}-${max === 0 ? min : max}`);
    t.match(pair.state(a), /^StandAlone/);
  }
});

t.test('a peer that knows no discards', async (t) => {
  const pair = synced(97);
  const { a } = pair;
  a.core.connections[0]!.features = 0;
  const slot = a.submit(OP.Discard, 64, 65536);
  pair.run(100);
  t.strictSame(a.completions.pop(), { slot, errno: 95 });
  // One that was under way already ends the link, and comes with the resync.
  pair.partition();
  a.holdMeta = true;
  const early = a.submit(OP.WriteZeroes, 64, 65536);
  pair.rest();
  pair.heal();
  a.core.connections[0]!.features = 0;
  a.holdMeta = false;
  for (const token of a.heldMeta.splice(0)) a.core.metaDone(clock.now, token, 0);
  pair.run(10_000);
  t.strictSame(a.completions.pop(), { slot: early, errno: 0 });
  t.equal(pair.state(a), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
  equal(t, pair);
});

t.test('what needs 100 is refused below', async (t) => {
  const refused = (pair: Pair): string => {
    pair.connect();
    pair.run(2000);
    t.match(pair.state(pair.a), /^StandAlone/);
    t.match(pair.state(pair.b), /^StandAlone/);
    return pair.a.logs.join('\n');
  };
  t.match(
    refused(limited(97, { 'allow-two-primaries': true, protocol: 'C' })),
    /allow-two-primaries needs protocol version 100, the peer's is 97/,
  );
  const pair = limited(99);
  for (const node of pair.nodes) node.control({ command: 'new-minor', volume: 1, minor: 8, options: {} });
  pair.rest();
  t.match(refused(pair), /the peer's protocol version 99 knows volume 0 only: volume 1 needs 100/);

  const connected = synced(96);
  const later = connected.a.control({ command: 'new-minor', volume: 1, minor: 8, options: {} });
  connected.rest();
  t.equal(connected.a.code(later), 'ERR_INVALID_REQUEST');
});

t.test('a ping that is ahead of the features is answered in the header of the peer', async (t) => {
  const pair = limited(97);
  const { a } = pair;
  a.control({ command: 'connect', connection: 0, tentative: false, discardMyData: false });
  pair.rest();
  a.peer = undefined;
  a.core.linkUp(clock.now, 0, true);
  a.deliver(STREAM.Meta, Uint8Array.of(0x83, 0x74, 0x02, 0x67, 0, 0x13, 0, 0));
  a.deliver(STREAM.Data, features(86, 97));
  a.core.settle(clock.now);
  const box = a.core.outbox(0, STREAM.Meta);
  t.strictSame([...box.arena.subarray(0, 8)], [0x83, 0x74, 0x02, 0x67, 0, 0x14, 0, 0]);
});
