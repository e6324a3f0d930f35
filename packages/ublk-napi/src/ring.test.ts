import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { BufferPool } from './buffers.js';
import { ErrnoError } from './errno.js';
import { EventFd } from './eventfd.js';
import { FdWatcher } from './fd-watcher.js';
import { closeFile, O, openFile } from './files.js';
import { IORING_CQE_F, IORING_OP, IORING_SETUP, IORING_TIMEOUT, IOSQE, POLL, RWF } from './io-uring-abi.js';
import { native } from './native.js';
import { Ring } from './ring.js';
import { setupAttempts, setupRing } from './ring-setup.js';
import { reap, reapOne } from './testing/reap.js';

const folder = mkdtempSync(join(tmpdir(), 'ring-'));
t.teardown(() => rmSync(folder, { recursive: true }));
let files = 0;
/** An open, empty scratch file. */
const scratch = (): { fd: number; path: string } => {
  const path = join(folder, `f${files++}`);
  return { fd: openFile(path, O.RDWR | O.CREAT | O.EXCL), path };
};

t.test('set-up', async (t) => {
  await t.test('takes the best flags this kernel grants', async (t) => {
    const ring = Ring.create({ entries: 5 });
    t.equal(ring.sqEntries, 8, 'rounded up');
    t.equal(ring.cqEntries, 16);
    t.equal(ring.deferTaskrun, (ring.flags & IORING_SETUP.DEFER_TASKRUN) !== 0);
    t.ok(ring.fd > 0);
    t.ok(ring.probe().has(IORING_OP.URING_CMD));
    ring.close();
    t.equal(ring.fd, -1);
  });

  await t.test('falls back one step at a time on kernels that know fewer flags', async (t) => {
    const attempts = setupAttempts({ entries: 4 });
    for (const [step, wanted] of attempts.entries()) {
      const known = wanted;
      const tried: number[] = [];
      const map = setupRing({ entries: 4 }, (entries, cqEntries, flags) => {
        tried.push(flags);
        return (flags & ~known) !== 0 ? -22 : native.ringSetup(entries, cqEntries, flags);
      });
      t.strictSame(tried, attempts.slice(0, step + 1));
      t.equal(map.flags, wanted);
      native.ringClose(map.fd, -1);
      native.munmap(map.ring);
      native.munmap(map.sqes);
    }
  });

  await t.test('never gives up 128-byte entries or the size of the completion queue', async (t) => {
    for (const flags of setupAttempts({ entries: 4, sqe128: true, cqEntries: 64 })) {
      t.ok(flags & IORING_SETUP.SQE128);
      t.ok(flags & IORING_SETUP.CQSIZE);
    }
    const ring = Ring.create({ entries: 4, sqe128: true, cqEntries: 64 });
    t.equal(ring.cqEntries, 64);
    t.equal(ring.sqe128, true);
    ring.prepNop(ring.getSqe());
    t.equal(reapOne(ring).res, 0);
    ring.close();
  });

  await t.test('rings of every flavour work', async (t) => {
    for (const flags of setupAttempts({ entries: 4 })) {
      const ring = Ring.create({ entries: 4, flags });
      t.equal(ring.flags, flags);
      for (let round = 0; round < 3; round++) {
        for (let i = 0; i < 4; i++) {
          const slot = ring.getSqe();
          ring.prepNop(slot);
          ring.setUserData(slot, round, i);
        }
        t.strictSame(
          reap(ring, 4).map((c) => [c.lo, c.hi, c.res]),
          [0, 1, 2, 3].map((i) => [round, i, 0]),
        );
      }
      ring.close();
    }
  });

  await t.test('refusals are typed', async (t) => {
    t.throws(() => Ring.create({ entries: 4, cqEntries: 2 }), new ErrnoError(22, 'io_uring_setup'));
    t.throws(() => Ring.create({ entries: 0 }), RangeError);
    t.throws(() => Ring.create({ entries: 40_000 }), RangeError);
    t.throws(() => Ring.create({ entries: 4, flags: 2 }), { code: 'EOPNOTSUPP' }, 'SQPOLL is not supported here');
    for (const [errno, code] of [
      [1, 'EPERM'],
      [38, 'ENOSYS'],
    ] as const) {
      t.throws(() => setupRing({ entries: 4 }, () => -errno), { code }, 'switched off: no further attempt');
    }
  });

  await t.test('a closed ring answers, and closing twice is harmless', async (t) => {
    const ring = Ring.create({ entries: 4 });
    ring.prepNop(ring.getSqe());
    ring.close();
    ring.close();
    t.equal(ring.submit(), -9);
    t.equal(ring.submitAndWait(1), -9);
    t.equal(native.ringClose(0, -1), -9, 'a descriptor that is no ring is not closed');
  });
});

