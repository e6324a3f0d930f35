/** The short form: some seeds of every target. `scripts/fuzz` is the long one. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { TARGETS } from './targets.js';

/** Of processor time: far above what any input takes. */
const SLOW_MS = 2000;
const processorMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

for (const { name, what, short, open } of TARGETS) {
  t.test(`${name}: ${what}`, { timeout: 600_000 }, async (t) => {
    const fuzzer = await open();
    const failures: string[] = [];
    const began = performance.now();
    for (let seed = 1; seed <= short && failures.length < 3; seed++) {
      const start = processorMs();
      try {
        await fuzzer.run(seed);
      } catch (error) {
        failures.push(`scripts/fuzz ${name} --seed ${seed} --count 1: ${error instanceof Error ? error.stack : String(error)}`);
      }
      const ms = processorMs() - start;
      if (ms > SLOW_MS) failures.push(`scripts/fuzz ${name} --seed ${seed} --count 1: took ${Math.round(ms)} ms`);
    }
    fuzzer.close?.();
    t.strictSame(failures, []);
    t.comment(`${short} inputs in ${Math.round(performance.now() - began)} ms`);
  });
}

t.test('an exception, an end of the process and an endless loop are found, and the rest is run', async (t) => {
  const script = fileURLToPath(new URL('../../scripts/fuzz', import.meta.url));
  const run = promisify(execFile)(script, ['canary', '--count', '7', '--workers', '1', '--hang', '2']);
  const { code, stdout } = (await run.catch((error: unknown) => error)) as { code?: number; stdout: string };
  t.equal(code, 1);
  for (const [kind, seed] of [
    ['crash', 3],
    ['hang', 5],
    ['crash', 7],
  ] as const) {
    t.match(stdout, `canary: ${kind} with seed ${seed}`);
    t.match(stdout, `scripts/fuzz canary --seed ${seed} --count 1`);
    t.equal(readFileSync(new URL(`../../.cache/fuzz/canary-${seed}.input`, import.meta.url)).length, 4);
  }
  t.match(stdout, '1 targets, 3 findings');
});
