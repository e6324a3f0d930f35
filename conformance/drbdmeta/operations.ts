// Random lives of meta-data: which commands run, and what happens to the image in between. A seed decides everything.

import {
  AL_BLOCK_BYTES,
  AL_FREE,
  alBlockOfTransaction,
  alContextAdvance,
  encodeAlUpdate,
  META_DATA_ON_DISK_9,
  type MetaDataKind,
  placement,
  superblockOffset,
} from '../../packages/metadata/src/index.js';

/** Uniform numbers from a seed (mulberry32). */
export class Prng {
  #state: number;
  constructor(seed: number) {
    this.#state = (seed * 0x9e3779b9) >>> 0;
  }
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 0x1_0000_0000) * limit);
  }
  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
  hex(digits: number): string {
    return Array.from({ length: digits }, () => this.below(16).toString(16)).join('');
  }
}

export type Operation =
  | { readonly type: 'run'; readonly argv: readonly string[] }
  /** Runs dump-md; its stock output becomes the file `dump`. */
  | { readonly type: 'dump'; readonly argv: readonly string[] }
  | { readonly type: 'write'; readonly offset: number; readonly bytes: Uint8Array }
  /** Exclusive-ors one byte. */
  | { readonly type: 'flip'; readonly offset: number; readonly mask: number }
  | { readonly type: 'resize'; readonly bytes: number }
  /** Changes the file `dump` at a place given in per mille of its length. */
  | { readonly type: 'edit'; readonly perMille: number; readonly cut: number; readonly insert: string };

export interface Life {
  readonly imageBytes: number;
  readonly operations: readonly Operation[];
}

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZES = [68 * KIB, 100 * KIB, MIB, MIB + 512, 4 * MIB, 5 * MIB + 3 * 512, 16 * MIB, 40 * MIB, 64 * MIB + 1536];

