/**
 * kill -9 of either engine under load. Nobody does anything but start the program again: it takes over what its journal says, and the
 * clients, which connect again, see a pause. UDRBD_KILLS sets how often.
 */
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import type { EngineProcess } from './engine-process.js';
import { Load } from './load.js';
import { ReconnectingClient } from './reconnecting-client.js';
import { TwoEngines } from './two-engines.js';

const SIZE = 64 << 20;
const KILLS = Number(process.env.UDRBD_KILLS ?? 4);

t.test('crashes under load', async (t) => {
  const two = await TwoEngines.start(t, { size: SIZE });
  const { a, b } = two;
  await two.bringUp({ 'connect-int': 10, 'cram-hmac-alg': 'sha256', 'shared-secret': 'not for everybody' });
  for (const { runDir } of [a, b]) t.equal(statSync(`${runDir}/journal.json`).mode & 0o777, 0o600, 'the journal holds secrets');

  /** Role, options and connections, as `show` prints them. */
  const configured = async (engine: EngineProcess) => {
    const { name, state, options, devices, connections } = await engine.resource('r0');
    return {
      name,
      role: state.role,
      options,
      devices: devices.map(({ minor, options, disk }) => ({ minor, options, disk })),
      connections: connections.map(({ peerNodeId, options, paths, peerDevices }) => ({
        peerNodeId,
        options,
        paths: paths.map(({ local, remote }) => ({ local, remote })),
        peerDevices: peerDevices.map(({ volume, options }) => ({ volume, options })),
      })),
    };
  };
  const before = [await configured(a), await configured(b)];

  const nbd = await ReconnectingClient.open(`${a.runDir}/nbd/0.sock`);
  t.teardown(() => nbd.destroy());
  const pauses: number[] = [];
  const logs: string[] = [];
  for (let kill = 0; kill < KILLS; kill++) {
    // Two of three hit the Primary; one of four hits the engine that is just taking over.
    const victim = kill % 3 === 2 ? b : a;
    const load = new Load(nbd);
    await sleep(100 + Math.random() * 500);
    const killedAt = performance.now();
    await victim.stop('SIGKILL');
    const progress = load.progress();
    if (kill % 4 === 3) {
      const start = victim.start().catch(() => undefined);
      await sleep(100 + Math.random() * 300);
      await victim.stop('SIGKILL');
      await start;
    }
    await victim.start();
    const resumedAt = await progress;
    if (victim === a && kill % 4 !== 3) pauses.push(resumedAt - killedAt);
    await two.inSync();
    await load.stop();
    await two.inSync();
    await nbd.flush();
    const what = `${load.acknowledged.size} blocks, ${load.records} flushed records`;
    t.equal(await load.wrong(), 0, `kill ${kill} (node ${victim === a ? 'a' : 'b'}): ${what}`);
    t.ok(two.areEqual(), 'both disks hold the same data');
    logs.push(victim.log);
  }
  t.strictSame([await configured(a), await configured(b)], before, 'everything is as it was');
  t.ok(nbd.connections > 1);
  pauses.sort((x, y) => x - y);
  t.comment(`pauses of the Primary's clients, ms: ${pauses.map(Math.round).join(' ')}`);
  for (const log of [...logs, a.log, b.log]) t.notMatch(log, /internal error|ProtocolError|not for everybody|Split-Brain/);

  t.test('a journal that does not count', async (t) => {
    await nbd.close();
    const path = `${b.runDir}/journal.json`;
    await b.stop('SIGKILL');
    const text = readFileSync(path, 'utf8');
    writeFileSync(path, text.replace(/"version": \d+/, '"version": 99'));
    await t.rejects(b.start(), /was written by a newer engine \(version 99, this engine knows \d+\)/);
    t.match(readFileSync(path, 'utf8'), /"version": 99/, 'and it stays for that engine');
    writeFileSync(path, text.replace(/"bootId": ".*"/, '"bootId": "before"'));
    await b.start();
    t.equal((await b.client.request('snapshot', {})).data!.resources.length, 0, 'after a reboot nothing is set up');
  });
});
