/** The real world: files, interfaces, programs, the terminal. */
import {
  accessSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeSync,
} from 'node:fs';
import { hostname, networkInterfaces } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { type Address, addressesEqual, type ConfigSource, type SourceText } from '@udrbd/config';
import { asBytes, asText, toBuffer } from './bytes.js';
import { glob } from './glob.js';
import type { AdmIo, Spawn, SpawnResult } from './io.js';
import { ipv4Of, ipv6Of, type LocalAddress } from './local-addresses.js';

/** Writes all of it now, so that what a program started by us prints comes behind it. */
function writeAll(fd: number, data: string | Uint8Array): void {
  const bytes = typeof data === 'string' ? toBuffer(data) : data;
  for (let done = 0; done < bytes.length; ) {
    try {
      done += writeSync(fd, bytes, done);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EAGAIN') continue;
      // The reader has left; nobody is there to be told.
      if (code === 'EPIPE') process.exit(141);
      throw error;
    }
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'No such file or directory',
  EACCES: 'Permission denied',
  ENOTDIR: 'Not a directory',
  ELOOP: 'Too many levels of symbolic links',
  ENAMETOOLONG: 'File name too long',
};

function readText(path: string): SourceText {
  try {
    return { text: asBytes(readFileSync(asText(path))) };
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException;
    const kind = code === 'EISDIR' ? 'directory' : code === 'ENOENT' ? 'missing' : 'unreadable';
    return { error: kind, reason: REASONS[code] ?? message };
  }
}

function realPathOr(path: string): string {
  try {
    return asBytes(realpathSync.native(asText(path)));
  } catch {
    // What does not exist has no other name.
    return path;
  }
}

/** Directories by the name they were asked for; most files of a configuration stand in the same one or two. */
const realDirectories = new Map<string, string>();

function realDirectoryOf(path: string): string {
  const directory = dirname(path);
  let real = realDirectories.get(directory);
  if (real === undefined) {
    real = realPathOr(directory);
    realDirectories.set(directory, real);
  }
  return real;
}

const inRealDirectory = (path: string): string => join(realDirectoryOf(path), basename(path));

const source: ConfigSource = {
  read: (directory, name) => readText(resolve(directory, name)),
  glob,
  canonical: (directory, name) => inRealDirectory(resolve(directory, name)),
  identity: (directory, name) => {
    const path = inRealDirectory(resolve(directory, name));
    return lstatSync(asText(path), { throwIfNoEntry: false })?.isSymbolicLink() === true ? realPathOr(path) : path;
  },
};

/** Text of a file of the kernel's, empty where there is none. */
function kernelText(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

function isLocalAddress(address: Address): boolean {
  if (address.family === 'ssocks' || address.family === 'sdp') return true;
  const plain = { ...address, address: address.address.replace(/%.*$/, '') };
  const isOneOf = (known: readonly LocalAddress[]): boolean => known.some((own) => addressesEqual(plain, { ...plain, ...own }));
  const listed = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  if (isOneOf(listed.map(({ family, address }) => ({ family: family === 'IPv6' ? 'ipv6' : 'ipv4', address })))) return true;
  return isOneOf([...ipv4Of(kernelText('/proc/net/fib_trie')), ...ipv6Of(kernelText('/proc/net/if_inet6'))]);
}

function isAccessible(path: string, mode: number): boolean {
  try {
    accessSync(asText(path), mode);
    return true;
  } catch {
    return false;
  }
}

const isExecutable = (path: string): boolean => isAccessible(path, constants.X_OK);
const isReadable = (directory: string, name: string): boolean => name !== '' && isAccessible(resolve(directory, name), constants.R_OK);

const DRBD_MAJOR = 147;

function isDrbdDevice(path: string): boolean {
  const stat = statSync(asText(path), { throwIfNoEntry: false });
  return stat?.isBlockDevice() === true && ((stat.rdev >> 8) & 0xfff) === DRBD_MAJOR;
}

async function spawnProgram(request: Spawn): Promise<SpawnResult> {
  const { spawn } = await import('node:child_process');
  const pipe = { inherit: 'inherit', ignore: 'ignore', capture: 'pipe' } as const;
  const env = Object.fromEntries(Object.entries(request.env).map(([name, value]) => [name, value === undefined ? value : asText(value)]));
  const child = spawn(request.file, request.args.map(asText), {
    env,
    stdio: ['inherit', pipe[request.stdout], pipe[request.stderr]],
  });
  let stdout = '';
  let stderr = '';
  let timedOut = false;
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const kill = () => {
    timedOut = true;
    child.kill('SIGKILL');
  };
  const timer = request.timeoutMs === 0 ? undefined : setTimeout(kill, request.timeoutMs);
  const exitCode = await new Promise<number | undefined>((done) => {
    child.once('error', () => done(undefined));
    child.once('close', (code, signal) => done(signal === null ? (code ?? 0) : 20));
  });
  clearTimeout(timer);
  return { exitCode, timedOut, stdout, stderr };
}

/** The size that the kernel shows for /dev/drbdN: the link's target is the device that the engine serves. */
function deviceSize(minor: number): number | undefined {
  for (const name of [`drbd${minor}`, basename(realPathOr(`/dev/drbd${minor}`))]) {
    const content = readText(`/sys/block/${name}/size`);
    if ('text' in content) return Number(content.text) * 512;
  }
  return undefined;
}

/** Which file a resource or minor was configured from, as symbolic links in the run directory. */
const registry = (): string => join(process.env.UDRBD_RUN_DIR || '/run/udrbd', 'config');

function register(link: string, file: string): void {
  if (file === 'STDIN') return;
  const path = join(registry(), asText(link));
  try {
    mkdirSync(registry(), { recursive: true });
    rmSync(path, { force: true });
    symlinkSync(asText(file), path);
  } catch {
    // The registry only helps handlers to find the file; without it they take the default one.
  }
}

function unregister(link: string): void {
  rmSync(join(registry(), asText(link)), { force: true });
}

function registered(link: string): string | undefined {
  try {
    return asBytes(readlinkSync(join(registry(), asText(link))));
  } catch {
    return undefined;
  }
}

async function readLine(): Promise<string | null> {
  const { createInterface } = await import('node:readline');
  return new Promise((done) => {
    const lines = createInterface({ input: process.stdin, terminal: false });
    lines.once('line', (line) => {
      done(line);
      lines.close();
      process.stdin.pause();
    });
    lines.once('close', () => done(null));
  });
}

/** The name of the link by which we were called, if it is one for drbdadm: `drbdadm-84` is at home in old scripts. */
const programName = (): string => /^drbdadm[^.]*/.exec(basename(process.argv[1] ?? ''))?.[0] ?? 'drbdadm';

const hexByte = (byte: number): string => byte.toString(16).padStart(2, '0').toUpperCase();

/**
 * The io of this process. What needs node's stream classes is asked only when somebody wants to know: loading them takes as long as
 * most commands run.
 */
export function nodeIo(): AdmIo {
  return {
    programName: programName(),
    stdout: (text) => writeAll(1, text),
    stderr: (text) => writeAll(2, text),
    env: process.env,
    get stdinIsTty() {
      return process.stdin.isTTY === true;
    },
    get stdoutIsTty() {
      return process.stdout.isTTY === true;
    },
    get stderrIsTty() {
      return fstatSync(2).isCharacterDevice() && process.stderr.isTTY === true;
    },
    get columns() {
      return process.stdout.columns > 0 ? process.stdout.columns : 80;
    },
    readLine,
    cwd: asBytes(process.cwd()),
    hostName: hostname(),
    source,
    readStdin: () => asBytes(readFileSync(0)),
    isLocalAddress,
    isDrbdDevice,
    isExecutable,
    isReadable,
    spawn: spawnProgram,
    drbdsetup: async (argv, io) => (await import('@udrbd/drbdsetup')).run(argv.map(asText), io),
    drbdmeta: async (argv, io) => (await import('@udrbd/drbdmeta')).run(argv.map(asText), { ...io, acceptsFiles: true }),
    sleep: (ms) => new Promise((done) => setTimeout(done, ms)),
    deviceSize,
    randomUuid: () => Array.from(globalThis.crypto.getRandomValues(new Uint8Array(8)), hexByte).join(''),
    register,
    registered,
    unregister,
  };
}
