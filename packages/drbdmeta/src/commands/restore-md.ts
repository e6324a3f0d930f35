// restore-md and verify-dump: the text of dump-md back to disk, or only checked.

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import {
  BITMAP_SLOTS_MAX,
  BM_BYTES_PER_BIT_MAX,
  bitmapBytes,
  createMetaData,
  DumpError,
  DumpParser,
  type MetaData,
  type Placement,
  place,
  placement,
  placementOf,
} from '@udrbd/metadata';
import { checkForExistingData } from '../existing-data.js';
import { Exit } from '../exit.js';
import { sayOffsets } from '../offsets.js';
import { Volume } from '../volume.js';
import { type Command, type CommandContext, ignoreSurplus } from './command.js';

const WINDOW_BYTES = 32 * 1024 * 1024;

export const verifyDump: Command = {
  name: 'verify-dump',
  modifies: false,
  wantsNodeId: false,
  async run(context) {
    ignoreSurplus(context, 1);
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
      const p = parseRest(context, parser, md, locate(), locate);
      clip(context, md, p.usableSectors);
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
    ignoreSurplus(context, 1);
    const { io } = context;
    const source = openDump(context);
    try {
      const volume = await Volume.open(context);
      const old = volume.found === 'none' ? undefined : volume.md;
      if (old && !(await volume.ask('Valid meta-data in place, overwrite?'))) return volume.fail();
      const { parser, md } = parseHead(context, source);
      volume.md = md;
      volume.found = 'none';
      const locate = (): Placement => volume.computeOffsets();
      const isExternal = volume.kind === 'indexed' || volume.kind === 'flex-external';
      const before = old?.bm_max_peers ?? -1;
      if (isExternal && md.bm_max_peers > before) {
        io.stdout(
          `Meta data needs more space now, since max_peers\nis bigger than in existing meta_data. (${before} -> ${md.bm_max_peers})\n`,
        );
      }
      let p = locate();
      io.stderr('reinitializing\n');
      await checkForExistingData(volume);
      p = parseRest(context, parser, md, p, locate);
      clip(context, md, p.usableSectors);
      volume.found = 'found';
      writeBitmaps(context, volume, parser);
      volume.device.barrier();
      if (!volume.writeSuperblock()) return volume.fail('Writing failed');
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
    if (fstatSync(fd).isDirectory()) throw new Exit(20);
  } catch {
    context.io.stderr(`open of '${path}' failed.\n`);
    throw new Exit(20);
  }
  context.openFiles++;
  const buffer = Buffer.alloc(1 << 20);
  let position = 0;
  return {
    read: () => {
      const got = readSync(fd, buffer, 0, buffer.length, position);
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
    const maxPeers = format === 'v09' ? parser.maxPeers() : 1;
    if (maxPeers < 1 || maxPeers > BITMAP_SLOTS_MAX) {
      io.stderr(`${format} max-peers value ${maxPeers} out of bounds\n`);
      throw new Exit(10);
    }
    const md = createMetaData(format, { maxPeers, alStripes: options.alStripes, alStripeSize4k: options.alStripeSize4k });
    return { parser, md };
  });
}

/** The remaining fields; another striping than `md` came with moves the bitmap. */
function parseRest(context: CommandContext, parser: DumpParser, md: MetaData, before: Placement, locate: () => Placement): Placement {
  const { io, invocation, dialect } = context;
  const { options } = invocation;
  const { al_stripes, al_stripe_size_4k, bm_bytes_per_bit } = md;
  guarded(context, () =>
    parser.superblock(md, (bytes) => {
      if (bytes >= 4096 && bytes <= BM_BYTES_PER_BIT_MAX && (bytes & (bytes - 1)) === 0) return;
      const wanted = dialect.printsMembers ? 'in [4k .. 1M]' : 'multiple of 4096';
      io.stderr(`Invalid value for bm-byte-per-bit: value must be a power-of-two ${wanted}\n`);
      throw new Exit(10);
    }),
  );
  if (md.al_stripes === al_stripes && md.al_stripe_size_4k === al_stripe_size_4k && md.bm_bytes_per_bit === bm_bytes_per_bit) return before;
  if (options.alStripingGiven) {
    io.stderr('override activity log striping from commandline\n');
    md.al_stripes = options.alStripes;
    md.al_stripe_size_4k = options.alStripeSize4k;
  }
  if (options.verbose >= 2) io.stderr('adjusting activity-log and bitmap offsets\n');
  return locate();
}

function clip(context: CommandContext, md: MetaData, usableSectors: number): void {
  if (md.effective_size <= usableSectors) return;
  context.io.stdout(`# la-size-sect was too big (${md.effective_size}), truncated (${usableSectors})!\n`);
  md.effective_size = usableSectors;
}

/** Parses the bitmaps into windows of the interleaved area. Slots come one after the other, so windows are merged on disk. */
function writeBitmaps(context: CommandContext, volume: Volume, parser: DumpParser): void {
  const { md, device } = volume;
  const maxPeers = md.format === 'v09' ? md.bm_max_peers : 1;
  const total = bitmapBytes(md.effective_size, maxPeers, md.bm_bytes_per_bit);
  const base = volume.places.bmOffsetBytes;
  const allowed = volume.writableRange;
  const unit = 4096 * maxPeers;
  const windowBytes = Math.max(unit, Math.floor(WINDOW_BYTES / unit) * unit);
  let window: Uint8Array | undefined;
  let view: DataView | undefined;
  let windowStart = 0;
  let firstSlotDone = 0;
  let isTooLarge = false;
  const flush = (): void => {
    if (window) device.write('meta_restore_md', window, base + windowStart, allowed);
    window = undefined;
  };
  const load = (at: number): void => {
    flush();
    windowStart = at - (at % windowBytes);
    const length = Math.min(windowBytes, total - windowStart);
    const isFresh = windowStart >= firstSlotDone;
    window = isFresh ? new Uint8Array(length) : device.read('meta_restore_md', length, base + windowStart);
    firstSlotDone = Math.max(firstSlotDone, windowStart + length);
    view = new DataView(window.buffer, window.byteOffset, window.byteLength);
  };
  for (let at = 0; at < total; at += windowBytes) load(at);
  guarded(context, () =>
    parser.bitmaps(md, (slot, position, count, value) => {
      const low = Number(value & 0xffff_ffffn);
      const high = Number(value >> 32n);
      for (let n = 0; n < 2 * count; n++) {
        const at = 4 * ((2 * position + n) * maxPeers + slot);
        if (at + 4 > total) {
          isTooLarge ||= n % 2 === 0;
          break;
        }
        if (!window || at < windowStart || at >= windowStart + window.length) load(at);
        view!.setUint32(at - windowStart, n % 2 === 0 ? low : high, true);
      }
    }),
  );
  flush();
  if (isTooLarge) context.io.stderr('Bitmap info too large, truncated!\n');
}
