/** The unit as systemd runs it: start, a kill, reload, stop, and the shutdown of the host. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient } from '@udrbd/control';
import t, { type Test } from 'tap';
import { configure } from './configure.js';
import { bundleEngine, transport } from './engine-process.js';
import { freePort } from './free-port.js';
import { createImage } from './images.js';
import { Load } from './load.js';
import { ReconnectingClient } from './reconnecting-client.js';
import { noSystemd, SystemdContainer } from './systemd-container.js';

const SIZE = 64 << 20;
const SERVICE = 'udrbd-engine';

/** CAP_SYS_RESOURCE. */
const mayRaiseLimits = (): boolean => {
  const [, effective = '0'] = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return ((BigInt(`0x${effective}`) >> 24n) & 1n) === 1n;
};

const reason = noSystemd();
if (reason !== undefined) t.plan(0, reason);
else
  t.test('the unit', async (t) => {
    const dir = mkdtempSync(`${tmpdir()}/udrbd-`);
    const program = await bundleEngine(`${dir}/bundle`);
    const host = await SystemdContainer.start(dir, `${process.execPath} ${program}`);
    t.teardown(async () => {
      host.kill();
      await host.ended;
      rmSync(dir, { recursive: true });
    });
    // Devices are served before the control socket is.
    const client = async () => {
      for (let waited = 0; ; waited += 50) {
        try {
          return createClient(await transport(host.path('/run/udrbd/control.sock')));
        } catch (error) {
          if (waited > 20_000) throw error;
          await sleep(50);
        }
      }
    };
    const role = async () => {
      const c = await client();
      const { data } = await c.request('snapshot', {});
      c.close();
      return data!.resources[0]?.state.role;
    };

    await host.systemctl('start', SERVICE);
    t.equal(await host.property('ActiveState'), 'active');
    const first = await host.mainPid();
    t.equal(Number(readFileSync(host.path('/run/udrbd/engine.lock'), 'utf8')), first.inside, 'the engine itself is the main process');
    for (const [name, wanted] of [
      ['OOMScoreAdjust', '-1000'],
      ['LimitMEMLOCK', 'infinity'],
      ['MemorySwapMax', '0'],
    ] as const) {
      t.equal(await host.property(name), wanted, name);
    }
    // A container may be denied what the unit asks for.
    if (mayRaiseLimits()) t.equal(readFileSync(`/proc/${first.here}/oom_score_adj`, 'utf8').trim(), '-1000');

    createImage(`${dir}/a.img`, SIZE);
    const control = await client();
    const ask: Parameters<typeof configure>[0]['ask'] = async (command, parameters) => {
      const reply = await control.request(command, parameters as never);
      if (reply.code !== 101) throw new Error(`${command}: ${reply.code} ${reply.info.join(' ')}`);
    };
    await configure({ ask }, 0, `${dir}/a.img`, await freePort(), await freePort());
    await ask('primary', { resource: 'r0', force: true });
    control.close();

    const nbd = await ReconnectingClient.open(host.path('/run/udrbd/nbd/0.sock'));
    t.teardown(() => nbd.destroy());
    const under = async (t: Test, what: () => Promise<unknown>) => {
      const load = new Load(nbd);
      await load.progress();
      await what();
      await load.progress();
      await load.stop();
      t.equal(await load.wrong(), 0, `${load.acknowledged.size} blocks, ${load.records} flushed records`);
      t.equal(await role(), 'Primary');
    };

    await t.test('kill -9: systemd starts the next one, which takes over', async (t) => {
      await under(t, async () => process.kill(first.here, 'SIGKILL'));
      t.equal(await host.property('NRestarts'), '1');
      t.not((await host.mainPid()).inside, first.inside);
      t.equal(await host.property('ActiveState'), 'active');
    });

    await t.test('reload: to another process, without a restart', async (t) => {
      const before = await host.mainPid();
      await under(t, () => host.systemctl('reload', SERVICE));
      for (let waited = 0; (await host.property('MainPID')) === String(before.inside) && waited < 10_000; waited += 50) await sleep(50);
      const { inside } = await host.mainPid();
      t.not(inside, before.inside);
      t.equal(Number(readFileSync(host.path('/run/udrbd/engine.lock'), 'utf8')), inside, 'systemd knows the new one');
      t.equal(await host.property('NRestarts'), '1');
      t.equal(await host.property('ActiveState'), 'active');
    });

    await t.test('stop and start: a client is left to the next one', async (t) => {
      await under(t, async () => {
        await host.systemctl('stop', SERVICE);
        t.equal(await host.property('ActiveState'), 'inactive');
        t.equal(await host.property('Result'), 'success');
        t.ok(existsSync(host.path('/run/udrbd/journal.json')), 'the run directory outlives it');
        await host.systemctl('start', SERVICE);
      });
    });

    await t.test('the host goes down: so does the engine, in good order', async (t) => {
      await nbd.close();
      const { here } = await host.mainPid();
      const log = host.path('/run/udrbd/engine.log');
      let said = '';
      const watch = setInterval(() => {
        try {
          said = readFileSync(log, 'utf8');
        } catch {
          // It is gone with the container.
        }
      }, 5);
      t.teardown(() => clearInterval(watch));
      await host.systemctl('--no-block', 'poweroff');
      await host.ended;
      clearInterval(watch);
      t.notOk(existsSync(`/proc/${here}`));
      t.match(said, /SIGTERM: going down\n/);
      t.match(said, / ended\n$/);
      t.notMatch(said, /internal error/);
    });
  });
