/** Replaying a killed engine's activity log, cut off before every write and begun again. */
import {
  createMetaData,
  decodeSuperblock,
  encodeAlUpdate,
  encodeSuperblock,
  extentInBitmap,
  hweight,
  initializedActivityLog,
  MDF,
  type MetaData,
  place,
  placement,
  replayActivityLog,
} from '@udrbd/metadata';
import t from 'tap';
import { type MetaDevice, replayIntoBitmap } from './replay-activity-log.js';

const DEVICE_BYTES = 256 << 20;
const P = placement({ kind: 'internal', deviceBytes: DEVICE_BYTES, maxPeers: 2 });
/** The meta-data lie at the end of the device: only that part is kept. */
const BASE = Math.min(P.alOffsetBytes, P.bmOffsetBytes, P.superblockOffsetBytes);
const HOT = [3, 17, 40];

class CutOff extends Error {}

class Disk implements MetaDevice {
  readonly bytes: Uint8Array;
  #writesLeft: number;
  constructor(bytes: Uint8Array, writesLeft: number) {
    this.bytes = bytes;
    this.#writesLeft = writesLeft;
  }
  async read(offset: number, length: number): Promise<Uint8Array> {
    return this.bytes.slice(offset - BASE, offset - BASE + length);
  }
  async write(offset: number, bytes: Uint8Array): Promise<void> {
    if (this.#writesLeft-- === 0) throw new CutOff();
    this.bytes.set(bytes, offset - BASE);
  }
  async flush(): Promise<void> {
    // What is written is there.
  }
}

function left(flags: number): Uint8Array {
  const bytes = new Uint8Array(DEVICE_BYTES - BASE);
  const md = createMetaData('v09', { maxPeers: 2 });
  place(md, P);
  md.flags = flags;
  bytes.set(encodeSuperblock(md), P.superblockOffsetBytes - BASE);
  const log = initializedActivityLog(md.al_stripes, md.al_stripe_size_4k);
  const block = log.subarray(0, 4096);
  const active = new Uint32Array(67).fill(0xffff_ffff);
  const view = new DataView(block.buffer, block.byteOffset, 4096);
  encodeAlUpdate(block, view, 0, active, 0, Uint16Array.from([5, 6, 7]), Uint32Array.from(HOT), HOT.length);
  bytes.set(log, P.alOffsetBytes - BASE);
  return bytes;
}

const superblock = (bytes: Uint8Array): MetaData => {
  const decoded = decodeSuperblock('v09', bytes.subarray(P.superblockOffsetBytes - BASE, P.superblockOffsetBytes - BASE + 4096));
  if (!decoded.ok) throw new Error('no super block');
  return decoded.value;
};
const bitmapOf = (bytes: Uint8Array): Uint8Array => bytes.subarray(P.bmOffsetBytes - BASE, P.bmOffsetBytes - BASE + P.bmSizeBytes);

/** @returns whether it came to its end */
async function replay(bytes: Uint8Array, writes = Infinity): Promise<boolean> {
  const bitmap = bitmapOf(bytes).slice();
  try {
    const done = await replayIntoBitmap(new Disk(bytes, writes), superblock(bytes), P, bitmap);
    if (!done.ok) throw new Error(done.error.name);
    return true;
  } catch (error) {
    if (error instanceof CutOff) return false;
    throw error;
  }
}

t.test('a Primary', async (t) => {
  const whole = left(MDF.PRIMARY_IND);
  await replay(whole);
  const bits = HOT.length * 1024 * 2;
  t.equal(hweight(bitmapOf(whole)), bits, 'hot extents are marked for both peers');
  for (const extent of HOT) {
    const { offsetBytes, lengthBytes } = extentInBitmap(extent, 2, 4096);
    t.ok(
      bitmapOf(whole)
        .subarray(offsetBytes, offsetBytes + lengthBytes)
        .every((byte) => byte === 0xff),
    );
  }
  const md = superblock(whole);
  t.equal(md.flags, MDF.PRIMARY_IND | MDF.AL_CLEAN, 'clean, and still a crashed Primary');
  const log = whole.subarray(P.alOffsetBytes - BASE, P.alOffsetBytes - BASE + P.alSizeBytes);
  t.equal(replayActivityLog(log, md.al_stripes, md.al_stripe_size_4k).verdict, 'nothing');

  let cuts = 0;
  for (let writes = 0; ; writes++) {
    const bytes = left(MDF.PRIMARY_IND);
    const isDone = await replay(bytes, writes);
    if (isDone) break;
    cuts++;
    t.notOk(superblock(bytes).flags & MDF.AL_CLEAN, `cut off before write ${writes}: nobody takes it for clean`);
    await replay(bytes);
    t.strictSame(Buffer.from(bytes), Buffer.from(whole), 'the second attempt comes to the same');
  }
  t.ok(cuts >= 3);
});

t.test('a Secondary has nothing that its peers lack', async (t) => {
  const bytes = left(0);
  await replay(bytes);
  t.equal(hweight(bitmapOf(bytes)), 0);
  t.equal(superblock(bytes).flags, MDF.AL_CLEAN);
});

t.test('a Primary with a log that says nothing is refused', async (t) => {
  const bytes = left(MDF.PRIMARY_IND);
  bytes.fill(0xee, P.alOffsetBytes - BASE, P.alOffsetBytes - BASE + P.alSizeBytes);
  await t.rejects(replay(bytes), { message: 'ERR_MD_UNCLEAN' });
  t.equal(superblock(bytes).flags, MDF.PRIMARY_IND);
});
