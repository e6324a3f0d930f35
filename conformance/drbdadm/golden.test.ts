/** Every recorded command line of stock drbdadm, run against ours: output, messages and exit codes byte for byte. */
import { cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { DIFFERENCES } from './differences.js';
import { expectedOf, normaliseRecorded, readVectors, runCase, type VectorCase } from './vector-case.js';

const vectors = new URL('../vectors/drbdadm/', import.meta.url);
const directory = mkdtempSync(join(tmpdir(), 'drbdadm-golden-'));
cpSync(fileURLToPath(new URL('conf/', vectors)), directory, { recursive: true });
cpSync(fileURLToPath(new URL('show/', vectors)), join(directory, 'show'), { recursive: true });
t.teardown(() => rmSync(directory, { recursive: true, force: true }));

const only = process.env.DRBDADM_VECTOR;
let total = 0;
let equal = 0;
const differing: string[] = [];

async function check(file: string, vector: VectorCase, stdin: string): Promise<void> {
  const id = `${file}: ${vector.id}`;
  if (only !== undefined && !id.startsWith(only)) return;
  if (vector.config !== undefined) writeFileSync(join(directory, 'err.conf'), Buffer.from(vector.config.join('\n'), 'utf8'));
  const expected = expectedOf(vector);
  const want = { rc: expected.rc, stdout: normaliseRecorded(expected.stdout), stderr: normaliseRecorded(expected.stderr) };
  let got: unknown;
  try {
    got = await runCase(vector, directory, stdin);
  } catch (error) {
    got = String((error as Error).stack);
  }
  total++;
  if (JSON.stringify(got) === JSON.stringify(want)) equal++;
  else {
    differing.push(id);
    if (only !== undefined || process.env.DRBDADM_VERBOSE) t.strictSame(got, want, id);
  }
}

const FILES = readdirSync(new URL('vectors/', vectors)).filter((name) => /^(?:[0-9]|matrix|cli|adjust|errors|execution)/.test(name));

t.test('recorded runs of stock drbdadm', async (t) => {
  for (const name of FILES.sort()) {
    const file = readVectors(new URL(`vectors/${name}`, vectors));
    const isExecution = name === 'execution.json';
    for (const vector of file.cases) {
      const stdin = isExecution ? `${(file.config as string[]).join('\n')}\n` : `${(vector.stdin ?? []).join('\n')}\n`;
      await check(name.replace('.json', ''), vector, stdin);
    }
  }
  t.comment(`${equal} of ${total} equal`);
  console.log(`# drbdadm: ${equal} of ${total} equal`);
  if (only === undefined)
    t.strictSame(
      differing.filter((id) => !(id in DIFFERENCES)),
      [],
      'every difference is listed',
    );
  if (only === undefined)
    t.strictSame(
      Object.keys(DIFFERENCES).filter((id) => !differing.includes(id)),
      [],
      'no difference is listed in vain',
    );
});
