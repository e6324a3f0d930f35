import fc from 'fast-check';
import t from 'tap';
import { MetaWriteQueue, type QueuedMetaWrite } from './meta-write-queue.js';

t.test('overlapping writes run one after the other, in order; others at once', async (t) => {
  const queue = new MetaWriteQueue();
  const issued: string[] = [];
  const write = (name: string, offsetBytes: number): QueuedMetaWrite => ({
    offsetBytes,
    lengthBytes: 4096,
    issue: () => issued.push(name),
  });
  const first = write('first', 0);
  const second = write('second', 0);
  queue.add(first);
  queue.add(second);
  queue.add(write('elsewhere', 8192));
  t.strictSame(issued, ['first', 'elsewhere']);
  queue.done(first);
  t.strictSame(issued, ['first', 'elsewhere', 'second']);
});

t.test('whatever the order of answers, no two overlapping writes run and arrival order is kept', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ at: fc.nat(6), pages: fc.integer({ min: 1, max: 3 }), answer: fc.nat() }), { maxLength: 40 }),
      (plan) => {
        const queue = new MetaWriteQueue();
        const running: { write: QueuedMetaWrite; number: number }[] = [];
        const last = new Map<number, number>();
        plan.forEach(({ at, pages, answer }, number) => {
          const write: QueuedMetaWrite = {
            offsetBytes: at * 4096,
            lengthBytes: pages * 4096,
            issue: () => {
              for (let page = at; page < at + pages; page++) {
                if (running.some((r) => r.write.offsetBytes / 4096 <= page && page < (r.write.offsetBytes + r.write.lengthBytes) / 4096))
                  throw new Error('overlap');
                if ((last.get(page) ?? -1) > number) throw new Error('order');
                last.set(page, number);
              }
              running.push({ write, number });
            },
          };
          queue.add(write);
          if (running.length > 0 && answer % 2 === 0) queue.done(running.splice(answer % running.length, 1)[0]!.write);
        });
        while (running.length > 0) queue.done(running.shift()!.write);
        return queue.isIdle && [...last.values()].length >= 0;
      },
    ),
  );
});
