// Commands that are cut off at every single write, or whose device fails there: what is on disk afterwards is the old or the new meta-data,
// its bitmap has at least the bits that belong to it, and the same command succeeds when it is given again.

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
import t from 'tap';
import { run } from './index.js';

const MIB = 1024 * 1024;
/** Room for three extents. */
const DEVICE_BYTES = 9 * MIB;
const directory = mkdtempSync(`${existsSync('/dev/shm') ? '/dev/shm' : tmpdir()}/drbdmeta-interrupted-`);
process.chdir(directory);
const { writeSync, fsyncSync, readSync } = fs;
t.teardown(() => {
  Object.assign(fs, { writeSync, fsyncSync, readSync });
  syncBuiltinESMExports();
  process.chdir('/');
  rmSync(directory, { recursive: true });
});

/** What happens at the n-th system call of a kind, counted from 0. */
interface Fault {
  readonly call: 'write' | 'fsync' | 'read';
  readonly at: number;
  readonly code: string;
  /** Bytes of the failing write that still reach the device. */
  readonly torn?: number;
}
let fault: Fault | undefined;
let calls = { write: 0, fsync: 0, read: 0 };

function fails(call: Fault['call']): Fault | undefined {
  const number = calls[call]++;
  return fault?.call === call && number >= fault.at ? fault : undefined;
}
const failure = (code: string): Error => Object.assign(new Error(code), { code });
type WriteSync = (fd: number, buffer: Uint8Array, offset: number, length: number, position: number) => number;
Object.assign(fs, {
  writeSync: ((fd, buffer, offset, length, position) => {
    // Not what the test framework writes.
    const now = typeof position === 'number' ? fails('write') : undefined;
    if (!now) return (writeSync as WriteSync)(fd, buffer, offset, length, position);
    if (now.torn !== undefined && calls.write === now.at + 1 && length > 4096) {
      (writeSync as WriteSync)(fd, buffer, offset, Math.min(now.torn, length), position);
    }
    throw failure(now.code);
  }) satisfies WriteSync,
  fsyncSync: (fd: number) => {
    const now = fails('fsync');
    if (now) throw failure(now.code);
    fsyncSync(fd);
  },
  readSync: (...args: Parameters<typeof readSync>) => {
    const now = fails('read');
    if (now) throw failure(now.code);
    return readSync(...args);
  },
});
syncBuiltinESMExports();

