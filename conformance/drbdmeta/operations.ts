// Random lives of meta-data: which commands run, and what happens to the images in between. A seed decides everything.

import {
  AL_BLOCK_BYTES,
  AL_FREE,
  AL_MAGIC,
  AL_PMEM_MAGIC,
  AL_TRANSACTION_OLD,
  AL_TRANSACTION_ON_DISK,
  alBlockOfTransaction,
  alContextAdvance,
  crc32c,
  createMetaData,
  encodeAlUpdate,
  encodeSuperblock,
  META_DATA_ON_DISK_9,
  type MetaDataFormat,
  type MetaDataKind,
  type Placed,
  type Placement,
  place,
  placement,
  superblockLayout,
  superblockOffset,
} from '../../packages/metadata/src/index.js';

/** Uniform numbers from a seed (mulberry32). */
export class Prng {
  #state: number;
  constructor(seed: number) {
    this.#state = Math.imul(seed, 0x9e3779b9) >>> 0;
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
  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256));
  }
}

export type Operation =
  | { readonly type: 'run'; readonly argv: readonly string[]; readonly answers?: readonly string[] }
  /** Runs dump-md; its stock output becomes the file `dump`. */
  | { readonly type: 'dump'; readonly argv: readonly string[] }
  | { readonly type: 'write'; readonly image: string; readonly offset: number; readonly bytes: Uint8Array }
  /** Exclusive-ors one byte. */
  | { readonly type: 'flip'; readonly image: string; readonly offset: number; readonly mask: number }
  | { readonly type: 'resize'; readonly image: string; readonly bytes: number }
  /** Changes the file `dump` at a place given in per mille of its length. */
  | { readonly type: 'edit'; readonly perMille: number; readonly cut: number; readonly insert: string }
  /** Replaces the number at the n-th place that has one after `keyword`. */
  | { readonly type: 'renumber'; readonly keyword: string; readonly value: string }
  /** Replaces the record of a device's size. */
  | { readonly type: 'record'; readonly minor: number; readonly text: string };

export interface Life {
  /** Sizes of the images by name. */
  readonly images: Readonly<Record<string, number>>;
  readonly operations: readonly Operation[];
}

/** An image and what the life believes is on it. */
interface Target {
  readonly image: string;
  bytes: number;
  format: MetaDataFormat;
  index: string;
  peers: number;
  stripes: readonly [number, number];
}

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZES = [68 * KIB, 100 * KIB, MIB, MIB + 512, 4 * MIB, 5 * MIB + 3 * 512, 16 * MIB, 24 * MIB + 1536];
/** Room for indexed areas and for the fixed place of v07. */
const LARGE = 130 * MIB;
const ODD_NUMBERS = [0, 1, 2, 3, 7, 8, 9, 31, 32, 33, 63, 64, 72, 80, 255, 257, 4096, 0x7fff_ffff, 0x8000_0000, 0xffff_ffb8, 0xffff_ffff];

