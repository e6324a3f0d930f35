/** What an engine does when the host gives it no descriptors, or no time. UDRBD_STOP_SECONDS sets how long it is stopped. */
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { Load } from './load.js';
import { NbdClient } from './nbd-client.js';
import { ReconnectingClient } from './reconnecting-client.js';
import { TwoEngines } from './two-engines.js';

const SIZE = 64 << 20;
const STOP_SECONDS = Number(process.env.UDRBD_STOP_SECONDS ?? 3);
const FILES = 64;

t.test('limits', async (t) => {
  const two = await TwoEngines.start(t, { size: SIZE, files: FILES });
  const { a, b } = two;
  await two.bringUp({ 'ping-int': 1, 'connect-int': 3 });

  await t.test('no file descriptors', async (t) => {
    const path = `${a.runDir}/nbd/0.sock`;
    const nbd = await NbdClient.open(path);
    const others: Promise<NbdClient | undefined>[] = [];
    for (let i = 0; i < FILES; i++) others.push(NbdClient.open(path).catch(() => undefined));
    for (let waited = 0; !a.log.includes('accept on') && waited < 60_000; waited += 50) await sleep(50);
    await sleep(1500);
    const complaints = a.log.split('\n').filter((line) => line.includes('accept on'));
    t.match(complaints[0], /accept on .*0\.sock: .*Too many open files/);
    t.ok(complaints.length <= 10, `${complaints.length} lines`);
    await nbd.write(0, Buffer.alloc(4096, 9));
    t.ok((await nbd.read(0, 4096)).equals(Buffer.alloc(4096, 9)), 'what is open goes on');
    // Those that got in make room for those that wait.
    await Promise.all(others.map((other) => other.then((client) => client?.destroy())));
    await nbd.close();
    await (await NbdClient.open(path)).close();
  });

  await t.test('stopped for a while', async (t) => {
    const nbd = await ReconnectingClient.open(`${a.runDir}/nbd/0.sock`);
    for (const engine of [b, a]) {
      const load = new Load(nbd);
      await sleep(300);
      process.kill(engine.pid, 'SIGSTOP');
      await sleep(STOP_SECONDS * 1000);
      process.kill(engine.pid, 'SIGCONT');
      await load.progress();
      await two.inSync();
      await load.stop();
      await two.inSync();
      t.equal(await load.wrong(), 0, `${load.acknowledged.size} blocks, ${load.records} flushed records`);
      t.ok(two.areEqual(), 'both disks hold the same data');
    }
    t.equal(nbd.connections, 1, 'the client was not cut off');
    await nbd.close();
    for (const { log } of [a, b]) t.notMatch(log, /internal error|ProtocolError|Split-Brain/);
  });
});
