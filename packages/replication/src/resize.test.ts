import { decodeSuperblock, MDF, MDF_PEER, type MetaData, placementOf } from '@udrbd/metadata';
import t from 'tap';
import { STREAM } from './host.js';
import { OP } from './requests.js';
import { prettySize } from './resize.js';
import { clock, type MemoryNode, Pair } from './testing/pair.js';

const FAST = { 'resync-rate': 4_000_000, 'c-plan-ahead': 0 };
const SMALL = 16_384;
const LARGE = 65_536;

function synced(protocol = 'C', net: Record<string, boolean> = {}): Pair {
  const pair = new Pair(SMALL);
  pair.configure({ 'max-buffers': 20000, protocol, ...net }, FAST);
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(5000);
  return pair;
}

const size = (node: MemoryNode): number => node.core.snapshot(clock.now).volumes[0]!.sizeSectors;
const oos = (node: MemoryNode): number => node.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.outOfSyncSectors;

interface Wish {
  readonly size?: number;
  readonly assumePeerHasSpace?: boolean;
  readonly assumeClean?: boolean;
  readonly alStripes?: number;
  readonly alStripeSizeKiB?: number;
}
const wish = ({ size: wanted = 0, assumePeerHasSpace = false, assumeClean = false, ...rest }: Wish = {}) =>
  ({ command: 'resize', volume: 0, size: wanted, assumePeerHasSpace, assumeClean, ...rest }) as const;

function command(pair: Pair, node: MemoryNode, given: Wish = {}): string {
  const op = node.control(wish(given));
  pair.rest();
  return node.code(op);
}

/** The super block at the end of the device, and the number of bits set in the bitmap it points at. */
function onDisk({ disk }: MemoryNode): { md: MetaData; bits: number } {
  const at = disk.length - 4096;
  const md = decodeSuperblock('v09', disk.subarray(at));
  if (!md.ok) throw new Error(md.error.reason);
  const place = placementOf(md.value, 'internal', at);
  let bits = 0;
  for (const byte of disk.subarray(place.bmOffsetBytes, place.bmOffsetBytes + place.bmSizeBytes)) {
    for (let bit = 0; bit < 8; bit++) bits += (byte >> bit) & 1;
  }
  return { md: md.value, bits };
}

t.test('both grown: one command is enough, and the new blocks are copied from the Primary', async (t) => {
  for (const asked of ['a', 'b'] as const) {
    const pair = synced();
    const before = size(pair.a);
    pair.a.grow(LARGE, 0x41);
    pair.b.grow(LARGE, 0x42);
    t.equal(command(pair, pair[asked]), 'ok');
    pair.run(5000);
    t.equal(pair.state(pair.a), 'Connected(Established) Primary/Secondary UpToDate/UpToDate', `asked on ${asked}`);
    t.equal(size(pair.a), size(pair.b));
    t.ok(size(pair.a) > before * 3);
    const end = size(pair.a) * 512;
    t.ok(Buffer.from(pair.a.disk.subarray(0, end)).equals(Buffer.from(pair.b.disk.subarray(0, end))), 'equal disks');
    t.equal(oos(pair.a), 0);
    for (const node of pair.nodes) t.match(onDisk(node), { md: { effective_size: size(pair.a) }, bits: 0 });
    t.ok(pair.b.logs.some((line) => line.includes('Resync of new storage after online grow')));
    const slot = pair.a.submit(OP.Write, size(pair.a) - 8, new Uint8Array(4096).fill(3));
    pair.rest();
    t.match(pair.a.completions.at(-1), { slot, errno: 0 });
    t.equal(pair.b.disk[end - 1], 3);
  }
});

t.test('only the own device grown: the meta-data move, the size stays', async (t) => {
  const pair = synced();
  const before = size(pair.a);
  pair.a.submit(OP.Write, 8, new Uint8Array(4096).fill(1));
  pair.rest();
  pair.a.grow(LARGE);
  t.equal(command(pair, pair.a), 'ok');
  pair.run(1000);
  t.equal(size(pair.a), before);
  t.equal(onDisk(pair.a).md.effective_size, before);
  t.ok(pair.a.logs.some((line) => line.endsWith('Writing the whole bitmap, md moved')));
  pair.b.grow(LARGE);
  t.equal(command(pair, pair.a), 'ok');
  pair.run(5000);
  t.ok(size(pair.b) > before * 3);
  t.equal(pair.state(pair.b), 'Connected(Established) Secondary/Primary UpToDate/UpToDate');
});

