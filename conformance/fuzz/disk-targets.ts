/** Decoders of what stands on disks, and of the text form of meta-data. */
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { META_INDEX_FLEXIBLE, META_INDEX_INTERNAL } from '../../packages/control/src/index.js';
import { damagedImages } from '../../packages/drbdmeta/src/testing/damaged-images.js';
import { closeDisk, openDisk } from '../../packages/engine/src/disks/open-disk.js';
import {
  AL_BLOCK_BYTES,
  AL_EXTENTS_MAX,
  AL_PMEM_MAGIC,
  AL_TRANSACTION_OLD,
  AL_TRANSACTION_ON_DISK,
  capacitySectors,
  checkAttach,
  checkOffsets,
  checkSuperblock,
  crc32c,
  createMetaData,
  DumpError,
  DumpParser,
  decodeSuperblock,
  encodeAlUpdate,
  encodeSuperblock,
  initializedActivityLog,
  isPmemActivityLog,
  MDF,
  type MetaDataFormat,
  type MetaDataKind,
  type Placed,
  place,
  placement,
  placementOf,
  replayActivityLog,
  replayOldActivityLog,
  replayPmemActivityLog,
  superblockLayout,
} from '../../packages/metadata/src/index.js';
import { MemoryNode } from '../../packages/replication/src/testing/pair.js';
import { type FieldAt, mutateBytes, mutateText, type Prng } from './mutate.js';
import { fuzzer, holds, type Target } from './target.js';

const WIDTH: Readonly<Record<string, number>> = { u16: 2, u32: 4, i32: 4, u64: 8 };
/** Fields of a table, the first elements of arrays included. */
function fieldsOf(at: Readonly<Record<string, Placed>>, from = 0): FieldAt[] {
  return Object.values(at).flatMap((field) => {
    const width = WIDTH[field.type] ?? 8;
    const count = Math.min(4, field.count ?? 1);
    return Array.from({ length: count }, (_, i) => ({ offset: from + field.offset + i * (field.recordBytes ?? width), width }));
  });
}

const KINDS: readonly MetaDataKind[] = ['internal', 'flex-external', 'indexed', 'fixed-internal'];
const FORMATS: readonly MetaDataFormat[] = ['v07', 'v08', 'v09'];
const DEVICE_BYTES = 256 * 1024 * 1024;

export const superblocks: Target = {
  name: 'superblocks',
  what: 'super blocks v07, v08 and v09, internal, flexible, fixed and indexed: decoding, judging, places',
  short: 10_000,
  open: () =>
    fuzzer(
      (prng: Prng) => {
        const format = prng.pick(FORMATS);
        const kind = prng.pick(KINDS);
        const maxPeers = format === 'v09' ? prng.pick([1, 3, 31]) : 1;
        const alStripes = prng.pick([1, 1, 4]);
        const md = createMetaData(format, { maxPeers, alStripes });
        place(md, placement({ kind, deviceBytes: DEVICE_BYTES, maxPeers, alStripes }));
        md.effective_size = prng.below(2 ** 20);
        md.flags = prng.below(0x800);
        const bytes = mutateBytes(prng, encodeSuperblock(md), fieldsOf(superblockLayout(format).at), 8192);
        return { bytes, format: prng.chance(5) ? prng.pick(FORMATS) : format, kind: prng.chance(10) ? prng.pick(KINDS) : kind };
      },
      ({ bytes, format, kind }) => {
        const decoded = decodeSuperblock(format, bytes);
        if (!decoded.ok) return;
        const md = decoded.value;
        const again = encodeSuperblock(md);
        const twice = decodeSuperblock(format, again);
        holds(twice.ok, 'what was accepted is accepted again');
        // Sizes that no device has are numbers that are only nearly right.
        if (Number.isSafeInteger(md.effective_size))
          holds(Buffer.compare(encodeSuperblock(twice.value), again) === 0, 'and means the same');
        const { isValid, messages } = checkSuperblock(md, kind, DEVICE_BYTES);
        holds(isValid || messages.length > 0, 'a refusal says why');
        checkAttach(md, kind, 0);
        if (!isValid || !checkOffsets(md, kind).ok) return;
        const p = placementOf(md, kind, placement({ kind, deviceBytes: DEVICE_BYTES }).superblockOffsetBytes);
        // What drbdmeta prints as usable may be beyond all devices, as in stock.
        for (const value of Object.values({ ...p, usableSectors: 0 })) holds(Number.isSafeInteger(value), 'places are whole numbers');
        const capacity = capacitySectors(md, kind, p.superblockOffsetBytes, DEVICE_BYTES);
        holds(Number.isSafeInteger(capacity) && capacity >= 0 && capacity <= DEVICE_BYTES / 512, 'a capacity that the device has');
      },
      ({ bytes }) => bytes,
    ),
};

