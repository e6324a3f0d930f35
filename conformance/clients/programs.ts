/** Programs for clients that were written for stock: our drbdsetup and drbdmeta under their names, beside stock's drbdadm. */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { stockUtils } from '../vm/packages.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const STOCK = join(stockUtils(), 'sbin');

/** @returns a folder with `drbdsetup` and `drbdmeta` (ours), `drbdadm` and `drbdmon` (stock's) */
export async function installPrograms(dir: string): Promise<string> {
  const sbin = join(dir, 'sbin');
  const modules = join(dir, 'modules');
  mkdirSync(sbin);
  await build({
    entryPoints: ['drbdsetup', 'drbdmeta'].map((name) => ({ out: name, in: `${ROOT}/packages/${name}/src/main.ts` })),
    outdir: modules,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    conditions: ['udrbd-source'],
    banner: { js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);" },
  });
  writeFileSync(join(modules, 'package.json'), '{"type":"module"}');
  for (const name of ['drbdsetup', 'drbdmeta']) {
    writeFileSync(join(sbin, name), `#!/bin/sh\nexec '${process.execPath}' '${modules}/${name}.js' "$@"\n`, { mode: 0o755 });
  }
  // It looks for the others beside itself.
  for (const name of ['drbdadm', 'drbdmon']) copyFileSync(join(STOCK, name), join(sbin, name));
  return sbin;
}
