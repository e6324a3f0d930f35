// What changes from run to run: the built bundle, the checkout's scripts, the examples and the command to run. It travels in the
// initramfs, which the first stage copies over the base image. The guest sees a small checkout under /udrbd.
import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename, extname, join, relative, resolve } from 'node:path';
import { buildSync } from 'esbuild';
import type { BaseImage } from './base-image.js';
import { repository } from './cache.js';
import { cpio, type Entry } from './cpio.js';
import { command } from './host-tools.js';

/** Folders and files of the checkout that the guest gets too, where they exist. */
const MIRRORED = ['bundle', 'scripts', 'conformance/vm'];
const COMMANDS = ['drbdadm', 'drbdsetup', 'drbdmeta', 'udrbd-engine'];
const quote = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;

/** The initramfs of one run. `files` maps further paths in the guest to files of the host. */
export function initramfs(base: BaseImage, script: string, args: readonly string[], files: Readonly<Record<string, string>> = {}): Buffer {
  const layer: Entry[] = MIRRORED.flatMap((path) => mirrored(join(repository, path), `udrbd/${path}`));
  for (const name of COMMANDS) {
    const wrapper = `#!/bin/sh\nexec node /udrbd/bundle/${name}.js "$@"\n`;
    if (existsSync(join(repository, 'bundle', `${name}.js`))) layer.push({ path: `usr/local/bin/${name}`, content: wrapper, mode: 0o755 });
  }
  layer.push(...examples());
  for (const [path, source] of Object.entries(files)) layer.push(...mirrored(resolve(source), path.replace(/^\/+/, '')));
  const words = [...programIn(layer, script), ...args];
  layer.push({ path: 'udrbd/run', content: `exec ${words.map(quote).join(' ')}\n` });
  return cpio([
    { path: 'init', content: readFileSync(join(repository, 'conformance/vm/guest/initramfs.sh')), mode: 0o755 },
    { path: 'bin/busybox', content: readFileSync(command('busybox')), mode: 0o755 },
    { path: 'modules/order', content: `${base.bootModules.map((file) => basename(file)).join('\n')}\n` },
    ...base.bootModules.map((file) => ({ path: `modules/${basename(file)}`, content: readFileSync(file) })),
    ...['dev', 'root', 'proc'].map((path) => ({ path, kind: 'folder' as const })),
    ...layer.map((entry) => ({ ...entry, path: `layer/${entry.path}` })),
  ]);
}

/** A file or a folder with all in it; nothing when it does not exist. */
function mirrored(source: string, path: string): Entry[] {
  if (!existsSync(source)) return [];
  const status = lstatSync(source);
  if (status.isSymbolicLink()) return [{ path, kind: 'link', content: readlinkSync(source) }];
  if (status.isDirectory()) return readdirSync(source).flatMap((name) => mirrored(join(source, name), `${path}/${name}`));
  return [{ path, content: readFileSync(source), mode: status.mode & 0o777 }];
}

/** Puts the script into the layer, unless it is a command that the guest has, and returns the words that start it. */
function programIn(layer: Entry[], script: string): string[] {
  const file = resolve(script);
  const extension = extname(script);
  if (!existsSync(file) || !lstatSync(file).isFile()) return [script];
  if (['.ts', '.mjs', '.js'].includes(extension)) {
    const name = `udrbd/run-${basename(script, extension)}.mjs`;
    layer.push({ path: name, content: bundled(file) }, ...addonBeside('udrbd'));
    return ['node', `/${name}`];
  }
  const content = readFileSync(file);
  if (extension !== '.sh' && content.toString('latin1', 0, 2) !== '#!') return [script];
  const inside = relative(repository, file);
  const path = inside.startsWith('..') ? `udrbd/run-${basename(file)}` : `udrbd/${inside}`;
  if (!layer.some((entry) => entry.path === path)) layer.push({ path, content, mode: 0o755 });
  return [...(content.toString('latin1', 0, 2) === '#!' ? [] : ['bash']), `/${path}`];
}

/** The examples of ublk-napi as /udrbd/examples/NAME.mjs. */
function examples(): Entry[] {
  const folder = join(repository, 'packages/ublk-napi/examples');
  if (!existsSync(folder)) return [];
  const sources = readdirSync(folder).filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'));
  const entries = sources.map((file) => ({ path: `udrbd/examples/${basename(file, '.ts')}.mjs`, content: bundled(join(folder, file)) }));
  return [...entries, ...addonBeside('udrbd/examples')];
}

/** The native addon, where bundled code looks for it: beside itself. */
function addonBeside(folder: string): Entry[] {
  const addon = join(repository, 'packages/ublk-napi/build/Release/ublk_napi.node');
  return existsSync(addon) ? [{ path: `${folder}/ublk_napi.node`, content: readFileSync(addon) }] : [];
}

/** One ESM file with everything it imports, from the packages' sources. */
function bundled(file: string): Uint8Array {
  const built = buildSync({
    entryPoints: [file],
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    conditions: ['udrbd-source'],
    absWorkingDir: repository,
    banner: { js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);" },
  });
  return built.outputFiles[0]!.contents;
}
