// The addon's promise: whatever it is called with, it answers or throws TypeError or RangeError, and the process lives.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import fc from 'fast-check';
import t from 'tap';
import { ADDON_PLACES, AddonError, loadAddon, native } from './native.js';

type AnyFunction = (...args: unknown[]) => unknown;
const functions = Object.entries(native) as unknown as [string, AnyFunction][];

/** Called with arbitrary arguments these would wait, lock or fill memory, or close what the test runner needs. */
const UNSAFE = new Set(['mmapAnonymous', 'lockProcessMemory', 'close', 'accept', 'connect', 'flock', 'setIoFlusher']);
/** No descriptor that somebody uses; arbitrary ones below would hit the runner's own pipes. */
const fd = fc.oneof(fc.constant(-1), fc.integer({ min: 900_000, max: 0x7fffffff }));
const odd = fc.oneof(
  fd,
  fc.constantFrom<unknown>(
    undefined,
    null,
    true,
    '',
    'x',
    Symbol('s'),
    10n,
    {},
    [],
    Number.NaN,
    Infinity,
    -Infinity,
    -0,
    0.5,
    2 ** 31,
    2 ** 32,
    2 ** 53,
    2 ** 64,
    -(2 ** 63),
  ),
  fc.constantFrom<unknown>(
    new Uint8Array(0),
    new Uint8Array(16),
    new Int32Array(3),
    new Float64Array(3),
    new Float64Array([2 ** 60, -1]),
    new ArrayBuffer(8),
    new DataView(new ArrayBuffer(4)),
    () => 1,
  ),
);

t.test('wrong arguments never end the process', async (t) => {
  t.ok(functions.length > 50);
  for (const [name, call] of functions) {
    if (UNSAFE.has(name)) continue;
    fc.assert(
      fc.property(fd, fc.array(odd, { maxLength: 6 }), (first, rest) => {
        try {
          call(first, ...rest);
        } catch (error) {
          return error instanceof TypeError || error instanceof RangeError;
        }
        return true;
      }),
      { numRuns: 150 },
    );
    fc.assert(
      fc.property(
        fc.array(
          odd.filter((value) => typeof value !== 'number'),
          { maxLength: 6 },
        ),
        (args) => {
          try {
            call(...args);
          } catch (error) {
            return error instanceof TypeError || error instanceof RangeError;
          }
          return true;
        },
      ),
      { numRuns: 50 },
    );
  }
});

t.test('too few arguments are refused', async (t) => {
  for (const [name, call] of functions) {
    if (['layouts', 'pageSize', 'lockProcessMemory', 'crc32cHardware'].includes(name)) continue;
    t.throws(() => call(), TypeError, name);
  }
});

t.test('slices outside their bytes are refused', async (t) => {
  const bytes = new Uint8Array(10);
  for (const [offset, length] of [
    [0, 11],
    [11, 0],
    [5, 6],
    [-1, 1],
    [0, -1],
    [0.5, 1],
    [2 ** 53, 1],
  ] as const) {
    t.throws(() => native.crc32c(bytes, offset, length, 0), RangeError, `${offset} ${length}`);
    t.throws(() => native.pread(0, bytes, offset, length, 0), RangeError);
    t.throws(() => native.pwrite(1, bytes, offset, length, 0), RangeError);
  }
  const detached = new Uint8Array(10);
  structuredClone(detached.buffer, { transfer: [detached.buffer] });
  t.throws(() => native.crc32c(detached, 0, 1, 0), RangeError, 'a detached array has no bytes');
  t.equal(native.crc32c(detached, 0, 0, 5), 5);
});

t.test('sizes of mappings are checked', async (t) => {
  for (const size of [0, -1, 0.5, Number.NaN, 2 ** 41, Infinity])
    t.throws(() => native.mmapAnonymous(size, false), RangeError, String(size));
  t.throws(() => native.mmapAnonymous(4096, 1 as unknown as boolean), TypeError);
  t.throws(() => native.mmapAnonymous('4096' as unknown as number, false), TypeError);
  t.equal(native.mmapAnonymous(2 ** 40, false), -12, 'more than there is');
});

t.test('only our own memory is unmapped, and once', async (t) => {
  t.equal(native.munmap(new ArrayBuffer(4096)), -22);
  const mapping = native.mmapAnonymous(4096, false);
  if (typeof mapping === 'number') throw new Error('mmap');
  t.equal(native.munmap(mapping.buffer), 0);
  t.equal(mapping.buffer.byteLength, 0);
  t.equal(native.munmap(mapping.buffer), -22);
});

t.test('an exception in a watcher is an ordinary uncaught exception', async (t) => {
  const eventfd = native.eventfd(1);
  const handle = native.watchFd(eventfd, () => {
    native.eventfdRead(eventfd);
    throw new Error('from the callback');
  });
  const caught = await new Promise((resolve) => {
    process.once('uncaughtException', resolve);
  });
  t.match(caught, { message: 'from the callback' });
  native.unwatchFd(handle);
  t.throws(() => native.unwatchFd(handle), RangeError);
  t.throws(() => native.watchRef(handle, true), RangeError);
  native.close(eventfd);
});

t.test('finding the addon', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'addon-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const base = pathToFileURL(join(folder, 'dist', 'x.js')).href;
  try {
    loadAddon(base);
    t.fail('must throw');
  } catch (error) {
    t.ok(error instanceof AddonError);
    const { message } = error as Error;
    t.match(message, /^cannot load ublk_napi.node \(build it with `npm run build -w ublk-napi`\):\n/);
    t.equal(message.split('\n').length, 1 + ADDON_PLACES.length, 'every place is named');
  }
  writeFileSync(join(folder, 'ublk_napi.node'), 'no ELF file');
  t.throws(() => loadAddon(base), /ublk_napi.node: .*(too short|invalid ELF)/);
});
