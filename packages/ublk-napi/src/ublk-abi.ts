// The ublk interface of the kernel: numbers, structures and their codecs. Source: include/uapi/linux/ublk_cmd.h of Linux 6.12 and 7.2.
// All sector counts are in units of 512 bytes, whatever the logical block size.
import { getFlags, getU64, layout, putU64 } from './layout.js';

/** Control commands, ioctl-encoded (Linux 6.4 and later). */
export const UBLK_CMD = {
  GET_QUEUE_AFFINITY: 0x80207501,
  GET_DEV_INFO: 0x80207502,
  ADD_DEV: 0xc0207504,
  DEL_DEV: 0xc0207505,
  START_DEV: 0xc0207506,
  STOP_DEV: 0xc0207507,
  SET_PARAMS: 0xc0207508,
  GET_PARAMS: 0x80207509,
  START_USER_RECOVERY: 0xc0207510,
  END_USER_RECOVERY: 0xc0207511,
  GET_DEV_INFO2: 0x80207512,
  GET_FEATURES: 0x80207513,
  DEL_DEV_ASYNC: 0x80207514,
  UPDATE_SIZE: 0xc0207515,
  QUIESCE_DEV: 0xc0207516,
  TRY_STOP_DEV: 0xc0207517,
} as const;
export type UblkCommandName = keyof typeof UBLK_CMD;

/** Commands of a queue, ioctl-encoded. */
export const UBLK_IO = {
  FETCH_REQ: 0xc0107520,
  COMMIT_AND_FETCH_REQ: 0xc0107521,
  NEED_GET_DATA: 0xc0107522,
} as const;

/** Features of a device and of the driver (GET_FEATURES). */
export const UBLK_F = {
  SUPPORT_ZERO_COPY: 1 << 0,
  URING_CMD_COMP_IN_TASK: 1 << 1,
  NEED_GET_DATA: 1 << 2,
  USER_RECOVERY: 1 << 3,
  USER_RECOVERY_REISSUE: 1 << 4,
  UNPRIVILEGED_DEV: 1 << 5,
  CMD_IOCTL_ENCODE: 1 << 6,
  USER_COPY: 1 << 7,
  ZONED: 1 << 8,
  USER_RECOVERY_FAIL_IO: 1 << 9,
  UPDATE_SIZE: 1 << 10,
  AUTO_BUF_REG: 1 << 11,
  QUIESCE: 1 << 12,
  PER_IO_DAEMON: 1 << 13,
  BUF_REG_OFF_DAEMON: 1 << 14,
  BATCH_IO: 1 << 15,
  INTEGRITY: 1 << 16,
  SAFE_STOP_DEV: 1 << 17,
  NO_AUTO_PART_SCAN: 1 << 18,
  SHMEM_ZC: 1 << 19,
} as const;
export type UblkFeature = keyof typeof UBLK_F;

/** Names of the bits set in a feature word. */
export function featureNames(flags: number): UblkFeature[] {
  return (Object.keys(UBLK_F) as UblkFeature[]).filter((name) => (flags & UBLK_F[name]) !== 0);
}

/** Device states by number. */
export const UBLK_STATES = ['DEAD', 'LIVE', 'QUIESCED', 'FAIL_IO'] as const;
export type UblkState = (typeof UBLK_STATES)[number];

/** Operations: the low byte of op_flags. */
export const UBLK_OP = {
  READ: 0,
  WRITE: 1,
  FLUSH: 2,
  DISCARD: 3,
  WRITE_SAME: 4,
  WRITE_ZEROES: 5,
} as const;

/** Flags in the upper 24 bits of op_flags, at their final position. */
export const UBLK_IO_F = {
  FAILFAST_DEV: 1 << 8,
  FAILFAST_TRANSPORT: 1 << 9,
  FAILFAST_DRIVER: 1 << 10,
  META: 1 << 11,
  FUA: 1 << 13,
  NOUNMAP: 1 << 15,
  SWAP: 1 << 16,
} as const;

