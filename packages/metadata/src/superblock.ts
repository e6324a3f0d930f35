// The 4096 byte superblock of each format: layout tables and codecs. Source: drbd_meta_data.h; docs/on-disk-format.md.

import { HISTORY_UUIDS, HISTORY_UUIDS_V08, MAGIC, PEERS_MAX, SUPERBLOCK_BYTES } from './constants.js';
import { getBig, getNumber, type Layout, layout, type Placed, putBig, putNumber, viewOf } from './layout.js';
import { createMetaData, type GenerationCounts, type MetaData, type MetaDataFormat } from './meta-data.js';
import { accept, damaged, type Outcome } from './outcome.js';

/** One of the 32 peer entries of a v09 superblock. */
export const PEER_DEV_MD_ON_DISK_9 = layout('peer_dev_md_on_disk_9', 32, {
  bitmap_uuid: { type: 'u64', doc: 'generation the bitmap of this peer is based on; 0 = the current one' },
  bitmap_dagtag: { type: 'u64', doc: 'position in the data stream when bitmap_uuid was set' },
  flags: { type: 'u32', doc: 'MDF_PEER bits' },
  bitmap_index: { type: 'i32', doc: 'bitmap slot of this peer, -1 = none' },
  reserved_u32: { type: 'u32', count: 2, doc: 'zero' },
});

/** Superblock of DRBD 9. */
export const META_DATA_ON_DISK_9 = layout('meta_data_on_disk_9', SUPERBLOCK_BYTES, {
  effective_size: { type: 'u64', unit: 'sectors', doc: 'last agreed device size; 0 = never agreed' },
  current_uuid: { type: 'u64', doc: 'current data generation; 4 = just created' },
  members: { type: 'u64', doc: 'bit mask of node ids, last known membership; zeroed by tools that do not know it' },
  reserved_u64: { type: 'u64', count: 3, doc: 'zero' },
  device_uuid: { type: 'u64', doc: 'identifies this meta-data, usually 0' },
  flags: { type: 'u32', doc: 'MDF bits' },
  magic: { type: 'u32', doc: '0x8374026D' },
  md_size_sect: { type: 'u32', unit: 'sectors', doc: 'size of the complete meta-data area' },
  al_offset: { type: 'i32', unit: 'sectors', doc: 'activity log, relative to the superblock' },
  al_nr_extents: { type: 'u32', doc: 'slots of the active set; create-md writes 257' },
  bm_offset: { type: 'i32', unit: 'sectors', doc: 'bitmap, relative to the superblock' },
  bm_bytes_per_bit: { type: 'u32', unit: 'bytes', doc: 'bitmap block size' },
  la_peer_max_bio_size: { type: 'u32', unit: 'bytes', doc: 'last agreed maximum bio size' },
  bm_max_peers: { type: 'u32', doc: 'number of bitmap slots, 1..31' },
  node_id: { type: 'i32', doc: 'own node id, -1 = not yet assigned' },
  al_stripes: { type: 'u32', doc: 'stripes of the activity log' },
  al_stripe_size_4k: { type: 'u32', unit: '4 KiB', doc: 'size of one stripe' },
  reserved_u32: { type: 'u32', count: 2, doc: 'zero' },
  peers: { type: 'u64', count: PEERS_MAX, recordBytes: PEER_DEV_MD_ON_DISK_9.size, doc: 'by node id: peer_dev_md_on_disk_9' },
  history_uuids: { type: 'u64', count: HISTORY_UUIDS, doc: 'youngest first' },
  padding: { type: 'u32', count: 676, doc: 'zero' },
});

