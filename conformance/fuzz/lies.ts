/** The conversations of conformance/wire/mutations.ts as targets: a node that lies, live or recorded, with what it remembers of what it said. */
import type { Fuzzer, Target } from './target.js';

/** Reads all recordings when it is loaded: only for those who run it. */
const mutations = (): Promise<typeof import('../wire/mutations.js')> => import('../wire/mutations.js');
const bySeed = (what: string, run: (seed: number) => void): Fuzzer => ({
  input: (seed) => new TextEncoder().encode(`${what}, seed ${seed}\n`),
  run,
});

export const liars: Target = {
  name: 'liars',
  what: 'a core opposite a live node that lies',
  short: 10,
  open: async () => {
    const { liveConversation } = await mutations();
    return bySeed('live conversation', (seed) => void liveConversation(seed));
  },
};

export const recordedLiars: Target = {
  name: 'recorded-liars',
  what: 'a core in the place of a kernel in recorded conversations, with lies of the other one',
  short: 10,
  open: async () => {
    const { recordedConversation } = await mutations();
    return bySeed('recorded conversation', (seed) => void recordedConversation(seed));
  },
};