/** Attributes in the basic parameters. */
export const UBLK_ATTR = { READ_ONLY: 1, ROTATIONAL: 2, VOLATILE_CACHE: 4, FUA: 8 } as const;

/** Limits of the driver. */
export const UBLK_MAX_QUEUE_DEPTH = 4096;
export const UBLK_MAX_QUEUES = 4096;
/** Largest write-zeroes and discard limit that every kernel gets right, in sectors. */
export const UBLK_MAX_RANGE_SECTORS = 0x7fffff;

export const UBLKSRV_CTRL_CMD = layout('ublksrv_ctrl_cmd', 32, {
  dev_id: { type: 'u32', doc: 'target device; 0xffffffff in ADD_DEV = lowest free' },
  queue_id: { type: 'u16', doc: '0xffff when the command is not about one queue' },
  len: { type: 'u16', doc: 'length of the buffer' },
  addr: { type: 'u64', doc: 'the buffer' },
  data: { type: 'u64', doc: 'inline argument' },
  dev_path_len: { type: 'u16', doc: 'length with NUL of the char device path that prefixes the buffer' },
  pad: { type: 'u16', doc: 'zero' },
  reserved: { type: 'u32', doc: 'zero' },
});

export const UBLKSRV_CTRL_DEV_INFO = layout('ublksrv_ctrl_dev_info', 64, {
  nr_hw_queues: { type: 'u16', doc: 'at most the number of possible CPUs' },
  queue_depth: { type: 'u16', doc: '1 to 4096' },
  state: { type: 'u16', doc: 'UBLK_STATES' },
  pad0: { type: 'u16', doc: 'zero' },
  max_io_buf_bytes: { type: 'u32', doc: 'largest request' },
  dev_id: { type: 'u32', doc: 'number of the device' },
  ublksrv_pid: { type: 's32', doc: 'server process, -1 = none' },
  pad1: { type: 'u32', doc: 'zero' },
  flags: { type: 'u64', doc: 'UBLK_F' },
  ublksrv_flags: { type: 'u64', doc: 'opaque to the kernel' },
  owner_uid: { type: 'u32', doc: 'written by the kernel' },
  owner_gid: { type: 'u32', doc: 'written by the kernel' },
  reserved1: { type: 'u64', doc: 'zero' },
  reserved2: { type: 'u64', doc: 'zero' },
});

export const UBLKSRV_IO_DESC = layout('ublksrv_io_desc', 24, {
  op_flags: { type: 'u32', doc: 'UBLK_OP in bits 0-7, UBLK_IO_F above' },
  nr_sectors: { type: 'u32', doc: 'length; 0 for FLUSH' },
  start_sector: { type: 'u64', doc: 'position; meaningless for FLUSH' },
  addr: { type: 'u64', doc: 'copy mode: buffer of the tag' },
});

export const UBLKSRV_IO_CMD = layout('ublksrv_io_cmd', 16, {
  q_id: { type: 'u16', doc: 'queue' },
  tag: { type: 'u16', doc: 'tag' },
  result: { type: 's32', doc: 'COMMIT: bytes or -errno' },
  addr: { type: 'u64', doc: 'copy mode: buffer for the next request; else 0' },
});