t.test('queues', async (t) => {
  const ring = Ring.create({ entries: 8 });
  t.teardown(() => ring.close());

  await t.test('user_data comes back in both halves', async (t) => {
    const pairs = [
      [0, 0],
      [1, 2],
      [0xffffffff, 0x80000000],
      [0x7fffffff, 0xdeadbeef],
    ] as const;
    for (const [lo, hi] of pairs) {
      const slot = ring.getSqe();
      ring.prepNop(slot);
      ring.setUserData(slot, lo, hi);
    }
    t.strictSame(
      reap(ring, 4).map((c) => [c.lo, c.hi]),
      pairs,
    );
  });

  await t.test('a full queue gives -1 until the next submit', async (t) => {
    for (let i = 0; i < 8; i++) {
      t.equal(ring.sqSpace(), 8 - i);
      t.not(ring.getSqe(), -1);
    }
    t.equal(ring.getSqe(), -1);
    t.equal(ring.sqPending(), 8);
    t.equal(ring.submit(), 8);
    t.equal(ring.sqSpace(), 8);
    t.equal(reap(ring, 8).length, 8);
  });

  await t.test('slots are zeroed', async (t) => {
    for (let i = 0; i < 16; i++) {
      const slot = ring.getSqe();
      t.ok(ring.sqeBytes(slot).every((byte) => byte === 0));
      ring.prepRw(slot, IORING_OP.NOP, -1, 2 ** 46, 0xffffffff, 2 ** 52, 0);
      ring.setCommand32(slot, 3, -1);
      ring.prepNop(slot);
      if (i % 8 === 7) reap(ring, 8);
    }
  });

  await t.test('completions beyond the completion queue are kept and arrive in order', async (t) => {
    const small = Ring.create({ entries: 1, cqEntries: 2 });
    for (let i = 0; i < 20; i++) {
      const slot = small.getSqe();
      small.prepNop(slot);
      small.setUserData(slot, i, 0);
      t.equal(small.submit(), 1);
    }
    const seen: number[] = [];
    for (let n = small.cqReady(); n > 0; n = small.cqReady()) {
      t.ok(n <= 2);
      for (let i = 0; i < n; i++) seen.push(small.cqUserDataLo(i));
      small.cqAdvance(n);
    }
    t.strictSame(
      seen,
      Array.from({ length: 20 }, (_, i) => i),
    );
    t.equal(small.cqDropped(), 0);
    small.close();
  });

  await t.test('counters wrap around', async (t) => {
    for (let i = 0; i < 200; i++) {
      for (let k = 0; k < 5; k++) ring.setUserData(ring.getSqe(), k, i);
      t.equal(
        reap(ring, 5)
          .map((c) => c.lo)
          .join(),
        '0,1,2,3,4',
      );
    }
  });

  await t.test('a bad operation fails alone', async (t) => {
    ring.prepRead(ring.getSqe(), -1, 0, 1, 0);
    ring.prepRw(ring.getSqe(), 250, -1, 0, 0, 0, 0);
    ring.prepNop(ring.getSqe());
    t.strictSame(
      reap(ring, 3)
        .map((c) => c.res)
        .sort((a, b) => a - b),
      [-22, -9, 0],
    );
  });
});

