// Our engine inside a network namespace, opposite kernel peers: a process of its own with the NBD front end.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ControlClient, createClient, type ResourceSnapshot } from '@udrbd/control';
import { run as drbdmeta } from '@udrbd/drbdmeta';
import { transport } from '../engine/engine-process.js';
import { PATIENCE_MS } from '../engine/eventually.js';
import type { Namespace } from '../uml/namespace.js';

export class OurNode {
  readonly runDir: string;
  readonly namespace: Namespace;
  readonly #program: string;
  #child: ChildProcess | undefined;
  #client: ControlClient | undefined;

  /** @param program - from bundleEngine */
  constructor(program: string, namespace: Namespace, runDir: string) {
    this.#program = program;
    this.namespace = namespace;
    this.runDir = runDir;
    mkdirSync(runDir, { recursive: true, mode: 0o700 });
    closeSync(openSync(this.#logPath, 'a'));
  }

  get #logPath(): string {
    return `${this.runDir}.log`;
  }

  /** What every command that is to meet this engine needs in its environment. */
  get environment(): NodeJS.ProcessEnv {
    return {
      PATH: process.env.PATH,
      UDRBD_RUN_DIR: this.runDir,
      UDRBD_DEV_DIR: `${this.runDir}/dev`,
      UDRBD_FRONT_END: 'nbd',
      UDRBD_USERMODE_HELPER: 'disabled',
      UDRBD_POOL_MIB: '16',
      UDRBD_NO_START: '1',
    };
  }

  /** @param settings - further variables of its environment */
  async start(settings: Readonly<Record<string, string>> = {}): Promise<void> {
    const [command = '', ...argv] = this.namespace.inside([
      'setpriv',
      '--pdeathsig',
      'KILL',
      process.execPath,
      '--enable-source-maps',
      this.#program,
      '--foreground',
    ]);
    const log = openSync(this.#logPath, 'a');
    const child = spawn(command, argv, { env: { ...this.environment, ...settings }, stdio: ['ignore', 'ignore', log] });
    closeSync(log);
    this.#child = child;
    const deadline = Date.now() + PATIENCE_MS;
    while (child.exitCode === null && child.signalCode === null && Date.now() < deadline) {
      try {
        const client = createClient(await transport(`${this.runDir}/control.sock`));
        await client.request('ping', {});
        this.#client = client;
        return;
      } catch {
        await sleep(50);
      }
    }
    throw new Error(`the engine does not answer:\n${this.log}`);
  }

  /** What the engines here have logged so far; a file, so that what was said before an answer is there with the answer. */
  get log(): string {
    return readFileSync(this.#logPath, 'utf8');
  }

  get client(): ControlClient {
    return this.#client!;
  }

  /** Sends a request that has to succeed. */
  async ask(command: Parameters<ControlClient['request']>[0], parameters: Parameters<ControlClient['request']>[1]): Promise<void> {
    const { code, info } = await this.client.request(command, parameters as never);
    if (code < 1 || (code > 4 && code !== 101)) throw new Error(`${command}: ${code} ${info.join(' ')}\n${this.log.slice(-3000)}`);
  }

  /** drbdmeta on an image with internal meta-data; an exit code other than 0 throws. */
  async drbdmeta(minor: number, image: string, words: readonly string[], format: 'v08' | 'v09' = 'v09'): Promise<string> {
    let said = '';
    const say = (text: string | Uint8Array): void => {
      said += typeof text === 'string' ? text : Buffer.from(text).toString('latin1');
    };
    const status = await drbdmeta(['--force', `${minor}`, format, image, 'internal', ...words], {
      stdout: say,
      stderr: say,
      env: { UDRBD_LOCK_DIR: `${this.runDir}/lock` },
      stdinIsTty: false,
      stdoutIsTty: false,
      readLine: async () => null,
      isAttached: async () => false,
    });
    if (status !== 0) throw new Error(`drbdmeta ${words.join(' ')}: ${status}\n${said}`);
    return said;
  }

  async resource(name: string): Promise<ResourceSnapshot> {
    const reply = await this.client.request('snapshot', { resource: name });
    return reply.data!.resources[0]!;
  }

  /** SIGSTOP freezes it, SIGCONT lets it go on. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#child!.kill(signal);
  }

  /** Ends it, without notice by default. */
  async stop(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#child;
    this.#client?.close();
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((settle) => child.once('exit', settle));
    child.kill(signal);
    const late = await Promise.race([ended, sleep(PATIENCE_MS, 'late', { ref: false })]);
    // The whole node is gone: the next engine finds nothing to take over.
    rmSync(`${this.runDir}/journal.json`, { force: true });
    if (late !== 'late') return;
    child.kill('SIGKILL');
    throw new Error(`the engine did not end:\n${this.log.slice(-3000)}`);
  }
}
