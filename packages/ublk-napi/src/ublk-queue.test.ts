// The data plane without the driver: a plain file stands in for /dev/ublkcN. Its pages serve as descriptors, and the ring refuses the
// commands (a file has none), so completions are played by the test.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { BufferPool } from './buffers.js';
import { Ring } from './ring.js';
import { reap } from './testing/reap.js';
import { UBLK_F, UBLK_IO_F, UBLK_OP } from './ublk-abi.js';
import { TAG_EVENT, UblkCharDevice, UblkQueue } from './ublk-queue.js';

const folder = mkdtempSync(join(tmpdir(), 'ublk-queue-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'ublkc0');
const HI = 9;
const QUEUE_STRIDE = 98304;
const image = Buffer.alloc(2 * QUEUE_STRIDE);

/** Writes a descriptor as the kernel would. */
function describe(queue: number, tag: number, opFlags: number, sectors: number, sector: bigint): void {
  const at = queue * QUEUE_STRIDE + tag * 24;
  image.writeUInt32LE(opFlags, at);
  image.writeUInt32LE(sectors, at + 4);
  image.writeBigUInt64LE(sector, at + 8);
}
describe(0, 0, UBLK_OP.READ, 8, 0n);
// One 4 KiB WRITE with FUA and META at sector 0x123456, from a C compiler.
const golden = JSON.parse(readFileSync(new URL('../golden/ublk.json', import.meta.url), 'utf8')) as { write_fua_meta_desc: string };
Buffer.from(golden.write_fua_meta_desc, 'hex').copy(image, 24);
describe(1, 3, UBLK_OP.DISCARD, 0xffffffff, 2n ** 40n + 7n);
writeFileSync(path, image);

const sqesOf = (ring: Ring, count: number): DataView[] =>
  Array.from({ length: count }, (_, slot) => {
    const bytes = ring.sqeBytes(slot);
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  });

t.test('descriptors of a queue', async (t) => {
  const ring = Ring.create({ entries: 8 });
  const device = UblkCharDevice.open(0, path);
  const open = (queue: number) => UblkQueue.open({ ring, device, queue, depth: 4, flags: UBLK_F.USER_COPY, userDataHi: HI });
  const first = open(0);
  t.equal(first.op(0), UBLK_OP.READ);
  t.equal(first.op(1), UBLK_OP.WRITE);
  t.equal(first.opFlags(1), UBLK_IO_F.FUA | UBLK_IO_F.META);
  t.equal(first.nrSectors(1), 8);
  t.equal(first.lengthBytes(1), 4096);
  t.equal(first.startSector(1), 0x123456);
  t.equal(first.startBytes(1), 0x123456 * 512);
  const second = open(1);
  t.equal(second.op(3), UBLK_OP.DISCARD, 'the second queue starts at a place of its own, whatever the depth');
  t.equal(second.nrSectors(3), 0xffffffff);
  t.equal(second.startSector(3), 2 ** 40 + 7);
  for (const queue of [first, second]) {
    queue.close();
    queue.close();
  }
  device.close();
  device.close();
  ring.close();
});

t.test('the life of a tag', async (t) => {
  const ring = Ring.create({ entries: 8 });
  const device = UblkCharDevice.open(0, path);
  const queue = UblkQueue.open({ ring, device, depth: 2, flags: UBLK_F.USER_COPY, userDataHi: HI });
  queue.fetchAll();
  queue.fetchAll();
  t.equal(ring.sqPending(), 2, 'each tag is fetched once');
  t.match(queue, { armed: 2, owned: 0, retired: 0, isDrained: false });
  t.throws(() => queue.commitAndFetch(0, 0), /tag 0 is not with the server/);
  t.equal(queue.completed(0, 0), TAG_EVENT.REQUEST);
  t.match(queue, { armed: 1, owned: 1 });
  queue.commitAndFetch(0, 4096);
  t.throws(() => queue.commitAndFetch(0, 4096), /not with the server/);
  t.equal(queue.completed(1, -19), TAG_EVENT.RETIRED);
  t.equal(queue.isDrained, false);
  t.equal(queue.completed(0, -125), TAG_EVENT.RETIRED);
  t.match(queue, { armed: 0, owned: 0, retired: 2, isDrained: true, error: 0 });
  const [fetch0, fetch1, commit] = sqesOf(ring, 3);
  t.strictSame(
    [fetch0, fetch1, commit].map((sqe) => [
      sqe?.getUint32(32, true),
      sqe?.getUint32(36, true),
      sqe?.getUint32(8, true),
      sqe?.getInt32(52, true),
    ]),
    [
      [0, HI, 0xc0107520, 0],
      [1, HI, 0xc0107520, 0],
      [0, HI, 0xc0107521, 4096],
    ],
  );
  t.ok(
    reap(ring, 3).every((c) => c.res < 0),
    'a plain file refuses ublk commands',
  );
  queue.close();
  device.close();
  ring.close();
});

t.test('a refused command is remembered', async (t) => {
  const ring = Ring.create({ entries: 2 });
  const device = UblkCharDevice.open(0, path);
  const queue = UblkQueue.open({ ring, device, depth: 5, flags: UBLK_F.USER_COPY, userDataHi: HI });
  queue.fetchAll();
  t.ok(ring.sqPending() <= 2, 'a full ring is submitted on the way');
  for (const { lo, hi, res } of reap(ring, 5)) {
    t.equal(hi, HI);
    t.equal(queue.completed(lo, res), TAG_EVENT.FAILED);
  }
  t.equal(queue.isDrained, true);
  t.ok(queue.error === 95 || queue.error === 22, `errno ${queue.error}`);
  queue.close();
  device.close();
  ring.close();
});

t.test('payload', async (t) => {
  const ring = Ring.create({ entries: 8 });
  const device = UblkCharDevice.open(0, path);
  await t.test('copy mode names the buffer of the tag', async (t) => {
    const buffers = BufferPool.create({ count: 3, size: 65536 });
    const queue = UblkQueue.open({ ring, device, queue: 1, depth: 3, flags: 0, userDataHi: HI, buffers });
    queue.fetchAll();
    const sqes = sqesOf(ring, 3);
    for (const [tag, sqe] of sqes.entries()) {
      t.equal(sqe.getUint32(32, true), 0x10000 + tag);
      t.equal(sqe.getUint32(48, true), 1 + tag * 0x10000);
      t.equal(Number(sqe.getBigUint64(56, true)), buffers.address + tag * 65536);
      t.equal(queue.payloadAddress(tag), buffers.address + tag * 65536);
    }
    reap(ring, 3);
    queue.close();
    t.throws(() => UblkQueue.open({ ring, device, depth: 4, flags: 0, userDataHi: HI, buffers }), /3 buffers for 4 tags/);
    t.throws(() => UblkQueue.open({ ring, device, depth: 2, flags: 0, userDataHi: HI }), RangeError);
    t.throws(() => UblkQueue.open({ ring, device, depth: 2, flags: UBLK_F.USER_COPY, userDataHi: HI, buffers }), RangeError);
    buffers.close();
  });
  await t.test('user copy reads and writes at the position of the tag', async (t) => {
    const queue = UblkQueue.open({ ring, device, queue: 1, depth: 6, flags: UBLK_F.USER_COPY, userDataHi: HI });
    const slot = ring.getSqe();
    queue.prepReadPayload(slot, 5, 0x7f0000001000, 512, 4096);
    let bytes = Buffer.from(ring.sqeBytes(slot));
    t.equal(bytes[0], 22);
    t.equal(bytes.readBigUInt64LE(8), 2201338515456n);
    t.equal(bytes.readBigUInt64LE(16), 0x7f0000001000n);
    t.equal(bytes.readUInt32LE(24), 512);
    queue.prepWritePayload(slot, 5, 0x7f0000001000, 512);
    bytes = Buffer.from(ring.sqeBytes(slot));
    t.equal(bytes[0], 23);
    t.equal(bytes.readBigUInt64LE(8), 2201338515456n - 4096n);
    ring.prepNop(slot);
    queue.close();
  });
  device.close();
  t.throws(() => UblkQueue.open({ ring, device, depth: 2, flags: UBLK_F.USER_COPY, userDataHi: HI }), { code: 'EBADF', syscall: 'mmap' });
  t.throws(() => UblkCharDevice.open(0, join(folder, 'none')), { code: 'ENOENT' });
  ring.close();
});
