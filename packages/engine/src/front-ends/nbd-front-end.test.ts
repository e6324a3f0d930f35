/** Clients that come and go, seen from the front end; what they say to each other is the business of nbd/. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { EFFECT } from '@udrbd/replication';
import t, { type Test } from 'tap';
import { Listeners } from '../links/listener.js';
import { CMD, HANDSHAKE, OPT, REQUEST_MAGIC } from '../nbd/index.js';
import type { ReactorMessage } from '../reactor/messages.js';
import { Reactor } from '../reactor/reactor.js';
import { ResourceHost } from '../reactor/resource-host.js';
import { ResyncOrder } from '../reactor/resync-order.js';
import { FakeCore } from '../testing/fake-core.js';
import { NbdFrontEnd } from './nbd-front-end.js';

const TURNS = 2000;

function setUp(t: Test) {
  const dir = mkdtempSync(`${tmpdir()}/udrbd-`);
  const path = `${dir}/0.sock`;
  const posted: ReactorMessage[] = [];
  const reactor = new Reactor((message) => posted.push(message), { arenaBytes: [1 << 20, 1 << 20, 1 << 20], lock: false, ringEntries: 16 });
  const core = new FakeCore();
  let frontEnd: NbdFrontEnd | undefined;
  const host = new ResourceHost({
    reactor,
    index: 0,
    core,
    listeners: new Listeners(reactor, () => undefined),
    frontEnds: (owner, volume, minor) => {
      frontEnd = new NbdFrontEnd(reactor, owner, volume, minor, path, false);
      return frontEnd;
    },
    lock: false,
    resyncOrder: new ResyncOrder(),
  });
  host.control(1, { command: 'new-minor', volume: 0, minor: 0, options: {} });
  reactor.turn(0);
  t.teardown(() => {
    reactor.close();
    rmSync(dir, { recursive: true });
  });
  /** Both loops run, that of the test's clients and the reactor's. */
  const until = async (isSo: () => boolean): Promise<boolean> => {
    for (let i = 0; i < TURNS && !isSo(); i++) {
      reactor.turn(1);
      await nextTurn();
    }
    return isSo();
  };
  return { path, core, host, reactor, frontEnd: frontEnd!, until, logged: () => posted.filter(({ type }) => type === 'log') };
}

/** A client, and whether it was greeted, and cut off. */
function client(path: string): { readonly socket: Socket; isGreeted: boolean; hasEnded: boolean } {
  const seen = { socket: connect(path), isGreeted: false, hasEnded: false };
  seen.socket.on('error', () => undefined);
  seen.socket.on('data', () => {
    seen.isGreeted = true;
  });
  seen.socket.on('close', () => {
    seen.hasEnded = true;
  });
  return seen;
}

t.test('a client for whom there is no room is cut off and forgotten, and the next one served', async (t) => {
  const { path, reactor, frontEnd, until } = setUp(t);
  const rows: number[] = [];
  for (let row = reactor.acquireMessageRow(); row >= 0; row = reactor.acquireMessageRow()) rows.push(row);
  frontEnd.listen();
  const refused = [client(path), client(path)];
  t.ok(await until(() => refused.every(({ hasEnded }) => hasEnded)), 'nobody waits for an answer that never comes');
  t.notOk(refused.some(({ isGreeted }) => isGreeted));

  for (const row of rows) reactor.releaseMessageRow(row);
  const served = client(path);
  t.ok(await until(() => served.isGreeted));
  served.socket.destroy();
  await once(served.socket, 'close');

  let isStopped = false;
  frontEnd.stop(() => {
    isStopped = true;
  });
  t.ok(await until(() => isStopped), 'the end waits for no client that was never there');
  t.notOk(existsSync(path));
  t.equal(reactor.strayCompletions, 0);
});

t.test('the end cuts off who has not even said hello', async (t) => {
  const { path, frontEnd, until } = setUp(t);
  // As an engine that was killed leaves it.
  writeFileSync(path, '');
  frontEnd.listen();
  const silent = client(path);
  t.ok(await until(() => silent.isGreeted));
  t.notOk(frontEnd.isOpen, 'no user of the device');
  let isStopped = false;
  frontEnd.stop(() => {
    isStopped = true;
  });
  t.ok(await until(() => isStopped && silent.hasEnded));
  t.notOk(existsSync(path));
});

t.test('a read whose disk was given up answers with what came from elsewhere', async (t) => {
  const { path, core, host, reactor, frontEnd, until } = setUp(t);
  const free = reactor.memory.freeBytes(0);
  // A read of an empty pipe waits.
  execFileSync('mkfifo', [`${path}.pipe`]);
  const pipe = openSync(`${path}.pipe`, 'r+');
  t.teardown(() => closeSync(pipe));
  const handles = { dataFd: pipe, metaFd: pipe, isBlockDevice: false, logicalBlockBytes: 512 };
  host.attach(2, 0, { backingDevice: path } as never, handles);
  let slot = -1;
  core.onSubmit = (submitted) => {
    slot = submitted;
    core.effects.push(EFFECT.DiskRead, slot, 0);
  };
  // The peer is asked.
  const givenUp: number[] = [];
  core.diskDone = (_now, failed) => void givenUp.push(failed);
  frontEnd.update(2048, true);
  frontEnd.listen();

  const { socket } = client(path);
  const received: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => received.push(chunk));
  const hello = Buffer.alloc(4 + 16);
  hello.writeUInt32BE(HANDSHAKE.FIXED_NEWSTYLE | HANDSHAKE.NO_ZEROES);
  hello.write('IHAVEOPT', 4);
  hello.writeUInt32BE(OPT.EXPORT_NAME, 12);
  const request = Buffer.alloc(28);
  request.writeUInt32BE(REQUEST_MAGIC);
  request.writeUInt16BE(CMD.READ, 6);
  request.writeUInt32BE(4096, 24);
  socket.write(Buffer.concat([hello, request]));
  t.ok(await until(() => slot >= 0));
  reactor.turn(1);
  const old = host.pageOf(slot);
  core.effects.cold.push({ type: 'abandonDisk', volume: 0, token: 77 });
  host.touched = true;
  t.ok(await until(() => givenUp.includes(slot)));
  t.not(host.pageOf(slot), old);
  // What the disk still may write into is somebody else's by then.
  reactor.memory.view(old, 4096).fill(9);
  reactor.memory.view(host.pageOf(slot), 4096).fill(1);
  const before = Buffer.concat(received).length;
  core.complete(slot, 0);
  host.touched = true;
  t.ok(await until(() => Buffer.concat(received).length === before + 16 + 4096));
  t.ok(
    Buffer.concat(received)
      .subarray(-4096)
      .every((byte) => byte === 1),
    "the peer's data",
  );
  writeSync(pipe, Buffer.alloc(4096, 9));
  t.ok(await until(() => core.calls.includes('metaDone 77 0')));
  t.equal(reactor.memory.freeBytes(0), free, 'all memory is back');
  socket.destroy();
});
