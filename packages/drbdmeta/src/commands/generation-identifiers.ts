// get-gi, show-gi, set-gi, read-dev-uuid, write-dev-uuid: the generation identifiers and flags as text.

import { MDF, MDF_PEER, type MetaData } from '@udrbd/metadata';
import type { CommandIo } from '../command-io.js';
import { Exit } from '../exit.js';
import { hex16, ppsize } from '../numbers.js';
import { Volume } from '../volume.js';
import { type Command, type CommandContext, ignoreSurplus } from './command.js';

export const getGi: Command = {
  name: 'get-gi',
  modifies: false,
  wantsNodeId: true,
  async run(context) {
    ignoreSurplus(context);
    const volume = await Volume.open(context);
    if (volume.found !== 'found') return volume.fail();
    context.io.stdout(`${giLine(volume.md, nodeIdOf(context))}\n`);
    return 0;
  },
};

export const showGi: Command = {
  name: 'show-gi',
  modifies: false,
  wantsNodeId: true,
  async run(context) {
    ignoreSurplus(context);
    const volume = await Volume.open(context);
    if (volume.found !== 'found') return volume.fail();
    const { md } = volume;
    context.io.stdout(md.format === 'v07' ? giFrame07(md) : giFrame(md, nodeIdOf(context)));
    const size =
      md.effective_size > 0
        ? `last agreed size: ${ppsize(Math.floor(md.effective_size / 2))} (${md.effective_size} sectors)\n` +
          `last agreed max bio size: ${md.la_peer_max_bio_size} Byte\n`
        : 'zero size device -- never seen peer yet?\n';
    context.io.stdout(size);
    return 0;
  },
};

export const setGi: Command = {
  name: 'set-gi',
  modifies: true,
  wantsNodeId: true,
  async run(context) {
    const list = requiredArgument(context);
    ignoreSurplus(context, 1);
    const volume = await Volume.open(context);
    if (volume.found !== 'found') return volume.fail();
    const nodeId = nodeIdOf(context);
    const before = giLine(volume.md, nodeId);
    parseGi(list, volume.md, nodeId, context.io);
    context.io.stdout(`previously ${before}\nset GI to  ${giLine(volume.md, nodeId)}\n`);
    if (!(await volume.ask('Write new GI to disk?'))) {
      context.io.stdout('Operation canceled.\n');
      return 0;
    }
    return volume.writeSuperblock() ? 0 : volume.fail('update failed');
  },
};

export const readDevUuid: Command = {
  name: 'read-dev-uuid',
  modifies: false,
  wantsNodeId: false,
  async run(context) {
    ignoreSurplus(context);
    const volume = await Volume.open(context);
    if (volume.found !== 'found') return volume.fail();
    context.io.stdout(`${hex16(volume.md.device_uuid)}\n`);
    return 0;
  },
};

export const writeDevUuid: Command = {
  name: 'write-dev-uuid',
  modifies: true,
  wantsNodeId: false,
  async run(context) {
    const text = requiredArgument(context);
    ignoreSurplus(context, 1);
    const volume = await Volume.open(context);
    if (volume.found !== 'found') return volume.fail();
    volume.md.device_uuid = leadingHex(text);
    return volume.writeSuperblock() ? 0 : volume.fail('update failed');
  },
};

const nodeIdOf = (context: CommandContext): number => context.invocation.options.nodeId ?? 0;

function requiredArgument(context: CommandContext): string {
  const [argument] = context.invocation.args;
  if (argument === undefined) {
    context.io.stderr('Required Argument missing\n');
    throw new Exit(10);
  }
  return argument;
}

const DEVICE_BITS_08 = [
  MDF.CONSISTENT,
  MDF.WAS_UP_TO_DATE,
  MDF.PRIMARY_IND,
  MDF.CONNECTED_IND,
  MDF.FULL_SYNC,
  MDF.PEER_OUT_DATED,
  MDF.CRASHED_PRIMARY,
];
const DEVICE_BITS_09 = [
  MDF.CONSISTENT,
  MDF.WAS_UP_TO_DATE,
  MDF.PRIMARY_IND,
  MDF.CRASHED_PRIMARY,
  MDF.AL_CLEAN,
  MDF.AL_DISABLED,
  MDF.PRIMARY_LOST_QUORUM,
];
const PEER_BITS_09 = [MDF_PEER.CONNECTED, MDF_PEER.OUTDATED, MDF_PEER.FENCING, MDF_PEER.FULL_SYNC, MDF_PEER.DEVICE_SEEN];
const LAST_BITS_07 = [MDF.PRIMARY_IND, MDF.CONNECTED_IND, MDF.FULL_SYNC];

const bits = (value: number, masks: readonly number[]): number[] => masks.map((mask) => ((value & mask) !== 0 ? 1 : 0));

