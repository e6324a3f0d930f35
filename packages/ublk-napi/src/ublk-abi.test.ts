// Golden vectors: bytes a C compiler made from the kernel's own headers (golden/ublk.json), against our codecs and commands.
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import { ERRNO } from './errno.js';
import { assertLayout, getU64, layout, putU64 } from './layout.js';
import { LAYOUTS, native } from './native.js';
import { Ring } from './ring.js';
import {
  decodeDeviceInfo,
  decodeParams,
  encodeDeviceInfo,
  encodeParams,
  featureNames,
  UBLK_ATTR,
  UBLK_F,
  UBLK_IO,
  UBLK_PARAMS,
  UBLKSRV_CTRL_DEV_INFO,
  userCopyPosition,
} from './ublk-abi.js';
import { prepUblkControl } from './ublk-commands.js';
import { prepUblkIo } from './ublk-queue.js';

const golden = JSON.parse(readFileSync(new URL('../golden/ublk.json', import.meta.url), 'utf8')) as Record<string, string>;
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const memory = (size: number): DataView => new DataView(new Uint8Array(size).fill(0xee).buffer);
const bytesOf = (view: DataView, length: number): Uint8Array => new Uint8Array(view.buffer, 0, length);

t.test('device info', async (t) => {
  const view = memory(64);
  const wish = {
    id: 5,
    queues: 1,
    depth: 128,
    maxIoBytes: 1 << 20,
    flags: UBLK_F.USER_RECOVERY | UBLK_F.USER_RECOVERY_REISSUE | UBLK_F.CMD_IOCTL_ENCODE | UBLK_F.USER_COPY,
  };
  encodeDeviceInfo(view, 0, wish);
  t.equal(hex(bytesOf(view, 64)), golden.dev_info);
  t.match(decodeDeviceInfo(view, 0), { ...wish, state: 'DEAD', serverPid: 0, mark: 0n });
  const at = UBLKSRV_CTRL_DEV_INFO.at;
  view.setUint16(at.state, 2, true);
  view.setInt32(at.ublksrv_pid, -1, true);
  view.setUint32(at.flags + 4, 1, true);
  t.match(decodeDeviceInfo(view, 0), { state: 'QUIESCED', serverPid: -1, flags: 0x1_0000_00d8 });
  t.strictSame(featureNames(0xd8), ['USER_RECOVERY', 'USER_RECOVERY_REISSUE', 'CMD_IOCTL_ENCODE', 'USER_COPY']);
  encodeDeviceInfo(view, 0, { mark: 0x7564_7262_6400_0001n });
  t.match(decodeDeviceInfo(view, 0), { id: 0xffffffff, depth: 128, mark: 0x7564_7262_6400_0001n });
});

t.test('parameters', async (t) => {
  const view = memory(UBLK_PARAMS.size);
  const params = {
    attrs: UBLK_ATTR.VOLATILE_CACHE | UBLK_ATTR.FUA,
    sectors: 2 ** 21,
    logicalBlockBytes: 512,
    physicalBlockBytes: 4096,
    ioMinBytes: 4096,
    maxSectors: 2048,
    discard: { granularityBytes: 4096, maxDiscardSectors: 0x7ffff8, maxWriteZeroesSectors: 0x7ffff8 },
  };
  t.equal(encodeParams(view, 0, params), 112);
  t.equal(hex(bytesOf(view, 112)), golden.params);
  t.match(decodeParams(view, 0), params);
  const newer = { ...params, dmaAlignmentMask: 511, segment: { boundaryMask: 0xffff_ffff, maxBytes: 65536, maxSegments: 128 } };
  t.equal(encodeParams(view, 0, newer), 152, 'the blocks of newer kernels need the longer structure');
  t.match(decodeParams(view, 0), newer);
  t.throws(() => encodeParams(view, 0, { ...params, logicalBlockBytes: 520 }), RangeError);
  t.throws(() => encodeParams(view, 0, { ...params, ioOptBytes: 2 ** 30 }), RangeError);
});

t.test('commands in a ring', async (t) => {
  const wide = Ring.create({ entries: 4, sqe128: true });
  let slot = wide.getSqe();
  wide.sqeBytes(slot).fill(0xee, 64);
  prepUblkControl(wide, slot, 3, { name: 'ADD_DEV', id: 5, queue: -1, data: 0 }, 0x7f0000001000, 64);
  wide.setUserData(slot, 0x55667788, 0x11223344);
  t.equal(hex(wide.sqeBytes(slot)), golden.add_dev_sqe);
  wide.close();

  const ring = Ring.create({ entries: 4 });
  slot = ring.getSqe();
  prepUblkIo(ring, slot, 7, UBLK_IO.FETCH_REQ, 0, 42, 0, 0);
  ring.setUserData(slot, 42, 0);
  t.equal(hex(ring.sqeBytes(slot)), golden.fetch_sqe);
  slot = ring.getSqe();
  prepUblkIo(ring, slot, 7, UBLK_IO.COMMIT_AND_FETCH_REQ, 0, 42, 4096, 0);
  ring.setUserData(slot, 42, 0);
  t.equal(hex(ring.sqeBytes(slot)), golden.commit_sqe);
  slot = ring.getSqe();
  prepUblkIo(ring, slot, 7, UBLK_IO.COMMIT_AND_FETCH_REQ, 0, 42, -ERRNO.EIO, 0);
  t.equal(hex(ring.sqeBytes(slot).subarray(48)), golden.commit_cmd_eio);
  ring.close();
});

t.test('positions of user copy', async (t) => {
  t.equal(userCopyPosition(0, 0, 0), 0x80000000);
  t.equal(userCopyPosition(0, 127, 0), 0x17e000000);
  t.equal(userCopyPosition(1, 5, 4096), 2201338515456);
  t.ok(Number.isSafeInteger(userCopyPosition(4094, 4095, 2 ** 25 - 1)));
});

t.test('64-bit fields', async (t) => {
  const view = memory(8);
  fc.assert(
    fc.property(fc.maxSafeNat(), (value) => {
      putU64(view, 0, value);
      return getU64(view, 0) === value && view.getBigUint64(0, true) === BigInt(value);
    }),
  );
  putU64(view, 0, -1);
  t.equal(view.getBigUint64(0, true), 0xffff_ffff_ffff_ffffn);
});

t.test('tables are those of the compiler', async (t) => {
  const compiled = native.layouts();
  t.strictSame(Object.keys(compiled).sort(), LAYOUTS.map((table) => table.name).sort());
  for (const table of LAYOUTS) {
    assertLayout(table, compiled[table.name]);
    t.strictSame(Object.keys(table.at).sort(), Object.keys(compiled[table.name]!.at).sort(), table.name);
  }
  const wrong = layout('iovec', 16, { iov_len: { type: 'u64', doc: '' }, iov_base: { type: 'u64', doc: '' } });
  t.throws(() => assertLayout(wrong, compiled.iovec), /iovec.iov_len: offset 8 in C, 0 in the table/);
  t.throws(() => assertLayout(layout('iovec', 8, { iov_base: { type: 'u64', doc: '' } }), compiled.iovec), /16 bytes in C, 8/);
  t.throws(() => assertLayout({ ...wrong, name: 'nothing' }, compiled.nothing), /knows no structure nothing/);
  t.throws(() => layout('x', 5, { a: { type: 'u32', doc: '' } }), /fields cover 4 bytes, declared 5/);
});
