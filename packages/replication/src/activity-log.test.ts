import { AL_BLOCK_BYTES, AL_FREE, decodeAlBlock, initializedActivityLog, replayActivityLog } from '@udrbd/metadata';
import fc from 'fast-check';
import t from 'tap';
import { ActivityLog } from './activity-log.js';

/** A log together with the area on disk that it is written to. */
class Logged {
  readonly log: ActivityLog;
  readonly area: Uint8Array;
  constructor(slots: number, blocks = 8) {
    this.log = new ActivityLog(slots, 1, blocks);
    this.area = initializedActivityLog(1, blocks);
    this.blocks = blocks;
  }
  readonly blocks: number;
  write(): void {
    const at = this.log.ringBlockOf(this.log.transaction) * AL_BLOCK_BYTES;
    this.area.set(this.log.encodeTransaction(), at);
    this.log.commit();
  }
  onDisk(): number[] {
    return [...replayActivityLog(this.area, 1, this.blocks).hotExtents];
  }
}

const evicted = (log: ActivityLog): number[] =>
  Array.from({ length: log.pendingChanges }, (_, change) => log.evictedExtent(change)).filter((extent) => extent !== AL_FREE);

t.test('slots go from the highest down, updates are listed youngest first', async (t) => {
  const { log } = new Logged(1237);
  for (const extent of [7, 3, 9]) t.equal(log.prepare(extent, extent), 'joined');
  const first = decodeAlBlock(log.encodeTransaction())!;
  t.equal(first.n_updates, 3);
  t.strictSame([...first.updateSlots.subarray(0, 3)], [1234, 1235, 1236]);
  t.strictSame([...first.updateExtents.subarray(0, 3)], [9, 3, 7]);
  t.equal(first.context_size, 1237);
  t.equal(first.context_start_slot_nr, 0);
  t.ok(
    first.context.every((extent) => extent === AL_FREE),
    'the context is the content before',
  );
  log.commit();
  log.prepare(1, 1);
  const second = decodeAlBlock(log.encodeTransaction())!;
  t.equal(second.tr_number, 1);
  t.equal(second.context_start_slot_nr, 919);
  t.strictSame([...second.context.subarray(1234 - 919, 1237 - 919)], [9, 3, 7]);
  log.commit();
  t.equal(decodeAlBlock(log.encodeTransaction())!.context_start_slot_nr, 0, 'the window wraps');
});

t.test('only what was committed is hot', async (t) => {
  const { log } = new Logged(67);
  t.notOk(log.tryReference(5, 5));
  t.equal(log.prepare(5, 6), 'joined');
  t.equal(log.prepare(6, 6), 'joined', 'joins the same transaction');
  t.equal(log.pendingChanges, 2);
  t.notOk(log.tryReference(5, 5));
  log.encodeTransaction();
  t.equal(log.prepare(6, 6), 'full', 'closed while it is being written');
  t.equal(log.prepare(8, 8), 'full');
  log.commit();
  t.ok(log.tryReference(5, 6));
  t.equal(log.usedCount, 2);
});

t.test('the least recently used idle extent is given up', async (t) => {
  const logged = new Logged(4);
  const { log } = logged;
  const touch = (extent: number): void => {
    if (!log.tryReference(extent, extent)) {
      t.equal(log.prepare(extent, extent), 'joined');
      logged.write();
    }
    log.dereference(extent, extent);
  };
  for (const extent of [1, 2, 3, 4, 1]) touch(extent);
  log.prepare(5, 5);
  t.strictSame(evicted(log), [2]);
  logged.write();
  t.strictSame(logged.onDisk(), [1, 3, 4, 5]);
  t.notOk(log.isHot(2));
});

