import fc from 'fast-check';
import t from 'tap';
import { ShortList } from './short-list.js';
import { SlotQueue } from './slot-queue.js';

t.test('a short list does what an array does', async () => {
  fc.assert(
    fc.property(fc.array(fc.record({ what: fc.constantFrom('push', 'pop', 'remove'), at: fc.nat(9) })), (plan) => {
      const list = new ShortList<{ readonly n: number }>();
      const model: { readonly n: number }[] = [];
      plan.forEach(({ what, at }, n) => {
        if (what === 'push') {
          const item = { n };
          list.push(item);
          model.push(item);
        } else if (what === 'pop') {
          if (list.pop() !== model.pop()) throw new Error('another one');
        } else {
          // Also one that is not there.
          const item = model[at] ?? { n: -1 };
          list.remove(item);
          if (at < model.length) model.splice(at, 1);
        }
        if (list.length !== model.length || model.some((item, i) => list.at(i) !== item)) throw new Error('not the same');
      });
    }),
  );
});

t.test('a queue of slots does what an array does, and has room for each slot once', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.boolean()), (plan) => {
      const queue = new SlotQueue(5);
      const model: number[] = [];
      plan.forEach((isPush, n) => {
        if (isPush && model.length < 5) {
          queue.push(n);
          model.push(n);
        } else if (model.length > 0 && queue.shift() !== model.shift()) throw new Error('another one');
        if (queue.length !== model.length || model.some((slot, i) => queue.at(i) !== slot)) throw new Error('not the same');
      });
    }),
  );
  const full = new SlotQueue(1);
  full.push(0);
  t.throws(() => full.push(0), /queued twice/);
});
