/** What must hold for a packet whatever the state of the connection: sizes, alignments and enumerations. */
import type { WireRefusal } from './outcome.js';
import { encodingCode, RLE_VLI_BITS } from './p_compressed_bm.js';
import { AFTER_SB, DRBD_PROT } from './p_protocol.js';
import type { Packet } from './packet-body.js';
import { type Agreed, BITMAP_PACKET_BYTES_MAX, discardBytesMax, requestBytesMax } from './packet-length.js';
import { isStateValid } from './state-word.js';

/** Answers of {@link checkRange}. */
export const RANGE_OK = 0;
/** Zero, not a multiple of 512, or above the limit. */
export const RANGE_BAD_SIZE = 1;
/** `request from peer beyond end of local disk: capacity: %llus < sector: %llus + size: %u` */
export const RANGE_BEYOND_END = 2;
export type RangeVerdict = 0 | 1 | 2;

/**
 * Judges the range of a request from the peer, without allocating. No overflow: all sums stay far below 2^53 or are refused.
 * @param sizeBytes - as received
 * @param sizeBytesMax - {@link requestBytesMax} or {@link discardBytesMax}
 * @param capacitySectors - the exported size
 */
export function checkRange(sector: number, sizeBytes: number, sizeBytesMax: number, capacitySectors: number): RangeVerdict {
  if (sizeBytes === 0 || sizeBytes % 512 !== 0 || sizeBytes > sizeBytesMax) return RANGE_BAD_SIZE;
  return sector + sizeBytes / 512 > capacitySectors ? RANGE_BEYOND_END : RANGE_OK;
}

const badSize = (size: number, max: number): boolean => checkRange(0, size, max, Number.MAX_SAFE_INTEGER) !== RANGE_OK;
const isAfterSb = (value: number): boolean => value <= AFTER_SB['auto-discard'];

/** The first rule that a decoded packet breaks. */
export function checkBody(packet: Packet, agreed: Agreed): WireRefusal | undefined {
  const fail = (field: string, problem: WireRefusal['problem'], found: WireRefusal['found']): WireRefusal => ({
    structure: packet.name,
    field,
    problem,
    found,
  });
  switch (packet.name) {
    case 'P_DATA':
    case 'P_DATA_REPLY':
    case 'P_RS_DATA_REPLY': {
      const size = packet.tail.data?.length ?? 0;
      return badSize(size, requestBytesMax(agreed.apv)) ? fail('data', 'out of range', size) : undefined;
    }
    case 'P_TRIM':
    case 'P_ZEROES':
      return badSize(packet.body.size, discardBytesMax(agreed.features)) ? fail('size', 'out of range', packet.body.size) : undefined;
    case 'P_DATA_REQUEST':
    case 'P_RS_DATA_REQUEST':
    case 'P_RS_THIN_REQ':
    case 'P_OV_REQUEST':
    case 'P_OV_REPLY':
    case 'P_CSUM_RS_REQUEST':
    case 'P_RS_DAGTAG_REQ':
    case 'P_RS_CSUM_DAGTAG_REQ':
    case 'P_RS_THIN_DAGTAG_REQ':
    case 'P_OV_DAGTAG_REQ':
    case 'P_OV_DAGTAG_REPLY':
      return badSize(packet.body.blksize, 1 << 20) ? fail('blksize', 'out of range', packet.body.blksize) : undefined;
    case 'P_OUT_OF_SYNC':
    case 'P_RS_DEALLOCATED':
      return badSize(packet.body.blksize, discardBytesMax(agreed.features))
        ? fail('blksize', 'out of range', packet.body.blksize)
        : undefined;
    case 'P_STATE':
      return isStateValid(packet.body.state, agreed.apv) ? undefined : fail('state', 'out of range', packet.body.state);
    case 'P_PROTOCOL':
    case 'P_PROTOCOL_UPDATE': {
      const { protocol, after_sb_0p, after_sb_1p, after_sb_2p, two_primaries } = packet.body;
      if (protocol < DRBD_PROT.A || protocol > DRBD_PROT.C) return fail('protocol', 'out of range', protocol);
      if (!isAfterSb(after_sb_0p)) return fail('after_sb_0p', 'out of range', after_sb_0p);
      if (!isAfterSb(after_sb_1p)) return fail('after_sb_1p', 'out of range', after_sb_1p);
      if (!isAfterSb(after_sb_2p)) return fail('after_sb_2p', 'out of range', after_sb_2p);
      return two_primaries > 1 ? fail('two_primaries', 'out of range', two_primaries) : undefined;
    }
    case 'P_COMPRESSED_BITMAP':
      return encodingCode(packet.body.encoding) === RLE_VLI_BITS ? undefined : fail('encoding', 'out of range', packet.body.encoding);
    case 'P_BITMAP': {
      const length = packet.tail.bytes?.length ?? 0;
      return length % 8 !== 0 || length > BITMAP_PACKET_BYTES_MAX ? fail('length', 'out of range', length) : undefined;
    }
    default:
      return undefined;
  }
}
