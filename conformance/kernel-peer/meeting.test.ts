// Whom the two let in: authentication, settings that do not fit, split brain solved by hand, unrelated data, strangers at the port.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import type { Pair } from './pair.js';
import { neverSays, says } from './says.js';
import { startSetting } from './setting.js';

const AUTHENTICATED = { 'cram-hmac-alg': 'sha256', 'shared-secret': 'a secret of both' };

t.test('meeting', async (t) => {
  const setting = await startSetting({ ram: 4 });
  t.teardown(() => setting.stop());
  const same = async (t: Test, pair: Pair, what: string): Promise<void> => {
    const { ours, kernel } = await pair.sums();
    t.equal(kernel, ours, `${what}: the same data on both disks`);
  };
  const logSince = (mark: number): string => setting.ours.log.slice(mark);
  const write = async (pair: Pair, at: number): Promise<void> => {
    const nbd = await pair.open();
    await nbd.write(at, randomBytes(256 * 1024));
    await nbd.flush();
    await nbd.close();
  };
  const writeKernel = (pair: Pair, at: number): Promise<string> =>
    pair.inGuest(`dd if=/dev/urandom of=DEVICE bs=4k seek=${at / 4096} count=64 oflag=direct 2> /dev/null`);

  await setting.peer.run('modprobe hmac');
  const pair = setting.pair({ net: AUTHENTICATED });
  await t.test('cram-hmac', async (t) => {
    await pair.createInSync();
    await says(t, () => setting.ours.log, /Peer authenticated using 32 bytes HMAC/);
    await says(t, () => setting.peer.console(), /Peer authenticated using 32 bytes HMAC/);
    await same(t, pair, 'authenticated');
    t.same(await setting.complaints(), []);
  });

  await t.test('cram-hmac with each algorithm', async (t) => {
    await setting.peer.exec('for m in md5 sha1 sha1_generic; do modprobe -q $m; done');
    const keyed = setting.pair({ net: { 'shared-secret': AUTHENTICATED['shared-secret'] } });
    await keyed.create({ empty: true });
    for (const [algorithm, bytes] of [
      ['md5', 16],
      ['sha1', 20],
      ['sha256', 32],
    ] as const) {
      const mark = setting.ours.log.length;
      const options = { 'cram-hmac-alg': algorithm };
      await setting.ours.ask('net-options', { resource: keyed.name, peerNodeId: 1, options, setDefaults: false });
      await Promise.all([keyed.connectOurs(), keyed.kernel.connect([`--cram-hmac-alg=${algorithm}`])]);
      await keyed.untilConnected();
      await says(t, () => logSince(mark), `Peer authenticated using ${bytes} bytes HMAC`, algorithm);
      const kernel = new RegExp(`drbd ${keyed.name}: Peer authenticated using ${bytes} bytes HMAC`);
      await says(t, () => setting.peer.console(), kernel, algorithm);
      await keyed.disconnectOurs();
      await keyed.kernel.disconnect();
    }
    t.same(await setting.complaints(), []);
  });

  await t.test('a wrong secret', async (t) => {
    await pair.disconnectOurs();
    await pair.kernel.disconnect();
    await setting.ours.ask('net-options', {
      resource: pair.name,
      peerNodeId: 1,
      options: { 'shared-secret': 'another' },
      setDefaults: false,
    });
    await Promise.all([pair.connectOurs(), pair.kernel.connect()]);
    await pair.until(
      'refusal',
      ({ cs }) => cs === 'StandAlone',
      ({ cs }) => cs === 'StandAlone' || cs === 'WFConnection',
    );
    await says(t, () => setting.peer.console(), /Authentication of peer failed/);
    await says(t, () => setting.ours.log, /Authentication of peer failed/);
    await pair.kernel.disconnect().catch(() => '');
    await setting.ours.ask('net-options', {
      resource: pair.name,
      peerNodeId: 1,
      options: { 'shared-secret': AUTHENTICATED['shared-secret'] },
      setDefaults: false,
    });
    await pair.connect();
    await setting.complaints();
  });

  await t.test('strangers and garbage at our port', async (t) => {
    await pair.primary();
    const program = `const net = require('net');
      const bytes = require('crypto').randomBytes(5000);
      const header = (magic, command, length) => { const b = Buffer.alloc(8); b.writeUInt32BE(magic, 0); b.writeUInt16BE(command, 4); b.writeUInt16BE(length, 6); return b; };
      const first = [bytes, Buffer.from('GET / HTTP/1.0\\r\\n\\r\\n'), header(0x83740267, 0xfff2, 0), header(0x83740267, 0xfff3, 0), header(0x83740267, 0, 0xffff), Buffer.alloc(0)];
      let open = first.length;
      for (const data of first) {
        const s = net.connect(${pair.port}, '${setting.peer.hostAddress}', () => { s.write(data); s.write(bytes); setTimeout(() => s.destroy(), 1500); });
        s.on('error', () => {}).on('close', () => { if (--open === 0) process.exit(); });
      }`;
    const intrude = (): void => {
      const [command = '', ...argv] = setting.peer.namespace.inside([process.execPath, '-e', program]);
      execFileSync(command, argv, { timeout: 120_000 });
    };
    const nbd = await pair.open();
    intrude();
    await nbd.write(1 << 20, randomBytes(65536));
    t.equal((await pair.state()).cs, 'Connected', 'connected: nobody listens, nothing happens');
    await pair.kernel.disconnect();
    await pair.until('the loss', ({ cs }) => cs === 'Connecting');
    intrude();
    await nbd.write(2 << 20, randomBytes(65536));
    await nbd.close();
    await pair.kernel.connect();
    await pair.untilInSync('the resync');
    await same(t, pair, 'after the strangers');
    await pair.secondary();
    neverSays(t, setting.ours.log, /internal error/);
    t.same(await setting.complaints(), []);
  });

  await t.test('split brain', async (t) => {
    await pair.disconnectOurs();
    await pair.primary();
    await write(pair, 3 << 20);
    await pair.secondary();
    await pair.kernel.setup(`primary ${pair.minor}`);
    await writeKernel(pair, 5 << 20);
    const mark = setting.ours.log.length;
    await pair.connectOurs();
    await pair.until(
      'the refusal',
      ({ cs }) => cs === 'StandAlone',
      ({ cs }) => cs === 'StandAlone' || cs === 'WFConnection',
    );
    const unresolved = /Split-Brain detected but unresolved, dropping connection!/;
    await says(t, () => logSince(mark), unresolved);
    await says(t, () => setting.peer.console(), unresolved);

    await pair.kernel.disconnect().catch(() => '');
    await Promise.all([pair.connectOurs({ discardMyData: true }), pair.kernel.connect()]);
    await pair.untilInSync('the resync of the discarded side');
    await same(t, pair, 'our data were discarded');
    await pair.kernel.setup(`secondary ${pair.minor}`);
    await setting.complaints();
  });

  await t.test('split brain, and the kernel discards its data', async (t) => {
    await pair.disconnectOurs();
    await pair.kernel.disconnect();
    await pair.primary();
    await write(pair, 6 << 20);
    await pair.kernel.setup(`primary ${pair.minor}`);
    await writeKernel(pair, 7 << 20);
    await pair.kernel.setup(`secondary ${pair.minor}`);
    await pair.connectOurs();
    await pair.kernel.connect(['--discard-my-data']);
    await pair.untilInSync('the resync of the discarded side');
    await same(t, pair, "the kernel's data were discarded");
    await pair.secondary();
    await setting.complaints();
  });

  await t.test('settings that do not fit', async (t) => {
    const odd = setting.pair({ protocol: 'C', ourNet: { protocol: 'A' } });
    await odd.create();
    await Promise.all([odd.connectOurs(), odd.kernel.connect()]);
    await odd.until(
      'refusal',
      ({ cs }) => cs === 'StandAlone',
      ({ cs }) => cs === 'StandAlone' || cs === 'WFConnection',
    );
    await says(t, () => setting.ours.log, /incompatible protocol settings/);
    await odd.kernel.disconnect().catch(() => '');
    // Whoever looks first leaves; the other may not get that far.
    await setting.complaints();
  });

  await t.test('unrelated data', async (t) => {
    const other = setting.pair();
    await other.create();
    for (const promote of [() => other.primary({ force: true }), () => other.kernel.setup(`primary ${other.minor} --force`)])
      await promote();
    await writeKernel(other, 1 << 20);
    await write(other, 2 << 20);
    // Another generation on each: the value of just created data leaves the history.
    await other.kernel.setup(`secondary ${other.minor}`);
    await other.kernel.setup(`new-current-uuid ${other.minor} --clear-bitmap`);
    await other.kernel.setup(`new-current-uuid ${other.minor} --clear-bitmap`);
    await other.kernel.setup(`new-current-uuid ${other.minor} --clear-bitmap`);
    await Promise.all([other.connectOurs(), other.kernel.connect()]);
    await other.until(
      'refusal',
      ({ cs }) => cs === 'StandAlone',
      ({ cs }) => cs === 'StandAlone' || cs === 'WFConnection',
    );
    await says(t, () => setting.ours.log, /Unrelated data, aborting!/);
    await says(t, () => setting.peer.console(), /Unrelated data, aborting!/);
  });
  neverSays(t, setting.ours.log, /internal error/);
});
