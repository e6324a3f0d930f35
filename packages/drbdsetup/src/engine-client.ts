/**
 * The way to the engine: its socket, and starting it when it does not answer, as the stock tools load a module.
 *
 * Nothing answers and nothing is left over: no engine ran since boot, so nothing is configured, and a query is answered without
 * starting one. A socket that refuses connections is what a crashed engine leaves, and a journal is left of one that ended while it was
 * in use; then any command brings it back.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CONTROL_VERSION, type ControlClient, createClient, RETURN_CODES, type Reply, type Transport } from '@udrbd/control';
import type { CommandIo } from './command-io.js';

type Env = CommandIo['env'];

export const runDir = (env: Env): string => env.UDRBD_RUN_DIR ?? '/run/udrbd';
export const socketPath = (env: Env): string => join(runDir(env), 'control.sock');

const START_TIMEOUT_MS = 60_000;
const RETRY_MS = 50;
/** As long as this a busy engine is asked again. */
const BUSY_MS = 10_000;

/** Why there is no engine to talk to. */
export class NoEngine extends Error {
  override readonly name = 'NoEngine';
  /**
   * `absent`: it does not run and must not be started; `failed`: it could not be started; `silent`: it is there and does not talk to us;
   * `mismatch`: it speaks another language.
   */
  readonly reason: 'absent' | 'failed' | 'silent' | 'mismatch';

  constructor(reason: NoEngine['reason'], message: string) {
    super(message);
    this.reason = reason;
  }
}

/**
 * @param needsEngine - whether the command makes sense only with an engine; if not, it is answered as if nothing were configured
 * @throws NoEngine
 */
export async function openEngine(io: Pick<CommandIo, 'env' | 'engineStarts'>, needsEngine: boolean): Promise<ControlClient> {
  const client = await anyEngine(io, needsEngine);
  // After an upgrade the engine may still be the old one: better no change than one it understands in its own way.
  const reply = await client.request('version', {}).catch(() => undefined);
  if (reply?.id === 0) {
    client.close();
    throw new NoEngine('silent', `the engine turned us away: ${reply.info.join(' ')}`);
  }
  const data = reply?.data;
  if (data === undefined || data.control === CONTROL_VERSION) return client;
  client.close();
  const versions = `\tAPI version drbdsetup: ${CONTROL_VERSION} engine: ${data.control}\n\tengine ${data.engine}, pid ${data.pid}: restart it`;
  throw new NoEngine('mismatch', versions);
}

async function anyEngine({ env, engineStarts }: Pick<CommandIo, 'env' | 'engineStarts'>, needsEngine: boolean): Promise<ControlClient> {
  const path = socketPath(env);
  const first = await tryConnect(path);
  if (first instanceof Object && 'client' in first) return first.client;
  if (env.UDRBD_NO_START === '1') throw new NoEngine('absent', 'No such file or directory');
  if (first.errno === 'ENOENT' && !needsEngine && !existsSync(join(runDir(env), 'journal.json'))) return idleClient();
  if (first.errno === 'EAGAIN') throw new NoEngine('silent', `can not connect to ${path}: too many clients wait`);
  if (first.errno === 'EACCES') throw new NoEngine('silent', `can not connect to ${path}: permission denied`);
  const started = startEngine(env, path);
  engineStarts?.(started);
  return await started;
}

type Attempt = { readonly client: ControlClient } | { readonly errno: string };

/** Asks again while the engine's queue of connections is full: it is there, and busy. */
async function tryConnect(path: string): Promise<Attempt> {
  for (let waited = 0; ; waited += RETRY_MS) {
    const attempt = await connectOnce(path);
    if ('client' in attempt || attempt.errno !== 'EAGAIN' || waited > BUSY_MS) return attempt;
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

function connectOnce(path: string): Promise<Attempt> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('error', (error: NodeJS.ErrnoException) => resolve({ errno: error.code ?? 'EIO' }));
    socket.once('connect', () => resolve({ client: createClient(transportOver(socket)) }));
  });
}

function transportOver(socket: Socket): Transport {
  socket.setEncoding('utf8');
  // Whatever breaks the connection is followed by its close.
  socket.on('error', () => undefined);
  return {
    send: (text) => void socket.write(text),
    onText: (listener) => void socket.on('data', (chunk) => listener(String(chunk))),
    onClose: (listener) => void socket.once('close', listener),
    close: () => void socket.destroy(),
  };
}

/** Where the engine's program is: named by the environment, or beside this program in its bundle. */
function engineProgram(env: Env): string | undefined {
  if (env.UDRBD_ENGINE !== undefined) return env.UDRBD_ENGINE;
  const beside = ['./udrbd-engine.js', '../udrbd-engine.js', '../../../bundle/udrbd-engine.js'];
  return beside.map((relative) => fileURLToPath(new URL(relative, import.meta.url))).find((path) => existsSync(path));
}

async function startEngine(env: Env, path: string): Promise<ControlClient> {
  const program = engineProgram(env);
  if (program === undefined) throw new NoEngine('failed', 'udrbd-engine not found');
  const directory = runDir(env);
  let child: ChildProcess;
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const log = openSync(join(directory, 'engine.log'), 'a', 0o600);
    // Our own program need not start itself once more to be in the background: a start of node less, while devices may wait.
    const command = /\.[cm]?js$/.test(program) ? [process.execPath, program, '--background'] : [program];
    child = spawn(command[0]!, command.slice(1), {
      detached: true,
      cwd: '/',
      stdio: ['ignore', log, log],
      env,
    });
    closeSync(log);
  } catch (error) {
    throw new NoEngine('failed', error instanceof Error ? error.message : String(error));
  }

  let wake: () => void = () => undefined;
  let failure: string | undefined;
  child.once('error', (error) => {
    failure = error.message;
    wake();
  });
  child.once('exit', (code, signal) => {
    // It goes into the background, and is gone when its socket listens. Nor is another end final: another command may have started an
    // engine at the same moment, and only one of the two stays.
    failure ??= `udrbd-engine ended with ${signal ?? `exit status ${code}`}; see ${join(directory, 'engine.log')}`;
    wake();
  });
  try {
    const deadline = performance.now() + START_TIMEOUT_MS;
    for (let triesAfterFailure = 0; performance.now() < deadline && triesAfterFailure < 10; ) {
      const attempt = await tryConnect(path);
      if ('client' in attempt) return attempt.client;
      if (failure !== undefined) triesAfterFailure += 1;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, RETRY_MS);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    throw new NoEngine('failed', failure ?? `udrbd-engine does not answer on ${path}`);
  } finally {
    child.unref();
  }
}

/** Answers as an engine does in which nothing is configured. */
function idleClient(): ControlClient {
  const done: Reply = { id: 1, code: RETURN_CODES.NO_ERROR.code, info: [] };
  return {
    request: (command) => {
      if (command === 'snapshot')
        return Promise.resolve({ ...done, data: { resources: [] } } as Reply<'snapshot'> as Reply<typeof command>);
      return Promise.resolve({ ...done, code: RETURN_CODES.ERR_RES_NOT_KNOWN.code } as Reply<typeof command>);
    },
    events: (_parameters, listener) => {
      listener({ action: 'exists', kind: '-' });
      return Promise.resolve(done as Reply<'events'>);
    },
    close: () => undefined,
  };
}