/** @param damages - whether bytes are flipped at random, too */
export function randomLife(prng: Prng, damages: boolean): Life {
  const isIndexed = prng.chance(8);
  let imageBytes = isIndexed ? 130 * MIB : prng.pick(SIZES);
  const first = imageBytes;
  let format = prng.pick(['v09', 'v09', 'v09', 'v08', 'v07']);
  let index = isIndexed ? '0' : prng.pick(['internal', 'internal', 'internal', 'flex-external', 'flex-internal']);
  let peers = prng.pick([1, 1, 2, 3, 7, 31]);
  let stripes: readonly [number, number] = [1, 8];
  const device = prng.chance(50) ? '-' : `${900 + prng.below(4)}`;
  const operations: Operation[] = [];
  const kind = (): MetaDataKind => (index === '0' ? 'indexed' : index === 'flex-external' ? 'flex-external' : 'internal');
  const where = () =>
    placement({
      kind: kind(),
      deviceBytes: imageBytes,
      maxPeers: format === 'v09' ? peers : 1,
      alStripes: stripes[0],
      alStripeSize4k: stripes[1],
    });
  const run = (command: string, args: readonly string[] = [], options: readonly string[] = []): void => {
    const force = prng.chance(88) ? ['--force'] : [];
    const verbose = prng.chance(15) ? ['-v', '-v'] : prng.chance(10) ? ['-v'] : [];
    const dry = prng.chance(5) ? ['--dry-run'] : [];
    operations.push({ type: 'run', argv: [...force, ...verbose, ...dry, ...options, device, format, 'img', index, command, ...args] });
  };
  const write = (offset: number, bytes: Uint8Array): void => {
    if (offset >= 0 && offset + bytes.length <= imageBytes) operations.push({ type: 'write', offset, bytes });
  };
  const nodeId = (): string[] => (format === 'v09' || prng.chance(10) ? [`--node-id=${prng.below(32)}`] : []);
  const create = (): void => {
    const options: string[] = [];
    // Where the log leaves no room for the bitmap, stock writes half and gives up; ours writes nothing.
    if (imageBytes >= MIB && prng.chance(25)) {
      stripes = prng.pick([
        [1, 8],
        [2, 8],
        [4, 2],
        [1, 32],
        [3, 5],
      ] as const);
      options.push('--al-stripes', `${stripes[0]}`, '--al-stripe-size-kB', `${stripes[1] * 4}`);
      if (format === 'v07') stripes = [1, 8];
    } else {
      stripes = [1, 8];
    }
    if (prng.chance(10)) options.push('--peer-max-bio-size', `${prng.below(300) * 4096}`);
    if (prng.chance(10)) options.push('--initialize-bitmap', prng.pick(['automatic', 'pwrite', 'skip', 'zeroout']));
    run('create-md', format === 'v09' ? [`${peers}`] : [], options);
  };
  const be = (value: bigint, bytes: number): Uint8Array =>
    Uint8Array.from({ length: bytes }, (_, i) => Number((value >> BigInt(8 * (bytes - 1 - i))) & 0xffn));
  const superblock = (): number => superblockOffset(kind(), imageBytes, 0);

  const steps: readonly (() => void)[] = [
    create,
    () => run('dstate'),
    () => run('get-gi', [], nodeId()),
    () => run('show-gi', [], nodeId()),
    () => run('outdate'),
    () => run('invalidate'),
    () => run('apply-al'),
    () => run('apply-al'),
    () => run('read-dev-uuid'),
    () => run('write-dev-uuid', [prng.hex(prng.pick([1, 8, 16]))]),
    () => run('wipe-md'),
    () => run('check-resize'),
    () => run('forget-peer', [], nodeId()),
    () => {
      const uuids = Array.from({ length: 4 }, () => prng.pick(['', '0', prng.hex(16), `0x${prng.hex(5)}`]));
      const flags = Array.from({ length: prng.below(13) }, () => prng.pick(['', '0', '1', '1', prng.chance(3) ? '2' : '0']));
      run('set-gi', [[...uuids, ...flags].join(':')], nodeId());
    },
    () => operations.push({ type: 'dump', argv: ['--force', device, format, 'img', index, 'dump-md'] }),
    () => operations.push({ type: 'dump', argv: ['--force', device, format, 'img', index, 'dump-md'] }),
    () => run('restore-md', ['dump'], prng.chance(20) ? ['-s', '2', '-z', '32'] : []),
    () => run('verify-dump', ['dump']),
    () =>
      operations.push({
        type: 'edit',
        perMille: prng.below(1000),
        cut: prng.below(6),
        insert: prng.pick(['', ';', '{', 'x', '0x12', '7', ' # ', '"a"', 'flags', '}', '-', '0x0123456789ABCDEF;', '!']),
      }),
    // The agreed size, most often the largest possible one.
    () => write(superblock(), be(BigInt(prng.chance(70) ? Math.max(0, where().usableSectors) : prng.below(2 ** 31)), 8)),
    () => write(superblock(), be(BigInt(Math.max(0, where().usableSectors)), 8)),
    () =>
      write(
        superblock() + META_DATA_ON_DISK_9.at.flags.offset,
        be(BigInt(prng.pick([0x13, 0x13, 0x12, 0x53, 0x91, 0x80, 0x11, 0x113, prng.below(0x400)])), 4),
      ),
    () => write(superblock() + META_DATA_ON_DISK_9.at.flags.offset, be(BigInt(prng.pick([0x13, 0x13, 0x53])), 4)),
    () => {
      if (format === 'v08') write(superblock() + META_DATA_ON_DISK_9.at.magic.offset, be(BigInt(prng.pick([0x8374026b, 0x8374026c])), 4));
      else if (format === 'v09')
        write(superblock() + META_DATA_ON_DISK_9.at.peers.offset + 32 * prng.below(32) + 16, be(BigInt(prng.below(2 ** 32)), 4));
    },
    () => {
      const bytes = Uint8Array.from({ length: 4 * (1 + prng.below(40)) }, () => prng.pick([0, 0, 0xff, prng.below(256)]));
      write(where().bmOffsetBytes + 4 * prng.below(200), bytes);
    },
    () => activityLog(),
    () => activityLog(),
    () => {
      const p = where();
      write(
        p.alOffsetBytes + 512 * prng.below(p.alSizeBytes / 512),
        Uint8Array.from({ length: 512 }, () => prng.below(256)),
      );
    },
    () => {
      if (prng.chance(70)) return;
      const signatures: readonly (readonly [number, string])[] = [
        [0, 'XFSB'],
        [1080, '\x53\xef'],
        [4086, 'SWAPSPACE2'],
        [0x8000, 'JFS1'],
        [0x10034, 'ReIsErFs'],
        [0, 'text'],
      ];
      const [offset, text] = prng.pick(signatures);
      write(
        offset,
        Uint8Array.from(text, (c) => c.charCodeAt(0)),
      );
    },
    () => {
      // Growing is compared only where 9.22 does not damage the bitmap: its length has to stay.
      const before = where().bmSizeBytes;
      const old = imageBytes;
      imageBytes = prng.chance(15) ? first : old + 4096 * (1 + prng.below(64)) + prng.pick([0, 0, 512]);
      if (imageBytes < old || (kind() === 'internal' && where().bmSizeBytes !== before)) imageBytes = old;
      operations.push({ type: 'resize', bytes: imageBytes });
    },
    () => {
      if (prng.chance(60)) return;
      format = prng.pick(['v09', 'v09', 'v08', 'v07']);
      if (prng.chance(50)) index = isIndexed ? '0' : prng.pick(['internal', 'flex-external', 'flex-internal']);
      if (prng.chance(50)) peers = prng.pick([1, 2, 3, 5, 16]);
      create();
    },
  ];

  function activityLog(): void {
    const p = where();
    if (format === 'v07' || p.alOffsetBytes < 0) return;
    const slots = prng.pick([67, 257, 1237]);
    const active = new Uint32Array(slots).fill(AL_FREE);
    const extents = Math.max(1, Math.ceil(p.usableSectors / 8192)) + (prng.chance(10) ? 3 : 0);
    let trNumber = prng.pick([0, 1, 5, 0xffff_fffc]);
    let contextStart = 0;
    for (let n = 1 + prng.below(12); n > 0; n--) {
      const updates = new Map(
        Array.from({ length: 1 + prng.below(4) }, () => [prng.below(slots), prng.chance(15) ? AL_FREE : prng.below(extents)]),
      );
      const block = new Uint8Array(AL_BLOCK_BYTES);
      encodeAlUpdate(
        block,
        new DataView(block.buffer),
        trNumber,
        active,
        contextStart,
        Uint16Array.from(updates.keys()),
        Uint32Array.from(updates.values()),
        updates.size,
      );
      for (const [slot, extent] of updates) active[slot] = extent;
      if (prng.chance(5)) block[prng.below(AL_BLOCK_BYTES)]! ^= 1 << prng.below(8);
      write(p.alOffsetBytes + AL_BLOCK_BYTES * alBlockOfTransaction(trNumber, stripes[0], stripes[1]), block);
      contextStart = alContextAdvance(contextStart, slots);
      trNumber = (trNumber + 1) >>> 0;
    }
  }

  create();
  for (let n = 6 + prng.below(12); n > 0; n--) {
    prng.pick(steps)();
    if (damages && prng.chance(30)) {
      const p = where();
      const [from, length] = prng.pick([
        [superblock(), prng.pick([112, 4096])],
        [p.alOffsetBytes, p.alSizeBytes],
        [p.bmOffsetBytes, 4096],
      ] as const);
      const offset = from + prng.below(length);
      // 9.22 clears the `members` that it does not know; ours keeps them.
      const isMembers = Math.floor((offset - superblock()) / 8) === 2;
      if (offset >= 0 && offset < imageBytes && !isMembers) operations.push({ type: 'flip', offset, mask: 1 << prng.below(8) });
    }
  }
  return { imageBytes: first, operations };
}
