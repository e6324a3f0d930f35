/** Decoders of what stands on disks, and of the text form of meta-data. */
import { readdirSync, readFileSync } from 'node:fs';
import { damagedImages } from '../../packages/drbdmeta/src/testing/damaged-images.js';
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
        for (const value of Object.values(p)) holds(typeof value !== 'number' || Number.isSafeInteger(value), 'places are whole numbers');
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
        if (prng.chance(10)) new DataView(area.buffer).setUint32(0, AL_PMEM_MAGIC);
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
