/** Writes packets into the outboxes of a connection: the only place where the core encodes what it sends. */
import {
  AFTER_SB,
  CF,
  COMMAND,
  DRBD_PROT,
  encodeStruct,
  FF,
  HEADER_KIND,
  headerBytesOf,
  O_QLIM,
  type Offer,
  P_CONNECTION_FEATURES,
  P_PROTOCOL,
  P_REQ_STATE,
  P_REQ_STATE_REPLY,
  P_RS_PARAM_89,
  P_SIZES,
  P_STATE,
  P_UUID,
  P_UUIDS,
  packState,
  putBytes,
  putConnectionFeatures,
  putHeader,
  putPBarrier,
  putPBarrierAck,
  putPBlockAck,
  putPBlockDesc,
  putPBlockReq,
  putPData,
  putPTrim,
  RS_CONTROLLER,
  RS_CONTROLLER_DEFAULT,
  RS_PARAM_DEFAULT,
  requestBytesMax,
  stateToWire,
  UUID_FLAG,
  writeName,
} from '@udrbd/wire';
import type { Connection } from './connection.js';
import { DIGEST_NONE, DIGEST_STRIDE, digestBytes } from './digests.js';
import { STREAM, type Stream } from './host.js';
import { SENT } from './outbox.js';
import type { PeerDevice } from './peer-device.js';
import type { Resource } from './resource.js';
import { CONN, DISK, type StateView } from './state-view.js';

/** What we offer, at every protocol version. Thin resync needs a digest of zeroes we do not take. */
const FEATURES = FF.TRIM | FF.WSAME | FF.WZEROES;
export const offerOf = ({ protocolVersions: { min, max } }: Resource): Offer => ({
  protocolMin: min,
  protocolMax: max,
  features: FEATURES,
});
/** Handle of everything that belongs to a resync: all ones. */
export const ID_ALL_ONES = 0xffff_ffff;

/**
 * Starts a packet with a fixed structure of `bytes`; `extra` bytes of payload follow from the slot's buffer, from `payloadOffset` on.
 * @returns offset in the arena right behind the header
 */
function begin(
  res: Resource,
  c: Connection,
  stream: Stream,
  volume: number,
  command: number,
  bytes: number,
  extra: number,
  payloadSlot: number,
  action: number,
  payloadOffset = 0,
): number {
  const box = c.outboxes[stream];
  const offset = box.push(headerBytesOf(c.headerKind) + bytes, payloadSlot, payloadOffset, extra, action, payloadSlot);
  res.pushSend(c.index, stream);
  return offset + putHeader(box.view, offset, c.headerKind, volume, command, bytes + extra);
}

/** A p_data with payload; with data-integrity-alg the payload's digest stands between the two, and the host fills it in. */
function beginPayload(
  res: Resource,
  c: Connection,
  volume: number,
  command: number,
  lengthBytes: number,
  slot: number,
  action: number,
  offsetBytes = 0,
): number {
  const at = begin(res, c, STREAM.Data, volume, command, 24 + digestBytes(c.sendDigest), lengthBytes, slot, action, offsetBytes);
  if (c.sendDigest !== DIGEST_NONE) c.outboxes[0].sealLast(c.sendDigest);
  return at;
}

export function sendFeatures(res: Resource, c: Connection): void {
  const at = begin(res, c, STREAM.Data, 0, COMMAND.P_CONNECTION_FEATURES, P_CONNECTION_FEATURES.size, 0, -1, SENT.Nothing);
  putConnectionFeatures(c.outboxes[0].view, at, offerOf(res));
}

export function sendBytes(res: Resource, c: Connection, command: number, bytes: Uint8Array): void {
  const at = begin(res, c, STREAM.Data, 0, command, bytes.length, 0, -1, SENT.Nothing);
  putBytes(c.outboxes[0].view, at, bytes);
}

export function sendProtocol(res: Resource, c: Connection, command: number = COMMAND.P_PROTOCOL): void {
  const integrity = c.options['data-integrity-alg'];
  const at = begin(res, c, STREAM.Data, 0, command, P_PROTOCOL.size + integrity.length + 1, 0, -1, SENT.Nothing);
  const view = c.outboxes[0].view;
  encodeStruct(P_PROTOCOL, view, at, {
    protocol: DRBD_PROT[c.options.protocol],
    after_sb_0p: AFTER_SB[c.options['after-sb-0pri']],
    after_sb_1p: AFTER_SB[c.options['after-sb-1pri']],
    after_sb_2p: AFTER_SB[c.options['after-sb-2pri']],
    conn_flags: (c.discardMyData ? CF.DISCARD_MY_DATA : 0) | (c.tentative ? CF.DRY_RUN : 0),
    two_primaries: c.options['allow-two-primaries'] ? 1 : 0,
  });
  writeName(view, at + P_PROTOCOL.size, integrity.length + 1, integrity);
}

