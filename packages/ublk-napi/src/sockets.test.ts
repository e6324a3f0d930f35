import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { BufferPool } from './buffers.js';
import { closeFile } from './files.js';
import { IORING_CQE_F, IOSQE, MSG } from './io-uring-abi.js';
import { MessageTable } from './messages.js';
import { Ring } from './ring.js';
import { decodeAddress, encodeAddress, encodeAddressInto, type SocketAddress } from './socket-address.js';
import {
  acceptSocket,
  bindSocket,
  connectSocket,
  describeAddress,
  getLocalAddress,
  getPeerAddress,
  getPeerCredentials,
  getSocketError,
  getSocketOption,
  listenSocket,
  openSocket,
  setSocketOption,
  shutdownSocket,
} from './sockets.js';
import { reap, reapOne } from './testing/reap.js';

const folder = mkdtempSync(join(tmpdir(), 'sockets-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const LOOPBACK: SocketAddress = { family: 'ipv4', address: '127.0.0.1', port: 0 };

/** A connected pair made without a ring. */
function pair(address: SocketAddress): { listener: number; client: number; server: number } {
  const listener = openSocket(address.family);
  if (address.family !== 'unix') setSocketOption(listener, 'reuseAddress', true);
  bindSocket(listener, address);
  listenSocket(listener);
  const client = openSocket(address.family);
  connectSocket(client, getLocalAddress(listener));
  return { listener, client, server: acceptSocket(listener) };
}

t.test('addresses', async (t) => {
  const cases: [SocketAddress, string, string][] = [
    [{ family: 'ipv4', address: '192.0.2.1', port: 7788 }, '02001e6cc00002010000000000000000', '192.0.2.1:7788'],
    [
      { family: 'ipv6', address: '2001:db8::1', port: 7788 },
      '0a001e6c0000000020010db800000000000000000000000100000000',
      '[2001:db8::1]:7788',
    ],
    [{ family: 'ipv6', address: 'fe80::1%3', port: 1 }, '0a00000100000000fe80000000000000000000000000000103000000', '[fe80::1%3]:1'],
    [{ family: 'unix', path: '/run/x' }, '01002f72756e2f7800', 'unix:/run/x'],
    [{ family: 'unix', path: '\0abs' }, '010000616273', 'unix:@abs'],
    [{ family: 'unix', path: '' }, '0100', 'unix:'],
  ];
  for (const [address, hex, text] of cases) {
    t.equal(Buffer.from(encodeAddress(address)).toString('hex'), hex);
    t.strictSame(decodeAddress(encodeAddress(address)), address);
    t.equal(describeAddress(address), text);
  }
  t.strictSame(decodeAddress(encodeAddress({ family: 'ipv6', address: 'fe80::1%lo', port: 1 })), {
    family: 'ipv6',
    address: 'fe80::1%1',
    port: 1,
  });
  for (const [long, short] of [
    ['0:0:0:0:0:0:0:0', '::'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
    ['0:0:0:0:0:ffff:1.2.3.4', '::ffff:102:304'],
    ['1:2:3:4:5:6:7:0', '1:2:3:4:5:6:7:0'],
  ]) {
    t.match(decodeAddress(encodeAddress({ family: 'ipv6', address: long!, port: 1 })), { address: short });
  }
  t.throws(() => encodeAddress({ family: 'ipv4', address: '1.2.3', port: 1 }), { code: 'EINVAL' });
  t.throws(() => encodeAddress({ family: 'ipv6', address: '::g', port: 1 }), { code: 'EINVAL' });
  t.throws(() => encodeAddress({ family: 'ipv6', address: 'fe80::1%nosuchif', port: 1 }), { code: 'ENODEV' });
  t.throws(() => encodeAddress({ family: 'ipv4', address: '1.2.3.4', port: 65536 }), RangeError);
  t.throws(() => encodeAddress({ family: 'unix', path: 'x'.repeat(108) }), { code: 'ENAMETOOLONG' });
  fc.assert(fc.property(fc.uint8Array({ maxLength: 130 }), (bytes) => decodeAddress(bytes) === undefined || bytes.length >= 2));
});

t.test('set-up', async (t) => {
  const { listener, client, server } = pair(LOOPBACK);
  t.match(getLocalAddress(client), { family: 'ipv4', address: '127.0.0.1' });
  t.strictSame(getPeerAddress(client), getLocalAddress(listener));
  t.strictSame(getPeerAddress(server), getLocalAddress(client));
  t.equal(getSocketError(client), 0);
  for (const option of ['noDelay', 'cork', 'quickAck', 'keepAlive'] as const) {
    setSocketOption(client, option, true);
    t.equal(getSocketOption(client, option) !== 0, true, option);
    setSocketOption(client, option, false);
    t.equal(getSocketOption(client, option), 0, option);
  }
  for (const [option, value] of [
    ['keepIdle', 7],
    ['keepInterval', 3],
    ['keepCount', 4],
    ['userTimeout', 4200],
  ] as const) {
    setSocketOption(client, option, value);
    t.equal(getSocketOption(client, option), value, option);
  }
  setSocketOption(client, 'sendBuffer', 65536);
  t.ok(getSocketOption(client, 'sendBuffer') >= 65536);
  setSocketOption(client, 'receiveBuffer', 65536);
  t.throws(() => setSocketOption(client, 'v6Only', 1), { code: 'ENOPROTOOPT', syscall: 'setsockopt' });
  for (const fd of [listener, client, server]) closeFile(fd);
});

t.test('who connected a Unix socket', async (t) => {
  const path = join(folder, 'who');
  const { listener, client, server } = pair({ family: 'unix', path });
  t.strictSame(getPeerCredentials(server), { pid: process.pid, uid: process.getuid!(), gid: process.getgid!() });
  for (const fd of [listener, client, server]) closeFile(fd);
  t.throws(() => getPeerCredentials(server), { code: 'EBADF' });
});

t.test('refusals', async (t) => {
  const listener = openSocket('ipv4');
  bindSocket(listener, LOOPBACK);
  const address = getLocalAddress(listener);
  const other = openSocket('ipv4');
  listenSocket(listener);
  t.throws(() => bindSocket(other, address), { code: 'EADDRINUSE', syscall: 'bind' });
  t.throws(() => bindSocket(other, { family: 'ipv4', address: '192.0.2.77', port: 0 }), { code: 'EADDRNOTAVAIL' });
  t.throws(() => getPeerAddress(other), { code: 'ENOTCONN' });
  t.throws(() => shutdownSocket(other, 2), { code: 'ENOTCONN' });
  closeFile(listener);
  t.throws(() => connectSocket(other, address), { code: 'ECONNREFUSED' });
  closeFile(other);
  t.throws(() => getSocketError(other), { code: 'EBADF' });
  const unix = openSocket('unix');
  t.throws(() => connectSocket(unix, { family: 'unix', path: join(folder, 'none') }), { code: 'ENOENT' });
  closeFile(unix);
});

t.test('data through a ring', async (t) => {
  const families: [string, SocketAddress][] = [
    ['TCP', LOOPBACK],
    ['Unix', { family: 'unix', path: join(folder, 's') }],
    ['abstract Unix', { family: 'unix', path: `\0ring-${process.pid}` }],
    ['TCP over IPv6', { family: 'ipv6', address: '::1', port: 0 }],
  ];
  for (const [name, address] of families) {
    let ends: ReturnType<typeof pair>;
    try {
      ends = pair(address);
    } catch (error) {
      if (address.family !== 'ipv6') throw error;
      t.comment('no IPv6 here');
      continue;
    }
    await t.test(name, async (t) => {
      const { listener, client, server } = ends;
      const ring = Ring.create({ entries: 16 });
      const pool = BufferPool.create({ count: 4, size: 1 << 20 });
      const send = pool.slotView(0);
      const receive = pool.slotView(1);
      for (let i = 0; i < send.length; i++) send[i] = i % 251;

      let slot = ring.getSqe();
      ring.prepRecv(slot, server, pool.slotAddress(1), 1 << 20, MSG.WAITALL);
      ring.setUserData(slot, 1, 0);
      slot = ring.getSqe();
      ring.prepSend(slot, client, pool.slotAddress(0), 1 << 20, MSG.WAITALL | MSG.NOSIGNAL);
      ring.setUserData(slot, 2, 0);
      t.strictSame(
        reap(ring, 2)
          .map((c) => c.res)
          .sort(),
        [1 << 20, 1 << 20],
        'a megabyte, more than any socket buffer, in one operation each',
      );
      t.ok(Buffer.from(send).equals(receive));

      const table = MessageTable.create(2, 3);
      table.push(0, pool.slotAddress(0), 16);
      table.push(0, pool.slotAddress(0) + 1000, 5000);
      table.push(0, pool.slotAddress(0) + 7, 1);
      table.push(1, pool.slotAddress(2), 3000);
      table.push(1, pool.slotAddress(3), 2017);
      ring.prepSendmsg(ring.getSqe(), client, table.addressOf(0), MSG.NOSIGNAL);
      t.equal(reapOne(ring).res, 5017);
      ring.prepRecvmsg(ring.getSqe(), server, table.addressOf(1), MSG.WAITALL);
      t.equal(reapOne(ring).res, 5017);
      const joined = Buffer.concat([pool.slotView(2).subarray(0, 3000), pool.slotView(3).subarray(0, 2017)]);
      t.ok(joined.equals(Buffer.concat([send.subarray(0, 16), send.subarray(1000, 6000), send.subarray(7, 8)])), 'pieces in order');

      ring.prepShutdown(ring.getSqe(), client, 1);
      t.equal(reapOne(ring).res, 0);
      ring.prepRecv(ring.getSqe(), server, pool.slotAddress(1), 100);
      t.equal(reapOne(ring).res, 0, 'end of stream');
      closeFile(server);
      ring.prepSend(ring.getSqe(), client, pool.slotAddress(0), 100, MSG.NOSIGNAL);
      t.equal(reapOne(ring).res, -32, 'EPIPE, and no signal');
      ring.close();
      table.close();
      pool.close();
      closeFile(client);
      closeFile(listener);
    });
  }
});

t.test('connections through a ring', async (t) => {
  const ring = Ring.create({ entries: 16 });
  const pool = BufferPool.create(4096);
  const listener = openSocket('ipv4');
  bindSocket(listener, LOOPBACK);
  listenSocket(listener);
  const address = getLocalAddress(listener);

  await t.test('accept and connect', async (t) => {
    let slot = ring.getSqe();
    ring.prepAccept(slot, listener);
    ring.setUserData(slot, 1, 0);
    const client = openSocket('ipv4');
    const length = encodeAddressInto(pool.bytes, 64, address);
    slot = ring.getSqe();
    ring.prepConnect(slot, client, pool.addressOf(64), length);
    ring.setUserData(slot, 2, 0);
    const seen = new Map(reap(ring, 2).map((c) => [c.lo, c.res]));
    t.equal(seen.get(2), 0);
    const server = seen.get(1)!;
    t.strictSame(getPeerAddress(server), getLocalAddress(client));
    closeFile(client);
    closeFile(server);
  });

  await t.test('one accept, many connections', async (t) => {
    let slot = ring.getSqe();
    ring.prepAccept(slot, listener, true);
    ring.setUserData(slot, 7, 7);
    t.equal(ring.submit(), 1);
    for (let i = 0; i < 3; i++) {
      const client = openSocket('ipv4');
      connectSocket(client, address);
      const { res, flags } = reapOne(ring);
      t.ok(res > 0 && (flags & IORING_CQE_F.MORE) !== 0);
      closeFile(res);
      closeFile(client);
    }
    slot = ring.getSqe();
    ring.prepCancel(slot, 7, 7);
    const seen = reap(ring, 2).map((c) => c.res);
    t.ok(seen.includes(-125));
  });

  await t.test('a refused connect', async (t) => {
    closeFile(listener);
    const client = openSocket('ipv4');
    ring.prepConnect(ring.getSqe(), client, pool.addressOf(64), 16);
    t.equal(reapOne(ring).res, -111);
    closeFile(client);
  });

  await t.test('a receive with a time limit', async (t) => {
    const ends = pair(LOOPBACK);
    const slot = ring.getSqe();
    ring.prepRecv(slot, ends.server, pool.address, 10);
    ring.setFlags(slot, IOSQE.IO_LINK);
    ring.setUserData(slot, 1, 0);
    const limit = ring.getSqe();
    ring.prepLinkTimeout(limit, 3e6);
    ring.setUserData(limit, 2, 0);
    const seen = new Map(reap(ring, 2).map((c) => [c.lo, c.res]));
    t.equal(seen.get(1), -125);
    t.equal(seen.get(2), -62);
    for (const fd of Object.values(ends)) closeFile(fd);
  });
  ring.close();
});
