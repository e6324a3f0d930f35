/** An engine as a process of its own, and its control socket, for tests that look from outside. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, copyFileSync, existsSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type ControlClient, createClient, type ResourceSnapshot, type Transport } from '@udrbd/control';
import { build } from 'esbuild';
import { eventually, PATIENCE_MS } from './eventually.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/**
 * Bundles the engine from source, as `npm run build` does.
 * @returns the program to run with node
 */
export async function bundleEngine(outdir: string): Promise<string> {
  await build({
    entryPoints: [
      { out: 'udrbd-engine', in: `${ROOT}/packages/engine/src/main.ts` },
      { out: 'reactor-worker', in: `${ROOT}/packages/engine/src/reactor-worker.ts` },
    ],
    outdir,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    conditions: ['udrbd-source'],
    sourcemap: 'inline',
    chunkNames: 'chunks/[name]-[hash]',
    banner: { js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);" },
  });
  copyFileSync(`${ROOT}/packages/ublk-napi/build/Release/ublk_napi.node`, `${outdir}/ublk_napi.node`);
  return `${outdir}/udrbd-engine.js`;
}

/** So far; two of them may want the same folder. */
let engines = 0;

export class EngineProcess {
  readonly runDir: string;
  readonly #program: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #files: number | undefined;
  /** What it says on standard error. */
  readonly #logPath: string;
  #child: ChildProcess | undefined;
  /** Of an engine that succeeded the one that was started here. */
  #successor: number | undefined;
  #client: ControlClient | undefined;

  /**
   * @param program - from {@link bundleEngine}
   * @param files - descriptors that it may have open
   */
  constructor(program: string, runDir: string, env: Readonly<Record<string, string>> = {}, files?: number) {
    this.#files = files;
    this.#program = program;
    this.runDir = runDir;
    this.#env = env;
    this.#logPath = `${runDir}.${++engines}.log`;
    mkdirSync(runDir, { recursive: true, mode: 0o700 });
  }

  /** Runs the engine and waits until it answers. */
  async start(): Promise<void> {
    const said = openSync(this.#logPath, 'w');
    const child = this.#spawn('--foreground', said);
    closeSync(said);
    this.#child = child;
    this.#successor = undefined;
    for (let waited = 0; waited < PATIENCE_MS; waited += 20) {
      if (existsSync(`${this.runDir}/control.sock`)) {
        try {
          this.#client = createClient(await transport(`${this.runDir}/control.sock`));
          await this.#client.request('ping', {});
          return;
        } catch {
          // Not listening yet.
        }
      }
      if (child.exitCode !== null || child.signalCode !== null) break;
      await sleep(20);
    }
    throw new Error(`the engine does not answer:\n${this.log}`);
  }

  #spawn(option: string, stderr: number | 'pipe'): ChildProcess {
    const limit = this.#files === undefined ? [] : ['prlimit', `--nofile=${this.#files}`];
    const [command, ...argv] = [...limit, process.execPath, '--enable-source-maps', this.#program, option];
    return spawn(command!, argv, {
      env: {
        PATH: process.env.PATH,
        UDRBD_RUN_DIR: this.runDir,
        UDRBD_DEV_DIR: `${this.runDir}/dev`,
        UDRBD_FRONT_END: 'nbd',
        UDRBD_USERMODE_HELPER: 'disabled',
        UDRBD_POOL_MIB: '16',
        ...this.#env,
      },
      stdio: ['ignore', 'ignore', stderr],
    });
  }

  /** Hands over to a new process of the same program. @returns what it said when it refused, else '' */
  async upgrade(): Promise<string> {
    const old = this.pid;
    const child = this.#spawn('--upgrade', 'pipe');
    let said = '';
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const code = await new Promise<number | null>((resolve) => child.once('exit', resolve));
    if (code !== 0) return said === '' ? `exit status ${code}` : said;
    const pid = Number(readFileSync(`${this.runDir}/engine.lock`, 'utf8'));
    if (pid === old) return 'the old engine has the lock';
    this.#successor = pid;
    this.#client = createClient(await transport(`${this.runDir}/control.sock`));
    return '';
  }

  get pid(): number {
    return this.#successor ?? this.#child!.pid!;
  }

  /** What the engine has logged, and what its successors have; files, so that what was said before an answer is there with the answer. */
  get log(): string {
    return [this.#logPath, `${this.runDir}/engine.log`].map((file) => (existsSync(file) ? readFileSync(file, 'utf8') : '')).join('');
  }

  get client(): ControlClient {
    return this.#client!;
  }

  /** Sends a request that has to succeed. */
  async ask<C extends Parameters<ControlClient['request']>[0]>(
    command: C,
    parameters: Parameters<ControlClient['request']>[1],
  ): Promise<void> {
    const reply = await this.client.request(command, parameters as never);
    if (reply.code !== 101) throw new Error(`${command}: ${reply.code} ${reply.info.join(' ')}\n${this.log}`);
  }

  async resource(name: string): Promise<ResourceSnapshot> {
    const reply = await this.client.request('snapshot', { resource: name });
    return reply.data!.resources[0]!;
  }

  /** Waits until the resource is as wanted. */
  async until(name: string, what: string, wanted: (resource: ResourceSnapshot) => boolean, ms = PATIENCE_MS): Promise<ResourceSnapshot> {
    return eventually(
      what,
      () => this.resource(name),
      wanted,
      () => this.log,
      ms,
    );
  }

  proc(): string {
    return readFileSync(`${this.runDir}/proc/drbd`, 'utf8');
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (this.#successor !== undefined) return this.#stopSuccessor(this.#successor, signal);
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null;
    this.#client?.close();
    const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
    child.kill(signal);
    const code = await Promise.race([ended, sleep(PATIENCE_MS, 'late' as const, { ref: false })]);
    if (code !== 'late') return code;
    child.kill('SIGKILL');
    throw new Error(`the engine did not end:\n${this.log}`);
  }

  /** It is not our child: its status is nobody's to know. */
  async #stopSuccessor(pid: number, signal: NodeJS.Signals): Promise<number | null> {
    this.#client?.close();
    if (isAlive(pid)) process.kill(pid, signal);
    for (let waited = 0; isAlive(pid); waited += 20) {
      if (waited > PATIENCE_MS) {
        process.kill(pid, 'SIGKILL');
        throw new Error(`the engine did not end:\n${this.log}`);
      }
      await sleep(20);
    }
    this.#successor = undefined;
    return 0;
  }
}

/** Whether a process lives. One that nobody waits for yet does not. */
function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/** Ends the engine as the loss of its whole node would: the next one finds nothing to take over. */
export async function loseNode(engine: EngineProcess): Promise<void> {
  await engine.stop('SIGKILL');
  rmSync(`${engine.runDir}/journal.json`, { force: true });
}

export async function transport(path: string): Promise<Transport> {
  const socket = connect(path);
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  socket.setEncoding('utf8');
  return {
    send: (text) => void socket.write(text),
    onText: (listener) => void socket.on('data', (text) => listener(String(text))),
    onClose: (listener) => void socket.on('close', listener),
    close: () => socket.destroy(),
  };
}
