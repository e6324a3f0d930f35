/** Numbers of the NBD protocol, fixed newstyle. Source: the NBD protocol document, doc/proto.md. All integers are big endian. */

/** The two halves of the u64 magics. */
export const NBDMAGIC = [0x4e42444d, 0x41474943] as const;
export const IHAVEOPT = [0x49484156, 0x454f5054] as const;
export const OPTION_REPLY_MAGIC = [0x0003e889, 0x045565a9] as const;
export const REQUEST_MAGIC = 0x25609513;
export const SIMPLE_REPLY_MAGIC = 0x67446698;
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef;

/** Handshake flags; server and client use the same bits. */
export const HANDSHAKE = { FIXED_NEWSTYLE: 1, NO_ZEROES: 2 } as const;

export const OPT = {
  EXPORT_NAME: 1,
  ABORT: 2,
  LIST: 3,
  STARTTLS: 5,
  INFO: 6,
  GO: 7,
  STRUCTURED_REPLY: 8,
  LIST_META_CONTEXT: 9,
  SET_META_CONTEXT: 10,
  EXTENDED_HEADERS: 11,
} as const;

export const REP = {
  ACK: 1,
  SERVER: 2,
  INFO: 3,
  META_CONTEXT: 4,
  ERR_UNSUP: 0x8000_0001,
  ERR_POLICY: 0x8000_0002,
  ERR_INVALID: 0x8000_0003,
  ERR_UNKNOWN: 0x8000_0006,
  ERR_SHUTDOWN: 0x8000_0007,
  ERR_TOO_BIG: 0x8000_0009,
} as const;

export const INFO = { EXPORT: 0, NAME: 1, DESCRIPTION: 2, BLOCK_SIZE: 3 } as const;

/** Transmission flags of an export. */
export const EXPORT_FLAG = {
  HAS_FLAGS: 0x001,
  READ_ONLY: 0x002,
  SEND_FLUSH: 0x004,
  SEND_FUA: 0x008,
  ROTATIONAL: 0x010,
  SEND_TRIM: 0x020,
  SEND_WRITE_ZEROES: 0x040,
  SEND_DF: 0x080,
  CAN_MULTI_CONN: 0x100,
} as const;

export const CMD = { READ: 0, WRITE: 1, DISC: 2, FLUSH: 3, TRIM: 4, CACHE: 5, WRITE_ZEROES: 6, BLOCK_STATUS: 7 } as const;

export const CMD_FLAG = { FUA: 1, NO_HOLE: 2, DF: 4, REQ_ONE: 8, FAST_ZERO: 16, PAYLOAD_LEN: 32 } as const;

/** Structured reply chunks. */
export const CHUNK = { DONE: 1, TYPE_NONE: 0, TYPE_OFFSET_DATA: 1, TYPE_ERROR: 0x8001 } as const;

/** The only error numbers that may travel. */
export const NBD_EPERM = 1;
export const NBD_EIO = 5;
export const NBD_ENOMEM = 12;
export const NBD_EINVAL = 22;
export const NBD_ENOSPC = 28;
export const NBD_EOVERFLOW = 75;
export const NBD_ENOTSUP = 95;
export const NBD_ESHUTDOWN = 108;

/**
 * A Linux errno as NBD sends it.
 * @param errno - positive; 0 is success
 */
export function nbdErrorOf(errno: number): number {
  switch (errno) {
    case 0:
    case NBD_EIO:
    case NBD_ENOMEM:
    case NBD_EINVAL:
    case NBD_ENOSPC:
    case NBD_EOVERFLOW:
    case NBD_ENOTSUP:
    case NBD_ESHUTDOWN:
      return errno;
    case 1: // EPERM
    case 13: // EACCES
    case 30: // EROFS
      return NBD_EPERM;
    case 27: // EFBIG
    case 122: // EDQUOT
      return NBD_ENOSPC;
    default:
      return NBD_EIO;
  }
}
