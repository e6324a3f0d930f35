// Damaged images: flipped bits, cut ends, random super blocks and logs, absurd sizes. Whatever a command is given, it ends with one of
// its exit statuses, a reading command changes nothing, and a writing one stays inside the meta-data. For the fuzzer, scripts/fuzz.

import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import {
  AL_BLOCK_BYTES,
  AL_MAGIC,
  AL_TRANSACTION_ON_DISK,
  crc32c,
  createMetaData,
  encodeSuperblock,
  MAGIC,
  type MetaDataFormat,
  type MetaDataKind,
  type Placed,
  place,
  placement,
  superblockLayout,
} from '@udrbd/metadata';
import { run } from '../index.js';

const EXITS = new Set([0, 1, 2, 3, 4, 5, 10, 20, 30, 40, 100, 111, 255]);
const KIB = 1024;
const IMAGE_BYTES = 192 * KIB;
const READING = ['dstate', 'dump-md', 'get-gi', 'show-gi', 'read-dev-uuid', 'verify-dump', 'dump-superblock', 'hexdump-superblock'];
const COMMANDS = [
  ...READING,
  'apply-al',
  'apply-al',
  'apply-al',
  'outdate',
  'invalidate',
  'check-resize',
  'create-md',
  'wipe-md',
  'restore-md',
];
COMMANDS.push('forget-peer', 'repair-md', 'set-gi', 'write-dev-uuid');
const ABSURD = [0, 1, 7, 8, 9, 31, 32, 33, 255, 4095, 4097, 0x7fff_ffff, 0x8000_0000, 0xffff_fff8, 0xffff_ffff];

/** Uniform numbers from a seed (mulberry32). */
function prngOf(seed: number): (limit: number) => number {
  let state = Math.imul(seed, 0x9e3779b9);
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return Math.floor((((x ^ (x >>> 14)) >>> 0) / 0x1_0000_0000) * limit);
  };
}

const NOISE = Uint8Array.from({ length: AL_BLOCK_BYTES }, (_, i) => Math.imul(i + 1, 0x9e3779b1) >>> 13);
const ZEROS = new Uint8Array(AL_BLOCK_BYTES);
const ONES = new Uint8Array(AL_BLOCK_BYTES).fill(0xff);

interface Case {
  readonly image: Uint8Array;
  /** The image ends here; what is gone was the end. */
  readonly imageBytes: number;
  readonly argv: readonly string[];
  readonly writes: boolean;
  readonly kind: MetaDataKind;
}

function makeCase(seed: number): Case {
  const below = prngOf(seed);
  const pick = <T>(from: readonly T[]): T => from[below(from.length)]!;
  const format: MetaDataFormat = pick(['v09', 'v09', 'v08', 'v07']);
  const index = pick(['flex-internal', 'flex-internal', 'flex-external']);
  const kind = index === 'flex-external' ? 'flex-external' : 'internal';
  const maxPeers = format === 'v09' ? pick([1, 2, 3, 31]) : 1;
  const p = placement({ kind, deviceBytes: IMAGE_BYTES, maxPeers });
  const md = createMetaData(format, { maxPeers });
  place(md, p);
  md.effective_size = pick([0, p.usableSectors, p.usableSectors, 8, 2 ** 31]);
  md.flags = pick([0x80, 0x13, 0x13, 0x12, 0x91, below(0x800)]);
  md.gc[0] = md.flags;
  if (below(8) === 0) md.magic = MAGIC.v08Unclean84;
  const image = new Uint8Array(IMAGE_BYTES);
  const view = new DataView(image.buffer);
  image.set(encodeSuperblock(md), p.superblockOffsetBytes);
  for (let n = below(3) * 2; n > 0; n--) {
    // Log blocks with a good checksum over odd fields.
    const block = pick([NOISE, ZEROS, ONES]).slice();
    const b = new DataView(block.buffer);
    const { at } = AL_TRANSACTION_ON_DISK;
    b.setUint32(at.magic.offset, AL_MAGIC);
    b.setUint32(at.tr_number.offset, below(10));
    b.setUint16(at.transaction_type.offset, pick([0, 0, 1, 0xffff]));
    b.setUint16(at.n_updates.offset, pick([0, 3, 64, 65, 0xffff]));
    for (let i = 0; i < 20; i++) b.setUint32(at.context.offset + 4 * below(919), below(4));
    b.setUint32(at.crc32c.offset, 0);
    b.setUint32(at.crc32c.offset, crc32c(block));
    image.set(block, p.alOffsetBytes + AL_BLOCK_BYTES * below(8));
  }
  const fields = Object.values(superblockLayout(format).at) as Placed[];
  for (let n = below(4); n > 0; n--) {
    const { offset, recordBytes } = pick(fields);
    const inside = recordBytes === undefined ? pick([0, 4]) : recordBytes * below(32) + pick([16, 20]);
    view.setUint32(p.superblockOffsetBytes + offset + inside, pick([...ABSURD, below(2 ** 32)]));
  }
  const [from, length] = pick([
    [p.superblockOffsetBytes, 112],
    [p.superblockOffsetBytes, 4096],
    [p.alOffsetBytes, p.alSizeBytes],
    [0, 4096],
  ] as const);
  switch (below(5)) {
    case 0:
      for (let n = below(6); n >= 0; n--) image[from + below(length)]! ^= 1 << below(8);
      break;
    case 1:
      for (let at = from; at < from + length; at += 4096) image.set(NOISE.subarray(0, Math.min(4096, length)), at);
      for (let n = 0; n < 40; n++) image[from + below(length)] = below(256);
      // Random, but recognised.
      if (below(2) === 0) view.setUint32(p.superblockOffsetBytes + (format === 'v07' ? 28 : 60), MAGIC[format]);
      break;
  }
  const imageBytes =
    below(6) === 0 ? pick([0, 512, 4096, 68 * KIB, IMAGE_BYTES - 512, IMAGE_BYTES - 4096, below(IMAGE_BYTES)]) : IMAGE_BYTES;
  const command = pick(COMMANDS);
  const argv = ['--force', pick(['-q', '-q', '-v', '-vv']), pick(['-', '5']), format, 'img', index];
  if (below(10) === 0) argv.unshift('--ignore-sanity-checks');
  if (['get-gi', 'show-gi', 'forget-peer', 'set-gi'].includes(command)) argv.push(`--node-id=${below(32)}`);
  argv.push(command);
  if (command === 'create-md' && format === 'v09') argv.push(pick(['1', '2', '31']));
  if (command.endsWith('dump') || command.startsWith('restore')) argv.push('dump');
  if (command === 'set-gi' || command === 'write-dev-uuid') argv.push(pick(['1', '1:2:3:4:1:1', ':::::1', 'x', '']));
  if (command === 'dump-superblock') argv.push('-o', pick(['json', 'hex', 'bin']));
  return { image, imageBytes, argv, writes: !READING.includes(command) && !argv.includes('--ignore-sanity-checks'), kind };
}

