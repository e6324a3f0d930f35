/**
 * What the compiler does not see: who may import whom, what pure packages may touch, files that nobody reaches, dead links
 * in documents. The arrows are explained in docs/architecture.md.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** Package → what it may import of this repository: package specifiers as written in an import. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  'ublk-napi': [],
  wire: [],
  metadata: [],
  config: [],
  control: [],
  replication: ['@udrbd/wire', '@udrbd/metadata', '@udrbd/control'],
  engine: ['@udrbd/replication', '@udrbd/wire', '@udrbd/metadata', '@udrbd/control', '@udrbd/control/schemas', 'ublk-napi'],
  simulator: ['@udrbd/replication', '@udrbd/wire', '@udrbd/metadata', '@udrbd/control'],
  drbdsetup: ['@udrbd/control', '@udrbd/control/schemas', '@udrbd/config/options', '@udrbd/config/option-schemas'],
  drbdmeta: ['@udrbd/metadata'],
  drbdadm: ['@udrbd/config', '@udrbd/config/options', '@udrbd/config/option-schemas', '@udrbd/drbdsetup', '@udrbd/drbdmeta'],
};
/** Packages that know no clock, no entropy, no Node: one seed replays them exactly. */
const PURE = ['wire', 'metadata', 'control', 'replication'];
const FORBIDDEN_IN_PURE =
  /\bDate\.now\b|\bnew Date\b|\bMath\.random\b|\bperformance\.|\bBuffer\.|\bprocess\.|\bset(?:Timeout|Interval|Immediate)\(|\bqueueMicrotask\b|\bcrypto\./;
/** Files that are started rather than imported. */
const STARTED = ['main.ts', 'reactor-worker.ts'];

interface Manifest {
  readonly name: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, { readonly 'udrbd-source': string }>>;
}

const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');
const json = (path: string): unknown => JSON.parse(read(path));
/** Tracked files and new ones, so that a file is looked at before it is committed. */
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: ROOT, encoding: 'utf8' })
  .split('\n')
  .filter((path) => path !== '' && existsSync(join(ROOT, path)));
const packages = Object.keys(ARROWS);
const manifest = (name: string): Manifest => json(`packages/${name}/package.json`) as Manifest;
const sources = (name: string): string[] => files.filter((path) => path.startsWith(`packages/${name}/src/`) && path.endsWith('.ts'));
const isShipped = (path: string): boolean => !/\.(test|bench)\.ts$/.test(path) && !path.includes('/testing/');

