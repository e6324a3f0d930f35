/** Every packet that two DRBD 8.4 kernels exchanged in 33 scenarios: decoded, compared with an independent list, encoded again. */
import { createHmac } from 'node:crypto';
import {
  BitmapReceiver,
  BitmapSender,
  ByteBitmap,
  COMMAND,
  DIGEST_BYTES,
  decodeHeader,
  decodePacket,
  equalBytes,
  FEATURES_84,
  HEADER_KIND,
  HEADER_OK,
  type HeaderKind,
  headerKindOf,
  negotiate,
  type Packet,
  PacketHeader,
  packetBytes,
  pBarrierNumber,
  pBlockAckIdHigh,
  pBlockAckIdLow,
  pBlockAckSector,
  pBlockAckSeqNum,
  pBlockAckSize,
  pBlockReqIdHigh,
  pBlockReqIdLow,
  pBlockReqSector,
  pBlockReqSize,
  pDataBlockIdHigh,
  pDataBlockIdLow,
  pDataFlags,
  pDataSector,
  pDataSeqNum,
  pTrimSize,
  putHeader,
  putPBarrier,
  putPBarrierAck,
  putPBlockAck,
  putPBlockDesc,
  putPBlockReq,
  putPData,
  putPTrim,
  refusalText,
  responseMessage,
} from '@udrbd/wire';
import t from 'tap';
import { packetText } from './packet-text.js';
import { type Direction, type Stream, streams } from './recordings.js';

const tally = { packets: 0, equal: 0, listed: 0, texts: 0, textsEqual: 0, hot: 0, hotEqual: 0, transfers: 0, transfersEqual: 0, hmacs: 0 };
const problems: string[] = [];
const report = (where: string, what: string): void => {
  if (problems.length < 50) problems.push(`${where}: ${what}`);
};

/** The same packet through the accessors and encoders of the data path; undefined where there are none. */
function viaHotPath(packet: Packet, view: DataView, base: number, kind: HeaderKind): Uint8Array | undefined {
  const out = new Uint8Array(64);
  const to = new DataView(out.buffer);
  const at = putHeader(to, 0, kind, packet.volume, COMMAND[packet.name], 24);
  switch (packet.name) {
    case 'P_DATA':
    case 'P_DATA_REPLY':
    case 'P_RS_DATA_REPLY':
      putPData(
        to,
        at,
        pDataSector(view, base),
        pDataBlockIdHigh(view, base),
        pDataBlockIdLow(view, base),
        pDataSeqNum(view, base),
        pDataFlags(view, base),
      );
      return out.subarray(at, at + 24);
    case 'P_TRIM':
    case 'P_ZEROES':
      putPTrim(
        to,
        at,
        pDataSector(view, base),
        pDataBlockIdHigh(view, base),
        pDataBlockIdLow(view, base),
        pDataSeqNum(view, base),
        pDataFlags(view, base),
        pTrimSize(view, base),
      );
      return out.subarray(at, at + 28);
    case 'P_DATA_REQUEST':
    case 'P_RS_DATA_REQUEST':
    case 'P_RS_THIN_REQ':
    case 'P_OV_REQUEST':
    case 'P_OV_REPLY':
    case 'P_CSUM_RS_REQUEST':
      // Without the pad, which the kernel leaves uninitialised.
      putPBlockReq(to, at, pBlockReqSector(view, base), pBlockReqIdHigh(view, base), pBlockReqIdLow(view, base), pBlockReqSize(view, base));
      return out.subarray(at, at + 20);
    case 'P_RECV_ACK':
    case 'P_WRITE_ACK':
    case 'P_RS_WRITE_ACK':
    case 'P_NEG_ACK':
    case 'P_NEG_DREPLY':
    case 'P_NEG_RS_DREPLY':
    case 'P_SUPERSEDED':
    case 'P_RETRY_WRITE':
    case 'P_OV_RESULT':
    case 'P_RS_IS_IN_SYNC':
    case 'P_RS_CANCEL':
      putPBlockAck(
        to,
        at,
        pBlockAckSector(view, base),
        pBlockAckIdHigh(view, base),
        pBlockAckIdLow(view, base),
        pBlockAckSize(view, base),
        pBlockAckSeqNum(view, base),
      );
      return out.subarray(at, at + 24);
    case 'P_BARRIER':
      putPBarrier(to, at, pBarrierNumber(view, base));
      return out.subarray(at, at + 8);
    case 'P_BARRIER_ACK':
      putPBarrierAck(to, at, pBarrierNumber(view, base), packet.body.set_size);
      return out.subarray(at, at + 8);
    case 'P_OUT_OF_SYNC':
      putPBlockDesc(to, at, packet.body.sector, packet.body.blksize);
      return out.subarray(at, at + 12);
    default:
      return undefined;
  }
}

