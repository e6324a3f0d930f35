// Power cuts: every image of a disk that one could leave, while the engine's core works and while drbdmeta does. The core attaches them, and
// the stock drbdmeta reads them, with the same outputs and the same bytes as ours.
//
// UDRBD_CRASH_IMAGES=all reads every image with different meta-data, not a sample of them.

import { readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import {
  dirty,
  enterScratch,
  given,
  Interruption,
  indexWord,
  type Scenario,
  scenarios,
  writeDumps,
} from '../../packages/drbdmeta/src/testing/interruption.js';
import {
  checkAttach,
  decodeSuperblock,
  isClean,
  MDF,
  type MetaDataFormat,
  type MetaDataKind,
  placement,
  placementOf,
} from '../../packages/metadata/src/index.js';
import { Resource } from '../../packages/replication/src/index.js';
import { clock, MemoryNode } from '../../packages/replication/src/testing/pair.js';
import { CRASH_SCENARIOS, exploreCrashes, type MetaDataImage } from '../../packages/simulator/src/crash-images.js';
import { PageDigests } from '../../packages/simulator/src/page-digests.js';
import { SimDisk } from '../../packages/simulator/src/sim-disk.js';
import { runOurs } from './capture.js';
import type { Life, Operation } from './operations.js';
import { SideBySide } from './side-by-side.js';

const isComplete = process.env.UDRBD_CRASH_IMAGES === 'all';
const PAGE = 4096;
/** Images of one scenario that the stock tool gets, in the short form. */
const SAMPLE = isComplete ? Number.POSITIVE_INFINITY : 3;
/** Unflushed writes of which every subset is tried. */
const WINDOW = isComplete ? 6 : 2;

const leave = enterScratch();
const scratch = process.cwd();
const both = new SideBySide();
t.teardown(() => {
  both.close();
  leave();
});
t.before(writeDumps);

interface Image {
  readonly format: MetaDataFormat;
  readonly kind: MetaDataKind;
  readonly sizeBytes: number;
  /** Where the device ended before, if the meta-data have not moved yet. */
  readonly endBytes?: number;
  readonly pages: ReadonlyMap<number, Uint8Array>;
}

/** Stock and ours read an image, apply its log, and read it again. @returns what is wrong, in words */
async function readByStock(image: Image): Promise<string | undefined> {
  const operations: Operation[] = [];
  for (const [number, bytes] of image.pages) operations.push({ type: 'write', image: 'img', offset: number * PAGE, bytes });
  const drbdmeta = (...argv: readonly string[]): void => {
    operations.push({ type: 'run', argv: ['--force', '-', image.format, 'img', indexWord(image.kind), ...argv] });
  };
  const peer = image.format === 'v09' ? ['--node-id=1'] : [];
  if (image.endBytes !== undefined && image.endBytes !== image.sizeBytes) {
    operations.push({ type: 'record', minor: -1, text: `${image.endBytes}\timg\n` });
    drbdmeta('check-resize');
  }
  drbdmeta('dump-md');
  drbdmeta('show-gi', ...peer);
  drbdmeta('dstate');
  drbdmeta('apply-al');
  drbdmeta('dump-md');
  const life: Life = { images: { img: image.sizeBytes }, operations };
  const difference = await both.live(life);
  process.chdir(scratch);
  if (difference !== undefined) return difference;
  return both.exits.every((exit) => exit === 0) ? undefined : `refused by the stock tool: ${both.exits.join(' ')}`;
}

function say(what: string, counts: Readonly<Record<string, number>>): void {
  const words = Object.entries(counts).map(([name, count]) => `${count} ${name}`);
  process.stderr.write(`crash images, ${what}: ${words.join(', ')}\n`);
}

/** What is evenly spread over a list. */
const sampleOf = <T>(list: readonly T[]): readonly T[] =>
  list.length <= SAMPLE ? list : Array.from({ length: SAMPLE }, (_, i) => list[Math.floor((i * list.length) / SAMPLE)]!);

t.test('the core: every crash image is attached, and read by the stock drbdmeta as by ours', { timeout: 7_200_000 }, async (t) => {
  const total: Record<string, number> = {};
  let read = 0;
  for (const scenario of CRASH_SCENARIOS) {
    const found: MetaDataImage[] = [];
    const { counts, finding } = exploreCrashes(scenario, (setup) => new Resource(setup), {
      window: WINDOW,
      restartOneIn: isComplete ? 1 : 20,
      onMetaData: (image) => void found.push(image),
    });
    t.equal(finding, undefined, `${scenario.title}: ${counts.images} images`);
    for (const [what, count] of Object.entries(counts)) total[what] = (total[what] ?? 0) + count;
    for (const image of sampleOf(found)) {
      const problem = await readByStock({ ...image, kind: 'internal' });
      if (problem !== undefined) return t.fail(`${scenario.title}: ${problem}`);
      read++;
    }
  }
  say('core', { ...total, read });
});

if (isComplete) {
  t.test('the core: a torn super block loses nothing', { timeout: 7_200_000 }, async (t) => {
    const total: Record<string, number> = {};
    for (const scenario of CRASH_SCENARIOS) {
      const { counts, finding } = exploreCrashes(scenario, (setup) => new Resource(setup), {
        window: 4,
        restartOneIn: 1,
        tearsSuperblock: true,
      });
      t.equal(finding, undefined, `${scenario.title}: ${counts.images} images`);
      for (const [what, count] of Object.entries(counts)) total[what] = (total[what] ?? 0) + count;
    }
    say('core, super blocks torn too', total);
  });
}

/** Every state of the device between and during the writes of a command. */
async function crashImages(
  interruption: Interruption,
  tearsSuperblock: boolean,
  visit: (image: SimDisk, isTorn: boolean) => void,
): Promise<void> {
  const { before, format, target = format } = interruption.scenario;
  const disk = new SimDisk(interruption.sizes[0], true);
  for (let at = 0; at < before.bytes.length; at += PAGE) {
    const page = before.bytes.subarray(at, at + PAGE);
    if (page.some((byte) => byte !== 0)) disk.format(at, page);
  }
  const superblocks = new Set(interruption.sizes.map((deviceBytes) => placement({ kind: before.kind, deviceBytes }).superblockOffsetBytes));
  const look = (): void => {
    for (const kept of disk.cuts(WINDOW, tearsSuperblock)) {
      const last = kept.at(-1);
      visit(disk.after(kept), last !== undefined && last.sectors * 512 < last.write.length);
    }
  };
  look();
  const said = await interruption.complete({
    write(offset, bytes) {
      const write = disk.submit(offset, bytes, false, superblocks.has(offset) && bytes.length === PAGE);
      look();
      disk.complete(write);
    },
    flush() {
      disk.flushed(disk.flushPoint);
      look();
    },
  });
  if (said.status !== 0) throw new Error(`${target}: ${said.err}`);
}

/** Writes what differs from what stands in `buffer`. */
class Canvas {
  readonly buffer: Uint8Array;
  readonly #pages = new Map<number, Uint8Array>();

  constructor(bytes: number) {
    this.buffer = new Uint8Array(bytes);
  }

  show(disk: SimDisk): Uint8Array {
    for (const number of this.#pages.keys()) {
      if (disk.page(number) !== undefined) continue;
      this.buffer.fill(0, number * PAGE, (number + 1) * PAGE);
      this.#pages.delete(number);
    }
    for (const number of disk.pageNumbers()) {
      const page = disk.page(number)!;
      if (this.#pages.get(number) === page) continue;
      const at = number * PAGE;
      this.buffer.set(page.subarray(0, Math.min(PAGE, this.buffer.length - at)), at);
      this.#pages.set(number, page);
    }
    return this.buffer;
  }
}

/** The core takes the disk, as it does after `drbdadm up`. @returns what is wrong, in words */
function attach(image: Uint8Array, format: MetaDataFormat, kind: MetaDataKind): string | undefined {
  const where = placement({ kind, deviceBytes: image.length });
  const decoded = decodeSuperblock(format, image.subarray(where.superblockOffsetBytes, where.superblockOffsetBytes + PAGE));
  if (!decoded.ok) return `no super block after apply-al: ${decoded.error.reason}`;
  const metaData = decoded.value;
  const verdict = checkAttach(metaData, kind, format === 'v09' ? 0 : -1);
  if (!verdict.ok) return `${verdict.error.code}: ${verdict.error.info}`;
  const p = placementOf(metaData, kind, where.superblockOffsetBytes);
  const { flags } = metaData;
  clock.now = 0;
  const node = new MemoryNode('a', 0, image.length / 512);
  node.disk = image.slice();
  const sectors = kind === 'internal' ? image.length / 512 : 1 << 20;
  node.control({ command: 'new-minor', volume: 0, minor: 0, options: {} });
  node.control({ command: 'new-peer', connection: 0, peerNodeId: 1, options: {} });
  const operation = node.control({
    command: 'attach',
    volume: 0,
    disk: {
      backingDevice: '/dev/a',
      metaDevice: '/dev/a',
      metaIndex: kind === 'internal' ? 'internal' : 'flexible',
      backingSectors: sectors,
      metaSectors: image.length / 512,
      metaData,
      superblockOffsetBytes: p.superblockOffsetBytes,
      activityLogOffsetBytes: p.alOffsetBytes,
      bitmapOffsetBytes: p.bmOffsetBytes,
      usableSectors: Math.min(p.usableSectors, sectors),
      bitmap: image.slice(p.bmOffsetBytes, p.bmOffsetBytes + p.bmSizeBytes),
      options: {},
      hasWriteCache: true,
    },
  });
  for (let i = 0; i < 1000 && node.step(); i++);
  if (node.code(operation) !== 'ok') return `attach: ${node.code(operation)}`;
  const state = node.core.snapshot(0).volumes[0]!.diskState;
  const expected =
    (flags & MDF.CONSISTENT) === 0 ? ['Inconsistent'] : (flags & MDF.WAS_UP_TO_DATE) === 0 ? ['Outdated'] : ['Consistent', 'UpToDate'];
  return expected.includes(state) ? undefined : `attached as ${state}, flags ${flags.toString(16)}`;
}

const OURS = { UDRBD_STATE_DIR: 'state', UDRBD_LOCK_DIR: 'lock' };
const NOT_ATTACHED = { isAttached: () => Promise.resolve(false) };

/** What a user does with a disk before it is attached. */
async function attachAfterCommands(
  image: Uint8Array,
  { kind }: { kind: MetaDataKind },
  format: MetaDataFormat,
): Promise<string | undefined> {
  writeFileSync('img', image);
  const applied = await runOurs(['--force', '-', format, 'img', indexWord(kind), 'apply-al'], OURS, undefined, NOT_ATTACHED);
  if (applied.exit !== 0) return `apply-al: ${applied.stderr}`;
  const now = new Uint8Array(readFileSync('img'));
  return attach(now, format, kind);
}

const counts = { images: 0, torn: 0, distinct: 0, attached: 0, read: 0 };

for (const scenario of [
  ...scenarios,
  // The other halves of what a user does with a disk.
  ...(['v08', 'v09'] as const).map(
    (format): Scenario => ({ title: `outdate ${format}`, before: given(format, 'internal', { bits: 1 }), format, command: ['outdate'] }),
  ),
  {
    title: 'forget-peer',
    before: given('v09', 'internal', { ...dirty, flags: dirty.flags | MDF.AL_CLEAN }),
    format: 'v09',
    command: ['forget-peer', '--node-id=1'],
  } satisfies Scenario,
]) {
  t.test(scenario.title, { timeout: 3_600_000 }, async (t) => {
    const { before } = scenario;
    const interruption = new Interruption(scenario);
    await interruption.complete();
    const canvas = new Canvas(interruption.sizes[0]);
    const seen = new Map<string, Map<number, Uint8Array>>();
    const problems: string[] = [];
    let images = 0;
    let torn = 0;
    await crashImages(interruption, false, (image, isTorn) => {
      images++;
      if (isTorn) torn++;
      const digest = new PageDigests().of(image);
      if (seen.has(digest)) return;
      const verdict = interruption.judge(canvas.show(image));
      if (verdict !== 'ok') problems.push(`image ${images}: ${verdict}`);
      seen.set(digest, new Map([...image.pageNumbers()].map((number) => [number, image.page(number)!.slice()])));
    });
    t.strictSame(problems, [], `${images} images, ${torn} torn, ${seen.size} different`);
    counts.images += images;
    counts.torn += torn;
    counts.distinct += seen.size;
    const sizeBytes = interruption.sizes[0];
    for (const pages of sampleOf([...seen.values()])) {
      const image = new Uint8Array(sizeBytes);
      for (const [number, page] of pages) image.set(page.subarray(0, sizeBytes - number * PAGE), number * PAGE);
      const found = interruption.find(image);
      if (found === undefined || found.format === 'v07') continue;
      interruption.start();
      writeFileSync('img', image);
      const isAtEnd = placement({ kind: before.kind, deviceBytes: sizeBytes });
      // Meta-data where the device ended before: drbdadm moves them before it attaches.
      const inPlace = decodeSuperblock(
        found.format,
        image.subarray(isAtEnd.superblockOffsetBytes, isAtEnd.superblockOffsetBytes + PAGE),
      ).ok;
      if (!inPlace) {
        const moved = await interruption.run();
        if (moved.status !== 0) return t.fail(`not moved: ${moved.err}`);
      } else {
        const problem = await readByStock({ format: found.format, kind: before.kind, sizeBytes, pages });
        if (problem !== undefined) return t.fail(problem);
        counts.read++;
        writeFileSync('img', image);
      }
      const problem = await attachAfterCommands(new Uint8Array(readFileSync('img')), before, found.format);
      if (problem !== undefined) return t.fail(`${problem}; the log was ${isClean(found.md) ? 'clean' : 'unclean'}`);
      counts.attached++;
    }
  });
}

t.test('enough was looked at', async (t) => {
  t.ok(counts.attached > scenarios.length && counts.read > scenarios.length);
  say('drbdmeta', counts);
});
