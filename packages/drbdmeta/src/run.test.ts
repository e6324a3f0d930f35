import {
  chmodSync,
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import fc from 'fast-check';
import t from 'tap';
import { type CommandIo, run } from './index.js';
import { lockMinor } from './minor-lock.js';

const directory = mkdtempSync(`${tmpdir()}/drbdmeta-`);
process.chdir(directory);
t.teardown(() => {
  process.chdir('/');
  rmSync(directory, { recursive: true });
});

interface Said {
  out: string;
  err: string;
  status: number;
}
async function drbdmeta(line: string, extra: Partial<CommandIo> = {}, typed: string[] = []): Promise<Said> {
  const said = { out: '', err: '', status: 0 };
  said.status = await run(line.split(' '), {
    stdout: (text) => {
      said.out += text;
    },
    stderr: (text) => {
      said.err += text;
    },
    env: { UDRBD_STATE_DIR: `${directory}/state`, UDRBD_LOCK_DIR: `${directory}/lock`, PATH: '' },
    stdinIsTty: typed.length > 0,
    stdoutIsTty: false,
    readLine: () => Promise.resolve(typed.shift() ?? null),
    ...extra,
  });
  return said;
}
function image(name: string, bytes: number): void {
  rmSync(name, { force: true });
  const fd = openSync(name, 'w');
  ftruncateSync(fd, bytes);
  closeSync(fd);
}
function poke(name: string, offset: number, bytes: Uint8Array): void {
  const fd = openSync(name, 'r+');
  writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}
const MIB = 1024 * 1024;

t.test('meta-data comes, says what it is, and goes', async (t) => {
  image('img', 64 * MIB);
  t.match(await drbdmeta('--force - v09 img internal create-md 2'), { status: 0, out: /New drbd meta data block successfully created/ });
  t.match(await drbdmeta('--force - v09 img internal dstate'), { status: 0, out: 'Inconsistent\n' });
  t.match(await drbdmeta('--force - v09 img internal --node-id 1 get-gi'), { out: /^0000000000000004:0{16}:0{16}:0{16}(:[01]){12}\n$/ });
  const dump = (await drbdmeta('--force - v09 img internal dump-md')).out;
  t.match(dump, /max-peers 2;/);
  writeFileSync('dump', dump);
  image('copy', 64 * MIB);
  t.match(await drbdmeta('--force - v09 copy internal restore-md dump'), { status: 0 });
  t.equal(
    (await drbdmeta('--force - v09 copy internal dump-md')).out.replace(/^# .*\n# .*\n# .*/, ''),
    dump.replace(/^# .*\n# .*\n# .*/, ''),
    'a restored copy dumps the same',
  );
  t.match(await drbdmeta('--force - v09 img internal wipe-md'), { status: 0 });
  t.match(await drbdmeta('--force - v09 img internal dstate'), { status: 255, err: /No valid meta data found/ });
});

t.test('a person has to type the whole word', async (t) => {
  image('img', 4 * MIB);
  await drbdmeta('--force - v09 img internal create-md 1');
  // Image files need --force, and --force answers; the questions themselves are replayed from recordings on block devices.
  t.match(await drbdmeta('- v09 img internal wipe-md', {}, ['yes']), { status: 20, err: "'img' is not a block device!\n" });
});

t.test('an attached device is left alone', async (t) => {
  image('img', 4 * MIB);
  await drbdmeta('--force 7 v09 img internal create-md 1');
  const before = readFileSync('img');
  const attached = { isAttached: (minor: number) => Promise.resolve(minor === 7) };
  for (const command of ['create-md 1', 'wipe-md', 'outdate', 'invalidate', 'apply-al', 'check-resize', 'write-dev-uuid 1']) {
    t.match(await drbdmeta(`--force 7 v09 img internal ${command}`, attached), { status: 20, err: "Device '7' is configured!\n" }, command);
  }
  t.ok(readFileSync('img').equals(before));
  t.match(await drbdmeta('--force 7 v09 img internal dstate', attached), { status: 0, err: /might be stale, since minor 7 is attached/ });
  t.match(await drbdmeta('--force 8 v09 img internal dstate', attached), { status: 0 });
});

t.test('one command per minor at a time', async (t) => {
  image('img', 4 * MIB);
  await drbdmeta('--force 3 v09 img internal create-md 1');
  const lock = await lockMinor(3, 'lock', { stderr: () => {} } as never);
  t.match(await drbdmeta('--force 3 v09 img internal dstate', { env: { UDRBD_LOCK_DIR: 'lock', PATH: '' } }), {
    status: 20,
    err: `lock on lock/drbd-147-3 currently held by pid:${process.pid}\n`,
  });
  t.match(await drbdmeta('--force 4 v09 img internal dstate', { env: { UDRBD_LOCK_DIR: 'lock', PATH: '' } }), { status: 0 });
  lock.release();
});

t.test('what cannot work is refused and nothing is written', async (t) => {
  image('tiny', 65536);
  t.match(await drbdmeta('--force - v09 tiny internal create-md 1'), { status: 10, err: /tiny is only 65536 bytes\. That's not enough\./ });
  image('small', 69632);
  const before = readFileSync('small');
  t.match(await drbdmeta('--force - v09 small internal create-md 1 -s 2 -z 32'), { status: 10, err: /not in meta data area range/ });
  t.ok(readFileSync('small').equals(before));
  t.match(await drbdmeta('--force - v09 small 1 create-md 1'), { status: 10, err: /^.*\nDevice too small: expecting meta data block at/ });
  t.match(await drbdmeta('--force - v09 absent internal dstate'), { status: 20, err: 'open(absent) failed: No such file or directory\n' });
  t.match(await drbdmeta('--force - v09 . internal dstate'), { status: 20, err: 'open(.) failed: Is a directory\n' });
  image('full', 16 * MIB);
  poke('full', 1080, Uint8Array.of(0x53, 0xef));
  poke('full', 1028, Uint8Array.of(0, 0x10, 0, 0, 0, 0, 0, 0));
  poke('full', 1048, Uint8Array.of(2, 0, 0, 0));
  const full = readFileSync('full');
  t.match(await drbdmeta('--force - v09 full internal create-md 1'), { status: 40, out: /shrink that filesystem first/ });
  t.ok(readFileSync('full').equals(full));
  if (process.getuid?.() !== 0) {
    chmodSync('full', 0o444);
    t.match(await drbdmeta('--force - v09 full internal dstate'), { status: 20, err: 'open(full) failed: Permission denied\n' });
  }
});

t.test('damaged meta-data never throws and keeps the size of the image', async () => {
  image('img', MIB);
  await drbdmeta('--force - v09 img internal create-md 3');
  const good = readFileSync('img');
  const commands = [
    'dstate',
    'dump-md',
    'apply-al',
    '--node-id=3 get-gi',
    'outdate',
    'invalidate',
    'check-resize',
    'dump-superblock -o json',
    'create-md 2',
    'wipe-md',
  ];
  const flip = fc.record({ at: fc.nat(46 * 1024), value: fc.nat(255) });
  await fc.assert(
    fc.asyncProperty(
      fc.array(flip, { minLength: 1, maxLength: 12 }),
      fc.constantFrom(...commands),
      fc.constantFrom('v07', 'v08', 'v09'),
      async (flips, command, format) => {
        writeFileSync('img', good);
        for (const { at, value } of flips) poke('img', MIB - 1 - at, Uint8Array.of(value));
        const { status } = await drbdmeta(`--force - ${format} img internal ${command}`);
        return Number.isInteger(status) && statSync('img').size === MIB;
      },
    ),
    { numRuns: 400 },
  );
});
