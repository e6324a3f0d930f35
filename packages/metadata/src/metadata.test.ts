import { readFileSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import {
  AL_BLOCK_BYTES,
  AL_FREE,
  alBlockOfTransaction,
  alContextAdvance,
  bitmapBytes,
  checkAttach,
  checkSuperblock,
  crc32c,
  createMetaData,
  decodeAlBlock,
  decodeSuperblock,
  encodeAlInitialized,
  encodeAlUpdate,
  encodeSuperblock,
  extentInBitmap,
  hweight,
  initializedActivityLog,
  internalDeviceBytes,
  META_DATA_ON_DISK_9,
  type MetaData,
  type MetaDataFormat,
  place,
  placement,
  readSlot,
  replayActivityLog,
  replayPmemActivityLog,
  setExtent,
  superblockLayout,
  writeSlot,
} from './index.js';
import { GENERATED, structureTables } from './testing/format-page.js';

const MIB = 1024 * 1024;
const u32 = fc.nat(0xffff_ffff);
const i32 = fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff });
const u64 = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn });

t.test('super blocks', async (t) => {
  t.test('a fresh v09 super block has the bytes that stock create-md writes', async (t) => {
    const p = placement({ kind: 'internal', deviceBytes: 64 * MIB });
    t.equal(p.superblockOffsetBytes, 67104768);
    t.equal(p.alOffsetBytes, 67072000);
    t.equal(p.bmOffsetBytes, 67067904);
    t.equal(p.usableSectors, 130992);
    const md = createMetaData('v09');
    place(md, p);
    const bytes = encodeSuperblock(md);
    const words = new Map<number, string>([
      [12, '00000004'],
      [56, '00000080'],
      [60, '8374026d'],
      [64, '00000050'],
      [68, 'ffffffc0'],
      [72, '00000101'],
      [76, 'ffffffb8'],
      [80, '00001000'],
      [88, '00000001'],
      [92, 'ffffffff'],
      [96, '00000001'],
      [100, '00000008'],
    ]);
    for (let node = 0; node < 32; node++) words.set(112 + 32 * node + 20, 'ffffffff');
    const view = new DataView(bytes.buffer);
    for (let at = 0; at < 4096; at += 4)
      t.equal(view.getUint32(at).toString(16).padStart(8, '0'), words.get(at) ?? '00000000', `word ${at}`);
    t.strictSame(checkSuperblock(md, 'internal', 64 * MIB), { isValid: true, messages: [] });
    t.strictSame(checkAttach(md, 'internal', 0), { ok: true });
  });

  const arbitraryMetaData = (format: MetaDataFormat): fc.Arbitrary<MetaData> =>
    fc
      .record({
        flags: u32,
        al_offset: i32,
        bm_offset: i32,
        al_nr_extents: u32,
        md: u32,
        stripes: u32,
        uuids: fc.array(u64, { minLength: 40, maxLength: 40 }),
      })
      .map((r) => {
        const md = createMetaData(format);
        md.al_offset = r.al_offset;
        md.bm_offset = r.bm_offset;
        md.al_nr_extents = r.al_nr_extents;
        if (format === 'v07') {
          md.md_size_sect = r.md - (r.md % 2);
          md.gc = [r.flags, 1, 2, 3, r.stripes];
          md.effective_size = 2 * Math.floor(Number(r.uuids[0]! & 0xfff_ffff_ffffn));
          return md;
        }
        md.effective_size = Number(r.uuids[0]! & 0x1f_ffff_ffff_ffffn);
        md.md_size_sect = r.md;
        md.flags = r.flags;
        md.al_stripes = r.stripes;
        md.current_uuid = r.uuids[1]!;
        md.device_uuid = r.uuids[2]!;
        md.peers[0]!.bitmap_uuid = r.uuids[3]!;
        md.history_uuids = md.history_uuids.map((_, i) => (format === 'v09' || i < 2 ? r.uuids[i]! : 0n));
        if (format === 'v08') return md;
        md.members = r.uuids[4]!;
        md.node_id = r.al_offset;
        md.bm_max_peers = r.stripes;
        md.peers = md.peers.map((_, i) => ({
          bitmap_uuid: r.uuids[i]!,
          bitmap_dagtag: r.uuids[i + 1]!,
          flags: r.flags,
          bitmap_index: i - 1,
        }));
        return md;
      });
  for (const format of ['v07', 'v08', 'v09'] as const) {
    t.test(`a ${format} super block read back is the one written`, async (t) => {
      fc.assert(
        fc.property(arbitraryMetaData(format), (md) => {
          const back = decodeSuperblock(format, encodeSuperblock(md));
          t.ok(back.ok);
          if (back.ok)
            for (const key of Object.keys(md) as (keyof MetaData)[])
              if (JSON.stringify(back.value[key], big) !== JSON.stringify(md[key], big)) t.fail(key);
        }),
        { numRuns: 300 },
      );
    });
    t.test(`any bytes with a ${format} magic decode, judge and encode without an exception`, async () => {
      const magicAt = superblockLayout(format).at.magic!.offset;
      const magic = encodeSuperblock(createMetaData(format)).subarray(magicAt, magicAt + 4);
      fc.assert(
        fc.property(fc.uint8Array({ minLength: 0, maxLength: 4096, size: 'max' }), fc.boolean(), (noise, whole) => {
          const bytes = new Uint8Array(whole ? 4096 : noise.length);
          bytes.set(noise);
          if (bytes.length >= magicAt + 4) bytes.set(magic, magicAt);
          const back = decodeSuperblock(format, bytes);
          if (!back.ok) return back.error.field.length > 0;
          for (const kind of ['internal', 'flex-external', 'indexed', 'fixed-internal'] as const) {
            checkSuperblock(back.value, kind, 64 * MIB);
            checkAttach(back.value, kind, 3, 1000);
          }
          return encodeSuperblock(back.value).length === 4096;
        }),
        { numRuns: 1000 },
      );
    });
  }
  t.equal(META_DATA_ON_DISK_9.at.peers.offset, 112);
  t.equal(META_DATA_ON_DISK_9.at.history_uuids.offset, 1136);
});
const big = (_: string, v: unknown): unknown => (typeof v === 'bigint' ? v.toString() : v);