t.test('files', async (t) => {
  const ring = Ring.create({ entries: 16 });
  const pool = BufferPool.create({ count: 4, size: 8192 });
  t.teardown(() => {
    ring.close();
    pool.close();
  });

  await t.test('write, fsync, read back', async (t) => {
    const { fd, path } = scratch();
    pool.bytes.subarray(0, 8192).fill(0x5a);
    ring.prepWrite(ring.getSqe(), fd, pool.address, 8192, 4096, RWF.DSYNC);
    t.equal(reapOne(ring).res, 8192);
    ring.prepFsync(ring.getSqe(), fd);
    t.equal(reapOne(ring).res, 0);
    ring.prepFsync(ring.getSqe(), fd, true);
    t.equal(reapOne(ring).res, 0);
    ring.prepRead(ring.getSqe(), fd, pool.slotAddress(1), 8192, 2048);
    t.equal(reapOne(ring).res, 8192);
    const got = pool.slotView(1);
    t.ok(got.subarray(0, 2048).every((b) => b === 0) && got.subarray(2048).every((b) => b === 0x5a));
    ring.prepRead(ring.getSqe(), fd, pool.slotAddress(1), 8192, 12288 - 100);
    t.equal(reapOne(ring).res, 100, 'short at the end');
    t.equal(readFileSync(path).length, 12288);
    closeFile(fd);
  });

  await t.test('offsets beyond 4 GiB', async (t) => {
    const { fd } = scratch();
    pool.view.setUint32(0, 0x12345678);
    const far = 5 * 2 ** 30 + 512;
    ring.prepWrite(ring.getSqe(), fd, pool.address, 4, far);
    t.equal(reapOne(ring).res, 4);
    t.equal(native.fstat(fd) instanceof Object && (native.fstat(fd) as { size: number }).size, far + 4);
    ring.prepRead(ring.getSqe(), fd, pool.slotAddress(1), 4, far);
    t.equal(reapOne(ring).res, 4);
    t.equal(pool.view.getUint32(8192), 0x12345678);
    closeFile(fd);
  });

  await t.test('registered buffers and files', async (t) => {
    const { fd } = scratch();
    ring.registerBuffers([pool]);
    ring.registerFiles([-1, fd]);
    pool.bytes.fill(7, 0, 4096);
    let slot = ring.getSqe();
    ring.prepWriteFixed(slot, 1, pool.address, 4096, 0, 0);
    ring.setFlags(slot, IOSQE.FIXED_FILE);
    t.equal(reapOne(ring).res, 4096);
    slot = ring.getSqe();
    ring.prepReadFixed(slot, fd, pool.slotAddress(2), 4096, 0, 0);
    t.equal(reapOne(ring).res, 4096);
    t.ok(
      pool
        .slotView(2)
        .subarray(0, 4096)
        .every((b) => b === 7),
    );
    slot = ring.getSqe();
    ring.prepReadFixed(slot, fd, pool.address + pool.lengthBytes, 4096, 0, 0);
    t.equal(reapOne(ring).res, -14, 'outside the registered range');
    ring.updateFiles(0, [fd]);
    slot = ring.getSqe();
    ring.prepRead(slot, 0, pool.address, 10, 0);
    ring.setFlags(slot, IOSQE.FIXED_FILE);
    t.equal(reapOne(ring).res, 10);
    ring.unregisterFiles();
    ring.unregisterBuffers();
    t.throws(() => ring.unregisterBuffers(), { code: 'ENXIO' });
    t.throws(() => ring.registerBuffers([{ address: 4096, lengthBytes: 4096 }]), { code: 'EFAULT' });
    t.throws(() => ring.registerFiles([4_000_000]), { code: 'EBADF' });
    closeFile(fd);
  });

  await t.test('fallocate punches holes; discard is for block devices', async (t) => {
    const { fd, path } = scratch();
    writeFileSync(path, Buffer.alloc(16384, 1));
    ring.prepFallocate(ring.getSqe(), fd, 3, 4096, 8192);
    t.equal(reapOne(ring).res, 0);
    const content = readFileSync(path);
    t.ok(content.subarray(4096, 12288).every((b) => b === 0) && content[4095] === 1 && content[12288] === 1);
    ring.prepBlockDiscard(ring.getSqe(), fd, 0, 4096);
    t.ok(reapOne(ring).res < 0);
    closeFile(fd);
  });

  await t.test('close', async (t) => {
    const { fd } = scratch();
    ring.prepClose(ring.getSqe(), fd);
    t.equal(reapOne(ring).res, 0);
    t.throws(() => closeFile(fd), { code: 'EBADF' });
  });

  await t.test('a failing link cancels the rest; a hard link does not', async (t) => {
    for (const [flag, last] of [
      [IOSQE.IO_LINK, -125],
      [IOSQE.IO_HARDLINK, 0],
    ] as const) {
      const slots = [ring.getSqe(), ring.getSqe(), ring.getSqe()] as const;
      ring.prepNop(slots[0]);
      ring.setFlags(slots[0], flag);
      ring.prepRead(slots[1], -1, 0, 1, 0);
      ring.setFlags(slots[1], flag);
      ring.prepNop(slots[2]);
      for (const [i, slot] of slots.entries()) ring.setUserData(slot, i, 0);
      t.strictSame(
        reap(ring, 3).map((c) => [c.lo, c.res]),
        [
          [0, 0],
          [1, -9],
          [2, last],
        ],
      );
    }
  });
});