/** All identifiers and flags in one line, as `set-gi` takes them. */
export function giLine(md: MetaData, nodeId: number): string {
  if (md.format === 'v07') {
    const [flags, ...counts] = md.gc;
    return [...bits(flags, [MDF.CONSISTENT]), ...counts.map((n) => n | 0), ...bits(flags, LAST_BITS_07)].join(':');
  }
  const peer = md.peers[nodeId]!;
  const uuids = [md.current_uuid, peer.bitmap_uuid, md.history_uuids[0]!, md.history_uuids[1]!].map(hex16);
  const flags =
    md.format === 'v08' ? bits(md.flags, DEVICE_BITS_08) : [...bits(md.flags, DEVICE_BITS_09), ...bits(peer.flags, PEER_BITS_09)];
  return [...uuids, ...flags].join(':');
}

/** Reads the list of `giLine` into `md`; empty and missing elements keep what is there. */
function parseGi(list: string, md: MetaData, nodeId: number, io: CommandIo): void {
  const elements = list.split(':');
  const stop = (text: string): never => {
    io.stderr(`${text}\n`);
    throw new Exit(10);
  };
  /** The next element that is not empty, read with `read`; false when the list is at its end. */
  let at = 0;
  const next = (read: (text: string) => bigint | undefined, max: bigint, use: (value: bigint) => void): boolean => {
    if (at >= elements.length) return false;
    const text = elements[at++]!;
    if (text === '') return true;
    const value = read(text);
    // The stock tool names what follows the element that it means.
    const rest = at < elements.length ? elements.slice(at).join(':') : '(null)';
    if (value === undefined) return stop(`'${rest}' is not a number.`);
    if (value > U64_MAX || value < -U64_MAX) return stop(`'${rest}': Numerical result out of range`);
    const unsigned = BigInt.asUintN(64, value);
    if (unsigned > max) return stop(`'${rest}' is out of range (max 0xFFffFFff).`);
    use(unsigned);
    return true;
  };
  const uuid = (use: (value: bigint) => void): boolean => next(wholeHex, U64_MAX, use);
  const count = (index: 1 | 2 | 3 | 4): boolean =>
    next(wholeInteger, U32_MAX, (value) => {
      md.gc[index] = Number(value);
    });
  const bit = (get: () => number, set: (flags: number) => void, mask: number): boolean =>
    next(wholeInteger, U32_MAX, (value) => {
      const v = BigInt.asIntN(32, value);
      if (v !== 0n && v !== 1n) stop(`'${v}' is not 0 or 1.`);
      set(v === 1n ? get() | mask : get() & ~mask);
    });

  const peer = md.peers[nodeId]!;
  if (md.format === 'v07') {
    const flag = (mask: number): boolean =>
      bit(
        () => md.gc[0],
        (f) => {
          md.gc[0] = f;
        },
        mask,
      );
    void (flag(MDF.CONSISTENT) && count(1) && count(2) && count(3) && count(4) && LAST_BITS_07.every(flag));
    return;
  }
  const deviceFlag = (mask: number): boolean =>
    bit(
      () => md.flags,
      (f) => {
        md.flags = f;
      },
      mask,
    );
  const peerFlag = (mask: number): boolean =>
    bit(
      () => peer.flags,
      (f) => {
        peer.flags = f;
      },
      mask,
    );
  const uuidsDone =
    uuid((v) => {
      md.current_uuid = v;
    }) &&
    uuid((v) => {
      peer.bitmap_uuid = v;
    }) &&
    uuid((v) => {
      md.history_uuids[0] = v;
    }) &&
    uuid((v) => {
      md.history_uuids[1] = v;
    });
  if (!uuidsDone) return;
  if (md.format === 'v08') DEVICE_BITS_08.every(deviceFlag);
  else if (DEVICE_BITS_09.every(deviceFlag)) PEER_BITS_09.every(peerFlag);
}

const U64_MAX = 0xffff_ffff_ffff_ffffn;
const U32_MAX = 0xffff_ffffn;

/** A hexadecimal number of any size that is the whole text. */
function wholeHex(text: string): bigint | undefined {
  const match = /^\s*([+-]?)(?:0[xX])?([0-9a-fA-F]+)$/.exec(text);
  if (!match) return undefined;
  const magnitude = BigInt(`0x${match[2]}`);
  return match[1] === '-' ? -magnitude : magnitude;
}

/** The number that `text` begins with, read as hexadecimal; 0 if there is none, the largest if it is too large. */
function leadingHex(text: string): bigint {
  const match = /^\s*[+-]?(?:0[xX](?=[0-9a-fA-F]))?[0-9a-fA-F]+/.exec(text);
  const value = (match && wholeHex(match[0])) ?? 0n;
  return value > U64_MAX || value < -U64_MAX ? U64_MAX : BigInt.asUintN(64, value);
}

