// @ts-expect-error: comes with chevrotain, without types
import * as lodash from 'lodash-es';
import t from 'tap';
// @ts-expect-error: plain JavaScript for the bundler
import * as slim from '../slim-lodash.mjs';

type Functions = Readonly<Record<string, (...args: unknown[]) => unknown>>;
const real = lodash as unknown as Functions;
const ours = slim as Functions;

const isOdd = (x: unknown) => (x as number) % 2 === 1;
const twice = (x: unknown) => (x as number) * 2;
const people = [
  { name: 'a', age: 1 },
  { name: 'b', age: 2 },
  { name: 'c', age: 1 },
];
const lists = [[], [1, 2, 3, 2, 0], ['x', '', null, undefined, false]];
const object = { a: 1, b: undefined, c: 3 };

/** Arguments for each function, as chevrotain uses it. */
const CALLS: Readonly<Record<string, readonly (readonly unknown[])[]>> = {
  clone: [[[1, 2]], [object], [3], [null]],
  compact: lists.map((l) => [l]),
  difference: [[[1, 2, 3], [2], [3]]],
  drop: [[[1, 2, 3]], [[1, 2, 3], 2]],
  dropRight: [[[1, 2, 3]], [[1, 2, 3], 2], [[1, 2, 3], 0]],
  every: [
    [[1, 3], isOdd],
    [[1, 2], isOdd],
    [object, isOdd],
  ],
  filter: [
    [[1, 2, 3], isOdd],
    [people, { age: 1 }],
    [object, isOdd],
  ],
  find: [
    [[2, 3], isOdd],
    [people, { name: 'b' }],
  ],
  first: [[[1, 2]], [[]]],
  flatMap: [[[1, 2], (x: unknown) => [x, x]]],
  flatten: [[[[1], [2, [3]]]]],
  groupBy: [
    [people, 'age'],
    [[1, 2, 3], isOdd],
  ],
  has: [
    [object, 'b'],
    [object, 'z'],
    [{ 1: 2 }, 1],
    [null, 'a'],
  ],
  includes: [
    [[1, 2], 2],
    [object, 3],
    ['abc', 'b'],
  ],
  indexOf: [
    [[1, 2], 2],
    [[1], 5],
  ],
  isEmpty: [[[]], [{}], [null], [[1]], [object], ['']],
  keys: [[object], [undefined]],
  last: [[[1, 2]], [[]]],
  map: [
    [[1, 2], twice],
    [{ a: 1, b: 2 }, twice],
    [people, 'name'],
  ],
  max: [[[1, 5, 2]], [[]]],
  pickBy: [[object, (x: unknown) => x !== undefined]],
  reduce: [
    [[1, 2, 3], (a: number, x: number, i: number) => a + x * i, 10],
    [{ a: 1, b: 2 }, (a: number, x: number) => a + x, 0],
  ],
  reject: [
    [[1, 2, 3], isOdd],
    [people, { age: 1 }],
  ],
  some: [
    [[2, 4], isOdd],
    [[2, 3], isOdd],
  ],
  uniq: [[[1, 2, 1, 3, 2]]],
  upperFirst: [['abc'], ['']],
  values: [[object], [undefined]],
};

t.test('the stand-in for lodash gives what lodash gives', async (t) => {
  for (const [name, calls] of Object.entries(CALLS))
    for (const args of calls) t.strictSame(ours[name]!(...args), real[name]!(...args), `${name}(${JSON.stringify(args)})`);
  t.strictSame(ours.defaults!({ a: 1, b: undefined }, { b: 2, c: 3 }), real.defaults!({ a: 1, b: undefined }, { b: 2, c: 3 }));
  const seen: unknown[] = [];
  ours.forEach!([1, 2, 3], (x: unknown, i: unknown) => {
    seen.push([x, i]);
    return x !== 2;
  });
  t.strictSame(seen, [
    [1, 0],
    [2, 1],
  ]);
});
