import { Resource } from '@udrbd/replication';
import t from 'tap';
import { digestOf } from './digest.js';
import { EventQueue } from './event-queue.js';
import { History, type HistoryWrite, type NodeId } from './history.js';
import { type LifeResult, runLife } from './life.js';
import type { Canary } from './life-plan.js';
import { areZeroes, SlotBuffer, zeroes } from './payload.js';
import { Prng } from './prng.js';
import { SimDisk } from './sim-disk.js';
import { ALIEN, readStamp, SECTOR, stampSectors } from './stamp.js';

const createCore = (setup: ConstructorParameters<typeof Resource>[0]): Resource => new Resource(setup);

t.test('a sector knows where it belongs and whether it is whole', async (t) => {
  const bytes = new Uint8Array(3 * SECTOR);
  stampSectors(bytes, 70, 5);
  t.equal(readStamp(bytes, SECTOR, 71), 5);
  t.equal(readStamp(bytes, SECTOR, 72), ALIEN, 'misdirected');
  bytes[2 * SECTOR - 1]! ^= 1;
  t.equal(readStamp(bytes, SECTOR, 71), ALIEN, 'torn inside');
  t.equal(readStamp(new Uint8Array(SECTOR), 0, 9), 0);
});

t.test('events run by time, then by order of scheduling', async (t) => {
  const queue = new EventQueue();
  const seen: string[] = [];
  queue.after(20, () => seen.push('c'));
  queue.after(10, () => {
    seen.push('a');
    queue.after(0, () => seen.push('b'));
  });
  queue.cancel(queue.after(5, () => seen.push('never')));
  queue.after(20, () => seen.push('d'));
  while (queue.step(1000));
  t.equal(seen.join(''), 'abcd');
});

t.test('random streams are repeatable and apart from each other', async (t) => {
  const draw = (seed: number, stream: string): string => Array.from({ length: 5 }, () => new Prng(seed, stream).u32()).join();
  t.equal(draw(7, 'disk'), draw(7, 'disk'));
  t.not(draw(7, 'disk'), draw(7, 'node'));
  t.not(draw(7, 'disk'), draw(8, 'disk'));
  const prng = new Prng(1, 'range');
  for (let i = 0; i < 1000; i++) t.ok(Math.abs(prng.range(-2, 2)) <= 2);
});

t.test('a power cut keeps what was flushed or forced, and any part of the rest', async (t) => {
  const kept = new Set<string>();
  for (let seed = 0; seed < 64; seed++) {
    const disk = new SimDisk(65_536, true);
    const put = (offset: number, fill: number, fua = false): void =>
      disk.complete(disk.submit(offset, new Uint8Array(1024).fill(fill), fua));
    put(0, 1);
    disk.flushed(disk.flushPoint);
    put(0, 2);
    const point = disk.flushPoint;
    put(4096, 3);
    put(8192, 4, true);
    disk.flushed(point);
    disk.powerCut(new Prng(seed, 'cut'), 50);
    t.equal(disk.read(0, 1)[0], 2, 'flushed');
    t.equal(disk.read(8192, 1)[0], 4, 'forced');
    kept.add(`${disk.read(4096, 1)[0]}${disk.read(4608, 1)[0]}`);
  }
  t.strictSame([...kept].sort(), ['00', '03', '30', '33'], 'torn by sectors, lost or kept');
});

t.test('nothing of a write survives a power cut without the flush in front of it', async (t) => {
  const kept = new Set<string>();
  for (let seed = 0; seed < 64; seed++) {
    const disk = new SimDisk(65_536, true);
    disk.complete(disk.submit(0, new Uint8Array(512).fill(1), false));
    disk.submit(4096, new Uint8Array(512).fill(2), true, false, disk.flushPoint);
    disk.powerCut(new Prng(seed, 'cut'), 0);
    kept.add(`${disk.read(0, 1)[0]}${disk.read(4096, 1)[0]}`);
  }
  t.strictSame([...kept].sort(), ['00', '10', '12']);
});

