// Commands that are cut off at every single write, or whose device fails there: what is on disk afterwards is the old or the new meta-data,
// its bitmap has at least the bits that belong to it, and the same command succeeds when it is given again.

import { readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import {
  covers,
  dirty,
  drbdmeta,
  encoded,
  enterScratch,
  found,
  given,
  Interruption,
  scenarios,
  setFault,
  writeDumps,
} from './testing/interruption.js';

t.teardown(enterScratch());
t.before(writeDumps);

for (const scenario of scenarios) {
  const { title, command } = scenario;
  t.test(title, async (t) => {
    const interruption = new Interruption(scenario);
    const done = await interruption.complete();
    t.equal(done.status, 0, done.err);
    t.equal(interruption.leavesMetaData, command[0] !== 'wipe-md');
    const { counts } = done;
    t.ok(counts.write > 0);
    const judge = (): string => interruption.judge();
    const start = (): void => interruption.start();

    for (let at = 0; at < counts.write; at++) {
      for (const torn of [undefined, 4096]) {
        start();
        setFault({ call: 'write', at, code: at % 2 === 0 ? 'EIO' : 'ENOSPC', ...(torn === undefined ? {} : { torn }) });
        const cut = await interruption.run();
        setFault(undefined);
        t.equal(cut.status, 10, `write ${at} fails`);
        t.match(cut.err, /^pwrite\(\d,\.\.\.,\d+,\d+\) in .* failed: (Input\/output error|No space left on device)$/m);
        t.equal(judge(), 'ok', `cut at write ${at}${torn === undefined ? '' : `, ${torn} bytes of it written`}`);
        const again = await interruption.run();
        // What was complete is asked about differently, or is no longer there to be wiped.
        if (!scenario.answers) t.equal(again.status, 0, again.err);
        t.equal(judge(), 'ok');
      }
    }
    for (let at = 0; at < counts.fsync; at++) {
      start();
      setFault({ call: 'fsync', at, code: 'EIO' });
      const cut = await interruption.run();
      setFault(undefined);
      t.match(cut, { status: 10, err: /fsync\(img\) failed: Input\/output error/ }, `flush ${at} fails`);
      t.equal(judge(), 'ok');
    }
    for (let at = 0; at < counts.read; at++) {
      start();
      setFault({ call: 'read', at, code: at % 2 === 0 ? 'EIO' : 'ENXIO' });
      const cut = await interruption.run();
      setFault(undefined);
      const isDump = cut.status === 2;
      t.match(
        cut.err,
        isDump
          ? /input in flex scanner failed/
          : /pread\(\d,\.\.\.,\d+,\d+\) in \S+ failed: (Input\/output error|No such device or address)/,
      );
      t.equal(cut.status, isDump ? 2 : 10, `read ${at} fails`);
      t.equal(judge(), 'ok');
    }
  });
}

t.test('a log that was not applied completely is applied by the next run', async (t) => {
  const before = given('v09', 'internal', dirty);
  writeFileSync('img', before.bytes);
  setFault(undefined);
  const argv = ['--force', '-', 'v09', 'img', 'flex-internal', 'apply-al'];
  const { counts } = await drbdmeta(argv);
  const wanted = found(readFileSync('img'), 'v09', 'internal', [before.bytes.length])!;
  for (let at = 0; at < counts.write; at++) {
    writeFileSync('img', before.bytes);
    setFault({ call: 'write', at, code: 'EIO', torn: 4096 });
    await drbdmeta(argv);
    setFault(undefined);
    t.match(await drbdmeta(argv), { status: 0 });
    const now = found(readFileSync('img'), 'v09', 'internal', [before.bytes.length])!;
    t.ok(covers(now.bitmap, wanted.bitmap), `cut at write ${at}`);
    t.equal(encoded(now.md), encoded(wanted.md));
  }
});
