// ublk-napi on a kernel that has ublk: guest/ublk-checks.sh, in one boot.
import { join } from 'node:path';
import t from 'tap';
import { repository } from './cache.js';
import { assertChecks } from './guest-checks.js';
import { runVm } from './machine.js';

// A server that is killed below a file system leaves the kernel's write errors in the log; those are wanted.
const script = join(repository, 'conformance/vm/guest/ublk-checks.sh');
assertChecks(t, await runVm({ script, memory: 1536, timeout: 800 }));