t.test('time', async (t) => {
  const ring = Ring.create({ entries: 8 });
  t.teardown(() => ring.close());

  await t.test('a timeout completes with ETIME', async (t) => {
    const before = process.hrtime.bigint();
    ring.prepTimeout(ring.getSqe(), 5e6);
    t.equal(reapOne(ring).res, -62);
    t.ok(process.hrtime.bigint() - before >= 5_000_000n);
    ring.prepTimeout(ring.getSqe(), 1e3, 0, IORING_TIMEOUT.ETIME_SUCCESS);
    t.equal(reapOne(ring).res, -62);
  });

  await t.test('a wait gives up after its own timeout', async (t) => {
    t.equal(ring.submitAndWait(1, 2000), -62);
    t.equal(ring.submitAndWait(1, 0), -62);
    t.equal(ring.cqReady(), 0);
  });

  await t.test('timeouts are removed and changed', async (t) => {
    let slot = ring.getSqe();
    ring.prepTimeout(slot, 3600e9);
    ring.setUserData(slot, 1, 9);
    t.equal(ring.submit(), 1);
    slot = ring.getSqe();
    ring.prepTimeoutUpdate(slot, 1, 9, 1800e9);
    ring.setUserData(slot, 2, 0);
    t.match(reapOne(ring), { lo: 2, res: 0 });
    slot = ring.getSqe();
    ring.prepTimeoutRemove(slot, 1, 9);
    ring.setUserData(slot, 3, 0);
    const seen = new Map(reap(ring, 2).map((c) => [c.lo, c.res]));
    t.strictSame(seen.get(1), -125);
    t.strictSame(seen.get(3), 0);
    ring.prepTimeoutRemove(ring.getSqe(), 1, 9);
    t.equal(reapOne(ring).res, -2);
  });

  await t.test('a link timeout cancels a read that waits', async (t) => {
    const eventfd = EventFd.create();
    const pool = BufferPool.create(8);
    const slot = ring.getSqe();
    ring.prepRead(slot, eventfd.fd, pool.address, 8, 0);
    ring.setFlags(slot, IOSQE.IO_LINK);
    ring.setUserData(slot, 1, 0);
    const limit = ring.getSqe();
    ring.prepLinkTimeout(limit, 2e6);
    ring.setUserData(limit, 2, 0);
    const seen = new Map(reap(ring, 2).map((c) => [c.lo, c.res]));
    t.ok(seen.get(1) === -125 || seen.get(1) === -4, `read: ${seen.get(1)}`);
    t.equal(seen.get(2), -62);
    eventfd.close();
  });
});

