/** Which packets a socket accepts and how long they may be; decided before a payload is buffered. */
import { FF } from './features.js';
import { COMMAND, PACKETS } from './packet.js';

/** What was agreed on a connection. */
export interface Agreed {
  /** Agreed protocol version. */
  readonly apv: number;
  /** Agreed feature flags, `FF` bits. */
  readonly features: number;
}

/** The longest digest that any hash of the kernel yields. */
export const DIGEST_BYTES_MAX = 64;
/** Strings on the wire, NUL included. */
export const NAME_BYTES_MAX = 64;
/** A packet that carries a bitmap fits a page, header included. */
export const BITMAP_PACKET_BYTES_MAX = 4096;

/** The largest request that is taken of anybody: a kernel does not ask again for what it began at a later version. */
export const REQUEST_BYTES_MAX = 1 << 20;
/** The largest request to be sent at an agreed version: write, read or resync. */
export const requestBytesMax = (apv: number): number => (apv >= 100 ? 1 << 20 : apv >= 95 ? 128 << 10 : 32 << 10);

/** The largest discard or write-zeroes in bytes. */
export const discardBytesMax = (features: number): number => ((features & FF.WSAME) !== 0 ? 128 << 20 : 4 << 20);

/** Answers of {@link checkPacket}. */
export const PACKET_OK = 0;
/** No version defines the number, or the agreed one does not know it. */
export const PACKET_UNKNOWN = 1;
/** Known, but not on this socket. */
export const PACKET_WRONG_SOCKET = 2;
export const PACKET_TOO_SHORT = 3;
export const PACKET_TOO_LONG = 4;
export type PacketVerdict = 0 | 1 | 2 | 3 | 4;

const SOCKET_DATA = 1;
const SOCKET_META = 2;
/** Numbers below this are looked up in columns; the three special ones lie above. */
const COLUMNS = 0x60;
const socketBits = new Uint8Array(COLUMNS);
const sizeBytes = new Uint16Array(COLUMNS);
const tailBytesMax = new Uint32Array(COLUMNS);
const since = new Uint16Array(COLUMNS);
const until = new Uint16Array(COLUMNS);

for (const row of Object.values(PACKETS)) {
  if (row.command >= COLUMNS) continue;
  const { command } = row;
  socketBits[command] = row.socket === 'both' ? 3 : row.socket === 'data' ? SOCKET_DATA : row.socket === 'meta' ? SOCKET_META : 0;
  sizeBytes[command] = row.size;
  since[command] = row.since;
  until[command] = row.until;
  tailBytesMax[command] =
    row.tail === 'data'
      ? DIGEST_BYTES_MAX + (1 << 20)
      : row.tail === 'digest'
        ? DIGEST_BYTES_MAX
        : row.tail === 'text'
          ? NAME_BYTES_MAX
          : row.tail === 'uuids'
            ? 64 * 8
            : row.tail === 'bytes'
              ? BITMAP_PACKET_BYTES_MAX
              : 0;
}

const exactly = (length: number, wanted: number): PacketVerdict =>
  length < wanted ? PACKET_TOO_SHORT : length > wanted ? PACKET_TOO_LONG : PACKET_OK;

/**
 * Judges command and length of a header, without allocating.
 *
 * The first packets of a stream (P_INITIAL_*, P_CONNECTION_FEATURES) are not covered: they have their own decoders.
 * @param onMetaSocket - which socket it arrived on
 * @param length - payload bytes according to the header
 */
export function checkPacket(onMetaSocket: boolean, command: number, length: number, apv: number, features: number): PacketVerdict {
  if (command >= COLUMNS) return PACKET_UNKNOWN;
  const sockets = socketBits[command]!;
  if (sockets === 0 || apv < since[command]! || apv > until[command]!) return PACKET_UNKNOWN;
  if ((sockets & (onMetaSocket ? SOCKET_META : SOCKET_DATA)) === 0) return PACKET_WRONG_SOCKET;
  const size = sizeBytes[command]!;
  switch (command) {
    case COMMAND.P_SIZES:
      return exactly(length, (features & FF.WSAME) !== 0 ? 56 : 32);
    case COMMAND.P_SYNC_PARAM89:
      return exactly(length, apv >= 95 ? 148 : 132);
    case COMMAND.P_BITMAP:
      return length > BITMAP_PACKET_BYTES_MAX - (apv >= 100 ? 16 : 8) ? PACKET_TOO_LONG : PACKET_OK;
    case COMMAND.P_COMPRESSED_BITMAP:
      return length < 2 ? PACKET_TOO_SHORT : length > BITMAP_PACKET_BYTES_MAX - (apv >= 100 ? 16 : 8) ? PACKET_TOO_LONG : PACKET_OK;
    case COMMAND.P_AUTH_CHALLENGE:
      return length < 64 ? PACKET_TOO_SHORT : length > 128 ? PACKET_TOO_LONG : PACKET_OK;
    case COMMAND.P_AUTH_RESPONSE:
      return length > DIGEST_BYTES_MAX ? PACKET_TOO_LONG : PACKET_OK;
    case COMMAND.P_PROTOCOL:
    case COMMAND.P_PROTOCOL_UPDATE:
      // The string came with 87; before, the structure is all there is.
      if (apv < 87) return exactly(length, size);
      return length < size + 1 ? PACKET_TOO_SHORT : length > size + NAME_BYTES_MAX ? PACKET_TOO_LONG : PACKET_OK;
    case COMMAND.P_SYNC_PARAM:
      if (apv < 88) return exactly(length, size);
      return length < size + 1 ? PACKET_TOO_SHORT : length > size + NAME_BYTES_MAX ? PACKET_TOO_LONG : PACKET_OK;
  }
  if (length < size) return PACKET_TOO_SHORT;
  return length > size + tailBytesMax[command]! ? PACKET_TOO_LONG : PACKET_OK;
}
