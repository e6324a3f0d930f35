/** Every decoder that the fuzzer feeds. The short form in scripts/test and the long one of scripts/fuzz read this table. */
import { answers, commandLines } from './command-targets.js';
import { conversations } from './conversation.js';
import { activityLogs, attach, drbdmeta, dumpTexts, superblocks } from './disk-targets.js';
import { liars, recordedLiars } from './lies.js';
import { fuzzer, holds, type Target } from './target.js';
import { configuration, control, journals, show } from './text-targets.js';
import { ublkControl, ublkRequests } from './ublk-targets.js';
import { bitmaps, nbd, packets } from './wire-targets.js';

export const TARGETS: readonly Target[] = [
  packets,
  bitmaps,
  conversations,
  liars,
  recordedLiars,
  superblocks,
  activityLogs,
  dumpTexts,
  drbdmeta,
  attach,
  configuration,
  show,
  control,
  journals,
  nbd,
  answers,
  commandLines,
  ublkRequests,
  ublkControl,
];

/** Does on purpose what no decoder may: it shows that the fuzzer would notice. Runs only when it is named. */
export const canary: Target = {
  name: 'canary',
  what: 'throws, never ends, or ends its process',
  short: 0,
  open: () => {
    const { input } = fuzzer(
      (prng) => prng.bytes(4),
      () => undefined,
      (bytes) => bytes,
    );
    return {
      input,
      run: (seed) => {
        holds(seed % 10 !== 3, 'on purpose');
        while (seed % 10 === 5);
        if (seed % 10 === 7) process.abort();
      },
    };
  },
};
