/** Two engines on one host, image files below, NBD above: from empty meta-data to a resync after a disconnect. */
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { dataBytes, readImage } from './images.js';
import { NbdClient } from './nbd-client.js';
import { TwoEngines } from './two-engines.js';

const SIZE = 32 << 20;
const DATA = dataBytes(SIZE);

t.test('two nodes', async (t) => {
  const two = await TwoEngines.start(t, { size: SIZE, environment: (dir) => [{}, { UDRBD_USERMODE_HELPER: `${dir}/helper` }] });
  const { dir, a, b } = two;
  writeFileSync(`${dir}/helper`, `#!/bin/sh\necho "$1 $2 $DRBD_MINOR $DRBD_VOLUME $DRBD_PEER_NODE_ID $UDRBD_RUN_DIR" >>${dir}/handlers\n`, {
    mode: 0o755,
  });
  await two.configure();
  t.equal((await a.resource('r0')).devices[0]!.state.diskState, 'Inconsistent');

  await two.connect();
  t.ok((await a.resource('r0')).connections[0]!.paths[0]!.established);
  const refused = await b.client.request('primary', { resource: 'r0', force: false });
  t.equal(refused.code, -2, 'nobody has data yet');

  await a.ask('primary', { resource: 'r0', force: true });
  let nbd = await NbdClient.open(`${a.runDir}/nbd/0.sock`);
  t.equal(nbd.sizeBytes, DATA);
  t.notOk(nbd.isReadOnly);
  await a.until('r0', 'the initial sync', (r) => r.connections[0]!.peerDevices[0]!.state.diskState === 'UpToDate', 60_000);
  // The file follows the state within a moment.
  const line = /cs:Connected ro:Primary\/Secondary ds:UpToDate\/UpToDate C r-----/;
  for (let waited = 0; !line.test(a.proc()) && waited < 5000; waited += 50) await sleep(50);
  t.match(a.proc(), line);

  const content = randomBytes(4 << 20);
  for (let at = 0; at < content.length; at += 65536) await nbd.write(at, content.subarray(at, at + 65536));
  await Promise.all(Array.from({ length: 64 }, (_, i) => nbd.write((8 << 20) + i * 4096, content.subarray(i * 4096, i * 4096 + 4096))));
  await nbd.flush();
  t.ok((await nbd.read(0, 1 << 20)).equals(content.subarray(0, 1 << 20)), 'what was written is read back');
  await t.rejects(nbd.read(DATA, 4096), { message: 'NBD error 22' });
  t.ok(readImage(`${dir}/b.img`, 0, content.length).equals(content), 'and stands on the other disk');

  const second = await b.client.request('primary', { resource: 'r0', force: false });
  t.equal(second.code, -1, 'one Primary only');
  const busy = await a.client.request('secondary', { resource: 'r0', force: false });
  t.equal(busy.code, -12, 'a device that is open is not demoted');
  t.strictSame(busy.info, [`/dev/drbd0 is open by clients of ${a.runDir}/nbd/0.sock`]);

  await a.ask('secondary', { resource: 'r0', force: true });
  t.ok((await a.resource('r0')).state.forceIoFailures, 'but by force');
  t.ok((await a.resource('r0')).devices[0]!.state.open);
  await t.rejects(nbd.write(0, content.subarray(0, 4096)), { message: 'NBD error 5' });
  await t.rejects(nbd.read(0, 4096), { message: 'NBD error 5' });
  await t.rejects(NbdClient.open(`${a.runDir}/nbd/0.sock`), 'nobody else may open it now');
  const tooEarly = await a.client.request('primary', { resource: 'r0', force: false });
  t.equal(tooEarly.code, -12, 'a promotion waits for the last close');
  await nbd.close();
  await a.until('r0', 'the last close', (r) => !r.state.forceIoFailures);
  await a.ask('primary', { resource: 'r0', force: false });
  nbd = await NbdClient.open(`${a.runDir}/nbd/0.sock`);

  await a.ask('disconnect', { resource: 'r0', peerNodeId: 1, force: false });
  await b.until('r0', 'the loss of the peer', (r) => r.connections[0]!.state.connectionState !== 'Connected');
  const later = randomBytes(1 << 20);
  await nbd.write(16 << 20, later);
  await nbd.flush();
  const alone = await a.resource('r0');
  t.ok(alone.connections[0]!.peerDevices[0]!.statistics.outOfSync >= (1 << 20) / 512, 'the bitmap remembers');
  t.notOk(readImage(`${dir}/b.img`, 16 << 20, later.length).equals(later));
  await a.ask('connect', { resource: 'r0', peerNodeId: 1, tentative: false, discardMyData: false });
  const synced = await a.until('r0', 'the resync', (r) => r.connections[0]!.peerDevices[0]!.state.diskState === 'UpToDate');
  t.equal(synced.connections[0]!.peerDevices[0]!.statistics.outOfSync, 0);
  t.ok(readImage(`${dir}/b.img`, 16 << 20, later.length).equals(later), 'and the resync brings it over');

  await nbd.close();
  await a.ask('secondary', { resource: 'r0', force: false });
  const reader = await NbdClient.open(`${b.runDir}/nbd/1.sock`, 'drbd1');
  t.ok(reader.isReadOnly, 'a Secondary is read-only');
  await t.rejects(reader.write(0, later.subarray(0, 4096)), { message: 'NBD error 1' });
  await reader.close();
  await b.ask('primary', { resource: 'r0', force: false });
  const other = await NbdClient.open(`${b.runDir}/nbd/1.sock`);
  await other.write(0, later);
  await other.writeZeroes(2 << 20, 1 << 20);
  await other.trim(3 << 20, 1 << 20);
  t.ok((await other.read(2 << 20, 1 << 20)).equals(Buffer.alloc(1 << 20)));
  await other.flush();
  await other.close();
  await b.ask('secondary', { resource: 'r0', force: false });
  const [dataA, dataB] = [readImage(`${dir}/a.img`, 0, DATA), readImage(`${dir}/b.img`, 0, DATA)];
  t.ok(dataA.equals(dataB), 'both images hold the same data');

  t.strictSame(
    new Set(readFileSync(`${dir}/handlers`, 'utf8').trim().split('\n')),
    new Set([`before-resync-target r0 1 0 0 ${b.runDir}`, `after-resync-target r0 1 0 0 ${b.runDir}`]),
    'handlers were run with DRBD variables',
  );

  await a.ask('down', { resource: 'r0' });
  t.equal((await a.client.request('snapshot', {})).data!.resources.length, 0);
  t.equal(await a.stop(), 0);
  t.equal(await b.stop(), 0, 'an engine takes its resources down when it ends');
  for (const engine of [a, b]) t.notMatch(engine.log, /internal error|ProtocolError/);
});