export const UBLK_PARAMS = layout('ublk_params', 152, {
  len: { type: 'u32', doc: 'bytes passed' },
  types: { type: 'u32', doc: 'which blocks are present' },
  attrs: { type: 'u32', doc: 'basic: UBLK_ATTR' },
  logical_bs_shift: { type: 'u8', doc: 'basic: 9 to 12' },
  physical_bs_shift: { type: 'u8', doc: 'basic: at least logical_bs_shift' },
  io_opt_shift: { type: 'u8', doc: 'basic: 0 = none' },
  io_min_shift: { type: 'u8', doc: 'basic' },
  max_sectors: { type: 'u32', doc: 'basic: largest request, at least 8' },
  chunk_sectors: { type: 'u32', doc: 'basic: 0 = none' },
  dev_sectors: { type: 'u64', doc: 'basic: capacity' },
  virt_boundary_mask: { type: 'u64', doc: 'basic' },
  discard_alignment: { type: 'u32', doc: 'discard: bytes' },
  discard_granularity: { type: 'u32', doc: 'discard: bytes, not 0' },
  max_discard_sectors: { type: 'u32', doc: 'discard: 0 = no discard' },
  max_write_zeroes_sectors: { type: 'u32', doc: 'discard: 0 = no write-zeroes' },
  max_discard_segments: { type: 'u16', doc: 'discard: 1' },
  discard_reserved: { type: 'u16', doc: 'zero' },
  char_major: { type: 'u32', doc: 'devt, read only' },
  char_minor: { type: 'u32', doc: 'devt' },
  disk_major: { type: 'u32', doc: 'devt: 0 until started' },
  disk_minor: { type: 'u32', doc: 'devt' },
  max_open_zones: { type: 'u32', doc: 'zoned' },
  max_active_zones: { type: 'u32', doc: 'zoned' },
  max_zone_append_sectors: { type: 'u32', doc: 'zoned' },
  zoned_reserved: { type: 'u32', count: 5, doc: 'zero' },
  dma_alignment: { type: 'u32', doc: 'dma: a mask, 511 say' },
  dma_pad: { type: 'u32', doc: 'zero' },
  // The compiler aligns the u64 to 8: dma ends at 116.
  pad_seg: { type: 'u32', doc: 'zero' },
  seg_boundary_mask: { type: 'u64', doc: 'seg' },
  max_segment_size: { type: 'u32', doc: 'seg: bytes' },
  max_segments: { type: 'u16', doc: 'seg' },
  seg_pad: { type: 'u16', doc: 'zero' },
  integrity_flags: { type: 'u32', doc: 'integrity' },
  max_integrity_segments: { type: 'u16', doc: 'integrity' },
  interval_exp: { type: 'u8', doc: 'integrity' },
  metadata_size: { type: 'u8', doc: 'integrity' },
  pi_offset: { type: 'u8', doc: 'integrity' },
  csum_type: { type: 'u8', doc: 'integrity' },
  tag_size: { type: 'u8', doc: 'integrity' },
  integrity_pad: { type: 'u8', count: 5, doc: 'zero' },
});

/** Length that every kernel since 6.6 knows (through the zoned block). */
const UBLK_PARAMS_BASE_BYTES = 112;
const TYPE = { basic: 1, discard: 2, devt: 4, dma: 16, seg: 32 } as const;

/** What ADD_DEV asks for. Defaults: lowest free id, one queue, depth 128, 512 KiB requests, no features. */
export interface DeviceWish {
  readonly id?: number;
  readonly queues?: number;
  /** Requests in flight per queue, 1 to 4096. */
  readonly depth?: number;
  /** Largest request in bytes. */
  readonly maxIoBytes?: number;
  /** UBLK_F bits; the driver drops those it does not know and adds those that describe itself. */
  readonly flags?: number;
  /** A private mark, kept by the kernel as long as the device lives. */
  readonly mark?: bigint;
}

/** What the kernel says about a device. */
export interface DeviceInfo {
  readonly id: number;
  readonly queues: number;
  readonly depth: number;
  readonly maxIoBytes: number;
  readonly flags: number;
  readonly mark: bigint;
  readonly state: UblkState;
  /** -1 = no server. */
  readonly serverPid: number;
  readonly ownerUid: number;
  readonly ownerGid: number;
}

export function encodeDeviceInfo(view: DataView, base: number, wish: DeviceWish): void {
  const { at, size } = UBLKSRV_CTRL_DEV_INFO;
  for (let i = 0; i < size; i += 4) view.setUint32(base + i, 0, true);
  view.setUint16(base + at.nr_hw_queues, wish.queues ?? 1, true);
  view.setUint16(base + at.queue_depth, wish.depth ?? 128, true);
  view.setUint32(base + at.max_io_buf_bytes, wish.maxIoBytes ?? 512 * 1024, true);
  view.setUint32(base + at.dev_id, wish.id ?? 0xffffffff, true);
  putU64(view, base + at.flags, (wish.flags ?? 0) >>> 0);
  view.setBigUint64(base + at.ublksrv_flags, wish.mark ?? 0n, true);
}

