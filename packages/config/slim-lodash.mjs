/**
 * The part of lodash that chevrotain uses, as plain JavaScript. lodash's own versions handle so many cases that setting up a parser
 * with them takes twice as long, which every start of a command would pay; the bundle puts this in their place
 * (packages/drbdadm/fast-bundle.mjs). A test compares the two.
 */
const items = (c) => (Array.isArray(c) ? c : c === null || c === undefined ? [] : typeof c === 'string' ? [...c] : Object.values(c));

/** lodash's shorthands: a property name, or an object of which all properties have to be equal. */
function iteratee(f) {
  if (typeof f === 'function') return f;
  if (f === undefined) return identity;
  if (typeof f === 'string') return (x) => x?.[f];
  return (x) => Object.keys(f).every((key) => x[key] === f[key]);
}

export const assign = Object.assign;
export const clone = (x) =>
  Array.isArray(x) ? x.slice() : x !== null && typeof x === 'object' ? Object.assign(Object.create(Object.getPrototypeOf(x)), x) : x;
export const compact = (a) => (a ?? []).filter(Boolean);
export const difference = (a, ...others) => {
  const excluded = new Set(others.flat());
  return a.filter((x) => !excluded.has(x));
};
export const drop = (a, n = 1) => (a ?? []).slice(n);
export const dropRight = (a, n = 1) => (a ?? []).slice(0, n === 0 ? undefined : -n);
export const every = (c, f) => items(c).every(iteratee(f));
export const filter = (c, f) => items(c).filter(iteratee(f));
export const find = (c, f) => items(c).find(iteratee(f));
export const first = (a) => a?.[0];
export const head = first;
export const flatMap = (c, f) => items(c).flatMap(iteratee(f));
export const flatten = (a) => (a ?? []).flat();
export const has = (o, key) => o !== null && o !== undefined && Object.hasOwn(o, key);
export const identity = (x) => x;
export const includes = (c, x) => items(c).includes(x);
export const indexOf = (a, x) => a.indexOf(x);
export const isArray = Array.isArray;
export const isFunction = (x) => typeof x === 'function';
export const isObject = (x) => x !== null && (typeof x === 'object' || typeof x === 'function');
export const isRegExp = (x) => x instanceof RegExp;
export const isString = (x) => typeof x === 'string';
export const isUndefined = (x) => x === undefined;
export const keys = (o) => Object.keys(o ?? {});
export const last = (a) => a?.[a.length - 1];
export const max = (a) => (a.length === 0 ? undefined : Math.max(...a));
export const noop = () => {};
export const some = (c, f) => items(c).some(iteratee(f));
export const uniq = (a) => [...new Set(a)];
export const upperFirst = (s) => s.charAt(0).toUpperCase() + s.slice(1);
export const values = (o) => Object.values(o ?? {});

export function defaults(target, ...sources) {
  for (const source of sources) for (const key of Object.keys(source ?? {})) if (target[key] === undefined) target[key] = source[key];
  return target;
}

export function forEach(c, f) {
  if (Array.isArray(c)) {
    for (let i = 0; i < c.length; i++) if (f(c[i], i, c) === false) break;
  } else for (const key of Object.keys(c ?? {})) if (f(c[key], key, c) === false) break;
  return c;
}

export function groupBy(c, f) {
  const keyOf = iteratee(f);
  const groups = {};
  for (const x of items(c)) {
    const key = keyOf(x);
    groups[key] ??= [];
    groups[key].push(x);
  }
  return groups;
}

export function isEmpty(c) {
  if (c === null || c === undefined) return true;
  if (Array.isArray(c) || typeof c === 'string') return c.length === 0;
  return c instanceof Map || c instanceof Set ? c.size === 0 : Object.keys(c).length === 0;
}

export function map(c, f) {
  const change = iteratee(f);
  return Array.isArray(c) ? c.map((x, i) => change(x, i, c)) : Object.keys(c ?? {}).map((key) => change(c[key], key, c));
}

export function pickBy(o, f) {
  const picked = {};
  for (const key of Object.keys(o ?? {})) if (f(o[key], key)) picked[key] = o[key];
  return picked;
}

export function reduce(c, f, start) {
  if (Array.isArray(c)) return start === undefined ? c.reduce(f) : c.reduce(f, start);
  return Object.keys(c ?? {}).reduce((a, key) => f(a, c[key], key), start);
}

export function reject(c, f) {
  const unwanted = iteratee(f);
  return items(c).filter((x) => !unwanted(x));
}
