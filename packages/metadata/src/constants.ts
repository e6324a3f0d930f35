// Magics, flags and limits of the on-disk meta-data. Source: drbd_meta_data.h, DRBD 8.4 and 9 drbd_nl.c.

/** Word 60 of a v08 or v09 superblock, word 28 of a v07 one. */
export const MAGIC = {
  v07: 0x8374026a,
  /** v08, activity log applied. */
  v08: 0x8374026b,
  /** v08 as the 8.4 engine writes it while attached: needs apply-al. */
  v08Unclean84: 0x8374026c,
  v09: 0x8374026d,
} as const;

/** Device flags (superblock field `flags`). */
export const MDF = {
  CONSISTENT: 0x001,
  PRIMARY_IND: 0x002,
  CONNECTED_IND: 0x004,
  FULL_SYNC: 0x008,
  WAS_UP_TO_DATE: 0x010,
  PEER_OUT_DATED: 0x020,
  CRASHED_PRIMARY: 0x040,
  AL_CLEAN: 0x080,
  AL_DISABLED: 0x100,
  PRIMARY_LOST_QUORUM: 0x200,
  HAVE_QUORUM: 0x400,
} as const;

/** Peer flags (v09, `peers[node_id].flags`). */
export const MDF_PEER = {
  CONNECTED: 0x0000_0001,
  OUTDATED: 0x0000_0002,
  FENCING: 0x0000_0004,
  FULL_SYNC: 0x0000_0008,
  DEVICE_SEEN: 0x0000_0010,
  NODE_EXISTS: 0x0001_0000,
  /** Derived from `bitmap_index`, never written to disk. */
  HAVE_BITMAP: 0x8000_0000,
} as const;

/** Current UUID of meta-data that never held a data generation. */
export const UUID_JUST_CREATED = 4n;
/** Lowest bit of a UUID: the node was Primary when it was written; not part of the identity. */
export const UUID_PRIMARY = 1n;

export const SUPERBLOCK_BYTES = 4096;
export const SECTOR_BYTES = 512;
/** Peer slots of a v09 superblock; node ids are 0..31. */
export const PEERS_MAX = 32;
/** Most bitmap slots. */
export const BITMAP_SLOTS_MAX = 31;
export const HISTORY_UUIDS = 32;
export const HISTORY_UUIDS_V08 = 2;
/** One activity log extent is 4 MiB of the device, whatever the bitmap block size. */
export const AL_EXTENT_SHIFT = 22;
export const AL_EXTENT_BYTES = 1 << AL_EXTENT_SHIFT;
export const AL_BLOCK_BYTES = 4096;
export const AL_EXTENTS_MIN = 67;
export const AL_EXTENTS_MAX = 65534;
/** Value `create-md` stores in `al_nr_extents`. */
export const AL_EXTENTS_CREATED = 257;
export const AL_STRIPES_DEFAULT = 1;
export const AL_STRIPE_SIZE_4K_DEFAULT = 8;
export const BM_BYTES_PER_BIT_DEFAULT = 4096;
export const BM_BYTES_PER_BIT_MAX = 1 << 20;
/** Fixed size of one external indexed area, and of the v07 fixed internal one. */
export const INDEXED_AREA_BYTES = 128 * 1024 * 1024;
/** Largest device: 1 PiB. */
export const DEVICE_BYTES_MAX = 2 ** 50;
