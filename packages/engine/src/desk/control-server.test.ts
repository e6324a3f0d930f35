import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import type { Notification, Reply, Request } from '@udrbd/control';
import t from 'tap';
import { ControlServer } from './control-server.js';

const EXISTS: Notification = { action: 'exists', kind: '-' };

function setUp(t: { teardown(end: () => unknown): void }) {
  const dir = mkdtempSync(`${tmpdir()}/udrbd-`);
  const path = `${dir}/s`;
  const logged: string[] = [];
  const handled: Request[] = [];
  const listeners = new Set<(n: Notification) => void>();
  const handler = {
    handle: async (request: Request): Promise<Reply> => {
      handled.push(request);
      if (request.command === 'proc') throw new Error('a bug');
      return { id: request.id, code: 101, info: [] };
    },
    initialState: async () => [],
    subscribe: (listener: (n: Notification) => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  const server = new ControlServer(path, handler, (_level, text) => logged.push(text));
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
  return { server, path, logged, handled, listeners, ask };
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
  for (const listener of listeners) listener({ action: 'destroy', kind: 'resource', resource: 'r0' });
  t.strictSame(await told, [
    `{"id":2,"event":${JSON.stringify(EXISTS)}}`,
    '{"id":2,"event":{"action":"destroy","kind":"resource","resource":"r0"}}',
  ]);
  stream.destroy();
  while (listeners.size > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  t.pass('a subscription ends with its connection');
});