t.test('placement', async (t) => {
  t.test('known sizes', async (t) => {
    const rows: [
      bytes: number,
      peers: number,
      stripes: number,
      size4k: number,
      md: number,
      al: number,
      bm: number,
      size: number,
      usable: number,
    ][] = [
      [1 * MIB, 1, 1, 8, 1044480, 1011712, 1007616, 80, 1968],
      [64 * MIB, 1, 1, 8, 67104768, 67072000, 67067904, 80, 130992],
      [64 * MIB, 3, 1, 8, 67104768, 67072000, 67063808, 88, 130984],
      [64 * MIB, 2, 4, 16, 67104768, 66842624, 66838528, 528, 130544],
    ];
    for (const [deviceBytes, maxPeers, alStripes, alStripeSize4k, md, al, bm, size, usable] of rows) {
      const p = placement({ kind: 'internal', deviceBytes, maxPeers, alStripes, alStripeSize4k });
      t.strictSame(
        [p.superblockOffsetBytes, p.alOffsetBytes, p.bmOffsetBytes, p.md_size_sect, p.usableSectors],
        [md, al, bm, size, usable],
      );
    }
    const indexed = placement({ kind: 'indexed', index: 1, deviceBytes: 256 * MIB });
    t.match(indexed, { superblockOffsetBytes: 128 * MIB, al_offset: 8, bm_offset: 72, md_size_sect: 262144 });
  });
  t.test('the smallest device for a size is sufficient and minimal', async () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 40 }), fc.integer({ min: 1, max: 31 }), (sizeSectors, maxPeers) => {
        const bytes = internalDeviceBytes(sizeSectors, { maxPeers });
        const fits = placement({ kind: 'internal', deviceBytes: bytes, maxPeers }).usableSectors >= sizeSectors;
        return fits && placement({ kind: 'internal', deviceBytes: bytes - 4096, maxPeers }).usableSectors < sizeSectors;
      }),
      { numRuns: 500 },
    );
  });
});

