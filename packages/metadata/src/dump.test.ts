import fc from 'fast-check';
import t from 'tap';
import {
  bitmapBytes,
  createMetaData,
  DumpError,
  DumpParser,
  dumpBitmap,
  dumpIdentifiers,
  dumpSizes,
  type MetaData,
  type MetaDataFormat,
} from './index.js';

function textOf(md: MetaData, bitmap: Uint8Array): string {
  const pieces = [`version "${md.format}";\n`];
  if (md.format === 'v09') pieces.push(`max-peers ${md.bm_max_peers};\n`);
  pieces.push(dumpIdentifiers(md, true), dumpSizes(md, bitmap.length));
  const slots = md.format === 'v09' ? md.bm_max_peers : 1;
  for (let slot = 0; slot < slots; slot++) {
    const head = md.format === 'v09' ? `bitmap[${slot}]` : 'bm';
    dumpBitmap(
      head,
      slot,
      slots,
      bitmap.length,
      (offset, length) => bitmap.subarray(offset, offset + length),
      (text) => void pieces.push(text),
    );
  }
  return pieces.join('');
}

/** Hands the text out in pieces of that many characters. */
function pieces(text: string, size: number): () => string {
  let at = 0;
  return () => {
    const piece = text.slice(at, at + size);
    at += size;
    return piece;
  };
}

function parse(text: string, format: MetaDataFormat, pieceSize: number): { md: MetaData; bitmap: Uint8Array } {
  const parser = new DumpParser(pieces(text, pieceSize), () => {});
  parser.version();
  const md = createMetaData(format, { maxPeers: format === 'v09' ? parser.maxPeers() : 1 });
  parser.superblock(md, () => {});
  const bitmap = new Uint8Array(bitmapBytes(md.effective_size, md.bm_max_peers));
  const view = new DataView(bitmap.buffer);
  parser.bitmaps(md, (slot, position, count, value) => {
    for (let n = position; n < position + Math.min(count, 100_000); n++) {
      for (const [half, shift] of [
        [0, 0n],
        [1, 32n],
      ] as const) {
        const at = 4 * ((2 * n + half) * md.bm_max_peers + slot);
        if (at + 4 <= bitmap.length) view.setUint32(at, Number((value >> shift) & 0xffff_ffffn), true);
      }
    }
  });
  return { md, bitmap };
}

t.test('what dump-md prints, restore-md reads', async (t) => {
  const word = fc.oneof(fc.constant(0), fc.constant(0xffff_ffff), fc.nat(0xffff_ffff));
  const run = fc.tuple(word, fc.integer({ min: 1, max: 60 }));
  fc.assert(
    fc.property(
      fc.constantFrom('v07' as const, 'v08' as const, 'v09' as const),
      fc.integer({ min: 1, max: 31 }),
      fc.integer({ min: 8, max: 400_000 }),
      fc.array(run, { maxLength: 60 }),
      fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      fc.integer({ min: 1, max: 5000 }),
      (format, peers, sizeSectors, runs, uuid, pieceSize) => {
        const md = createMetaData(format, { maxPeers: format === 'v09' ? peers : 1 });
        md.effective_size = sizeSectors;
        if (format !== 'v07') {
          md.current_uuid = uuid;
          md.device_uuid = uuid >> 7n;
          md.history_uuids[1] = uuid >> 3n;
          md.flags = Number(uuid & 0xffff_ffffn);
        }
        if (format === 'v09') {
          md.members = uuid;
          md.peers[31]!.flags = Number(uuid >> 32n);
          md.peers[3]!.bitmap_index = peers - 1;
        }
        const bitmap = new Uint8Array(bitmapBytes(sizeSectors, md.bm_max_peers));
        const view = new DataView(bitmap.buffer);
        // Words whose other half falls behind the end are padding that the text leaves out.
        const words = Math.floor(bitmap.length / 4 / md.bm_max_peers / 2) * 2 * md.bm_max_peers;
        let at = 0;
        for (const [value, length] of runs) for (let n = 0; n < length && at < words; n++, at++) view.setUint32(4 * at, value, true);
        const back = parse(textOf(md, bitmap), format, pieceSize);
        t.strictSame(back.md, md);
        return Buffer.compare(back.bitmap, bitmap) === 0;
      },
    ),
    { numRuns: 120 },
  );
});

t.test('a damaged text is refused with a line number, or read', async (t) => {
  const md = createMetaData('v09', { maxPeers: 2 });
  md.effective_size = 100_000;
  const good = textOf(md, new Uint8Array(bitmapBytes(md.effective_size, 2)));
  let refused = 0;
  fc.assert(
    fc.property(fc.nat(good.length), fc.nat(20), fc.string({ maxLength: 8 }), (at, cut, insert) => {
      try {
        parse(good.slice(0, at) + insert + good.slice(at + cut), 'v09', 700);
      } catch (error) {
        if (!(error instanceof DumpError)) throw error;
        refused++;
        return /^Parse error in line \d+:/.test(error.message);
      }
    }),
    { numRuns: 1500 },
  );
  t.ok(refused > 500, `${refused} refused`);
});
