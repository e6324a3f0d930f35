/** An engine that ends on purpose: it hands over to a new one under load, or takes down what is not in use. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { Load } from './load.js';
import { NbdClient } from './nbd-client.js';
import { ReconnectingClient } from './reconnecting-client.js';
import { TwoEngines } from './two-engines.js';

const SIZE = 64 << 20;

t.test('hand-over and end', async (t) => {
  const two = await TwoEngines.start(t, { size: SIZE });
  const { a, b } = two;
  await two.bringUp({ 'connect-int': 10 });

  await t.test('a new engine takes over from one that runs', async (t) => {
    const nbd = await ReconnectingClient.open(`${a.runDir}/nbd/0.sock`);
    for (const engine of [a, b]) {
      const load = new Load(nbd);
      await sleep(300);
      t.equal(await engine.upgrade(), '');
      await load.progress();
      await two.inSync();
      await load.stop();
      await two.inSync();
      t.equal(await load.wrong(), 0, `${load.acknowledged.size} blocks, ${load.records} flushed records`);
      t.ok(two.areEqual(), 'both disks hold the same data');
    }
    t.equal((await a.resource('r0')).state.role, 'Primary');
    await nbd.close();
    for (const { log } of [a, b]) {
      t.match(log, 'taking over from pid');
      t.notMatch(log, /marked additional [1-9]/, 'nothing is resynced that was not written meanwhile');
      t.notMatch(log, /internal error|ProtocolError|Split-Brain/);
    }
  });

  await t.test('one that does not understand the journal refuses, and nothing happens', async (t) => {
    const path = `${a.runDir}/journal.json`;
    const text = readFileSync(path, 'utf8');
    writeFileSync(path, text.replace(/"version": \d+/, '"version": 99'));
    const { pid } = a;
    t.match(await a.upgrade(), /^udrbd-engine: .*journal.json was written by a newer engine \(version 99, this engine knows \d+\)/);
    t.equal(a.pid, pid);
    t.equal((await a.resource('r0')).state.role, 'Primary');
    writeFileSync(path, text);
  });

  await t.test('SIGTERM with a client: the next engine goes on for it', async (t) => {
    const nbd = await ReconnectingClient.open(`${a.runDir}/nbd/0.sock`);
    const load = new Load(nbd);
    await sleep(200);
    await a.stop('SIGTERM');
    t.ok(existsSync(`${a.runDir}/journal.json`));
    await a.start();
    await load.progress();
    await load.stop();
    await two.inSync();
    t.equal(await load.wrong(), 0);
    await nbd.close();
  });

  await t.test('SIGTERM twice in a moment is one request', async (t) => {
    const nbd = await ReconnectingClient.open(`${a.runDir}/nbd/0.sock`);
    await nbd.write(0, Buffer.alloc(4096, 1));
    process.kill(a.pid, 'SIGTERM');
    await a.stop('SIGTERM');
    t.ok(existsSync(`${a.runDir}/journal.json`), 'what the client waits for is left to the next engine');
    const written = nbd.write(4096, Buffer.alloc(4096, 2));
    await a.start();
    await written;
    await two.inSync();
    await nbd.close();
  });

  await t.test('SIGTERM while a resync runs', async (t) => {
    await a.ask('disconnect', { resource: 'r0', peerNodeId: 1, force: false });
    const nbd = await NbdClient.open(`${a.runDir}/nbd/0.sock`);
    for (let at = 0; at < 48 << 20; at += 1 << 20) await nbd.write(at, Buffer.alloc(1 << 20, 7));
    await nbd.close();
    for (const [engine, peerNodeId] of [
      [a, 1],
      [b, 0],
    ] as const) {
      const options = { 'c-plan-ahead': 0, 'resync-rate': 1000 };
      await engine.ask('peer-device-options', { resource: 'r0', peerNodeId, volume: 0, options, setDefaults: false });
    }
    await a.ask('connect', { resource: 'r0', peerNodeId: 1, tentative: false, discardMyData: false });
    await b.until('r0', 'a resync', (r) => r.connections[0]!.peerDevices[0]!.state.replicationState === 'SyncTarget');
    t.equal(await b.stop('SIGTERM'), 0, 'the target ends');
    t.notOk(existsSync(`${b.runDir}/journal.json`), 'and leaves nothing');
    t.equal(await a.stop('SIGTERM'), 0, 'the source ends');
    t.notOk(existsSync(`${a.runDir}/journal.json`), 'and leaves nothing');
    t.notOk(existsSync(`${a.runDir}/nbd/0.sock`));
    for (const { log } of [a, b]) t.notMatch(log, /internal error|ProtocolError/);
  });
});