/** A log as an engine writes it, of some transactions. */
function activityLog(prng: Prng, stripes: number, stripeSize4k: number): Uint8Array {
  const area = initializedActivityLog(stripes, stripeSize4k);
  const size = prng.pick([67, 257, 1237]);
  const context = new Uint32Array(size).fill(0xffff_ffff);
  const first = prng.pick([0, 5, 0xffff_fffe]);
  for (let n = prng.below(20); n > 0; n--) {
    const count = 1 + prng.below(64);
    const slots = Uint16Array.from({ length: count }, () => prng.below(size));
    const extents = Uint32Array.from({ length: count }, () => prng.below(1 << 20));
    const block = area.subarray((n % (stripes * stripeSize4k)) * AL_BLOCK_BYTES).subarray(0, AL_BLOCK_BYTES);
    encodeAlUpdate(
      block,
      new DataView(block.buffer, block.byteOffset, AL_BLOCK_BYTES),
      (first + n) >>> 0,
      context,
      prng.below(size),
      slots,
      extents,
      count,
    );
  }
  return area;
}

/** Fields that were changed on purpose count only behind a good checksum. */
function sealed(area: Uint8Array): Uint8Array {
  const at = AL_TRANSACTION_ON_DISK.at.crc32c.offset;
  for (let block = 0; block + AL_BLOCK_BYTES <= area.length; block += AL_BLOCK_BYTES) {
    const bytes = area.subarray(block, block + AL_BLOCK_BYTES);
    const view = new DataView(bytes.buffer, bytes.byteOffset, AL_BLOCK_BYTES);
    view.setUint32(at, 0);
    view.setUint32(at, crc32c(bytes));
  }
  return area;
}

const AL_FIELDS = fieldsOf(AL_TRANSACTION_ON_DISK.at);
const OLD_FIELDS = fieldsOf(AL_TRANSACTION_OLD.at);

export const activityLogs: Target = {
  name: 'activity-logs',
  what: 'activity logs: of 8.4 and 9, of 8.3, on persistent memory',
  short: 2000,
  open: () =>
    fuzzer(
      (prng: Prng) => {
        const stripes = prng.pick([1, 1, 2]);
        const fields = prng.chance(70) ? AL_FIELDS : OLD_FIELDS;
        const log = mutateBytes(
          prng,
          activityLog(prng, stripes, 8),
          fields.map(({ offset, width }) => ({ offset: offset + AL_BLOCK_BYTES * prng.below(8), width })),
          1 << 17,
        );
        const area = prng.chance(70) ? sealed(log) : log;
        if (prng.chance(10) && area.length >= 4) new DataView(area.buffer).setUint32(0, AL_PMEM_MAGIC);
        return { area, stripes: prng.chance(5) ? prng.below(5) : stripes, extents: prng.pick([0, 67, 1237, AL_EXTENTS_MAX, 2 ** 32 - 1]) };
      },
      ({ area, stripes, extents }) => {
        const replay = replayActivityLog(area, stripes, 8);
        holds(replay.hotExtents.length <= AL_EXTENTS_MAX, 'as many extents as a log has slots');
        holds(
          replay.hotExtents.every((extent, i) => i === 0 || extent >= replay.hotExtents[i - 1]!),
          'in order',
        );
        replayOldActivityLog(area, extents);
        if (isPmemActivityLog(area))
          holds(replayPmemActivityLog(area, extents).hotExtents.length <= area.length / 4, 'as many as there is room for');
      },
      ({ area }) => area,
    ),
};

