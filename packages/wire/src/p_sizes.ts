/** P_SIZES: how large a volume is and what its queue can do. Source: drbd_protocol.h, struct p_sizes, o_qlim. */
import { layout, type StructOf } from './layout.js';

export const P_SIZES = layout('p_sizes', 32, {
  d_size: { type: 'sectors', doc: 'capacity of the sender’s disk for data, sectors; 0: diskless' },
  u_size: { type: 'sectors', doc: 'configured size, sectors; 0: none' },
  c_size: { type: 'sectors', doc: 'exported size, sectors; 0 from DRBD 8.4: please answer' },
  max_bio_size: { type: 'u32', doc: 'bytes' },
  queue_order_type: { type: 'u16', doc: 'zero' },
  dds_flags: { type: 'u16', doc: 'DDSF bits' },
});
export type PSizes = StructOf<typeof P_SIZES>;

/** Follows P_SIZES when FF_WSAME is agreed. */
export const O_QLIM = layout('o_qlim', 24, {
  physical_block_size: { type: 'u32', doc: 'bytes' },
  logical_block_size: { type: 'u32', doc: 'bytes' },
  alignment_offset: { type: 'u32', doc: 'bytes' },
  io_min: { type: 'u32', doc: 'bytes' },
  io_opt: { type: 'u32', doc: 'bytes' },
  discard_enabled: { type: 'u8', doc: '0 or 1' },
  discard_zeroes_data: { type: 'u8', doc: 'zero' },
  write_same_capable: { type: 'u8', doc: 'zero' },
  bm_block_shift_minus_12: { type: 'u8', doc: 'DRBD 9 with BM_BLOCK_SHIFT: 0..8; zero in 8.4', reserved: true },
});
export type OQlim = StructOf<typeof O_QLIM>;

/** Bits of `dds_flags`. */
export const DDSF = { FORCED: 1, NO_RESYNC: 2 } as const;
