import fc from 'fast-check';
import t from 'tap';
import { Bitmap } from './bitmap.js';

/** The obvious bitmap: sets of numbers. */
class Model {
  readonly slots: Set<number>[];
  readonly bits: number;
  readonly sectors: number;
  constructor(sectors: number, slots: number) {
    this.sectors = sectors;
    this.bits = Math.ceil(sectors / 8);
    this.slots = Array.from({ length: slots }, () => new Set<number>());
  }
  set(slot: number, sector: number, bytes: number): void {
    for (let bit = 0; bit < this.bits; bit++)
      if (bit * 8 < sector + bytes / 512 && bit * 8 + 8 > sector && bytes > 0) this.slots[slot]!.add(bit);
  }
  clear(slot: number, sector: number, bytes: number): void {
    for (let bit = 0; bit < this.bits; bit++) {
      const end = Math.min(bit * 8 + 8, this.sectors);
      if (bit * 8 >= sector && end <= sector + bytes / 512) this.slots[slot]!.delete(bit);
    }
  }
}

type Step = { op: 'set' | 'clear'; slot: number; sector: number; sectors: number };
const SECTORS = 4096 * 3 + 5;
const step = fc.record<Step>({
  op: fc.constantFrom('set', 'clear'),
  slot: fc.nat(2),
  sector: fc.nat(SECTORS - 1),
  sectors: fc.oneof(fc.nat(40), fc.nat(4000)),
});

t.test('marks and clears what a set of numbers would', async () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
      const bitmap = new Bitmap(new Uint8Array(4096), 3, SECTORS);
      const model = new Model(SECTORS, 3);
      for (const s of steps) {
        const bytes = Math.min(s.sectors, SECTORS - s.sector) * 512;
        const before = model.slots[s.slot]!.size;
        const changed = s.op === 'set' ? bitmap.setRange(s.slot, s.sector, bytes) : bitmap.clearRange(s.slot, s.sector, bytes);
        model[s.op](s.slot, s.sector, bytes);
        if (changed !== Math.abs(model.slots[s.slot]!.size - before)) return false;
      }
      for (let slot = 0; slot < 3; slot++) {
        const expected = [...model.slots[slot]!].sort((a, b) => a - b);
        const found: number[] = [];
        for (let bit = bitmap.findNext(slot, 0); bit !== -1; bit = bitmap.findNext(slot, bit + 1)) found.push(bit);
        if (found.join() !== expected.join() || bitmap.weight(slot) !== expected.length) return false;
        const clear = bitmap.findNextClear(slot, 0);
        const expectedClear = Array.from({ length: model.bits }, (_, i) => i).find((bit) => !model.slots[slot]!.has(bit)) ?? -1;
        if (clear !== expectedClear) return false;
        if (bitmap.countBits(slot, 100, 700) !== expected.filter((bit) => bit >= 100 && bit <= 700).length) return false;
      }
      return true;
    }),
    { numRuns: 300 },
  );
});

t.test('a bit is cleared only for a whole block, a short last one counting as whole', async (t) => {
  const bitmap = new Bitmap(new Uint8Array(4096), 1, 21);
  t.equal(bitmap.bits, 3);
  bitmap.setAll(0);
  t.equal(bitmap.clearRange(0, 1, 7 * 512), 0);
  t.equal(bitmap.clearRange(0, 1, 16 * 512), 1, 'the middle one');
  t.equal(bitmap.clearRange(0, 16, 5 * 512), 1, 'the last five sectors');
  t.ok(bitmap.testRange(0, 7, 512));
  t.notOk(bitmap.testRange(0, 8, 13 * 512));
  t.equal(bitmap.setRange(0, 7, 1024), 1, 'two sectors over a border touch two blocks');
  t.equal(bitmap.weight(0), 2);
});

t.test('slots are interleaved by 32-bit words as on disk', async (t) => {
  const bitmap = new Bitmap(new Uint8Array(4096), 2, 8 * 64);
  bitmap.setBits(1, 32, 33);
  t.equal(
    bitmap.bytes.findIndex((byte) => byte !== 0),
    (1 * 2 + 1) * 4,
  );
  t.equal(bitmap.bytes[12], 3);
  t.notOk(bitmap.isSet(0, 32));
  t.ok(bitmap.isSet(1, 33));
});

