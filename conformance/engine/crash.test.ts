/** kill -9 of either side while the Primary writes: after the restart the nodes find together and hold the same data. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { run as drbdmeta } from '@udrbd/drbdmeta';
import t from 'tap';
import { bundleEngine, EngineProcess } from './engine-process.js';
import { freePort } from './free-port.js';
import { createImage, dataBytes, readImage } from './images.js';
import { NbdClient } from './nbd-client.js';

const SIZE = 32 << 20;
const BLOCKS = 4096;

t.test('crashes under load', async (t) => {
  const dir = mkdtempSync(`${tmpdir()}/udrbd-`);
  const program = await bundleEngine(`${dir}/bundle`);
  const ports = [await freePort(), await freePort()];
  const nodes = [0, 1].map((nodeId) => ({
    nodeId,
    engine: new EngineProcess(program, `${dir}/${nodeId}`),
    image: `${dir}/${nodeId}.img`,
  }));
  const [a, b] = nodes as [(typeof nodes)[0], (typeof nodes)[0]];
  t.teardown(async () => {
    await Promise.allSettled(nodes.map(({ engine }) => engine.stop('SIGKILL')));
    rmSync(dir, { recursive: true });
  });

  /** What drbdadm up does on a node. */
  const up = async ({ nodeId, engine, image }: (typeof nodes)[0]) => {
    const peerNodeId = 1 - nodeId;
    const said: string[] = [];
    const status = await drbdmeta(['--force', String(nodeId), 'v09', image, 'internal', 'apply-al'], {
      stdout: (text) => void said.push(String(text)),
      stderr: (text) => void said.push(text),
      env: { UDRBD_LOCK_DIR: dir },
      stdinIsTty: false,
      stdoutIsTty: false,
      readLine: async () => null,
      isAttached: async () => false,
    });
    t.equal(status, 0, said.join(''));
    await engine.ask('new-resource', { resource: 'r0', nodeId, options: {} });
    await engine.ask('new-minor', { resource: 'r0', minor: nodeId, volume: 0, options: {} });
    await engine.ask('attach', { minor: nodeId, backingDev: image, metaDev: image, metaIndex: -3, options: {} });
    await engine.ask('new-peer', { resource: 'r0', peerNodeId, options: { _name: 'peer', 'connect-int': 1 } });
    await engine.ask('peer-device-options', {
      resource: 'r0',
      peerNodeId,
      volume: 0,
      options: { 'c-plan-ahead': 0, 'resync-rate': 200_000 },
      setDefaults: false,
    });
    await engine.ask('new-path', {
      resource: 'r0',
      peerNodeId,
      local: { family: 'ipv4', address: '127.0.0.1', port: ports[nodeId] },
      remote: { family: 'ipv4', address: '127.0.0.1', port: ports[peerNodeId] },
    });
    await engine.ask('connect', { resource: 'r0', peerNodeId, tentative: false, discardMyData: false });
  };
  const together = () =>
    a.engine.until('r0', 'the resync', ({ devices, connections }) => {
      const peer = connections[0]!.peerDevices[0]!.state;
      return devices[0]!.state.diskState === 'UpToDate' && peer.diskState === 'UpToDate' && peer.replicationState === 'Established';
    });

  for (const { image } of nodes) createImage(image, SIZE);
  await Promise.all(nodes.map(({ engine }) => engine.start()));
  for (const node of nodes) await up(node);
  await a.engine.until('r0', 'connecting', (r) => r.connections[0]!.state.connectionState === 'Connected');
  await a.engine.ask('primary', { resource: 'r0', force: true });
  await together();

  for (const victim of [b, a, b, a]) {
    const nbd = await NbdClient.open(`${a.engine.runDir}/nbd/0.sock`);
    /** Per block: content that was acknowledged, and what may have been written since. */
    const acknowledged = new Map<number, Buffer>();
    const possible = new Map<number, Buffer[]>();
    let isStopping = false;
    const writers = Array.from({ length: 16 }, async (_, writer) => {
      while (!isStopping) {
        // Each writer has blocks of its own, so that writes to one block are in order.
        const block = Math.floor((Math.random() * BLOCKS) / 16) * 16 + writer;
        const data = randomBytes(4096);
        possible.set(block, [...(possible.get(block) ?? []), data]);
        try {
          await nbd.write(block * 4096, data);
        } catch {
          return;
        }
        acknowledged.set(block, data);
        possible.set(block, []);
      }
    });
    await sleep(400);
    await victim.engine.stop('SIGKILL');
    await sleep(300);
    isStopping = true;
    await Promise.all(writers);
    nbd.destroy();
    await victim.engine.start();
    await up(victim);
    if (victim === a) {
      await a.engine.until('r0', 'the handshake', (r) => r.devices[0]!.state.diskState === 'UpToDate');
      await a.engine.ask('primary', { resource: 'r0', force: false });
    }
    await together();
    const reader = await NbdClient.open(`${a.engine.runDir}/nbd/0.sock`);
    let lost = 0;
    for (const [block, data] of acknowledged) {
      const now = await reader.read(block * 4096, 4096);
      if (!now.equals(data) && !possible.get(block)!.some((other) => now.equals(other))) lost++;
    }
    await reader.flush();
    await reader.close();
    t.equal(lost, 0, `${acknowledged.size} acknowledged blocks after killing node ${victim.nodeId}`);
    const [x, y] = nodes.map(({ image }) => readImage(image, 0, dataBytes(SIZE)));
    t.ok(x!.equals(y!), 'both disks hold the same data');
  }
  for (const { engine } of nodes) t.notMatch(engine.log, /internal error/);
});
