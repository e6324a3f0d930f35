/** Writes a decoded packet the way the list of recorded packets does. */
import { AFTER_SB, dpFlagNames, encodingCode, encodingPadBits, encodingStartsSet, type Packet, stateText, VliReader } from '@udrbd/wire';

const hex = (value: bigint | number, digits: number): string => value.toString(16).padStart(digits, '0');
const bytesHex = (bytes: Uint8Array | undefined): string => (bytes === undefined ? '' : Buffer.from(bytes).toString('hex'));
const flags = (value: number): string => `0x${value.toString(16)}(${dpFlagNames(value).replaceAll(' ', '|')})`;
const withDigest = (text: string, digest: Uint8Array | undefined): string =>
  digest === undefined || digest.length === 0 ? text : `${text} digest=${bytesHex(digest)}`;

const setBits = (bytes: Uint8Array): number => {
  let count = 0;
  for (let byte of bytes) for (; byte !== 0; byte &= byte - 1) count++;
  return count;
};

/** The decoded fields in one line; undefined for packets that the list shows without fields. */
export function packetText(packet: Packet, apv: number): string | undefined {
  const { tail } = packet;
  switch (packet.name) {
    case 'P_CONNECTION_FEATURES': {
      const { protocol_min, feature_flags, protocol_max } = packet.body;
      return `protocol_min=${protocol_min} feature_flags=0x${feature_flags.toString(16)} protocol_max=${protocol_max}`;
    }
    case 'P_PROTOCOL':
    case 'P_PROTOCOL_UPDATE': {
      const { protocol, after_sb_0p, after_sb_1p, after_sb_2p, conn_flags, two_primaries } = packet.body;
      if (after_sb_0p > AFTER_SB['auto-discard']) return undefined;
      const head = `protocol=${protocol}(${'?ABC'[protocol]}) after_sb_0p=${after_sb_0p} 1p=${after_sb_1p} 2p=${after_sb_2p}`;
      return `${head} conn_flags=${conn_flags} two_primaries=${two_primaries} integrity_alg="${tail.algorithm ?? ''}"`;
    }
    case 'P_SYNC_PARAM':
      return `resync_rate=${packet.body.resync_rate} verify_alg="${tail.algorithm ?? ''}"`;
    case 'P_SYNC_PARAM89': {
      const { resync_rate, verify_alg, csums_alg } = packet.body;
      const head = `resync_rate=${resync_rate} verify_alg="${verify_alg}" csums_alg="${csums_alg}"`;
      const more = Object.entries(tail.controller ?? {}).map(([name, value]) => ` ${name}=${value}`);
      return head + more.join('');
    }
    case 'P_SIZES': {
      const head = Object.entries(packet.body).map(([name, value]) => `${name}=${value}`);
      if (tail.qlim === undefined) return head.join(' ');
      const short = ['phys', 'log', 'align', 'io_min', 'io_opt', 'discard', 'dzd', 'wsame', 'pad'];
      const qlim = Object.values(tail.qlim).map((value, i) => `${short[i]}=${value}`);
      return `${head.join(' ')} qlim{${qlim.join(' ')}}`;
    }
    case 'P_UUIDS': {
      const { current, bitmap, history0, history1, dirty_bits, flags: uuidFlags } = packet.body;
      const [c, b, h0, h1] = [current, bitmap, history0, history1].map((uuid) => hex(uuid, 16).toUpperCase());
      return `current=${c} bitmap=${b} h0=${h0} h1=${h1} dirty_bits=${dirty_bits} flags=0x${uuidFlags.toString(16)}`;
    }
    case 'P_SYNC_UUID':
      return `uuid=${hex(packet.body.uuid, 16).toUpperCase()}`;
    case 'P_STATE':
      return `0x${hex(packet.body.state, 8)} ${stateText(packet.body.state, apv)}`;
    case 'P_STATE_CHG_REQ':
    case 'P_CONN_ST_CHG_REQ':
      return `mask=0x${hex(packet.body.mask, 8)} val=0x${hex(packet.body.val, 8)}`;
    case 'P_STATE_CHG_REPLY':
    case 'P_CONN_ST_CHG_REPLY':
      return `retcode=${packet.body.retcode}`;
    case 'P_DATA':
    case 'P_DATA_REPLY':
    case 'P_RS_DATA_REPLY': {
      const { sector, block_id, seq_num, dp_flags } = packet.body;
      return withDigest(`sector=${sector} block_id=${hex(block_id, 16)} seq_num=${seq_num} dp_flags=${flags(dp_flags)}`, tail.digest);
    }
    case 'P_TRIM':
    case 'P_ZEROES': {
      const { sector, block_id, seq_num, dp_flags, size } = packet.body;
      return `sector=${sector} block_id=${hex(block_id, 16)} seq_num=${seq_num} dp_flags=${flags(dp_flags)} size=${size}`;
    }
    case 'P_DATA_REQUEST':
    case 'P_RS_DATA_REQUEST':
    case 'P_RS_THIN_REQ':
    case 'P_OV_REQUEST':
    case 'P_OV_REPLY':
    case 'P_CSUM_RS_REQUEST': {
      const { sector, block_id, blksize, pad } = packet.body;
      return withDigest(`sector=${sector} block_id=${hex(block_id, 16)} blksize=${blksize} pad=0x${pad.toString(16)}`, tail.digest);
    }
    case 'P_RECV_ACK':
    case 'P_WRITE_ACK':
    case 'P_RS_WRITE_ACK':
    case 'P_SUPERSEDED':
    case 'P_RETRY_WRITE':
    case 'P_NEG_ACK':
    case 'P_NEG_DREPLY':
    case 'P_NEG_RS_DREPLY':
    case 'P_OV_RESULT':
    case 'P_RS_IS_IN_SYNC':
    case 'P_RS_CANCEL': {
      const { sector, block_id, blksize, seq_num } = packet.body;
      return `sector=${sector} block_id=${hex(block_id, 16)} blksize=${blksize} seq_num=${seq_num}`;
    }
    case 'P_OUT_OF_SYNC':
    case 'P_RS_DEALLOCATED':
      return `sector=${packet.body.sector} blksize=${packet.body.blksize} pad=0x${packet.body.pad.toString(16)}`;
    case 'P_BARRIER':
      return `barrier=${hex(packet.body.barrier, 8)} pad=${packet.body.pad}`;
    case 'P_BARRIER_ACK':
      return `barrier=${hex(packet.body.barrier, 8)} set_size=${packet.body.set_size}`;
    case 'P_BITMAP': {
      const bytes = tail.bytes ?? new Uint8Array();
      return bytes.length === 0 ? 'empty: end of plain bitmap' : `plain bitmap: ${bytes.length / 8} words, ${setBits(bytes)} bits set`;
    }
    case 'P_COMPRESSED_BITMAP': {
      const { encoding } = packet.body;
      const code = tail.bytes ?? new Uint8Array();
      const reader = new VliReader(code, 0, code.length, encodingPadBits(encoding));
      let [runs, sum, set] = [0, 0, 0];
      for (let isSet = encodingStartsSet(encoding); reader.remainingBits > 0; isSet = !isSet) {
        const run = reader.next();
        if (run === 0) return 'broken code';
        runs++;
        sum += run;
        if (isSet) set += run;
      }
      const polarity = encodingStartsSet(encoding) ? 'set' : 'clear';
      const how = `code=${encodingCode(encoding)} pad_bits=${encodingPadBits(encoding)} first_polarity=${polarity}`;
      return `${how} ${runs} runs, sum ${sum} bits, set bits ${set}`;
    }
    default:
      return undefined;
  }
}
