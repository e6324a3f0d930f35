import t from 'tap';
import { compareUuids, hasBegun, type UuidContext } from './compare-uuids.js';
import { type Generations, uuidIdentity } from './generations.js';

const set = (text: string): Generations => {
  const [current, bitmap, h1, h2] = text.split(':').map((hex) => BigInt(`0x${hex}`)) as [bigint, bigint, bigint, bigint];
  return { current, bitmap, history: [h1, h2] };
};
const CALM: UuidContext = {
  selfCrashedPrimary: false,
  peerCrashedPrimary: false,
  selfPrimary: false,
  peerPrimary: false,
  resolveConflicts: true,
  apv: 101,
  features: 0xf,
};
const mirror = (ctx: UuidContext): UuidContext => ({
  ...ctx,
  selfCrashedPrimary: ctx.peerCrashedPrimary,
  peerCrashedPrimary: ctx.selfCrashedPrimary,
  selfPrimary: ctx.peerPrimary,
  peerPrimary: ctx.selfPrimary,
  resolveConflicts: !ctx.resolveConflicts,
});

/** Computed from the rules of DRBD 8.4. */
const VECTORS: readonly [name: string, mine: string, peer: string, my: [number, number], theirs: [number, number]][] = [
  ['fresh both', '4:0:0:0', '4:0:0:0', [0, 10], [0, 10]],
  ['fresh / used', '4:0:0:0', 'A0:0:0:0', [-2, 20], [2, 30]],
  ['equal, bit 0 differs', 'A0:0:B0:C0', 'A1:0:B0:C0', [0, 40], [0, 40]],
  ['I wrote alone', 'D1:A0:B0:C0', 'A0:0:B0:C0', [1, 70], [-1, 50]],
  ['both wrote alone', 'D1:A0:B0:C0', 'E1:A0:B0:C0', [100, 90], [100, 90]],
  ['I, the source, missed the end', 'A0:10000000000B0:B0:C0', 'A0:0:10000000000B0:B0', [1, 34], [-1, 35]],
  ['sync UUID packet lost', 'A0:0:B0:C0', 'D0:10000000000A0:A0:B0', [-1, 51], [1, 71]],
  ['I am two generations old', 'B0:0:C0:0', 'D0:A0:B0:C0', [-2, 60], [2, 80]],
  ['only an ancestor is common', 'A0:0:C0:F0', 'D0:0:C0:F2', [-100, 100], [-100, 100]],
  ['zero history on both', 'A0:0:0:0', 'D0:0:0:0', [-100, 100], [-100, 100]],
  ['unrelated', 'A0:0:B0:C0', 'D0:0:E0:F0', [-1000, 100], [-1000, 100]],
];

t.test('the computed vectors, seen from both sides', async (t) => {
  for (const [name, mine, peer, my, theirs] of VECTORS) {
    const here = compareUuids(set(mine), set(peer), CALM);
    const there = compareUuids(set(peer), set(mine), mirror(CALM));
    t.strictSame([here.result, here.rule], my, `${name}: mine`);
    t.strictSame([there.result, there.rule], theirs, `${name}: the peer's`);
  }
});

t.test('crashed Primaries with equal UUIDs', async (t) => {
  const same = set('A0:0:B0:C0');
  const of = (ctx: Partial<UuidContext>) => {
    const { result, rule } = compareUuids(same, same, { ...CALM, ...ctx });
    return [result, rule];
  };
  t.strictSame(of({ selfCrashedPrimary: true }), [1, 40]);
  t.strictSame(of({ peerCrashedPrimary: true }), [-1, 40]);
  t.strictSame(of({ selfCrashedPrimary: true, peerCrashedPrimary: true }), [-1, 40]);
  t.strictSame(of({ selfCrashedPrimary: true, peerCrashedPrimary: true, resolveConflicts: false }), [1, 40]);
  t.strictSame(of({ peerCrashedPrimary: true, selfPrimary: true }), [1, 41], 'the present Primary wins');
  t.strictSame(of({ selfCrashedPrimary: true, peerPrimary: true }), [-1, 41]);
  t.strictSame(of({ selfCrashedPrimary: true, selfPrimary: true, peerPrimary: true }), [-100, 41]);
  const old = compareUuids(same, same, { ...CALM, selfCrashedPrimary: true, selfPrimary: true, features: 3 });
  t.match(old, { result: -1000, needsProtocol: 101, needsFeatures: 4 });
});

t.test('what was missed is corrected to what the other side has', async (t) => {
  const source = compareUuids(set('A0:10000000000B0:B0:C0'), set('A0:0:10000000000B0:B0'), CALM);
  t.strictSame(source.selfCorrected, set('A0:0:10000000000B0:B0'));
  const target = compareUuids(set('A0:0:10000000000B0:B0'), set('A0:10000000000B0:B0:C0'), CALM);
  t.strictSame(target.peerCorrected, set('A0:0:10000000000B0:B0'));
  const lost = compareUuids(set('D0:10000000000A0:A0:B0'), set('A0:0:B0:C0'), CALM);
  t.strictSame(lost.selfCorrected, set('D0:A0:B0:B0'));
});

