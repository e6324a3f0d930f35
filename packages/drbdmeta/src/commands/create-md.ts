// create-md: new meta-data, or the super block of another format converted.

import { BITMAP_SLOTS_MAX, bitmapBytes, createMetaData, MDF, type MetaData, SECTOR_BYTES, SUPERBLOCK_BYTES } from '@udrbd/metadata';
import { clearBitmap } from '../bitmap-clearing.js';
import { checkForExistingData } from '../existing-data.js';
import { Exit } from '../exit.js';
import { type Existing, findExternalFlavour, findInternalFlavour } from '../flavours.js';
import { convert } from '../format-conversion.js';
import { numberOrExit, u32 } from '../numbers.js';
import { applyPreset } from '../preset.js';
import { Volume } from '../volume.js';
import { moveAfterResize } from './check-resize.js';
import { type Command, type CommandContext, ignoreSurplus } from './command.js';

/** No larger device is supported: 2^50 bytes. */
const DEVICE_BYTES_MAX = 2 ** 50;

export const createMd: Command = {
  name: 'create-md',
  modifies: true,
  wantsNodeId: false,
  async run(context) {
    const { io, invocation } = context;
    const { args, options, format } = invocation;
    const maxPeers = format === 'v09' ? maxPeersOf(args[0], context) : 1;
    if (format !== 'v09') ignoreSurplus(context);
    const preset = options.preset.size > 0 ? applyPreset(options.preset, io) : undefined;
    const volume = await Volume.open(context);
    if (volume.device.sizeBytes > DEVICE_BYTES_MAX) return volume.fail('Bitmap for that device got too large.', 10);

    if (volume.found === 'at last known location') {
      const { md } = volume;
      if (options.alStripingGiven && (options.alStripes !== md.al_stripes || options.alStripeSize4k !== md.al_stripe_size_4k)) {
        return volume.fail('Cannot move after offline resize and change AL-striping at the same time, yet.', 20);
      }
      if (!options.force && (await volume.ask('Move internal meta data from last-known position?\n'))) {
        await checkForExistingData(volume);
        return moveAfterResize(volume);
      }
      volume.found = 'none';
    }

    const wasFound = volume.found === 'found';
    const isInternal = volume.kind === 'internal' || volume.kind === 'fixed-internal';
    const existing = isInternal ? await reuseInternal(volume) : await reuseExternal(volume);
    if (existing.converted) {
      volume.md = existing.converted;
      if (format === 'v09' && maxPeers !== 1) io.stdout(`Warning: setting max_peers to 1 instead of ${maxPeers}\n\n`);
      await checkForExistingData(volume);
    } else {
      await initialize(volume, maxPeers, existing.overwrites === true || wasFound);
    }
    volume.found = 'found';
    const keepsMaxBioSize = existing.converted !== undefined && volume.dialect.convertsMaxBioSize;
    volume.md.la_peer_max_bio_size = options.peerMaxBioSize ?? (keepsMaxBioSize ? volume.md.la_peer_max_bio_size : 0);
    preset?.(volume.md);
    io.stdout('Writing meta data...\n');
    if (!volume.writeSuperblock()) return volume.fail('operation failed');
    volume.device.carryOut();
    if (existing.wipe) {
      const { tag, offset } = existing.wipe;
      volume.device.write(tag, new Uint8Array(SUPERBLOCK_BYTES), offset, { first: offset, end: offset + SUPERBLOCK_BYTES });
      volume.device.barrier();
    }
    io.stdout('New drbd meta data block successfully created.\n');
    return 0;
  },
};

/** MAX_PEERS of create-md. */
function maxPeersOf(text: string | undefined, context: CommandContext): number {
  const { io, dialect } = context;
  if (text === undefined) {
    io.stderr('USAGE: drbdmeta MINOR v09 ... create-md MAX_PEERS\n\n  MAX_PEERS argument missing\n');
    throw new Exit(20);
  }
  ignoreSurplus(context, 1);
  const value = u32(numberOrExit(text, '', io, dialect));
  if (value < 1 || value > BITMAP_SLOTS_MAX) {
    io.stderr(`MAX_PEERS argument not in allowed range 1 .. ${BITMAP_SLOTS_MAX}.\n`);
    throw new Exit(20);
  }
  return value;
}

interface Reuse {
  /** The old meta-data in the new format; absent: start from nothing. */
  readonly converted?: MetaData;
  /** Valid meta-data is there and will be lost. */
  readonly overwrites?: true;
  /** Super block elsewhere on the device that must not be found again. */
  readonly wipe?: { readonly tag: string; readonly offset: number };
}

