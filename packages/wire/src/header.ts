/** The three packet headers h80, h95 and h100. Source: drbd_protocol.h, struct p_header80, p_header95, p_header100. */
import { layout } from './layout.js';

export const P_HEADER_80 = layout('p_header80', 8, {
  magic: { type: 'u32', doc: '0x83740267' },
  command: { type: 'u16', doc: 'packet number' },
  length: { type: 'u16', doc: 'payload bytes' },
});
export const P_HEADER_95 = layout('p_header95', 8, {
  magic: { type: 'u16', doc: '0x835a' },
  command: { type: 'u16', doc: 'packet number' },
  length: { type: 'u32', doc: 'payload bytes' },
});
export const P_HEADER_100 = layout('p_header100', 16, {
  magic: { type: 'u32', doc: '0x8620ec20' },
  volume: { type: 'u16', doc: 'volume number; 0 or 0xffff in packets of the connection' },
  command: { type: 'u16', doc: 'packet number' },
  length: { type: 'u32', doc: 'payload bytes' },
  pad: { type: 'u32', doc: 'zero', reserved: true },
});

export const MAGIC_80 = 0x83740267;
export const MAGIC_95 = 0x835a;
export const MAGIC_100 = 0x8620ec20;

/** What both sides use on a connection. `H95` means: h80 for small packets, h95 above 32 KiB, either accepted. */
export const HEADER_KIND = { H80: 0, H95: 1, H100: 2 } as const;
export type HeaderKind = (typeof HEADER_KIND)[keyof typeof HEADER_KIND];

/** The header kind for an agreed protocol version; `HEADER_KIND.H80` is right before one is agreed. */
export const headerKindOf = (apv: number): HeaderKind => (apv >= 100 ? HEADER_KIND.H100 : apv >= 95 ? HEADER_KIND.H95 : HEADER_KIND.H80);

/** Bytes of the header that `kind` uses. */
export const headerBytesOf = (kind: HeaderKind): 8 | 16 => (kind === HEADER_KIND.H100 ? 16 : 8);

/** Payloads above this many bytes need h95 where it exists. */
const H80_PREFERRED_MAX = 32768;

/** The largest payload of any packet: one request of 1 MiB, its digest of at most 64 bytes and p_data. */
export const PAYLOAD_BYTES_MAX = (1 << 20) + 64 + 24;

/** Answers of {@link decodeHeader}. */
export const HEADER_OK = 0;
/** Fewer bytes than a header: read more and call again. */
export const HEADER_NEED_MORE = 1;
/** `Wrong magic value 0x%08x in protocol version %d`: drop the connection. */
export const HEADER_BAD_MAGIC = 2;
/** `Header padding is not zero`: drop the connection. */
export const HEADER_BAD_PAD = 3;
/** The length exceeds {@link PAYLOAD_BYTES_MAX}: drop the connection before anything is buffered for it. */
export const HEADER_OVERSIZE = 4;
export type HeaderVerdict = 0 | 1 | 2 | 3 | 4;

/** Filled by {@link decodeHeader} and meant to be reused; fields keep their kind, so nothing is allocated per packet. */
export class PacketHeader {
  /** Packet number. */
  command = 0;
  /** Payload bytes that follow the header. */
  length = 0;
  /** As received; 0 for h80 and h95. */
  volume = 0;
  /** 8 or 16. */
  headerBytes = 0;
}

/**
 * Reads one header without allocating.
 * @param offset - first byte of the header in `view`
 * @param end - first byte that has not been received yet
 * @param out - filled only when the answer is HEADER_OK
 */
export function decodeHeader(view: DataView, offset: number, end: number, kind: HeaderKind, out: PacketHeader): HeaderVerdict {
  if (kind === HEADER_KIND.H100) {
    if (end - offset < 16) return HEADER_NEED_MORE;
    if (view.getUint32(offset) !== MAGIC_100) return HEADER_BAD_MAGIC;
    if (view.getUint32(offset + 12) !== 0) return HEADER_BAD_PAD;
    const length = view.getUint32(offset + 8);
    if (length > PAYLOAD_BYTES_MAX) return HEADER_OVERSIZE;
    out.volume = view.getUint16(offset + 4);
    out.command = view.getUint16(offset + 6);
    out.length = length;
    out.headerBytes = 16;
    return HEADER_OK;
  }
  if (end - offset < 8) return HEADER_NEED_MORE;
  let command: number;
  let length: number;
  if (view.getUint32(offset) === MAGIC_80) {
    command = view.getUint16(offset + 4);
    length = view.getUint16(offset + 6);
  } else if (kind === HEADER_KIND.H95 && view.getUint16(offset) === MAGIC_95) {
    command = view.getUint16(offset + 2);
    length = view.getUint32(offset + 4);
    if (length > PAYLOAD_BYTES_MAX) return HEADER_OVERSIZE;
  } else {
    return HEADER_BAD_MAGIC;
  }
  out.volume = 0;
  out.command = command;
  out.length = length;
  out.headerBytes = 8;
  return HEADER_OK;
}

/**
 * Writes one header without allocating.
 * @param length - payload bytes that will follow; at most 65535 with `HEADER_KIND.H80`
 * @returns bytes written, 8 or 16
 */
export function putHeader(view: DataView, offset: number, kind: HeaderKind, volume: number, command: number, length: number): 8 | 16 {
  if (kind === HEADER_KIND.H100) {
    view.setUint32(offset, MAGIC_100);
    view.setUint16(offset + 4, volume);
    view.setUint16(offset + 6, command);
    view.setUint32(offset + 8, length);
    view.setUint32(offset + 12, 0);
    return 16;
  }
  if (kind === HEADER_KIND.H95 && length > H80_PREFERRED_MAX) {
    view.setUint16(offset, MAGIC_95);
    view.setUint16(offset + 2, command);
    view.setUint32(offset + 4, length);
    return 8;
  }
  view.setUint32(offset, MAGIC_80);
  view.setUint16(offset + 4, command);
  view.setUint16(offset + 6, length);
  return 8;
}
