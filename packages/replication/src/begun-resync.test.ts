/** A split brain is decided, and the link breaks again and again before the loser has heard under which sync UUID it is resynced. */
import type { MetaData } from '@udrbd/metadata';
import { COMMAND } from '@udrbd/wire';
import t from 'tap';
import { SYNC_UUID_OFFSET } from './generations.js';
import { PROTOCOL_VERSIONS } from './host.js';
import { OP } from './requests.js';
import { clock, type MemoryNode, network, Pair } from './testing/pair.js';

const BLOCK = 4096;
/** Who offers as old a version as this is taken for a kernel. */
const AS_A_KERNEL = { ...PROTOCOL_VERSIONS, min: 86 };
const block = (fill: number) => new Uint8Array(BLOCK).fill(fill);
const conn = (node: MemoryNode) => node.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.replicationState;
const diskState = (node: MemoryNode) => node.core.snapshot(clock.now).volumes[0]!.diskState;
const says = (node: MemoryNode, text: string): boolean => node.logs.some((line) => line.includes(text));
/** Without bits 0. */
const generations = ({ core }: MemoryNode): bigint[] => {
  const volume = core.volumes.get(0)!;
  const { current, bitmap, history } = volume.generationsFor(volume.peerDevices[0]!);
  return [current, bitmap, ...history].map((uuid) => uuid & ~1n);
};

/** Both were Primary apart from each other; b changed less. Both Secondary, the link is down. */
function splitBrain(versions = PROTOCOL_VERSIONS, afterSb0pri = 'discard-least-changes'): Pair {
  const pair = new Pair(16384, versions, versions);
  pair.configure({ 'max-buffers': 20000, 'after-sb-0pri': afterSb0pri }, { 'resync-rate': 4_000_000, 'c-plan-ahead': 0 });
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(5000);
  for (const [i, node] of pair.nodes.entries()) {
    pair.partition();
    if (i > 0) node.control({ command: 'primary', force: false });
    for (let n = 0; n < 3 - i; n++) node.submit(OP.Write, 800 + 800 * i + 8 * n, block(1 + i));
    pair.rest();
    node.control({ command: 'secondary', openVolumes: [], force: false });
    pair.rest();
  }
  return pair;
}

type Fate = 'never sent' | 'lost' | 'forgotten';

/** The link stands until a has begun, and breaks before b knows; or b knows, and loses its power before its disk does. */
function attempt(pair: Pair, fate: Fate): void {
  const { a, b } = pair;
  b.onSend = (_stream, packet) => {
    const command = packet.getUint16(6);
    if (fate === 'never sent' && (command === COMMAND.P_BITMAP || command === COMMAND.P_COMPRESSED_BITMAP)) a.holdMeta = true;
  };
  let before: MetaData | undefined;
  a.mangle = (stream, bytes) => {
    const isSyncUuid = new DataView(bytes.buffer, bytes.byteOffset).getUint16(6) === COMMAND.P_SYNC_UUID;
    if (!isSyncUuid) return [{ stream, bytes }];
    before = b.metaDataOnDisk();
    b.holdMeta = fate === 'forgotten';
    return fate === 'forgotten' ? [{ stream, bytes }] : [];
  };
  if (a.linkWanted) pair.heal();
  else reconnect(pair);
  for (let i = 0; i < 50 && conn(a) !== 'SyncSource'; i++) pair.run(10);
  t.strictSame([conn(a), conn(b)], ['SyncSource', fate === 'forgotten' ? 'SyncTarget' : 'WFSyncUUID'], fate);
  t.equal(before === undefined, fate === 'never sent');
  pair.partition();
  a.mangle = undefined;
  b.onSend = () => {};
  for (const node of pair.nodes) {
    node.holdMeta = false;
    for (const token of node.heldMeta.splice(0)) node.core.metaDone(clock.now, token, 0);
  }
  pair.rest();
  if (fate !== 'forgotten') return;
  b.control({ command: 'detach', volume: 0, force: true });
  pair.rest();
  const attach = b.control({ command: 'attach', volume: 0, disk: b.backing(before) });
  pair.rest();
  t.equal(b.code(attach), 'ok');
}

/** What an administrator does after `Split-Brain detected but unresolved`. */
function reconnect(pair: Pair): void {
  network.isDown = false;
  for (const node of pair.nodes) node.control({ command: 'connect', connection: 0, tentative: false, discardMyData: node === pair.b });
  pair.rest();
}

