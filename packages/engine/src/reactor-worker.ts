/**
 * The thread of a reactor: takes the front desk's messages when the eventfd says so, and otherwise lives in the ring.
 *
 * It never returns to Node's event loop while it runs, so nothing here may use promises or timers.
 */
import { setPriority } from 'node:os';
import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { Resource } from '@udrbd/replication';
import { setIoFlusher } from 'ublk-napi';
import { inlineSmallFunctions } from './reactor/inlining.js';
import type { DeskMessage, ReactorMessage } from './reactor/messages.js';
import { ReactorService, type ReactorServiceOptions } from './reactor/reactor-service.js';

/** What the front desk starts the thread with. */
export interface ReactorWorkerData extends ReactorServiceOptions {
  readonly port: MessagePort;
  readonly eventfd: number;
}

/** Of this thread only; handlers and the front desk keep theirs. */
const REACTOR_NICE = -20;

const data = workerData as ReactorWorkerData;
const post = (message: ReactorMessage) => data.port.postMessage(message);

setIoFlusher();
inlineSmallFunctions();
try {
  // Others wait for this thread's acks and pings, as for the kernel threads of DRBD, which run in real time.
  setPriority(0, REACTOR_NICE);
} catch {
  // Without the right to it the thread runs like any other.
}
const service = new ReactorService(post, data, (setup) => new Resource(setup));
service.reactor.watchWakeUps(data.eventfd, () => {
  for (let next = receiveMessageOnPort(data.port); next !== undefined; next = receiveMessageOnPort(data.port)) {
    service.handle(next.message as DeskMessage);
  }
});
post({ type: 'ready' });
while (!service.isStopped) service.turn(Infinity);
service.close();
post({ type: 'stopped' });
data.port.close();