t.test('dirty pages', async (t) => {
  const bitmap = new Bitmap(new Uint8Array(3 * 4096), 1, 3 * 32768 * 8);
  t.equal(bitmap.nextDirtyPage(0), -1);
  bitmap.setRange(0, 40_000 * 8, 4096);
  t.equal(bitmap.nextDirtyPage(0), 1);
  bitmap.setRange(0, 40_000 * 8, 4096);
  t.equal(bitmap.dirtyPages, 1);
  bitmap.clearDirty(1);
  bitmap.setRange(0, 40_000 * 8, 4096);
  t.equal(bitmap.dirtyPages, 0, 'nothing changed');
  bitmap.clearAll(0);
  t.equal(bitmap.nextDirtyPage(0), 1);
  t.strictSame(bitmap.pagesOfExtent(31), { first: 0, last: 0 });
  t.strictSame(bitmap.pagesOfExtent(32), { first: 1, last: 1 });
  const three = new Bitmap(new Uint8Array(2 * 4096), 3, 20_000 * 8);
  t.strictSame(three.pagesOfExtent(10), { first: 0, last: 1 }, 'an extent can lie on two pages');
});

t.test('what a bitmap sends, another one takes', async () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(699)), fc.uniqueArray(fc.nat(699)), (mine, theirs) => {
      const a = new Bitmap(new Uint8Array(4096), 1, 700 * 8);
      const b = new Bitmap(new Uint8Array(4096), 3, 700 * 8);
      for (const bit of mine) a.setBits(0, bit, bit);
      for (const bit of theirs) b.setBits(2, bit, bit);
      const buffer = new Uint8Array(3 + a.words * 8);
      for (let word = 0; word < a.words; word += 4) {
        const count = Math.min(4, a.words - word);
        a.readWords(0, word, count, buffer, 3);
        b.orWords(2, word, buffer, 3, count);
      }
      const union = new Set([...mine, ...theirs]);
      return b.weight(2) === union.size && [...union].every((bit) => b.isSet(2, bit)) && b.weight(0) === 0;
    }),
    { numRuns: 200 },
  );
});

t.test('bits behind the end of the device do not count', async (t) => {
  const image = new Uint8Array(4096).fill(0xff);
  const bitmap = new Bitmap(image, 1, 40 * 8);
  t.equal(bitmap.weight(0), 40);
  t.equal(bitmap.findNextClear(0, 0), -1);
  t.equal(bitmap.orWords(0, 0, new Uint8Array(16).fill(0xff), 0, 2), 0);
});

t.test('growing and shrinking', async (t) => {
  const bitmap = new Bitmap(new Uint8Array(4096), 2, 100 * 8);
  bitmap.setBits(0, 10, 99);
  bitmap.resize(new Uint8Array(8192).fill(0xaa), 300 * 8, true);
  t.equal(bitmap.weight(0), 90 + 200);
  t.equal(bitmap.weight(1), 200);
  t.equal(bitmap.dirtyPages, 2);
  bitmap.resize(new Uint8Array(4096), 50 * 8, false);
  t.equal(bitmap.weight(0), 40);
  t.equal(bitmap.weight(1), 0);
  t.throws(() => new Bitmap(new Uint8Array(4096), 1, 40_000 * 8), /do not hold/);
});

t.test('devices beyond 2^31 blocks', async (t) => {
  // A sparse look: one slot of a petabyte would be 32 GiB, so the block is made large instead.
  const bitmap = new Bitmap(new Uint8Array(4096 * 256), 1, 2 ** 40 / 512, 1 << 20);
  t.equal(bitmap.bits, 2 ** 20);
  bitmap.setRange(0, 2 ** 31 - 2048, 1 << 20);
  t.equal(bitmap.findNext(0, 0), 2 ** 20 - 1);
});
