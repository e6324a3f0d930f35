/**
 * kill -9 of the engine under a mounted file system, upgrades and ends, in a virtual machine: the devices outlive it. Takes minutes, so it
 * wants to be asked for: UDRBD_KILLS says how often the Primary is killed one time after the other. A short form is part of ublk.test.ts.
 */
import { join } from 'node:path';
import t from 'tap';
import { repository } from '../vm/cache.js';
import { assertChecks } from '../vm/guest-checks.js';
import { runVm } from '../vm/machine.js';

const kills = process.env.UDRBD_KILLS;
if (kills === undefined) t.plan(0, 'UDRBD_KILLS is not set');
else {
  const timeout = 600 + 40 * Number(kills);
  assertChecks(t, await runVm({ script: join(repository, 'conformance/engine/recovery-checks.sh'), args: [kills], timeout }));
}