t.test('cancel', async (t) => {
  const ring = Ring.create({ entries: 8 });
  const eventfd = EventFd.create();
  const pool = BufferPool.create(64);
  t.teardown(() => {
    ring.close();
    eventfd.close();
  });
  const armRead = (lo: number): void => {
    const slot = ring.getSqe();
    ring.prepRead(slot, eventfd.fd, pool.addressOf(lo * 8), 8, 0);
    ring.setUserData(slot, lo, 5);
    t.equal(ring.submit(), 1);
  };
  const results = (count: number) => new Map(reap(ring, count).map((c) => [c.lo, c.res]));

  await t.test('by user_data', async (t) => {
    armRead(1);
    const slot = ring.getSqe();
    ring.prepCancel(slot, 1, 5);
    ring.setUserData(slot, 100, 0);
    const seen = results(2);
    t.equal(seen.get(100), 0);
    t.equal(seen.get(1), -125);
    ring.prepCancel(ring.getSqe(), 1, 5);
    t.equal(reapOne(ring).res, -2, 'nothing left');
  });

  await t.test('by descriptor and all of the ring', async (t) => {
    for (const prep of [(slot: number) => ring.prepCancelFd(slot, eventfd.fd), (slot: number) => ring.prepCancelAny(slot)]) {
      armRead(1);
      armRead(2);
      const slot = ring.getSqe();
      prep(slot);
      ring.setUserData(slot, 100, 0);
      const seen = results(3);
      t.equal(seen.get(100), 2);
      t.equal(seen.get(1), -125);
      t.equal(seen.get(2), -125);
    }
  });

  await t.test('closing a ring cancels what it waits for', async (t) => {
    const other = Ring.create({ entries: 4 });
    other.prepRead(other.getSqe(), eventfd.fd, pool.address, 8, 0);
    t.equal(other.submit(), 1);
    other.close();
    eventfd.signal(3);
    t.equal(eventfd.drain(), 3, 'nobody took the value');
  });
});

