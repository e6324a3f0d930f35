/**
 * kill -9 of the engine under a mounted file system, in a virtual machine: the devices outlive it. UDRBD_KILLS sets how often the Primary
 * is killed at rest.
 */
import { join } from 'node:path';
import t from 'tap';
import { repository } from '../vm/cache.js';
import { assertChecks } from '../vm/guest-checks.js';
import { runVm } from '../vm/machine.js';

const kills = process.env.UDRBD_KILLS ?? '2';
const timeout = 600 + 20 * Number(kills);
assertChecks(t, await runVm({ script: join(repository, 'conformance/engine/recovery-checks.sh'), args: [kills], timeout }));