export function sendSyncParam(res: Resource, pd: PeerDevice): void {
  const c = pd.connection;
  const at = begin(
    res,
    c,
    STREAM.Data,
    pd.volume.number,
    COMMAND.P_SYNC_PARAM89,
    P_RS_PARAM_89.size + RS_CONTROLLER.size,
    0,
    -1,
    SENT.Nothing,
  );
  const view = c.outboxes[0].view;
  const attached = pd.volume.disk !== undefined;
  encodeStruct(P_RS_PARAM_89, view, at, {
    resync_rate: attached ? pd.options['resync-rate'] : RS_PARAM_DEFAULT.resync_rate,
    verify_alg: c.options['verify-alg'],
    csums_alg: c.options['csums-alg'],
  });
  encodeStruct(
    RS_CONTROLLER,
    view,
    at + P_RS_PARAM_89.size,
    attached
      ? {
          c_plan_ahead: pd.options['c-plan-ahead'],
          c_delay_target: pd.options['c-delay-target'],
          c_fill_target: pd.options['c-fill-target'],
          c_max_rate: pd.options['c-max-rate'],
        }
      : RS_CONTROLLER_DEFAULT,
  );
}

export function sendSizes(res: Resource, pd: PeerDevice, exportedSectors: number, ddsFlags = 0): void {
  const c = pd.connection;
  const withLimits = (c.features & FF.WSAME) !== 0;
  const at = begin(
    res,
    c,
    STREAM.Data,
    pd.volume.number,
    COMMAND.P_SIZES,
    P_SIZES.size + (withLimits ? O_QLIM.size : 0),
    0,
    -1,
    SENT.Nothing,
  );
  const view = c.outboxes[0].view;
  const { disk } = pd.volume;
  const usable = disk !== undefined && pd.volume.diskState >= DISK.Negotiating;
  encodeStruct(P_SIZES, view, at, {
    d_size: usable ? disk.usableSectors : 0,
    u_size: usable ? disk.options.size : 0,
    c_size: exportedSectors,
    max_bio_size: requestBytesMax(c.apv),
    queue_order_type: 0,
    dds_flags: ddsFlags,
  });
  if (!withLimits) return;
  encodeStruct(O_QLIM, view, at + P_SIZES.size, {
    physical_block_size: 4096,
    logical_block_size: 512,
    alignment_offset: 0,
    io_min: 512,
    io_opt: 0,
    discard_enabled: 1,
    discard_zeroes_data: 0,
    write_same_capable: 0,
  });
}

export function sendUuids(res: Resource, pd: PeerDevice, extraFlags = 0n): void {
  const c = pd.connection;
  const g = pd.comparedGenerations ?? pd.volume.generationsFor(pd);
  let flags = extraFlags;
  if (c.discardMyData) flags |= UUID_FLAG.DISCARD_MY_DATA;
  if (pd.volume.crashedPrimary) flags |= UUID_FLAG.CRASHED_PRIMARY;
  if (pd.volume.diskState === DISK.Negotiating && pd.volume.stateAfterAttach <= DISK.Inconsistent) flags |= UUID_FLAG.INCONSISTENT;
  const at = begin(res, c, STREAM.Data, pd.volume.number, COMMAND.P_UUIDS, P_UUIDS.size, 0, -1, SENT.Nothing);
  encodeStruct(P_UUIDS, c.outboxes[0].view, at, {
    current: g.current,
    bitmap: g.bitmap,
    history0: g.history[0],
    history1: g.history[1],
    dirty_bits: BigInt(pd.bitmapSlot < 0 ? 0 : pd.volume.disk!.bitmap.weight(pd.bitmapSlot)),
    flags,
  });
}

export function sendSyncUuid(res: Resource, pd: PeerDevice, uuid: bigint): void {
  const at = begin(res, pd.connection, STREAM.Data, pd.volume.number, COMMAND.P_SYNC_UUID, P_UUID.size, 0, -1, SENT.Nothing);
  encodeStruct(P_UUID, pd.connection.outboxes[0].view, at, { uuid });
}

