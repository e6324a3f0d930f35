// Bundles the commands and the engine into bundle/: one ESM file each, shared chunks beside them; drbdadm for a fast start.
import { copyFileSync, existsSync, renameSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { fastBundle } from '../packages/drbdadm/fast-bundle.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const finished = `${root}/bundle`;
// Put together beside it and renamed, so that nobody starts half a bundle.
const fresh = `${root}/.cache/bundle.${process.pid}`;

const entryPoints = Object.entries({
  drbdsetup: 'drbdsetup/src/main.ts',
  drbdmeta: 'drbdmeta/src/main.ts',
  'udrbd-engine': 'engine/src/main.ts',
  'reactor-worker': 'engine/src/reactor-worker.ts',
}).map(([out, file]) => ({ out, in: `${root}/packages/${file}` }));

await build({
  entryPoints,
  outdir: fresh,
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
copyFileSync(`${root}/packages/ublk-napi/build/Release/ublk_napi.node`, `${fresh}/ublk_napi.node`);
await fastBundle(fresh);
if (existsSync(finished)) renameSync(finished, `${fresh}.old`);
renameSync(fresh, finished);
rmSync(`${fresh}.old`, { recursive: true, force: true });
