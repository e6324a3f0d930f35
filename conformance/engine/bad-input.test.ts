/** What an engine must survive: garbage from the network, a stale socket, a second engine, a disk that shrinks, bad requests. */
import { mkdtempSync, rmSync, truncateSync } from 'node:fs';
import { createServer, connect as dial, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { bundleEngine, EngineProcess } from './engine-process.js';
import { createImage } from './images.js';

const dir = mkdtempSync(`${tmpdir()}/udrbd-`);
const program = await bundleEngine(`${dir}/bundle`);
t.teardown(() => rmSync(dir, { recursive: true }));

const listen = (port: number, serve: (socket: Socket) => void): Promise<Server> =>
  new Promise((resolve) => {
    const server = createServer(serve).listen(port, '127.0.0.1', () => resolve(server));
  });
const portOf = (server: Server): number => {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
};
const INITIAL_META = Buffer.from('83740267fff10000', 'hex');

/** A header of protocol version 100 and later. */
const header = (command: number, length: number): Buffer => {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32BE(0x8620ec20, 0);
  bytes.writeUInt16BE(command, 6);
  bytes.writeUInt32BE(length, 8);
  return bytes;
};
/** P_CONNECTION_FEATURES with a range of protocol versions. */
const features = (min: number, max: number): Buffer => {
  const bytes = Buffer.alloc(8 + 64);
  bytes.writeUInt32BE(0x83740267, 0);
  bytes.writeUInt16BE(0xfffe, 4);
  bytes.writeUInt16BE(64, 6);
  bytes.writeUInt32BE(min, 8);
  bytes.writeUInt32BE(max, 12 + 4);
  return bytes;
};

t.test('garbage from the peer drops the connection, the engine goes on', async (t) => {
  const engine = new EngineProcess(program, `${dir}/garbage`);
  t.teardown(() => engine.stop('SIGKILL'));
  createImage(`${dir}/garbage.img`, 8 << 20);
  await engine.start();
  const attempts: Buffer[] = [
    Buffer.from('GET / HTTP/1.1\r\nHost: example.org\r\n\r\n'),
    features(1, 2),
    features(300, 400),
    Buffer.concat([features(86, 101), Buffer.alloc(64, 0xff)]),
    Buffer.concat([features(86, 101), header(0x0b, 0xffff_fff0)]),
    Buffer.concat([features(86, 101), header(0x7777, 16), Buffer.alloc(16)]),
    Buffer.concat([features(86, 101), header(0, 24 + 4096), Buffer.alloc(24 + 4096, 0x55)]),
  ];
  let tries = 0;
  // The engine connects to us (whichever stream that is); we connect back for the other one, then talk nonsense.
  const server = await listen(0, (socket) => {
    socket.on('error', () => undefined);
    socket.once('data', (first) => {
      const isData = (first as Buffer).readUInt16BE(4) === 0xfff2;
      const nonsense = attempts[tries++ % attempts.length]!;
      const back = dial(local, '127.0.0.1');
      back.on('error', () => undefined);
      back.write(isData ? INITIAL_META : Buffer.from('83740267fff20000', 'hex'));
      const data = isData ? socket : back;
      data.on('data', () => undefined);
      setTimeout(() => data.destroyed || data.write(nonsense), 700);
      setTimeout(() => {
        socket.destroy();
        back.destroy();
      }, 1400);
    });
  });
  t.teardown(() => server.close());
  const probe = await listen(0, () => undefined);
  const local = portOf(probe);
  await new Promise((resolve) => probe.close(resolve));
  await engine.ask('new-resource', { resource: 'r0', nodeId: 0, options: {} });
  await engine.ask('new-minor', { resource: 'r0', minor: 0, volume: 0, options: {} });
  await engine.ask('attach', { minor: 0, backingDev: `${dir}/garbage.img`, metaDev: `${dir}/garbage.img`, metaIndex: -3, options: {} });
  await engine.ask('new-peer', { resource: 'r0', peerNodeId: 1, options: { _name: 'peer', 'connect-int': 1 } });
  await engine.ask('new-path', {
    resource: 'r0',
    peerNodeId: 1,
    local: { family: 'ipv4', address: '127.0.0.1', port: local },
    remote: { family: 'ipv4', address: '127.0.0.1', port: portOf(server) },
  });
  const connect = async () => {
    const { connections } = await engine.resource('r0');
    if (connections[0]!.state.connectionState !== 'StandAlone') return;
    await engine.ask('connect', { resource: 'r0', peerNodeId: 1, tentative: false, discardMyData: false });
  };
  for (let waited = 0; tries < attempts.length + 1 && waited < 60_000; waited += 100) {
    await connect();
    await sleep(100);
  }
  t.ok(tries > attempts.length, 'every kind of garbage was met, and the engine came back each time');
  t.notMatch(engine.log, /internal error/);
  t.match(engine.log, /Wrong magic value/);
  t.equal((await engine.resource('r0')).devices[0]!.state.diskState, 'Inconsistent');
  await engine.ask('down', { resource: 'r0' });
  t.equal(await engine.stop(), 0);
});

t.test('one engine per run directory; a killed one leaves nothing in the way', async (t) => {
  const engine = new EngineProcess(program, `${dir}/twice`);
  t.teardown(() => engine.stop('SIGKILL'));
  await engine.start();
  const second = new EngineProcess(program, `${dir}/twice`);
  second.start().catch(() => undefined);
  for (let waited = 0; !second.log.includes('another engine') && waited < 60_000; waited += 20) await sleep(20);
  t.match(second.log, /another engine serves/);
  t.equal((await engine.client.request('ping', {})).code, 101);
  await engine.stop('SIGKILL');
  await engine.start();
  t.equal((await engine.client.request('ping', {})).code, 101);
});

t.test('a disk that shrinks below its meta-data is not fatal', async (t) => {
  const engine = new EngineProcess(program, `${dir}/shrink`);
  t.teardown(() => engine.stop('SIGKILL'));
  const image = `${dir}/shrink.img`;
  createImage(image, 8 << 20);
  await engine.start();
  await engine.ask('new-resource', { resource: 'r0', nodeId: 0, options: {} });
  await engine.ask('new-minor', { resource: 'r0', minor: 0, volume: 0, options: {} });
  await engine.ask('attach', { minor: 0, backingDev: image, metaDev: image, metaIndex: -3, options: {} });
  const again = await engine.client.request('attach', { minor: 0, backingDev: image, metaDev: image, metaIndex: -3, options: {} });
  t.equal(again.code, 124);
  await engine.ask('primary', { resource: 'r0', force: true });
  const { NbdClient } = await import('./nbd-client.js');
  const nbd = await NbdClient.open(`${engine.runDir}/nbd/0.sock`);
  const read = () => nbd.read(4 << 20, 4096).then(() => 'read', String);
  // A meta-data write of the promotion that is still on its way makes the file as long as it was.
  let outcome = '';
  for (let tries = 0; outcome !== 'Error: NBD error 5' && tries < 20; tries++) {
    truncateSync(image, 1 << 20);
    outcome = await read();
  }
  t.equal(outcome, 'Error: NBD error 5');
  await engine.until('r0', 'the detach', (r) => r.devices[0]!.state.diskState === 'Diskless');
  nbd.destroy();
  t.equal((await engine.client.request('ping', {})).code, 101);
  t.notMatch(engine.log, /internal error/);
});

t.test('requests about things that are not there', async (t) => {
  const engine = new EngineProcess(program, `${dir}/refusals`);
  t.teardown(() => engine.stop('SIGKILL'));
  await engine.start();
  const refused = async (command: Parameters<EngineProcess['ask']>[0], parameters: object) => {
    const reply = await engine.client.request(command, parameters as never);
    return [reply.code, ...reply.info].join(' ');
  };
  const path = {
    local: { family: 'ipv4', address: '127.0.0.1', port: 7700 },
    remote: { family: 'ipv4', address: '127.0.0.1', port: 7701 },
  };
  t.equal(await refused('primary', { resource: 'no', force: false }), '158 unknown resource');
  t.equal(await refused('detach', { minor: 9, force: false, diskless: false }), '127 unknown minor');
  await engine.ask('new-resource', { resource: 'r0', nodeId: 0, options: {} });
  await engine.ask('new-resource', { resource: 'r0', nodeId: 0, options: {} });
  await engine.ask('new-resource', { resource: 'r1', nodeId: 0, options: {} });
  await engine.ask('new-minor', { resource: 'r0', minor: 0, volume: 0, options: {} });
  t.equal(await refused('new-minor', { resource: 'r1', minor: 0, volume: 0, options: {} }), '162 minor exists in different resource');
  t.equal(await refused('new-minor', { resource: 'r0', minor: 0, volume: 1, options: {} }), '162 minor exists as different volume');
  for (const [name, value, text] of [
    ['block-size', 1000, 'block_size not 512, 1024, 2048, or 4096'],
    ['discard-granularity', 1000, 'discard_granularity must be 0 or a multiple of block_size'],
  ] as const) {
    t.equal(await refused('new-minor', { resource: 'r0', minor: 1, volume: 1, options: { [name]: value } }), `162 ${text}`);
  }
  t.equal(await refused('new-minor', { resource: 'r0', minor: 1, volume: 0, options: {} }), '161');
  t.equal(await refused('new-peer', { resource: 'r0', peerNodeId: 0, options: {} }), '162 peer node id cannot be my own node id');
  t.equal(await refused('connect', { resource: 'r0', peerNodeId: 1 }), '162 unknown connection');
  t.equal(await refused('new-peer', { resource: 'r0', peerNodeId: 1, options: { 'allow-two-primaries': true, protocol: 'A' } }), '139');
  await engine.ask('new-peer', { resource: 'r0', peerNodeId: 1, options: { _name: 'x' } });
  t.equal(
    await refused('new-peer', { resource: 'r0', peerNodeId: 1, options: { _name: 'y' } }),
    '162 Connection for peer node id 1 already exists',
  );
  t.equal(await refused('new-peer', { resource: 'r0', peerNodeId: 2, options: { _name: 'x' } }), '174 name already exists');
  t.equal(await refused('connect', { resource: 'r0', peerNodeId: 1 }), '162 connection endpoint(s) missing');
  await engine.ask('new-path', { resource: 'r0', peerNodeId: 1, ...path });
  await engine.ask('new-peer', { resource: 'r1', peerNodeId: 1, options: { _name: 'x' } });
  t.equal(await refused('new-path', { resource: 'r1', peerNodeId: 1, ...path }), '173');
  t.equal(await refused('new-path', { resource: 'r1', peerNodeId: 1, ...path, remote: { ...path.remote, port: 1 } }), '102');
  t.equal(await refused('del-path', { resource: 'r1', peerNodeId: 1, ...path }), '162 no such path');
  t.equal(await refused('del-resource', { resource: 'r0' }), '125');
  await engine.ask('del-peer', { resource: 'r0', peerNodeId: 1, force: false });
  t.equal(await refused('del-resource', { resource: 'r0' }), '159');
  t.equal(await refused('pause-sync', { resource: 'r1', peerNodeId: 1, volume: 4 }), '162 unknown volume');
  await engine.ask('del-minor', { minor: 0 });
  await engine.ask('del-resource', { resource: 'r0' });
  t.match(engine.proc(), /^version: 8\.4\.11 /);
});
