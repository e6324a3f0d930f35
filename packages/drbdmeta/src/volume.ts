// One opened volume: its meta-data device, what was found there, and how to write it back. All commands work on this.

import {
  BITMAP_SLOTS_MAX,
  bitmapBytes,
  checkSuperblock,
  createMetaData,
  decodeSuperblock,
  encodeSuperblock,
  initializedActivityLog,
  type MetaData,
  type MetaDataFormat,
  type MetaDataKind,
  type Placement,
  place,
  placement,
  placementOf,
  rawEffectiveSize,
  SECTOR_BYTES,
  SUPERBLOCK_BYTES,
  superblockOffset,
} from '@udrbd/metadata';
import type { CommandIo } from './command-io.js';
import type { Invocation, Options } from './command-line.js';
import type { CommandContext } from './commands/command.js';
import { type ByteRange, Device } from './device.js';
import type { Dialect } from './dialect.js';
import { Exit } from './exit.js';
import { hexdump } from './hexdump.js';
import { findAtLastKnownLocation, LastKnownFile } from './last-known.js';
import { sayOffsets } from './offsets.js';
import { confirmed } from './questions.js';

/** Smaller devices hold no meta-data. */
const DEVICE_BYTES_MIN = 69632;

export type Found = 'found' | 'at last known location' | 'none';

export class Volume {
  readonly io: CommandIo;
  readonly invocation: Invocation;
  readonly dialect: Dialect;
  readonly options: Options;
  readonly device: Device;
  readonly kind: MetaDataKind;
  readonly format: MetaDataFormat;
  readonly lastKnown: LastKnownFile;
  /** Where the super block belongs. */
  readonly superblockOffset: number;
  md: MetaData;
  found: Found = 'none';
  /** Device size at which the meta-data was last known, when it was found there. */
  lastKnownBytes = 0;
  /** The 4096 bytes at the super block's place as they were read. */
  rawSuperblock: Uint8Array = new Uint8Array(SUPERBLOCK_BYTES);

  private constructor(io: CommandIo, invocation: Invocation, dialect: Dialect, device: Device) {
    this.io = io;
    this.invocation = invocation;
    this.dialect = dialect;
    this.options = invocation.options;
    this.device = device;
    this.kind = invocation.kind;
    this.format = invocation.format;
    this.lastKnown = new LastKnownFile(invocation, io);
    this.superblockOffset = superblockOffset(this.kind, device.sizeBytes, invocation.index);
    this.md = createMetaData(this.format);
  }

  /** Opens the device, reads and judges the super block; `found` tells the result. Failures end the command. */
  static async open(context: CommandContext): Promise<Volume> {
    const { io, invocation, dialect } = context;
    const { options, metaDevice: path } = invocation;
    const device = await Device.open(
      {
        path,
        exclusive: invocation.kind !== 'indexed',
        givesUpWhenBusy: invocation.command.name === 'apply-al',
        fdLabel: 3 + (invocation.minor === undefined ? 0 : 1) + context.openFiles,
      },
      io,
      options,
    );
    context.opened.push(device);
    const volume = new Volume(io, invocation, dialect, device);
    const { sizeBytes } = device;
    if (sizeBytes < DEVICE_BYTES_MIN) {
      io.stderr(`${path} is only ${sizeBytes} bytes. That's not enough.\n`);
      throw new Exit(10);
    }
    const offset = volume.superblockOffset;
    if (offset < 0 || offset > sizeBytes - SUPERBLOCK_BYTES) {
      io.stderr(`Device too small: expecting meta data block at\nbyte offset ${offset}, but ${path} is only ${sizeBytes} bytes.\n`);
      throw new Exit(10);
    }
    volume.rawSuperblock = device.read(`${volume.format}_md_disk_to_cpu`, SUPERBLOCK_BYTES, offset);
    const md = volume.judge(volume.rawSuperblock, volume.format, volume.kind, sizeBytes);
    const dumpsHex = options.verbose >= (md ? 4 : 3) && options.verbose <= 10;
    if (dumpsHex && volume.format !== 'v07') io.stderr(hexdump(volume.rawSuperblock, offset));
    if (md) {
      volume.md = md;
      volume.found = 'found';
      volume.clipEffectiveSize(rawEffectiveSize(volume.rawSuperblock), volume.places);
    } else if (volume.format !== 'v07' && volume.kind === 'internal') {
      findAtLastKnownLocation(volume);
    }
    return volume;
  }