/** Dumps that the stock tool made. */
function dumps(): string[] {
  const folder = new URL('../vectors/metadata/', import.meta.url);
  const found = new Set<string>();
  for (const file of readdirSync(folder).filter((entry) => entry.endsWith('.json'))) {
    for (const line of readFileSync(new URL(file, folder), 'utf8').split('\n')) {
      const at = line.indexOf('"stdout": "');
      if (at < 0) continue;
      const { stdout } = JSON.parse(line.replace(/,$/, '')) as { stdout: string };
      const from = stdout.indexOf('version "');
      if (from >= 0 && stdout.length < 20_000) found.add(stdout.slice(from));
    }
  }
  return [...found];
}

const ZERO_UUID = '0x0000000000000000';
const DUMP_WORDS = [
  'version',
  'max-peers',
  'node-id',
  'uuid',
  'flags',
  'peer[0]',
  'bitmap[0]',
  'bitmap-index',
  'times',
  '4294967295',
  '999999999999',
  ZERO_UUID,
  '0xFFFFFFFFFFFFFFFF',
  'la-size-sect',
];
/** One for each format, where no recorded text is short enough. */
const OWN_DUMPS = [
  `version "v08";\nuuid { ${`${ZERO_UUID}; `.repeat(4)} flags 0x00000080; }\nla-size-sect 200; bm-byte-per-bit 4096; device-uuid ${ZERO_UUID}; la-peer-max-bio-size 0;\nal-stripes 1; al-stripe-size-4k 8;\nbm { 3 times 0x1111111111111111; }\n`,
  `version "v07";\ngc { 0; 1; 1; 1; 1; }\nla-size-sect 200;\nbm { 3 times 0x1111111111111111; }\n`,
  `version "v09"; max-peers 1; node-id 0; current-uuid ${ZERO_UUID}; flags 0x00000080;\n${Array.from({ length: 32 }, (_, n) => `peer[${n}] { bitmap-index -1; bitmap-uuid ${ZERO_UUID}; bitmap-dagtag ${ZERO_UUID}; flags 0x00000000; }\n`).join('')}history-uuids { ${`${ZERO_UUID}; `.repeat(32)} }\nla-size-sect 200; bm-byte-per-bit 4096; device-uuid ${ZERO_UUID}; la-peer-max-bio-size 0;\nal-stripes 1; al-stripe-size-4k 8;\nbitmap[0] { 0x0123456789ABCDEF; 3 times 0x1111111111111111; }\n`,
];

export const dumpTexts: Target = {
  name: 'dump-texts',
  what: 'the text form of meta-data, as restore-md reads it',
  short: 3000,
  open: () => {
    const seeds = [...OWN_DUMPS, ...dumps()];
    return fuzzer(
      (prng: Prng) => mutateText(prng, prng.pick(seeds), DUMP_WORDS),
      (text) => {
        let rest = text;
        const parser = new DumpParser(
          () => {
            const piece = rest.slice(0, 4096);
            rest = rest.slice(4096);
            return piece;
          },
          () => undefined,
        );
        try {
          const version = parser.version();
          const format = FORMATS.find((known) => known === version);
          if (format === undefined) return;
          const maxPeers = format === 'v09' ? parser.maxPeers() : 1;
          if (maxPeers < 1 || maxPeers > 31) return;
          const md = createMetaData(format, { maxPeers });
          const size = parser.superblock(md, () => undefined);
          holds(size >= 0n, 'a size');
          encodeSuperblock(md);
        } catch (error) {
          if (!(error instanceof DumpError)) throw error;
        }
      },
      (text) => text,
    );
  },
};

export const drbdmeta: Target = {
  name: 'drbdmeta',
  what: 'all commands of drbdmeta on damaged images: an exit status of its own, nothing written outside of the meta-data',
  short: 1000,
  open: damagedImages,
};

