// Writing the whole bitmap with one value, for create-md.

import { Exit } from './exit.js';
import { ppsize } from './numbers.js';
import { offsetText } from './offsets.js';
import { Progress } from './progress.js';
import type { Volume } from './volume.js';

const TAG = 'md_initialize_common:BM';
const CHUNK_BYTES = 32 * 1024 * 1024;
/** Most that is asked of the kernel at once. */
const ZEROOUT_BYTES = 2 ** 30;

/** Clears (or, with `set-all`, sets) `lengthBytes` of bitmap; what is said differs by mode as in the stock tool. */
export function clearBitmap(volume: Volume, offset: number, lengthBytes: number): void {
  const { io, options, device, dialect } = volume;
  const size = ppsize(Math.floor(lengthBytes / 1024));
  const mode = options.initializeBitmap;
  if (mode === 'skip') {
    io.stderr('SKIPPED initializing bitmap area\n');
    return;
  }
  const setsAll = mode === 'set-all';
  let isLoud = mode === 'pwrite' || setsAll;
  if (!isLoud) {
    io.stderr(`initializing bitmap (${size}) to all zero\n`);
    if (!device.isBlockDevice) {
      // The kernel zeroes ranges of block devices only; the stock tool tries and says so.
      io.stderr(
        `ioctl(${device.path}, BLKZEROOUT, [${offsetText(offset)}, ${Math.min(lengthBytes, ZEROOUT_BYTES)}]) failed: Inappropriate ioctl for device\n`,
      );
      if (mode === 'zeroout') {
        io.stderr('fast zero-out failed, fallback disabled\n');
        throw new Exit(10);
      }
      isLoud = true;
    }
  }
  if (isLoud) io.stderr(`initializing bitmap (${size}) to all ${setsAll ? 'set' : 'zero'} using pwrite\n`);
  if (device.isBlockDevice && !isLoud) {
    if (dialect.saysClearing && options.verbose >= 2) {
      for (let done = 0; done < lengthBytes; done += ZEROOUT_BYTES) {
        const range = `[${offsetText(offset + done)}, ${Math.min(ZEROOUT_BYTES, lengthBytes - done)}]`;
        io.stderr(` ${TAG.padEnd(26)}: ioctl(${device.fdLabel}, BLKZEROOUT, ${range})\n`);
      }
    }
    if (options.dryRun) return;
  }
  const allowed = volume.writableRange;
  const showsProgress = isLoud && lengthBytes > CHUNK_BYTES;
  const byte = setsAll ? 0xff : 0;
  const progress = new Progress(io, options, 'clearing bitmap');
  const isDone =
    mode !== 'pwrite' &&
    byte === 0 &&
    offset >= allowed.first &&
    offset + lengthBytes <= allowed.end &&
    device.zeroOut(TAG, offset, lengthBytes);
  for (let done = 0; done < lengthBytes; ) {
    const length = Math.min(CHUNK_BYTES, lengthBytes - done);
    if (showsProgress && done > 0) io.stderr(`\r${Math.floor((done * 100) / lengthBytes)}%`);
    else progress.at(done, lengthBytes);
    if (isDone) device.announce(TAG, { byte, length }, offset + done, allowed, !isLoud);
    else device.write(TAG, { byte, length }, offset + done, allowed, !isLoud);
    done += length;
  }
  progress.end();
  if (showsProgress) io.stderr('\r100%\n');
}
