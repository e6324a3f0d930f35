// The kernel peer itself: commands, links, power cuts, and a kernel that speaks to the host.
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, ftruncateSync, openSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { KernelResource, parseProcDrbd } from './kernel-resource.js';
import { createNamespace } from './namespace.js';
import { startUmlPeer, type UmlPeer } from './peer.js';

t.test('/proc/drbd', async (t) => {
  const text = `version: 8.4.11 (api:1/proto:86-101)
srcversion: 56E4FE5F0DAB5FF4DCEF15A

 1: cs:SyncSource ro:Primary/Secondary ds:UpToDate/Inconsistent C r-----
    ns:52 nr:0 dw:4 dr:48 al:1 bm:2 lo:0 pe:3 ua:0 ap:0 ep:1 wo:f oos:16
	[=>..................] sync'ed: 10.0% (16/64)K
`;
  t.match(parseProcDrbd(text, 1), { cs: 'SyncSource', role: 'Primary', peerDisk: 'Inconsistent', counters: { ns: 52, oos: 16 } });
  t.equal(parseProcDrbd(text, 0), undefined);
});

/** Listens in the namespace and answers with what the first caller says first, in hex. */
function firstBytes(peer: UmlPeer, port: number, count: number): { started: Promise<void>; bytes: Promise<string> } {
  const program = `const s = require('net').createServer((c) => c.once('data', (d) => { console.log(d.toString('hex', 0, ${count})); process.exit(); }));
    s.listen(${port}, '${peer.hostAddress}', () => console.log('listening'));`;
  const [command = '', ...argv] = peer.namespace.inside([process.execPath, '-e', program]);
  const child = spawn(command, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  const started = new Promise<void>((settle) => {
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes('listening')) settle();
    });
  });
  const bytes = new Promise<string>((settle) => {
    child.on('close', () => settle(text.split('\n')[1] ?? ''));
  });
  return { started, bytes };
}

t.test('one kernel', async (t) => {
  const disk = join(t.testdir(), 'disk');
  const fd = openSync(disk, 'w');
  ftruncateSync(fd, 16 << 20);
  closeSync(fd);
  const peer = await startUmlPeer({ disks: [disk] });
  t.teardown(() => peer.stop());

  t.same(await peer.exec('echo out; echo err >&2; exit 3'), { status: 3, output: 'out\nerr\n' });
  await t.rejects(peer.run('false'), { message: /exited with 1/ });
  const slow = peer.run('sleep 2; cat /proc/uptime');
  const quick = await peer.run('cat /proc/uptime');
  t.ok(Number.parseFloat(quick) < Number.parseFloat(await slow) - 1, 'commands overlap');
  await t.rejects(peer.exec('sleep 5', { timeoutMs: 300 }), { message: /has not ended/ });
  t.match(await peer.run('cat /proc/drbd'), /version: 8\.4\.11 /);
  t.match(await peer.run('ls /dev/ram1 /dev/ubdb; uname -n'), /kernel1/);

  const options = { peer, name: 'r0', minor: 0, disk: '/dev/ubdb', port: 7788 };
  const resource = new KernelResource(options);
  await resource.createMetaData();
  await resource.attach();
  const host = firstBytes(peer, options.port, 8);
  await host.started;
  await resource.connect();
  // drbd_protocol.h: the header of P_INITIAL_META (0xfff1) or P_INITIAL_DATA (0xfff2), in the oldest format.
  t.match(await host.bytes, /^83740267fff[12]0000$/, 'the kernel knocks at the host');
  t.match((await resource.state())?.cs, /^(WFConnection|WFReportParams|BrokenPipe|NetworkFailure|ProtocolError|Unconnected)$/);

  const ping = `ping -c 1 -W 1 ${peer.hostAddress}`;
  await peer.run(ping);
  peer.setLink('down');
  t.not((await peer.exec(ping)).status, 0, 'the link is down, the console is not');
  peer.setLink('up');
  await peer.run(ping);

  await resource.setup(`primary ${options.minor} --force`);
  await peer.run('printf survives | dd of=/dev/drbd0 bs=512 conv=sync oflag=direct && sync');
  const inside = peer.namespace.name;
  await peer.stop();
  await t.rejects(peer.exec('true'), { message: /is gone/ });
  t.match(execFileSync('head', ['-c', '8', disk]).toString(), 'survives', 'a disk outlives a power cut');
  t.notMatch(execFileSync('ip', ['netns']).toString(), inside, 'the namespace is gone');
});

t.test('two kernels', async (t) => {
  const namespace = createNamespace();
  t.teardown(() => namespace.remove());
  const peers = await Promise.all([1, 2].map((number) => startUmlPeer({ namespace, number, ramDisks: { count: 1, sizeMiB: 32 } })));
  for (const peer of peers) t.teardown(() => peer.stop());
  const [a, b] = peers.map((peer, index) => {
    const remote = `${peers[1 - index]!.address}:7788`;
    return new KernelResource({ peer, name: 'r0', minor: 0, disk: '/dev/ram0', port: 7788, remote });
  }) as [KernelResource, KernelResource];
  for (const resource of [a, b]) {
    await resource.createMetaData();
    await resource.attach();
    await resource.connect();
  }
  await a.until(({ cs }) => cs === 'Connected');
  await a.setup('primary 0 --force');
  const state = await b.until(({ cs, disk, peerRole }) => cs === 'Connected' && disk === 'UpToDate' && peerRole === 'Primary');
  t.equal(state.counters.oos, 0);
  await a.options.peer.run('dd if=/dev/urandom of=/dev/drbd0 bs=64k count=16 oflag=direct');
  const sum = 'dd if=/dev/ram0 bs=1M count=1 iflag=direct 2> /dev/null | sha256sum';
  t.equal(await b.options.peer.run(sum), await a.options.peer.run(sum), 'replicated');
});
