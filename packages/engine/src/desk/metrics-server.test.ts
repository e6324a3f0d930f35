import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import t from 'tap';
import { MetricsServer, parseMetricsAddress } from './metrics-server.js';

const get = (where: object, path = '/metrics', method = 'GET'): Promise<{ status: number; type: string; body: string }> =>
  new Promise((resolve, reject) => {
    request({ ...where, path, method, agent: false }, (response) => {
      let body = '';
      response.on('data', (bytes) => {
        body += String(bytes);
      });
      response.on('end', () => resolve({ status: response.statusCode!, type: String(response.headers['content-type']), body }));
    })
      .on('error', reject)
      .end();
  });

t.test('addresses', async (t) => {
  t.strictSame(parseMetricsAddress('/run/m.sock'), { path: '/run/m.sock' });
  t.strictSame(parseMetricsAddress('9942'), { host: '127.0.0.1', port: 9942 });
  t.strictSame(parseMetricsAddress('127.0.0.1:1'), { host: '127.0.0.1', port: 1 });
  t.strictSame(parseMetricsAddress('[::1]:9942'), { host: '::1', port: 9942 });
  for (const bad of ['0.0.0.0:9942', '192.0.2.1:9942', '[::]:1', 'x', '65536', '-1', '127.0.0.1:']) {
    t.throws(() => parseMetricsAddress(bad), { name: 'RangeError' }, bad);
  }
});

t.test('a loopback port and a socket', async (t) => {
  const dir = mkdtempSync(`${tmpdir()}/udrbd-`);
  t.teardown(() => rmSync(dir, { recursive: true }));
  const logged: string[] = [];
  let asked = 0;
  const text = async () => {
    asked += 1;
    if (asked === 3) throw new Error('a bug');
    return `udrbd_up ${asked}\n`;
  };
  const log = (_level: string, line: string) => void logged.push(line);
  for (let round = 0; round < 2; round++) {
    asked = 0;
    const server = new MetricsServer(round === 0 ? { host: '127.0.0.1', port: 0 } : { path: `${dir}/m` }, text, log);
    await server.listen();
    const where = round === 0 ? { port: server.port } : { socketPath: `${dir}/m` };
    if (round === 1) t.equal(statSync(`${dir}/m`).mode & 0o777, 0o600);
    t.strictSame(await get(where), { status: 200, type: 'text/plain; version=0.0.4; charset=utf-8', body: 'udrbd_up 1\n' });
    t.equal((await get(where, '/?x=1')).body, 'udrbd_up 2\n');
    t.equal((await get(where)).status, 500);
    t.equal((await get(where, '/etc/passwd')).status, 404);
    t.equal((await get(where, '/metrics', 'POST')).status, 405);
    t.strictSame((await get(where, '/metrics', 'HEAD')).body, '');
    const garbage = round === 0 ? connect(server.port!, '127.0.0.1') : connect(`${dir}/m`);
    garbage.on('error', () => undefined);
    garbage.write('\0\xff garbage\r\n\r\n');
    await new Promise((resolve) => garbage.once('close', resolve).resume());
    t.equal((await get(where)).status, 200, 'it goes on');
    server.close();
  }
  t.match(logged, [/a bug/, /a bug/]);
});
