/** Clients that come and go, seen from the front end; what they say to each other is the business of nbd/. */
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { Listeners } from '../links/listener.js';
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
  let frontEnd: NbdFrontEnd | undefined;
  const host = new ResourceHost({
    reactor,
    index: 0,
    core: new FakeCore(),
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
  return { path, reactor, frontEnd: frontEnd!, until, logged: () => posted.filter(({ type }) => type === 'log') };
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
