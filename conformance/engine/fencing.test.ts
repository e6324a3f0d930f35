/** A Primary that loses its peer freezes until the fence-peer handler has an answer; the handler's environment; the way back. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { loseNode } from './engine-process.js';
import { NbdClient } from './nbd-client.js';
import { TwoEngines } from './two-engines.js';

const SIZE = 8 << 20;
const NET = { fencing: 'resource-and-stonith', timeout: 20, 'ping-timeout': 10, 'ping-int': 2 } as const;

async function untilThere(path: string): Promise<void> {
  for (let waited = 0; !existsSync(path); waited += 50) {
    if (waited > 20_000) throw new Error(`no ${path}`);
    await sleep(50);
  }
}

t.test('fencing', async (t) => {
  const two = await TwoEngines.start(t, { size: SIZE, environment: (dir) => [{ UDRBD_USERMODE_HELPER: `${dir}/helper` }, {}] });
  const { dir, a, b } = two;
  // fence-peer writes down its environment and answers when it is told what.
  writeFileSync(
    `${dir}/helper`,
    `#!/bin/sh
case $1 in
  fence-peer) env > ${dir}/env.new; mv ${dir}/env.new ${dir}/env; while [ ! -e ${dir}/answer ]; do sleep 0.1; done; exit $(cat ${dir}/answer) ;;
  unfence-peer) : > ${dir}/unfenced ;;
esac
`,
    { mode: 0o755 },
  );
  t.teardown(() => writeFileSync(`${dir}/answer`, '1'));
  await two.bringUp(NET);
  await untilThere(`${dir}/unfenced`);
  rmSync(`${dir}/unfenced`);
  const nbd = await NbdClient.open(`${a.runDir}/nbd/0.sock`);
  await nbd.write(0, Buffer.alloc(4096, 1));

  await loseNode(b);
  await a.until('r0', 'the freeze', (r) => r.state.suspendedFencing);
  let isWritten = false;
  const written = nbd.write(4096, Buffer.alloc(4096, 2)).then(() => {
    isWritten = true;
  });
  await untilThere(`${dir}/env`);
  t.notOk(isWritten, 'frozen while the handler runs');
  const environment = new Set(readFileSync(`${dir}/env`, 'utf8').split('\n'));
  for (const line of ['UP_TO_DATE_NODES=0x00000001', 'DRBD_PEER_NODE_ID=1', 'DRBD_MINOR_0=0', `DRBD_BACKING_DEV_0=${dir}/a.img`]) {
    t.ok(environment.has(line), line);
  }
  writeFileSync(`${dir}/answer`, '4');
  await written;
  const alone = await a.resource('r0');
  t.equal(alone.connections[0]!.peerDevices[0]!.state.diskState, 'Outdated');
  t.notOk(alone.state.suspendedFencing);
  t.match(a.log, 'fence-peer helper returned 4 (peer was fenced)');

  await b.start();
  await two.configureNode(1, NET);
  t.equal((await b.resource('r0')).devices[0]!.state.diskState, 'Consistent', 'nobody knows what the peer did meanwhile');
  const refused = await b.client.request('primary', { resource: 'r0', force: false });
  t.equal(refused.code, -2, 'no promotion while the peer may be better');
  t.match(b.log, 'fence-peer helper broken, returned 0');
  await two.connectNode(1);
  await a.until('r0', 'the resync', (r) => r.connections[0]!.peerDevices[0]!.state.diskState === 'UpToDate');
  await untilThere(`${dir}/unfenced`);
  await nbd.close();
  for (const engine of [a, b]) t.notMatch(engine.log, /internal error|ProtocolError/);
});
