/** What an engine does when the host gives it no descriptors, or no time. UDRBD_STOP_SECONDS sets how long it is stopped. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { configure } from './configure.js';
import { bundleEngine, EngineProcess } from './engine-process.js';
import { freePort } from './free-port.js';
import { createImage, dataBytes, readImage } from './images.js';
import { Load } from './load.js';
import { NbdClient } from './nbd-client.js';
import { ReconnectingClient } from './reconnecting-client.js';

const SIZE = 64 << 20;
const STOP_SECONDS = Number(process.env.UDRBD_STOP_SECONDS ?? 3);
const FILES = 64;

t.test('limits', async (t) => {
  const dir = mkdtempSync(`${tmpdir()}/udrbd-`);
  const program = await bundleEngine(`${dir}/bundle`);
  const ports = [await freePort(), await freePort()] as const;
  const a = new EngineProcess(program, `${dir}/a`, {}, FILES);
  const b = new EngineProcess(program, `${dir}/b`);
  t.teardown(async () => {
    await Promise.allSettled([a, b].map((engine) => engine.stop('SIGKILL')));
    rmSync(dir, { recursive: true });
  });
  createImage(`${dir}/a.img`, SIZE);
  createImage(`${dir}/b.img`, SIZE);
  await Promise.all([a.start(), b.start()]);
  const net = { 'ping-int': 1, 'connect-int': 3 };
  await configure(a, 0, `${dir}/a.img`, ports[0], ports[1], net);
  await configure(b, 1, `${dir}/b.img`, ports[1], ports[0], net);
  await a.ask('connect', { resource: 'r0', peerNodeId: 1, tentative: false, discardMyData: false });
  await b.ask('connect', { resource: 'r0', peerNodeId: 0, tentative: false, discardMyData: false });
  const together = () =>
    a.until('r0', 'the resync', ({ connections }) => {
      const { state } = connections[0]!.peerDevices[0]!;
      return state.diskState === 'UpToDate' && state.replicationState === 'Established';
    });
  await a.until('r0', 'connecting', (r) => r.connections[0]!.state.connectionState === 'Connected');
  await a.ask('primary', { resource: 'r0', force: true });
  await together();

  await t.test('no file descriptors', async (t) => {
    const path = `${a.runDir}/nbd/0.sock`;
    const nbd = await NbdClient.open(path);
    const others: Promise<NbdClient | undefined>[] = [];
    for (let i = 0; i < FILES; i++) others.push(NbdClient.open(path).catch(() => undefined));
    for (let waited = 0; !a.log.includes('accept on') && waited < 10_000; waited += 50) await sleep(50);
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
      await together();
      await load.stop();
      await together();
      t.equal(await load.wrong(), 0, `${load.acknowledged.size} blocks, ${load.records} flushed records`);
      const [x, y] = ['a', 'b'].map((node) => readImage(`${dir}/${node}.img`, 0, dataBytes(SIZE)));
      t.ok(x!.equals(y!), 'both disks hold the same data');
    }
    t.equal(nbd.connections, 1, 'the client was not cut off');
    await nbd.close();
    for (const { log } of [a, b]) t.notMatch(log, /internal error|ProtocolError|Split-Brain/);
  });
});