t.test('activity log', async (t) => {
  t.test('checksums', async (t) => {
    t.equal(new DataView(encodeAlInitialized().buffer).getUint32(8), 0x709cc651);
    const check = new TextEncoder().encode('123456789');
    t.equal(~crc32c(check, 0xffff_ffff) >>> 0, 0xe3069283);
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 64 }),
        fc.nat(64),
        (bytes, cut) => crc32c(bytes) === crc32c(bytes, crc32c(bytes, 0, 0, Math.min(cut, bytes.length)), Math.min(cut, bytes.length)),
      ),
    );
  });
  t.test('the recorded transaction', async (t) => {
    const block = new Uint8Array(AL_BLOCK_BYTES);
    const active = new Uint32Array(67).fill(AL_FREE);
    active.set([1, 2, 5]);
    encodeAlUpdate(block, new DataView(block.buffer), 8, active, 0, Uint16Array.of(0, 66), Uint32Array.of(3, 15), 2);
    t.equal(decodeAlBlock(block)?.crc32c, 0xf6d40cd9);
  });
  t.test('striping', async (t) => {
    t.strictSame(
      [0, 1, 2, 3, 4].map((n) => alBlockOfTransaction(n, 4, 8)),
      [0, 8, 16, 24, 1],
    );
  });
  t.test('what an active set held after any number of transactions is what the replay finds', async () => {
    const step = fc.array(fc.tuple(fc.nat(199), fc.nat(1 << 20)), { minLength: 1, maxLength: 64 });
    fc.assert(
      fc.property(
        fc.constantFrom([1, 8], [4, 8], [2, 5]),
        fc.integer({ min: 67, max: 2000 }),
        fc.array(step, { minLength: 1, maxLength: 40 }),
        fc.nat(0xffff_ffff),
        fc.boolean(),
        ([stripes, size4k], slots, steps, first, tear) => {
          const area = initializedActivityLog(stripes!, size4k!);
          const active = new Uint32Array(slots).fill(AL_FREE);
          let contextStart = 0;
          let previous = new Set<number>();
          let tr = first;
          for (const [n, updates] of steps.entries()) {
            const seen = new Map(updates.map(([slot, extent]) => [slot % slots, extent]));
            const at = alBlockOfTransaction(tr, stripes!, size4k!) * AL_BLOCK_BYTES;
            const block = area.subarray(at, at + AL_BLOCK_BYTES);
            encodeAlUpdate(
              block,
              new DataView(area.buffer, at, AL_BLOCK_BYTES),
              tr,
              active,
              contextStart,
              Uint16Array.from(seen.keys()),
              Uint32Array.from(seen.values()),
              seen.size,
            );
            previous = new Set(active.filter((e) => e !== AL_FREE));
            for (const [slot, extent] of seen) active[slot] = extent;
            contextStart = alContextAdvance(contextStart, slots);
            if (tear && n === steps.length - 1) block[2000]! ^= 0xff;
            tr = (tr + 1) >>> 0;
          }
          // After the number wrapped, t mod N jumps unless N divides 2^32; such a ring is not one this engine makes.
          if (tr < first && 2 ** 32 % (stripes! * size4k!) !== 0) return true;
          const hot = new Set(active.filter((e) => e !== AL_FREE));
          const found = new Set(replayActivityLog(area, stripes!, size4k!).hotExtents);
          const wanted = tear ? previous : hot;
          return [...wanted].every((e) => found.has(e)) && (tear || found.size === wanted.size);
        },
      ),
      { numRuns: 150 },
    );
  });
  t.test('any area replays to a verdict', async (t) => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(8 * AL_BLOCK_BYTES - 1), fc.nat(255)), { maxLength: 20 }), fc.boolean(), (damage, blank) => {
        const area = blank ? new Uint8Array(8 * AL_BLOCK_BYTES) : initializedActivityLog(1, 8);
        for (const [at, value] of damage) area[at] = value;
        seen.add(replayActivityLog(area, 1, 8).verdict);
      }),
      { numRuns: 300 },
    );
    t.ok(seen.has('no-data') && seen.has('invalid') && seen.has('nothing'));
    const pmem = new Uint8Array(32);
    new DataView(pmem.buffer).setUint32(0, 0x6aa667a6);
    pmem.fill(0xff, 4);
    new DataView(pmem.buffer).setUint32(8, 77);
    t.strictSame([...replayPmemActivityLog(pmem, 100).hotExtents], [77]);
  });
});

t.test('bitmap', async (t) => {
  t.equal(bitmapBytes((64 * MIB) / 512, 31), 65536);
  t.test('slots are interleaved word by word', async (t) => {
    const area = new Uint8Array(24);
    for (let slot = 0; slot < 3; slot++) writeSlot(area, slot, 3, Uint32Array.of(0, 0xff0));
    t.strictSame([...area.subarray(12, 16)], [0xf0, 0x0f, 0, 0]);
    t.strictSame([...readSlot(area, 1, 3)], [0, 0xff0]);
    t.equal(hweight(area), 24);
  });
  t.test('an extent is set in every slot and nowhere else', async () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 31 }),
        fc.constantFrom(4096, 65536, 131072, 262144, 1 << 20),
        fc.nat(40),
        (peers, bpb, extent) => {
          const area = new Uint8Array(64 * 1024 * 4);
          const bits = (4 * MIB) / bpb;
          const isNew = setExtent(area, 0, extent, peers, bpb) === bits * peers && setExtent(area, 0, extent, peers, bpb) === 0;
          const words = readSlot(area, peers - 1, peers);
          const { offsetBytes } = extentInBitmap(extent, peers, bpb);
          const first = extent * bits;
          return (
            isNew &&
            hweight(area) === bits * peers &&
            offsetBytes === 4 * Math.floor(first / 32) * peers &&
            ((words[first >> 5]! >>> (first & 31)) & 1) === 1
          );
        },
      ),
      { numRuns: 300 },
    );
  });
});

t.test('the format page shows the structures as they are', async (t) => {
  const page = new URL('../../../docs/on-disk-format.md', import.meta.url);
  const text = readFileSync(page, 'utf8');
  const prose = text.split(GENERATED)[0]!;
  const wanted = `${prose}${GENERATED}\n${structureTables()}`;
  if (process.env.UPDATE_DOCS === '1') writeFileSync(page, wanted);
  t.equal(text, wanted, 'UPDATE_DOCS=1 rewrites it');
});
