/** Runs one recorded command line of drbdadm in process and brings its output into the form of the recordings. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import type { AdmIo, Spawn, SpawnResult } from '@udrbd/drbdadm';

type Drbdadm = Pick<typeof import('@udrbd/drbdadm'), 'asBytes' | 'nodeIo' | 'run' | 'toBuffer'>;

/** DRBDADM_BUNDLE names a bundle to test instead of the sources. */
async function program(): Promise<Drbdadm> {
  const bundle = process.env.DRBDADM_BUNDLE;
  if (bundle === undefined) return import('@udrbd/drbdadm');
  return createRequire(import.meta.url)(resolve(bundle, 'start.cjs'))('drbdadm') as Drbdadm;
}

const { asBytes, nodeIo, run, toBuffer } = await program();

export interface Recorded {
  readonly rc: number;
  readonly stdout: readonly string[];
  readonly stderr: readonly string[];
}

export interface VectorCase {
  readonly id: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdin?: readonly string[];
  readonly config?: readonly string[];
  readonly fail?: string;
  readonly results: Readonly<Record<string, Recorded>>;
}

const NO_NEWLINE = '\u0000NOEOL';

/** The result of the release that we follow: the one recorded for both, or the newer one. */
export const expectedOf = (vector: VectorCase): Recorded => vector.results.both ?? vector.results.master!;

function toLines(text: string): string[] {
  if (text === '') return [];
  return text.endsWith('\n') ? text.slice(0, -1).split('\n') : `${text}${NO_NEWLINE}`.split('\n');
}

function normalise(text: string, directory: string): string[] {
  const plain = text
    .replaceAll(directory, '@CONFDIR@')
    .replace(/\n {3}found __DRBD_NODE__ in environment\n {3}PRETENDING that I am >>.*<<\n\n/g, '')
    .replace(/\[0x[0-9a-f]+\]/g, '[PTR]')
    // The build tag is the builder's own.
    .replace(/GIT-hash:.*/g, 'GIT-hash: BUILD')
    .replace(/^(DRBDADM_BUILDTAG=).*/gm, '$1BUILD');
  // The recordings took each byte for a character.
  return toLines(toBuffer(plain).toString('latin1'));
}

/** A recording in the same normal form: build tag left out. */
export const normaliseRecorded = (lines: readonly string[]): string[] =>
  lines.map((line) => line.replace(/GIT-hash:.*/, 'GIT-hash: BUILD').replace(/^(DRBDADM_BUILDTAG=).*/, '$1BUILD'));

export interface Outcome {
  readonly rc: number;
  readonly stdout: string[];
  readonly stderr: string[];
}

/** The tool that the recordings used: it says what it was told on stderr, and fails where the case wants it to. */
function mockTool(request: Spawn, fail: string, show: (text: string) => void): SpawnResult {
  const text = `mock: ${request.args.join(' ')}\n`;
  if (request.stderr === 'inherit') show(text);
  let exitCode = 0;
  for (const entry of fail.split(' ').filter((e) => e !== '')) {
    const [word, code] = entry.split('=') as [string, string];
    if (exitCode === 0 && request.args.includes(word)) exitCode = Number(code);
  }
  return { exitCode, timedOut: false, stdout: '', stderr: request.stderr === 'capture' ? text : '' };
}

/** @param directory - holds the configuration files; the working directory of the run */
export async function runCase(vector: VectorCase, directory: string, stdin: string): Promise<Outcome> {
  let stdout = '';
  let stderr = '';
  const real = nodeIo();
  const env: Record<string, string> = { PATH: process.env.PATH ?? '', LC_ALL: 'C', TZ: 'UTC' };
  for (const [name, value] of Object.entries(vector.env)) env[name] = value.replace('{VER}', 'master');
  const notRecorded = async (): Promise<number> => {
    throw new Error('a recorded run does not reach the engine');
  };
  const io: AdmIo = {
    ...real,
    stdout: (text) => {
      stdout += typeof text === 'string' ? text : new TextDecoder().decode(text);
    },
    stderr: (text) => {
      stderr += text;
    },
    env,
    stdinIsTty: false,
    stdoutIsTty: false,
    cwd: directory,
    // The recording host had an empty default configuration.
    source: { ...real.source, read: (base, name) => (name === '/etc/drbd.conf' ? { text: '' } : real.source.read(base, name)) },
    isLocalAddress: ({ family, address }) => family === 'ssocks' || family === 'sdp' || address === '127.0.0.1',
    readStdin: () => asBytes(stdin),
    isExecutable: (path) => path === '@MOCK@' || real.isExecutable(path),
    drbdsetup: notRecorded,
    drbdmeta: notRecorded,
    register: () => {},
    registered: () => undefined,
    unregister: () => {},
    spawn: async (request) => {
      if (request.file === '@MOCK@') return mockTool(request, vector.fail ?? '', (text) => (stderr += text));
      const result = spawnSync(request.file, request.args, { env: request.env as NodeJS.ProcessEnv, encoding: 'utf8' });
      if (result.error !== undefined) return { exitCode: undefined, timedOut: false, stdout: '', stderr: '' };
      if (request.stdout === 'inherit') stdout += result.stdout;
      if (request.stderr === 'inherit') stderr += result.stderr;
      return { exitCode: result.status ?? 20, timedOut: false, stdout: result.stdout, stderr: result.stderr };
    },
  };
  const argv = vector.argv[0] === 'drbdadm' ? vector.argv.slice(1) : vector.argv;
  const rc = await run(argv.map(asBytes), io);
  return { rc, stdout: normalise(stdout, directory), stderr: normalise(stderr, directory) };
}

export const readVectors = (file: URL): { cases: VectorCase[]; config?: unknown } => JSON.parse(readFileSync(file, 'utf8'));
