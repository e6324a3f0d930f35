// Our drbdadm beside our engine in a namespace, as a process of its own.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type { OurNode } from './our-node.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** @returns the program to run with node */
export async function bundleDrbdadm(outdir: string): Promise<string> {
  await build({
    entryPoints: { drbdadm: `${ROOT}/packages/drbdadm/src/main.ts` },
    outdir,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    conditions: ['udrbd-source'],
    banner: { js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);" },
  });
  return `${outdir}/drbdadm.js`;
}

export interface OurDrbdadm {
  /** From {@link bundleDrbdadm}. */
  readonly program: string;
  readonly ours: OurNode;
  /** Its drbd.conf. */
  readonly configuration: string;
  /** Its name there. */
  readonly name: string;
  /** Where it keeps its state and its locks. */
  readonly folder: string;
}

/** @returns stdout and stderr; rejects when it does not succeed. @param typed - lines that are typed on a terminal of its own */
export function ourDrbdadm(at: OurDrbdadm, words: readonly string[], typed: readonly string[] = []): Promise<string> {
  const { ours } = at;
  const drbdadm = [process.execPath, at.program, '-c', at.configuration, ...words];
  const [command = '', ...argv] = ours.namespace.inside(typed.length === 0 ? drbdadm : ['script', '-qec', drbdadm.join(' '), '/dev/null']);
  const env = { ...ours.environment, UDRBD_NODE: at.name, UDRBD_STATE_DIR: `${at.folder}/state`, UDRBD_LOCK_DIR: `${at.folder}/lock` };
  return new Promise((settle, fail) => {
    const child = spawn(command, argv, { env, stdio: ['pipe', 'pipe', 'pipe'], timeout: 120_000 });
    // It may end without having read it.
    child.stdin.on('error', () => {}).end(typed.map((line) => `${line}\n`).join(''));
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    child.on('close', (code) =>
      code === 0 ? settle(output) : fail(new Error(`drbdadm ${words.join(' ')}: ${code}\n${output}\n${ours.log.slice(-2000)}`)),
    );
  });
}
