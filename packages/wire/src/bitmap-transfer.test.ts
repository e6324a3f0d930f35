import fc from 'fast-check';
import t from 'tap';
import {
  BitmapReceiver,
  BitmapSender,
  ByteBitmap,
  COMMAND,
  decodeHeader,
  HEADER_KIND,
  HEADER_OK,
  type HeaderKind,
  PacketHeader,
  VLI_LEVELS,
  VliReader,
  VliWriter,
} from './index.js';

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** Runs of alternating polarity as a bitmap. */
function bitmapOf(runs: readonly number[], startsSet: boolean): ByteBitmap {
  const bitmap = new ByteBitmap(runs.reduce((sum, run) => sum + run, 0));
  let isSet = startsSet;
  let bit = 0;
  for (const run of runs) {
    if (isSet) bitmap.setRange(bit, bit + run);
    bit += run;
    isSet = !isSet;
  }
  return bitmap;
}

/** Sends a bitmap to an empty one of the same size; the packets' names with payload lengths are returned. */
function transfer(from: ByteBitmap, to: ByteBitmap, kind: HeaderKind, useRle: boolean): string[] {
  const sender = new BitmapSender(from, kind, 0, useRle);
  const receiver = new BitmapReceiver(to, kind);
  const out = new Uint8Array(4096 + 7);
  const header = new PacketHeader();
  const log: string[] = [];
  while (!sender.done) {
    const length = sender.next(out, 7);
    const view = new DataView(out.buffer);
    if (length > 4096 || decodeHeader(view, 7, 7 + length, kind, header) !== HEADER_OK) throw new Error(`packet of ${length} bytes`);
    log.push(`${header.command === COMMAND.P_BITMAP ? 'plain' : 'rle'} ${header.length}`);
    const verdict = receiver.packet(header.command, out, 7 + header.headerBytes, 7 + length);
    if (!verdict.ok) throw new Error(`${verdict.error.field} ${verdict.error.problem}`);
    if (verdict.value !== sender.done) throw new Error('sender and receiver differ about the end');
  }
  return log;
}

t.test('run lengths as the original coder writes them', async (t) => {
  const cases: readonly (readonly [readonly number[], boolean, string])[] = [
    [[10, 6, 4080], false, '7297f5f3eb00'],
    [[16374], true, 'b27fc51e00'],
    [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], false, '42988e35f7e102'],
    [[5, 3, 1000, 1, 15365], false, '42233fb7823f6a0d00'],
  ];
  for (const [runs, startsSet, hex] of cases) {
    const bitmap = bitmapOf(runs, startsSet);
    const out = new Uint8Array(4096);
    const sender = new BitmapSender(bitmap, HEADER_KIND.H100, 0, true);
    const length = sender.next(out, 0);
    t.equal(hexOf(out.subarray(16, length)), hex, `${runs}`);
    t.ok(sender.done);
    t.equal(sender.next(out, 0), 0);
    const received = new ByteBitmap(bitmap.bits);
    t.strictSame(new BitmapReceiver(received, HEADER_KIND.H100).packet(COMMAND.P_COMPRESSED_BITMAP, out, 16, length), {
      ok: true,
      value: true,
    });
    t.equal(hexOf(received.bytes), hexOf(bitmap.bytes));
  }
});

t.test('the level table', async (t) => {
  t.strictSame(
    VLI_LEVELS.map((level) => level.min),
    [1, 3, 5, 9, 17, 49, 305, 8497, 2105649, 17181974833],
  );
  const run = fc.oneof(
    fc.integer({ min: 1, max: 400 }),
    fc.integer({ min: 1, max: 2 ** 31 - 1 }),
    fc.maxSafeNat().map((n) => n || 1),
    fc.constantFrom(...VLI_LEVELS.flatMap(({ min }) => [min, min - 1 || 1])),
  );
  fc.assert(
    fc.property(fc.array(run, { minLength: 1, maxLength: 20 }), (runs) => {
      const bytes = new Uint8Array(200);
      const writer = new VliWriter(bytes, 3, 200);
      if (!runs.every((r) => writer.append(r))) return false;
      const reader = new VliReader(bytes, 3, 3 + writer.usedBytes, writer.padBits);
      return runs.every((r) => reader.next() === r) && reader.remainingBits === 0 && reader.next() === 0;
    }),
    { numRuns: 2000 },
  );
});

t.test('a codeword that does not fit is not begun', async (t) => {
  const bytes = new Uint8Array(4);
  const writer = new VliWriter(bytes, 0, 1);
  t.ok(writer.append(1) && writer.append(1) && writer.append(1));
  t.notOk(writer.append(3));
  t.ok(writer.append(2));
  t.notOk(writer.append(1));
  t.strictSame([...bytes], [0b10_00_00_00, 0, 0, 0]);
});

