import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import type { Notification, Reply, Request } from '@udrbd/control';
import t from 'tap';
import type { ConnectionLimits } from './control-connection.js';
import { ControlServer } from './control-server.js';

const EXISTS: Notification = { action: 'exists', kind: '-' };

function setUp(t: { teardown(end: () => unknown): void }, limits: Partial<ConnectionLimits> = {}, uid?: number, clientsMax?: number) {
  const dir = mkdtempSync(`${tmpdir()}/udrbd-`);
  const path = `${dir}/s`;
  const logged: string[] = [];
  const handled: Request[] = [];
  const listeners = new Set<(batch: readonly Notification[]) => void>();
  /** Requests that wait for the test to answer them. */
  const held: (() => void)[] = [];
  const handler = {
    handle: async (request: Request): Promise<Reply> => {
      handled.push(request);
      if (request.command === 'proc') throw new Error('a bug');
      if (request.command === 'down') await new Promise<void>((resolve) => held.push(resolve));
      if (request.command === 'version') return { id: request.id, code: 101, info: ['x'.repeat(20_000)] };
      return { id: request.id, code: 101, info: [] };
    },
    refresh: async () => undefined,
    present: () => [],
    subscribe: (listener: (batch: readonly Notification[]) => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  const options = { limits, ...(uid === undefined ? {} : { uidOf: () => uid }), ...(clientsMax === undefined ? {} : { clientsMax }) };
  const server = new ControlServer(path, handler, (_level, text) => logged.push(text), options);
  t.teardown(async () => {
    await server.close();
    rmSync(dir, { recursive: true });
  });
  const ask = (socket: Socket, text: string | Buffer, lines: number): Promise<string[]> =>
    new Promise((resolve) => {
      let got = '';
      const end = () => resolve(got.split('\n').filter((line) => line !== ''));
      socket.on('data', (bytes) => {
        got += String(bytes);
        if (got.split('\n').length > lines) end();
      });
      socket.on('close', end);
      socket.on('error', () => undefined);
      socket.write(text);
    });
  return { server, path, logged, handled, listeners, held, ask };
}

t.test('requests are answered, whatever comes between them', async (t) => {
  const { server, path, logged, handled, ask } = setUp(t);
  await server.listen();
  const socket = connect(path);
  t.strictSame(
    await ask(socket, '{"id":1,"command":"ping"}\n\n{"id":2,"command":"reboot"}\n{"id":3,"command":"primary","resource":"r0"}\n', 3),
    ['{"id":2,"code":137,"info":[]}', '{"id":1,"code":101,"info":[]}', '{"id":3,"code":101,"info":[]}'],
  );
  t.strictSame(handled[1], { id: 3, command: 'primary', resource: 'r0', force: false });
  socket.destroy();

  const broken = connect(path);
  t.match((await ask(broken, '{"id":1,"command":"proc"}\n', 1))[0], /"code":162.*internal error, see the log/);
  t.match(logged.join('\n'), /internal error in proc: Error: a bug/);
  broken.destroy();

  for (const garbage of ['{]\n', '[1]\n', '"x"\n', randomBytes(4096), Buffer.alloc((1 << 20) + 2, 0x61), Buffer.from([0xff, 0xfe, 0x0a])]) {
    const client = connect(path);
    const answer = await ask(client, garbage, 1);
    if (answer.length > 0) t.match(answer[0], /"id":0,"code":162/);
    client.destroy();
  }
  const half = connect(path);
  half.write('{"id":1,"command":"pi');
  half.destroy();
  const last = connect(path);
  t.strictSame(await ask(last, '{"id":9,"command":"ping"}\n', 1), ['{"id":9,"code":101,"info":[]}'], 'and the server is still there');
  last.destroy();
});

t.test('events: the state, then what changes', async (t) => {
  const { server, path, listeners, ask } = setUp(t);
  await server.listen();
  const once = connect(path);
  t.strictSame(await ask(once, '{"id":1,"command":"events","subscribe":false}\n', 2), [
    '{"id":1,"event":{"action":"exists","kind":"-"}}',
    '{"id":1,"code":101,"info":[]}',
  ]);
  once.destroy();
  const stream = connect(path);
  const told = ask(stream, '{"id":2,"command":"events"}\n', 2);
  while (listeners.size === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  for (const listener of listeners) listener([{ action: 'destroy', kind: 'resource', resource: 'r0' }]);
  t.strictSame(await told, [
    `{"id":2,"event":${JSON.stringify(EXISTS)}}`,
    '{"id":2,"event":{"action":"destroy","kind":"resource","resource":"r0"}}',
  ]);
  stream.destroy();
  while (listeners.size > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  t.pass('a subscription ends with its connection');
});

const until = async (what: () => boolean): Promise<void> => {
  while (!what()) await new Promise((resolve) => setTimeout(resolve, 5));
};

t.test('only root and its own user are listened to', async (t) => {
  const { server, path, logged, handled, ask } = setUp(t, {}, 65534);
  await server.listen();
  t.equal(statSync(path).mode & 0o777, 0o600);
  const stranger = connect(path);
  t.strictSame(await ask(stranger, '{"id":1,"command":"down","resource":"r0"}\n', 9), [
    '{"id":0,"code":152,"info":["only root may talk to the engine"]}',
  ]);
  t.strictSame(handled, []);
  t.match(logged[0], /user 65534 was turned away/);
});

t.test('a client that never reads is not read from', async (t) => {
  const { server, path, handled, ask } = setUp(t, { answerBytesMax: 100_000 });
  await server.listen();
  const greedy = connect(path);
  greedy.pause();
  greedy.on('error', () => undefined);
  for (let id = 1; id <= 500; id++) greedy.write(`{"id":${id},"command":"version"}\n`);
  await until(() => handled.length > 5);
  const other = connect(path);
  t.strictSame(await ask(other, '{"id":1,"command":"ping"}\n', 1), ['{"id":1,"code":101,"info":[]}'], 'others are served');
  t.ok(handled.length < 100, `${handled.length} of 500 requests were begun`);
  // Once it reads, all of them are answered, in order.
  const got: string[] = [];
  let lines = 0;
  greedy.on('data', (bytes) => {
    got.push(String(bytes));
    lines += got.at(-1)!.split('\n').length - 1;
  });
  greedy.resume();
  await until(() => lines === 500);
  const ids = got
    .join('')
    .split('\n')
    .slice(0, -1)
    .map((line) => (JSON.parse(line) as Reply).id);
  t.strictSame(
    ids,
    [...ids].sort((a, b) => a - b),
  );
  greedy.destroy();
  other.destroy();
});

t.test('requests in flight are limited; a client that dies leaves those under way to be finished', async (t) => {
  const { server, path, handled, held, ask } = setUp(t, { requestsMax: 3 });
  await server.listen();
  const eager = connect(path);
  eager.write(Array.from({ length: 10 }, (_, id) => `{"id":${id},"command":"down","resource":"r${id}"}\n`).join(''));
  await until(() => held.length === 3);
  eager.destroy();
  const other = connect(path);
  await ask(other, '{"id":1,"command":"ping"}\n', 1);
  other.destroy();
  t.equal(held.length, 3, 'no more are begun than are allowed at a time');
  for (const answer of held.splice(0)) answer();
  const again = connect(path);
  await ask(again, '{"id":1,"command":"ping"}\n', 1);
  again.destroy();
  for (const answer of held) answer();
  t.ok(handled.filter(({ command }) => command === 'down').length < 10, 'what it had not begun by then is dropped');
});

t.test('half a request changes nothing; a slow one is given up', async (t) => {
  const { server, path, handled, ask } = setUp(t, { requestMs: 50 });
  await server.listen();
  const half = connect(path);
  const answers = ask(half, '{"id":1,"command":"ping"}\n{"id":2,"command":"down","resource":"r0"}', 9);
  half.end();
  t.strictSame(await answers, ['{"id":1,"code":101,"info":[]}'], 'what was complete is answered, then the end');
  const slow = connect(path);
  t.strictSame(await ask(slow, '{"id":1,"comm', 9), ['{"id":0,"code":162,"info":["request not complete in time"]}']);
  t.strictSame(
    handled.map(({ command }) => command),
    ['ping'],
  );
});

t.test('too many clients: an idle one makes room, a busy one stays', async (t) => {
  const { server, path, held, listeners, ask } = setUp(t, { farewellMs: 1000 }, undefined, 3);
  await server.listen();
  const TOO_MANY = '{"id":0,"code":162,"info":["too many clients"]}';
  const reader = connect(path);
  await ask(reader, '{"id":1,"command":"events"}\n', 1);
  const busy = connect(path);
  busy.write('{"id":1,"command":"down","resource":"r0"}\n');
  await until(() => held.length === 1);
  const idle = connect(path);
  const farewell = ask(idle, '{"id":1,"command":"ping"}\n', 9);
  await until(() => idle.bytesRead > 0);
  const next = connect(path);
  t.strictSame(await ask(next, '{"id":1,"command":"ping"}\n', 1), ['{"id":1,"code":101,"info":[]}'], 'the newest is served');
  t.strictSame(await farewell, ['{"id":1,"code":101,"info":[]}', TOO_MANY], 'the idle one is told');
  next.write('{"id":2,"command":"down","resource":"r1"}\n');
  await until(() => held.length === 2);
  t.strictSame(await ask(connect(path), '{"id":1,"command":"ping"}\n', 9), [TOO_MANY], 'nobody is idle');
  t.equal(listeners.size, 1, 'the reader of events is still there');
  for (const answer of held) answer();
  for (const socket of [reader, busy, idle, next]) socket.destroy();
});

t.test('a reader of events that is too slow is told, the others get every one in order', async (t) => {
  const { server, path, listeners } = setUp(t, { eventBytesMax: 100_000, farewellMs: 10_000 });
  await server.listen();
  const event = (n: number): Notification => ({ action: 'call', kind: 'helper', resource: 'r0', helper: `${n} ${'x'.repeat(1000)}` });
  const readers = Array.from({ length: 3 }, () => connect(path));
  const texts = readers.map(() => '');
  const started: number[] = [];
  readers.forEach((reader, index) => {
    reader.on('data', (bytes) => {
      texts[index] += String(bytes);
      if (started.includes(index)) return;
      started.push(index);
      if (index === 0) reader.pause();
    });
    reader.write(`{"id":${index},"command":"events"}\n`);
  });
  await until(() => started.length === 3 && listeners.size === 1);
  const COUNT = 3000;
  for (let n = 0; n < COUNT; n++) {
    for (const listener of listeners) listener([event(n)]);
    if (n % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  const numbers = (text: string) => [...text.matchAll(/"helper":"(\d+) /g)].map((match) => Number(match[1]));
  await until(() => texts.slice(1).every((text) => numbers(text).length === COUNT));
  const all = Array.from({ length: COUNT }, (_, n) => n);
  t.strictSame(numbers(texts[1]!), all);
  t.strictSame(numbers(texts[2]!), all);
  const ended = new Promise((resolve) => readers[0]!.once('close', resolve));
  readers[0]!.resume();
  await ended;
  const seen = numbers(texts[0]!);
  t.ok(seen.length < COUNT);
  t.strictSame(seen, all.slice(0, seen.length), 'no gap before the end');
  t.match(texts[0]!.trimEnd().split('\n').at(-1), /^\{"id":0,"code":162,"info":\["too slow: \d+ bytes of events were not read"\]\}$/);
  for (const reader of readers) reader.destroy();
  await until(() => listeners.size === 0);
});

t.test('a thousand readers', async (t) => {
  const { server, path, listeners } = setUp(t);
  await server.listen();
  const READERS = 1000;
  const COUNT = 50;
  const lines = new Array<number>(READERS).fill(0);
  const readers = lines.map((_, index) => {
    const reader = connect(path);
    reader.on('data', (bytes) => {
      for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) lines[index]! += 1;
    });
    reader.write('{"id":1,"command":"events"}\n');
    return reader;
  });
  await until(() => lines.every((count) => count === 1));
  t.equal(listeners.size, 1, 'the server listens once for all of them');
  for (let n = 0; n < COUNT; n++) for (const listener of listeners) listener([{ action: 'destroy', kind: 'resource', resource: `r${n}` }]);
  await until(() => lines.every((count) => count === 1 + COUNT));
  for (const reader of readers) reader.destroy();
  await until(() => listeners.size === 0);
  t.pass('all of them got everything');
});
