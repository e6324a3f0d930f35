/** Whole packets as plain objects, for hand-shakes, state changes, traces and tests. The data path uses the accessors instead. */
import { P_CONNECTION_FEATURES } from './features.js';
import { type HeaderKind, headerBytesOf, type PacketHeader, putHeader } from './header.js';
import {
  copyBytes,
  decodeStruct,
  encodeStruct,
  type Fields,
  type Layout,
  layout,
  putBytes,
  readName,
  type Struct,
  type StructInput,
  writeName,
} from './layout.js';
import { accept, type Decoded, refuse } from './outcome.js';
import { P_BARRIER, P_BARRIER_ACK } from './p_barrier.js';
import { P_BLOCK_ACK } from './p_block_ack.js';
import { P_BLOCK_DESC } from './p_block_desc.js';
import { P_BLOCK_REQ } from './p_block_req.js';
import { P_COMPRESSED_BM } from './p_compressed_bm.js';
import { P_DATA, P_TRIM } from './p_data.js';
import { P_DELAY_PROBE } from './p_delay_probe.js';
import * as nine from './p_drbd9.js';
import { P_PROTOCOL } from './p_protocol.js';
import { P_RS_PARAM, P_RS_PARAM_89, RS_CONTROLLER } from './p_rs_param.js';
import { O_QLIM, P_SIZES } from './p_sizes.js';
import { P_REQ_STATE, P_REQ_STATE_REPLY, P_STATE } from './p_state.js';
import { P_UUID, P_UUIDS } from './p_uuids.js';
import { PACKETS, type PacketName, packetNameOf } from './packet.js';
import { type Agreed, checkPacket, PACKET_OK, PACKET_TOO_LONG, PACKET_TOO_SHORT, PACKET_WRONG_SOCKET } from './packet-length.js';
import { checkBody } from './packet-rules.js';

const EMPTY = layout('(empty)', 0, {});

/** The fixed part of every packet that is sent by some version we speak. */
export const STRUCTURES = {
  P_DATA,
  P_DATA_REPLY: P_DATA,
  P_RS_DATA_REPLY: P_DATA,
  P_BARRIER,
  P_BITMAP: EMPTY,
  P_UNPLUG_REMOTE: EMPTY,
  P_DATA_REQUEST: P_BLOCK_REQ,
  P_RS_DATA_REQUEST: P_BLOCK_REQ,
  P_SYNC_PARAM: P_RS_PARAM,
  P_PROTOCOL,
  P_UUIDS,
  P_SIZES,
  P_STATE,
  P_SYNC_UUID: P_UUID,
  P_AUTH_CHALLENGE: EMPTY,
  P_AUTH_RESPONSE: EMPTY,
  P_STATE_CHG_REQ: P_REQ_STATE,
  P_PING: EMPTY,
  P_PING_ACK: EMPTY,
  P_RECV_ACK: P_BLOCK_ACK,
  P_WRITE_ACK: P_BLOCK_ACK,
  P_RS_WRITE_ACK: P_BLOCK_ACK,
  P_SUPERSEDED: P_BLOCK_ACK,
  P_NEG_ACK: P_BLOCK_ACK,
  P_NEG_DREPLY: P_BLOCK_ACK,
  P_NEG_RS_DREPLY: P_BLOCK_ACK,
  P_BARRIER_ACK,
  P_STATE_CHG_REPLY: P_REQ_STATE_REPLY,
  P_OV_REQUEST: P_BLOCK_REQ,
  P_OV_REPLY: P_BLOCK_REQ,
  P_OV_RESULT: P_BLOCK_ACK,
  P_CSUM_RS_REQUEST: P_BLOCK_REQ,
  P_RS_IS_IN_SYNC: P_BLOCK_ACK,
  P_SYNC_PARAM89: P_RS_PARAM_89,
  P_COMPRESSED_BITMAP: P_COMPRESSED_BM,
  P_DELAY_PROBE,
  P_OUT_OF_SYNC: P_BLOCK_DESC,
  P_RS_CANCEL: P_BLOCK_ACK,
  P_CONN_ST_CHG_REQ: P_REQ_STATE,
  P_CONN_ST_CHG_REPLY: P_REQ_STATE_REPLY,
  P_RETRY_WRITE: P_BLOCK_ACK,
  P_PROTOCOL_UPDATE: P_PROTOCOL,
  P_TWOPC_PREPARE: nine.P_TWOPC_REQUEST,
  P_TWOPC_ABORT: nine.P_TWOPC_REQUEST,
  P_DAGTAG: nine.P_DAGTAG,
  P_TRIM,
  P_RS_THIN_REQ: P_BLOCK_REQ,
  P_RS_DEALLOCATED: P_BLOCK_DESC,
  P_TWOPC_PREP_RSZ: nine.P_TWOPC_REQUEST,
  P_ZEROES: P_TRIM,
  P_PEER_ACK: nine.P_PEER_ACK,
  P_PEERS_IN_SYNC: nine.P_PEER_BLOCK_DESC,
  P_UUIDS110: nine.P_UUIDS110,
  P_PEER_DAGTAG: nine.P_PEER_DAGTAG,
  P_CURRENT_UUID: nine.P_CURRENT_UUID,
  P_TWOPC_YES: nine.P_TWOPC_REPLY,
  P_TWOPC_NO: nine.P_TWOPC_REPLY,
  P_TWOPC_COMMIT: nine.P_TWOPC_REQUEST,
  P_TWOPC_RETRY: nine.P_TWOPC_REPLY,
  P_CONFIRM_STABLE: nine.P_CONFIRM_STABLE,
  P_RS_CANCEL_AHEAD: P_BLOCK_ACK,
  P_DISCONNECT: EMPTY,
  P_RS_DAGTAG_REQ: nine.P_RS_REQ,
  P_RS_CSUM_DAGTAG_REQ: nine.P_RS_REQ,
  P_RS_THIN_DAGTAG_REQ: nine.P_RS_REQ,
  P_OV_DAGTAG_REQ: nine.P_RS_REQ,
  P_OV_DAGTAG_REPLY: nine.P_RS_REQ,
  P_WRITE_ACK_IN_SYNC: P_BLOCK_ACK,
  P_RS_NEG_ACK: P_BLOCK_ACK,
  P_OV_RESULT_ID: nine.P_OV_RESULT_ID,
  P_RS_DEALLOCATED_ID: P_BLOCK_ACK,
  P_FLUSH_REQUESTS: nine.P_FLUSH_REQUESTS,
  P_FLUSH_FORWARD: nine.P_FLUSH_FORWARD,
  P_FLUSH_REQUESTS_ACK: nine.P_FLUSH_ACK,
  P_ENABLE_REPLICATION_NEXT: nine.P_ENABLE_REPLICATION,
  P_ENABLE_REPLICATION: nine.P_ENABLE_REPLICATION,
  P_INITIAL_META: EMPTY,
  P_INITIAL_DATA: EMPTY,
  P_CONNECTION_FEATURES,
} as const;