t.test('waking', async (t) => {
  await t.test('a poll reports readiness, once or again and again', async (t) => {
    const ring = Ring.create({ entries: 8 });
    const eventfd = EventFd.create();
    ring.prepPollAdd(ring.getSqe(), eventfd.fd, POLL.IN);
    t.equal(ring.submit(), 1);
    t.equal(ring.cqReady(), 0);
    eventfd.signal();
    t.match(reapOne(ring), { res: POLL.IN });
    eventfd.drain();
    let slot = ring.getSqe();
    ring.prepPollAdd(slot, eventfd.fd, POLL.IN, true);
    ring.setUserData(slot, 6, 6);
    t.equal(ring.submit(), 1);
    for (let i = 0; i < 3; i++) {
      eventfd.signal();
      const { res, flags } = reapOne(ring);
      t.equal(res & POLL.IN, POLL.IN);
      t.equal(flags & IORING_CQE_F.MORE, IORING_CQE_F.MORE);
      eventfd.drain();
    }
    slot = ring.getSqe();
    ring.prepPollRemove(slot, 6, 6);
    t.strictSame(
      reap(ring, 2)
        .map((c) => c.res)
        .sort((a, b) => a - b),
      [-125, 0],
    );
    ring.close();
    eventfd.close();
  });

  await t.test('another thread wakes a sleeping ring through an eventfd', async (t) => {
    const ring = Ring.create({ entries: 8 });
    const eventfd = EventFd.create();
    const pool = BufferPool.create(8);
    const worker = new Worker(
      `const { parentPort, workerData } = require('node:worker_threads');
       const { signalEventfd } = require(workerData.addon) && { signalEventfd: (fd, n) => require(workerData.addon).eventfdWrite(fd, n) };
       parentPort.postMessage('up');
       setTimeout(() => signalEventfd(workerData.fd, 5), 30);`,
      { eval: true, workerData: { fd: eventfd.fd, addon: new URL('../build/Release/ublk_napi.node', import.meta.url).pathname } },
    );
    await new Promise((resolve) => worker.once('message', resolve));
    ring.prepRead(ring.getSqe(), eventfd.fd, pool.address, 8, 0);
    // Blocks this thread: only the other one can end the wait.
    t.equal(ring.submitAndWait(1, 10e6), 1);
    t.equal(ring.cqRes(0), 8);
    t.equal(pool.view.getUint32(0, true), 5);
    ring.cqAdvance(1);
    await worker.terminate();
    ring.close();
    eventfd.close();
  });

  await t.test('a worker that ends without closing its ring leaves nothing behind', async (t) => {
    const worker = new Worker(
      `const { workerData, parentPort } = require('node:worker_threads');
       const native = require(workerData);
       const map = native.ringSetup(4, 0, 0);
       const memory = native.mmapAnonymous(4096, true);
       native.watchFd(native.eventfd(0), () => {});
       parentPort.postMessage(map.fd);`,
      { eval: true, workerData: new URL('../build/Release/ublk_napi.node', import.meta.url).pathname },
    );
    const fd = await new Promise<number>((resolve) => worker.once('message', resolve));
    t.equal(native.ringEnter(fd, 0, 0, 1, -1), 0, 'the ring is there');
    await worker.terminate();
    t.equal(native.ringEnter(fd, 0, 0, 1, -1), -9, 'and closed with its thread');
  });

  await t.test('one ring posts into another', async (t) => {
    const a = Ring.create({ entries: 4 });
    const b = Ring.create({ entries: 4 });
    a.prepMsgRing(a.getSqe(), b.fd, 77, 0xaabbccdd, 0xeeff0011);
    t.equal(reapOne(a).res, 0);
    t.match(reap(b, 1), [{ lo: 0xaabbccdd, hi: 0xeeff0011, res: 77 }]);
    a.close();
    b.close();
  });

  await t.test('libuv is woken by the ring, also when the ring runs completions only on demand', async (t) => {
    const ring = Ring.create({ entries: 8 });
    const source = EventFd.create();
    const bell = EventFd.create();
    const pool = BufferPool.create(8);
    ring.registerEventfd(bell.fd);
    ring.prepRead(ring.getSqe(), source.fd, pool.address, 8, 0);
    t.equal(ring.submit(), 1);
    const res = await new Promise((resolve) => {
      const watcher = FdWatcher.open(bell.fd, () => {
        bell.drain();
        ring.submitAndWait(0);
        if (ring.cqReady() === 0) return;
        watcher.close();
        watcher.close();
        resolve(ring.cqRes(0));
      });
      setTimeout(() => source.signal(1), 5);
    });
    t.equal(res, 8);
    ring.cqAdvance(1);
    bell.drain(); // the completion itself rang once more
    ring.setEventfdEnabled(false);
    ring.prepNop(ring.getSqe());
    t.equal(reapOne(ring).res, 0);
    t.equal(bell.drain(), -11, 'suppressed');
    ring.setEventfdEnabled(true);
    ring.close();
    source.close();
    bell.close();
  });

  await t.test('what cannot be watched is refused', async (t) => {
    const { fd } = scratch();
    t.throws(() => FdWatcher.open(fd, () => undefined), { code: 'EPERM' });
    t.throws(() => FdWatcher.open(-1, () => undefined), { code: 'EBADF' });
    const eventfd = EventFd.create();
    const watcher = FdWatcher.open(eventfd.fd, () => undefined, false);
    t.throws(() => FdWatcher.open(eventfd.fd, () => undefined), { code: 'EEXIST' });
    watcher.close();
    eventfd.close();
    closeFile(fd);
  });
});