t.test('--assume-clean copies nothing', async (t) => {
  const pair = synced();
  for (const node of pair.nodes) node.grow(LARGE);
  const { writtenSectors } = pair.b.core.snapshot(clock.now).volumes[0]!;
  t.equal(command(pair, pair.a, { assumeClean: true }), 'ok');
  pair.run(1000);
  t.equal(size(pair.b), size(pair.a));
  t.equal(pair.b.core.snapshot(clock.now).volumes[0]!.writtenSectors, writtenSectors);
  t.equal(pair.state(pair.a), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
  t.ok(pair.a.logs.some((line) => line.endsWith('Resync of new storage suppressed with --assume-clean')));
});

t.test('an explicit size shrinks both at once, and grows again with a resync', async (t) => {
  const pair = synced();
  const full = size(pair.a);
  t.equal(command(pair, pair.a, { size: 8000 }), 'ok');
  pair.run(1000);
  t.equal(size(pair.a), 8000);
  t.equal(size(pair.b), 8000);
  t.equal(pair.b.core.snapshot(clock.now).volumes[0]!.diskOptions.size, 8000);
  for (const node of pair.nodes) t.equal(onDisk(node).md.effective_size, 8000);
  const slot = pair.a.submit(OP.Write, 8000, new Uint8Array(4096));
  pair.rest();
  t.match(pair.a.completions.at(-1), { slot, errno: 22 });
  t.equal(command(pair, pair.a), 'ok');
  pair.run(5000);
  t.equal(size(pair.a), full);
  t.equal(pair.state(pair.b), 'Connected(Established) Secondary/Primary UpToDate/UpToDate');
});

t.test('a size larger than what is there is logged, and all there is taken', async (t) => {
  const pair = synced();
  const full = size(pair.a);
  t.equal(command(pair, pair.a, { size: 100_000 }), 'ok');
  pair.run(1000);
  t.equal(size(pair.a), full);
  t.ok(pair.a.logs.some((line) => line.includes('Requested disk size is too big (50000 > ')));
});

t.test('refusals', async (t) => {
  const pair = synced();
  t.equal(command(pair, pair.a, { alStripes: 1024, alStripeSizeKiB: 16_777_216 }), 'ERR_MD_LAYOUT_TOO_BIG');
  t.equal(command(pair, pair.a, { alStripes: 1, alStripeSizeKiB: 4 }), 'ERR_MD_LAYOUT_TOO_SMALL');
  t.equal(command(pair, pair.a, { alStripes: 2, alStripeSizeKiB: 64 }), 'ERR_IMPLICIT_SHRINK');
  const down = pair.a.control({ command: 'secondary', openVolumes: [], force: false });
  pair.rest();
  t.equal(pair.a.code(down), 'ok');
  t.equal(command(pair, pair.a), 'ERR_NO_PRIMARY');
  pair.a.control({ command: 'detach', volume: 0, force: false });
  pair.rest();
  t.equal(command(pair, pair.a), 'ERR_NO_DISK');
  const slow = new Pair(SMALL);
  slow.configure({}, { 'resync-rate': 1000, 'c-plan-ahead': 0 });
  slow.connect();
  slow.a.control({ command: 'primary', force: true });
  slow.run(300);
  t.match(slow.state(slow.a), /SyncSource/);
  t.equal(command(slow, slow.a), 'ERR_RESIZE_RESYNC');
});

t.test('alone: only by force, and the peer follows when it is back', async (t) => {
  const pair = synced();
  const before = size(pair.a);
  pair.partition();
  for (const node of pair.nodes) node.grow(LARGE, 0x77);
  t.equal(command(pair, pair.a), 'ok');
  t.equal(size(pair.a), before);
  t.equal(command(pair, pair.a, { assumePeerHasSpace: true }), 'ok');
  t.ok(size(pair.a) > before * 3);
  t.ok(oos(pair.a) >= size(pair.a) - before);
  const disconnect = pair.b.control({ command: 'disconnect', connection: 0, force: false });
  pair.rest();
  t.equal(pair.b.code(disconnect), 'ok');
  t.equal(command(pair, pair.b), 'ok', 'its meta-data move');
  pair.b.control({ command: 'connect', connection: 0, tentative: false, discardMyData: false });
  pair.rest();
  pair.heal();
  pair.run(8000);
  t.equal(pair.state(pair.b), 'Connected(Established) Secondary/Primary UpToDate/UpToDate');
  t.equal(size(pair.b), size(pair.a));
  const end = size(pair.a) * 512;
  t.ok(Buffer.from(pair.a.disk.subarray(0, end)).equals(Buffer.from(pair.b.disk.subarray(0, end))));
});

t.test('another layout of the activity log', async (t) => {
  const pair = synced();
  for (const node of pair.nodes) node.grow(LARGE);
  t.equal(command(pair, pair.a, { alStripes: 2, alStripeSizeKiB: 64 }), 'ok');
  pair.run(5000);
  t.match(onDisk(pair.a).md, { al_stripes: 2, al_stripe_size_4k: 16 });
  t.match(onDisk(pair.b).md, { al_stripes: 1, al_stripe_size_4k: 8 });
  t.equal(size(pair.a), size(pair.b));
  t.ok(pair.a.logs.some((line) => line.endsWith('Changed AL layout to al-stripes = 2, al-stripe-size-kB = 64')));
  const slot = pair.a.submit(OP.Write, 40_000, new Uint8Array(4096).fill(9));
  pair.rest();
  t.match(pair.a.completions.at(-1), { slot, errno: 0 });
  pair.partition();
  t.equal(command(pair, pair.a, { alStripes: 1, alStripeSizeKiB: 32 }), 'ERR_MD_LAYOUT_CONNECTED');
  t.equal(command(pair, pair.a, { alStripes: 1, alStripeSizeKiB: 32, assumePeerHasSpace: true }), 'ok');
  t.match(onDisk(pair.a).md, { al_stripes: 1, al_stripe_size_4k: 8 });
});

t.test('whatever has been written when the power goes, the meta-data are the old ones, the new ones, or demand a full sync', async (t) => {
  for (const grown of [LARGE, SMALL + 8, SMALL + 72, SMALL + 80, SMALL + 4096]) {
    const pair = synced();
    pair.partition();
    pair.a.submit(OP.Write, 800, new Uint8Array(4096).fill(1));
    pair.rest();
    const usable = size(pair.a);
    const superblocks = [pair.a.disk.length - 4096, grown * 512 - 4096];
    pair.a.grow(grown, 0xee);
    pair.a.control(wish({ assumePeerHasSpace: true }));
    const seen = new Set<string>();
    pair.a.holdMeta = true;
    for (let i = 0; i < 40; i++) {
      pair.a.step();
      seen.add(verdict(pair.a.disk, superblocks, usable));
      const token = pair.a.heldMeta.shift();
      if (token !== undefined) pair.a.core.metaDone(clock.now, token, 0);
    }
    t.notOk(seen.has('broken'), `${grown}: ${[...seen].join()}`);
    t.ok(seen.has('new'));
    t.equal(seen.has('full sync'), grown - SMALL <= 72, 'only where both places overlap');
  }
});

/** What an attach would find: at the end of the device, or else where it was before. */
function verdict(disk: Uint8Array, [old, fresh]: readonly number[], oldSize: number): string {
  for (const at of [fresh!, old!]) {
    const md = decodeSuperblock('v09', disk.subarray(at, at + 4096));
    if (!md.ok || md.value.magic === 0) continue;
    const isFull = md.value.peers.some((peer) => peer.bitmap_index >= 0 && (peer.flags & MDF_PEER.FULL_SYNC) !== 0);
    if (isFull && (md.value.flags & MDF.AL_DISABLED) !== 0) return 'full sync';
    const place = placementOf(md.value, 'internal', at);
    const bit = (sector: number): boolean =>
      ((disk[place.bmOffsetBytes + Math.floor(sector / 64)]! >> (Math.floor(sector / 8) % 8)) & 1) === 1;
    const blocks = Math.floor(md.value.effective_size / 8);
    // Its own write and everything that is new are marked, what lies between is not.
    const isGood = at === old || (bit(800) && !bit(1600) && (blocks * 8 <= oldSize || bit((blocks - 1) * 8)));
    return isGood ? (at === fresh ? 'new' : 'old') : 'broken';
  }
  return 'broken';
}

t.test('an error while the meta-data move gives the disk up', async (t) => {
  const pair = synced();
  for (const node of pair.nodes) node.grow(LARGE);
  pair.a.failNextMeta = 5;
  t.equal(command(pair, pair.a), 'ERR_IO_MD_DISK');
  pair.run(1000);
  t.match(pair.state(pair.a), /Primary\/Secondary Diskless\/UpToDate/);
  const slot = pair.a.submit(OP.Write, 80, new Uint8Array(4096).fill(8));
  pair.rest();
  t.match(pair.a.completions.at(-1), { slot, errno: 0 });
});

t.test('whichever write of the move fails, the meta-data are the old ones, the new ones, or demand a full sync', async (t) => {
  for (const grown of [LARGE, SMALL + 8, SMALL + 72, SMALL + 80]) {
    let isThrough = false;
    for (let failing = 0; !isThrough; failing++) {
      const pair = synced();
      pair.partition();
      pair.a.submit(OP.Write, 800, new Uint8Array(4096).fill(1));
      pair.rest();
      const usable = size(pair.a);
      const superblocks = [pair.a.disk.length - 4096, grown * 512 - 4096];
      pair.a.grow(grown, 0xee);
      const resize = pair.a.control(wish({ assumePeerHasSpace: true }));
      pair.a.holdMeta = true;
      for (let i = 0, n = 0; i < 40; i++) {
        pair.a.step();
        const token = pair.a.heldMeta.shift();
        if (token !== undefined) pair.a.core.metaDone(clock.now, token, n++ === failing ? 5 : 0);
      }
      isThrough = pair.a.code(resize) === 'ok';
      if (!isThrough) t.match(pair.state(pair.a), /Diskless/);
      t.not(verdict(pair.a.disk, superblocks, usable), 'broken', `${grown}: write ${failing}`);
    }
  }
});

t.test('a peer does not become smaller than a Primary without a disk has been told', async (t) => {
  const pair = synced();
  pair.a.control({ command: 'detach', volume: 0, force: false });
  pair.rest();
  pair.a.grow(LARGE);
  pair.b.grow(LARGE);
  const before = size(pair.b);
  t.equal(command(pair, pair.b, { size: 8000 }), 'SS_DEVICE_IN_USE', 'an application may use what is behind');
  pair.run(500);
  for (const node of pair.nodes) t.equal(size(node), before);
  t.match(pair.state(pair.a), /^Connected\(Established\) Primary\/Secondary Diskless\/UpToDate/);
});

/** Both Primary; their devices have become larger, and what is new differs. */
function grownPrimaries(): Pair {
  const pair = synced('C', { 'allow-two-primaries': true });
  const up = pair.b.control({ command: 'primary', force: false });
  pair.rest();
  t.equal(pair.b.code(up), 'ok');
  pair.a.grow(LARGE, 0x41);
  pair.b.grow(LARGE, 0x42);
  return pair;
}

t.test('two Primaries grow: what is new is copied from the node that decides about conflicts', async (t) => {
  for (const asked of ['a', 'b'] as const) {
    const pair = grownPrimaries();
    const before = size(pair.a);
    const isDecider = pair.a.core.connections[0]!.resolveConflicts;
    t.equal(command(pair, pair[asked]), 'ok');
    pair.run(5000);
    t.equal(pair.state(pair.a), 'Connected(Established) Primary/Primary UpToDate/UpToDate', `asked on ${asked}`);
    t.equal(size(pair.a), size(pair.b));
    const [a, b] = pair.nodes.map(({ disk }) => Buffer.from(disk.subarray(before * 512, size(pair.a) * 512)));
    t.ok(a!.equals(b!));
    t.equal(a!.at(-1), isDecider ? 0x41 : 0x42);
    t.strictSame(pair.nodes.map(oos), [0, 0]);
  }
  const pair = grownPrimaries();
  t.equal(command(pair, pair.b, { assumeClean: true }), 'ok');
  pair.run(1000);
  t.equal(pair.state(pair.a), 'Connected(Established) Primary/Primary UpToDate/UpToDate');
  t.equal(command(pair, pair.a, { size: 8000 }), 'ok');
  pair.run(1000);
  t.equal(size(pair.b), 8000);
});

t.test('two Primaries that part before the copy of what is new begins: both know that they have', async (t) => {
  const pair = grownPrimaries();
  const isDecider = pair.a.core.connections[0]!.resolveConflicts;
  const [source, target] = isDecider ? [pair.a, pair.b] : [pair.b, pair.a];
  const op = source.control(wish());
  // Its word that the copy begins does not arrive.
  for (let i = 0; i < 200 && !pair.state(source).includes('SyncSource'); i++) {
    if (pair.state(target).includes('WFSyncUUID')) source.linked = false;
    for (const node of pair.nodes) node.step();
  }
  t.match(pair.state(source), /SyncSource/);
  t.equal(source.code(op), 'ok');
  source.linked = false;
  pair.rest();
  t.notMatch(pair.state(target), /SyncTarget/);
  source.linked = true;
  pair.partition();
  const slots = [source.submit(OP.Write, 0, new Uint8Array(4096).fill(1)), target.submit(OP.Write, 64, new Uint8Array(4096).fill(2))];
  pair.rest();
  t.match(source.completions.at(-1), { slot: slots[0], errno: 0 });
  t.match(target.completions.at(-1), { slot: slots[1], errno: 0 });
  pair.heal();
  pair.run(1000);
  t.ok(pair.nodes.some(({ logs }) => logs.some((line) => line.includes('Split-Brain detected but unresolved'))));
  t.equal(source.disk[0], 1);
  t.equal(target.disk[64 * 512], 2);
});

t.test('nobody is promoted while the size changes', async (t) => {
  const pair = synced('C', { 'allow-two-primaries': true });
  for (const node of pair.nodes) node.grow(LARGE);
  pair.a.control(wish());
  const up = pair.b.control({ command: 'primary', force: false });
  pair.rest();
  t.equal(pair.b.code(up), 'SS_IN_TRANSIENT_STATE');
  pair.run(5000);
  t.equal(pair.state(pair.b), 'Connected(Established) Secondary/Primary UpToDate/UpToDate');
});

t.test('a resize that crosses the attach of the other disk is not obeyed by it', async (t) => {
  const pair = synced();
  const { a, b } = pair;
  const before = size(b);
  a.control({ command: 'detach', volume: 0, force: true });
  pair.rest();
  b.grow(LARGE);
  for (const node of pair.nodes) node.hold(STREAM.Data);
  a.control({ command: 'attach', volume: 0, disk: a.backing(a.metaDataOnDisk()) });
  pair.rest();
  a.grow(LARGE);
  command(pair, b);
  for (const node of [a, b]) node.arrive(STREAM.Data);
  pair.run(5000);
  t.equal(pair.state(a), 'Connected(Established) Primary/Secondary UpToDate/UpToDate');
  t.notOk([...a.logs, ...b.logs].some((line) => line.includes('ProtocolError')));
  t.same([size(a), size(b)], [before, before]);
  t.equal(command(pair, b), 'ok');
  pair.run(5000);
  t.same([size(a) > before, size(b)], [true, size(a)], 'the next one is');
});

t.test('sizes are told as DRBD tells them', async (t) => {
  t.equal(prettySize(98_264), '96 MB (98264 KB)');
  t.equal(prettySize(102_400), '100 MB (102400 KB)');
  t.equal(prettySize(131_032), '128 MB (131032 KB)');
  t.equal(prettySize(9_999), '9999 KB (9999 KB)');
});

t.test('a smaller size waits for a write behind the new end that its peer has not acked', async (t) => {
  const pair = new Pair(1024);
  pair.configure({}, { 'resync-rate': 4_000_000, 'c-plan-ahead': 0 });
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(5000);
  pair.b.holdWrites = true;
  pair.a.submit(OP.Write, 608, new Uint8Array(4096));
  pair.rest();
  const op = pair.a.control({ command: 'resize', volume: 0, size: 500, assumePeerHasSpace: false, assumeClean: false });
  pair.rest();
  t.equal(pair.a.code(op), 'pending');
  pair.b.holdWrites = false;
  for (const slot of pair.b.heldWrites.splice(0)) pair.b.core.diskDone(clock.now, slot, 0);
  pair.run(1000);
  t.equal(pair.a.code(op), 'ok');
});
