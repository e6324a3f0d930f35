import t from 'tap';
import { OutboxQueue, SENT } from './outbox.js';

t.test('what waits in an outbox stays as it is while the outbox gets longer and goes round', async (t) => {
  const RING = 256 * 1024;
  const box = new OutboxQueue(RING);
  const waiting: { readonly n: number; readonly bytes: number }[] = [];
  let pushed = 0;
  let [mostEntries, mostBytes, wraps, lastOffset] = [0, 0, 0, 0];
  const push = (bytes: number): void => {
    const n = pushed++;
    const offset = box.push(bytes, n, 2 * n, 3 * n, SENT.Reply, n);
    box.sealLast(n % 200);
    box.arena.fill(n % 251, offset, offset + bytes);
    box.view.setUint32(offset, n);
    if (offset < lastOffset) wraps++;
    lastOffset = offset;
    waiting.push({ n, bytes });
  };
  const finish = (): void => {
    const { n, bytes } = waiting.shift()!;
    const row = box.finishOldest();
    const offset = box.headerOffset[row]!;
    const found = [box.headerBytes[row], box.payloadSlot[row], box.payloadOffset[row], box.payloadBytes[row], box.actionSlot[row]];
    const isWhole = box.view.getUint32(offset) === n && box.arena.subarray(offset + 4, offset + bytes).every((byte) => byte === n % 251);
    if (!isWhole || found.join() !== [bytes, n, 2 * n, 3 * n, n].join() || box.digest[row] !== n % 200 || row !== n % box.capacity)
      t.fail(`entry ${n}`);
  };
  // Few at a time, then as many as fit by bytes, then as many as there are rows.
  for (const [count, bytes] of [
    [100, 40],
    [60, 4000],
    [16_384, 12],
    [60, 4000],
    [16_384, 15],
  ] as const) {
    for (let i = 0; i < count; i++) push(bytes + (i % 2));
    mostEntries = Math.max(mostEntries, box.queued - box.done);
    mostBytes = Math.max(mostBytes, RING - box.freeBytes);
    while (waiting.length > 0) finish();
    t.equal(box.freeBytes, RING);
    t.equal(box.freeEntries, box.capacity);
  }
  t.ok(mostEntries === box.capacity && mostBytes > 0.9 * RING && wraps >= 2, `${mostEntries} entries, ${mostBytes} bytes, ${wraps} wraps`);
  for (let i = 0; i < box.capacity; i++) box.push(8, -1, 0, 0, SENT.Nothing, -1);
  t.throws(() => box.push(8, -1, 0, 0, SENT.Nothing, -1), /overrun/);
  box.reset();
  t.throws(() => box.push(RING + 1, -1, 0, 0, SENT.Nothing, -1), /overrun/);
});
