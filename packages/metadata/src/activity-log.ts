// The activity log: a ring of 4 KiB transactions that says which 4 MiB extents may have writes in flight.
// Source: DRBD 8.4 drbd_actlog.c; docs/on-disk-format.md.

import { AL_BLOCK_BYTES, AL_EXTENTS_MAX } from './constants.js';
import { crc32c } from './crc32c.js';
import { layout, viewOf } from './layout.js';

export const AL_MAGIC = 0x69cb65a2;
/** First word of an activity log area on persistent memory: extent numbers follow, one per slot. */
export const AL_PMEM_MAGIC = 0x6aa667a6;
export const AL_UPDATES_PER_TRANSACTION = 64;
export const AL_CONTEXT_PER_TRANSACTION = 919;
export const AL_TYPE_UPDATE = 0;
export const AL_TYPE_INITIALIZED = 0xffff;
/** Extent number of a free slot. */
export const AL_FREE = 0xffff_ffff;
export const AL_UNUSED_SLOT = 0xffff;

/** One transaction block. */
export const AL_TRANSACTION_ON_DISK = layout('al_transaction_on_disk', AL_BLOCK_BYTES, {
  magic: { type: 'u32', doc: '0x69CB65A2' },
  tr_number: { type: 'u32', doc: 'running number, wraps' },
  crc32c: { type: 'u32', doc: 'over the block with this field 0; start value 0, no final inversion' },
  transaction_type: { type: 'u16', doc: '0 = update, 0xFFFF = initialized' },
  n_updates: { type: 'u16', doc: '0..64' },
  context_size: { type: 'u16', doc: 'slots of the active set' },
  context_start_slot_nr: { type: 'u16', doc: 'slot number of context[0]' },
  reserved: { type: 'u32', count: 4, doc: 'zero' },
  update_slot_nr: { type: 'u16', count: AL_UPDATES_PER_TRANSACTION, doc: 'unused: 0xFFFF' },
  update_extent_nr: { type: 'u32', count: AL_UPDATES_PER_TRANSACTION, doc: 'unused: 0xFFFFFFFF' },
  context: { type: 'u32', count: AL_CONTEXT_PER_TRANSACTION, doc: 'extent in slot start + i; free or unused: 0xFFFFFFFF' },
});
const AT = AL_TRANSACTION_ON_DISK.at;

/** A decoded transaction. `updates` holds the announced ones; `context` always has 919 entries. */
export interface AlTransaction {
  readonly tr_number: number;
  readonly transaction_type: number;
  readonly n_updates: number;
  readonly context_size: number;
  readonly context_start_slot_nr: number;
  /** 64 slot numbers and, at the same positions, 64 extent numbers. */
  readonly updateSlots: Uint16Array;
  readonly updateExtents: Uint32Array;
  readonly context: Uint32Array;
  readonly crc32c: number;
}

/** Number of the block, within the activity log area, that transaction `trNumber` goes to. */
export function alBlockOfTransaction(trNumber: number, alStripes: number, alStripeSize4k: number): number {
  const t = trNumber % (alStripes * alStripeSize4k);
  return (t % alStripes) * alStripeSize4k + Math.floor(t / alStripes);
}

/** First slot of the context after the one that started at `contextStart`: the window rotates over the active set. */
export function alContextAdvance(contextStart: number, contextSize: number): number {
  const next = contextStart + AL_CONTEXT_PER_TRANSACTION;
  return next >= contextSize ? 0 : next;
}

/** Most slots of an active set whose whole content any N-1 consecutive transactions repeat. */
export const alExtentsLimit = (alStripes: number, alStripeSize4k: number): number =>
  Math.min(AL_EXTENTS_MAX, AL_CONTEXT_PER_TRANSACTION * (alStripes * alStripeSize4k - 1));

/**
 * Fills `block` with an update transaction. Allocates nothing.
 * @param block - 4096 bytes, overwritten completely
 * @param view - a view of the same bytes, made once by the owner of the buffer
 * @param active - extent number per slot *before* this update; its length is the size of the active set
 * @param updateCount - entries of `updateSlots` and `updateExtents` that count, at most 64
 */