/** Names of the packets that have a body here; left out are three that no peer may send. */
export type BodyName = keyof typeof STRUCTURES;

/** The variable part that follows the structure; absent members are not on the wire. */
export interface TailFields {
  /** Of the data that follows, or of a block that does not. */
  readonly digest?: Uint8Array;
  readonly data?: Uint8Array;
  /** integrity_alg of P_PROTOCOL, verify_alg of P_SYNC_PARAM. */
  readonly algorithm?: string;
  /** Bitmap words, RLE code, challenge or response. */
  readonly bytes?: Uint8Array;
  readonly qlim?: StructInput<(typeof O_QLIM)['fields']>;
  readonly controller?: StructInput<(typeof RS_CONTROLLER)['fields']>;
  /** Bitmap UUIDs in the order of the mask, then history UUIDs. */
  readonly uuids?: readonly bigint[];
}

type FieldsOf<N extends BodyName> = (typeof STRUCTURES)[N] extends Layout<infer F> ? F : never;

/** A received packet: `name` tells which structure `body` has. */
export type Packet = {
  [N in BodyName]: { readonly name: N; readonly volume: number; readonly body: Struct<FieldsOf<N>>; readonly tail: TailFields };
}[BodyName];
export type PacketOf<N extends BodyName> = Extract<Packet, { readonly name: N }>;
/** A packet to be sent; reserved fields may be left out. */
export type PacketInput = {
  [N in BodyName]: { readonly name: N; readonly volume: number; readonly body: StructInput<FieldsOf<N>>; readonly tail?: TailFields };
}[BodyName];

/** What the receiver of one direction of one stream knows. */
export interface DecodeContext extends Agreed {
  readonly onMetaSocket: boolean;
  /** Digest length of the *peer's* data-integrity-alg, 0 when none is used. */
  readonly integrityBytes: number;
}

const isBodyName = (name: PacketName): name is BodyName => name in STRUCTURES;

/**
 * Decodes one packet whose payload has arrived completely.
 *
 * Total: any bytes give a packet or a refusal. Beyond the layout it checks what holds in every state: sizes that are
 * multiples of a sector, enumerations in range, terminated strings. What depends on the state is the core's business.
 * @param base - first payload byte
 * @param end - first byte that was not received; the payload must lie before it
 */
export function decodePacket(header: PacketHeader, view: DataView, base: number, end: number, context: DecodeContext): Decoded<Packet> {
  const name = packetNameOf(header.command);
  const { length } = header;
  if (name === undefined || !isBodyName(name)) return refuse('packet', 'command', 'unknown', header.command);
  const table: Layout<Fields> = STRUCTURES[name];
  if (header.command >= 0xfff0) {
    if (length !== table.size) return refuse(name, 'length', length < table.size ? 'too short' : 'too long', length);
  } else {
    const verdict = checkPacket(context.onMetaSocket, header.command, length, context.apv, context.features);
    if (verdict !== PACKET_OK) {
      if (verdict === PACKET_TOO_SHORT) return refuse(name, 'length', 'too short', length);
      if (verdict === PACKET_TOO_LONG) return refuse(name, 'length', 'too long', length);
      return refuse(name, 'command', verdict === PACKET_WRONG_SOCKET ? 'not permitted' : 'unknown', header.command);
    }
  }
  const payloadEnd = base + length;
  if (payloadEnd > end || payloadEnd > view.byteLength) return refuse(name, 'length', 'too short', Math.max(0, end - base));
  const body = decodeStruct(table, view, base, payloadEnd);
  if (!body.ok) return body;
  const tail = decodeTail(name, view, base + table.size, payloadEnd, context, body.value);
  if (!tail.ok) return tail;
  const packet = { name, volume: header.volume, body: body.value, tail: tail.value } as unknown as Packet;
  const broken = checkBody(packet, context);
  return broken === undefined ? accept(packet) : { ok: false, error: broken };
}

