/** The scenarios themselves run in conformance/drbdmeta/crash-images.test.ts, where the stock tool reads what they leave. */
import { Resource } from '@udrbd/replication';
import t from 'tap';
import { CRASH_SCENARIOS, exploreCrashes } from './crash-images.js';
import type { Canary } from './life-plan.js';
import { PageDigests } from './page-digests.js';
import { SimDisk } from './sim-disk.js';

const block = (fill: number, length = 1024): Uint8Array => new Uint8Array(length).fill(fill);

/** First bytes of the sectors 0, 1, 8, 9 of all images. */
function imagesOf(disk: SimDisk, window: number, tearsAtomic = false): string[] {
  const images = new Set<string>();
  for (const kept of disk.cuts(window, tearsAtomic)) {
    const image = disk.after(kept);
    images.add([0, 512, 4096, 4608].map((offset) => image.read(offset, 1)[0]).join(''));
  }
  return [...images].sort();
}

t.test('a power cut leaves every subset of what is not durable, the last write torn', async (t) => {
  const disk = new SimDisk(65_536, true);
  disk.complete(disk.submit(0, block(1), false));
  disk.flushed(disk.flushPoint);
  t.strictSame(imagesOf(disk, 6), ['1100'], 'flushed');
  disk.complete(disk.submit(0, block(2), false));
  disk.submit(4096, block(3), false);
  t.strictSame(imagesOf(disk, 6), ['1100', '1130', '1133', '2100', '2200', '2230', '2233']);
  t.strictSame(imagesOf(disk, 1), ['1100', '1130', '1133', '2100', '2200', '2230', '2233'], 'what is older is all kept or all lost');
});

t.test('forced writes stay, a unit of the disk is not torn, nothing overtakes its own flush', async (t) => {
  const disk = new SimDisk(65_536, true);
  disk.complete(disk.submit(0, block(1), false));
  disk.complete(disk.submit(0, block(2, 512), true));
  t.strictSame(imagesOf(disk, 6), ['2000', '2100'], 'an older write does not come back over it');
  disk.submit(4096, block(3), true, true, disk.flushPoint);
  t.strictSame(imagesOf(disk, 6), ['2000', '2100', '2133']);
  t.strictSame(imagesOf(disk, 6, true), ['2000', '2100', '2130', '2133']);
});

t.test('an image has nothing to do with the disk that goes on', async (t) => {
  const disk = new SimDisk(65_536, true);
  disk.format(0, block(1));
  const [kept] = [...disk.cuts(6)];
  const restarted = disk.after(kept!).restarted();
  restarted.complete(restarted.submit(0, block(9), true));
  disk.complete(disk.submit(4096, block(5), true));
  t.equal(disk.read(0, 1)[0], 1);
  t.equal(restarted.read(4096, 1)[0], 0);
  t.equal(new PageDigests().of(restarted), new PageDigests().of(restarted.restarted()));
  t.not(new PageDigests().of(restarted), new PageDigests().of(disk));
});

/** Title, mistake, how it is noticed. */
const MISTAKES: readonly (readonly [string, Canary, RegExp])[] = [
  ['role changes', 'flush-lies', /D4/],
  ['role changes', 'skip-preflush', /D5/],
  ['role changes', 'skip-al-write', /M2/],
  ['role changes, v08', 'answer-before-al', /M2/],
  ['role changes', 'forget-primary-flag', /D5/],
  ['activity log, extents evicted while alone', 'forget-bitmap-page', /D5/],
  ['activity log, extents evicted while alone', 'forget-bitmap-bit', /D5/],
  ['a detached Primary, and attached again', 'skip-apply-al', /D5/],
];

t.test('deliberate mistakes are noticed in the images', async (t) => {
  for (const [title, canary, as] of MISTAKES) {
    const scenario = CRASH_SCENARIOS.find((row) => row.title === title)!;
    const { finding } = exploreCrashes(scenario, (setup) => new Resource(setup), { window: 2, restartOneIn: 5, plan: { canary } });
    t.match(finding?.failure, as, `${canary} in ${title}`);
  }
});
