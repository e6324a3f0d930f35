// dump-superblock: the 4096 bytes of the super block, raw, as hex or as JSON, whether they are believable or not.

import { hostname } from 'node:os';
import { getBig, getNumber, META_DATA_ON_DISK_9, PEER_DEV_MD_ON_DISK_9, PEERS_MAX, type Placed, superblockLayout } from '@udrbd/metadata';
import { hexdump } from '../hexdump.js';
import { hex8, hex16 } from '../numbers.js';
import { Volume } from '../volume.js';
import { type Command, type CommandContext, ignoreSurplus } from './command.js';

export const dumpSuperblock: Command = {
  name: 'dump-superblock',
  since934: true,
  modifies: false,
  wantsNodeId: false,
  run: (context) => dump(context, context.invocation.options.outputFormat ?? 'auto'),
};
export const hexdumpSuperblock: Command = {
  name: 'hexdump-superblock',
  since934: true,
  modifies: false,
  wantsNodeId: false,
  run: (context) => dump(context, 'hex'),
};

async function dump(context: CommandContext, wanted: string): Promise<number> {
  const { io, invocation } = context;
  if (!['auto', 'hex', 'bin', 'json'].includes(wanted)) {
    io.stderr(`Unknown output format '${wanted}'\n`);
    return 10;
  }
  ignoreSurplus(context);
  invocation.options.force = true;
  const volume = await Volume.open(context);
  const format = wanted === 'auto' ? (io.stdoutIsTty ? 'hex' : 'bin') : wanted;
  const offset = volume.found === 'at last known location' ? volume.lastKnownOffset : volume.superblockOffset;
  const bytes = volume.found === 'at last known location' ? volume.device.read('dump_superblock', 4096, offset) : volume.rawSuperblock;
  if (format === 'bin') {
    io.stdout(bytes);
  } else if (format === 'hex') {
    io.stdout(hexdump(bytes, offset));
  } else {
    if (volume.format === 'v07') {
      io.stderr(`json dump of superblock not implemented for ${volume.format}\n`);
      return 4;
    }
    io.stdout(json(volume, bytes, offset));
  }
  return { found: 0, 'at last known location': 2, none: 3 }[volume.found];
}

const VALIDITY = {
  found: 'VALID_MD_FOUND',
  'at last known location': 'VALID_MD_FOUND_AT_LAST_KNOWN_LOCATION',
  none: 'NO_VALID_MD_FOUND',
} as const;
/** Scalars in the order of the stock tool; both formats have them. */
const SCALARS = [
  'effective_size',
  'current_uuid',
  'device_uuid',
  'flags',
  'magic',
  'md_size_sect',
  'al_offset',
  'al_nr_extents',
  'bm_offset',
  'bm_bytes_per_bit',
  'la_peer_max_bio_size',
  'al_stripes',
  'al_stripe_size_4k',
] as const;
const HEX_FIELDS = new Set<string>(['flags', 'magic', 'reserved_u32']);
const DECIMAL_U64 = new Set<string>(['effective_size', 'bitmap_dagtag']);

function json(volume: Volume, bytes: Uint8Array, offset: number): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const scalar = (field: string, at: Placed, base = 0, index = 0): string => {
    if (at.type === 'u64') {
      const value = getBig(view, base, at, index);
      return DECIMAL_U64.has(field) ? `${value}` : `"0x${hex16(value)}"`;
    }
    const value = getNumber(view, base, at, index);
    return HEX_FIELDS.has(field) ? `"0x${hex8(value)}"` : `${value}`;
  };
  const list = (field: string, at: Placed, base = 0): string =>
    `[ ${Array.from({ length: at.count ?? 1 }, (_, i) => scalar(field, at, base, i)).join(', ')} ]`;
  const { at } = superblockLayout(volume.format) as { at: Record<string, Placed> };
  const member = (field: string): string => {
    const placed = at[field]!;
    return `  "${field}": ${placed.count === undefined ? scalar(field, placed) : list(field, placed)}`;
  };
  const members: string[] = SCALARS.map(member);
  const rows = (count: number, perRow: number): string =>
    Array.from({ length: count / perRow }, (_, row) =>
      Array.from({ length: perRow }, (_, column) => scalar('history_uuids', at.history_uuids!, 0, row * perRow + column)).join(', '),
    )
      .map((row) => `    ${row}`)
      .join(',\n');
  let paddingStart: number;
  if (volume.format === 'v09') {
    const { at: peerAt, size } = PEER_DEV_MD_ON_DISK_9;
    const peers = Array.from({ length: PEERS_MAX }, (_, nodeId) => {
      const base = META_DATA_ON_DISK_9.at.peers.offset + nodeId * size;
      const fields = (Object.entries(peerAt) as [string, Placed][]).map(
        ([field, placed]) => `"${field}": ${placed.count === undefined ? scalar(field, placed, base) : list(field, placed, base)}`,
      );
      return `    { ${fields.join(',  ')} }`;
    });
    members.push(`  "peers": [\n${peers.join(',\n')}\n  ]`);
    members.push(...['bm_max_peers', 'node_id', 'members', 'reserved_u64', 'reserved_u32'].map(member));
    members.push(`  "history_uuids": [\n${rows(32, 4)}\n  ]`);
    paddingStart = META_DATA_ON_DISK_9.at.padding.offset;
  } else {
    members.push(`  "peers": [ { "bitmap_uuid": ${scalar('bitmap_uuid', at.bitmap_uuid!)} } ]`);
    members.push(`  "history_uuids": [\n${rows(2, 2)}\n  ]`);
    // The stock tool counts one word more as known than there is.
    paddingStart = at.reserved_u32!.offset + 4;
  }
  const nonZero: string[] = [];
  for (let i = paddingStart; i < bytes.length; i++) if (bytes[i] !== 0) nonZero.push(`"${i}": "0x${hex8(bytes[i]!).slice(6)}"`);
  members.push(
    `  "padding": { "start": ${paddingStart}, "end": 4096, "non-zero": { ${nonZero.length > 0 ? `${nonZero.join(', ')} ` : ''}} }`,
  );
  const looksLike = (['v07', 'v08', 'v09'] as const).filter((f) => magicFits(f, view)).at(-1) ?? 'unknown';
  const meta = [
    `    "dump_time_utc": "${new Date().toISOString().replace(/\.\d+Z$/, 'Z')}"`,
    `    "dump_host": ${JSON.stringify(hostname())}`,
    `    "md_device_name": ${JSON.stringify(volume.device.path)}`,
    `    "dump_offset": ${offset}`,
    `    "bd_size": ${volume.device.sizeBytes}`,
    `    "dumped_as": "${volume.format}"`,
    `    "looks_like": "${looksLike}"`,
    `    "valid": "${VALIDITY[volume.found]}"`,
  ];
  members.push(`  "#meta": {\n${meta.join(',\n')}\n  }`);
  return `{\n${members.join(',\n')}\n}\n`;
}

function magicFits(format: 'v07' | 'v08' | 'v09', view: DataView): boolean {
  const value = getNumber(view, 0, superblockLayout(format).at.magic as Placed);
  if (format === 'v08') return value === 0x8374026b || value === 0x8374026c;
  return value === (format === 'v07' ? 0x8374026a : 0x8374026d);
}
