// Older protocol versions, limited by what we offer: the kernel speaks 86 to 101. Below 95 nobody is let in.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import { eventually } from '../engine/eventually.js';
import { kernelWrites, writeEveryKind } from './every-write.js';
import { OurNode } from './our-node.js';
import type { Pair } from './pair.js';
import { neverSays, says } from './says.js';
import { type Setting, startSetting } from './setting.js';

const KIB = 1024;
const MIB = 1024 * KIB;

/** Some blocks of ours that the kernel does not get, and how many KiB they are. */
async function writeApart(pair: Pair, at: number): Promise<number> {
  const nbd = await pair.open();
  await nbd.write(at, randomBytes(MIB));
  for (let i = 0; i < 20; i++) await nbd.write(at + MIB + i * 12 * KIB, randomBytes(4 * KIB));
  await nbd.flush();
  await nbd.close();
  return 1024 + 80;
}

const kernelWritesApart = (pair: Pair, at: number): Promise<string> =>
  pair.inGuest(`/usr/bin/dd if=/dev/urandom of=DEVICE bs=4k seek=${at / 4096} count=250 oflag=direct status=none`);

async function version(t: Test, setting: Setting, wanted: number): Promise<void> {
  const isOld = wanted < 100;
  const ours = new OurNode(setting.program, setting.peer.namespace, `${setting.folder}/run-${wanted}`);
  t.teardown(() => ours.stop());
  await ours.start({ UDRBD_PROTOCOL_VERSION_MAX: `${wanted}` });
  const pair = setting.pair({ ours, disk: 'file', name: `version-${wanted}`, net: { 'verify-alg': 'crc32c', 'csums-alg': 'md5' } });
  const kernelLog = (): string => setting.peer.console();
  const began = (): number[] =>
    [...kernelLog().matchAll(new RegExp(`drbd${pair.minor}: Began resync .*will sync (\\d+) KB`, 'g'))].map((m) => Number(m[1]));
  const same = async (what: string): Promise<void> => {
    await pair.until(
      'the end of what is under way',
      ({ oos }) => oos === 0,
      ({ counters: { lo, pe, ua, ap, oos } }) => lo + pe + ua + ap + oos === 0,
    );
    const { ours: own, kernel } = await pair.sums();
    t.equal(kernel, own, `${what}: the same data on both disks`);
  };
  const lost = async (): Promise<void> =>
    pair.until(
      'the loss',
      ({ cs }) => cs === 'StandAlone' || cs === 'Connecting',
      ({ cs }) => cs === 'StandAlone' || cs === 'WFConnection',
    );

  await pair.create();
  await pair.connect();
  await says(t, kernelLog, new RegExp(`drbd ${pair.name}: .*Agreed network protocol version ${wanted}\\b`), 'the kernel');
  await says(t, () => ours.log, new RegExp(`${pair.name} kernel1: Handshake successful: Agreed network protocol version ${wanted}\\b`));
  // Full syncs: ours is the source, then the kernel's.
  await pair.primary({ force: true });
  await pair.untilInSync('the initial sync');
  await same('the full sync to the kernel');
  await writeEveryKind(pair);
  await same('we wrote');

  // Left by us, then by the kernel; each time we go on writing, and only that is synced.
  await pair.disconnectOurs();
  await lost();
  const apart = await writeApart(pair, 3 * MIB);
  await pair.connectOurs();
  await pair.untilInSync('the resync');
  await pair.kernel.disconnect();
  await lost();
  await writeApart(pair, 7 * MIB);
  await pair.kernel.connect();
  await pair.untilInSync('the resync');
  t.same(began().slice(-2), [apart, apart], 'exactly what was written');
  await same('bitmap resyncs to the kernel');

  // A large read through the kernel.
  const data = randomBytes(MIB);
  const nbd = await pair.open();
  await nbd.write(4 * MIB, data);
  await pair.ask('detach', { force: false, diskless: false });
  await pair.until('the detach', ({ disk }) => disk === 'Diskless');
  t.ok((await nbd.read(4 * MIB, MIB)).equals(data), 'read from the kernel');
  await nbd.write(6 * MIB, data.subarray(0, 700 * KIB));
  await nbd.flush();
  t.ok((await nbd.read(6 * MIB, 700 * KIB)).equals(data.subarray(0, 700 * KIB)), 'written there and read back');
  await nbd.close();
  await pair.attachOurs();
  await pair.untilInSync('the resync after attach');
  await same('we attached again');
  await pair.secondary();

  await pair.kernel.setup(`primary ${pair.minor}`);
  await pair.inGuest(kernelWrites);
  await same('the kernel wrote');
  await pair.disconnectOurs();
  await lost();
  await kernelWritesApart(pair, 5 * MIB);
  await pair.connectOurs();
  await pair.untilInSync('the resync');
  await pair.kernel.disconnect();
  await lost();
  await kernelWritesApart(pair, 9 * MIB);
  await pair.kernel.connect();
  await pair.untilInSync('the resync');
  await same('bitmap resyncs to us');
  // The cable is pulled while the kernel writes.
  const writing = pair.inGuest(
    'for i in 1 2 3 4 5 6; do /usr/bin/dd if=/dev/urandom of=DEVICE bs=64k seek=$((i * 20)) count=20 oflag=direct status=none; done',
  );
  await pair.disconnectOurs({ force: true });
  await pair.connectOurs();
  await writing;
  await pair.untilInSync('the resync');
  await same('a link lost under load');
  await pair.kernel.setup(`secondary ${pair.minor}`);

  await pair.kernel.setup(`verify ${pair.minor}`);
  await pair.until(
    'the end of the verify',
    ({ cs }) => cs === 'Connected',
    ({ cs }) => cs === 'Connected',
  );
  await says(t, kernelLog, new RegExp(`drbd${pair.minor}: Online verify +done`), 'the kernel');
  await pair.ask('invalidate');
  await pair.untilInSync('the full sync to us, by checksum');
  await same('full sync by checksum');

  const changed = await ours.client.request('net-options', {
    resource: pair.name,
    peerNodeId: 1,
    options: { protocol: 'A' },
    setDefaults: false,
  });
  t.equal(changed.code, isOld ? 163 : 101, 'the protocol is changed while connected from 100 on');
  neverSays(t, ours.log, /internal error|ProtocolError/);
  await pair.kernel.down();
}

