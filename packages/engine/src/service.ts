/** The daemon proper: takes over what the last one has left, serves, and ends or hands over when it is told to. */
import { setTimeout as sleep } from 'node:timers/promises';
import { lockProcessMemory, setIoFlusher } from 'ublk-napi';
import type { ControlServer } from './desk/control-server.js';
import { EndRequest } from './desk/end-request.js';
import { type EngineEnvironment, readEnvironment } from './desk/environment.js';
import { FrontDesk } from './desk/front-desk.js';
import { HAND_OVER_SIGNAL, lockInstance, nameSuccessor, runningEngine, succeedInstance } from './desk/instance-lock.js';
import { readJournal } from './desk/journal.js';
import { type Log, openLog } from './desk/log.js';
import { MetricsServer } from './desk/metrics-server.js';
import { ReactorThread } from './desk/reactor-thread.js';
import type { ReactorMessage } from './reactor/messages.js';
import { ENGINE_VERSION } from './version.js';

/** The daemon's parent waits for this message of its child. */
export const READY = 'ready';
/** The control socket answers after this time even when something that the last engine had is not set up yet. */
const TAKE_OVER_MS = 5000;

/** `foreground` logs to standard error; `successor` takes over from an engine that runs. */
export type ServiceMode = 'foreground' | 'background' | 'successor';

function tellParent(text: string): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined) resolve();
    else process.send(text, () => resolve());
  });
}

/** Resolves when the control socket answers. The process ends when it can not be, and the parent has been told why. */
export async function serve(mode: ServiceMode): Promise<void> {
  let log = openLog(undefined);
  try {
    const environment = readEnvironment(process.env);
    if (mode !== 'foreground') log = openLog(`${environment.runDir}/engine.log`);
    await tryToServe(environment, log, mode === 'successor');
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
  if (isSuccessor && runningEngine(environment.runDir) === undefined) throw new Error(`no engine serves ${environment.runDir}`);
  // One that this engine does not understand is refused before the engine that runs is asked for anything.
  let journal = readJournal(environment.journalPath, log);
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
      protocolVersions: environment.protocolVersions,
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
  let server: ControlServer | undefined;
  const metrics = environment.metrics && new MetricsServer(environment.metrics, () => desk.metrics(), log);
  endOnSignals(log, async (insist) => {
    await desk.shutDown(insist);
    metrics?.close();
    await server?.close();
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
  // It loads a large library, for which no device has to wait.
  const { ControlServer } = await import('./desk/control-server.js');
  server = new ControlServer(`${environment.runDir}/control.sock`, desk, log);
  await server.listen();
}

/** @param end - takes everything down; `insist` resolves when a signal insists */
function endOnSignals(log: Log, end: (insist: Promise<void>) => Promise<void>): void {
  const request = new EndRequest(() => performance.now());
  let insist: () => void = () => undefined;
  const insisted = new Promise<void>((resolve) => {
    insist = resolve;
  });
  const ended = (signal: string): void => {
    switch (request.signalled()) {
      case 'asks':
        log('info', `${signal}: going down`);
        void end(insisted).then(() => {
          log('info', 'ended');
          process.exit(0);
        });
        break;
      case 'belongs':
        log('info', `${signal}: going down already`);
        break;
      case 'insists':
        log('info', `${signal}: going down, whatever is in use`);
        insist();
        break;
    }
  };
  process.on('SIGTERM', () => ended('SIGTERM'));
  process.on('SIGINT', () => ended('SIGINT'));
  process.on('SIGHUP', () => undefined);
}