export function decodeDeviceInfo(view: DataView, base: number): DeviceInfo {
  const { at } = UBLKSRV_CTRL_DEV_INFO;
  return {
    id: view.getUint32(base + at.dev_id, true),
    queues: view.getUint16(base + at.nr_hw_queues, true),
    depth: view.getUint16(base + at.queue_depth, true),
    maxIoBytes: view.getUint32(base + at.max_io_buf_bytes, true),
    flags: getFlags(view, base + at.flags),
    mark: view.getBigUint64(base + at.ublksrv_flags, true),
    state: UBLK_STATES[view.getUint16(base + at.state, true)] ?? 'DEAD',
    serverPid: view.getInt32(base + at.ublksrv_pid, true),
    ownerUid: view.getUint32(base + at.owner_uid, true),
    ownerGid: view.getUint32(base + at.owner_gid, true),
  };
}

export interface DiscardParams {
  /** Bytes, a power of two; needed for write-zeroes too. */
  readonly granularityBytes: number;
  readonly alignmentBytes?: number;
  /** 0 = discard not offered. */
  readonly maxDiscardSectors: number;
  /** 0 = write-zeroes not offered. */
  readonly maxWriteZeroesSectors: number;
}

/** Parameters of a device; sizes are powers of two. */
export interface UblkParams {
  /** UBLK_ATTR bits. */
  readonly attrs: number;
  /** Capacity in 512-byte sectors. */
  readonly sectors: number;
  /** 512 to the page size; default 512. */
  readonly logicalBlockBytes?: number;
  /** Default 4096. */
  readonly physicalBlockBytes?: number;
  /** Default: the physical block. */
  readonly ioMinBytes?: number;
  /** 0 = none (default). */
  readonly ioOptBytes?: number;
  /** Largest request in sectors, 8 to the device's maxIoBytes / 512. */
  readonly maxSectors: number;
  readonly chunkSectors?: number;
  readonly virtBoundaryMask?: number;
  readonly discard?: DiscardParams;
  /** O_DIRECT alignment of user memory as a mask (Linux 6.15). */
  readonly dmaAlignmentMask?: number;
  /** Segment limits (Linux 6.15). */
  readonly segment?: { readonly boundaryMask: number; readonly maxBytes: number; readonly maxSegments: number };
  /** Device numbers; filled by GET_PARAMS only. */
  readonly devt?: { readonly charMajor: number; readonly charMinor: number; readonly diskMajor: number; readonly diskMinor: number };
}

/** @returns bytes written: 112, or 152 when a block of newer kernels is used. @throws RangeError for a size that is no power of two */
export function encodeParams(view: DataView, base: number, params: UblkParams): number {
  const { at, size } = UBLK_PARAMS;
  const length = params.dmaAlignmentMask === undefined && params.segment === undefined ? UBLK_PARAMS_BASE_BYTES : size;
  for (let i = 0; i < length; i += 4) view.setUint32(base + i, 0, true);
  const physical = params.physicalBlockBytes ?? Math.max(4096, params.logicalBlockBytes ?? 512);
  let types: number = TYPE.basic;
  view.setUint32(base + at.len, length, true);
  view.setUint32(base + at.attrs, params.attrs, true);
  view.setUint8(base + at.logical_bs_shift, shiftOf(params.logicalBlockBytes ?? 512));
  view.setUint8(base + at.physical_bs_shift, shiftOf(physical));
  view.setUint8(base + at.io_min_shift, shiftOf(params.ioMinBytes ?? physical));
  view.setUint8(base + at.io_opt_shift, params.ioOptBytes ? shiftOf(params.ioOptBytes) : 0);
  view.setUint32(base + at.max_sectors, params.maxSectors, true);
  view.setUint32(base + at.chunk_sectors, params.chunkSectors ?? 0, true);
  putU64(view, base + at.dev_sectors, params.sectors);
  putU64(view, base + at.virt_boundary_mask, params.virtBoundaryMask ?? 0);
  if (params.discard !== undefined) {
    types |= TYPE.discard;
    view.setUint32(base + at.discard_alignment, params.discard.alignmentBytes ?? 0, true);
    view.setUint32(base + at.discard_granularity, params.discard.granularityBytes, true);
    view.setUint32(base + at.max_discard_sectors, params.discard.maxDiscardSectors, true);
    view.setUint32(base + at.max_write_zeroes_sectors, params.discard.maxWriteZeroesSectors, true);
    view.setUint16(base + at.max_discard_segments, 1, true);
  }
  if (params.dmaAlignmentMask !== undefined) {
    types |= TYPE.dma;
    view.setUint32(base + at.dma_alignment, params.dmaAlignmentMask, true);
  }
  if (params.segment !== undefined) {
    types |= TYPE.seg;
    putU64(view, base + at.seg_boundary_mask, params.segment.boundaryMask);
    view.setUint32(base + at.max_segment_size, params.segment.maxBytes, true);
    view.setUint16(base + at.max_segments, params.segment.maxSegments, true);
  }
  view.setUint32(base + at.types, types, true);
  return length;
}