/** Superblock of DRBD 8.0 to 8.4. */
export const MD_ON_DISK_08 = layout('md_on_disk_08', SUPERBLOCK_BYTES, {
  effective_size: { type: 'u64', unit: 'sectors', doc: 'last agreed device size; 0 = never agreed' },
  current_uuid: { type: 'u64', doc: 'current data generation' },
  bitmap_uuid: { type: 'u64', doc: 'generation the bitmap is based on' },
  history_uuids: { type: 'u64', count: HISTORY_UUIDS_V08, doc: 'younger, older' },
  device_uuid: { type: 'u64', doc: 'identifies this meta-data, usually 0' },
  reserved_u64: { type: 'u64', doc: 'zero' },
  flags: { type: 'u32', doc: 'MDF bits' },
  magic: { type: 'u32', doc: '0x8374026B, or 0x8374026C while attached by 8.4' },
  md_size_sect: { type: 'u32', unit: 'sectors', doc: 'size of the complete meta-data area' },
  al_offset: { type: 'i32', unit: 'sectors', doc: 'activity log, relative to the superblock' },
  al_nr_extents: { type: 'u32', doc: 'slots of the active set' },
  bm_offset: { type: 'i32', unit: 'sectors', doc: 'bitmap, relative to the superblock' },
  bm_bytes_per_bit: { type: 'u32', unit: 'bytes', doc: 'always 4096' },
  la_peer_max_bio_size: { type: 'u32', unit: 'bytes', doc: 'last agreed maximum bio size' },
  al_stripes: { type: 'u32', doc: 'stripes of the activity log; with al_stripe_size_4k 0: one stripe of 8' },
  al_stripe_size_4k: { type: 'u32', unit: '4 KiB', doc: 'size of one stripe' },
  reserved_u32: { type: 'u32', count: 1000, doc: 'zero' },
});

/** Superblock of DRBD 0.7. */
export const MD_ON_DISK_07 = layout('md_on_disk_07', SUPERBLOCK_BYTES, {
  la_kb: { type: 'u64', unit: 'KiB', doc: 'last agreed device size' },
  gc: { type: 'u32', count: 5, doc: 'flags, human, timeout, connected, arbitrary count' },
  magic: { type: 'u32', doc: '0x8374026A' },
  md_size_kb: { type: 'u32', unit: 'KiB', doc: 'size of the complete meta-data area' },
  al_offset: { type: 'i32', unit: 'sectors', doc: 'activity log, relative to the superblock' },
  al_nr_extents: { type: 'u32', doc: 'slots of the active set' },
  bm_offset: { type: 'i32', unit: 'sectors', doc: 'bitmap, relative to the superblock' },
  reserved_u32: { type: 'u32', count: 1012, doc: 'zero' },
});

/** Scalars that have the same name in `MetaData` and on disk. */
const SCALARS = [
  'flags',
  'magic',
  'md_size_sect',
  'al_offset',
  'al_nr_extents',
  'bm_offset',
  'bm_bytes_per_bit',
  'la_peer_max_bio_size',
  'bm_max_peers',
  'node_id',
  'al_stripes',
  'al_stripe_size_4k',
] as const;

/** Decodes a v09 superblock. Only length and magic are judged here; see `checkSuperblock` for the rest. */
export function decodeSuperblock09(bytes: Uint8Array): Outcome<MetaData> {
  if (bytes.length < SUPERBLOCK_BYTES) return damaged('length', `${bytes.length} bytes are less than a superblock`);
  const view = viewOf(bytes);
  const at = META_DATA_ON_DISK_9.at;
  if (getNumber(view, 0, at.magic) !== MAGIC.v09) return damaged('magic', 'v09 Magic number not found');
  const md = createMetaData('v09');
  md.effective_size = getNumber(view, 0, at.effective_size);
  md.current_uuid = getBig(view, 0, at.current_uuid);
  md.members = getBig(view, 0, at.members);
  md.device_uuid = getBig(view, 0, at.device_uuid);
  getScalars(view, at, md);
  for (const [nodeId, peer] of md.peers.entries()) {
    const base = at.peers.offset + nodeId * PEER_DEV_MD_ON_DISK_9.size;
    const p = PEER_DEV_MD_ON_DISK_9.at;
    peer.bitmap_uuid = getBig(view, base, p.bitmap_uuid);
    peer.bitmap_dagtag = getBig(view, base, p.bitmap_dagtag);
    peer.flags = getNumber(view, base, p.flags);
    peer.bitmap_index = getNumber(view, base, p.bitmap_index);
  }
  for (let i = 0; i < HISTORY_UUIDS; i++) md.history_uuids[i] = getBig(view, 0, at.history_uuids, i);
  return accept(md);
}