t.test('an older cached write does not come back over one that was forced', async (t) => {
  for (let seed = 0; seed < 16; seed++) {
    const disk = new SimDisk(65_536, true);
    disk.complete(disk.submit(0, new Uint8Array(512).fill(1), false));
    disk.complete(disk.submit(0, new Uint8Array(512).fill(2), true));
    disk.powerCut(new Prng(seed, 'cut'), 0);
    t.equal(disk.read(0, 1)[0], 2);
  }
});

t.test('payloads are shared, and a disk still holds what was written to it', async (t) => {
  const pages = 12;
  const size = pages * 4096;
  for (let seed = 0; seed < 40; seed++) {
    const prng = new Prng(seed, 'shared');
    const disk = new SimDisk(size, true);
    /** The same disk without any sharing. */
    const plain = new Uint8Array(size);
    const seen: { readonly view: Uint8Array; readonly before: Uint8Array }[] = [];
    for (let i = 0; i < 120; i++) {
      const sector = prng.below(size / SECTOR);
      const offset = (prng.chance(1, 2) ? sector - (sector % 8) : sector) * SECTOR;
      const length = Math.min(size - offset, (1 + prng.below(24)) * SECTOR);
      const view = disk.view(offset, length);
      if (Buffer.compare(view, plain.subarray(offset, offset + length)) !== 0) t.fail(`seed ${seed}: what is read at ${offset}`);
      seen.push({ view, before: view.slice() });
      const dice = prng.below(6);
      const payload = dice === 0 ? zeroes(length) : dice === 1 ? new Uint8Array(length) : new Uint8Array(length).fill(1 + i);
      if (dice === 5) {
        // A copy of what is there, as a resync makes it.
        const to = prng.below((size - length) / SECTOR + 1) * SECTOR;
        disk.complete(disk.submitKept(to, view, prng.chance(1, 2)));
        plain.set(view, to);
      } else if (dice === 4) {
        disk.complete(disk.submitZeroes(offset, length, false));
        plain.fill(0, offset, offset + length);
      } else {
        disk.complete(disk.submitKept(offset, payload, prng.chance(1, 4)));
        plain.set(payload, offset);
      }
      if (prng.chance(1, 5)) disk.flushed(disk.flushPoint);
    }
    disk.flushed(disk.flushPoint);
    t.ok(Buffer.compare(disk.readStable(0, size), plain) === 0 && Buffer.compare(disk.read(0, size), plain) === 0, `seed ${seed}`);
    t.ok(
      seen.every(({ view, before }) => Buffer.compare(view, before) === 0),
      'what was handed out has not changed',
    );
  }
  t.equal(Buffer.compare(zeroes(1024 * 1024), new Uint8Array(1024 * 1024)), 0);
});

t.test('a digest depends on every byte, zeroes or not', async (t) => {
  const prng = new Prng(3, 'digest');
  const hex = (bytes: Uint8Array): string => Buffer.from(digestOf(bytes, 4)).toString('hex');
  const seen = new Set<string>();
  for (let i = 0; i < 300; i++) {
    const bytes = new Uint8Array((1 + prng.below(40)) * SECTOR);
    t.equal(hex(bytes), hex(zeroes(bytes.length)));
    for (let sector = 0; sector < bytes.length / SECTOR; sector++)
      if (prng.chance(1, 8)) stampSectors(bytes.subarray(sector * SECTOR, (sector + 1) * SECTOR), sector, 1 + i);
    const at = prng.below(bytes.length);
    const before = hex(bytes);
    bytes[at]! ^= 1 << prng.below(8);
    if (hex(bytes) === before) t.fail(`byte ${at} of ${bytes.length}`);
    seen.add(hex(bytes));
    // The same one place further on.
    bytes.copyWithin(SECTOR, 0);
    bytes.fill(0, 0, SECTOR);
    seen.add(hex(bytes));
  }
  t.ok(seen.size > 580, `${seen.size}`);
});

