/** Two engines with ublk devices in a virtual machine: file system, failover, read-only Secondary, tidy end. */
import { join } from 'node:path';
import t from 'tap';
import { repository } from '../vm/cache.js';
import { assertChecks } from '../vm/guest-checks.js';
import { runVm } from '../vm/machine.js';

assertChecks(t, await runVm({ script: join(repository, 'conformance/engine/ublk-checks.sh'), timeout: 600 }));