/** @param damages - whether bytes are flipped at random, too */
export function randomLife(prng: Prng, damages: boolean): Life {
  const operations: Operation[] = [];
  const isLarge = prng.chance(5);
  const target = (image: string, bytes: number): Target => ({
    image,
    bytes,
    format: prng.pick(['v09', 'v09', 'v09', 'v08', 'v08', 'v07']),
    index: isLarge ? prng.pick(['0', '0', 'internal']) : prng.pick(['internal', 'internal', 'internal', 'flex-external', 'flex-internal']),
    peers: prng.pick([1, 1, 2, 3, 7, 31]),
    stripes: [1, 8],
  });
  const first = target('img', isLarge ? LARGE : prng.pick(SIZES));
  const targets = [first];
  if (!isLarge && prng.chance(25)) targets.push(target('img2', prng.pick(SIZES)));
  const images = Object.fromEntries(targets.map((t) => [t.image, t.bytes]));
  let at = first;
  const minor = 900 + prng.below(4);
  const device = prng.chance(50) ? '-' : `${minor}`;

  const kind = (): MetaDataKind => {
    if (/^\d+$/.test(at.index)) return 'indexed';
    if (at.index === 'flex-external') return 'flex-external';
    return at.index === 'internal' && at.format === 'v07' ? 'fixed-internal' : 'internal';
  };
  const where = (): Placement =>
    placement({
      kind: kind(),
      deviceBytes: at.bytes,
      index: 0,
      maxPeers: at.format === 'v09' ? at.peers : 1,
      alStripes: at.stripes[0],
      alStripeSize4k: at.stripes[1],
    });
  const usable = (): number => {
    const sectors = where().usableSectors;
    return Number.isFinite(sectors) ? Math.max(0, sectors) : 0;
  };
  const superblock = (): number => superblockOffset(kind(), at.bytes, 0);
  const run = (command: string, args: readonly string[] = [], options: readonly string[] = []): void => {
    const force = prng.chance(88) ? ['--force'] : [];
    const verbose = prng.chance(15) ? ['-v', '-v'] : prng.chance(10) ? ['-v'] : prng.chance(4) ? [`-${'v'.repeat(3 + prng.below(9))}`] : [];
    const dry = prng.chance(5) ? ['--dry-run'] : [];
    const sane = prng.chance(5) ? ['--ignore-sanity-checks'] : [];
    const argv = [...force, ...verbose, ...dry, ...sane, ...options, device, at.format, at.image, at.index, command, ...args];
    operations.push({ type: 'run', argv });
  };
  const write = (offset: number, bytes: Uint8Array): void => {
    if (offset >= 0 && offset + bytes.length <= at.bytes) operations.push({ type: 'write', image: at.image, offset, bytes });
  };
  const be = (value: bigint, bytes: number): Uint8Array =>
    Uint8Array.from({ length: bytes }, (_, i) => Number((value >> BigInt(8 * (bytes - 1 - i))) & 0xffn));
  const u32 = (value: number): Uint8Array => be(BigInt(value), 4);
  const nodeId = (): string[] => (at.format === 'v09' || prng.chance(10) ? [`--node-id=${prng.below(32)}`] : []);

  const create = (): void => {
    const options: string[] = [];
    // Where the log leaves no room for the bitmap, stock writes half and gives up; ours writes nothing.
    if (at.bytes >= MIB && prng.chance(25)) {
      at.stripes = prng.pick([
        [1, 8],
        [2, 8],
        [4, 2],
        [1, 32],
        [3, 5],
        [16, 1],
      ] as const);
      options.push('--al-stripes', `${at.stripes[0]}`, '--al-stripe-size-kB', `${at.stripes[1] * 4 + prng.pick([0, 0, 3])}`);
      if (at.format === 'v07') at.stripes = [1, 8];
    } else {
      at.stripes = [1, 8];
    }
    if (prng.chance(10)) options.push('--peer-max-bio-size', `${prng.below(300) * 4096}`);
    if (prng.chance(10))
      options.push(
        '--initialize-bitmap',
        // On a file the kernel cannot do it, and stock has overwritten the old activity log by then.
        prng.pick(['automatic', 'pwrite', 'skip', operations.length === 0 ? 'zeroout' : 'pwrite']),
      );
    run('create-md', at.format === 'v09' ? [`${at.peers}`] : [], options);
  };

  const generation = (): void => {
    const uuids = Array.from({ length: prng.chance(10) ? prng.below(4) : 4 }, () =>
      prng.pick(['', '0', prng.hex(16), `0x${prng.hex(5)}`, prng.chance(5) ? prng.pick(['xyz', '-1', ' 7', `${prng.hex(17)}f`]) : '']),
    );
    const flags = Array.from({ length: prng.below(15) }, () =>
      prng.pick(['', '0', '1', '1', prng.chance(4) ? prng.pick(['2', '01', '0x1', 'q', '-0']) : '0']),
    );
    run('set-gi', [[...uuids, ...flags].join(':')], nodeId());
  };

  /** A super block as it might be, with some fields changed to odd numbers. */
  const oddSuperblock = (): void => {
    const md = createMetaData(at.format, { maxPeers: at.peers, alStripes: at.stripes[0], alStripeSize4k: at.stripes[1] });
    place(md, where());
    md.effective_size = prng.pick([0, usable(), Math.floor(usable() / 2), 8192]);
    md.flags = prng.pick([0x80, 0x13, 0x12, 0x91, 0x02]);
    if (at.format === 'v07') md.gc[0] = prng.pick([1, 3, 0x83, 0x80]);
    const bytes = encodeSuperblock(md);
    const view = new DataView(bytes.buffer);
    const fields = (Object.entries(superblockLayout(at.format).at) as [string, Placed][]).filter(
      ([name]) => !['members', 'padding', 'reserved_u64', 'reserved_u32', 'magic'].includes(name),
    );
    for (let n = prng.below(4); n > 0; n--) {
      const [, field] = prng.pick(fields);
      const inside = field.recordBytes !== undefined ? field.recordBytes * prng.below(field.count ?? 1) + prng.pick([16, 20]) : 0;
      const value = prng.pick(ODD_NUMBERS);
      if (field.type !== 'u64' || field.recordBytes !== undefined) view.setUint32(field.offset + inside, value);
      else view.setBigUint64(field.offset, prng.chance(50) ? BigInt(value) : BigInt(`0x${prng.hex(16)}`));
    }
    write(superblock(), bytes);
  };

  const activityLog = (): void => {
    const p = where();
    if (p.alOffsetBytes < 0) return;
    const slots = prng.pick([67, 257, 1237]);
    const active = new Uint32Array(slots).fill(AL_FREE);
    const extents = Math.max(1, Math.ceil(usable() / 8192)) + (prng.chance(10) ? 3 : 0);
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
      write(p.alOffsetBytes + AL_BLOCK_BYTES * alBlockOfTransaction(trNumber, at.stripes[0], at.stripes[1]), block);
      contextStart = alContextAdvance(contextStart, slots);
      trNumber = (trNumber + (prng.chance(5) ? 2 : 1)) >>> 0;
    }
  };
  /** A block with a good checksum over fields that no engine would write. */
  const oddTransaction = (): void => {
    const p = where();
    const block = prng.chance(50) ? prng.bytes(AL_BLOCK_BYTES) : new Uint8Array(AL_BLOCK_BYTES).fill(prng.pick([0, 0xff]));
    const view = new DataView(block.buffer);
    const f = AL_TRANSACTION_ON_DISK.at;
    view.setUint32(f.magic.offset, AL_MAGIC);
    view.setUint32(f.tr_number.offset, prng.pick([0, 1, 2, 0x7fff_ffff, 0x8000_0000, prng.below(2 ** 32)]));
    view.setUint16(f.transaction_type.offset, prng.pick([0, 0, 0, 1, 2, 0xffff]));
    view.setUint16(f.n_updates.offset, prng.pick([0, 1, 5, 64, 65, 0xffff]));
    view.setUint16(f.context_size.offset, prng.pick([0, 67, 1237, 65534, 0xffff]));
    view.setUint16(f.context_start_slot_nr.offset, prng.pick([0, 0, 919, 65000, 65534]));
    for (let n = 0; n < 8; n++) view.setUint32(f.context.offset + 4 * prng.below(919), prng.below(12));
    view.setUint32(f.crc32c.offset, 0);
    view.setUint32(f.crc32c.offset, crc32c(block));
    write(p.alOffsetBytes + AL_BLOCK_BYTES * prng.below(p.alSizeBytes / AL_BLOCK_BYTES), block);
  };
  /** The log of 8.3: sectors with 62 pairs of slot and extent. */
  const oldLog = (): void => {
    const p = where();
    const start = prng.pick([0, 3, 0xffff_fffe]);
    const f = AL_TRANSACTION_OLD.at;
    const extents = Math.max(1, Math.ceil(usable() / 8192)) + 1;
    for (let n = 0, count = 1 + prng.below(8); n < count; n++) {
      const sector = new Uint8Array(512);
      const view = new DataView(sector.buffer);
      view.setUint32(f.magic.offset, 0x83740267);
      view.setUint32(f.tr_number.offset, (start + n) >>> 0);
      let sum = 0;
      for (let entry = 0; entry < 62; entry++) {
        const extent = prng.chance(8) ? prng.below(extents) : AL_FREE;
        view.setUint32(f.updates.offset + 8 * entry, extent === AL_FREE ? AL_FREE : prng.below(257));
        view.setUint32(f.updates.offset + 8 * entry + 4, extent);
        sum ^= extent;
      }
      view.setUint32(f.xor_sum.offset, prng.chance(5) ? 1 : sum >>> 0);
      write(p.alOffsetBytes + 512 * ((start + n) % 6), sector);
    }
  };
  const pmemLog = (): void => {
    const p = where();
    const area = new Uint8Array(Math.min(p.alSizeBytes, 4 + 4 * 257));
    const view = new DataView(area.buffer);
    view.setUint32(0, AL_PMEM_MAGIC);
    for (let o = 4; o < area.length; o += 4) view.setUint32(o, prng.chance(5) ? prng.below(Math.ceil(usable() / 8192) + 1) : AL_FREE);
    write(p.alOffsetBytes, area);
  };

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
    () => run('wipe-md', prng.chance(5) ? ['surplus'] : []),
    () => run('check-resize'),
    () => run('forget-peer', [], nodeId()),
    generation,
    () => operations.push({ type: 'dump', argv: ['--force', device, at.format, at.image, at.index, 'dump-md'] }),
    () => operations.push({ type: 'dump', argv: ['--force', device, at.format, at.image, at.index, 'dump-md'] }),
    () => run('dump-md'),
    () => run('restore-md', ['dump'], prng.chance(20) ? ['-s', prng.pick(['2', '1']), '-z', prng.pick(['32', '64'])] : []),
    () => run('restore-md', ['dump']),
    () => run('verify-dump', ['dump']),
    () =>
      operations.push({
        type: 'edit',
        perMille: prng.below(1000),
        cut: prng.below(6),
        insert: prng.pick(['', ';', '{', 'x', '0x12', '7', ' # ', '"a"', 'flags', '}', '-', '0x0123456789ABCDEF;', '!', '\n', 'é', '[3]']),
      }),
    () =>
      operations.push({
        type: 'renumber',
        keyword: prng.pick([
          'la-size-sect',
          'max-peers',
          'node-id',
          'bitmap-index',
          'al-stripes',
          'al-stripe-size-4k',
          'la-peer-max-bio-size',
          'peer\\[',
          'bitmap\\[',
          '   ',
        ]),
        value: prng.pick([
          '0',
          '1',
          '2',
          '-1',
          '31',
          '32',
          '40',
          '8',
          '65536',
          '100000',
          '2147483648',
          '4294967296',
          '9223372036854775807',
          '99999999999999999999',
        ]),
      }),
    // The agreed size, most often the largest possible one.
    () => write(superblock(), be(BigInt(prng.chance(70) ? usable() : prng.below(2 ** 31)), 8)),
    () => write(superblock(), be(BigInt(usable()), 8)),
    () =>
      write(
        superblock() + META_DATA_ON_DISK_9.at.flags.offset,
        u32(prng.pick([0x13, 0x13, 0x12, 0x53, 0x91, 0x80, 0x11, 0x113, prng.below(0x400)])),
      ),
    () => write(superblock() + (at.format === 'v07' ? 8 : META_DATA_ON_DISK_9.at.flags.offset), u32(prng.pick([0x13, 0x13, 0x53]))),
    () => {
      if (at.format === 'v08') write(superblock() + META_DATA_ON_DISK_9.at.magic.offset, u32(prng.pick([0x8374026b, 0x8374026c])));
      else if (at.format === 'v09') {
        const peer = superblock() + META_DATA_ON_DISK_9.at.peers.offset + 32 * prng.below(32);
        write(peer + 16, u32(prng.pick([1, 0x11, 0x10000, prng.below(2 ** 32)])));
        if (prng.chance(50)) write(peer + 20, u32(prng.below(at.peers)));
        if (prng.chance(50)) write(peer, prng.bytes(16));
      }
    },
    oddSuperblock,
    oddSuperblock,
    () => {
      const bytes = Uint8Array.from({ length: 4 * (1 + prng.below(40)) }, () => prng.pick([0, 0, 0xff, prng.below(256)]));
      write(where().bmOffsetBytes + 4 * prng.below(200), bytes);
    },
    activityLog,
    activityLog,
    activityLog,
    () => (prng.chance(40) ? oddTransaction() : undefined),
    () => (at.format === 'v09' && prng.chance(80) ? undefined : oldLog()),
    () => (prng.chance(25) ? pmemLog() : undefined),
    () => {
      const p = where();
      write(p.alOffsetBytes + 512 * prng.below(p.alSizeBytes / 512), prng.bytes(512));
    },
    () => {
      if (prng.chance(70)) return;
      const le = (value: number): string => String.fromCharCode(value & 255, (value >> 8) & 255, (value >> 16) & 255, value >>> 24);
      const blocks = prng.pick([1, 100, at.bytes >> 12, at.bytes >> 10, at.bytes >> 9, prng.below(2 ** 32)]);
      const signatures: readonly (readonly [number, string])[][] = [
        [
          [0, 'XFSB\0\0\x10\0'],
          [8, `\0\0\0\0${[...le(blocks)].reverse().join('')}`],
        ],
        [
          [1080, '\x53\xef'],
          [1028, le(blocks)],
          [1048, le(prng.pick([0, 1, 2, 3, 9]))],
          [1116, le(prng.below(8))],
        ],
        [[4086, 'SWAPSPACE2']],
        [[8182, 'SWAP-SPACE']],
        [
          [0x8000, 'JFS1'],
          [0x8008, le(blocks)],
          [0x8018, le(512)],
        ],
        [
          [0x10034, prng.pick(['ReIsErFs', 'ReIsEr2Fs'])],
          [0x10000, le(blocks)],
          [0x1002c, le(4096)],
        ],
        [[0, 'text']],
        [[69631, 'x']],
      ];
      for (const [offset, text] of prng.pick(signatures))
        write(
          offset,
          Uint8Array.from(text, (c) => c.charCodeAt(0)),
        );
    },
    () => {
      // Growing is compared only where 9.22 does not damage the bitmap: its length has to stay.
      const before = where().bmSizeBytes;
      const old = at.bytes;
      at.bytes += prng.pick([512, 4096, 8192, 65536, MIB]);
      if (kind() === 'internal' && where().bmSizeBytes !== before) at.bytes = old;
      operations.push({ type: 'resize', image: at.image, bytes: at.bytes });
    },
    () => {
      // A smaller device: what was at its end is gone.
      if (prng.chance(75)) return;
      const before = where().bmSizeBytes;
      const old = at.bytes;
      at.bytes -= prng.pick([512, 4096, 65536, 4 * KIB * prng.below(32)]);
      if (at.bytes < 60 * KIB || (kind() === 'internal' && where().bmSizeBytes !== before)) at.bytes = old;
      operations.push({ type: 'resize', image: at.image, bytes: at.bytes });
    },
    () => {
      if (prng.chance(60)) return;
      at.format = prng.pick(['v09', 'v09', 'v08', 'v07']);
      if (prng.chance(50)) at.index = isLarge ? '0' : prng.pick(['internal', 'flex-external', 'flex-internal']);
      if (prng.chance(50)) at.peers = prng.pick([1, 2, 3, 5, 16]);
      create();
    },
    () => {
      at = prng.pick(targets);
    },
    () => {
      if (prng.chance(70)) return;
      const number = prng.pick([`${at.bytes}`, `${at.bytes}`, '', 'x', `  ${at.bytes}`]);
      const name = prng.pick(['', `\t${at.image}`, `\t/dev/other`, '\ta b']);
      const uuid = prng.pick(['', `uuid:\t${prng.hex(16).toUpperCase()}\n`, 'uuid: 12\n', 'uuid\n']);
      operations.push({
        type: 'record',
        minor: device === '-' ? -1 : minor,
        text: `${number}${name}${prng.pick(['\n', '\n', ''])}${uuid}`,
      });
    },
  ];

  create();
  for (let n = 6 + prng.below(14); n > 0; n--) {
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
      if (offset >= 0 && offset < at.bytes && !isMembers) {
        operations.push({ type: 'flip', image: at.image, offset, mask: 1 << prng.below(8) });
      }
    }
  }
  return { images, operations };
}
