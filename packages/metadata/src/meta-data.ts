// The meta-data of one volume as plain values, whatever the format on disk. v07 and v08 keep their single bitmap UUID and
// their single set of peer knowledge here as entry 0 of `peers`.

import {
  AL_EXTENTS_CREATED,
  AL_STRIPE_SIZE_4K_DEFAULT,
  AL_STRIPES_DEFAULT,
  BM_BYTES_PER_BIT_DEFAULT,
  HISTORY_UUIDS,
  MAGIC,
  MDF,
  PEERS_MAX,
  UUID_JUST_CREATED,
} from './constants.js';

export type MetaDataFormat = 'v07' | 'v08' | 'v09';

/** What is known of one peer; position in `peers` is its node id. */
export interface PeerMetaData {
  bitmap_uuid: bigint;
  bitmap_dagtag: bigint;
  /** MDF_PEER bits. */
  flags: number;
  /** Bitmap slot that tracks this peer, -1 = none. */
  bitmap_index: number;
}

/** v07 generation counters: flags, human, timeout, connected, arbitrary count. */
export type GenerationCounts = [flags: number, human: number, timeout: number, connected: number, arbitrary: number];

/** A superblock's content. Field names are the on-disk ones; sizes are in sectors of 512 bytes where the name does not say. */
export interface MetaData {
  format: MetaDataFormat;
  magic: number;
  /** Last agreed size in sectors; 0 = never agreed. (v07 stores KiB.) */
  effective_size: number;
  current_uuid: bigint;
  /** Bit mask of node ids, last known membership. */
  members: bigint;
  device_uuid: bigint;
  /** MDF bits. */
  flags: number;
  /** Size of the complete meta-data area in sectors. */
  md_size_sect: number;
  /** First sector of the activity log, relative to the superblock. */
  al_offset: number;
  al_nr_extents: number;
  /** First sector of the bitmap, relative to the superblock. */
  bm_offset: number;
  bm_bytes_per_bit: number;
  la_peer_max_bio_size: number;
  /** Number of bitmap slots. */
  bm_max_peers: number;
  /** Own node id, -1 = not yet assigned. */
  node_id: number;
  al_stripes: number;
  al_stripe_size_4k: number;
  /** Always 32 entries. */
  peers: PeerMetaData[];
  /** Always 32 entries, youngest first; v08 stores the first two. */
  history_uuids: bigint[];
  /** Meaningful in v07 only. */
  gc: GenerationCounts;
}

export const emptyPeer = (): PeerMetaData => ({ bitmap_uuid: 0n, bitmap_dagtag: 0n, flags: 0, bitmap_index: -1 });

/** What `create-md` starts from; offsets and `md_size_sect` are 0 until `place()` sets them. */
export function createMetaData(
  format: MetaDataFormat,
  options: { maxPeers?: number; alStripes?: number; alStripeSize4k?: number; bmBytesPerBit?: number } = {},
): MetaData {
  return {
    format,
    magic: MAGIC[format],
    effective_size: 0,
    current_uuid: format === 'v07' ? 0n : UUID_JUST_CREATED,
    members: 0n,
    device_uuid: 0n,
    flags: format === 'v07' ? 0 : MDF.AL_CLEAN,
    md_size_sect: 0,
    al_offset: 0,
    al_nr_extents: AL_EXTENTS_CREATED,
    bm_offset: 0,
    bm_bytes_per_bit: options.bmBytesPerBit ?? BM_BYTES_PER_BIT_DEFAULT,
    la_peer_max_bio_size: 0,
    bm_max_peers: options.maxPeers ?? 1,
    node_id: -1,
    // v07 knows one layout of the activity log only.
    al_stripes: (format === 'v07' ? undefined : options.alStripes) ?? AL_STRIPES_DEFAULT,
    al_stripe_size_4k: (format === 'v07' ? undefined : options.alStripeSize4k) ?? AL_STRIPE_SIZE_4K_DEFAULT,
    peers: Array.from({ length: PEERS_MAX }, emptyPeer),
    history_uuids: new Array<bigint>(HISTORY_UUIDS).fill(0n),
    gc: [0, 1, 1, 1, 1],
  };
}

/** A copy that shares nothing with the original. */
export const cloneMetaData = (md: MetaData): MetaData => ({
  ...md,
  peers: md.peers.map((p) => ({ ...p })),
  history_uuids: [...md.history_uuids],
  gc: [...md.gc],
});

/**
 * Whether the activity log needs no replay before attach. It is about the log, not about the data: engines clear the
 * flag at their first write after attach and only `apply-al` (and `create-md`) set it.
 */
export const isClean = (md: MetaData): boolean => (md.flags & MDF.AL_CLEAN) !== 0 && md.magic !== MAGIC.v08Unclean84;