t.test('rules 36 and 37: a target that never wrote the sync UUID', async (t) => {
  t.match(compareUuids(set('A0:F0:B0:C0'), set('A0:0:D0:E0'), CALM), { result: 1, rule: 36 });
  t.match(compareUuids(set('A0:0:D0:E0'), set('A0:F0:B0:C0'), CALM), { result: -1, rule: 37 });
});

t.test('a resync out of a split brain that the target has not heard of', async (t) => {
  const before = set('E1:A1:B0:C0');
  const rows: readonly [what: string, source: string, target: Generations, result: number, begun: boolean][] = [
    ['not begun', 'D1:A1:B0:C0', before, 100, false],
    ['the sync UUID was lost', 'D1:10000000000A1:A1:B0', before, -100, true],
    ['and the source went its own way', 'F1:10000000000A1:D1:A1', before, -1000, true],
    ['another target', 'D1:10000000000A1:A1:B0', set('E1:B1:B0:0'), -100, false],
    ['taken', 'D1:10000000000A1:A1:B0', set('10000000000A0:0:B0:C0'), 1, false],
    ['taken, then promoted by force', 'D1:10000000000A1:A1:B0', set('F1:10000000000A1:B0:C0'), 100, false],
    ['through', 'D1:10000000000A1:A1:B0', set('D0:0:10000000000A0:A0'), 1, false],
    ['through, and written since', 'D1:10000000000A1:A1:B0', set('F1:D1:10000000000A0:A0'), -1, false],
    ['parted from one that was through, and has written', 'D3:10000000000A1:D1:A1', set('F1:D1:10000000000A0:A0'), -100, false],
  ];
  for (const [what, source, target, result, begun] of rows) {
    const here = compareUuids(set(source), target, CALM);
    t.strictSame([here.result, here.begun], [result, begun ? 'self' : undefined], what);
    t.equal(hasBegun(set(source), target), begun, what);
    const there = compareUuids(target, set(source), mirror(CALM));
    t.strictSame([there.result, there.begun], [Math.abs(result) < 100 ? -result : result, begun ? 'peer' : undefined], what);
  }
});

t.test('old protocols', async (t) => {
  t.match(compareUuids(set('A0:F0:B0:C0'), set('A0:0:D0:E0'), { ...CALM, apv: 90 }), { result: -1000, needsProtocol: 91 });
  t.match(compareUuids(set('A0:0:B0:C0'), set('D0:1:A0:B0'), { ...CALM, apv: 95 }), { result: -1, rule: 51 });
});

t.test('verdicts mirror for all UUID sets over a small alphabet', async (t) => {
  // With a sync UUID among the values, so that the fix-up rules are reached.
  const values = ['0', '4', 'A0', 'B0', 'C0', '10000000000A0'].map((hex) => BigInt(`0x${hex}`));
  const sets: Generations[] = [];
  for (const current of values.slice(1))
    for (const bitmap of values) for (const h1 of values) for (const h2 of values) sets.push({ current, bitmap, history: [h1, h2] });
  const contexts: UuidContext[] = [
    CALM,
    { ...CALM, selfCrashedPrimary: true },
    { ...CALM, selfCrashedPrimary: true, peerCrashedPrimary: true },
  ];
  let pairs = 0;
  const rules = new Set<number>();
  for (let i = 0; i < sets.length; i += 1) {
    // Every set against a seventh of the others, shifted from set to set: all pairs of shapes occur.
    for (let j = i % 7; j < sets.length; j += 7) {
      const a = sets[i]!;
      const b = sets[j]!;
      if (descendsFrom(a, b) && descendsFrom(b, a)) continue;
      for (const ctx of contexts) {
        const here = compareUuids(a, b, ctx);
        const there = compareUuids(b, a, mirror(ctx));
        rules.add(here.rule);
        pairs++;
        const symmetric = here.result === 0 || Math.abs(here.result) >= 100;
        if (there.result !== (symmetric ? here.result : -here.result)) {
          t.fail(`${show(a)} against ${show(b)}: ${here.result} by ${here.rule} here, ${there.result} by ${there.rule} there`);
          return;
        }
        const begun = here.begun === undefined ? undefined : here.begun === 'self' ? 'peer' : 'self';
        if (there.begun !== begun)
          return void t.fail(`${show(a)} against ${show(b)}: begun by ${here.begun} here, by ${there.begun} there`);
      }
    }
  }
  t.ok(pairs > 100_000, `${pairs} pairs`);
  t.strictSame(
    [...rules].sort((x, y) => x - y),
    [10, 20, 30, 34, 35, 36, 37, 40, 50, 51, 60, 70, 71, 80, 90, 100],
  );
});

/** Whether the past of `a` contains the present of `b`. Both ways at once is a circle that no history of events makes. */
const descendsFrom = (a: Generations, b: Generations): boolean =>
  !equal(a.current, b.current) && [a.bitmap, ...a.history].some((uuid) => equal(uuid, b.current));
const equal = (a: bigint, b: bigint): boolean => uuidIdentity(a) === uuidIdentity(b);
const show = (g: Generations): string => [g.current, g.bitmap, ...g.history].map((uuid) => uuid.toString(16)).join(':');
