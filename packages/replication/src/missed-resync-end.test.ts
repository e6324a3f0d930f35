import { MDF } from '@udrbd/metadata';
import { COMMAND } from '@udrbd/wire';
import t from 'tap';
import { STREAM } from './host.js';
import { OP } from './requests.js';
import { clock, type MemoryNode, network, Pair } from './testing/pair.js';

const state = (node: MemoryNode) => node.core.snapshot(clock.now).connections[0]!.peerDevices[0]!.replicationState;
const flags = (node: MemoryNode): number => node.core.snapshot(clock.now).volumes[0]!.metaDataFlags;

/** A Primary and what it wrote after the link broke; a resync brings it at once. */
function partedWithWrite(): Pair {
  const pair = new Pair();
  pair.configure({ 'max-buffers': 20000 }, { 'resync-rate': 4_000_000, 'c-plan-ahead': 0 });
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(5000);
  pair.partition();
  pair.a.submit(OP.Write, 800, new Uint8Array(4096).fill(1));
  pair.rest();
  return pair;
}

/** Both write, each by itself, after the target's last word about the end of the resync was lost. */
function parted(isThrough: boolean): Pair {
  const pair = new Pair();
  pair.configure({ 'max-buffers': 20000, 'allow-two-primaries': true }, { 'resync-rate': 4_000_000, 'c-plan-ahead': 0 });
  pair.connect();
  pair.a.control({ command: 'primary', force: true });
  pair.run(5000);
  for (const node of pair.nodes)
    node.control({ command: 'peer-device-options', connection: 0, volume: 0, options: { 'resync-rate': 400 }, setDefaults: false });
  pair.partition();
  pair.a.submit(OP.Write, 800, new Uint8Array(512 * 1024).fill(1));
  pair.rest();
  pair.heal();
  pair.b.control({ command: 'primary', force: false });
  pair.run(200);
  t.strictSame([state(pair.a), state(pair.b)], ['SyncSource', 'SyncTarget']);
  const deliver = pair.a.deliver.bind(pair.a);
  pair.a.deliver = (stream, bytes) => {
    if (state(pair.b) !== 'Established') deliver(stream, bytes);
  };
  if (isThrough) for (let i = 0; i < 1000 && state(pair.b) !== 'Established'; i++) pair.run(10);
  t.strictSame([state(pair.a), state(pair.b)], ['SyncSource', isThrough ? 'Established' : 'SyncTarget']);
  pair.a.deliver = deliver;
  pair.partition();
  pair.a.submit(OP.Write, 2400, new Uint8Array(4096).fill(2));
  pair.b.submit(OP.Write, 3200, new Uint8Array(4096).fill(3));
  pair.rest();
  return pair;
}

t.test('two Primaries that part at the end of a resync: the one that missed it is not overwritten', async () => {
  const pair = parted(true);
  pair.a.control({ command: 'secondary', openVolumes: [], force: false });
  pair.rest();
  pair.heal();
  pair.run(3000);
  t.ok(pair.a.logs.some((line) => line.includes('Split-Brain detected but unresolved')));
  t.equal(pair.a.disk[2400 * 512], 2);
  pair.a.control({ command: 'connect', connection: 0, tentative: false, discardMyData: true });
  pair.b.control({ command: 'connect', connection: 0, tentative: false, discardMyData: false });
  pair.run(20_000);
  t.match(pair.state(pair.a), /^Connected\(Established\) Secondary\/Primary UpToDate\/UpToDate$/);
  t.strictSame(Buffer.from(pair.a.disk.subarray(0, 4096 * 1000)), Buffer.from(pair.b.disk.subarray(0, 4096 * 1000)));
});

t.test('two Primaries that part in the middle of a resync: it goes on', async () => {
  const pair = parted(false);
  for (const node of pair.nodes) node.logs.length = 0;
  pair.heal();
  pair.run(20_000);
  t.notOk(pair.nodes.some(({ logs }) => logs.some((line) => /Split-Brain|Unrelated|full sync/.test(line))));
  t.match(pair.state(pair.a), /^Connected\(Established\) Primary\/Primary UpToDate\/UpToDate$/);
  t.equal(pair.b.disk[2400 * 512], 2);
});