function isResynced(pair: Pair, why: string): void {
  for (let i = 0; i < 100 && conn(pair.b) !== 'Established'; i++) pair.run(100);
  pair.run(1000);
  t.match(pair.state(pair.a), /^Connected\(Established\) .* UpToDate\/UpToDate$/, why);
  t.strictSame(generations(pair.a), generations(pair.b), `${why}: one set`);
  t.equal(generations(pair.a)[1], 0n);
  t.equal(pair.b.disk[800 * 512], 1, `${why}: the winner's data`);
  t.equal(Buffer.compare(pair.a.disk.subarray(0, BLOCK * 1000), pair.b.disk.subarray(0, BLOCK * 1000)), 0, `${why}: equal`);
  for (const node of pair.nodes) t.notOk(says(node, 'Unrelated data'));
}

const FATES: readonly Fate[] = ['lost', 'never sent', 'lost', 'never sent', 'forgotten', 'never sent', 'lost', 'forgotten', 'lost'];

t.test('it goes on when the link holds, as it was decided, and there is one set of generations', async () => {
  const pair = splitBrain();
  attempt(pair, 'lost');
  const first = generations(pair.a);
  t.equal(first[1], first[2]! + SYNC_UUID_OFFSET, 'the source has begun');
  for (const fate of FATES) {
    attempt(pair, fate);
    t.strictSame(generations(pair.a), first, `${fate}: nothing is pushed out of the history`);
    t.equal(diskState(pair.b), 'Outdated');
  }
  pair.heal();
  isResynced(pair, 'after all that');
  t.equal(pair.a.helpers.filter((name) => name === 'initial-split-brain').length, 1);
});

t.test('it was received, and what came of it was not', async () => {
  const pair = splitBrain();
  attempt(pair, 'lost');
  pair.b.mangle = (stream, bytes) => (conn(pair.b) === 'SyncTarget' ? [] : [{ stream, bytes }]);
  pair.heal();
  pair.run(100);
  pair.partition();
  pair.b.mangle = undefined;
  t.equal(generations(pair.b)[0], generations(pair.a)[1], 'on the way to the generation of the resync');
  pair.heal();
  isResynced(pair, 'by rules 50 and 70');
});

t.test('the loser was promoted by force, and written to: nobody decides that but the administrator', async () => {
  const pair = splitBrain();
  attempt(pair, 'lost');
  const promoted = pair.b.control({ command: 'primary', force: true });
  pair.rest();
  t.equal(pair.b.code(promoted), 'ok');
  pair.b.submit(OP.Write, 2400, block(7));
  pair.rest();
  pair.heal();
  pair.run(1000);
  for (const node of pair.nodes) {
    t.ok(says(node, 'Split-Brain detected but unresolved'));
    t.match(pair.state(node), /^StandAlone/);
  }
  t.equal(pair.b.disk[2400 * 512], 7);
  pair.b.control({ command: 'secondary', openVolumes: [], force: false });
  pair.rest();
  reconnect(pair);
  isResynced(pair, 'given up');
  t.equal(pair.b.disk[2400 * 512], 0, 'a never had it');
});

t.test('the source is the one to be given up, now that the administrator says so', async () => {
  const pair = splitBrain();
  attempt(pair, 'lost');
  network.isDown = false;
  for (const node of pair.nodes) node.control({ command: 'disconnect', connection: 0, force: true });
  pair.rest();
  for (const node of pair.nodes) node.control({ command: 'connect', connection: 0, tentative: false, discardMyData: node === pair.a });
  pair.run(10_000);
  t.match(pair.state(pair.a), /^Connected\(Established\) .* UpToDate\/UpToDate$/);
  t.equal(pair.a.disk[1600 * 512], 2);
  t.equal(pair.a.disk[800 * 512], 0, 'b never had it');
});

t.test('opposite a kernel, which sees another split brain each time: the administrator may say it as often as needed', async () => {
  const pair = splitBrain(AS_A_KERNEL);
  attempt(pair, 'lost');
  const first = generations(pair.a);
  for (const fate of FATES) {
    pair.heal();
    pair.run(1000);
    for (const node of pair.nodes) t.match(pair.state(node), /^StandAlone/);
    attempt(pair, fate);
    t.strictSame(generations(pair.a), first);
  }
  pair.heal();
  pair.run(1000);
  reconnect(pair);
  isResynced(pair, 'at last');
});

