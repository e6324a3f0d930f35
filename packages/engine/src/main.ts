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
import { HAND_OVER_SIGNAL, lockInstance, nameSuccessor, runningEngine, succeedInstance } from './desk/instance-lock.js';
import { readJournal } from './desk/journal.js';
import { type Log, openLog } from './desk/log.js';
import { MetricsServer } from './desk/metrics-server.js';
import { orphans } from './desk/orphans.js';
import { ReactorThread } from './desk/reactor-thread.js';
import type { ReactorMessage } from './reactor/messages.js';

const USAGE = `usage: udrbd-engine [--foreground | --upgrade | --orphans | --remove-orphans]

Serves replicated volumes; drbdsetup starts it on demand. See docs/engine.md.
  --foreground      stay in the foreground and log to standard error
  --upgrade         take everything over from the engine that runs; what uses its devices sees a pause
  --orphans         list ublk devices of an engine whose journal is lost
  --remove-orphans  end them: what waits for them fails
  --version         print the version
`;

/** The daemon's parent waits for this message of its child. */
const READY = 'ready';
/** The control socket answers after this time even when something that the last engine had is not set up yet. */
const TAKE_OVER_MS = 5000;

/** `--background` and `--successor` are what the engine starts itself with. */
const OPTIONS = ['--foreground', '--background', '--upgrade', '--successor', '--orphans', '--remove-orphans', '--version', '--help'];

const options = process.argv.slice(2);
const unknown = options.find((option) => !OPTIONS.includes(option));
if (unknown !== undefined) fail(`udrbd-engine: unknown option '${unknown}'\n${USAGE}`, 20);
else if (options.includes('--help')) process.stdout.write(USAGE);
else if (options.includes('--version')) process.stdout.write(`udrbd-engine ${ENGINE_VERSION}\n`);
else {
  try {
    const environment = readEnvironment(process.env);
    const logFile = `${environment.runDir}/engine.log`;
    const say: Log = (_level, text) => process.stderr.write(`udrbd-engine: ${text}\n`);
    if (options.includes('--orphans') || options.includes('--remove-orphans')) {
      await orphans(environment, options.includes('--remove-orphans'), (line) => process.stdout.write(`${line}\n`), say);
    } else if (options.includes('--upgrade')) {
      if (runningEngine(environment.runDir) === undefined) throw new Error(`no engine serves ${environment.runDir}`);
      // Refused before the engine that runs is asked for anything.
      readJournal(environment.journalPath, say);
      daemonise(environment, '--successor');
    } else if (options.includes('--foreground')) await serve(environment, openLog(undefined), false);
    else if (options.includes('--background')) await serve(environment, openLog(logFile), false);
    else if (options.includes('--successor')) await serve(environment, openLog(logFile), true);
    else daemonise(environment, '--background');
  } catch (error) {
    fail(`udrbd-engine: ${error instanceof Error ? error.message : String(error)}\n`, 20);
  }
}

function fail(text: string, code: number): void {
  process.stderr.write(text);
  process.exitCode = code;
}

/** Starts the daemon proper and waits until it serves, or says why not. */
function daemonise(environment: EngineEnvironment, option: '--background' | '--successor'): void {
  mkdirSync(environment.runDir, { recursive: true, mode: 0o700 });
  const log = openSync(`${environment.runDir}/engine.log`, 'a', 0o600);
  const child = spawn(process.execPath, [...process.execArgv, fileURLToPath(import.meta.url), option], {
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

function tellParent(text: string): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined) resolve();
    else process.send(text, () => resolve());
  });
}

/** @throws Error when it can not be; the parent has been told then */
async function serve(environment: EngineEnvironment, log: Log, isSuccessor: boolean): Promise<void> {
  try {
    await tryToServe(environment, log, isSuccessor);
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    log('err', text);
    await tellParent(text);
    process.exit(20);
  }
  await tellParent(READY);
  process.disconnect?.();
}

