// The activity log as the engine writes it, replayed by the stock drbdmeta: the bits of exactly the hot extents, in all slots. A
// transaction that was torn, or damaged later, is treated alike by both.

import { closeSync, ftruncateSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import t from 'tap';
import {
  AL_BLOCK_BYTES,
  AL_EXTENT_BYTES,
  BM_BYTES_PER_BIT_DEFAULT,
  bitmapBytes,
  createMetaData,
  encodeSuperblock,
  initializedActivityLog,
  MDF,
  place,
  placement,
  setExtent,
} from '../../packages/metadata/src/index.js';
import { ActivityLog } from '../../packages/replication/src/activity-log.js';
import { runOurs } from './capture.js';
import { Prng } from './operations.js';
import { scratchDirectory } from './scratch.js';
import { Stock } from './stock.js';

const [first, last] = (process.env.UDRBD_SEEDS ?? '1-80').split('-').map(Number) as [number, number];
const MIB = 1024 * 1024;
const root = scratchDirectory();
process.chdir(root);
const stock = new Stock(`${root}/oracle`);
t.teardown(() => {
  stock.close();
  process.chdir('/');
  rmSync(root, { recursive: true });
});

/** Writes of an application: extents become hot, some are given up. @returns the area on disk and what is hot there */
function workload(prng: Prng, stripes: number, stripeSize4k: number, extents: number): { area: Uint8Array; hot: number[] } {
  const slots = prng.pick([67, 128, 1237].filter((n) => n <= 919 * (stripes * stripeSize4k - 1)));
  const log = new ActivityLog(slots, stripes, stripeSize4k);
  const area = initializedActivityLog(stripes, stripeSize4k);
  const referenced: (readonly [number, number])[] = [];
  let hot: number[] = [];
  for (let n = prng.below(60); n > 0; n--) {
    for (let k = 1 + prng.below(prng.chance(20) ? 80 : 6); k > 0; k--) {
      const from = prng.below(extents);
      const to = Math.min(extents - 1, from + prng.below(3));
      if (log.tryReference(from, to) || log.prepare(from, to) === 'joined') referenced.push([from, to]);
    }
    if (log.hasPending) {
      const block = log.encodeTransaction();
      const at = AL_BLOCK_BYTES * log.ringBlockOf(log.transaction);
      if (n === 1 && prng.chance(40)) {
        // The node dies while it writes: the transaction that stood there is gone, the new one is not complete.
        area.set(block.subarray(0, 512 * prng.below(8)), at);
        // Unless what is missing was the same before.
        if (Buffer.compare(block, area.subarray(at, at + AL_BLOCK_BYTES)) === 0) {
          log.commit();
          hot = log.hotExtents();
        }
        break;
      }
      area.set(block, at);
      log.commit();
      hot = log.hotExtents();
    }
    while (referenced.length > 0 && prng.chance(70)) log.dereference(...referenced.splice(prng.below(referenced.length), 1)[0]!);
  }
  return { area, hot };
}

t.test(`seeds ${first} to ${last}`, { timeout: 3_600_000 }, async (t) => {
  let equal = 0;
  for (let seed = first; seed <= last; seed++) {
    const prng = new Prng(seed);
    const [stripes, stripeSize4k] = prng.pick([
      [1, 8],
      [4, 8],
      [2, 4],
      [3, 5],
    ] as const);
    const maxPeers = prng.pick([1, 2, 3, 7, 31]);
    const kind = prng.pick(['internal', 'flex-external'] as const);
    const deviceBytes = kind === 'internal' ? prng.pick([64, 300, 600]) * MIB : 2 * MIB;
    const p = placement({ kind, deviceBytes, maxPeers, alStripes: stripes, alStripeSize4k: stripeSize4k });
    const md = createMetaData('v09', { maxPeers, alStripes: stripes, alStripeSize4k: stripeSize4k });
    place(md, p);
    md.effective_size = Math.min(p.usableSectors, 2 ** 21);
    md.flags = MDF.CONSISTENT | MDF.PRIMARY_IND | MDF.CRASHED_PRIMARY;
    const { area, hot } = workload(prng, stripes, stripeSize4k, Math.ceil((md.effective_size * 512) / AL_EXTENT_BYTES));
    for (const name of ['stock', 'ours']) {
      const fd = openSync(name, 'w');
      ftruncateSync(fd, deviceBytes);
      writeSync(fd, encodeSuperblock(md), 0, null, p.superblockOffsetBytes);
      writeSync(fd, area, 0, null, p.alOffsetBytes);
      closeSync(fd);
    }
    const theirs = await stock.run(['--force', '-', 'v09', 'stock', kind, 'apply-al'], root);
    const ours = await runOurs(['--force', '-', 'v09', 'ours', kind, 'apply-al'], {
      UDRBD_STATE_DIR: `${root}/state`,
      UDRBD_UTILS_VERSION: '9.22',
    });
    const wanted = new Uint8Array(bitmapBytes(md.effective_size, maxPeers));
    for (const extent of hot) setExtent(wanted, 0, extent, maxPeers, BM_BYTES_PER_BIT_DEFAULT);
    /** All meta-data: bitmap, log, super block in one piece. */
    const start = Math.min(p.bmOffsetBytes, p.superblockOffsetBytes);
    const [stockBytes, ourBytes] = (['stock', 'ours'] as const).map((name) => {
      const bytes = Buffer.alloc(deviceBytes - start);
      const fd = openSync(name, 'r');
      readSync(fd, bytes, 0, bytes.length, start);
      closeSync(fd);
      return bytes;
    }) as [Buffer, Buffer];
    const bitmap = stockBytes.subarray(p.bmOffsetBytes - start, p.bmOffsetBytes - start + wanted.length);
    const isEqual =
      t.equal(theirs.exit, 0, `seed ${seed}: ${theirs.stderr}`) &&
      t.ok(bitmap.equals(wanted), `seed ${seed}: the bits of ${hot.length} extents`) &&
      t.equal(ours.stderr, theirs.stderr, `seed ${seed}`) &&
      t.ok(ourBytes.equals(stockBytes), `seed ${seed}: images`);
    if (isEqual) equal++;
  }
  process.stderr.write(`drbdmeta activity logs: ${equal} of ${last - first + 1} equal\n`);
});
