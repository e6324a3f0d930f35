import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import t from 'tap';
import { BufferPool } from './buffers.js';
import { crc32c, crc32cIsHardware } from './crc32c.js';
import { closeFile, O, openFile, preadFile } from './files.js';
import { MessageTable } from './messages.js';
import { native } from './native.js';
import { lockProcessMemory, setIoFlusher, setOomScore } from './process-memory.js';
import { Ring } from './ring.js';
import { reapOne } from './testing/reap.js';

const folder = mkdtempSync(join(tmpdir(), 'buffers-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'file');

t.test('a pool', async (t) => {
  const pool = BufferPool.create({ count: 3, size: 4096 });
  t.equal(pool.address % 4096, 0, 'page aligned');
  t.equal(pool.addressOf(100), pool.address + 100);
  t.equal(pool.slotAddress(2), pool.address + 8192);
  t.equal(pool.slotOffset(2), 8192);
  t.equal(pool.bytes.length, 12288);
  t.ok(pool.bytes.every((byte) => byte === 0));
  t.equal(pool.locked, pool.lockErrno === 0);
  pool.view.setUint32(8192, 0xcafe);
  t.equal(Buffer.from(pool.slotView(2)).readUInt32BE(0), 0xcafe, 'one memory, many views');

  const slots = [pool.acquire(), pool.acquire(), pool.acquire()];
  t.strictSame([...slots].sort(), [0, 1, 2]);
  t.equal(pool.acquire(), -1);
  t.equal(pool.freeSlots, 0);
  pool.release(1);
  t.throws(() => pool.release(1), /slot 1 is not in use/);
  t.throws(() => pool.release(99), /slot 99 is not in use/);
  t.equal(pool.acquire(), 1);

  pool.close();
  pool.close();
  t.equal(pool.bytes.length, 0, 'views of a closed pool are empty');
});

t.test('sizes', async (t) => {
  const odd = BufferPool.create(1000);
  t.equal(odd.bytes.length, 1000);
  odd.close();
  const unlocked = BufferPool.create({ count: 1, size: 4096, lock: false });
  t.equal(unlocked.locked, false);
  t.equal(unlocked.lockErrno, 0);
  unlocked.close();
  for (const bad of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) t.throws(() => BufferPool.create(bad), RangeError, String(bad));
  t.throws(() => BufferPool.create(2 ** 50), RangeError);
});

t.test('memory lives as long as its views', async (t) => {
  const gc = (globalThis as { gc?: () => void }).gc;
  const views = Array.from({ length: 50 }, () => BufferPool.create({ count: 1, size: 65536 }).bytes);
  gc?.();
  for (const [i, view] of views.entries()) view.fill(i);
  t.ok(views.every((view, i) => view[65535] === i));
});

t.test('message rows', async (t) => {
  await t.test('a vectored write takes its pieces in order and goes on after a short one', async (t) => {
    const ring = Ring.create({ entries: 4 });
    const pool = BufferPool.create(4096);
    const table = MessageTable.create(2, 4);
    const fd = openFile('/dev/null', O.RDWR);
    t.equal(table.push(1, pool.address, 100), true);
    t.equal(table.push(1, pool.addressOf(1000), 200), true);
    t.equal(table.push(1, pool.addressOf(2000), 300), true);
    t.equal(table.push(1, pool.addressOf(2500), 1), true);
    t.equal(table.push(1, pool.address, 1), false, 'full');
    t.equal(table.remaining(1), 601);
    ring.prepWritev(ring.getSqe(), fd, table.iovecsOf(1), table.pieces(1), 0);
    t.equal(reapOne(ring).res, 601);
    t.equal(table.advance(1, 150), 451);
    t.equal(table.pieces(1), 3);
    ring.prepWritev(ring.getSqe(), fd, table.iovecsOf(1), table.pieces(1), 0);
    t.equal(reapOne(ring).res, 451);
    t.equal(table.advance(1, 451), 0);
    t.equal(table.pieces(1), 0);
    table.clear(1);
    t.equal(table.remaining(0), 0);
    table.close();
    pool.close();
    ring.close();
    closeFile(fd);
  });

  await t.test('advancing in any steps writes the same bytes as the pieces one after the other', async () => {
    const ring = Ring.create({ entries: 4 });
    const pool = BufferPool.create({ count: 1, size: 4096 });
    for (let i = 0; i < 4096; i++) pool.bytes[i] = i % 251;
    const table = MessageTable.create(1, 8);
    const fd = openFile(path, O.RDWR | O.CREAT | O.TRUNC);
    const lengths = fc.array(fc.integer({ min: 0, max: 50 }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(lengths, fc.integer({ min: 1, max: 60 }), (pieces, step) => {
        table.clear(0);
        for (const [i, length] of pieces.entries()) table.push(0, pool.addressOf(i * 100), length);
        const expected = Buffer.concat(pieces.map((length, i) => pool.bytes.slice(i * 100, i * 100 + length)));
        // Each round writes all that remains at its place, then pretends that only `step` bytes went out.
        let at = 0;
        const got = Buffer.alloc(expected.length);
        while (at < expected.length) {
          ring.prepWritev(ring.getSqe(), fd, table.iovecsOf(0), table.pieces(0), at);
          if (reapOne(ring).res !== expected.length - at) return false;
          const sent = Math.min(step, expected.length - at);
          preadFile(fd, got, at, at, sent);
          at += sent;
          if (table.advance(0, sent) !== expected.length - at) return false;
        }
        return got.equals(expected) && table.remaining(0) === 0;
      }),
      { numRuns: 100 },
    );
    closeFile(fd);
    table.close();
    pool.close();
    ring.close();
  });
});

t.test('crc32c', async (t) => {
  const whole = (text: string): number => ~crc32c(Buffer.from(text)) >>> 0;
  t.equal(whole('123456789'), 0xe3069283, 'the check value of the polynomial');
  t.equal(~crc32c(new Uint8Array(32)) >>> 0, 0x8a9136aa, 'RFC 3720: 32 zeroes');
  t.equal(~crc32c(new Uint8Array(32).fill(0xff)) >>> 0, 0x62a8ab43);
  t.equal(crc32c(new Uint8Array(0), 0, 0, 77), 77);
  t.type(crc32cIsHardware, 'boolean');
  const bytes = createHash('sha512').update('seed').digest();
  fc.assert(
    fc.property(fc.nat({ max: 64 }), fc.nat({ max: 64 }), fc.integer({ min: 0, max: 0xffffffff }), (a, b, seed) => {
      const [from, to] = a < b ? [a, b] : [b, a];
      const once = crc32c(bytes, from, to - from, seed);
      const middle = (from + to) >>> 1;
      return (
        once === native.crc32cPortable(bytes, from, to - from, seed) &&
        once === crc32c(bytes, middle, to - middle, crc32c(bytes, from, middle - from, seed))
      );
    }),
  );
  t.throws(() => crc32c(bytes, 60, 10), RangeError);
});

t.test('with its memory locked the process still returns memory and ends workers', async (t) => {
  const script = `
    const native = require(process.argv[1]);
    const { Worker } = require('node:worker_threads');
    console.log(native.lockProcessMemory());
    new Worker('setTimeout(() => {}, 20)', { eval: true }).on('exit', () => {
      for (let round = 0; round < 5; round++) {
        let rows = [];
        for (let i = 0; i < 300; i++) rows.push(new Array(20000).fill(i));
        rows = null;
        gc();
      }
      console.log('alive');
    });`;
  const addon = fileURLToPath(new URL('../build/Release/ublk_napi.node', import.meta.url));
  const child = spawnSync(process.execPath, ['--expose-gc', '-e', script, addon], { encoding: 'utf8' });
  t.match(child.stdout, /^-?\d+\nalive\n$/);
  t.equal(child.status, 0, child.stderr);
});

t.test('what the process may ask for is answered as a value', async (t) => {
  // Either answer is right: it depends on the privileges of whoever runs the tests.
  const flusher = setIoFlusher();
  t.ok([0, 1, 22].includes(flusher), `errno ${flusher}`);
  if (flusher === 0) t.equal(setIoFlusher(false), 0);
  const locked = lockProcessMemory();
  t.ok([0, 1, 11, 12].includes(locked), `errno ${locked}`);
  const score = readFileSync('/proc/self/oom_score_adj', 'utf8');
  t.equal(setOomScore(Number(score)), 0);
  t.ok([1, 13, 22].includes(setOomScore(5000)));
});