interface Said {
  readonly counts: typeof calls;
  readonly status: number;
  readonly err: string;
}
async function drbdmeta(argv: readonly string[], answers?: readonly string[]): Promise<Said> {
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

interface Given {
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
function given(format: MetaDataFormat, kind: MetaDataKind, options: Options = {}): Given {
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

interface Found {
  readonly md: MetaData;
  readonly bitmap: Uint8Array;
}
/** What stands in the image now, at the end of a device that was once `oldBytes` long too. */
function found(format: MetaDataFormat, kind: MetaDataKind, sizes: readonly number[]): Found | undefined {
  const image = readFileSync('img');
  for (const size of sizes) {
    const p: Placement = placement({ kind, deviceBytes: size });
    const decoded = decodeSuperblock(format, image.subarray(p.superblockOffsetBytes, p.superblockOffsetBytes + 4096));
    if (!decoded.ok || !checkSuperblock(decoded.value, kind, size).isValid) continue;
    const md = decoded.value;
    const { bmOffsetBytes } = placementOf(md, kind, p.superblockOffsetBytes);
    const length = bitmapBytes(md.effective_size, md.bm_max_peers, md.bm_bytes_per_bit);
    return { md, bitmap: image.subarray(bmOffsetBytes, bmOffsetBytes + length) };
  }
  return undefined;
}
const encoded = (md: MetaData | undefined): string => (md ? Buffer.from(encodeSuperblock(md)).toString('hex') : 'none');
const covers = (bits: Uint8Array, wanted: Uint8Array): boolean => wanted.every((byte, i) => (byte & ~bits[i]!) === 0);
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

interface Scenario {
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
  const index = image.kind === 'internal' ? 'flex-internal' : image.kind;
  await run(['--force', '-', image.md!.format, 'other', index, 'dump-md'], {
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
const dirty = { maxPeers: 2, bits: 0x5a, flags: MDF.CONSISTENT | MDF.PRIMARY_IND | MDF.CRASHED_PRIMARY, hot: [0, 2] };
const scenarios: Scenario[] = [
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

t.before(async () => {
  writeFileSync('dump2', await dumpOf(given('v09', 'internal', { maxPeers: 2, bits: 0xc6 })));
  writeFileSync('dump08', await dumpOf(given('v08', 'internal', { bits: 0xc6 })));
});

for (const scenario of scenarios) {
  const { title, before, format, command } = scenario;
  const target = scenario.target ?? format;
  const size = scenario.grownTo ?? before.bytes.length;
  const index = before.kind === 'internal' ? 'flex-internal' : before.kind;
  const argv = [...(scenario.answers ? [] : ['--force']), '-', target, 'img', index, ...command];
  const start = (): void => {
    writeFileSync('img', before.bytes);
    truncateSync('img', size);
    rmSync('state', { recursive: true, force: true });
    if (scenario.grownTo) {
      fs.mkdirSync('state');
      writeFileSync('state/drbd-minor--1.lkbd', `${before.bytes.length}\timg\n`);
    }
  };

  t.test(title, async (t) => {
    fault = undefined;
    start();
    const old = before.md && found(format, before.kind, [size, before.bytes.length]);
    const done = await drbdmeta(argv, scenario.answers);
    t.equal(done.status, 0, done.err);
    const last = found(target, before.kind, [size]);
    t.equal(last === undefined, command[0] === 'wipe-md');
    const { counts } = done;
    t.ok(counts.write > 0);

    /** Which meta-data is there, and can it be relied on? */
    const judge = (): string => {
      const now = found(target, before.kind, [size, before.bytes.length]) ?? found(format, before.kind, [size, before.bytes.length]);
      if (now === undefined) return old && last ? 'neither old nor new meta-data' : 'ok';
      let isKnown = false;
      for (const state of [last, old]) {
        if (!state || identity(state.md) !== identity(now.md)) continue;
        isKnown = true;
        if (covers(now.bitmap, state.bitmap) || asksFullSync(now.md)) return 'ok';
      }
      return isKnown ? 'bits are missing' : 'meta-data that is neither old nor new';
    };

    for (let at = 0; at < counts.write; at++) {
      for (const torn of [undefined, 4096]) {
        start();
        fault = { call: 'write', at, code: at % 2 === 0 ? 'EIO' : 'ENOSPC', ...(torn === undefined ? {} : { torn }) };
        const cut = await drbdmeta(argv, scenario.answers);
        fault = undefined;
        t.equal(cut.status, 10, `write ${at} fails`);
        t.match(cut.err, /^pwrite\(\d,\.\.\.,\d+,\d+\) in .* failed: (Input\/output error|No space left on device)$/m);
        t.equal(judge(), 'ok', `cut at write ${at}${torn === undefined ? '' : `, ${torn} bytes of it written`}`);
        const again = await drbdmeta(argv, scenario.answers);
        // What was complete is asked about differently, or is no longer there to be wiped.
        if (!scenario.answers) t.equal(again.status, 0, again.err);
        t.equal(judge(), 'ok');
      }
    }
    for (let at = 0; at < counts.fsync; at++) {
      start();
      fault = { call: 'fsync', at, code: 'EIO' };
      const cut = await drbdmeta(argv, scenario.answers);
      fault = undefined;
      t.match(cut, { status: 10, err: /fsync\(img\) failed: Input\/output error/ }, `flush ${at} fails`);
      t.equal(judge(), 'ok');
    }
    for (let at = 0; at < counts.read; at++) {
      start();
      fault = { call: 'read', at, code: at % 2 === 0 ? 'EIO' : 'ENXIO' };
      const cut = await drbdmeta(argv, scenario.answers);
      fault = undefined;
      const isDump = cut.status === 2;
      t.match(
        cut.err,
        isDump
          ? /input in flex scanner failed/
          : /pread\(\d,\.\.\.,\d+,\d+\) in \S+ failed: (Input\/output error|No such device or address)/,
      );
      t.equal(cut.status, isDump ? 2 : 10, `read ${at} fails`);
      t.equal(judge(), 'ok');
    }
  });
}

t.test('a log that was not applied completely is applied by the next run', async (t) => {
  const before = given('v09', 'internal', dirty);
  writeFileSync('img', before.bytes);
  fault = undefined;
  const argv = ['--force', '-', 'v09', 'img', 'flex-internal', 'apply-al'];
  const { counts } = await drbdmeta(argv);
  const wanted = found('v09', 'internal', [before.bytes.length])!;
  for (let at = 0; at < counts.write; at++) {
    writeFileSync('img', before.bytes);
    fault = { call: 'write', at, code: 'EIO', torn: 4096 };
    await drbdmeta(argv);
    fault = undefined;
    t.match(await drbdmeta(argv), { status: 0 });
    const now = found('v09', 'internal', [before.bytes.length])!;
    t.ok(covers(now.bitmap, wanted.bitmap), `cut at write ${at}`);
    t.equal(encoded(now.md), encoded(wanted.md));
  }
});
