/**
 * Bundles drbdadm for a fast start: one CommonJS file with V8's code cache beside it, since most of a short run is compiling
 * otherwise. The cache holds the functions that the commands below used; without it, or with another version of Node.js, the command
 * runs the same, only slower. Called by scripts/bundle.mjs with the folder of the bundle.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = fileURLToPath(new URL('.', import.meta.url));

const ENTRY = `
import { asBytes, nodeIo, run, toBuffer } from './index.js';
export { asBytes, nodeIo, run, toBuffer };
export const main = async () => { process.exitCode = await run(process.argv.slice(2).map(asBytes), nodeIo()); };
`;

const START = `'use strict';
// Runs a bundled command from V8's code cache. A cache that does not fit is left aside by V8.
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const { setFlagsFromString } = require('node:v8');
const vm = require('node:vm');

module.exports = function load(name, onScript) {
  // A command is over before optimized code has paid for its compiling: a fifth of the processor time of a large configuration. Before the
  // script, whose cache has to fit the flags.
  setFlagsFromString('--interrupt-budget=2000000');
  const filename = join(__dirname, name + '.cjs');
  const source = readFileSync(filename, 'latin1');
  let cachedData;
  try {
    cachedData = readFileSync(join(__dirname, name + '.cache'));
  } catch {
    // No cache: compile.
  }
  const script = new vm.Script('(function (exports, require, module, __filename, __dirname) {' + source + '\\n})', { filename, cachedData });
  const loaded = { exports: {} };
  script.runInThisContext()(loaded.exports, require, loaded, filename, __dirname);
  if (onScript !== undefined) onScript(script);
  return loaded.exports;
};
`;

/** ES modules start slower than CommonJS: packages/drbdadm/bin goes straight to start.cjs, this is for who runs the file itself. */
const MODULE = `import { createRequire } from 'node:module';
createRequire(import.meta.url)('./start.cjs')('drbdadm').main();
`;

/** Runs common commands on a small configuration in process, then writes the cache. */
const WARM_UP = `
const [, folder, conf] = process.argv;
let script;
const { run, nodeIo } = require(folder + '/start.cjs')('drbdadm', (s) => { script = s; });
const io = { ...nodeIo(), stdout() {}, stderr() {}, env: { UDRBD_NODE: 'alpha', FAKE_DRBDSETUP_SHOW: '/dev/null' }, stdinIsTty: false, stdoutIsTty: false };
(async () => {
  for (const words of ['sh-nop', '-d up all', '-d adjust r0', '-d down r0', 'dump', 'sh-dev r0', '-d primary --force r0', '-d create-md r0'])
    await run(['-c', conf, ...words.split(' ')], io);
  require('node:fs').writeFileSync(folder + '/drbdadm.cache', script.createCachedData());
})();
`;

const SAMPLE = `global { usage-count no; disable-ip-verification; }
common { net { protocol C; } disk { on-io-error detach; c-max-rate 100M; } handlers { split-brain "true"; } }
resource r0 {
  options { quorum off; }
  volume 0 { device minor 0; disk /dev/a; meta-disk internal; }
  on alpha { node-id 0; address 10.0.0.1:7788; }
  on bravo { node-id 1; address 10.0.0.2:7788; }
  connection { host alpha; host bravo; net { verify-alg crc32c; } }
}
resource r1 {
  device /dev/drbd1; disk /dev/b; meta-disk internal;
  on alpha { address 10.0.0.1:7789; }
  on bravo { address 10.0.0.2:7789; }
}
`;

/** @param {string} out - folder of the bundle; drbdadm.js, drbdadm.cjs, drbdadm.cache and start.cjs are (over)written there */
export async function fastBundle(out) {
  await build({
    stdin: { contents: ENTRY, resolveDir: join(here, 'src'), loader: 'ts' },
    outfile: join(out, 'drbdadm.cjs'),
    bundle: true,
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    // A function from the code cache cannot use import(): what it imports later becomes a require().
    supported: { 'dynamic-import': false },
    conditions: ['udrbd-source'],
    alias: { 'lodash-es': fileURLToPath(new URL('../config/slim-lodash.mjs', import.meta.url)) },
    define: { 'import.meta.url': '__moduleUrl' },
    banner: { js: "const __moduleUrl = require('node:url').pathToFileURL(__filename).href;" },
    charset: 'ascii',
    minify: true,
    keepNames: true,
    legalComments: 'none',
  });
  writeFileSync(join(out, 'start.cjs'), START);
  writeFileSync(join(out, 'drbdadm.js'), MODULE);
  const folder = mkdtempSync(join(tmpdir(), 'drbdadm-warm-up-'));
  try {
    const conf = join(folder, 'sample.conf');
    writeFileSync(conf, SAMPLE);
    const warmUp = spawnSync(process.execPath, ['-e', WARM_UP, out, conf], { stdio: ['ignore', 'inherit', 'inherit'] });
    if (warmUp.status !== 0) throw new Error(`the code cache of drbdadm could not be made (exit status ${warmUp.status})`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