const DUMP = (() => {
  const zero = '0x0000000000000000';
  const peers = Array.from(
    { length: 32 },
    (_, n) => `peer[${n}] { bitmap-index -1; bitmap-uuid ${zero}; bitmap-dagtag ${zero}; flags 0x00000000; }\n`,
  );
  return (
    `version "v09"; max-peers 1; node-id 0; current-uuid ${zero}; flags 0x00000080;\n${peers.join('')}` +
    `history-uuids { ${`${zero}; `.repeat(32)} }\nla-size-sect 200; bm-byte-per-bit 4096; device-uuid ${zero}; la-peer-max-bio-size 0;\n` +
    'al-stripes 1; al-stripe-size-4k 8;\nbitmap[0] { 0x0123456789ABCDEF; 3 times 0x1111111111111111; }\n'
  );
})();

/** @returns what is wrong, in words */
async function check(fd: number, seed: number): Promise<string | undefined> {
  const { image, imageBytes, argv, writes, kind } = makeCase(seed);
  const after = new Uint8Array(IMAGE_BYTES);
  ftruncateSync(fd, imageBytes);
  writeSync(fd, image, 0, imageBytes, 0);
  const env = { UDRBD_STATE_DIR: 'state', UDRBD_LOCK_DIR: 'lock', UDRBD_UTILS_VERSION: seed % 2 === 0 ? '9.22' : '9.34' };
  let said = 0;
  const count = (text: string | Uint8Array): void => {
    said += text.length;
  };
  let status: number;
  try {
    status = await run([...argv], {
      stdout: count,
      stderr: count,
      env,
      stdinIsTty: false,
      stdoutIsTty: false,
      readLine: () => Promise.resolve(null),
      isAttached: () => Promise.resolve(false),
    });
  } catch (error) {
    return `${argv.join(' ')}: ${error instanceof Error ? error.stack : String(error)}`;
  }
  const at = `${argv.join(' ')}: `;
  if (!EXITS.has(status)) return `${at}exit ${status}`;
  if (said > 4 * 1024 * KIB) return `${at}${said} characters of output`;
  if (fstatSync(fd).size !== imageBytes) return `${at}the image has another size`;
  readSync(fd, after, 0, imageBytes, 0);
  // Internal meta-data begins behind the data, wherever the super block says; the largest of these cases needs 60 KiB.
  const untouched = writes ? (kind === 'internal' ? Math.max(0, imageBytes - 60 * KIB) : 0) : imageBytes;
  if (!argv.includes('--ignore-sanity-checks') && Buffer.compare(image.subarray(0, untouched), after.subarray(0, untouched)) !== 0) {
    return `${at}${writes ? 'data was written' : 'a reading command wrote'}`;
  }
  return undefined;
}

/** Images by their seeds. Until it is closed the working directory is a scratch one. */
export function damagedImages(): { input(seed: number): Uint8Array; run(seed: number): Promise<void>; close(): void } {
  // In memory where that is possible: the commands flush.
  const directory = mkdtempSync(`${existsSync('/dev/shm') ? '/dev/shm' : tmpdir()}/drbdmeta-damaged-`);
  process.chdir(directory);
  writeFileSync('dump', DUMP);
  const fd = openSync('img', 'w+');
  return {
    input: (seed) => {
      const { argv, image, imageBytes } = makeCase(seed);
      return Buffer.concat([Buffer.from(`drbdmeta ${argv.join(' ')}\n`), image.subarray(0, imageBytes)]);
    },
    run: async (seed) => {
      const problem = await check(fd, seed);
      if (problem !== undefined) throw new Error(problem);
      if (readFileSync('dump', 'latin1') !== DUMP) throw new Error('the dump was written');
    },
    close: () => {
      closeSync(fd);
      process.chdir('/');
      rmSync(directory, { recursive: true });
    },
  };
}
