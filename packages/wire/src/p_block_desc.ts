/** A range without a request: P_OUT_OF_SYNC, P_RS_DEALLOCATED. */
import { layout, readU64, type StructOf, writeU64 } from './layout.js';

export const P_BLOCK_DESC = layout('p_block_desc', 16, {
  sector: { type: 'sectors', doc: 'first sector, 512 B units' },
  blksize: { type: 'u32', doc: 'bytes' },
  pad: { type: 'u32', doc: 'ignored', reserved: true },
});
export type PBlockDesc = StructOf<typeof P_BLOCK_DESC>;

const { sector, blksize, pad } = P_BLOCK_DESC.at;

export const pBlockDescSector = (view: DataView, base: number): number => readU64(view, base + sector.offset);
export const pBlockDescSize = (view: DataView, base: number): number => view.getUint32(base + blksize.offset);

export function putPBlockDesc(view: DataView, base: number, firstSector: number, sizeBytes: number): void {
  writeU64(view, base + sector.offset, firstSector);
  view.setUint32(base + blksize.offset, sizeBytes);
  view.setUint32(base + pad.offset, 0);
}