/** Collects a bitmap transfer, then lets our sender produce it again from the bitmap received. */
class Transfer {
  readonly #bitmap: ByteBitmap;
  readonly #receiver: BitmapReceiver;
  readonly #recorded: Uint8Array[] = [];
  /** A transfer with use-rle may begin with a plain packet, where the code would have been longer. */
  #usesRle = false;
  readonly #volume: number;
  readonly #kind: HeaderKind;
  constructor(bits: number, kind: HeaderKind, first: Packet) {
    this.#bitmap = new ByteBitmap(bits);
    this.#receiver = new BitmapReceiver(this.#bitmap, kind);
    this.#volume = first.volume;
    this.#kind = kind;
  }
  /** @returns true when the transfer is over */
  packet(where: string, packet: Packet, bytes: Uint8Array, headerBytes: number): boolean {
    this.#recorded.push(bytes);
    if (packet.name === 'P_COMPRESSED_BITMAP') this.#usesRle = true;
    const verdict = this.#receiver.packet(COMMAND[packet.name], bytes, headerBytes, bytes.length);
    if (!verdict.ok) {
      report(where, refusalText(verdict.error));
      return true;
    }
    if (!verdict.value) return false;
    tally.transfers++;
    const sender = new BitmapSender(this.#bitmap, this.#kind, this.#volume, this.#usesRle);
    const out = new Uint8Array(4096);
    let same = true;
    for (const [i, recorded] of this.#recorded.entries()) {
      const length = sender.next(out, 0);
      if (!equalBytes(out.subarray(0, length), recorded)) {
        same = false;
        report(where, `packet ${i} of the bitmap differs when sent again (${length} bytes, recorded ${recorded.length})`);
      }
    }
    if (same && sender.done) tally.transfersEqual++;
    return true;
  }
}

/** What both directions of a data stream have to know of each other. */
interface Shared {
  readonly challenges: Map<string, Uint8Array>;
  readonly responses: Map<string, Uint8Array>;
  /** Bits of each volume's bitmap, from the smaller disk. */
  readonly bits: Map<number, number>;
}

function walk(stream: Stream, direction: string, { bytes, packets: listed }: Direction, shared: Shared): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = new PacketHeader();
  const onMetaSocket = stream.socket === 'meta';
  const apv = stream.apv ?? 86;
  // The side that accepted the meta stream sends nothing before the version is agreed on the data stream.
  let kind: HeaderKind = onMetaSocket && listed[0]?.name !== 'P_INITIAL_META' ? headerKindOf(apv) : HEADER_KIND.H80;
  let integrityBytes = 0;
  const transfers = new Map<number, Transfer>();
  let offset = 0;
  let index = 0;
  tally.listed += listed.length;
  while (offset < bytes.length) {
    const where = `${stream.name} ${direction} @${offset}`;
    const verdict = decodeHeader(view, offset, bytes.length, kind, header);
    if (verdict !== HEADER_OK) {
      report(where, `header verdict ${verdict}`);
      return;
    }
    tally.packets++;
    const base = offset + header.headerBytes;
    const end = base + header.length;
    const recorded = bytes.subarray(offset, end);
    const expected = listed[index++];
    const context = { apv, features: stream.features, onMetaSocket, integrityBytes };
    const decoded = decodePacket(header, view, base, bytes.length, context);
    offset = end;
    if (!decoded.ok) {
      report(where, refusalText(decoded.error));
      continue;
    }
    const packet = decoded.value;
    const volume = header.headerBytes === 16 ? String(packet.volume) : '-';
    if (
      expected === undefined ||
      expected.name !== packet.name ||
      expected.offset !== recorded.byteOffset - bytes.byteOffset ||
      expected.length !== header.length ||
      expected.volume !== volume
    ) {
      report(where, `${packet.name} volume ${volume} length ${header.length}, the list says ${JSON.stringify(expected)}`);
      continue;
    }
    const again = packetBytes(packet, kind);
    if (equalBytes(again, recorded)) tally.equal++;
    else report(where, `${packet.name} encodes to other bytes`);
    const text = packetText(packet, apv);
    if (expected.text !== '' && text !== undefined) {
      tally.texts++;
      if (text === expected.text) tally.textsEqual++;
      else report(where, `${packet.name}\n  decoded ${text}\n  listed  ${expected.text}`);
    }
    const hot = viaHotPath(packet, view, base, kind);
    if (hot !== undefined) {
      tally.hot++;
      if (equalBytes(hot, bytes.subarray(base, base + hot.length))) tally.hotEqual++;
      else report(where, `${packet.name} differs on the hot path`);
    }
    switch (packet.name) {
      case 'P_INITIAL_META':
        kind = headerKindOf(apv);
        break;
      case 'P_CONNECTION_FEATURES': {
        kind = headerKindOf(apv);
        const own = { protocolMin: 86, protocolMax: apv, features: stream.features };
        const agreed = negotiate(own, packet.body);
        if (!agreed.ok || agreed.value.apv !== apv || agreed.value.features !== (stream.features & FEATURES_84))
          report(where, `negotiated ${JSON.stringify(agreed)}`);
        break;
      }
      case 'P_PROTOCOL':
      case 'P_PROTOCOL_UPDATE':
        integrityBytes = packet.tail.algorithm === undefined ? 0 : (DIGEST_BYTES[packet.tail.algorithm] ?? 0);
        break;
      case 'P_AUTH_CHALLENGE':
        shared.challenges.set(direction, packet.tail.bytes!);
        break;
      case 'P_AUTH_RESPONSE':
        shared.responses.set(direction, packet.tail.bytes!);
        break;
      case 'P_SIZES': {
        const { d_size, c_size } = packet.body;
        const known = shared.bits.get(packet.volume);
        const sectors = c_size || d_size;
        if (sectors > 0) shared.bits.set(packet.volume, Math.min(known ?? Number.MAX_SAFE_INTEGER, Math.ceil(sectors / 8)));
        break;
      }
      case 'P_BITMAP':
      case 'P_COMPRESSED_BITMAP': {
        const transfer = transfers.get(packet.volume) ?? new Transfer(shared.bits.get(packet.volume) ?? 0, kind, packet);
        transfers.set(packet.volume, transfer);
        if (transfer.packet(where, packet, recorded, header.headerBytes)) transfers.delete(packet.volume);
        break;
      }
    }
  }
  for (const volume of transfers.keys()) {
    // The one legitimate reason: the connection was cut in the middle.
    report(`${stream.name} ${direction}`, `bitmap transfer of volume ${volume} did not end`);
  }
}

