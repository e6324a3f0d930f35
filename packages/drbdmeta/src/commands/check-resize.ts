// check-resize: internal meta-data belongs to the end of the device, so it moves when the device grew while it was offline.

import { checkSuperblock, cloneMetaData, encodeSuperblock, SUPERBLOCK_BYTES } from '@udrbd/metadata';
import { demandFullSync } from '../full-sync.js';
import { Volume } from '../volume.js';
import type { Command } from './command.js';

const CHUNK_BYTES = 32 * 1024 * 1024;
const MOVE = 'v08_move_internal_md_after_resize';

export const checkResize: Command = {
  name: 'check-resize',
  modifies: true,
  wantsNodeId: false,
  async run(context) {
    const volume = await Volume.open(context);
    const { io } = volume;
    if (volume.found === 'found') {
      const known = volume.lastKnown.load();
      const isMovable = volume.kind === 'internal' && volume.format !== 'v07';
      if (!known && !isMovable && volume.dialect.failure === 1) return volume.fail();
      if (volume.kind !== 'internal') {
        volume.lastKnown.remove();
        return 0;
      }
      if (known?.deviceBytes !== BigInt(volume.device.sizeBytes) || known.deviceUuid !== volume.md.device_uuid) {
        if (!volume.options.dryRun) volume.lastKnown.update(volume);
      }
      return 0;
    }
    if (volume.found === 'none') {
      if (volume.format === 'v07' || volume.kind !== 'internal') {
        io.stderr('Operation only supported for >= v8 internal meta data\n');
        return volume.fail();
      }
      return volume.fail('no suitable meta data found :(');
    }
    return moveAfterResize(volume);
  },
};

/**
 * Moves meta-data found at its last known location to where it belongs on the grown device. The copy at the old place stays complete until
 * the new super block is on disk; where both places overlap, that one comes first and demands a full sync until all has been copied.
 */
export function moveAfterResize(volume: Volume): number {
  const { io, options, device, md } = volume;
  const old = volume.places;
  for (const message of checkSuperblock(md, volume.kind, volume.lastKnownBytes).messages) io.stderr(`${message}\n`);
  const bitmapBytes = old.bmSizeBytes;
  const p = volume.computeOffsets();
  volume.found = 'found';
  io.stderr('Moving the internal meta data to its proper location\n');
  if (options.verbose >= 2) {
    io.stderr(
      `old md_offset: ${old.superblockOffsetBytes}\nold al_offset: ${old.alOffsetBytes} (${old.al_offset})\nold bm_offset: ${old.bmOffsetBytes} (${old.bm_offset})\n` +
        `new md_offset: ${p.superblockOffsetBytes}\nnew al_offset: ${p.alOffsetBytes} (${p.al_offset})\nnew bm_offset: ${p.bmOffsetBytes} (${p.bm_offset})\n` +
        `md_size_sect: ${p.md_size_sect}\nmax_usable_sect: ${p.usableSectors}\n`,
    );
  }
  const allowed = volume.writableRange;
  const log = device.read(MOVE, old.alSizeBytes, old.alOffsetBytes);
  if (p.bmOffsetBytes < old.superblockOffsetBytes + SUPERBLOCK_BYTES && volume.isWritable(true)) {
    const interim = cloneMetaData(md);
    demandFullSync(interim);
    if (!options.dryRun) device.write(MOVE, encodeSuperblock(interim), p.superblockOffsetBytes, allowed, true);
    device.barrier();
  }
  device.write(MOVE, log, p.alOffsetBytes, allowed);
  // From the end towards the start: old and new bitmap may overlap, and the new one lies higher.
  for (let end = bitmapBytes; end > 0; ) {
    const length = Math.min(CHUNK_BYTES, end);
    end -= length;
    device.write(MOVE, device.read(MOVE, length, old.bmOffsetBytes + end), p.bmOffsetBytes + end, allowed);
  }
  const tail = p.bmSizeBytes - bitmapBytes;
  if (tail > 0 && options.initializeBitmap !== 'skip') {
    const byte = options.initializeBitmap === 'set-all' ? 0xff : 0;
    for (let done = 0; done < tail; done += CHUNK_BYTES) {
      const length = Math.min(CHUNK_BYTES, tail - done);
      device.write(MOVE, { byte, length }, p.bmOffsetBytes + bitmapBytes + done, allowed, !volume.dialect.saysClearing);
    }
  }
  device.barrier();
  volume.sayOffsets(p);
  if (!volume.isWritable()) return volume.fail('update failed');
  device.write(`${md.format}_md_cpu_to_disk`, encodeSuperblock(md), p.superblockOffsetBytes, allowed);
  device.barrier();
  io.stdout('Internal drbd meta data successfully moved.\n');

  const wipeEnd = Math.min(old.superblockOffsetBytes + SUPERBLOCK_BYTES, p.bmOffsetBytes);
  const wipeFrom = volume.dialect.wipesWholeOldArea ? old.bmOffsetBytes : old.superblockOffsetBytes;
  // An old area that the new one covers was overwritten already.
  if (wipeEnd > wipeFrom) {
    const range = { first: wipeFrom, end: wipeEnd };
    device.write(MOVE, { byte: 0, length: wipeEnd - wipeFrom }, wipeFrom, range);
    device.barrier();
    if (volume.dialect.wipesWholeOldArea) io.stdout('Old meta data region zeroed.\n');
  }
  if (!options.dryRun) volume.lastKnown.update(volume);
  return 0;
}