t.test('any bitmap arrives as it was', async () => {
  const runs = fc.array(fc.oneof(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 70_000 })), {
    minLength: 1,
    maxLength: 400,
  });
  fc.assert(
    fc.property(
      runs,
      fc.boolean(),
      fc.constantFrom(HEADER_KIND.H80, HEADER_KIND.H100),
      fc.boolean(),
      (lengths, startsSet, kind, useRle) => {
        const from = bitmapOf(lengths, startsSet);
        const to = new ByteBitmap(from.bits);
        const log = transfer(from, to, kind, useRle);
        const endsPlain = log.at(-1) === 'plain 0';
        return hexOf(from.bytes) === hexOf(to.bytes) && (useRle || endsPlain);
      },
    ),
    { numRuns: 300 },
  );
});

t.test('packets of a transfer', async (t) => {
  const plain = bitmapOf([1000 * 64 + 5], true);
  t.strictSame(transfer(plain, new ByteBitmap(plain.bits), HEADER_KIND.H100, false), ['plain 4080', 'plain 3928', 'plain 0']);
  t.strictSame(transfer(plain, new ByteBitmap(plain.bits), HEADER_KIND.H95, false), ['plain 4088', 'plain 3920', 'plain 0']);
  t.strictSame(transfer(plain, new ByteBitmap(plain.bits), HEADER_KIND.H100, true), ['rle 5']);
  const dense = bitmapOf(Array<number>(40_000).fill(1), true);
  t.strictSame(transfer(dense, new ByteBitmap(dense.bits), HEADER_KIND.H100, true), ['plain 4080', 'plain 920', 'plain 0']);
  t.strictSame(transfer(new ByteBitmap(0), new ByteBitmap(0), HEADER_KIND.H100, true), ['plain 0'], 'nothing to say');
});

t.test('a receiver survives anything', async (t) => {
  const refusal = (hex: string, bits: number, command: number = COMMAND.P_COMPRESSED_BITMAP): string => {
    const bytes = Uint8Array.from(Buffer.from(hex, 'hex'));
    const verdict = new BitmapReceiver(new ByteBitmap(bits), HEADER_KIND.H100).packet(command, bytes, 0, bytes.length);
    return verdict.ok ? `ok ${verdict.value}` : `${verdict.error.field} ${verdict.error.problem}`;
  };
  t.equal(refusal('b27fc51e00', 16374), 'ok true');
  t.equal(refusal('b27fc51e00', 16373), 'code out of range', 'beyond the end');
  t.equal(refusal('b27fc51e00', 20000), 'ok false');
  t.equal(refusal('b17fc51e00', 16374), 'encoding unknown');
  t.equal(refusal('b2', 16374), 'length too short');
  t.equal(refusal('f200', 16374), 'code too short', 'one bit is no codeword');
  t.equal(refusal('82ffffffffffffffffff', 16374), 'code out of range', 'the longest run');
  t.equal(refusal('0000', 64, COMMAND.P_BITMAP), 'length mismatch');
  t.equal(refusal('00', 64, COMMAND.P_DATA), 'command not permitted');
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 0, max: 5000 }), fc.boolean(), (bytes, bits, compressed) => {
      const bitmap = new ByteBitmap(bits);
      const receiver = new BitmapReceiver(bitmap, HEADER_KIND.H100);
      if (compressed && bytes.length > 0) bytes[0] = (bytes[0]! & 0xf0) | 2;
      receiver.packet(compressed ? COMMAND.P_COMPRESSED_BITMAP : COMMAND.P_BITMAP, bytes, 0, bytes.length);
      return bitmap.nextSet(0) === bits || bitmap.has(bitmap.nextSet(0));
    }),
    { numRuns: 3000 },
  );
});

t.test('searching a bitmap', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 12 }),
      fc.boolean(),
      fc.nat(),
      (runs, startsSet, seed) => {
        const bitmap = bitmapOf(runs, startsSet);
        const from = seed % (bitmap.bits + 2);
        let set = from;
        while (set < bitmap.bits && !bitmap.has(set)) set++;
        let clear = from;
        while (clear < bitmap.bits && bitmap.has(clear)) clear++;
        return bitmap.nextSet(from) === Math.min(set, bitmap.bits) && bitmap.nextClear(from) === Math.min(clear, bitmap.bits);
      },
    ),
    { numRuns: 1500 },
  );
});
