/** What a Primary's engine does when it comes back after more than a moment: it asks its peer before it is Primary again. */
import { readFileSync, utimesSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import type { Journal } from '../../packages/engine/src/desk/journal.js';
import { readImage } from './images.js';
import { NbdClient } from './nbd-client.js';
import { ReconnectingClient } from './reconnecting-client.js';
import { TwoEngines } from './two-engines.js';

const SIZE = 16 << 20;

t.test('a Primary that was away', async (t) => {
  const two = await TwoEngines.start(t, { size: SIZE });
  const { a, b } = two;
  await two.bringUp();
  const both = async (command: 'net-options', parameters: object) => {
    await a.ask(command, { resource: 'r0', peerNodeId: 1, ...parameters } as never);
    await b.ask(command, { resource: 'r0', peerNodeId: 0, ...parameters } as never);
  };
  const journaled = () => (JSON.parse(readFileSync(`${a.runDir}/journal.json`, 'utf8')) as Journal).resources[0]!;
  const lose = async () => {
    await a.stop('SIGKILL');
    utimesSync(`${a.runDir}/engine.lock`, new Date(), new Date(Date.now() - 60_000));
    await b.until('r0', 'the loss', (r) => r.connections[0]!.state.connectionState === 'Connecting');
  };

  await t.test('and whose peer has waited', async (t) => {
    const nbd = await ReconnectingClient.open(`${a.runDir}/nbd/0.sock`);
    await nbd.write(0, Buffer.alloc(4096, 1));
    await lose();
    const written = nbd.write(4096, Buffer.alloc(4096, 2));
    await a.start();
    await written;
    await two.inSync();
    t.equal((await a.resource('r0')).state.role, 'Primary');
    t.notMatch(a.log, 'new current UUID', 'it has asked first: alone it would have begun a generation of its own');
    await nbd.close();
  });

  await t.test('however short, with fencing: the peer is asked, not shot', async (t) => {
    await both('net-options', { options: { fencing: 'resource-only' }, setDefaults: false });
    const nbd = await ReconnectingClient.open(`${a.runDir}/nbd/0.sock`);
    await nbd.write(0, Buffer.alloc(4096, 6));
    await a.stop('SIGKILL');
    const written = nbd.write(4096, Buffer.alloc(4096, 7));
    await a.start();
    await written;
    await two.inSync();
    t.equal((await a.resource('r0')).state.role, 'Primary');
    t.notMatch(a.log, 'fence-peer');
    t.notMatch(a.log, 'new current UUID');
    await nbd.close();
    await both('net-options', { options: { fencing: 'dont-care' }, setDefaults: false });
  });

  await t.test('one of two Primaries', async (t) => {
    await both('net-options', { options: { 'allow-two-primaries': true }, setDefaults: false });
    await b.ask('primary', { resource: 'r0', force: false });
    const nbd = await ReconnectingClient.open(`${a.runDir}/nbd/0.sock`);
    const other = await NbdClient.open(`${b.runDir}/nbd/1.sock`);
    await nbd.write(0, Buffer.alloc(4096, 8));
    await a.stop('SIGKILL');
    await other.write(1 << 20, Buffer.alloc(4096, 9));
    const written = nbd.write(4096, Buffer.alloc(4096, 10));
    await a.start();
    await written;
    await two.inSync();
    t.equal((await a.resource('r0')).state.role, 'Primary');
    t.ok((await nbd.read(1 << 20, 4096)).equals(Buffer.alloc(4096, 9)), 'what the other one wrote meanwhile');
    t.ok((await other.read(4096, 4096)).equals(Buffer.alloc(4096, 10)), 'and what was in flight here');
    for (const { log } of [a, b]) t.notMatch(log, /internal error|ProtocolError|Split-Brain/);
    await other.close();
    await nbd.close();
    await b.ask('secondary', { resource: 'r0', force: false });
    await both('net-options', { options: { 'allow-two-primaries': false }, setDefaults: false });
  });

  await t.test('one that was demoted by force while it was in use', async (t) => {
    const nbd = await NbdClient.open(`${a.runDir}/nbd/0.sock`);
    await a.ask('secondary', { resource: 'r0', force: true });
    await t.rejects(nbd.write(0, Buffer.alloc(4096, 11)), 'it is cut off');
    t.ok(journaled().failIo);
    await a.stop('SIGKILL');
    await a.start();
    t.match(a.log, 'was demoted by force: all I/O fails until the last close');
    t.equal((await a.resource('r0')).state.role, 'Secondary');
    // Its connections ended with the engine, and that was the last close.
    await a.until('r0', 'the last close', ({ state }) => !state.forceIoFailures);
    for (let waited = 0; journaled().failIo && waited < 10_000; waited += 20) await sleep(20);
    t.notOk(journaled().failIo);
    await a.ask('primary', { resource: 'r0', force: false });
    await two.inSync();
    nbd.destroy();
  });

  await t.test('and whose peer was promoted', async (t) => {
    const nbd = await ReconnectingClient.open(`${a.runDir}/nbd/0.sock`);
    await nbd.write(8192, Buffer.alloc(4096, 3));
    await lose();
    await b.ask('primary', { resource: 'r0', force: false });
    const other = await NbdClient.open(`${b.runDir}/nbd/1.sock`);
    await other.write(1 << 20, Buffer.alloc(4096, 4));
    await other.flush();
    await other.close();
    const written = nbd.write(4096, Buffer.alloc(4096, 5)).then(
      () => 'written',
      () => 'refused',
    );
    await a.start();
    t.equal(await written, 'refused', 'data that is not what it was is not written over');
    await two.inSync();
    t.equal((await a.resource('r0')).state.role, 'Secondary');
    t.equal((await b.resource('r0')).state.role, 'Primary');
    t.match(a.log, 'a peer was Primary meanwhile');
    t.ok(two.areEqual(), 'both disks hold the same data');
    t.ok(readImage(two.images[0], 8192, 4096).equals(Buffer.alloc(4096, 3)), 'with what was acknowledged');
    for (const { log } of [a, b]) t.notMatch(log, /internal error|ProtocolError|Split-Brain/);
    nbd.destroy();
  });
});
