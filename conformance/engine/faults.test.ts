/** File systems on ublk while links break, the peer is killed and disks fail. */
import { join } from 'node:path';
import t from 'tap';
import { repository } from '../vm/cache.js';
import { assertChecks } from '../vm/guest-checks.js';
import { runVm } from '../vm/machine.js';

assertChecks(t, await runVm({ script: join(repository, 'conformance/engine/faults-checks.sh'), memory: 1536, timeout: 960 }));