export function encodeAlUpdate(
  block: Uint8Array,
  view: DataView,
  trNumber: number,
  active: Uint32Array,
  contextStart: number,
  updateSlots: Uint16Array,
  updateExtents: Uint32Array,
  updateCount: number,
): void {
  view.setUint32(AT.magic.offset, AL_MAGIC);
  view.setUint32(AT.tr_number.offset, trNumber);
  view.setUint32(AT.crc32c.offset, 0);
  view.setUint16(AT.transaction_type.offset, AL_TYPE_UPDATE);
  view.setUint16(AT.n_updates.offset, updateCount);
  view.setUint16(AT.context_size.offset, active.length);
  view.setUint16(AT.context_start_slot_nr.offset, contextStart);
  for (let i = 0; i < 4; i++) view.setUint32(AT.reserved.offset + 4 * i, 0);
  for (let i = 0; i < AL_UPDATES_PER_TRANSACTION; i++) {
    const used = i < updateCount;
    view.setUint16(AT.update_slot_nr.offset + 2 * i, used ? updateSlots[i] : AL_UNUSED_SLOT);
    view.setUint32(AT.update_extent_nr.offset + 4 * i, used ? updateExtents[i] : AL_FREE);
  }
  for (let i = 0; i < AL_CONTEXT_PER_TRANSACTION; i++) {
    const slot = contextStart + i;
    view.setUint32(AT.context.offset + 4 * i, slot < active.length ? active[slot] : AL_FREE);
  }
  view.setUint32(AT.crc32c.offset, crc32c(block, 0, 0, AL_BLOCK_BYTES));
}

/** The block that `create-md` and `apply-al` fill the whole area with: no transaction yet. */
export function encodeAlInitialized(): Uint8Array {
  const block = new Uint8Array(AL_BLOCK_BYTES);
  const view = viewOf(block);
  view.setUint32(AT.magic.offset, AL_MAGIC);
  view.setUint16(AT.transaction_type.offset, AL_TYPE_INITIALIZED);
  view.setUint32(AT.crc32c.offset, crc32c(block));
  return block;
}

/** A complete, freshly initialized activity log area. */
export function initializedActivityLog(alStripes: number, alStripeSize4k: number): Uint8Array {
  const block = encodeAlInitialized();
  const area = new Uint8Array(alStripes * alStripeSize4k * AL_BLOCK_BYTES);
  for (let at = 0; at < area.length; at += AL_BLOCK_BYTES) area.set(block, at);
  return area;
}

/** The transaction in `block`, or undefined if magic or checksum are wrong (torn, never written, foreign). */
export function decodeAlBlock(block: Uint8Array): AlTransaction | undefined {
  if (block.length < AL_BLOCK_BYTES) return undefined;
  const view = viewOf(block);
  if (view.getUint32(AT.magic.offset) !== AL_MAGIC) return undefined;
  const crcAt = AT.crc32c.offset;
  const stored = view.getUint32(crcAt);
  let crc = crc32c(block, 0, 0, crcAt);
  crc = crc32c(ZERO4, crc);
  if (crc32c(block, crc, crcAt + 4, AL_BLOCK_BYTES) !== stored) return undefined;
  const updateSlots = new Uint16Array(AL_UPDATES_PER_TRANSACTION);
  const updateExtents = new Uint32Array(AL_UPDATES_PER_TRANSACTION);
  const context = new Uint32Array(AL_CONTEXT_PER_TRANSACTION);
  for (let i = 0; i < AL_UPDATES_PER_TRANSACTION; i++) {
    updateSlots[i] = view.getUint16(AT.update_slot_nr.offset + 2 * i);
    updateExtents[i] = view.getUint32(AT.update_extent_nr.offset + 4 * i);
  }
  for (let i = 0; i < AL_CONTEXT_PER_TRANSACTION; i++) context[i] = view.getUint32(AT.context.offset + 4 * i);
  return {
    tr_number: view.getUint32(AT.tr_number.offset),
    transaction_type: view.getUint16(AT.transaction_type.offset),
    n_updates: view.getUint16(AT.n_updates.offset),
    context_size: view.getUint16(AT.context_size.offset),
    context_start_slot_nr: view.getUint16(AT.context_start_slot_nr.offset),
    updateSlots,
    updateExtents,
    context,
    crc32c: stored,
  };
}
const ZERO4 = new Uint8Array(4);
