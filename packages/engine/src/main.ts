#!/usr/bin/env node
/**
 * udrbd-engine: one daemon per host (and run directory).
 *
 * Without `--foreground` it starts itself again in the background and returns as soon as the control socket answers.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { lockProcessMemory, setIoFlusher } from 'ublk-napi';
import { ControlServer } from './desk/control-server.js';
import { type EngineEnvironment, readEnvironment } from './desk/environment.js';
import { ENGINE_VERSION, FrontDesk } from './desk/front-desk.js';
import { lockInstance } from './desk/instance-lock.js';
import { type Journal, NewerJournal, readJournal } from './desk/journal.js';
import { type Log, openLog } from './desk/log.js';
import { MetricsServer } from './desk/metrics-server.js';
import { ReactorThread } from './desk/reactor-thread.js';

const USAGE = `usage: udrbd-engine [--foreground]

Serves replicated volumes; drbdsetup starts it on demand. See docs/engine.md.
  --foreground   stay in the foreground and log to standard error
  --version      print the version
`;

/** The control socket answers after this time even when something that the last engine had is not set up yet. */
const TAKE_OVER_MS = 5000;

/** The daemon's parent waits for this message of its child. */
const READY = 'ready';

const options = process.argv.slice(2);
const unknown = options.find((option) => !['--foreground', '--background', '--version', '--help'].includes(option));
if (unknown !== undefined) fail(`udrbd-engine: unknown option '${unknown}'\n${USAGE}`, 20);
else if (options.includes('--help')) process.stdout.write(USAGE);
else if (options.includes('--version')) process.stdout.write(`udrbd-engine ${ENGINE_VERSION}\n`);
else {
  try {
    const environment = readEnvironment(process.env);
    if (options.includes('--foreground')) await serve(environment, openLog(undefined));
    else if (options.includes('--background')) await serve(environment, openLog(`${environment.runDir}/engine.log`));
    else daemonise(environment);
  } catch (error) {
    fail(`udrbd-engine: ${error instanceof Error ? error.message : String(error)}\n`, 20);
  }
}

function fail(text: string, code: number): void {
  process.stderr.write(text);
  process.exitCode = code;
}

/** Starts the daemon proper and waits until it serves, or says why not. */
function daemonise(environment: EngineEnvironment): void {
  mkdirSync(environment.runDir, { recursive: true, mode: 0o700 });
  const log = openSync(`${environment.runDir}/engine.log`, 'a', 0o600);
  const child = spawn(process.execPath, [...process.execArgv, fileURLToPath(import.meta.url), '--background'], {
    detached: true,
    cwd: '/',
    stdio: ['ignore', log, log, 'ipc'],
  });
  let isReady = false;
  child.on('message', (message) => {
    if (message !== READY) {
      process.stderr.write(`udrbd-engine: ${String(message)}\n`);
      return;
    }
    isReady = true;
    child.disconnect();
    child.unref();
  });
  child.on('exit', (code) => {
    if (!isReady) process.exitCode = code ?? 20;
  });
}

async function serve(environment: EngineEnvironment, log: Log): Promise<void> {
  const tellParent = (text: string) =>
    new Promise<void>((resolve) => {
      if (process.send === undefined) resolve();
      else process.send(text, () => resolve());
    });
  const refuse = async (text: string): Promise<never> => {
    await tellParent(text);
    throw new Error(text);
  };
  const instance = lockInstance(environment.runDir) ?? (await refuse(`another engine serves ${environment.runDir}`));
  let journal: Journal | undefined;
  try {
    journal = readJournal(environment.journalPath, log);
  } catch (error) {
    if (!(error instanceof NewerJournal)) throw error;
    await refuse(error.message);
  }
  const refused = setIoFlusher();
  log('info', `udrbd-engine ${ENGINE_VERSION}, pid ${process.pid}, run directory ${environment.runDir}, front end ${environment.frontEnd}`);
  if (refused !== 0) log('info', `PR_SET_IO_FLUSHER: errno ${refused}`);
  // Below a file system of this host no page of ours may wait for memory that only we could free.
  const unlocked = environment.frontEnd === 'ublk' && environment.lockMemory ? lockProcessMemory() : 0;
  if (unlocked !== 0) log('info', `mlockall: errno ${unlocked}`);

  const desk = new FrontDesk(environment, log);
  const reactor = new ReactorThread(
    {
      frontEnd: environment.frontEnd,
      runDir: environment.runDir,
      arenaBytes: environment.arenaBytes,
      lock: environment.lockMemory,
      applicationSlots: environment.applicationSlots,
      peerSlots: environment.peerSlots,
    },
    (message) => desk.received(message),
    (error) => {
      log('err', `reactor died: ${error.stack ?? error.message}`);
      process.exit(1);
    },
  );
  desk.use(reactor);
  const server = new ControlServer(`${environment.runDir}/control.sock`, desk, log);
  const metrics = environment.metrics && new MetricsServer(environment.metrics, () => desk.metrics(), log);
  let isEnding = false;
  const end = (signal: string) => {
    if (isEnding) return;
    isEnding = true;
    log('info', `${signal}: going down`);
    void (async () => {
      metrics?.close();
      await desk.shutDown();
      await server.close();
      await Promise.race([reactor.stop(), new Promise((resolve) => setTimeout(resolve, 2000).unref())]);
      log('info', 'ended');
      process.exit(0);
    })();
  };
  process.on('SIGTERM', () => end('SIGTERM'));
  process.on('SIGINT', () => end('SIGINT'));
  process.on('SIGHUP', () => undefined);
  process.on('unhandledRejection', (error) => log('err', `internal error: ${error instanceof Error ? error.stack : String(error)}`));
  process.on('uncaughtException', (error) => log('err', `internal error: ${error.stack ?? error.message}`));
  try {
    await reactor.ready;
    instance.beat();
    // A disk that hangs holds up its own resource only.
    await Promise.race([desk.takeOver(journal, instance.isSuccessor), sleep(TAKE_OVER_MS)]);
    await metrics?.listen();
    await server.listen();
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    log('err', text);
    await tellParent(text);
    process.exit(20);
  }
  await tellParent(READY);
  process.disconnect?.();
}
