/**
 * Nearly right conversations: 5,000 lies, half of them told by a live node, half in recordings of the kernel's. With
 * UDRBD_MUTATIONS=100000 it goes on for longer; UDRBD_MUTATIONS_SEED begins elsewhere.
 */
import t, { type Test } from 'tap';
import { honestConversation, liveConversation, RECORDED, recordedConversation } from './mutations.js';

const WANTED = Number(process.env.UDRBD_MUTATIONS ?? 5000);
const FIRST = Number(process.env.UDRBD_MUTATIONS_SEED ?? 1);
const FINDINGS_MAX = 10;
const MIB = 1 << 20;
// The long form takes nine minutes of a processor, and may have to share it.
if (WANTED > 5000) t.setTimeout(0);

/** Conversations until enough lies were told. */
function tell(t: Test, converse: (seed: number) => number): void {
  let [told, talks, findings, most] = [0, 0, 0, 0];
  for (let seed = FIRST; told < WANTED / 2 && findings < FINDINGS_MAX; seed++, talks++) {
    try {
      told += converse(seed);
    } catch (error) {
      findings++;
      t.fail(`seed ${seed}: ${(error as Error).message}`, { found: (error as Error).stack });
    }
    most = Math.max(most, process.memoryUsage().heapUsed);
  }
  t.comment(`${told} lies in ${talks} conversations, ${Math.ceil(most / MIB)} MiB of heap at most`);
  t.ok(told >= WANTED / 2);
  t.ok(most < 512 * MIB, 'memory is bounded');
}

/** Conversations that ours can not lead to their end: it would have to do at the same moment what the kernel did. */
const PARTLY: readonly string[] = [
  // It still verifies, or resyncs, when the recorded node begins the next time.
  '04-verify.s01 a',
  '04-verify.s05 a',
  '09a-pause-invalidate.s01 a',
  // Its disk does not grow.
  '09b-resize.s01 a',
  // It does not go Ahead when the kernel did.
  '15-ahead-behind.s01 a',
];

t.test('without lies a recorded conversation is heard to its end', async (t) => {
  let [heard, left] = [0, 0];
  const partly: string[] = [];
  for (const talk of RECORDED) {
    for (const own of ['a', 'b'] as const) {
      const result = honestConversation(talk, own);
      heard += result.heard;
      left += result.left;
      // The answer to our farewell may be the last one.
      if (result.left > 1) partly.push(`${talk.name} ${own}`);
    }
  }
  t.strictSame(partly, PARTLY);
  t.ok(heard > 12_000 && left < 650, `${heard} packets heard, ${left} not`);
});

t.test('a live node lies', async (t) => tell(t, liveConversation));

t.test('a recorded kernel lies', async (t) => {
  t.ok(RECORDED.length > 90);
  let heard = 0;
  tell(t, (seed) => {
    const result = recordedConversation(seed);
    heard += result.heard;
    return result.mutations;
  });
  t.comment(`${heard} packets heard`);
});