t.test('a buffer takes a payload whole or in parts', async (t) => {
  const part = (fill: number): Uint8Array => new Uint8Array(SECTOR).fill(fill);
  const whole = part(1);
  const buffer = new SlotBuffer(zeroes(SECTOR));
  buffer.put(whole, 0);
  t.equal(buffer.bytes, whole);
  buffer.spoil();
  t.equal(whole[0], 1, 'who has it keeps it');
  t.equal(buffer.bytes[SECTOR - 1], 0xa5);
  const long = new SlotBuffer(zeroes(2 * SECTOR));
  long.put(part(2), SECTOR);
  long.put(part(1), 0);
  t.strictSame([long.bytes[0], long.bytes[SECTOR]], [1, 2]);
  t.ok(!areZeroes(long.bytes) && areZeroes(zeroes(SECTOR).subarray(8)));
});

t.test('what a reader may see', async (t) => {
  const history = new History();
  const first = history.begin(0, false, 8, 8, false, 10);
  history.end(first, true, true, 1, 20);
  const second = history.begin(0, false, 8, 8, false, 30);
  t.equal(history.complaint(0, 8, first.id, 40), undefined, 'the second one still runs');
  t.equal(history.complaint(0, 8, second.id, 40), undefined);
  history.end(second, true, true, undefined, 50);
  t.match(history.complaint(0, 8, first.id, 60), /write 2 of node 0/);
  t.equal(history.complaint(0, 8, first.id, 45), undefined, 'the read began before');
  t.equal(history.complaint(1, 8, first.id, 60), undefined, 'the peer was not told of the second');
  t.match(history.complaint(1, 8, 0, 60), /is zero/);
  t.match(history.complaint(0, 8, ALIEN, 60), /no write/);
  t.match(history.complaint(0, 9, 77, 60), /never was/);
  t.strictSame(
    history.missing(0, 1).map((write) => write.id),
    [2],
  );
  history.crashed(0, 70);
  t.equal(history.running, 0);
});

t.test('what may be seen where two Primaries wrote', async (t) => {
  const history = new History();
  const old = history.begin(0, false, 8, 8, false, 10);
  history.end(old, true, true, 1, 20);
  const resolvers = history.begin(1, false, 8, 8, false, 30);
  const superseded = history.begin(0, false, 12, 4, false, 31);
  history.end(superseded, true, true, 1, 40);
  t.equal(history.complaint(1, 12, old.id, 45), undefined, "the resolver's write still runs");
  t.match(history.complaint(0, 12, old.id, 45), /write 3 of node 0/, 'on its own node it is seen');
  t.equal(history.complaint(0, 12, resolvers.id, 45), undefined, 'or what ran beside it');
  history.end(resolvers, true, true, 0, 50);
  t.match(history.complaint(1, 12, old.id, 60), /was completed after that/);
  for (const node of [0, 1] as const) {
    t.equal(history.complaint(node, 12, superseded.id, 60), undefined, 'they ran at the same time');
    t.equal(history.complaint(node, 12, resolvers.id, 60), undefined);
  }
  const later = history.begin(1, false, 12, 4, false, 70);
  const crossing = history.begin(0, false, 12, 4, false, 71);
  history.end(crossing, true, true, 1, 80);
  t.strictSame(history.crashed(1, 90).includes(crossing.id), true, 'a resolver that goes down meanwhile');
  t.equal(history.complaint(1, 12, resolvers.id, 100), undefined);
  t.equal(later.state, 'unknown');
});