t.test('a full log starves: even hits wait until something was given up', async (t) => {
  const logged = new Logged(3);
  const { log } = logged;
  for (const extent of [1, 2, 3]) log.prepare(extent, extent);
  logged.write();
  t.equal(log.prepare(4, 4), 'starving');
  t.notOk(log.tryReference(1, 1), 'refused while starving');
  t.ok(log.isHot(1));
  log.dereference(2, 2);
  t.equal(log.prepare(4, 4), 'joined');
  t.strictSame(evicted(log), [2]);
  t.equal(log.prepare(5, 5), 'full', 'first the pending transaction has to go');
});

t.test('at most 64 changes in one transaction', async (t) => {
  const { log } = new Logged(200);
  for (let extent = 0; extent < 63; extent++) log.prepare(extent, extent);
  t.equal(log.prepare(100, 101), 'full');
  t.equal(log.prepare(100, 100), 'joined');
  t.equal(log.prepare(101, 101), 'full');
  t.equal(log.prepare(5, 5), 'joined', 'hits of the transaction do not count');
});

t.test('an idle extent of the range is not given up for its neighbour', async (t) => {
  const logged = new Logged(2);
  logged.log.prepare(1, 1);
  logged.log.prepare(9, 9);
  logged.write();
  logged.log.dereference(1, 1);
  logged.log.dereference(9, 9);
  t.equal(logged.log.prepare(1, 2), 'joined');
  t.strictSame(evicted(logged.log), [9]);
});

t.test('an aborted transaction leaves the log as it was', async (t) => {
  const logged = new Logged(3);
  const { log } = logged;
  for (const extent of [1, 2, 3]) log.prepare(extent, extent);
  logged.write();
  log.dereference(1, 1);
  log.prepare(4, 4);
  log.encodeTransaction();
  log.abort();
  t.ok(log.isHot(1));
  t.notOk(log.isHot(4));
  t.equal(log.usedCount, 2);
  log.dereference(4, 4);
  t.equal(log.usedCount, 2, 'its references are gone with it');
  t.equal(log.prepare(4, 4), 'joined');
});

type Act = { readonly op: 'write' | 'end' | 'commit'; readonly extent: number; readonly length: number };
t.test('whatever happens, the disk names every extent that is in use', async () => {
  const act = fc.record<Act>({ op: fc.constantFrom('write', 'write', 'end', 'commit'), extent: fc.nat(30), length: fc.nat(2) });
  fc.assert(
    fc.property(fc.array(act, { maxLength: 120 }), fc.constantFrom(3, 5, 12), (acts, slots) => {
      const logged = new Logged(slots, 3);
      const { log } = logged;
      const running: [number, number][] = [];
      let joined: [number, number][] = [];
      for (const { op, extent, length } of acts) {
        const last = extent + Math.min(length, slots - 1);
        if (op === 'write') {
          if (log.tryReference(extent, last)) running.push([extent, last]);
          else if (log.prepare(extent, last) === 'joined') joined.push([extent, last]);
        } else if (op === 'end') {
          const ended = running.shift();
          if (ended !== undefined) log.dereference(...ended);
        } else if (log.hasPending || joined.length > 0) {
          logged.write();
          running.push(...joined);
          joined = [];
        }
        const onDisk = new Set(logged.onDisk());
        for (const [from, to] of running) for (let e = from; e <= to; e++) if (!onDisk.has(e)) return false;
        for (const hot of log.hotExtents()) if (!onDisk.has(hot)) return false;
      }
      const used = new Set([...running, ...joined].flatMap(([from, to]) => Array.from({ length: to - from + 1 }, (_, i) => from + i)));
      return log.usedCount === used.size;
    }),
    { numRuns: 400 },
  );
});

t.test('forgetting what is idle, and updates without a block', async (t) => {
  const { log } = new Logged(4);
  log.prepare(1, 1);
  log.prepare(2, 2);
  log.commitUnwritten();
  t.equal(log.transaction, 0);
  t.ok(log.tryReference(1, 2));
  log.dereference(1, 1);
  log.dereference(1, 1);
  log.forgetIdle();
  t.notOk(log.isHot(1));
  t.ok(log.isHot(2));
});
