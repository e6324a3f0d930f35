/** Two Primaries of our own, whose applications write to the same few blocks at the same time. */
import t from 'tap';
import { NbdClient } from './nbd-client.js';
import { TwoEngines } from './two-engines.js';
import { writeAnywhere } from './write-anywhere.js';

const SIZE = 16 << 20;
const PLACE_BYTES = 64 * 1024;

t.test('two Primaries', async (t) => {
  const two = await TwoEngines.start(t, { size: SIZE });
  const { a, b } = two;
  await two.bringUp();
  const refused = await b.client.request('primary', { resource: 'r0', force: false });
  t.equal(refused.code, -1, 'not without allow-two-primaries');
  for (const [engine, peerNodeId] of [
    [a, 1],
    [b, 0],
  ] as const)
    await engine.ask('net-options', { resource: 'r0', peerNodeId, options: { 'allow-two-primaries': true }, setDefaults: false });
  await b.ask('primary', { resource: 'r0', force: false });
  const clients = [await NbdClient.open(`${a.runDir}/nbd/0.sock`), await NbdClient.open(`${b.runDir}/nbd/1.sock`)] as const;

  await t.test('what one writes the other reads', async (t) => {
    for (const [i, writer] of clients.entries()) {
      const block = Buffer.alloc(4096, 0x11 + i);
      await writer.write(1 << 20, block);
      t.ok((await clients[1 - i]!.read(1 << 20, 4096)).equals(block));
    }
  });

  await t.test('writes that cross leave the same on both disks', async (t) => {
    const counts = await Promise.all(clients.map((nbd) => writeAnywhere(nbd, { bytes: PLACE_BYTES, depth: 8, seconds: 3 })));
    t.comment(`${counts.join(' and ')} writes, ${`${a.log}${b.log}`.match(/Concurrent writes detected/g)?.length ?? 0} lines about them`);
    await two.inSync();
    for (const nbd of clients) await nbd.flush();
    t.ok(two.areEqual());
    const [x, y] = await Promise.all(clients.map((nbd) => nbd.read(0, PLACE_BYTES)));
    t.ok(x!.equals(y!), 'and both read the same');
    t.match(`${a.log}${b.log}`, 'Concurrent writes detected', 'some did cross');
    for (const { log } of [a, b]) t.notMatch(log, /NetworkFailure|ProtocolError|internal error|Split-Brain/);
  });

  await t.test('the option stays while there are two', async (t) => {
    const off = { resource: 'r0', peerNodeId: 1, options: { 'allow-two-primaries': false }, setDefaults: false };
    t.equal((await a.client.request('net-options', off)).code, 164);
    for (const nbd of clients) await nbd.close();
    await b.ask('secondary', { resource: 'r0', force: false });
    t.equal((await a.client.request('net-options', off)).code, 101, 'NO_ERROR');
  });
});