/** The rule for what a sector may hold, said plainly: every write of it is looked at. */
function plainlyComplains(history: History, node: NodeId, sector: number, value: number, before: number): boolean {
  const list = history.writes.filter((write) => sector >= write.sector && sector < write.sector + write.sectors);
  const isNewerThan = (end: number): boolean =>
    list.some((write) => {
      if (write.start <= end || write.end > before || write.state !== 'ok' || !history.obliged[node].has(write.id)) return false;
      return write.node === node || !list.some((other) => other.node === node && other.start < write.end && other.end > before);
    });
  if (value === 0) return isNewerThan(Number.NEGATIVE_INFINITY) && list.every((write) => !write.isZero || isNewerThan(write.end));
  const held = list.find((write) => write.id === value);
  return held === undefined || isNewerThan(held.end);
}

t.test('what a sector may hold is the same when not every write is looked at', async (t) => {
  const counts = { complaints: 0, none: 0 };
  for (let seed = 0; seed < 60; seed++) {
    const prng = new Prng(seed, 'history');
    const history = new History();
    const running: HistoryWrite[] = [];
    for (let now = 10; now < 200; now += prng.below(4)) {
      const dice = prng.below(20);
      const node: NodeId = prng.chance(1, 4) ? 1 : 0;
      if (dice < 8) running.push(history.begin(node, prng.chance(1, 4), prng.below(6), 1 + prng.below(3), false, now));
      else if (dice < 16 && running.length > 0) {
        const write = running.splice(prng.below(running.length), 1)[0]!;
        history.end(write, prng.chance(9, 10), prng.chance(4, 5), prng.chance(4, 5) ? (write.node === 0 ? 1 : 0) : undefined, now);
      } else if (dice === 16) {
        history.crashed(node, now);
        for (let i = running.length - 1; i >= 0; i--) if (running[i]!.node === node) running.splice(i, 1);
      }
      const [sector, before] = [prng.below(8), now - prng.below(12)];
      for (const reader of [0, 1] as const) {
        for (const value of [0, 1 + prng.below(history.writes.length + 1), Math.max(1, history.writes.length - prng.below(4))]) {
          const complains = plainlyComplains(history, reader, sector, value, before);
          if ((history.complaint(reader, sector, value, before) !== undefined) !== complains) t.fail(`seed ${seed}, at ${now}`);
          counts[complains ? 'complaints' : 'none']++;
        }
      }
    }
  }
  t.ok(counts.complaints > 1000 && counts.none > 1000, JSON.stringify(counts));
});

t.test('one seed, one life', async (t) => {
  const [one, two] = [runLife(11, createCore), runLife(11, createCore)];
  t.equal(one.traceHash, two.traceHash);
  t.equal(one.events, two.events);
});

t.test('lives without a violation', async (t) => {
  for (let seed = 1; seed <= 8; seed++) t.equal(runLife(seed, createCore).failure, undefined, `seed ${seed}`);
});

t.test('lives with two Primaries without a violation', async (t) => {
  for (let seed = 1; seed <= 8; seed++) t.equal(runLife(seed, createCore, { twoPrimaries: true }).failure, undefined, `seed ${seed}`);
});

/** The others take longer to show: `scripts/sim --canaries` is for all of them. */
const QUICK: readonly (readonly [Canary, RegExp])[] = [
  ['flush-lies', /^D[24]/],
  ['skip-al-write', /^M2/],
  ['answer-before-al', /^M2/],
  ['drop-mirrored-write', /^D/],
  ['drop-mirrored-zeroes', /^D/],
  ['mixed-payload', /^D/],
  ['skip-apply-al', /^D/],
  ['misdirect-write', /^D/],
  ['stale-superblock', /^D/],
  ['forget-primary-flag', /^D/],
];

t.test('deliberate mistakes are noticed', async (t) => {
  for (const [canary, as] of QUICK) {
    let found: LifeResult | undefined;
    for (let seed = 1; seed <= 40 && found === undefined; seed++) {
      const result = runLife(seed, createCore, { canary });
      if (result.failure !== undefined && as.test(result.failure)) found = result;
    }
    t.match(found?.failure, as, `${canary}: seed ${found?.seed}`);
  }
});
