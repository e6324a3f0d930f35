/** Data packets: P_DATA, P_DATA_REPLY, P_RS_DATA_REPLY, P_TRIM, P_ZEROES. Source: drbd_protocol.h, struct p_data, p_trim. */
import { layout, readU64, type StructOf, writeU64 } from './layout.js';

/** `length - size` bytes follow: a digest when data-integrity-alg is set, then the data. */
export const P_DATA = layout('p_data', 24, {
  sector: { type: 'sectors', doc: 'first sector, 512 B units' },
  block_id: { type: 'u64', doc: 'opaque to the receiver; returned unchanged in the ack' },
  seq_num: { type: 'u32', doc: 'orders data against acks when two primaries are allowed; 0 in replies' },
  dp_flags: { type: 'u32', doc: 'DP bits; 0 in replies' },
});
export type PData = StructOf<typeof P_DATA>;

/** P_TRIM and P_ZEROES: no data follows. */
export const P_TRIM = layout('p_trim', 28, {
  sector: { type: 'sectors', doc: 'first sector, 512 B units' },
  block_id: { type: 'u64', doc: 'opaque to the receiver; returned unchanged in the ack' },
  seq_num: { type: 'u32', doc: 'as in p_data' },
  dp_flags: { type: 'u32', doc: 'DP bits' },
  size: { type: 'u32', doc: 'bytes affected' },
});
export type PTrim = StructOf<typeof P_TRIM>;

/** Bits of `dp_flags`. */
export const DP = {
  HARDBARRIER: 1,
  RW_SYNC: 2,
  MAY_SET_IN_SYNC: 4,
  UNPLUG: 8,
  FUA: 16,
  FLUSH: 32,
  DISCARD: 64,
  SEND_RECEIVE_ACK: 128,
  SEND_WRITE_ACK: 256,
  WSAME: 512,
  ZEROES: 1024,
} as const;

/** Names of the set `dp_flags` for traces: `RW_SYNC SEND_WRITE_ACK`. */
export const dpFlagNames = (flags: number): string =>
  Object.entries(DP)
    .filter(([, bit]) => (flags & bit) !== 0)
    .map(([name]) => name)
    .join(' ');

const { sector, block_id, seq_num, dp_flags, size } = P_TRIM.at;

/** Accessors of the payload at `base`; they hold for p_data and p_trim. Sectors are exact below 2^53. */
export const pDataSector = (view: DataView, base: number): number => readU64(view, base + sector.offset);
export const pDataBlockIdHigh = (view: DataView, base: number): number => view.getUint32(base + block_id.offset);
export const pDataBlockIdLow = (view: DataView, base: number): number => view.getUint32(base + block_id.offset + 4);
export const pDataSeqNum = (view: DataView, base: number): number => view.getUint32(base + seq_num.offset);
export const pDataFlags = (view: DataView, base: number): number => view.getUint32(base + dp_flags.offset);
export const pTrimSize = (view: DataView, base: number): number => view.getUint32(base + size.offset);

/**
 * Writes a p_data without allocating.
 * @param idHigh, idLow - the two halves of block_id as they stand on the wire
 */
export function putPData(
  view: DataView,
  base: number,
  firstSector: number,
  idHigh: number,
  idLow: number,
  seqNum: number,
  flags: number,
): void {
  writeU64(view, base + sector.offset, firstSector);
  view.setUint32(base + block_id.offset, idHigh);
  view.setUint32(base + block_id.offset + 4, idLow);
  view.setUint32(base + seq_num.offset, seqNum);
  view.setUint32(base + dp_flags.offset, flags);
}

/** Writes a p_trim without allocating. */
export function putPTrim(
  view: DataView,
  base: number,
  firstSector: number,
  idHigh: number,
  idLow: number,
  seqNum: number,
  flags: number,
  sizeBytes: number,
): void {
  putPData(view, base, firstSector, idHigh, idLow, seqNum, flags);
  view.setUint32(base + size.offset, sizeBytes);
}
