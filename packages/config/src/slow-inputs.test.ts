/** Texts that would take long with a parser that goes back. Random ones are the fuzzer's business: conformance/fuzz. */
import t from 'tap';
import { loadFiles } from './testing/memory-source.js';

/** Of processor time, which a busy machine does not lengthen: far above what one takes, far below what somebody would wait for. */
const LONGEST_MS = 4000;
const processorMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

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
    t.ok(ms < LONGEST_MS, `${name}: ${Math.round(ms)} ms`);
  }
});