  /** The meta-data in `bytes` if it is believable for that layout on a device of that size; says on stderr why not. */
  judge(bytes: Uint8Array, format: MetaDataFormat, kind: MetaDataKind, deviceBytes: number): MetaData | undefined {
    const decoded = decodeSuperblock(format, bytes);
    if (!decoded.ok) {
      if (this.options.verbose > 0) this.io.stderr(`${format} Magic number not found\n`);
      return undefined;
    }
    const md = decoded.value;
    md.bm_max_peers = Math.min(md.bm_max_peers, BITMAP_SLOTS_MAX);
    const { isValid, messages } = checkSuperblock(md, kind, deviceBytes);
    for (const message of messages) this.io.stderr(`${message}\n`);
    if (!isValid || (messages.length > 0 && this.dialect.checksAreaSize && format === 'v09')) return undefined;
    return md;
  }

  /** Places as the super block in memory says, at the proper offset. */
  get places(): Placement {
    return placementOf(this.md, this.kind, this.found === 'at last known location' ? this.lastKnownOffset : this.superblockOffset);
  }

  get lastKnownOffset(): number {
    return superblockOffset('internal', this.lastKnownBytes);
  }

  /** Length of the bitmap that the agreed size needs. */
  get bitmapBytes(): number {
    return bitmapBytes(this.md.effective_size, this.md.bm_max_peers, this.md.bm_bytes_per_bit);
  }

  /** An agreed size beyond what the meta-data can serve is cut, with a remark. */
  clipEffectiveSize(raw: bigint, places: Placement): void {
    const sectors = this.format === 'v07' ? BigInt.asUintN(64, raw * 2n) : raw;
    if (sectors > BigInt(places.usableSectors)) {
      this.io.stdout(`# la-size-sect was too big (${sectors}), truncated (${places.usableSectors})!\n`);
      this.md.effective_size = places.usableSectors;
    }
  }

  /** Computes all offsets anew for this device and stores them in the super block in memory. */
  computeOffsets(md = this.md): Placement {
    const p = this.placementFor(md);
    place(md, p);
    this.sayOffsets(p);
    return p;
  }

  placementFor(md: MetaData): Placement {
    return placement({
      kind: this.kind,
      deviceBytes: this.device.sizeBytes,
      index: Math.max(0, this.invocation.index),
      maxPeers: md.bm_max_peers,
      alStripes: md.al_stripes,
      alStripeSize4k: md.al_stripe_size_4k,
      bmBytesPerBit: md.bm_bytes_per_bit,
    });
  }

  sayOffsets(p: Placement): void {
    sayOffsets(p, this.md, this.invocation, this.io, this.dialect);
  }

  /** The bytes that may be written: the meta-data area as the super block in memory describes it. */
  get writableRange(): ByteRange {
    const p = placementOf(this.md, this.kind, this.superblockOffset);
    const first = Math.min(...[p.superblockOffsetBytes, p.alOffsetBytes, p.bmOffsetBytes].filter((offset) => offset >= 0));
    return { first, end: first + this.md.md_size_sect * SECTOR_BYTES };
  }

  /**
   * Checks and writes the super block, then keeps the last known location up to date.
   * @returns false if what is in memory would not be believed when read back; nothing was written then
   */
  writeSuperblock(): boolean {
    if (!this.isWritable()) return false;
    this.device.write(`${this.format}_md_cpu_to_disk`, encodeSuperblock(this.md), this.superblockOffset, this.writableRange);
    this.device.barrier();
    this.saveLastKnown();
    return true;
  }

  /** Remembers where the super block is now. */
  saveLastKnown(): void {
    if (this.format !== 'v07' && !this.options.dryRun) this.lastKnown.update(this);
  }

  /** Would what is in memory be believed when it is read back? */
  isWritable(isQuiet = false): boolean {
    const { isValid, messages } = checkSuperblock(this.md, this.kind, this.device.sizeBytes);
    if (!isQuiet) for (const message of messages) this.io.stderr(`${message}\n`);
    return isValid;
  }

  /** Fills the whole activity log with "nothing happened yet". */
  initializeActivityLog(tag: string): void {
    const { al_stripes, al_stripe_size_4k } = this.md;
    const { alSizeBytes, alOffsetBytes } = this.places;
    const log = this.format === 'v07' ? new Uint8Array(alSizeBytes) : initializedActivityLog(al_stripes, al_stripe_size_4k);
    this.device.write(tag, log, alOffsetBytes, this.writableRange);
  }

  readActivityLog(tag: string): Uint8Array {
    const p = this.places;
    return this.device.read(tag, p.alSizeBytes, p.alOffsetBytes);
  }

  ask(question: string): Promise<boolean> {
    return confirmed(question, this.io, this.options);
  }

  /** Prints to stderr and gives the status for "did not work". */
  fail(message = '', status = this.dialect.failure): number {
    if (message !== '') this.io.stderr(`${message}\n`);
    return status;
  }
}