/** Decodes a v08 superblock, clean or not. */
export function decodeSuperblock08(bytes: Uint8Array): Outcome<MetaData> {
  if (bytes.length < SUPERBLOCK_BYTES) return damaged('length', `${bytes.length} bytes are less than a superblock`);
  const view = viewOf(bytes);
  const at = MD_ON_DISK_08.at;
  const magic = getNumber(view, 0, at.magic);
  if (magic !== MAGIC.v08 && magic !== MAGIC.v08Unclean84) return damaged('magic', 'v08 Magic number not found');
  const md = createMetaData('v08');
  md.effective_size = getNumber(view, 0, at.effective_size);
  md.current_uuid = getBig(view, 0, at.current_uuid);
  md.peers[0].bitmap_uuid = getBig(view, 0, at.bitmap_uuid);
  md.device_uuid = getBig(view, 0, at.device_uuid);
  getScalars(view, at, md);
  for (let i = 0; i < HISTORY_UUIDS_V08; i++) md.history_uuids[i] = getBig(view, 0, at.history_uuids, i);
  if (md.al_stripes === 0 && md.al_stripe_size_4k === 0) {
    md.al_stripes = 1;
    md.al_stripe_size_4k = 8;
  }
  return accept(md);
}

/** Decodes a v07 superblock. */
export function decodeSuperblock07(bytes: Uint8Array): Outcome<MetaData> {
  if (bytes.length < SUPERBLOCK_BYTES) return damaged('length', `${bytes.length} bytes are less than a superblock`);
  const view = viewOf(bytes);
  const at = MD_ON_DISK_07.at;
  if (getNumber(view, 0, at.magic) !== MAGIC.v07) return damaged('magic', 'v07 Magic number not found');
  const md = createMetaData('v07');
  // What damage made too large wraps, as in the stock tool.
  md.effective_size = Number(BigInt.asUintN(64, getBig(view, 0, at.la_kb) * 2n));
  md.gc = [0, 1, 2, 3, 4].map((i) => getNumber(view, 0, at.gc, i)) as GenerationCounts;
  md.md_size_sect = (getNumber(view, 0, at.md_size_kb) * 2) >>> 0;
  getScalars(view, { magic: at.magic, al_offset: at.al_offset, al_nr_extents: at.al_nr_extents, bm_offset: at.bm_offset }, md);
  return accept(md);
}

/** The 4096 bytes of a v09 superblock; reserved bytes are zero. */
export function encodeSuperblock09(md: MetaData): Uint8Array {
  const bytes = new Uint8Array(SUPERBLOCK_BYTES);
  const view = viewOf(bytes);
  const at = META_DATA_ON_DISK_9.at;
  putNumber(view, 0, at.effective_size, md.effective_size);
  putBig(view, 0, at.current_uuid, md.current_uuid);
  putBig(view, 0, at.members, md.members);
  putBig(view, 0, at.device_uuid, md.device_uuid);
  putScalars(view, at, { ...md, magic: MAGIC.v09 });
  for (const [nodeId, peer] of md.peers.entries()) {
    const base = at.peers.offset + nodeId * PEER_DEV_MD_ON_DISK_9.size;
    const p = PEER_DEV_MD_ON_DISK_9.at;
    putBig(view, base, p.bitmap_uuid, peer.bitmap_uuid);
    putBig(view, base, p.bitmap_dagtag, peer.bitmap_dagtag);
    putNumber(view, base, p.flags, peer.flags);
    putNumber(view, base, p.bitmap_index, peer.bitmap_index);
  }
  for (let i = 0; i < HISTORY_UUIDS; i++) putBig(view, 0, at.history_uuids, md.history_uuids[i], i);
  return bytes;
}

