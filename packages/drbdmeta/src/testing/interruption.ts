// Commands that write meta-data, and what may be on disk when one of them does not come to its end: for the tests that cut them off.

import fs, { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import {
  bitmapBytes,
  checkSuperblock,
  createMetaData,
  decodeSuperblock,
  encodeAlUpdate,
  encodeSuperblock,
  initializedActivityLog,
  MDF,
  MDF_PEER,
  type MetaData,
  type MetaDataFormat,
  type MetaDataKind,
  type Placement,
  place,
  placement,
  placementOf,
} from '@udrbd/metadata';
import { run } from '../index.js';

const MIB = 1024 * 1024;
/** Room for three extents. */
const DEVICE_BYTES = 9 * MIB;
const directory = mkdtempSync(`${existsSync('/dev/shm') ? '/dev/shm' : tmpdir()}/drbdmeta-interrupted-`);
const { writeSync, fsyncSync, readSync } = fs;

/** What happens at the n-th system call of a kind, counted from 0. */
export interface Fault {
  readonly call: 'write' | 'fsync' | 'read';
  readonly at: number;
  readonly code: string;
  /** Bytes of the failing write that still reach the device. */
  readonly torn?: number;
}
let fault: Fault | undefined;
let recorder: Recorder | undefined;
let calls = { write: 0, fsync: 0, read: 0 };

/** Takes every write of a command to a device, and every flush, in order. */
export interface Recorder {
  write(offset: number, bytes: Uint8Array): void;
  flush(): void;
}

function fails(call: Fault['call']): Fault | undefined {
  const number = calls[call]++;
  return fault?.call === call && number >= fault.at ? fault : undefined;
}
const failure = (code: string): Error => Object.assign(new Error(code), { code });
type WriteSync = (fd: number, buffer: Uint8Array, offset: number, length: number, position: number) => number;
const HOOKS = {
  writeSync: ((fd, buffer, offset, length, position) => {
    // Not what the test framework writes.
    const now = typeof position === 'number' ? fails('write') : undefined;
    if (!now) {
      if (typeof position === 'number') recorder?.write(position, buffer.slice(offset, offset + length));
      return (writeSync as WriteSync)(fd, buffer, offset, length, position);
    }
    if (now.torn !== undefined && calls.write === now.at + 1 && length > 4096) {
      (writeSync as WriteSync)(fd, buffer, offset, Math.min(now.torn, length), position);
    }
    throw failure(now.code);
  }) satisfies WriteSync,
  fsyncSync: (fd: number) => {
    const now = fails('fsync');
    if (now) throw failure(now.code);
    recorder?.flush();
    fsyncSync(fd);
  },
  readSync: (...args: Parameters<typeof readSync>) => {
    const now = fails('read');
    if (now) throw failure(now.code);
    return readSync(...args);
  },
};

/** Makes the working directory a scratch one, where images are `img`, and takes the system calls on them. @returns what undoes it */
export function enterScratch(): () => void {
  process.chdir(directory);
  Object.assign(fs, HOOKS);
  syncBuiltinESMExports();
  return () => {
    Object.assign(fs, { writeSync, fsyncSync, readSync });
    syncBuiltinESMExports();
    process.chdir('/');
    rmSync(directory, { recursive: true });
  };
}

/** What goes wrong in the commands that follow, if anything. */
export function setFault(now: Fault | undefined): void {
  fault = now;
}

export interface Said {
  readonly counts: typeof calls;
  readonly status: number;
  readonly err: string;
}
export async function drbdmeta(argv: readonly string[], answers?: readonly string[]): Promise<Said> {
  let err = '';
  const typed = [...(answers ?? [])];
  calls = { write: 0, fsync: 0, read: 0 };
  const status = await run([...argv], {
    stdout: () => {},
    stderr: (text) => {
      err += text;
    },
    env: { UDRBD_STATE_DIR: 'state', UDRBD_LOCK_DIR: 'lock' },
    stdinIsTty: answers !== undefined,
    stdoutIsTty: false,
    readLine: () => Promise.resolve(typed.shift() ?? null),
    acceptsFiles: true,
    isAttached: () => Promise.resolve(false),
  });
  return { status, err, counts: { ...calls } };
}

export interface Given {
  readonly bytes: Uint8Array;
  readonly kind: MetaDataKind;
  readonly md?: MetaData;
}

interface Options {
  readonly maxPeers?: number;
  readonly flags?: number;
  readonly bits?: number;
  readonly hot?: readonly number[];
  readonly bytes?: number;
  readonly alStripes?: number;
}
/** An image with meta-data: agreed size, bits of a pattern, hot extents in the log. */
export function given(format: MetaDataFormat, kind: MetaDataKind, options: Options = {}): Given {
  const { maxPeers = 1, flags = MDF.AL_CLEAN | MDF.CONSISTENT, bits = 0, hot = [], bytes: size = DEVICE_BYTES, alStripes = 1 } = options;
  const bytes = new Uint8Array(size);
  const p = placement({ kind, deviceBytes: size, maxPeers, alStripes });
  const md = createMetaData(format, { maxPeers, alStripes });
  place(md, p);
  md.effective_size = Math.min(p.usableSectors, 32000) & ~1;
  md.flags = flags;
  md.gc[0] = flags;
  md.current_uuid = 0x1122334455667788n;
  for (let at = 0; at < bitmapBytes(md.effective_size, maxPeers); at++) bytes[p.bmOffsetBytes + at] = bits;
  const log = initializedActivityLog(alStripes, 8);
  if (hot.length > 0) {
    const block = log.subarray(0, 4096);
    const slots = Uint16Array.from(hot.keys());
    encodeAlUpdate(
      block,
      new DataView(block.buffer),
      0,
      new Uint32Array(67).fill(0xffff_ffff),
      0,
      slots,
      Uint32Array.from(hot),
      hot.length,
    );
  }
  bytes.set(log, p.alOffsetBytes);
  bytes.set(encodeSuperblock(md), p.superblockOffsetBytes);
  return { bytes, kind, md };
}

export interface Found {
  readonly format: MetaDataFormat;
  readonly md: MetaData;
  readonly bitmap: Uint8Array;
}
/** What stands in an image, at the end of a device that had other sizes before; the present one first. */
export function found(image: Uint8Array, format: MetaDataFormat, kind: MetaDataKind, sizes: readonly number[]): Found | undefined {
  for (const size of sizes) {
    const p: Placement = placement({ kind, deviceBytes: size });
    const decoded = decodeSuperblock(format, image.subarray(p.superblockOffsetBytes, p.superblockOffsetBytes + 4096));
    if (!decoded.ok || !checkSuperblock(decoded.value, kind, size).isValid) continue;
    const md = decoded.value;
    const { bmOffsetBytes } = placementOf(md, kind, p.superblockOffsetBytes);
    const length = bitmapBytes(md.effective_size, md.bm_max_peers, md.bm_bytes_per_bit);
    return { format, md, bitmap: image.subarray(bmOffsetBytes, bmOffsetBytes + length) };
  }
  return undefined;
}
export const encoded = (md: MetaData | undefined): string => (md ? Buffer.from(encodeSuperblock(md)).toString('hex') : 'none');
export const covers = (bits: Uint8Array, wanted: Uint8Array): boolean => wanted.every((byte, i) => (byte & ~bits[i]!) === 0);
function asksFullSync(md: MetaData): boolean {
  if (md.format === 'v07') return (md.gc[0] & MDF.FULL_SYNC) !== 0;
  return md.format === 'v08' ? (md.flags & MDF.FULL_SYNC) !== 0 : md.peers.every((peer) => (peer.flags & MDF_PEER.FULL_SYNC) !== 0);
}
/** The identity of meta-data: everything but what asks for more resync. */
function identity(md: MetaData): string {
  const copy = structuredClone(md);
  copy.gc[0] |= MDF.FULL_SYNC;
  copy.flags |= md.format === 'v08' ? MDF.FULL_SYNC : 0;
  for (const peer of copy.peers) peer.flags |= MDF_PEER.FULL_SYNC;
  return encoded(copy);
}

export interface Scenario {
  readonly title: string;
  readonly before: Given;
  readonly format: MetaDataFormat;
  /** Format of the command, if it differs from that of the meta-data before. */
  readonly target?: MetaDataFormat;
  readonly command: readonly string[];
  readonly answers?: readonly string[];
  /** The device has grown since. */
  readonly grownTo?: number;
}

const dumpOf = async (image: Given): Promise<string> => {
  writeFileSync('other', image.bytes);
  let text = '';
  await run(['--force', '-', image.md!.format, 'other', indexWord(image.kind), 'dump-md'], {
    stdout: (piece) => {
      text += String(piece);
    },
    stderr: () => {},
    env: { UDRBD_STATE_DIR: 'state' },
    stdinIsTty: false,
    stdoutIsTty: false,
    readLine: () => Promise.resolve(null),
  });
  return text;
};

const blank: Given = { bytes: new Uint8Array(DEVICE_BYTES), kind: 'internal' };
const external: Given = { bytes: new Uint8Array(2 * MIB), kind: 'flex-external' };
export const dirty = { maxPeers: 2, bits: 0x5a, flags: MDF.CONSISTENT | MDF.PRIMARY_IND | MDF.CRASHED_PRIMARY, hot: [0, 2] };
export const scenarios: readonly Scenario[] = [
  { title: 'create-md on nothing', before: blank, format: 'v09', command: ['create-md', '3'] },
  { title: 'create-md on nothing, external', before: external, format: 'v09', command: ['create-md', '3'] },
  { title: 'create-md v08 on nothing', before: blank, format: 'v08', command: ['create-md'] },
  { title: 'create-md over dirty meta-data', before: given('v09', 'internal', dirty), format: 'v09', command: ['create-md', '2'] },
  { title: 'create-md with more peers', before: given('v09', 'internal', dirty), format: 'v09', command: ['create-md', '7'] },
  {
    title: 'create-md over external meta-data',
    before: given('v09', 'flex-external', { ...dirty, bytes: 2 * MIB }),
    format: 'v09',
    command: ['create-md', '4'],
  },
  { title: 'v08 to v09', before: given('v08', 'internal', { bits: 3 }), format: 'v08', target: 'v09', command: ['create-md', '1'] },
  { title: 'v09 to v08', before: given('v09', 'internal', { bits: 3 }), format: 'v09', target: 'v08', command: ['create-md'] },
  { title: 'v07 to v09', before: given('v07', 'internal', { bits: 3 }), format: 'v07', target: 'v09', command: ['create-md', '1'] },
  {
    title: 'v08 replaced by v09',
    before: given('v08', 'internal', { bits: 3 }),
    format: 'v08',
    target: 'v09',
    command: ['create-md', '2'],
    answers: ['no', 'yes', 'yes'],
  },
  { title: 'restore-md on nothing', before: blank, format: 'v09', command: ['restore-md', 'dump2'] },
  { title: 'restore-md over other bits', before: given('v09', 'internal', dirty), format: 'v09', command: ['restore-md', 'dump2'] },
  { title: 'restore-md over one peer', before: given('v09', 'internal', { bits: 0x11 }), format: 'v09', command: ['restore-md', 'dump2'] },
  { title: 'restore-md v08', before: given('v08', 'internal', { bits: 0x11 }), format: 'v08', command: ['restore-md', 'dump08'] },
  {
    title: 'restore-md over external meta-data',
    before: given('v09', 'flex-external', { ...dirty, bytes: 2 * MIB }),
    format: 'v09',
    command: ['restore-md', 'dump2'],
  },
  { title: 'apply-al', before: given('v09', 'internal', dirty), format: 'v09', command: ['apply-al'] },
  { title: 'apply-al v08', before: given('v08', 'internal', { ...dirty, maxPeers: 1 }), format: 'v08', command: ['apply-al'] },
  { title: 'invalidate', before: given('v09', 'internal', { bits: 1 }), format: 'v09', command: ['invalidate'] },
  { title: 'wipe-md', before: given('v09', 'internal', { bits: 1 }), format: 'v09', command: ['wipe-md'] },
  ...[4096, 8192, 36864, 40960, 45056, MIB, DEVICE_BYTES].flatMap((more): Scenario[] => [
    {
      title: `check-resize, ${more} bytes more`,
      before: given('v09', 'internal', { maxPeers: 3, bits: 0x24 }),
      format: 'v09',
      command: ['check-resize'],
      grownTo: DEVICE_BYTES + more,
    },
  ]),
];

/** Writes the dumps that `restore-md` reads. */
export async function writeDumps(): Promise<void> {
  writeFileSync('dump2', await dumpOf(given('v09', 'internal', { maxPeers: 2, bits: 0xc6 })));
  writeFileSync('dump08', await dumpOf(given('v08', 'internal', { bits: 0xc6 })));
}

/** One scenario, begun as often as is wanted. */
export class Interruption {
  readonly scenario: Scenario;
  /** Sizes of the device: now, and before. */
  readonly sizes: readonly [number, number];
  readonly argv: readonly string[];
  readonly #old: Found | undefined;
  #last: Found | undefined;

  constructor(scenario: Scenario) {
    const { before, format, command } = scenario;
    const target = scenario.target ?? format;
    this.scenario = scenario;
    this.sizes = [scenario.grownTo ?? before.bytes.length, before.bytes.length];
    this.argv = [...(scenario.answers ? [] : ['--force']), '-', target, 'img', indexWord(before.kind), ...command];
    this.start();
    this.#old = before.md && found(readFileSync('img'), format, before.kind, this.sizes);
  }

  /** The image as it was before the command. */
  start(): void {
    const { before, grownTo } = this.scenario;
    writeFileSync('img', before.bytes);
    truncateSync('img', this.sizes[0]);
    rmSync('state', { recursive: true, force: true });
    if (grownTo) {
      fs.mkdirSync('state');
      writeFileSync('state/drbd-minor--1.lkbd', `${before.bytes.length}\timg\n`);
    }
  }

  run(): Promise<Said> {
    return drbdmeta(this.argv, this.scenario.answers);
  }

  /** The command as nothing goes wrong with it: what it leaves is what is wanted. */
  async complete(into?: Recorder): Promise<Said> {
    fault = undefined;
    this.start();
    recorder = into;
    const said = await this.run();
    recorder = undefined;
    const { before, format, target = format } = this.scenario;
    this.#last = found(readFileSync('img'), target, before.kind, [this.sizes[0]]);
    return said;
  }

  /** Whether meta-data is left by the complete command. */
  get leavesMetaData(): boolean {
    return this.#last !== undefined;
  }

  /** Meta-data that a user of the image would find. */
  find(image: Uint8Array): Found | undefined {
    const { before, format, target = format } = this.scenario;
    return found(image, target, before.kind, this.sizes) ?? found(image, format, before.kind, this.sizes);
  }

  /** Which meta-data is there, and can it be relied on? @returns `ok`, or what is wrong */
  judge(image: Uint8Array = readFileSync('img')): string {
    const now = this.find(image);
    if (now === undefined) return this.#old && this.#last ? 'neither old nor new meta-data' : 'ok';
    let isKnown = false;
    for (const state of [this.#last, this.#old]) {
      if (!state || identity(state.md) !== identity(now.md)) continue;
      isKnown = true;
      if (covers(now.bitmap, state.bitmap) || asksFullSync(now.md)) return 'ok';
    }
    return isKnown ? 'bits are missing' : 'meta-data that is neither old nor new';
  }
}

export const indexWord = (kind: MetaDataKind): string => (kind === 'internal' ? 'flex-internal' : kind);
