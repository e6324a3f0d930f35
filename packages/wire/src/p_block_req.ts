/** Requests for blocks: P_DATA_REQUEST, P_RS_DATA_REQUEST, P_RS_THIN_REQ, P_OV_REQUEST; with a digest P_OV_REPLY, P_CSUM_RS_REQUEST. */
import { layout, readU64, type StructOf, writeU64 } from './layout.js';

export const P_BLOCK_REQ = layout('p_block_req', 24, {
  sector: { type: 'sectors', doc: 'first sector, 512 B units' },
  block_id: { type: 'u64', doc: 'opaque; all ones (ID_SYNCER) in resync and verify' },
  blksize: { type: 'u32', doc: 'bytes' },
  pad: { type: 'u32', doc: 'ignored: DRBD 8.4 leaves what an earlier packet left in its buffer', reserved: true },
});
export type PBlockReq = StructOf<typeof P_BLOCK_REQ>;

/** The `block_id` of resync and verify requests. */
export const ID_SYNCER = 0xffff_ffff_ffff_ffffn;
/** Results in the `block_id` of P_OV_RESULT; unlike every other block_id they are big endian numbers. */
export const ID_SKIP = 4710;
export const ID_IN_SYNC = 4711;
export const ID_OUT_OF_SYNC = 4712;

const { sector, block_id, blksize, pad } = P_BLOCK_REQ.at;

export const pBlockReqSector = (view: DataView, base: number): number => readU64(view, base + sector.offset);
export const pBlockReqIdHigh = (view: DataView, base: number): number => view.getUint32(base + block_id.offset);
export const pBlockReqIdLow = (view: DataView, base: number): number => view.getUint32(base + block_id.offset + 4);
export const pBlockReqSize = (view: DataView, base: number): number => view.getUint32(base + blksize.offset);

/** Writes a p_block_req without allocating; pass 0xffffffff twice for ID_SYNCER. */
export function putPBlockReq(view: DataView, base: number, firstSector: number, idHigh: number, idLow: number, sizeBytes: number): void {
  writeU64(view, base + sector.offset, firstSector);
  view.setUint32(base + block_id.offset, idHigh);
  view.setUint32(base + block_id.offset + 4, idLow);
  view.setUint32(base + blksize.offset, sizeBytes);
  view.setUint32(base + pad.offset, 0);
}