/** The 4096 bytes of a v08 superblock, with the magic that `md.magic` says: clean, or unclean as the 8.4 engine writes it. */
export function encodeSuperblock08(md: MetaData): Uint8Array {
  const bytes = new Uint8Array(SUPERBLOCK_BYTES);
  const view = viewOf(bytes);
  const at = MD_ON_DISK_08.at;
  putNumber(view, 0, at.effective_size, md.effective_size);
  putBig(view, 0, at.current_uuid, md.current_uuid);
  putBig(view, 0, at.bitmap_uuid, md.peers[0].bitmap_uuid);
  putBig(view, 0, at.device_uuid, md.device_uuid);
  putScalars(view, at, { ...md, magic: md.magic === MAGIC.v08Unclean84 ? MAGIC.v08Unclean84 : MAGIC.v08 });
  for (let i = 0; i < HISTORY_UUIDS_V08; i++) putBig(view, 0, at.history_uuids, md.history_uuids[i], i);
  return bytes;
}

/** The 4096 bytes of a v07 superblock. */
export function encodeSuperblock07(md: MetaData): Uint8Array {
  const bytes = new Uint8Array(SUPERBLOCK_BYTES);
  const view = viewOf(bytes);
  const at = MD_ON_DISK_07.at;
  putNumber(view, 0, at.la_kb, Math.floor(md.effective_size / 2));
  for (const [i, count] of md.gc.entries()) putNumber(view, 0, at.gc, count, i);
  putNumber(view, 0, at.md_size_kb, Math.floor(md.md_size_sect / 2));
  putScalars(
    view,
    { magic: at.magic, al_offset: at.al_offset, al_nr_extents: at.al_nr_extents, bm_offset: at.bm_offset },
    { ...md, magic: MAGIC.v07 },
  );
  return bytes;
}

const CODECS = {
  v07: { table: MD_ON_DISK_07 as Layout, decode: decodeSuperblock07, encode: encodeSuperblock07 },
  v08: { table: MD_ON_DISK_08 as Layout, decode: decodeSuperblock08, encode: encodeSuperblock08 },
  v09: { table: META_DATA_ON_DISK_9 as Layout, decode: decodeSuperblock09, encode: encodeSuperblock09 },
} as const satisfies Record<MetaDataFormat, unknown>;

export const decodeSuperblock = (format: MetaDataFormat, bytes: Uint8Array): Outcome<MetaData> => CODECS[format].decode(bytes);
export const encodeSuperblock = (md: MetaData): Uint8Array => CODECS[md.format].encode(md);
export const superblockLayout = (format: MetaDataFormat): Layout => CODECS[format].table;

/** The unclipped first word of a superblock: the agreed size in sectors (v07: KiB), which damage may push beyond 2^53. */
export const rawEffectiveSize = (bytes: Uint8Array): bigint => viewOf(bytes).getBigUint64(META_DATA_ON_DISK_9.at.effective_size.offset);

type Scalar = (typeof SCALARS)[number];
function getScalars(view: DataView, at: Readonly<Partial<Record<Scalar, Placed>>>, md: MetaData): void {
  for (const name of SCALARS) {
    const field = at[name];
    if (field !== undefined) md[name] = getNumber(view, 0, field);
  }
}
function putScalars(view: DataView, at: Readonly<Partial<Record<Scalar, Placed>>>, md: MetaData): void {
  for (const name of SCALARS) {
    const field = at[name];
    if (field !== undefined) putNumber(view, 0, field, md[name]);
  }
}
