// restore-md and verify-dump: the text of dump-md back to disk, or only checked.

import { closeSync, openSync, readSync } from 'node:fs';
import {
  BM_BYTES_PER_BIT_MAX,
  bitmapBytes,
  cloneMetaData,
  createMetaData,
  DumpError,
  DumpParser,
  encodeSuperblock,
  type MetaData,
  PEERS_MAX,
  type Placement,
  place,
  placement,
  placementOf,
  SECTOR_BYTES,
} from '@udrbd/metadata';
import type { Fill } from '../device.js';
import { checkForExistingData } from '../existing-data.js';
import { Exit } from '../exit.js';
import { demandFullSync } from '../full-sync.js';
import { offsetText, sayOffsets } from '../offsets.js';
import { Progress } from '../progress.js';
import { Volume } from '../volume.js';
import type { Command, CommandContext } from './command.js';

/** As much of the bitmap as stock writes at a time. */
const WINDOW_BYTES = 32 * 1024 * 1024;
const CHUNK_BYTES = 1024 * 1024;
const TAG = 'meta_restore_md';

/** Meta-data that is replaced. */
interface Old {
  readonly md: MetaData;
  readonly places: Placement;
}

export const verifyDump: Command = {
  name: 'verify-dump',
  modifies: false,
  wantsNodeId: false,
  async run(context) {
    const { io, invocation, dialect } = context;
    const source = openDump(context);
    try {
      const { parser, md } = parseHead(context, source);
      /** Places as on a device of no size at all, super block at 0. */
      const locate = (): Placement => {
        const { kind, index } = invocation;
        const { bm_max_peers, al_stripes, al_stripe_size_4k } = md;
        place(
          md,
          placement({ kind, deviceBytes: 0, index, maxPeers: bm_max_peers, alStripes: al_stripes, alStripeSize4k: al_stripe_size_4k }),
        );
        const p = placementOf(md, kind, 0);
        sayOffsets(p, md, invocation, io, dialect);
        return p;
      };
      const { p, sizeSectors } = parseRest(context, parser, md, locate(), locate);
      clip(context, md, sizeSectors, p.usableSectors);
      guarded(context, () => parser.bitmaps(md, () => {}));
    } finally {
      source.close();
    }
    io.stdout('input file parsed ok\n');
    return 0;
  },
};

export const restoreMd: Command = {
  name: 'restore-md',
  modifies: true,
  wantsNodeId: false,
  async run(context) {
    const { io } = context;
    const source = openDump(context);
    try {
      const volume = await Volume.open(context);
      const old = volume.found === 'none' ? undefined : { md: volume.md, places: volume.places };
      if (old && !(await volume.ask('Valid meta-data in place, overwrite?'))) return volume.fail();
      const { parser, md } = parseHead(context, source);
      volume.md = md;
      volume.found = 'none';
      const locate = (): Placement => volume.computeOffsets();
      const isExternal = volume.kind === 'indexed' || volume.kind === 'flex-external';
      const oldPeers = old?.md.bm_max_peers ?? -1;
      if (isExternal && md.bm_max_peers > oldPeers) {
        io.stdout(
          `Meta data needs more space now, since max_peers\nis bigger than in existing meta_data. (${oldPeers} -> ${md.bm_max_peers})\n`,
        );
      }
      const before = locate();
      io.stderr('reinitializing\n');
      await checkForExistingData(volume);
      const { p, sizeSectors } = parseRest(context, parser, md, before, locate);
      clip(context, md, sizeSectors, p.usableSectors);
      volume.found = 'found';
      if (!writeAll(volume, parseBitmaps(context, volume, parser), old)) return volume.fail('Writing failed');
    } finally {
      source.close();
    }
    io.stdout('Successfully restored meta data\n');
    return 0;
  },
};

interface Source {
  read(): string;
  close(): void;
}

/** The dump file, or standard input without one. */
function openDump(context: CommandContext): Source {
  const [path] = context.invocation.args;
  if (path === undefined) {
    let rest = context.io.readAll ? Buffer.from(context.io.readAll()).toString('latin1') : '';
    return {
      read: () => {
        const piece = rest;
        rest = '';
        return piece;
      },
      close: () => {},
    };
  }
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    context.io.stderr(`open of '${path}' failed.\n`);
    throw new Exit(20);
  }
  context.openFiles++;
  const buffer = Buffer.alloc(1 << 20);
  let position = 0;
  return {
    read: () => {
      let got: number;
      try {
        got = readSync(fd, buffer, 0, buffer.length, position);
      } catch {
        // A directory, or a file that cannot be read.
        context.io.stderr('input in flex scanner failed\n');
        throw new Exit(2);
      }
      position += got;
      return buffer.toString('latin1', 0, got);
    },
    close: () => closeSync(fd),
  };
}

