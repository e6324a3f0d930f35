// The activity log of DRBD 8.3 and before: a ring of 512 byte sectors. Only read, for meta-data such a node left behind.

import { AL_FREE } from './activity-log.js';
import { type AlReplay, sortedHotExtents } from './al-replay.js';
import { AL_EXTENTS_MAX, SECTOR_BYTES } from './constants.js';
import { layout, viewOf } from './layout.js';

const MAGIC_OLD = 0x83740267;
const ENTRIES = 62;

/** One transaction: the update, then 61 slots of context. */
export const AL_TRANSACTION_OLD = layout('al_transaction_old', SECTOR_BYTES, {
  magic: { type: 'u32', doc: '0x83740267' },
  tr_number: { type: 'u32', doc: 'running number' },
  updates: { type: 'u32', count: 2 * ENTRIES, doc: 'slot, extent; unused: extent 0xFFFFFFFF' },
  xor_sum: { type: 'u32', doc: 'exclusive or of all extent numbers' },
  pad: { type: 'u32', doc: 'zero' },
});
const AT = AL_TRANSACTION_OLD.at;

/** Replays the old form; the number of sectors in use follows from the size of the active set. */
export function replayOldActivityLog(area: Uint8Array, alNrExtents: number): AlReplay {
  const view = viewOf(area);
  const ringSize = Math.min(64, 1 + Math.ceil(alNrExtents / (ENTRIES - 1)), Math.floor(area.length / SECTOR_BYTES));
  const numbers: (number | undefined)[] = [];
  for (let sector = 0; sector < ringSize; sector++) numbers.push(trNumber(view, sector * SECTOR_BYTES));
  const messages: string[] = [];
  const valid = numbers.flatMap((n, sector) => (n === undefined ? [] : [{ n, sector }]));
  if (valid.length === 0) return { verdict: 'nothing', hotExtents: new Uint32Array(0), messages: ['No usable activity log found.'] };
  if (valid.length < ringSize) {
    messages.push(`${ringSize - valid.length} corrupt or uninitialized AL transactions found`);
    messages.push('You can safely ignore this if this node was cleanly stopped (no crash).');
  }
  const oldest = valid.reduce((a, b) => (((b.n - a.n) | 0) < 0 ? b : a)).sector;
  const newest = valid.reduce((a, b) => (((b.n - a.n) | 0) > 0 ? b : a)).sector;
  const hot = new Uint32Array(AL_EXTENTS_MAX).fill(AL_FREE);
  const last = newest < oldest ? newest + ringSize : newest;
  for (let ring = oldest; ring <= last; ring++) {
    const sector = ring % ringSize;
    if (numbers[sector] === undefined) continue;
    for (let entry = ENTRIES - 1; entry >= 0; entry--) {
      const at = sector * SECTOR_BYTES + AT.updates.offset + 8 * entry;
      const extent = view.getUint32(at + 4);
      if (extent === AL_FREE) continue;
      const slot = view.getUint32(at);
      if (slot >= AL_EXTENTS_MAX) messages.push(`slot number out of range: tr:${numbers[sector]} slot:${slot}`);
      else hot[slot] = extent;
    }
  }
  const hotExtents = sortedHotExtents(hot);
  return { verdict: 'replayed', hotExtents, messages };
}

/** Number of the transaction in that sector, undefined if it is not one. */
function trNumber(view: DataView, base: number): number | undefined {
  if (view.getUint32(base + AT.magic.offset) !== MAGIC_OLD) return undefined;
  let sum = 0;
  for (let entry = 0; entry < ENTRIES; entry++) sum ^= view.getUint32(base + AT.updates.offset + 8 * entry + 4);
  return sum >>> 0 === view.getUint32(base + AT.xor_sum.offset) ? view.getUint32(base + AT.tr_number.offset) : undefined;
}