/** Both are Primary, b's disk has failed to take a block, and they part. */
function primariesApart(versions = PROTOCOL_VERSIONS): Pair {
  const pair = new Pair(16384, versions, versions);
  pair.configure({ 'max-buffers': 20000, 'allow-two-primaries': true }, { 'resync-rate': 4_000_000, 'c-plan-ahead': 0 });
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(5000);
  pair.b.control({ command: 'disk-options', volume: 0, options: { 'on-io-error': 'pass_on' }, setDefaults: false });
  pair.b.control({ command: 'primary', force: false });
  pair.rest();
  pair.partition();
  pair.b.failNextWrite = 5;
  pair.b.submit(OP.Write, 1600, block(2));
  pair.a.submit(OP.Write, 800, block(1));
  pair.rest();
  t.match(pair.state(pair.b), /Primary\/Unknown Inconsistent/);
  return pair;
}

t.test('two Primaries: a source that parts from its target begins a generation only if that may have been through', async () => {
  for (const fate of ['never sent', 'lost'] as const) {
    const pair = primariesApart();
    const [current] = generations(pair.a);
    attempt(pair, fate);
    t.equal(generations(pair.a)[0] === current, fate === 'never sent', fate);
    attempt(pair, 'never sent');
    pair.heal();
    isResynced(pair, fate);
    for (const node of pair.nodes) t.notOk(says(node, 'Split-Brain detected but unresolved'));
  }
});

t.test('two Primaries, and the target never hears of its sync UUID: they do not become strangers by that', async () => {
  for (const versions of [PROTOCOL_VERSIONS, AS_A_KERNEL]) {
    const pair = new Pair(16384, versions, versions);
    pair.configure({ 'max-buffers': 20000, 'allow-two-primaries': true }, { 'resync-rate': 400, 'c-plan-ahead': 0 });
    pair.connect();
    pair.a.control({ command: 'primary', force: true });
    pair.run(60_000);
    pair.partition();
    pair.a.submit(OP.Write, 800, new Uint8Array(512 * 1024).fill(1));
    pair.rest();
    pair.heal();
    pair.b.control({ command: 'primary', force: false });
    pair.run(200);
    t.strictSame([conn(pair.a), conn(pair.b)], ['SyncSource', 'SyncTarget']);
    pair.partition();
    for (let i = 0; i < 5; i++) {
      attempt(pair, 'lost');
      t.equal(generations(pair.a)[1], generations(pair.b)[0]! + SYNC_UUID_OFFSET);
    }
    for (const node of pair.nodes)
      node.control({ command: 'peer-device-options', connection: 0, volume: 0, options: { 'resync-rate': 40_000 }, setDefaults: false });
    pair.heal();
    isResynced(pair, 'after all that');
  }
});

t.test('two Primaries, the other one a kernel, and a generation for a target that was not through: unrelated only once', async () => {
  const pair = primariesApart(AS_A_KERNEL);
  attempt(pair, 'lost');
  pair.heal();
  pair.run(1000);
  for (const node of pair.nodes) {
    t.ok(says(node, 'Unrelated data'));
    node.logs.length = 0;
  }
  pair.connect();
  isResynced(pair, 'all of it');
  t.ok(says(pair.a, 'Writing the whole bitmap, full sync required'));
});

t.test('the link breaks when the bitmaps have been merged, and say no more who changed less', async () => {
  for (const policy of ['discard-least-changes', 'discard-younger-primary']) {
    const pair = splitBrain(PROTOCOL_VERSIONS, policy);
    pair.b.mangle = (stream, bytes) => {
      const command = new DataView(bytes.buffer, bytes.byteOffset).getUint16(6);
      return command === COMMAND.P_BITMAP || command === COMMAND.P_COMPRESSED_BITMAP ? [] : [{ stream, bytes }];
    };
    pair.heal();
    pair.run(100);
    t.strictSame([conn(pair.a), conn(pair.b)], ['WFBitMapS', 'WFSyncUUID']);
    t.ok(pair.b.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.outOfSyncSectors > 24, 'b counts the changes of a as well');
    pair.partition();
    pair.b.mangle = undefined;
    pair.heal();
    isResynced(pair, policy);
  }
});