/** A program that is a peer with these versions, and tells what it is sent. */
const oldPeer = (host: string, port: number, address: string, min: number, max: number): string => `
  const net = require('net');
  const header = (command, length) => { const b = Buffer.alloc(8); b.writeUInt32BE(0x83740267, 0); b.writeUInt16BE(command, 4); b.writeUInt16BE(length, 6); return b; };
  const features = Buffer.alloc(72);
  features.writeUInt32BE(${min}, 0); features.writeUInt32BE(${max}, 8);
  const open = (command, then) => { const s = net.connect({ host: '${host}', port: ${port}, localAddress: '${address}' }, () => { s.write(header(command, 0)); then?.(s); }); s.on('error', () => {}); return s; };
  open(0xfff2, (data) => {
    let got = Buffer.alloc(0);
    data.on('data', (more) => { got = Buffer.concat([got, more]); });
    data.on('close', () => { console.log(got.toString('hex')); process.exit(); });
    open(0xfff1);
    setTimeout(() => data.write(Buffer.concat([header(0xfffe, 72), features])), 700);
  });`;

async function refused(t: Test, setting: Setting, offered: readonly [number, number], wanted: RegExp): Promise<void> {
  const { ours, peer } = setting;
  const [address, port] = ['10.98.0.77', 7999];
  const resource = `old-${offered.join('-')}`;
  await ours.ask('new-resource', { resource, nodeId: 0, options: {} });
  await ours.ask('new-peer', { resource, peerNodeId: 1, options: { _name: 'old', 'connect-int': 1 } as never });
  const local = { family: 'ipv4', address: peer.hostAddress, port } as const;
  await ours.ask('new-path', { resource, peerNodeId: 1, local, remote: { ...local, address } });
  await ours.ask('connect', { resource, peerNodeId: 1, tentative: false, discardMyData: false });
  const [command = '', ...argv] = peer.namespace.inside([process.execPath, '-e', oldPeer(peer.hostAddress, port, address, ...offered)]);
  const child = spawn(command, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  await new Promise((settle) => child.once('exit', settle));
  await says(t, () => ours.log, wanted);
  t.equal(said.trim().length, 160, 'it was told our versions and nothing else');
  await eventually(
    'StandAlone: nobody tries again by himself',
    async () => (await ours.resource(resource)).connections[0]!.state.connectionState,
    (state) => state === 'StandAlone',
    () => ours.log.slice(-1000),
  );
  await ours.ask('down', { resource });
}

t.test('protocol versions', async (t) => {
  const setting = await startSetting({ file: 3 });
  t.jobs = 3;
  t.teardown(() => setting.stop());
  // An engine for each of them, at the same time. 101 is what all the other files are about.
  await Promise.all([95, 97, 100].map((wanted) => t.test(`version ${wanted}`, (t) => version(t, setting, wanted))));
  const expected = [/operation not supported error, dev ubd.*WRITE_ZEROES/, /sock was shut down by peer|asender|meta connection/];
  t.same(await setting.complaints(expected), []);
  await t.test('below 95', async (t) => {
    setting.peer.namespace.addAddress('10.98.0.77');
    await refused(t, setting, [86, 94], /incompatible DRBD dialects: I support 95-101, peer supports 86-94/);
    await refused(t, setting, [102, 117], /incompatible DRBD dialects: I support 95-101, peer supports 102-117/);
  });
});