/** Decodes what GET_PARAMS wrote. */
export function decodeParams(view: DataView, base: number): UblkParams {
  const { at } = UBLK_PARAMS;
  const types = view.getUint32(base + at.types, true);
  const u32 = (offset: number) => view.getUint32(base + offset, true);
  const bytesOf = (offset: number) => 2 ** view.getUint8(base + offset);
  const ioOptShift = view.getUint8(base + at.io_opt_shift);
  return {
    attrs: u32(at.attrs),
    sectors: getU64(view, base + at.dev_sectors),
    logicalBlockBytes: bytesOf(at.logical_bs_shift),
    physicalBlockBytes: bytesOf(at.physical_bs_shift),
    ioMinBytes: bytesOf(at.io_min_shift),
    ioOptBytes: ioOptShift === 0 ? 0 : 2 ** ioOptShift,
    maxSectors: u32(at.max_sectors),
    chunkSectors: u32(at.chunk_sectors),
    virtBoundaryMask: getU64(view, base + at.virt_boundary_mask),
    ...((types & TYPE.discard) !== 0 && {
      discard: {
        granularityBytes: u32(at.discard_granularity),
        alignmentBytes: u32(at.discard_alignment),
        maxDiscardSectors: u32(at.max_discard_sectors),
        maxWriteZeroesSectors: u32(at.max_write_zeroes_sectors),
      },
    }),
    ...((types & TYPE.dma) !== 0 && { dmaAlignmentMask: u32(at.dma_alignment) }),
    ...((types & TYPE.seg) !== 0 && {
      segment: {
        boundaryMask: getU64(view, base + at.seg_boundary_mask),
        maxBytes: u32(at.max_segment_size),
        maxSegments: view.getUint16(base + at.max_segments, true),
      },
    }),
    ...((types & TYPE.devt) !== 0 && {
      devt: { charMajor: u32(at.char_major), charMinor: u32(at.char_minor), diskMajor: u32(at.disk_major), diskMinor: u32(at.disk_minor) },
    }),
  };
}

const QUEUE_SHIFT = 2 ** 41;
const TAG_SHIFT = 2 ** 25;

/**
 * Position on /dev/ublkcN at which the payload of a request is read (WRITE) or written (READ) in user-copy mode.
 * @param offset - bytes inside the request, below 32 MiB
 * @returns exact for queues up to 4094
 */
export function userCopyPosition(queue: number, tag: number, offset: number): number {
  return 0x8000_0000 + queue * QUEUE_SHIFT + tag * TAG_SHIFT + offset;
}

function shiftOf(bytes: number): number {
  const shift = Math.log2(bytes);
  if (!Number.isInteger(shift) || shift < 0 || shift > 28) throw new RangeError(`${bytes} bytes is not a power of two up to 256 MiB`);
  return shift;
}
