import t from 'tap';
import {
  clearBitmapUuid,
  formatGenerations,
  type Generations,
  newCurrent,
  setBitmapUuid,
  sourceResyncEnd,
  sourceResyncStart,
  syncUuidOf,
  targetResyncEnd,
  targetResyncStart,
  uuidEqual,
} from './generations.js';

const NODE_A: Generations = { current: 0x7ff46270902150cfn, bitmap: 0n, history: [0xf15000000006n, 4n] };
const NODE_B: Generations = { ...NODE_A, current: 0x7ff46270902150cen };

t.test('a write alone, then a bitmap resync: the recorded life of two nodes', async (t) => {
  // a lost b and begins a new generation; b keeps the old one.
  const alone = newCurrent(NODE_A, 0xf7d4eb7c6842b6c6n, true);
  t.strictSame(alone, { current: 0xf7d4eb7c6842b6c7n, bitmap: 0x7ff46270902150cfn, history: NODE_A.history });
  const sync = syncUuidOf(alone.bitmap, 1n);
  t.equal(sync, 0x7ff56270902150cfn);
  const source = sourceResyncStart(alone, sync);
  t.strictSame(source, { current: alone.current, bitmap: sync, history: [0x7ff46270902150cfn, NODE_A.history[0]] });
  const target = targetResyncStart(NODE_B, sync);
  t.strictSame(target, { current: 0x7ff56270902150cen, bitmap: 0n, history: NODE_B.history });
  const sourceDone = sourceResyncEnd(source);
  t.strictSame(sourceDone, { current: alone.current, bitmap: 0n, history: [sync, 0x7ff46270902150cfn] });
  // The target inherits the set that the source had at the handshake.
  const targetDone = targetResyncEnd(target, alone);
  t.strictSame(targetDone, { current: 0xf7d4eb7c6842b6c6n, bitmap: 0n, history: [0x7ff56270902150cen, 0x7ff46270902150cfn] });
  t.equal(formatGenerations(targetDone), formatGenerations(sourceDone), 'equal but for bit 0');
});

t.test('a sync UUID that is sent again: both sides end with the same set', async (t) => {
  const begun: Generations = { current: 0xd1n, bitmap: 0x1_0000_0000_00a1n, history: [0xa1n, 0xb0n] };
  const target = targetResyncStart({ current: 0xe0n, bitmap: 0xa0n, history: [0xb0n, 0xc0n] }, begun.bitmap);
  t.equal(formatGenerations(targetResyncEnd(target, begun)), formatGenerations(sourceResyncEnd(begun)));
});

t.test('a sync UUID is random when there is nothing to derive it from', async (t) => {
  for (const bitmap of [0n, 1n, 4n, 5n]) t.equal(syncUuidOf(bitmap, 99n), 99n);
  t.equal(syncUuidOf(0xffff_0000_0000_00a0n, 99n), 0xa0n, 'wraps at 64 bits');
});

t.test('rotations', async (t) => {
  t.equal(clearBitmapUuid(NODE_A), NODE_A);
  const twice = setBitmapUuid({ ...NODE_A, bitmap: 7n }, 8n);
  t.strictSame(twice, { current: NODE_A.current, bitmap: 8n, history: [7n, NODE_A.history[0]] });
  t.ok(uuidEqual(NODE_A.current, NODE_B.current));
  t.equal(
    formatGenerations({ current: 5n, bitmap: 1n, history: [0xabn, 0n] }),
    '0000000000000004:0000000000000000:00000000000000AA:0000000000000000',
  );
});