/** Every specifier that a file imports, re-exports or loads. */
function importsOf(path: string): string[] {
  const found = read(path).matchAll(/(?:\bfrom|\bimport)\s*\(?\s*'([\w@./:-]+)'/g);
  return [...found].map((match) => match[1]!);
}
/** The repository's path of a relative import. */
const target = (from: string, specifier: string): string => relative(ROOT, resolve(ROOT, dirname(from), specifier)).replace(/\.js$/, '.ts');
const packageOf = (specifier: string): string => specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
const ours = new Set(packages.map((name) => manifest(name).name));

t.test('packages import along the arrows only', async (t) => {
  const present = [...new Set(files.filter((path) => path.startsWith('packages/')).map((path) => path.split('/')[1]!))];
  t.strictSame(present.sort(), [...packages].sort(), 'every package has its row of arrows');
  for (const name of packages) {
    const wrong: string[] = [];
    for (const path of sources(name)) {
      for (const specifier of importsOf(path)) {
        if (!ours.has(packageOf(specifier)) || specifier.startsWith(manifest(name).name)) continue;
        if (!ARROWS[name]!.includes(specifier)) wrong.push(`${path} imports ${specifier}`);
      }
    }
    t.strictSame(wrong, [], `${name}`);
  }
});

t.test('an import stays inside its package and names a file that exists', async (t) => {
  for (const name of packages) {
    const wrong: string[] = [];
    for (const path of sources(name)) {
      for (const specifier of importsOf(path).filter((specifier) => specifier.startsWith('.'))) {
        const file = target(path, specifier);
        if (!file.startsWith(`packages/${name}/src/`) && isShipped(path)) wrong.push(`${path} leaves its package: ${specifier}`);
        if (!/\.m?js$/.test(specifier) || !existsSync(join(ROOT, file))) wrong.push(`${path}: no such file: ${specifier}`);
      }
    }
    t.strictSame(wrong, [], name);
  }
});

/** What the workspace itself is built with; the simulator, which is never bundled, may use it. */
const workspaceTools = Object.keys((json('package.json') as { devDependencies: object }).devDependencies);

t.test('dependencies, compiler references and imports say the same', async (t) => {
  for (const name of packages) {
    const used = new Set<string>();
    for (const path of sources(name).filter(isShipped)) {
      for (const specifier of importsOf(path)) {
        if (!specifier.startsWith('.') && !specifier.startsWith('node:')) used.add(packageOf(specifier));
      }
    }
    used.delete(manifest(name).name);
    const declared = Object.keys(manifest(name).dependencies ?? {});
    const also = name === 'simulator' ? workspaceTools : [];
    t.strictSame(
      [...used].filter((dependency) => !declared.includes(dependency) && !also.includes(dependency)),
      [],
      `${name}: imported and not declared`,
    );
    const references = (json(`packages/${name}/tsconfig.json`) as { references?: { path: string }[] }).references ?? [];
    t.strictSame(
      references.map((reference) => manifest(basename(reference.path)).name).sort(),
      declared.filter((dependency) => ours.has(dependency)).sort(),
      `${name}: references of tsconfig.json`,
    );
  }
});

t.test('pure packages know no clock, no entropy and no Node', async (t) => {
  for (const name of PURE) {
    const wrong: string[] = [];
    for (const path of sources(name).filter(isShipped)) {
      for (const specifier of importsOf(path)) if (specifier.startsWith('node:')) wrong.push(`${path} imports ${specifier}`);
      for (const [index, line] of read(path).split('\n').entries()) {
        if (FORBIDDEN_IN_PURE.test(line.replace(/^\s*(?:\*|\/\/).*$/, ''))) wrong.push(`${path}:${index + 1}: ${line.trim()}`);
      }
    }
    t.strictSame(wrong, [], name);
  }
});

t.test('every source file is reached from a package export, a program or a test', async (t) => {
  const outside = files.filter(
    (path) => /^(conformance|scripts)\/.*\.(ts|mjs)$/.test(path) || /^packages\/[^/]+\/examples\/.*\.ts$/.test(path),
  );
  const reached = new Set<string>();
  const reach = (path: string): void => {
    if (reached.has(path) || !existsSync(join(ROOT, path))) return;
    reached.add(path);
    for (const specifier of importsOf(path)) if (specifier.startsWith('.')) reach(target(path, specifier));
  };
  for (const path of outside) reach(path);
  for (const name of packages) {
    for (const face of Object.values(manifest(name).exports)) reach(join(`packages/${name}`, face['udrbd-source']));
    for (const path of sources(name)) if (STARTED.includes(basename(path)) || /\.(test|bench)\.ts$/.test(path)) reach(path);
  }
  t.strictSame(
    packages.flatMap(sources).filter((path) => !reached.has(path)),
    [],
  );
});

t.test('the tree names no registry, no machine and no unfinished work', async (t) => {
  // Put together here, so that this file passes too.
  const word = (...parts: string[]): string => parts.join('');
  const hosts = new RegExp(
    [word('registry', '\\.npm'), word('npm', 'js\\.'), word('(deb|security)\\.', 'debian'), word('"resolved": ', '"http')].join('|'),
  );
  const paths = new RegExp([word('/wo', 'rk/'), word('/ho', 'me/[a-z]+/')].join('|'));
  const unfinished = new RegExp(`\\b(${word('TO', 'DO')}|${word('FIX', 'ME')}|${word('XX', 'X')})\\b`);
  const wrong: string[] = [];
  for (const path of files) {
    if (statSync(join(ROOT, path)).size > 4 << 20) continue;
    const text = read(path);
    if (text.includes('\0')) continue;
    for (const [index, line] of text.split('\n').entries()) {
      if (hosts.test(line) || paths.test(line)) wrong.push(`${path}:${index + 1}: ${line.trim().slice(0, 120)}`);
      else if (/^packages\/[^/]+\/src\//.test(path) && unfinished.test(line)) wrong.push(`${path}:${index + 1}: ${line.trim()}`);
    }
  }
  t.strictSame(wrong, []);
});

t.test('file names are words with dashes, or the name of a structure', async (t) => {
  const names = packages.flatMap(sources).map((path) => basename(path));
  t.strictSame(
    names.filter((name) => !/^(?:[a-z0-9]+(?:-[a-z0-9]+)*|[a-z0-9]+(?:_[a-z0-9]+)+)(?:\.(?:test|bench))?\.ts$/.test(name)),
    [],
  );
});

t.test('what a person runs can be run', async (t) => {
  const runnable = ['.ci/run', ...['demo', 'test', 'bench', 'vm', 'sim', 'setup'].map((name) => `scripts/${name}`)];
  for (const path of runnable) t.ok(existsSync(join(ROOT, path)) && statSync(join(ROOT, path)).mode & 0o111, path);
});

t.test('links between documents lead somewhere', async (t) => {
  const wrong: string[] = [];
  for (const path of files.filter((path) => path.endsWith('.md'))) {
    for (const [, link] of read(path).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^(?:[a-z]+:|#)/.test(link!)) continue;
      if (!existsSync(join(ROOT, dirname(path), link!.replace(/#.*$/, '')))) wrong.push(`${path}: ${link}`);
    }
  }
  t.strictSame(wrong, []);
});

t.test('source files that documents name exist', async (t) => {
  const wrong: string[] = [];
  const known = new Set(files);
  const bare = new Set(files.map((path) => basename(path)));
  for (const path of files.filter((path) => /^(?:README|CONTRIBUTING|docs\/.*)\.?\w*$/.test(path) && path.endsWith('.md'))) {
    for (const [, name] of read(path).matchAll(/`([\w./-]+\.(?:ts|mjs|c))`/g)) {
      const found = name!.includes('/') ? [...known].some((file) => file === name || file.endsWith(`/${name}`)) : bare.has(name!);
      if (!found && !name!.includes('my')) wrong.push(`${path}: ${name}`);
    }
  }
  t.strictSame(wrong, []);
});
