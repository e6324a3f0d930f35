/** Every acknowledgement of a block: P_RECV_ACK, P_WRITE_ACK, P_RS_WRITE_ACK, P_SUPERSEDED, P_NEG_ACK, P_NEG_DREPLY and relatives. */
import { layout, readU64, type StructOf, writeU64 } from './layout.js';

export const P_BLOCK_ACK = layout('p_block_ack', 24, {
  sector: { type: 'sectors', doc: 'as in the request' },
  block_id: { type: 'u64', doc: 'echo of the request; all ones for resync, 4711/4712 in P_OV_RESULT' },
  blksize: { type: 'u32', doc: 'bytes of the request' },
  seq_num: { type: 'u32', doc: 'next value of the counter shared with p_data' },
});
export type PBlockAck = StructOf<typeof P_BLOCK_ACK>;

const { sector, block_id, blksize, seq_num } = P_BLOCK_ACK.at;

export const pBlockAckSector = (view: DataView, base: number): number => readU64(view, base + sector.offset);
export const pBlockAckIdHigh = (view: DataView, base: number): number => view.getUint32(base + block_id.offset);
export const pBlockAckIdLow = (view: DataView, base: number): number => view.getUint32(base + block_id.offset + 4);
export const pBlockAckSize = (view: DataView, base: number): number => view.getUint32(base + blksize.offset);
export const pBlockAckSeqNum = (view: DataView, base: number): number => view.getUint32(base + seq_num.offset);

/** Writes a p_block_ack without allocating. */
export function putPBlockAck(
  view: DataView,
  base: number,
  firstSector: number,
  idHigh: number,
  idLow: number,
  sizeBytes: number,
  seqNum: number,
): void {
  writeU64(view, base + sector.offset, firstSector);
  view.setUint32(base + block_id.offset, idHigh);
  view.setUint32(base + block_id.offset + 4, idLow);
  view.setUint32(base + blksize.offset, sizeBytes);
  view.setUint32(base + seq_num.offset, seqNum);
}
