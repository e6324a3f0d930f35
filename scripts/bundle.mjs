// Bundles the commands and the engine into bundle/: one ESM file per command, shared chunks beside them.
import { copyFileSync, existsSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const entry = (name, file) => ({ out: name, in: `${root}/packages/${file}` });
const wanted = [
  entry('drbdadm', 'drbdadm/src/main.ts'),
  entry('drbdsetup', 'drbdsetup/src/main.ts'),
  entry('drbdmeta', 'drbdmeta/src/main.ts'),
  entry('udrbd-engine', 'engine/src/main.ts'),
  entry('reactor-worker', 'engine/src/reactor-worker.ts'),
].filter((e) => existsSync(e.in));

rmSync(`${root}/bundle`, { recursive: true, force: true });
await build({
  entryPoints: wanted,
  outdir: `${root}/bundle`,
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  conditions: ['udrbd-source'],
  minifySyntax: true,
  legalComments: 'none',
  chunkNames: 'chunks/[name]-[hash]',
  banner: { js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);" },
});
const addon = `${root}/packages/ublk-napi/build/Release/ublk_napi.node`;
if (existsSync(addon)) copyFileSync(addon, `${root}/bundle/ublk_napi.node`);
