// Replay of an activity log: which extents were hot when the node stopped. Source: DRBD 8.4 drbd_actlog.c and the rules
// of docs/on-disk-format.md for torn, corrupt and wrapped transactions.

import {
  AL_CONTEXT_PER_TRANSACTION,
  AL_FREE,
  AL_PMEM_MAGIC,
  AL_TYPE_INITIALIZED,
  AL_UNUSED_SLOT,
  AL_UPDATES_PER_TRANSACTION,
  type AlTransaction,
  alBlockOfTransaction,
  decodeAlBlock,
} from './activity-log.js';
import { AL_BLOCK_BYTES, AL_EXTENTS_MAX } from './constants.js';
import { viewOf } from './layout.js';

/**
 * - `nothing`: the log is usable and holds no transaction
 * - `replayed`: `hotExtents` (possibly none) may differ from the peers
 * - `no-data`: not one valid block, the log says nothing
 * - `invalid`: some blocks are damaged and no update survived
 */
export type AlVerdict = 'nothing' | 'replayed' | 'no-data' | 'invalid';
export interface AlReplay {
  readonly verdict: AlVerdict;
  /** Ascending. An extent that several slots name (in a damaged log) comes as often. */
  readonly hotExtents: Uint32Array;
  /** Lines for the operator, in order. */
  readonly messages: readonly string[];
}

const NOTHING_HOT = new Uint32Array(0);

/**
 * Replays a log of 8.4 and 9 style.
 * @param area - the whole activity log area
 * @param decode - decodes the block at a position of the area, for a caller that remembers blocks
 */
export function replayActivityLog(
  area: Uint8Array,
  alStripes: number,
  alStripeSize4k: number,
  decode: (block: Uint8Array, at: number) => AlTransaction | undefined = decodeAlBlock,
): AlReplay {
  const ringSize = alStripes * alStripeSize4k;
  const messages: string[] = [];
  const updates: (AlTransaction | undefined)[] = new Array(ringSize);
  let validCount = 0;
  let firstIsValid = false;
  let oldest = -1;
  let newest = -1;
  for (let ring = 0; ring < ringSize; ring++) {
    const at = alBlockOfTransaction(ring, alStripes, alStripeSize4k) * AL_BLOCK_BYTES;
    const t = decode(area.subarray(at, at + AL_BLOCK_BYTES), at);
    if (t === undefined) continue;
    validCount++;
    if (ring === 0) firstIsValid = true;
    if (t.transaction_type === AL_TYPE_INITIALIZED) continue;
    updates[ring] = t;
    if (oldest < 0 || isBefore(t, updates[oldest]!)) oldest = ring;
    if (newest < 0 || isBefore(updates[newest]!, t)) newest = ring;
  }
  if (validCount === 0) {
    messages.push('No usable activity log found. Do you need to create-md?');
    return { verdict: 'no-data', hotExtents: NOTHING_HOT, messages };
  }
  if (validCount < ringSize) messages.push(`${ringSize - validCount} corrupt AL transactions found`);
  if (oldest < 0) {
    if (validCount === ringSize || (validCount === ringSize - 1 && !firstIsValid)) {
      return { verdict: 'nothing', hotExtents: NOTHING_HOT, messages };
    }
    messages.push('No valid AL update transaction found.');
    return { verdict: 'invalid', hotExtents: NOTHING_HOT, messages };
  }

  const hot = new Uint32Array(slotsNamed(updates)).fill(AL_FREE);
  const last = newest < oldest ? newest + ringSize : newest;
  for (let ring = oldest; ring <= last; ring++) {
    const t = updates[ring % ringSize];
    if (t !== undefined) applyTransaction(t, ring % ringSize, hot, messages);
  }
  const hotExtents = sortedHotExtents(hot);
  return { verdict: 'replayed', hotExtents, messages };
}

/** How many slots to look at: behind them no transaction names one. */
function slotsNamed(updates: readonly (AlTransaction | undefined)[]): number {
  let count = 0;
  for (const t of updates) {
    if (t === undefined) continue;
    count = Math.max(count, t.context_start_slot_nr + AL_CONTEXT_PER_TRANSACTION);
    for (const slot of t.updateSlots) if (slot < AL_EXTENTS_MAX && slot >= count) count = slot + 1;
  }
  return Math.min(count, AL_EXTENTS_MAX);
}

/** Transaction numbers wrap; the signed 32-bit difference tells the order. */
const isBefore = (a: AlTransaction, b: AlTransaction): boolean => ((a.tr_number - b.tr_number) | 0) < 0;

/** The messages tell the place in the ring where one expects the number of the transaction, as the stock tool does. */
function applyTransaction(t: AlTransaction, ring: number, hot: Uint32Array, messages: string[]): void {
  for (let i = 0; i < AL_CONTEXT_PER_TRANSACTION; i++) {
    const slot = t.context_start_slot_nr + i;
    const extent = t.context[i];
    if (extent === AL_FREE && slot >= t.context_size) continue;
    if (slot >= AL_EXTENTS_MAX) messages.push(`slot number out of range: tr:${ring} slot:${slot}`);
    else hot[slot] = extent;
  }
  for (let i = 0; i < AL_UPDATES_PER_TRANSACTION; i++) {
    const slot = t.updateSlots[i];
    if (i >= t.n_updates && slot === AL_UNUSED_SLOT) continue;
    if (slot >= AL_EXTENTS_MAX) messages.push(`update slot number out of range: tr:${ring} slot:${slot}`);
    else hot[slot] = t.updateExtents[i];
  }
}

/** The extents in use among `slots`, ascending; one that several slots name comes as often. */
export function sortedHotExtents(slots: Uint32Array): Uint32Array {
  const used: number[] = [];
  for (let slot = 0; slot < slots.length; slot++) if (slots[slot] !== AL_FREE) used.push(slots[slot]!);
  return Uint32Array.from(used).sort();
}

/** Whether the area holds the form that engines with persistent memory update in place. */
export const isPmemActivityLog = (area: Uint8Array): boolean => area.length >= 4 && viewOf(area).getUint32(0) === AL_PMEM_MAGIC;

/** Hot extents of the persistent memory form: one extent number per slot behind the magic. */
export function replayPmemActivityLog(area: Uint8Array, alNrExtents: number): AlReplay {
  const view = viewOf(area);
  const slots = new Uint32Array(Math.min(alNrExtents, Math.floor(area.length / 4) - 1));
  for (let slot = 0; slot < slots.length; slot++) slots[slot] = view.getUint32(4 + 4 * slot);
  const hotExtents = sortedHotExtents(slots);
  return { verdict: 'replayed', hotExtents, messages: [] };
}