t.test('a source that missed the end of the resync, and wrote since, knows by its meta-data that it has to copy', async (t) => {
  const pair = partedWithWrite();
  // The target finishes; its last word never arrives.
  network.isDown = false;
  pair.a.connect();
  const deliver = pair.a.deliver.bind(pair.a);
  pair.a.deliver = (stream, bytes) => {
    if (state(pair.b) !== 'Established') deliver(stream, bytes);
  };
  for (let i = 0; i < 100 && !(state(pair.b) === 'Established' && state(pair.a) === 'SyncSource'); i++) pair.run(10);
  t.strictSame([state(pair.a), state(pair.b)], ['SyncSource', 'Established']);
  pair.a.deliver = deliver;
  pair.partition();
  pair.a.submit(OP.Write, 1600, new Uint8Array(4096).fill(2));
  pair.rest();
  pair.a.control({ command: 'secondary', openVolumes: [], force: false });
  pair.rest();
  t.equal(flags(pair.a) & MDF.CRASHED_PRIMARY, 0);
  const isCorrected = () => pair.a.logs.some((line) => line.includes('was SyncSource, missed the resync finished event, corrected myself'));
  const toTarget = pair.b.deliver.bind(pair.b);
  pair.b.deliver = (stream, bytes) => {
    if (!isCorrected()) toTarget(stream, bytes);
  };
  pair.heal();
  pair.run(10);
  t.ok(isCorrected());
  t.ok((flags(pair.a) & MDF.CRASHED_PRIMARY) !== 0, 'its bits count, should both stop now');
  pair.b.deliver = toTarget;
  pair.partition();
  pair.heal();
  pair.run(10_000);
  t.match(pair.state(pair.b), /^Connected\(Established\) .* UpToDate\/UpToDate$/);
  t.equal(pair.b.disk[1600 * 512], 2);
});

t.test('a target that leaves as soon as it is through leaves a source behind that begins a new generation', async (t) => {
  const pair = partedWithWrite();
  pair.heal();
  // Its word is told, and nothing that it says on the other stream afterwards is in time.
  pair.b.onSend = (stream, packet) => {
    if (stream === STREAM.Data && packet.getUint16(6) === COMMAND.P_STATE && state(pair.b) === 'Established') pair.b.hold(STREAM.Meta);
  };
  pair.run(200);
  const operation = pair.b.control({ command: 'disconnect', connection: 0, force: true });
  pair.run(200);
  t.equal(pair.b.code(operation), 'ok');
  const [, generation] = /new current UUID (\w+):\w+/.exec(pair.a.logs.filter((line) => line.includes('new current UUID')).at(-1)!)!;
  const { currentUuid } = pair.a.core.snapshot(clock.now).volumes[0]!;
  t.equal(BigInt(`0x${generation}`) | 1n, currentUuid | 1n);
  t.not(currentUuid & ~1n, pair.b.core.snapshot(clock.now).volumes[0]!.currentUuid & ~1n);
  pair.a.submit(OP.Write, 1600, new Uint8Array(4096).fill(2));
  pair.rest();
  pair.b.onSend = () => {};
  pair.b.control({ command: 'connect', connection: 0, tentative: false, discardMyData: false });
  pair.run(10_000);
  t.match(pair.state(pair.b), /^Connected\(Established\) .* UpToDate\/UpToDate$/);
  t.equal(pair.b.disk[1600 * 512], 2);
});

t.test('a source whose own writes keep bits set when its target is through ends the resync with the last of them', async (t) => {
  const pair = partedWithWrite();
  pair.b.control({ command: 'pause-sync', connection: 0, volume: 0 });
  pair.heal();
  pair.run(1000);
  t.equal(state(pair.a), 'PausedSyncS');
  // Acked, and in sync at the target; its epoch waits for a disk.
  pair.b.holdFlushes = true;
  pair.a.submit(OP.Write, 800, new Uint8Array(4096).fill(2));
  pair.rest();
  pair.b.control({ command: 'resume-sync', connection: 0, volume: 0 });
  pair.run(1000);
  t.equal(state(pair.b), 'Established');
  pair.b.holdFlushes = false;
  for (const connection of pair.b.heldFlushes.splice(0)) pair.b.core.epochFlushed(clock.now, connection, 0, 0);
  pair.run(100);
  t.equal(state(pair.a), 'Established');
  t.match(pair.state(pair.a), /UpToDate\/UpToDate$/);
});
