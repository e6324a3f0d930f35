/** Requests and replies of the transmission phase, without allocation. */
import {
  CHUNK,
  CMD,
  CMD_FLAG,
  NBD_EINVAL,
  NBD_ENOSPC,
  NBD_EPERM,
  REQUEST_MAGIC,
  SIMPLE_REPLY_MAGIC,
  STRUCTURED_REPLY_MAGIC,
} from './nbd-constants.js';
import type { NbdExport } from './nbd-export.js';

export const NBD_REQUEST_BYTES = 28;
export const NBD_SIMPLE_REPLY_BYTES = 16;
/** Header of the one chunk that answers a structured READ: chunk header and offset. */
export const NBD_DATA_CHUNK_BYTES = 28;
/** A chunk that carries an error and no text. */
export const NBD_ERROR_CHUNK_BYTES = 26;
/** Room that any reply without its data needs. */
export const NBD_REPLY_HEADER_BYTES_MAX = 28;

const TWO_32 = 0x1_0000_0000;

/** One request; reused for the next. */
export class NbdRequest {
  command = 0;
  flags = 0;
  /** The cookie as it stands on the wire. */
  cookieHigh = 0;
  cookieLow = 0;
  /** Bytes; rounded above 2^53, where no export reaches. */
  offset = 0;
  lengthBytes = 0;
  /** 0, or the NBD error with which the request has to be answered. */
  error = 0;
}

/**
 * Reads the 28 bytes of a request at `at`; the caller made sure that they are there.
 * @returns false on a wrong magic: the stream is lost
 */
export function decodeRequest(view: DataView, at: number, out: NbdRequest): boolean {
  if (view.getUint32(at) !== REQUEST_MAGIC) return false;
  out.flags = view.getUint16(at + 4);
  out.command = view.getUint16(at + 6);
  out.cookieHigh = view.getUint32(at + 8);
  out.cookieLow = view.getUint32(at + 12);
  out.offset = view.getUint32(at + 16) * TWO_32 + view.getUint32(at + 20);
  out.lengthBytes = view.getUint32(at + 24);
  out.error = 0;
  return true;
}

/** @returns 0 when the export can serve the request, else the NBD error */
export function checkRequest(request: NbdRequest, exported: NbdExport): number {
  const { command, flags } = request;
  let allowedFlags = exported.canFua ? CMD_FLAG.FUA : 0;
  switch (command) {
    case CMD.READ:
      allowedFlags |= CMD_FLAG.DF;
      break;
    case CMD.WRITE:
      break;
    case CMD.FLUSH:
      return exported.canFlush && (flags & ~allowedFlags) === 0 ? 0 : NBD_EINVAL;
    case CMD.TRIM:
      if (!exported.canTrim) return NBD_EINVAL;
      break;
    case CMD.WRITE_ZEROES:
      if (!exported.canWriteZeroes) return NBD_EINVAL;
      allowedFlags |= CMD_FLAG.NO_HOLE;
      break;
    default:
      return NBD_EINVAL;
  }
  if ((flags & ~allowedFlags) !== 0) return NBD_EINVAL;
  if (exported.readOnly && command !== CMD.READ) return NBD_EPERM;
  const { minimum, maximum } = exported.blockSize;
  const { offset, lengthBytes } = request;
  if (lengthBytes === 0 || lengthBytes % minimum !== 0 || offset % minimum !== 0) return NBD_EINVAL;
  if ((command === CMD.READ || command === CMD.WRITE) && lengthBytes > maximum) return NBD_EINVAL;
  if (offset + lengthBytes > exported.sizeBytes) return command === CMD.READ || command === CMD.TRIM ? NBD_EINVAL : NBD_ENOSPC;
  return 0;
}

/** Writes a simple reply header: 16 bytes; the data of a successful READ follows. */
export function putSimpleReply(view: DataView, at: number, cookieHigh: number, cookieLow: number, error: number): number {
  view.setUint32(at, SIMPLE_REPLY_MAGIC);
  view.setUint32(at + 4, error);
  view.setUint32(at + 8, cookieHigh);
  view.setUint32(at + 12, cookieLow);
  return NBD_SIMPLE_REPLY_BYTES;
}

/** Writes the header of a structured READ reply of one chunk: 28 bytes; `lengthBytes` of data follow. */
export function putDataChunk(
  view: DataView,
  at: number,
  cookieHigh: number,
  cookieLow: number,
  offset: number,
  lengthBytes: number,
): number {
  putChunkHeader(view, at, CHUNK.TYPE_OFFSET_DATA, cookieHigh, cookieLow, 8 + lengthBytes);
  view.setUint32(at + 20, Math.floor(offset / TWO_32));
  view.setUint32(at + 24, offset >>> 0);
  return NBD_DATA_CHUNK_BYTES;
}

/** Writes a structured reply that reports an error: 26 bytes. */
export function putErrorChunk(view: DataView, at: number, cookieHigh: number, cookieLow: number, error: number): number {
  putChunkHeader(view, at, CHUNK.TYPE_ERROR, cookieHigh, cookieLow, 6);
  view.setUint32(at + 20, error);
  view.setUint16(at + 24, 0);
  return NBD_ERROR_CHUNK_BYTES;
}

function putChunkHeader(view: DataView, at: number, type: number, cookieHigh: number, cookieLow: number, length: number): void {
  view.setUint32(at, STRUCTURED_REPLY_MAGIC);
  view.setUint16(at + 4, CHUNK.DONE);
  view.setUint16(at + 6, type);
  view.setUint32(at + 8, cookieHigh);
  view.setUint32(at + 12, cookieLow);
  view.setUint32(at + 16, length);
}
