/** Resyncs of two resources of one engine, one after the other. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import t from 'tap';
import { configure } from './configure.js';
import { bundleEngine, EngineProcess } from './engine-process.js';
import { freePort } from './free-port.js';
import { createImage } from './images.js';

const SIZE = 16 << 20;
/** KiB/s: not much more than a second for a device. */
const RATE = 12_000;

t.test('resync-after', async (t) => {
  const dir = mkdtempSync(`${tmpdir()}/udrbd-`);
  const program = await bundleEngine(`${dir}/bundle`);
  const nodes = [new EngineProcess(program, `${dir}/a`), new EngineProcess(program, `${dir}/b`)] as const;
  const [a, b] = nodes;
  t.teardown(async () => {
    await Promise.allSettled(nodes.map((node) => node.stop('SIGKILL')));
    rmSync(dir, { recursive: true });
  });
  await Promise.all(nodes.map((node) => node.start()));
  for (const [number, resource] of ['r0', 'r1'].entries()) {
    const ports = [await freePort(), await freePort()] as const;
    for (const [i, node] of nodes.entries()) {
      const image = `${dir}/${i}-${number}.img`;
      createImage(image, SIZE);
      const nodeId = i as 0 | 1;
      const variation = { resource, minor: 10 * number + i, resyncRate: RATE };
      // The order of the second resource is that of the node `a` only.
      const diskOptions = number === 1 && i === 0 ? { 'resync-after': 0 } : {};
      await configure(node, nodeId, image, ports[nodeId]!, ports[1 - nodeId]!, { 'max-buffers': 20_000 }, { ...variation, diskOptions });
    }
  }
  const cycle = await a.client.request('disk-options', { minor: 0, options: { 'resync-after': 10 }, setDefaults: false });
  t.equal(cycle.code, 133);
  const nowhere = await a.client.request('disk-options', { minor: 0, options: { 'resync-after': 99 }, setDefaults: false });
  t.equal(nowhere.code, 101, 'a minor that does not exist');
  for (const resource of ['r1', 'r0']) {
    for (const [i, node] of nodes.entries()) {
      await node.ask('connect', { resource, peerNodeId: 1 - i, tentative: false, discardMyData: false });
    }
    await a.until(resource, 'connecting', (r) => r.connections[0]!.state.connectionState === 'Connected');
    await a.ask('primary', { resource, force: true });
  }
  const peerOf = (r: Awaited<ReturnType<typeof a.resource>>) => r.connections[0]!.peerDevices[0]!;
  await a.until('r1', 'the pause', (r) => peerOf(r).state.replicationState === 'PausedSyncS');
  t.match(peerOf(await a.resource('r1')).state, { resyncSuspendedDependency: true });
  await b.until('r1', 'the pause at the peer', (r) => peerOf(r).state.replicationState === 'PausedSyncT');
  t.equal(peerOf(await a.resource('r0')).state.replicationState, 'SyncSource');
  const resume = await a.client.request('resume-sync', { resource: 'r1', peerNodeId: 1, volume: 0 });
  t.equal(resume.code, 156);

  await a.until('r0', 'the first resync', (r) => peerOf(r).state.diskState === 'UpToDate', 60_000);
  await a.until('r1', 'its turn', (r) => peerOf(r).state.replicationState === 'SyncSource');

  // The other way round, while the resync runs: the configuration holds at once.
  await a.ask('disk-options', { minor: 10, options: { 'resync-after': -1 }, setDefaults: false });
  await a.ask('disk-options', { minor: 0, options: { 'resync-after': 10 }, setDefaults: false });
  await a.ask('invalidate-remote', { resource: 'r0', peerNodeId: 1, volume: 0, resetBitmap: true });
  await a.until('r0', 'waiting for r1', (r) => peerOf(r).state.replicationState === 'PausedSyncS');
  await a.until('r1', 'the end of r1', (r) => peerOf(r).state.diskState === 'UpToDate', 60_000);
  await a.until('r0', 'the end of r0', (r) => peerOf(r).state.diskState === 'UpToDate', 60_000);
});