function guarded<T>(context: CommandContext, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof DumpError)) throw error;
    context.io.stderr(`${error.message}\n`);
    throw new Exit(10);
  }
}

/** Version and, in v09, the number of slots: enough to know how much room the meta-data needs. */
function parseHead(context: CommandContext, source: Source): { parser: DumpParser; md: MetaData } {
  const { io, invocation } = context;
  const { format, options } = invocation;
  const parser = new DumpParser(source.read, (line) => io.stderr(`${line}\n`));
  return guarded(context, () => {
    const version = parser.version();
    if (version !== format) {
      io.stderr(`dump is '${version}' you requested '${format}'.\n`);
      throw new Exit(10);
    }
    // Other numbers than 1..31 are found out when the super block is checked.
    const maxPeers = format === 'v09' ? parser.maxPeers() || 1 : 1;
    const md = createMetaData(format, { maxPeers, alStripes: options.alStripes, alStripeSize4k: options.alStripeSize4k });
    return { parser, md };
  });
}

/** The remaining fields; another striping than `md` came with moves the bitmap. */
function parseRest(
  context: CommandContext,
  parser: DumpParser,
  md: MetaData,
  before: Placement,
  locate: () => Placement,
): { p: Placement; sizeSectors: bigint } {
  const { io, invocation, dialect } = context;
  const { options } = invocation;
  const { al_stripes, al_stripe_size_4k, bm_bytes_per_bit } = md;
  const sizeSectors = guarded(context, () =>
    parser.superblock(md, (bytes) => {
      if (bytes >= 4096 && bytes <= BM_BYTES_PER_BIT_MAX && (bytes & (bytes - 1)) === 0) return;
      const wanted = dialect.printsMembers ? 'in [4k .. 1M]' : 'multiple of 4096';
      io.stderr(`Invalid value for bm-byte-per-bit: value must be a power-of-two ${wanted}\n`);
      throw new Exit(10);
    }),
  );
  if (md.al_stripes === al_stripes && md.al_stripe_size_4k === al_stripe_size_4k && md.bm_bytes_per_bit === bm_bytes_per_bit)
    return { p: before, sizeSectors };
  if (options.alStripingGiven) {
    io.stderr('override activity log striping from commandline\n');
    md.al_stripes = options.alStripes;
    md.al_stripe_size_4k = options.alStripeSize4k;
  }
  if (options.verbose >= 2) io.stderr('adjusting activity-log and bitmap offsets\n');
  return { p: locate(), sizeSectors };
}

function clip(context: CommandContext, md: MetaData, sizeSectors: bigint, usableSectors: number): void {
  if (sizeSectors <= BigInt(usableSectors)) return;
  context.io.stdout(`# la-size-sect was too big (${sizeSectors}), truncated (${usableSectors})!\n`);
  md.effective_size = usableSectors;
}

/** Pieces of the bitmap area in which something is set; all others are zero. */
class SparseBitmap {
  /** What lies beyond is dropped. */
  readonly limitBytes: number;
  /** Bytes of the area that the text tells, a multiple of a sector: all of them, and as stock counts them by the last slot alone. */
  bytes = 0;
  toldBytes = 0;
  readonly #chunks = new Map<number, DataView>();

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  set(offset: number, word: number): void {
    if (word === 0 || offset + 4 > this.limitBytes) return;
    const number = Math.floor(offset / CHUNK_BYTES);
    let chunk = this.#chunks.get(number);
    if (!chunk) {
      chunk = new DataView(new ArrayBuffer(CHUNK_BYTES));
      this.#chunks.set(number, chunk);
    }
    chunk.setUint32(offset - number * CHUNK_BYTES, word, true);
  }

  /** Calls `take` for all pieces. */
  forEach(take: (offset: number, piece: Uint8Array | Fill) => void): void {
    for (let offset = 0; offset < this.bytes; offset += CHUNK_BYTES) {
      const length = Math.min(CHUNK_BYTES, this.bytes - offset);
      const chunk = this.#chunks.get(offset / CHUNK_BYTES);
      take(offset, chunk ? new Uint8Array(chunk.buffer, 0, length) : { byte: 0, length });
    }
  }
}

