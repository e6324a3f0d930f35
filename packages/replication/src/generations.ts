/**
 * Generation identifiers of one volume towards one peer: the four UUIDs of DRBD 8.4 and what happens to them.
 *
 * Bit 0 of a UUID says "was Primary" and is no part of its identity: two nodes may hold the same generation with different
 * bits 0. Source: DRBD 8.4 drbd_main.c.
 */
import { UUID_JUST_CREATED, UUID_PRIMARY } from '@udrbd/metadata';

export { UUID_JUST_CREATED };

export interface Generations {
  readonly current: bigint;
  /** Generation that the bitmap is relative to; 0n while the peer has everything. */
  readonly bitmap: bigint;
  /** Youngest first. */
  readonly history: readonly [bigint, bigint];
}

const MASK_64 = 0xffff_ffff_ffff_ffffn;

/** Distance of a sync UUID from the bitmap UUID it replaces for the time of a resync. */
export const SYNC_UUID_OFFSET = 0x0001_0000_0000_0000n;

/** A UUID without its Primary bit. */
export const uuidIdentity = (uuid: bigint): bigint => uuid & ~UUID_PRIMARY & MASK_64;

export const uuidEqual = (a: bigint, b: bigint): boolean => uuidIdentity(a) === uuidIdentity(b);

/** Whether bit 0 is set. */
export const uuidWasPrimary = (uuid: bigint): boolean => (uuid & UUID_PRIMARY) !== 0n;

/** The UUID with bit 0 telling the role. */
export const withPrimaryBit = (uuid: bigint, primary: boolean): bigint => (primary ? uuid | UUID_PRIMARY : uuidIdentity(uuid));

/**
 * The UUID under which a resync runs.
 * @param bitmap - the source's bitmap UUID at the start
 * @param random - taken instead when there is none to derive from (0 or just created)
 */
export const syncUuidOf = (bitmap: bigint, random: bigint): bigint =>
  uuidIdentity(bitmap) === 0n || uuidIdentity(bitmap) === UUID_JUST_CREATED ? random : (bitmap + SYNC_UUID_OFFSET) & MASK_64;

/** Puts a value in front of the history; the oldest one falls out. */
export const pushHistory = (g: Generations, value: bigint): Generations => ({ ...g, history: [value, g.history[0]] });

/** A new data generation begins: what was current becomes the base of the bitmap. */
export const newCurrent = (g: Generations, random: bigint, primary: boolean): Generations => ({
  ...g,
  current: withPrimaryBit(random, primary),
  bitmap: g.current,
});

/** The peer caught up: the base of the bitmap becomes history. Nothing happens without one. */
export const clearBitmapUuid = (g: Generations): Generations => (g.bitmap === 0n ? g : { ...pushHistory(g, g.bitmap), bitmap: 0n });

/** Replaces the base of the bitmap; an earlier one becomes history. 0n is `clearBitmapUuid`. */
export const setBitmapUuid = (g: Generations, value: bigint): Generations => ({
  ...(g.bitmap === 0n ? g : pushHistory(g, g.bitmap)),
  bitmap: value,
});

/** SyncSource, at the start of a resync. */
export const sourceResyncStart = (g: Generations, syncUuid: bigint): Generations => setBitmapUuid(g, syncUuid);

/** SyncTarget, on receipt of P_SYNC_UUID: its old generation is gone, not history. */
export const targetResyncStart = (g: Generations, syncUuid: bigint, primary = false): Generations => ({
  ...g,
  current: withPrimaryBit(syncUuid, primary),
  bitmap: 0n,
});

/** SyncSource, when everything was transferred. */
export const sourceResyncEnd = (g: Generations): Generations => clearBitmapUuid(g);

/**
 * SyncTarget, when everything was received: the source's identity, so that both sets are equal afterwards.
 * @param peer - the source's set as of the handshake
 */
export function targetResyncEnd(g: Generations, peer: Generations, primary = false): Generations {
  // A sync UUID that was sent again was the source's bitmap UUID at the handshake already: what it replaced is in the history.
  const bitmap = uuidEqual(peer.bitmap, g.current) ? 0n : peer.bitmap;
  const inherited: Generations = { current: g.current, bitmap, history: peer.history };
  return {
    ...clearBitmapUuid(setBitmapUuid(inherited, g.current)),
    current: withPrimaryBit(peer.current, primary),
  };
}

const hex = (uuid: bigint): string => uuid.toString(16).toUpperCase().padStart(16, '0');

/** `<current>:<bitmap>:<history>:<history>` as the handshake logs it, without bits 0. */
export const formatGenerations = (g: Generations): string =>
  [g.current, g.bitmap, ...g.history].map((uuid) => hex(uuidIdentity(uuid))).join(':');