async function reuseInternal(volume: Volume): Promise<Reuse> {
  const { io, options, format, dialect } = volume;
  const existing = findInternalFlavour(volume);
  if (!existing) return {};
  const size = (kind: string): string => (kind === 'fixed-internal' ? 'fixed-size' : 'flexible-size');
  const plus = format === 'v07' && volume.kind === 'internal' ? '(plus)' : '';
  // Part of the question that follows, so it goes with it.
  if (!(options.force && options.quiet)) {
    io.stderr(
      `${dialect.asksWithContext ? '\n' : ''}You want me to create a ${format}${plus} style ${size(volume.kind)} internal meta data block.\n` +
        `There appears to be a ${existing.md.format} ${size(existing.kind)} internal meta data block\n` +
        `already in place on ${volume.device.path} at byte offset ${existing.offset}\n`,
    );
  }
  const wipe =
    existing.offset === volume.superblockOffset
      ? {}
      : {
          wipe: {
            tag: existing.kind === 'fixed-internal' ? 'wipe fixed-size v07 internal md' : 'wipe flexible-size internal md',
            offset: existing.offset,
          },
        };
  if (existing.md.format !== format) return { overwrites: true, ...(await convertOrReplace(volume, existing)), ...wipe };
  const { al_stripes, al_stripe_size_4k } = existing.md;
  const hasOtherStripes = format !== 'v07' && (al_stripes !== options.alStripes || al_stripe_size_4k !== options.alStripeSize4k);
  if (hasOtherStripes && (await volume.ask('Do you want to change the activity log stripe settings *only*?'))) {
    io.stderr('Sorry, not yet fully implemented\nTry dump-md > dump.txt; restore-md -s x -z y dump.txt\n');
    throw new Exit(30);
  }
  if (!(await volume.ask('Do you really want to overwrite the existing meta-data?'))) cancel(volume);
  return { overwrites: true, ...wipe };
}

async function reuseExternal(volume: Volume): Promise<Reuse> {
  if (volume.found === 'found') {
    if (!(await volume.ask('Valid meta data seems to be in place.\nDo you really want to overwrite?'))) cancel(volume);
    return {};
  }
  const existing = findExternalFlavour(volume);
  return existing ? { overwrites: true, ...(await convertOrReplace(volume, existing)) } : {};
}

async function convertOrReplace(volume: Volume, existing: Existing): Promise<Reuse> {
  const { format } = volume;
  const old = existing.md.format;
  if (await volume.ask(`Valid ${old} meta-data found, convert to ${format}?`)) return { converted: convert(volume, existing) };
  if (!(await volume.ask(`So you want me to replace the ${old} meta-data\nwith newly initialized ${format} meta-data?`))) cancel(volume);
  return {};
}

function cancel(volume: Volume): never {
  volume.io.stdout('Operation cancelled.\n');
  throw new Exit(1);
}

/**
 * New meta-data with everything that belongs to it. Old meta-data is replaced from its super block on: log and bitmap of the old one may
 * stay behind the new super block, which says that the log is applied and that there is no data yet; the other way round, an
 * interruption would leave old data with a bitmap that has forgotten what is out of sync.
 */
async function initialize(volume: Volume, maxPeers: number, overwrites: boolean): Promise<void> {
  const { options, format, dialect, device, kind } = volume;
  const md = createMetaData(format, {
    maxPeers,
    alStripes: options.alStripes,
    alStripeSize4k: options.alStripeSize4k,
    bmBytesPerBit: options.bmBytesPerBit ?? 4096,
  });
  if (format === 'v07') md.flags &= ~MDF.AL_CLEAN;
  volume.md = md;
  volume.found = 'none';
  const p = volume.computeOffsets();
  await checkForExistingData(volume);
  volume.io.stdout('initializing activity log\n');
  if (overwrites) device.postpone();
  const fromDevice = bitmapBytes(Math.floor(device.sizeBytes / SECTOR_BYTES), maxPeers, md.bm_bytes_per_bit);
  const isWhole = kind !== 'internal' && dialect.clearsWholeExternalBitmap;
  const length = isWhole ? p.bmSizeBytes : fromDevice;
  const { first, end } = volume.writableRange;
  // A device without room for the bitmap is refused below; then nothing at all is written.
  const written = options.initializeBitmap === 'skip' ? 0 : length;
  const fits = p.bmOffsetBytes >= first && p.bmOffsetBytes + written <= end;
  if (fits || p.alOffsetBytes < first) volume.initializeActivityLog('md_initialize_common:AL');
  clearBitmap(volume, p.bmOffsetBytes, length);
  device.barrier();
}