async function tryToServe(environment: EngineEnvironment, log: Log, isSuccessor: boolean): Promise<void> {
  // The successor of an engine that runs makes itself ready first: the pause is as long as it has the lock and does not serve yet.
  let instance = isSuccessor ? undefined : lockInstance(environment.runDir);
  if (!isSuccessor && instance === undefined) throw new Error(`another engine serves ${environment.runDir}`);
  let journal = isSuccessor ? undefined : readJournal(environment.journalPath, log);
  const refused = setIoFlusher();
  log('info', `udrbd-engine ${ENGINE_VERSION}, pid ${process.pid}, run directory ${environment.runDir}, front end ${environment.frontEnd}`);
  if (refused !== 0) log('info', `PR_SET_IO_FLUSHER: errno ${refused}`);
  // Below a file system of this host no page of ours may wait for memory that only we could free.
  const unlocked = environment.frontEnd === 'ublk' && environment.lockMemory ? lockProcessMemory() : 0;
  if (unlocked !== 0) log('info', `mlockall: errno ${unlocked}`);

  let desk: FrontDesk | undefined;
  const early: ReactorMessage[] = [];
  const reactor = new ReactorThread(
    {
      frontEnd: environment.frontEnd,
      runDir: environment.runDir,
      arenaBytes: environment.arenaBytes,
      lock: environment.lockMemory,
      applicationSlots: environment.applicationSlots,
      peerSlots: environment.peerSlots,
    },
    (message) => (desk === undefined ? void early.push(message) : desk.received(message)),
    (error) => {
      log('err', `reactor died: ${error.stack ?? error.message}`);
      process.exit(1);
    },
  );
  await reactor.ready;
  if (isSuccessor) {
    instance = await succeedInstance(environment.runDir);
    if (instance === undefined) throw new Error('the engine that runs does not hand over');
    journal = readJournal(environment.journalPath, log);
  }
  desk = new FrontDesk(environment, log);
  desk.use(reactor);
  for (const message of early) desk.received(message);
  const server = new ControlServer(`${environment.runDir}/control.sock`, desk, log);
  const metrics = environment.metrics && new MetricsServer(environment.metrics, () => desk.metrics(), log);
  endOnSignals(log, async (insist) => {
    await desk.shutDown(insist);
    metrics?.close();
    await server.close();
    await Promise.race([reactor.stop(), sleep(2000, undefined, { ref: false })]);
  });
  let isHandingOver = false;
  process.on(HAND_OVER_SIGNAL, () => {
    if (isHandingOver) return;
    isHandingOver = true;
    log('info', 'handing over to the next engine');
    void desk.handOver().then(() => {
      nameSuccessor(environment.runDir);
      // Node would wait for the reactor, which sleeps in the kernel; nothing is left to be tidied.
      process.kill(process.pid, 'SIGKILL');
    });
  });
  process.on('unhandledRejection', (error) => log('err', `internal error: ${error instanceof Error ? error.stack : String(error)}`));
  process.on('uncaughtException', (error) => log('err', `internal error: ${error.stack ?? error.message}`));
  instance?.beat();
  // A disk that hangs holds up its own resource only.
  await Promise.race([desk.takeOver(journal, instance?.isSuccessor === true), sleep(TAKE_OVER_MS)]);
  await metrics?.listen();
  await server.listen();
}

/** @param end - takes everything down; `insist` resolves with the second signal */
function endOnSignals(log: Log, end: (insist: Promise<void>) => Promise<void>): void {
  let signals = 0;
  let insist: () => void = () => undefined;
  const insisted = new Promise<void>((resolve) => {
    insist = resolve;
  });
  const ended = (signal: string): void => {
    signals++;
    log('info', `${signal}: going down`);
    if (signals > 1) {
      insist();
      return;
    }
    void end(insisted).then(() => {
      log('info', 'ended');
      process.exit(0);
    });
  };
  process.on('SIGTERM', () => ended('SIGTERM'));
  process.on('SIGINT', () => ended('SIGINT'));
  process.on('SIGHUP', () => undefined);
}