/** A view as the 32-bit word, in the numbering of `apv`. */
export const stateWord = (view: StateView, apv: number): number =>
  stateToWire(
    packState({
      role: view.role,
      peer: view.peerRole,
      conn: view.conn,
      disk: view.disk,
      pdsk: view.peerDisk,
      susp: view.suspUser ? 1 : 0,
      aftr_isp: view.resyncSuspDependency ? 1 : 0,
      peer_isp: view.resyncSuspPeer ? 1 : 0,
      user_isp: view.resyncSuspUser ? 1 : 0,
      susp_nod: view.suspNoData ? 1 : 0,
      susp_fen: view.suspFencing ? 1 : 0,
    }),
    apv,
  );

export function sendState(res: Resource, pd: PeerDevice, view: StateView = res.view(pd.volume, pd)): void {
  const c = pd.connection;
  const at = begin(res, c, STREAM.Data, pd.volume.number, COMMAND.P_STATE, P_STATE.size, 0, -1, SENT.Nothing);
  encodeStruct(P_STATE, c.outboxes[0].view, at, { state: stateWord(view, c.apv) });
}

/** @param command - P_STATE_CHG_REQ with a volume, or P_CONN_ST_CHG_REQ (from 100 on) */
export function sendStateChangeRequest(res: Resource, c: Connection, command: number, volume: number, mask: number, value: number): void {
  const at = begin(res, c, STREAM.Data, volume, command, P_REQ_STATE.size, 0, -1, SENT.Nothing);
  encodeStruct(P_REQ_STATE, c.outboxes[0].view, at, { mask, val: value });
}

export function sendStateChangeReply(res: Resource, c: Connection, command: number, volume: number, code: number): void {
  const at = begin(res, c, STREAM.Meta, volume, command, P_REQ_STATE_REPLY.size, 0, -1, SENT.Nothing);
  encodeStruct(P_REQ_STATE_REPLY, c.outboxes[1].view, at, { retcode: code });
}

/** P_PING, P_PING_ACK on the meta stream. */
export function sendMetaEmpty(res: Resource, c: Connection, command: number): void {
  begin(res, c, STREAM.Meta, 0, command, 0, 0, -1, SENT.Nothing);
}

export function sendBarrier(res: Resource, c: Connection, epoch: number): void {
  const at = begin(res, c, STREAM.Data, 0, COMMAND.P_BARRIER, 8, 0, -1, SENT.Nothing);
  putPBarrier(c.outboxes[0].view, at, epoch);
}

export function sendBarrierAck(res: Resource, c: Connection, barrier: number, setSize: number): void {
  const at = begin(res, c, STREAM.Meta, 0, COMMAND.P_BARRIER_ACK, 8, 0, -1, SENT.Nothing);
  putPBarrierAck(c.outboxes[1].view, at, barrier, setSize);
}

/** P_DATA with the slot's payload behind it; several of them where the peer takes no more at once. The last one ends the request. */
export function sendData(res: Resource, pd: PeerDevice, slot: number, flags: number): void {
  const { requests } = res;
  const c = pd.connection;
  const length = requests.lengthBytes[slot]!;
  const most = requestBytesMax(c.apv);
  for (let from = 0; from < length; from += most) {
    const part = Math.min(most, length - from);
    const action = from + part === length ? SENT.ApplicationWrite : SENT.Nothing;
    const at = beginPayload(res, c, pd.volume.number, COMMAND.P_DATA, part, slot, action, from);
    pd.packetSeq = (pd.packetSeq + 1) >>> 0;
    putPData(c.outboxes[0].view, at, requests.sector[slot]! + (from >>> 9), requests.generation[slot]!, slot, pd.packetSeq, flags);
  }
  pd.sentSectors += length >>> 9;
}

/** P_TRIM or P_ZEROES: no payload, but it is done when handed over like a write. */
export function sendTrim(res: Resource, pd: PeerDevice, slot: number, command: number, flags: number): void {
  const { requests } = res;
  const c = pd.connection;
  const at = begin(res, c, STREAM.Data, pd.volume.number, command, 28, 0, -1, SENT.ApplicationWrite);
  const box = c.outboxes[0];
  box.actionSlot[(box.queued - 1) % box.capacity] = slot;
  pd.packetSeq = (pd.packetSeq + 1) >>> 0;
  putPTrim(box.view, at, requests.sector[slot]!, requests.generation[slot]!, slot, pd.packetSeq, flags, requests.lengthBytes[slot]!);
}

