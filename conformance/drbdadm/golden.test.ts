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

const FILES = readdirSync(new URL('vectors/', vectors)).filter((name) =>
  /^(?:[0-9]|matrix|cli|adjust|arguments|errors|execution)/.test(name),
);

interface BoundaryCase {
  readonly option: string;
  readonly section: string;
  readonly statement: string;
  readonly case: string;
  readonly results: VectorCase['results'];
}

const ENV = { __DRBD_NODE__: 'alpha', DRBD_DRIVER_VERSION_OVERRIDE: '9.0.0' };

/** Runs one configuration that is not part of a vector file. */
async function runConfig(config: string, ...argv: string[]) {
  writeFileSync(join(directory, 'opt.conf'), config);
  return runCase({ id: '', argv: ['-c', 'opt.conf', ...argv], env: ENV, results: {} }, directory, '');
}

t.test('recorded runs of stock drbdadm', async (t) => {
  for (const name of FILES.sort()) {
    const file = readVectors(new URL(`vectors/${name}`, vectors));
    const isExecution = name === 'execution.json';
    for (const vector of file.cases) {
      const stdin = isExecution ? `${(file.config as string[]).join('\n')}\n` : `${(vector.stdin ?? []).join('\n')}\n`;
      await check(name.replace('.json', ''), vector, stdin);
    }
  }
  console.log(`# drbdadm: ${equal} of ${total} equal`);
  if (only !== undefined) return;
  t.strictSame(
    differing.filter((id) => !(id in DIFFERENCES)),
    [],
    'every difference is listed',
  );
  t.strictSame(
    Object.keys(DIFFERENCES).filter((id) => !differing.includes(id)),
    [],
    'no difference is listed in vain',
  );
});

t.test('the boundaries of every option are where stock has them', async (t) => {
  const { cases } = readVectors(new URL('vectors/option-boundaries.json', vectors)) as unknown as { cases: BoundaryCase[] };
  let same = 0;
  for (const boundary of cases) {
    const { rc, stderr } = await runConfig(
      `global { disable-ip-verification; }
resource r {
${boundary.section} { ${boundary.statement} }
device minor 1;
disk /dev/a;
meta-disk internal;
on alpha { node-id 0; address 10.0.0.1:7788; }
on bravo { node-id 1; address 10.0.0.2:7788; }
}
`,
      'dump',
    );
    const want = boundary.results.both ?? boundary.results.master!;
    if (rc === want.rc && JSON.stringify(stderr) === JSON.stringify(want.stderr)) same++;
    else t.strictSame({ rc, stderr }, { rc: want.rc, stderr: want.stderr }, `${boundary.option} ${boundary.case}`);
  }
  console.log(`# option boundaries: ${same} of ${cases.length} equal`);
  t.equal(same, cases.length);
});

t.test('implicit node ids are those that stock chooses', async (t) => {
  interface Pair {
    readonly alpha: string;
    readonly bravo: string;
    readonly node_id_alpha: number;
  }
  const { vectors: pairs } = readVectors(new URL('vectors/implicit-node-ids.json', vectors)) as unknown as { vectors: Pair[] };
  for (const { alpha, bravo, node_id_alpha } of pairs) {
    const on = (name: string, address: string) =>
      `on ${name} { device minor 1; disk /dev/a; meta-disk internal; address ${address.includes(':') ? `ipv6 [${address}]` : address}:7788; }`;
    const config = `global { disable-ip-verification; }\nresource r { ${on('alpha', alpha)} ${on('bravo', bravo)} }\n`;
    const { stdout } = await runConfig(config, 'dump');
    t.equal(stdout.find((line) => line.includes('node-id'))?.trim(), `node-id ${node_id_alpha};`, `${alpha} ${bravo}`);
  }
});