function decodeTail(
  name: BodyName,
  view: DataView,
  at: number,
  end: number,
  context: DecodeContext,
  body: Readonly<Record<string, unknown>>,
): Decoded<TailFields> {
  switch (PACKETS[name].tail) {
    case 'data': {
      const dataAt = at + context.integrityBytes;
      if (dataAt > end) return refuse(name, 'digest', 'too short', end - at);
      const data = copyBytes(view, dataAt, end);
      return accept(context.integrityBytes === 0 ? { data } : { digest: copyBytes(view, at, dataAt), data });
    }
    case 'digest':
      return accept({ digest: copyBytes(view, at, end) });
    case 'text': {
      if (at === end) return accept({});
      const algorithm = readName(view, at, end - at);
      return algorithm === undefined ? refuse(name, 'algorithm', 'not terminated', end - at) : accept({ algorithm });
    }
    case 'bytes':
      return accept({ bytes: copyBytes(view, at, end) });
    case 'qlim': {
      if (at === end) return accept({});
      const qlim = decodeStruct(O_QLIM, view, at, end);
      return qlim.ok ? accept({ qlim: qlim.value }) : qlim;
    }
    case 'controller': {
      if (at === end) return accept({});
      const controller = decodeStruct(RS_CONTROLLER, view, at, end);
      return controller.ok ? accept({ controller: controller.value }) : controller;
    }
    case 'uuids': {
      const mask = body.bitmap_uuids_mask as bigint;
      if (mask >> 32n !== 0n) return refuse(name, 'bitmap_uuids_mask', 'out of range', mask);
      let wanted = 0;
      for (let rest = mask; rest !== 0n; rest &= rest - 1n) wanted++;
      if ((end - at) % 8 !== 0 || (end - at) / 8 < wanted) return refuse(name, 'bitmap_uuids', 'too short', end - at);
      const uuids: bigint[] = [];
      for (let i = at; i < end; i += 8) uuids.push(view.getBigUint64(i));
      return accept({ uuids });
    }
    default:
      return accept({});
  }
}

/** Payload bytes that {@link encodePacket} will write. */
export function payloadBytesOf(packet: PacketInput): number {
  const { digest, data, algorithm, bytes, qlim, controller, uuids } = packet.tail ?? {};
  return (
    STRUCTURES[packet.name].size +
    (digest?.length ?? 0) +
    (data?.length ?? 0) +
    (algorithm === undefined ? 0 : algorithm.length + 1) +
    (bytes?.length ?? 0) +
    (qlim === undefined ? 0 : O_QLIM.size) +
    (controller === undefined ? 0 : RS_CONTROLLER.size) +
    (uuids?.length ?? 0) * 8
  );
}

/**
 * Writes a whole packet, header and payload. The caller has made room for `16 + payloadBytesOf(packet)` bytes.
 * @returns bytes written
 */
export function encodePacket(packet: PacketInput, view: DataView, offset: number, kind: HeaderKind): number {
  const table: Layout<Fields> = STRUCTURES[packet.name];
  const length = payloadBytesOf(packet);
  let at = offset + putHeader(view, offset, kind, packet.volume, PACKETS[packet.name].command, length);
  encodeStruct(table, view, at, packet.body as StructInput<Fields>);
  at += table.size;
  const { digest, data, algorithm, bytes, qlim, controller, uuids } = packet.tail ?? {};
  if (digest !== undefined) putBytes(view, at, digest);
  at += digest?.length ?? 0;
  if (data !== undefined) putBytes(view, at, data);
  at += data?.length ?? 0;
  if (algorithm !== undefined) {
    writeName(view, at, algorithm.length + 1, algorithm);
    at += algorithm.length + 1;
  }
  if (bytes !== undefined) putBytes(view, at, bytes);
  if (qlim !== undefined) encodeStruct(O_QLIM, view, at, qlim);
  if (controller !== undefined) encodeStruct(RS_CONTROLLER, view, at, controller);
  for (const uuid of uuids ?? []) {
    view.setBigUint64(at, uuid);
    at += 8;
  }
  return headerBytesOf(kind) + length;
}

/** A whole packet in a buffer of its own. */
export function packetBytes(packet: PacketInput, kind: HeaderKind): Uint8Array {
  const out = new Uint8Array(headerBytesOf(kind) + payloadBytesOf(packet));
  encodePacket(packet, new DataView(out.buffer), 0, kind);
  return out;
}