/** Reads all bitmaps before anything is written, so that a text with an error changes nothing. */
function parseBitmaps(context: CommandContext, volume: Volume, parser: DumpParser): SparseBitmap {
  const { md, io } = { md: volume.md, io: context.io };
  const maxPeers = md.format === 'v09' ? md.bm_max_peers : 1;
  const bitmap = new SparseBitmap(bitmapBytes(md.effective_size, maxPeers, md.bm_bytes_per_bit));
  const progress = new Progress(io, context.invocation.options, 'reading dump');
  const numbers: number[] = new Array(maxPeers === 1 ? 1 : Math.min(maxPeers, PEERS_MAX)).fill(0);
  guarded(context, () =>
    parser.bitmaps(md, (slot, position, count, value) => {
      numbers[slot] = position + count;
      progress.at(slot, maxPeers);
      if (value === 0n) return;
      const low = Number(value & 0xffff_ffffn);
      const high = Number(value >> 32n);
      const stop = Math.min(position + count, Math.ceil(bitmap.limitBytes / (8 * maxPeers)));
      for (let n = position; n < stop; n++) {
        bitmap.set(4 * (2 * n * maxPeers + slot), low);
        bitmap.set(4 * ((2 * n + 1) * maxPeers + slot), high);
      }
    }),
  );
  progress.end();
  const span = (count: number): number => Math.ceil((8 * count * maxPeers) / SECTOR_BYTES) * SECTOR_BYTES;
  bitmap.bytes = Math.min(span(Math.max(...numbers)), bitmap.limitBytes);
  bitmap.toldBytes = span(numbers.at(-1) ?? 0);
  return bitmap;
}

/** Writes bitmap and super block so that at any moment one of the two, old or new, can be relied on. */
function writeAll(volume: Volume, bitmap: SparseBitmap, old: Old | undefined): boolean {
  const { device, md, io } = volume;
  const p = volume.places;
  const allowed = volume.writableRange;
  const told = Math.min(bitmap.toldBytes, bitmap.limitBytes);
  if (bitmap.toldBytes > 0 && bitmap.limitBytes === 0) {
    io.stderr(`confused in ${TAG}: offset (${offsetText(p.bmOffsetBytes)}) > limit (${offsetText(p.bmOffsetBytes)})\n`);
    throw new Exit(10);
  }
  if (bitmap.toldBytes > told) io.stderr(`in ${TAG}: truncating byte count from ${bitmap.toldBytes} to ${told}\n`);
  for (let offset = 0; offset < told; offset += WINDOW_BYTES) {
    device.announce(TAG, { byte: 0, length: Math.min(WINDOW_BYTES, told - offset) }, p.bmOffsetBytes + offset, allowed);
  }
  if (bitmap.toldBytes > told) io.stderr('Bitmap info too large, truncated!\n');
  const progress = new Progress(io, volume.options, 'writing bitmap');
  const write = (offset: number, piece: Uint8Array | Fill): void => {
    progress.at(offset, bitmap.bytes);
    device.write(TAG, piece, p.bmOffsetBytes + offset, allowed, true);
  };
  if (volume.options.dryRun || !volume.isWritable(true)) return volume.writeSuperblock();

  const isSamePlace =
    old !== undefined &&
    old.places.bmOffsetBytes === p.bmOffsetBytes &&
    old.md.bm_max_peers === md.bm_max_peers &&
    old.md.bm_bytes_per_bit === md.bm_bytes_per_bit;
  if (old === undefined) {
    bitmap.forEach(write);
    device.barrier();
    return volume.writeSuperblock();
  }
  if (isSamePlace) {
    // Bits of both, for the time in which nobody knows which super block is on disk: too much out of sync does no harm.
    bitmap.forEach((offset, piece) => {
      if (!(piece instanceof Uint8Array)) return;
      const before = device.read(TAG, piece.length, p.bmOffsetBytes + offset, true);
      const both = before.map((byte, i) => byte | piece[i]!);
      if (both.some((byte, i) => byte !== before[i])) write(offset, both);
    });
    device.barrier();
    if (!volume.writeSuperblock()) return false;
    bitmap.forEach(write);
  } else {
    // The bitmap of the old meta-data is elsewhere or of another shape: until the new one is there, all is out of sync.
    const final = cloneMetaData(md);
    demandFullSync(md);
    device.write(TAG, encodeSuperblock(md), volume.superblockOffset, allowed, true);
    device.barrier();
    bitmap.forEach(write);
    device.barrier();
    volume.md = final;
    if (!volume.writeSuperblock()) return false;
  }
  device.barrier();
  progress.end();
  return true;
}