t.test('recorded streams of DRBD 8.4', async (t) => {
  for (const stream of streams()) {
    const shared: Shared = { challenges: new Map(), responses: new Map(), bits: new Map() };
    for (const [direction, recorded] of stream.directions) walk(stream, direction, recorded, shared);
    for (const [direction, response] of shared.responses) {
      const challenge = shared.challenges.get(direction === 'a2b' ? 'b2a' : 'a2b');
      if (challenge === undefined) continue;
      const message = responseMessage(challenge, stream.apv ?? 86, 0);
      const algorithm = Object.entries(DIGEST_BYTES).find(([name, size]) => size === response.length && name !== 'crc32c')![0];
      const matches = (secret: string): boolean => equalBytes(createHmac(algorithm, secret).update(message).digest(), response);
      if (matches('S3cr3t') || matches('wrong')) tally.hmacs++;
      else report(`${stream.name} ${direction}`, 'HMAC differs');
    }
  }
  for (const problem of problems) t.comment(problem);
  t.comment(`${tally.equal} of ${tally.packets} packets equal`);
  t.comment(`${tally.textsEqual} of ${tally.texts} field lists equal`);
  t.comment(`${tally.hotEqual} of ${tally.hot} packets equal through the accessors of the data path`);
  t.comment(`${tally.transfersEqual} of ${tally.transfers} bitmap transfers equal when sent again`);
  t.comment(`${tally.hmacs} of 14 authentication responses verified`);
  t.equal(tally.packets, 24671, 'every packet was met');
  t.equal(tally.packets, tally.listed, 'and no other');
  t.equal(tally.equal, tally.packets, 'decode, then encode gives the same bytes');
  t.equal(tally.textsEqual, tally.texts, 'the fields are those the list names');
  t.equal(tally.hotEqual, tally.hot, 'accessors and encoders of the data path agree');
  t.equal(tally.transfersEqual, tally.transfers, 'our sender produces the same bitmap packets');
  t.equal(tally.hmacs, 14, 'authentication');
  t.strictSame(problems, []);
});
