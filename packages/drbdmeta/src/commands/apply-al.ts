// apply-al: turns what the activity log says into bitmap bits, so that the device may be attached again.

import {
  AL_BLOCK_BYTES,
  AL_MAGIC,
  type AlReplay,
  extentInBitmap,
  isPmemActivityLog,
  MAGIC,
  MDF,
  replayActivityLog,
  replayOldActivityLog,
  replayPmemActivityLog,
  setExtent,
} from '@udrbd/metadata';
import { Exit } from '../exit.js';
import { ppsize } from '../numbers.js';
import { Progress } from '../progress.js';
import { Volume } from '../volume.js';
import { moveAfterResize } from './check-resize.js';
import { type Command, ignoreSurplus } from './command.js';

/** As much of the bitmap as stock works on at a time. */
const STOCK_WINDOW_BYTES = 32 * 1024 * 1024;
/** Hot extents are often far apart: a window ends where nothing is marked for this many bytes. */
const GAP_BYTES = 64 * 1024;
const WINDOW_BYTES = 4 * 1024 * 1024;

export const applyAl: Command = {
  name: 'apply-al',
  modifies: true,
  wantsNodeId: false,
  async run(context) {
    ignoreSurplus(context);
    let volume = await Volume.open(context);
    if (volume.found === 'at last known location' && context.dialect.appliesAtLastKnown) {
      const status = moveAfterResize(volume);
      if (status !== 0) return status;
      volume.device.close();
      context.opened.pop();
      volume = await Volume.open(context);
    }
    const { io, md, dialect } = volume;
    if (volume.found !== 'found') {
      return volume.fail('No valid meta data found');
    }
    const { replay, isOldStyle } = readReplay(volume);
    for (const message of replay.messages) io.stderr(`${message}\n`);
    const needsBits = (flagsOf(volume) & MDF.PRIMARY_IND) !== 0;
    const isUnusable = replay.verdict === 'no-data' || replay.verdict === 'invalid';
    if (isUnusable) {
      if (needsBits) return replay.verdict === 'invalid' && dialect.failure !== 1 ? 2 : 1;
      io.stderr('Error ignored, no need to apply the AL\n');
    }

    const hasHotExtents = replay.verdict === 'replayed';
    if (hasHotExtents && needsBits) markOutOfSync(volume, replay.hotExtents);
    if (md.format === 'v07') {
      // Its log stays as it is, and it has no flag that says so.
      if (!(hasHotExtents && needsBits)) return 0;
      volume.device.barrier();
      return volume.writeSuperblock() ? 0 : volume.fail('update failed');
    }
    if (hasHotExtents || isUnusable || isOldStyle) {
      // The bits must be on disk before the log forgets why they are set, and the log before the flag says so.
      volume.device.barrier();
      volume.initializeActivityLog('md_initialize_common:AL');
      volume.device.barrier();
    }
    const { flags, magic } = md;
    md.flags |= MDF.AL_CLEAN;
    if (md.format === 'v08') md.magic = MAGIC.v08;
    const isUnchanged = md.flags === flags && md.magic === magic;
    if (md.format === 'v08' && isUnchanged && !(hasHotExtents && needsBits)) return 0;
    return volume.writeSuperblock() ? 0 : volume.fail('update failed');
  },
};

const flagsOf = (volume: Volume): number => (volume.md.format === 'v07' ? volume.md.gc[0] : volume.md.flags);

function readReplay(volume: Volume): { replay: AlReplay; isOldStyle: boolean } {
  const { md } = volume;
  const area = volume.readActivityLog('apply_al');
  const blocks = md.al_stripes * md.al_stripe_size_4k;
  if (blocks * AL_BLOCK_BYTES !== area.length) {
    volume.io.stderr(`Could not calloc(${blocks}, sizeof(*al_cpu))\n`);
    throw new Exit(30);
  }
  const word = (block: number): number => new DataView(area.buffer, area.byteOffset).getUint32(block * AL_BLOCK_BYTES);
  const isNewStyle =
    md.format === 'v09' ||
    (md.format === 'v08' &&
      (md.magic === MAGIC.v08Unclean84 ||
        word(0) === AL_MAGIC ||
        word(1) === AL_MAGIC ||
        md.al_stripes !== 1 ||
        md.al_stripe_size_4k !== 8));
  if (isNewStyle && isPmemActivityLog(area)) return { replay: replayPmemActivityLog(area, md.al_nr_extents), isOldStyle: false };
  if (isNewStyle) return { replay: replayActivityLog(area, md.al_stripes, md.al_stripe_size_4k), isOldStyle: false };
  return { replay: replayOldActivityLog(area, md.al_nr_extents), isOldStyle: true };
}

/** Sets the bits of all hot extents in all slots. The bitmap is read and written in windows, each once. */
function markOutOfSync(volume: Volume, hotExtents: Uint32Array): void {
  const { device, md, io, bitmapBytes, options } = volume;
  const { bm_max_peers: maxPeers, bm_bytes_per_bit: bmBytesPerBit } = md;
  const base = volume.places.bmOffsetBytes;
  const allowed = volume.writableRange;
  // Where every transfer is told, or where one will fail because the bitmap does not fit, the transfers are those of stock.
  const isAsStock = options.verbose >= 2 || base + bitmapBytes > device.sizeBytes;
  const progress = new Progress(io, options, 'applying activity log');
  let newlySet = 0;
  let window: Uint8Array = new Uint8Array(0);
  let windowStart = 0;
  const flush = (): void => {
    device.write('apply_al', window, base + windowStart, allowed);
  };
  /** Where the window that begins with hot extent number `n` ends. */
  const windowEnd = (n: number): number => {
    if (isAsStock) return Math.min(windowStart + STOCK_WINDOW_BYTES, bitmapBytes);
    let end = windowStart;
    for (let next = n; next < hotExtents.length; next++) {
      const { offsetBytes, lengthBytes } = extentInBitmap(hotExtents[next]!, maxPeers, bmBytesPerBit);
      const nextEnd = Math.ceil((offsetBytes + lengthBytes) / 4096) * 4096;
      if (next > n && (offsetBytes - end > GAP_BYTES || nextEnd - windowStart > WINDOW_BYTES)) break;
      end = nextEnd;
    }
    return Math.min(end, bitmapBytes);
  };
  for (const [n, extent] of hotExtents.entries()) {
    const { offsetBytes, lengthBytes } = extentInBitmap(extent, maxPeers, bmBytesPerBit);
    if (offsetBytes >= bitmapBytes) {
      io.stderr(`extent ${extent} beyond end of bitmap! (${offsetBytes} >= ${bitmapBytes})\n`);
      continue;
    }
    if (Math.min(offsetBytes + lengthBytes, bitmapBytes) > windowStart + window.length) {
      if (window.length > 0) flush();
      windowStart = offsetBytes - (offsetBytes % 4096);
      window = device.read('apply_al', windowEnd(n) - windowStart, base + windowStart);
      progress.at(n, hotExtents.length);
    }
    newlySet += setExtent(window, windowStart, extent, maxPeers, bmBytesPerBit);
  }
  progress.end();
  if (hotExtents.length === 0) {
    io.stderr('Nothing to do.\n');
    return;
  }
  // Also where all extents are beyond the end: then this only asks whether the place may be written.
  flush();
  io.stderr(`Marked additional ${ppsize(Math.floor((newlySet * bmBytesPerBit) / 1024))} as out-of-sync based on AL.\n`);
}