/** strtol(text, 0) over the whole text: decimal, 0x hexadecimal, 0 octal. */
function wholeInteger(text: string): bigint | undefined {
  const match = /^\s*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)$/.exec(text);
  if (!match) return undefined;
  const digits = match[2]!;
  const magnitude = BigInt(/^0[0-7]+$/.test(digits) ? `0o${digits.slice(1)}` : digits);
  return match[1] === '-' ? -magnitude : magnitude;
}

const LEGEND_UUIDS = `
       +--<  Current data generation UUID  >-
       |               +--<  Bitmap's base data generation UUID  >-
       |               |                 +--<  younger history UUID  >-
       |               |                 |         +-<  older history  >-
       V               V                 V         V
`;
const LEGEND_08 = `\
                                                                    ^ ^ ^ ^ ^ ^ ^
                                      -<  Data consistency flag  >--+ | | | | | |
                             -<  Data was/is currently up-to-date  >--+ | | | | |
                                  -<  Node was/is currently primary  >--+ | | | |
                                  -<  Node was/is currently connected  >--+ | | |
         -<  Node was in the progress of setting all bits in the bitmap  >--+ | |
                        -<  The peer's disk was out-dated or inconsistent  >--+ |
      -<  This node was a crashed primary, and has not seen its peer since   >--+

`;
const LEGEND_09 = `\
                                                                    ^ ^ ^ ^ ^ ^ ^ ^ ^ ^ ^ ^
                                      -<  Data consistency flag  >--+ | | | | | | | | | | |
                             -<  Data was/is currently up-to-date  >--+ | | | | | | | | | |
                                  -<  Node was/is currently primary  >--+ | | | | | | | | |
 -<  This node was a crashed primary, and has not seen its peer since  >--+ | | | | | | | |
             -<  The activity-log was applied, the disk can be attached  >--+ | | | | | | |
        -<  The activity-log was disabled, peer is completely out of sync  >--+ | | | | | |
                              -<  This node was primary when it lost quorum  >--+ | | | | |
                                          -<  Node was/is currently connected  >--+ | | | |
                              -<  The peer's disk was out-dated or inconsistent  >--+ | | |
                                 -<   A fence policy other the dont-care was used  >--+ | |
                  -<  Node was in the progress of marking all blocks as out of sync  >--+ |
                     -<  At least once we saw this node with a backing device attached >--+

`;

function giFrame(md: MetaData, nodeId: number): string {
  const head = `${LEGEND_UUIDS}${giLine(md, nodeId)}\n`;
  if (md.format === 'v09') return head + LEGEND_09;
  const f = md.flags;
  const upToDate = (f & MDF.WAS_UP_TO_DATE) !== 0 ? 'UpToDate' : 'Outdated';
  return (
    head +
    LEGEND_08 +
    `flags:${(f & MDF.CRASHED_PRIMARY) !== 0 ? ' crashed' : ''} ${(f & MDF.PRIMARY_IND) !== 0 ? 'Primary' : 'Secondary'}, ` +
    `${(f & MDF.CONNECTED_IND) !== 0 ? 'Connected' : 'StandAlone'}, ${(f & MDF.CONSISTENT) !== 0 ? upToDate : 'Inconsistent'}` +
    `${(f & MDF.FULL_SYNC) !== 0 ? ', need full sync' : ''}${(f & MDF.PEER_OUT_DATED) !== 0 ? ', peer Outdated' : ''}\n` +
    `meta-data: ${(f & MDF.AL_CLEAN) !== 0 ? 'clean' : 'need apply-al'}\n`
  );
}

function giFrame07(md: MetaData): string {
  const [flags, ...counts] = md.gc;
  const word = (mask: number, yes: string, no: string): string => ((flags & mask) !== 0 ? yes : no);
  const columns = counts.map((n) => `${n | 0}`.padStart(4)).join(' |');
  return `
                                        WantFullSync |
                                  ConnectedInd |     |
                               lastState |     |     |
                      ArbitraryCnt |     |     |     |
                ConnectedCnt |     |     |     |     |
            TimeoutCnt |     |     |     |     |     |
        HumanCnt |     |     |     |     |     |     |
Consistent |     |     |     |     |     |     |     |
   --------+-----+-----+-----+-----+-----+-----+-----+
       ${word(MDF.CONSISTENT, '1/c', '0/i')} |${columns} | ${word(MDF.PRIMARY_IND, '1/p', '0/s')} | ${word(MDF.CONNECTED_IND, '1/c', '0/n')} | ${word(MDF.FULL_SYNC, '1/y', '0/n')}  

`;
}
