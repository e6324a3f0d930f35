import type { ResyncPlace } from '@udrbd/replication';
import t from 'tap';
import { ResyncOrder } from './resync-order.js';

const queue: (() => void)[] = [];

/** Volumes that do what they are told at once, as cores do with their next settle. */
class Host {
  readonly places = new Map<number, ResyncPlace>();
  readonly #order: ResyncOrder;
  constructor(order: ResyncOrder) {
    this.#order = order;
  }
  set(minor: number, change: Partial<ResyncPlace>): void {
    const place = { after: -1, hasDisk: true, isBusy: false, isWaiting: false, ...this.places.get(minor), ...change };
    this.places.set(minor, place);
    this.#order.moved(this, minor, minor, place);
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) next();
  }
  resyncDependency(volume: number, mustWait: boolean): void {
    queue.push(() => this.set(volume, { isWaiting: mustWait, isBusy: mustWait || this.syncing.has(volume) }));
  }
  readonly syncing = new Set<number>();
  waiting(): number[] {
    return [...this.places].filter(([, { isWaiting }]) => isWaiting).map(([minor]) => minor);
  }
}

t.test('volumes sync one after the other', async (t) => {
  const order = new ResyncOrder();
  const [a, b] = [new Host(order), new Host(order)];
  a.set(0, {});
  b.set(1, { after: 0 });
  a.set(2, { after: 1 });
  a.syncing.add(0);
  b.syncing.add(1);
  a.syncing.add(2);
  a.set(2, { isBusy: true });
  b.set(1, { isBusy: true });
  t.same([a.waiting(), b.waiting()], [[2], []]);
  a.set(0, { isBusy: true });
  t.same([a.waiting(), b.waiting()], [[2], [1]]);
  a.syncing.delete(0);
  a.set(0, { isBusy: false });
  t.same([a.waiting(), b.waiting()], [[2], []], 'the second goes on, the third waits for it');
  b.syncing.delete(1);
  b.set(1, { isBusy: false });
  t.same([a.waiting(), b.waiting()], [[], []]);
  a.set(0, { isBusy: true });
  b.set(1, { after: -1 });
  t.same([a.waiting(), b.waiting()], [[], []], 'another configuration holds at once');
  b.set(1, { after: 0 });
  t.same([a.waiting(), b.waiting()], [[2], [1]]);
  order.left(a);
  t.same(b.waiting(), [1]);
  b.set(1, {});
  t.same(b.waiting(), [], 'nobody waits for a resource that is gone');
});
