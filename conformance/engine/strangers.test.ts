/** Whoever connects to a listening socket and is not the peer: costs next to nothing, and keeps nobody out. UDRBD_STRANGERS sets how many. */
import { readdirSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import t from 'tap';
import type { EngineProcess } from './engine-process.js';
import { TwoEngines } from './two-engines.js';

const STRANGERS = Number(process.env.UDRBD_STRANGERS ?? 10_000);
/** Connections that the test keeps open at the same time. */
const AT_ONCE = 500;
/** A stranger that the kernel has not found room for in the queue of the listening socket learns nothing: its own patience. */
const PATIENCE_MS = 10_000;
/** Of the engine: silent strangers that it bears with (64), and some more that it has just got rid of. */
const FILES_MAX = 80;
const MEMORY_MIB_MAX = 24;
const PEER = '127.0.0.1';
const SOMEBODY = '127.0.0.2';

const files = (engine: EngineProcess): number => readdirSync(`/proc/${engine.pid}/fd`).length;
const residentMiB = (engine: EngineProcess): number =>
  Number(/^VmRSS:\s*(\d+)/m.exec(readFileSync(`/proc/${engine.pid}/status`, 'utf8'))?.[1]) / 1024;

/** Says nothing, or only a part of what a peer would. */
class Flood {
  readonly #port: number;
  readonly #open = new Set<Socket>();
  #left = 0;
  closedByEngine = 0;
  readonly ended: Promise<void>;
  #end: () => void = () => undefined;

  constructor(port: number, count: number) {
    this.#port = port;
    this.#left = count;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    for (let i = 0; i < Math.min(count, AT_ONCE); i++) this.#next();
  }

  #next(): void {
    if (this.#left === 0) {
      if (this.#open.size === 0) this.#end();
      return;
    }
    const number = this.#left--;
    const socket = connect({ port: this.#port, host: PEER, localAddress: number % 10 === 0 ? SOMEBODY : PEER });
    this.#open.add(socket);
    socket.on('error', () => undefined);
    if (number % 7 === 0) socket.write(Buffer.from('837402', 'hex'));
    socket.resume();
    socket.setTimeout(PATIENCE_MS, () => socket.destroy());
    socket.on('end', () => this.closedByEngine++);
    socket.once('close', () => {
      this.#open.delete(socket);
      this.#next();
    });
  }

  stop(): void {
    this.#left = 0;
    for (const socket of this.#open) socket.destroy();
  }
}

t.test('strangers', async (t) => {
  const two = await TwoEngines.start(t, { size: 8 << 20 });
  const { a, b } = two;
  await two.configure({ 'connect-int': 1, 'cram-hmac-alg': 'sha256', 'shared-secret': 'not for everybody' });
  await two.connectNode(0);
  const { connections } = await a.until('r0', 'listening', (r) => r.connections[0]!.state.connectionState === 'Connecting');
  const { local } = connections[0]!.paths[0]!;
  t.equal(local.address, PEER);
  const before = { files: files(a), memory: residentMiB(a) };
  let most = 0;
  const watch = setInterval(() => {
    most = Math.max(most, files(a) - before.files);
  }, 20);
  t.teardown(() => clearInterval(watch));

  const flood = new Flood(local.port, STRANGERS);
  await flood.ended;
  t.ok(flood.closedByEngine > STRANGERS * 0.9, `${flood.closedByEngine} of ${STRANGERS} were sent away`);
  t.ok(most < FILES_MAX, `${most} descriptors more at most`);
  const grown = residentMiB(a) - before.memory;
  t.ok(grown < MEMORY_MIB_MAX, `${grown.toFixed(1)} MiB more resident`);
  const lines = a.log.split('\n').filter((line) => /unexpected connection|initial packet/.test(line));
  t.ok(lines.length >= 1 && lines.length < 40, `${lines.length} lines in the log`);

  const another = new Flood(local.port, Number.POSITIVE_INFINITY);
  t.teardown(() => another.stop());
  await two.connectNode(1);
  await b.until('r0', 'the peer among them', (r) => r.connections[0]!.state.connectionState === 'Connected');
  another.stop();
  t.equal((await a.client.request('ping', {})).code, 101);
  for (const { log } of [a, b]) t.notMatch(log, /internal error|not for everybody/);
});
