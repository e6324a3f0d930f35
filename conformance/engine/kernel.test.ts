/** An engine with a ublk device opposite the kernel's DRBD: both in one virtual machine, then in two on a network. */
import { join } from 'node:path';
import t from 'tap';
import { repository } from '../vm/cache.js';
import { assertChecks } from '../vm/guest-checks.js';
import { runVm } from '../vm/machine.js';
import { runPair } from '../vm/pair.js';

const SCRIPT = join(repository, 'conformance/engine/kernel-checks.sh');

t.test('one machine', async (t) => {
  assertChecks(t, await runVm({ script: SCRIPT, timeout: 600 }));
});

t.test('two machines', async (t) => {
  const [ours, kernel] = await runPair({ scripts: [SCRIPT, join(repository, 'conformance/engine/kernel-side.sh')], timeout: 600 });
  assertChecks(t, ours);
  t.same(kernel.end, { kind: 'exited', status: 0 });
  t.same(kernel.complaints, [], "the other machine's kernel has nothing to complain about");
});
