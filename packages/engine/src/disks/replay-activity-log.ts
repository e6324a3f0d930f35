/**
 * What `drbdmeta apply-al` does before an attach, for a disk whose engine was killed: what its activity log names is marked in the
 * bitmap when the node was Primary, then the log is emptied. Each step is durable before the next one, so this may be cut off anywhere
 * and done again.
 */
import { type Outcome, refuse } from '@udrbd/control';
import {
  AL_BLOCK_BYTES,
  encodeSuperblock,
  extentInBitmap,
  initializedActivityLog,
  isPmemActivityLog,
  MAGIC,
  MDF,
  type MetaData,
  type Placement,
  replayActivityLog,
  setExtent,
} from '@udrbd/metadata';

/** The meta-data device. Offsets and lengths are whole sectors. */
export interface MetaDevice {
  read(offset: number, length: number): Promise<Uint8Array>;
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** What was written is durable. */
  flush(): Promise<void>;
}

const BITMAP_PAGE_BYTES = 4096;

/**
 * @param md - as on the disk; has AL_CLEAN afterwards
 * @param bitmap - the whole bitmap as on the disk; gets the new bits
 * @returns bits newly marked, over all peers
 * @throws what the device throws
 */
export async function replayIntoBitmap(device: MetaDevice, md: MetaData, place: Placement, bitmap: Uint8Array): Promise<Outcome<number>> {
  const area = await device.read(place.alOffsetBytes, md.al_stripes * md.al_stripe_size_4k * AL_BLOCK_BYTES);
  // A form that this engine never writes.
  if (isPmemActivityLog(area)) return refuse('ERR_MD_UNCLEAN', 'Found unclean meta data. Did you "drbdadm apply-al"?');
  const wasPrimary = (md.flags & MDF.PRIMARY_IND) !== 0;
  const replay = replayActivityLog(area, md.al_stripes, md.al_stripe_size_4k);
  if (wasPrimary && (replay.verdict === 'no-data' || replay.verdict === 'invalid')) return refuse('ERR_MD_UNCLEAN', ...replay.messages);
  let marked = 0;
  if (wasPrimary) {
    const pages = new Set<number>();
    for (const extent of new Set(replay.hotExtents)) {
      const { offsetBytes, lengthBytes } = extentInBitmap(extent, md.bm_max_peers, md.bm_bytes_per_bit);
      const end = Math.min(offsetBytes + lengthBytes, bitmap.length);
      if (offsetBytes >= end) continue;
      marked += setExtent(bitmap, 0, extent, md.bm_max_peers, md.bm_bytes_per_bit);
      for (let page = Math.floor(offsetBytes / BITMAP_PAGE_BYTES); page * BITMAP_PAGE_BYTES < end; page++) pages.add(page);
    }
    for (const page of pages) {
      const at = page * BITMAP_PAGE_BYTES;
      await device.write(place.bmOffsetBytes + at, bitmap.subarray(at, at + BITMAP_PAGE_BYTES));
    }
    // The bits must be on disk before the log forgets why they are set, and the log before the flag says so.
    await device.flush();
  }
  await device.write(place.alOffsetBytes, initializedActivityLog(md.al_stripes, md.al_stripe_size_4k));
  await device.flush();
  md.flags |= MDF.AL_CLEAN;
  if (md.format === 'v08') md.magic = MAGIC.v08;
  await device.write(place.superblockOffsetBytes, encodeSuperblock(md));
  await device.flush();
  return { ok: true, value: marked };
}
