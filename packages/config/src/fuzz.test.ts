/**
 * Mutated configurations through scanner, grammar and everything behind it: no crash, no hang, bounded memory. CONFIG_FUZZ=1000000 runs
 * more of them.
 */
import t from 'tap';
import { parse } from './grammar.js';
import { loadFiles } from './testing/memory-source.js';
import { breakSite, randomSite, type Site } from './testing/random-site.js';

const COUNT = Number(process.env.CONFIG_FUZZ ?? 20_000);
/** Of processor time, which a busy machine does not lengthen: far above what one takes, far below what somebody would wait for. */
const LONGEST_MS = 2000;
const processorMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
const MOST_HEAP = 256 * 2 ** 20;

const atEtc = (site: Site): Record<string, string> =>
  Object.fromEntries(Object.entries(site).map(([name, text]) => [`/etc/${name}`, text]));

/** What went wrong with this input, if anything did. */
function tryOut(seed: number): string | undefined {
  let site = randomSite(seed % 997);
  for (let round = 0; round <= seed % 3; round++) site = breakSite(site, seed * 3 + round);
  const start = processorMs();
  try {
    if (seed % 5 === 0) for (const text of Object.values(site)) parse(text, 'show');
    loadFiles(atEtc(site));
  } catch (error) {
    return `seed ${seed}: ${(error as Error).stack}`;
  }
  const ms = processorMs() - start;
  return ms > LONGEST_MS ? `seed ${seed} took ${Math.round(ms)} ms` : undefined;
}

t.test(`${COUNT} mutated configurations`, { timeout: Math.max(120_000, COUNT * 10) }, async (t) => {
  const failures: string[] = [];
  let most = 0;
  for (let seed = 1; seed <= COUNT && failures.length < 5; seed++) {
    const failure = tryOut(seed);
    if (failure !== undefined) failures.push(failure);
    if (seed % 1000 === 0) most = Math.max(most, process.memoryUsage().heapUsed);
  }
  t.strictSame(failures, []);
  t.ok(most < MOST_HEAP, `at most ${Math.round(most / 2 ** 20)} MiB of heap in use`);
});

t.test('inputs made to be slow', async (t) => {
  const bad: Record<string, string> = {
    'an endless name': 'resource '.concat('a'.repeat(1_000_000)),
    'an endless string': `resource "${'\\"'.repeat(500_000)}`,
    'nothing but braces': '{'.repeat(200_000),
    'deep sections': 'skip {'.repeat(100_000),
    'many resources': Array.from({ length: 5000 }, (_, i) => `resource r${i} { }`).join('\n'),
    'many colons': `resource r { on a { address ${'a:'.repeat(200_000)}`,
    'many options': `common { net { ${'timeout 50; '.repeat(20_000)} } }`,
    blanks: `${' \n'.repeat(500_000)}resource`,
  };
  for (const [name, text] of Object.entries(bad)) {
    const start = processorMs();
    loadFiles({ '/etc/drbd.conf': text });
    const ms = processorMs() - start;
    t.ok(ms < LONGEST_MS * 2, `${name}: ${Math.round(ms)} ms`);
  }
});