export function sendOutOfSync(res: Resource, pd: PeerDevice, sector: number, lengthBytes: number): void {
  const c = pd.connection;
  const at = begin(res, c, STREAM.Data, pd.volume.number, COMMAND.P_OUT_OF_SYNC, 16, 0, -1, SENT.Nothing);
  putPBlockDesc(c.outboxes[0].view, at, sector, lengthBytes);
}

/** P_DATA_REQUEST for one part of a read. */
export function sendReadRequest(res: Resource, pd: PeerDevice, slot: number, fromBytes: number, lengthBytes: number): void {
  const { requests } = res;
  const c = pd.connection;
  const at = begin(res, c, STREAM.Data, pd.volume.number, COMMAND.P_DATA_REQUEST, 24, 0, -1, SENT.Nothing);
  putPBlockReq(c.outboxes[0].view, at, requests.sector[slot]! + fromBytes / 512, requests.generation[slot]!, slot, lengthBytes);
}

/** P_RS_DATA_REQUEST, P_OV_REQUEST: a whole block. */
export function sendBlockRequest(res: Resource, pd: PeerDevice, command: number, slot: number, idHigh: number, idLow: number): void {
  const c = pd.connection;
  const at = begin(res, c, STREAM.Data, pd.volume.number, command, 24, 0, -1, SENT.Nothing);
  putPBlockReq(c.outboxes[0].view, at, res.requests.sector[slot]!, idHigh, idLow, res.requests.lengthBytes[slot]!);
}

/** P_CSUM_RS_REQUEST, P_OV_REPLY: a block and the digest that the host has computed over the slot's buffer. */
export function sendBlockDigest(res: Resource, pd: PeerDevice, command: number, slot: number): void {
  const c = pd.connection;
  const { requests } = res;
  const length = digestBytes(requests.digest[slot]!);
  const at = begin(res, c, STREAM.Data, pd.volume.number, command, 24 + length, 0, -1, SENT.Nothing);
  const { view, arena } = c.outboxes[0];
  putPBlockReq(view, at, requests.sector[slot]!, ID_ALL_ONES, ID_ALL_ONES, requests.lengthBytes[slot]!);
  const from = slot * DIGEST_STRIDE;
  for (let i = 0; i < length; i++) arena[at + 24 + i] = requests.computed[from + i]!;
}

/** P_DATA_REPLY or P_RS_DATA_REPLY with the slot's payload; the slot is given back when it has been sent. */
export function sendBlockReply(res: Resource, pd: PeerDevice, command: number, slot: number): void {
  const { requests } = res;
  const c = pd.connection;
  const length = requests.lengthBytes[slot]!;
  const at = beginPayload(res, c, pd.volume.number, command, length, slot, SENT.Reply);
  putPData(c.outboxes[0].view, at, requests.sector[slot]!, requests.blockIdHigh[slot]!, requests.blockIdLow[slot]!, 0, 0);
  pd.sentSectors += length >>> 9;
}

/** Any acknowledgement of a block; takes a number of the shared sequence. */
export function sendBlockAck(
  res: Resource,
  pd: PeerDevice,
  command: number,
  sector: number,
  idHigh: number,
  idLow: number,
  lengthBytes: number,
): void {
  const c = pd.connection;
  const at = begin(res, c, STREAM.Meta, pd.volume.number, command, 24, 0, -1, SENT.Nothing);
  pd.packetSeq = (pd.packetSeq + 1) >>> 0;
  putPBlockAck(c.outboxes[1].view, at, sector, idHigh, idLow, lengthBytes, pd.packetSeq);
}

/** A packet that was encoded elsewhere, header included (the bitmap). The caller has asked for room. */
export function sendRawData(res: Resource, c: Connection, bytes: Uint8Array): void {
  const box = c.outboxes[STREAM.Data];
  const at = box.push(bytes.length, -1, 0, 0, SENT.Nothing, -1);
  box.arena.set(bytes, at);
  res.pushSend(c.index, STREAM.Data);
}

/** Header bytes before the version is agreed on, and what volume-less packets carry. */
export const INITIAL_HEADER = HEADER_KIND.H80;
export const isConnected = (c: Connection): boolean => c.state >= CONN.WFReportParams;