/** Data and meta-data devices of the target `attach`. */
const ATTACH_BYTES = 2 << 20;

export const attach: Target = {
  name: 'attach',
  what: 'an attach by the engine, as after a crash: damaged super blocks, logs and bitmaps, internal and external; then the core takes what was accepted',
  short: 250,
  open: () => {
    const directory = mkdtempSync(`${existsSync('/dev/shm') ? '/dev/shm' : tmpdir()}/fuzz-attach-`);
    const [data, meta] = ['data', 'meta'].map((name) => `${directory}/${name}`) as [string, string];
    for (const path of [data, meta]) writeFileSync(path, new Uint8Array(ATTACH_BYTES));
    const inner = fuzzer(
      (prng: Prng) => {
        const format = prng.pick(['v08', 'v09', 'v09'] as const);
        const kind = prng.pick(['internal', 'flex-external'] as const);
        const maxPeers = format === 'v09' ? prng.pick([1, 3, 31]) : 1;
        const p = placement({ kind, deviceBytes: ATTACH_BYTES, maxPeers });
        const md = createMetaData(format, { maxPeers });
        place(md, p);
        md.effective_size = prng.pick([0, p.usableSectors, 1000, 2 ** 31]);
        md.flags = prng.pick([MDF.AL_CLEAN, MDF.CONSISTENT | MDF.PRIMARY_IND, prng.below(0x800)]);
        const superblock = encodeSuperblock(md);
        const log = activityLog(prng, 1, 8);
        const isDamaged = prng.chance(80);
        return {
          format,
          kind,
          superblockAt: p.superblockOffsetBytes,
          superblock: isDamaged ? mutateBytes(prng, superblock, fieldsOf(superblockLayout(format).at), 4096) : superblock,
          logAt: p.alOffsetBytes,
          log: prng.chance(40) ? sealed(mutateBytes(prng, log, AL_FIELDS, log.length)) : log,
          nodeId: prng.below(3),
        };
      },
      async ({ format, kind, superblockAt, superblock, logAt, log, nodeId }) => {
        const path = kind === 'internal' ? data : meta;
        // Nothing is left of the one before.
        for (const old of [data, meta]) for (const bytes of [0, ATTACH_BYTES]) truncateSync(old, bytes);
        const fd = openSync(path, 'r+');
        writeSync(fd, log, 0, Math.min(log.length, 32_768), logAt);
        writeSync(fd, superblock, 0, superblock.length, superblockAt);
        closeSync(fd);
        const opened = await openDisk({
          backingDev: data,
          metaDev: path,
          metaIndex: kind === 'internal' ? META_INDEX_INTERNAL : META_INDEX_FLEXIBLE,
          options: { size: 0 },
          nodeId,
          drbd8Compat: format === 'v08',
          replaysActivityLog: true,
        });
        holds(statSync(path).size === ATTACH_BYTES && statSync(data).size === ATTACH_BYTES, 'devices keep their size');
        if (!opened.ok) return;
        await closeDisk(opened.value.handles);
        const { backing } = opened.value;
        holds(backing.usableSectors <= ATTACH_BYTES / 512, 'no more than there is');
        const node = new MemoryNode('a', nodeId, ATTACH_BYTES / 512);
        node.control({ command: 'new-minor', volume: 0, minor: 0, options: {} });
        node.control({ command: 'new-peer', connection: 0, peerNodeId: nodeId === 0 ? 1 : 0, options: {} });
        const operation = node.control({ command: 'attach', volume: 0, disk: backing });
        for (let i = 0; i < 1000 && node.step(); i++);
        holds(node.code(operation) !== 'pending', 'an attach ends');
        if (node.code(operation) === 'ok')
          holds(node.core.snapshot(0).volumes[0]!.sizeSectors <= backing.usableSectors, 'a device no larger than its disk');
      },
      ({ superblock, log }) => Buffer.concat([superblock, log]),
    );
    return { ...inner, close: () => rmSync(directory, { recursive: true }) };
  },
};
