/**
 * Sectors that say what they are: every sector of a test write carries the number of the write and its own place, at both
 * ends. A foreign, misdirected or torn sector gives itself away without a second copy of the disk.
 */
export const SECTOR = 512;
const MAGIC = 0x5ec70d1d;

/** What a sector holds that no write of the test made. */
export const ALIEN = -1;

/** Fills `bytes` as sectors `first...` of write number `id` (1 and up). */
export function stampSectors(bytes: Uint8Array, first: number, id: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0, sector = first; at < bytes.length; at += SECTOR, sector++) {
    view.setUint32(at, MAGIC);
    view.setUint32(at + 4, id);
    view.setUint32(at + 8, sector);
    view.setUint32(at + SECTOR - 4, (id ^ sector) >>> 0);
  }
}

/** Number of the write that sector `sector` at `bytes[at]` comes from, 0 for zeroes, or ALIEN. */
export function readStamp(bytes: Uint8Array, at: number, sector: number): number {
  const magic = wordAt(bytes, at);
  const id = wordAt(bytes, at + 4);
  const place = wordAt(bytes, at + 8);
  const trailer = wordAt(bytes, at + SECTOR - 4);
  if (magic === 0 && id === 0 && trailer === 0 && place === 0) return 0;
  return magic === MAGIC && place === sector && trailer === (id ^ sector) >>> 0 ? id : ALIEN;
}

function wordAt(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}
