/** Data generations in the 8.4 dialect: P_UUIDS and P_SYNC_UUID. Source: drbd_protocol.h, struct p_uuids, p_uuid. */
import { layout, type StructOf } from './layout.js';

export const P_UUIDS = layout('p_uuids', 48, {
  current: { type: 'u64', doc: 'bit 0: the sender was Primary; ignored in comparisons' },
  bitmap: { type: 'u64', doc: 'generation the bitmap is relative to, 0: none' },
  history0: { type: 'u64', doc: 'youngest' },
  history1: { type: 'u64', doc: 'older' },
  dirty_bits: { type: 'u64', doc: 'set bits in the sender’s bitmap' },
  flags: { type: 'u64', doc: 'UUID_FLAG bits' },
});
export type PUuids = StructOf<typeof P_UUIDS>;

export const P_UUID = layout('p_uuid', 8, {
  uuid: { type: 'u64', doc: 'current UUID of the target during this resync' },
});
export type PUuid = StructOf<typeof P_UUID>;

/** Flags in P_UUIDS and P_UUIDS110; those from NEW_DATAGEN on belong to DRBD 9. */
export const UUID_FLAG = {
  DISCARD_MY_DATA: 0x0001n,
  CRASHED_PRIMARY: 0x0002n,
  INCONSISTENT: 0x0004n,
  SKIP_INITIAL_SYNC: 0x0008n,
  NEW_DATAGEN: 0x0010n,
  STABLE: 0x0020n,
  GOT_STABLE: 0x0040n,
  RESYNC: 0x0080n,
  RECONNECT: 0x0100n,
  DISKLESS_PRIMARY: 0x0200n,
  PRIMARY_LOST_QUORUM: 0x0400n,
  SYNC_TARGET: 0x0800n,
  HAS_UNALLOC: 0x1000n,
} as const;

/** The current UUID of a device that nobody wrote to yet. */
export const UUID_JUST_CREATED = 4n;
/** What is added to the bitmap UUID to get the UUID of a resync. */
export const UUID_NEW_BM_OFFSET = 1n << 48n;
/** Equal generations, ignoring the Primary marker in bit 0. */
export const uuidsEqual = (a: bigint, b: bigint): boolean => ((a ^ b) & ~1n) === 0n;
