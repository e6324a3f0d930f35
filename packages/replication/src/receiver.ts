/** Takes packets apart as they arrive and hands them to whoever they concern. The hot ones without allocating. */
import {
  COMMAND,
  checkPacket,
  checkRange,
  DP,
  decodeHeader,
  decodeStruct,
  discardBytesMax,
  HEADER_BAD_MAGIC,
  HEADER_BAD_PAD,
  HEADER_KIND,
  HEADER_NEED_MORE,
  HEADER_OK,
  ID_OUT_OF_SYNC,
  MAGIC_80,
  P_REQ_STATE,
  P_REQ_STATE_REPLY,
  P_UUID,
  PACKET_OK,
  PACKET_TOO_SHORT,
  PACKET_UNKNOWN,
  PACKET_WRONG_SOCKET,
  PacketHeader,
  packetLogName,
  pBarrierAckSetSize,
  pBarrierNumber,
  pBlockAckIdHigh,
  pBlockAckIdLow,
  pBlockAckSector,
  pBlockAckSeqNum,
  pBlockAckSize,
  pBlockDescSector,
  pBlockDescSize,
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
  RANGE_OK,
  REQUEST_BYTES_MAX,
} from '@udrbd/wire';
import { receiveConnectionRequest, receiveReply, receiveRequest } from './agreement.js';
import { receiveBitmap } from './bitmap-exchange.js';
import { ackSeen, dataSeen, isInTurn, remembersLittle, writeTurnedDown } from './concurrent-writes.js';
import { type Connection, NET } from './connection.js';
import { PART_BYTES, partAt, partsOf } from './dialect.js';
import { DIGEST_NONE, digestBytes } from './digests.js';
import { STREAM, type Stream } from './host.js';
import { receiveProtocol, receiveSizes, receiveState, receiveSyncParam, receiveUuids } from './introductions.js';
import { receiveAuthentication, receiveFeatures } from './link.js';
import { beginMirroredWrite, forgetMirroredWrite, mirroredWriteReceived, receiveBarrier } from './mirrored-writes.js';
import { ID_ALL_ONES, sendMetaEmpty } from './packets.js';
import type { PeerDevice } from './peer-device.js';
import { PEER, peerKind } from './peer-requests.js';
import { nextPartBytes, partRead } from './read-path.js';
import { serveRead } from './remote-reads.js';
import { OP } from './requests.js';
import { isSizeUnsettled } from './resize.js';
import type { Resource } from './resource.js';
import {
  finishResync,
  receiveIsInSync,
  receiveResyncReply,
  receiveSyncUuid,
  resyncBlockAcked,
  resyncPayloadReceived,
  resyncRefused,
  serveResyncRead,
} from './resync.js';
import { CONN } from './state-view.js';
import { finishVerify, receiveVerifyReply, receiveVerifyRequest, receiveVerifyResult, verifyRefused } from './verify.js';
import { barrierAcked, partAnswered, unwait, writeAnswered } from './write-path.js';

const header = new PacketHeader();
/** Fixed part of packets whose payload goes into a slot. */
const DATA_FIXED_BYTES = 24;
/** A request for a block; what follows is a digest. */
const BLOCK_REQUEST_BYTES = 24;
/** Room in the meta outbox below which no more work is taken from the peer. */
const META_RESERVE_BYTES = 64 * 1024;
/** Packets about a volume that we do not have which are passed over. */
const IGNORABLE = new Set<number>([COMMAND.P_SYNC_PARAM89, COMMAND.P_SIZES, COMMAND.P_UUIDS, COMMAND.P_STATE]);

/** Outcome of a handler: taken, not now (nothing was consumed), or the text of a protocol error. */
const TAKEN = undefined;
const LATER = 'later';
type Taken = undefined | string;

export function receive(
  res: Resource,
  c: Connection,
  stream: Stream,
  view: DataView,
  bytes: Uint8Array,
  start: number,
  end: number,
): number {
  let at = start;
  while (at < end) {
    if (c.phase === 'none' || c.closing) return end - start;
    if (stream === STREAM.Data && c.wantedSlot >= 0) break;
    // The meta stream may be ahead of the peer's features: what the peer has agreed to shows by its header.
    const isAhead = stream === STREAM.Meta && c.apv === 0;
    if (isAhead && end - at < 4) break;
    const kind = isAhead ? (view.getUint32(at) === MAGIC_80 ? HEADER_KIND.H80 : HEADER_KIND.H100) : c.headerKind;
    const verdict = decodeHeader(view, at, end, kind, header);
    if (verdict === HEADER_NEED_MORE) break;
    if (verdict !== HEADER_OK) {
      res.protocolError(c, headerProblem(view, at, verdict, c.apv));
      return end - start;
    }
    const { command, length, headerBytes, volume } = header;
    const base = at + headerBytes;
    if (c.phase !== 'running') {
      if (stream === STREAM.Meta) {
        // Only a ping left over from before can come here.
        if (base + length > end) break;
        if (command === COMMAND.P_PING) {
          if (c.apv > 0) sendMetaEmpty(res, c, COMMAND.P_PING_ACK);
          else c.pingsOwed++;
        }
        at = base + length;
        continue;
      }
      if (length > 4096) {
        res.protocolError(c, `${packetLogName(command)} of ${length} bytes in the handshake`);
        return end - start;
      }
      if (base + length > end) break;
      if (c.phase === 'features') receiveFeatures(res, c, command, view, base, length);
      else receiveAuthentication(res, c, command, bytes.slice(base, base + length));
      at = base + length;
      continue;
    }
    const isMeta = stream === STREAM.Meta;
    const fits = checkPacket(isMeta, command, length, c.apv, c.features);
    if (fits !== PACKET_OK) {
      res.protocolError(
        c,
        packetProblem(command, length, fits, isMeta),
        isMeta && (fits === PACKET_UNKNOWN || fits === PACKET_WRONG_SOCKET),
      );
      return end - start;
    }
    const carriesPayload = command === COMMAND.P_DATA || command === COMMAND.P_DATA_REPLY || command === COMMAND.P_RS_DATA_REPLY;
    const fixedBytes = carriesPayload ? DATA_FIXED_BYTES + digestBytes(c.receiveDigest) : length;
    if (length < fixedBytes) {
      res.protocolError(c, packetProblem(command, length, PACKET_TOO_SHORT, isMeta));
      return end - start;
    }
    if (base + fixedBytes > end) break;
    let result: Taken;
    if (isMeta) {
      c.lastMetaReceived = res.now;
      result = receiveMeta(res, c, command, volume, view, base, length);
    } else {
      c.lastDataReceived = res.now;
      result = receiveData(res, c, command, volume, view, bytes, base, length);
    }
    if (result === LATER) {
      c.stalled = true;
      break;
    }
    if (result !== TAKEN) {
      res.protocolError(c, result);
      return end - start;
    }
    at = base + fixedBytes;
  }
  return at - start;
}

function headerProblem(view: DataView, at: number, verdict: number, apv: number): string {
  if (verdict === HEADER_BAD_MAGIC)
    return `Wrong magic value 0x${view.getUint32(at).toString(16).padStart(8, '0')} in protocol version ${apv}`;
  return verdict === HEADER_BAD_PAD ? 'Header padding is not zero' : 'packet is too long';
}

function packetProblem(command: number, length: number, fits: number, isMeta: boolean): string {
  const hex = `0x${command.toString(16).padStart(4, '0')}`;
  if (fits === PACKET_UNKNOWN || fits === PACKET_WRONG_SOCKET)
    return `Unexpected ${isMeta ? 'meta' : 'data'} packet ${packetLogName(command)} (${hex})`;
  return `bad length of packet ${packetLogName(command)} (${hex}): ${length}`;
}

const hasRoom = (res: Resource, c: Connection): boolean =>
  c.outboxes[1].freeBytes > META_RESERVE_BYTES && c.outboxes[0].hasBulkRoom(64) && remembersLittle(res, c);

function receiveData(
  res: Resource,
  c: Connection,
  command: number,
  volumeNumber: number,
  view: DataView,
  bytes: Uint8Array,
  base: number,
  length: number,
): Taken {
  // Packets of the connection.
  switch (command) {
    case COMMAND.P_BARRIER:
      receiveBarrier(res, c, pBarrierNumber(view, base));
      return TAKEN;
    case COMMAND.P_UNPLUG_REMOTE:
    case COMMAND.P_DELAY_PROBE:
      return TAKEN;
    case COMMAND.P_PROTOCOL:
    case COMMAND.P_PROTOCOL_UPDATE:
      return receiveProtocol(res, c, view, base, length, command === COMMAND.P_PROTOCOL_UPDATE);
    case COMMAND.P_CONN_ST_CHG_REQ: {
      const decoded = decodeStruct(P_REQ_STATE, view, base, base + length);
      if (decoded.ok) receiveConnectionRequest(res, c, decoded.value.mask, decoded.value.val);
      return TAKEN;
    }
  }
  if (!c.protocolSeen) return `${packetLogName(command)} before ReportProtocol`;
  const pd = res.peerDevice(c, volumeNumber);
  // A stream that has to wait for one volume waits for all.
  for (let i = 0; i < c.peerDevices.length; i++) if (isSizeUnsettled(c.peerDevices[i]!.volume)) return LATER;
  if (pd === undefined) {
    if (!IGNORABLE.has(command)) return `${packetLogName(command)} for volume ${volumeNumber}, which is not configured locally`;
    const text = `${packetLogName(command)} packet received for volume ${volumeNumber}, which is not configured locally`;
    const line = c.unknownVolumes.admit(res.now, text);
    if (line !== undefined) res.logConnection('warning', c, line);
    return TAKEN;
  }
  switch (command) {
    case COMMAND.P_DATA:
      return receiveWrite(res, pd, view, bytes, base, payloadBytes(c, length));
    case COMMAND.P_TRIM:
    case COMMAND.P_ZEROES:
      return receiveTrim(res, pd, command, view, base);
    case COMMAND.P_DATA_REQUEST:
    case COMMAND.P_RS_DATA_REQUEST:
    case COMMAND.P_CSUM_RS_REQUEST:
      return receiveReadRequest(res, pd, command, view, bytes, base, length - BLOCK_REQUEST_BYTES);
    case COMMAND.P_OV_REQUEST:
    case COMMAND.P_OV_REPLY:
      return receiveVerifyPacket(res, pd, command, view, bytes, base, length - BLOCK_REQUEST_BYTES);
    case COMMAND.P_RS_DATA_REPLY: {
      const slot = receiveResyncReply(res, pd, pDataSector(view, base), payloadBytes(c, length));
      if (slot < 0) return `RSDataReply for a block that was not requested`;
      want(res, c, slot, payloadBytes(c, length), bytes, base);
      return TAKEN;
    }
    case COMMAND.P_DATA_REPLY:
      return receiveDataReply(res, pd, view, bytes, base, payloadBytes(c, length));
    case COMMAND.P_OUT_OF_SYNC:
      return receiveOutOfSync(pd, view, base);
    case COMMAND.P_BITMAP:
    case COMMAND.P_COMPRESSED_BITMAP:
      return receiveBitmap(res, pd, command, bytes, base, base + length);
    case COMMAND.P_SYNC_PARAM89:
      return receiveSyncParam(res, pd, view, base, length);
    case COMMAND.P_SIZES:
      return receiveSizes(res, pd, view, base, length);
    case COMMAND.P_UUIDS:
      return receiveUuids(res, pd, view, base, length);
    case COMMAND.P_STATE:
      return receiveState(res, pd, view, base, length);
    case COMMAND.P_SYNC_UUID: {
      // The source has marked everything before we have: it is taken when our bitmap is on disk.
      if (pd.conn === CONN.StartingSyncT || pd.newStorage !== undefined) return LATER;
      const decoded = decodeStruct(P_UUID, view, base, base + length);
      return decoded.ok ? receiveSyncUuid(res, pd, decoded.value.uuid) : 'bad ReportSyncUUID';
    }
    case COMMAND.P_STATE_CHG_REQ: {
      const decoded = decodeStruct(P_REQ_STATE, view, base, base + length);
      if (decoded.ok) receiveRequest(res, pd, decoded.value.mask, decoded.value.val);
      return TAKEN;
    }
    default:
      return `Unexpected data packet ${packetLogName(command)} (0x${command.toString(16).padStart(4, '0')})`;
  }
}

const payloadBytes = (c: Connection, length: number): number => length - DATA_FIXED_BYTES - digestBytes(c.receiveDigest);

/** @param base - of the p_data, behind which stands the digest of what follows */
function want(res: Resource, c: Connection, slot: number, lengthBytes: number, bytes: Uint8Array, base: number, offset = 0): void {
  c.wantedSlot = slot;
  c.wantedBytes = lengthBytes;
  c.wantedOffset = offset;
  if (c.receiveDigest === DIGEST_NONE) return;
  res.requests.digest[slot] = c.receiveDigest;
  res.requests.expect(slot, bytes, base + DATA_FIXED_BYTES, digestBytes(c.receiveDigest));
}

function badRange(pd: PeerDevice, sector: number, lengthBytes: number, most: number): string | undefined {
  if (checkRange(sector, lengthBytes, most, pd.volume.sizeSectors) === RANGE_OK) return undefined;
  return `request from peer beyond end of local disk: capacity: ${pd.volume.sizeSectors}s < sector: ${sector}s + size: ${lengthBytes}`;
}

function receiveWrite(res: Resource, pd: PeerDevice, view: DataView, bytes: Uint8Array, base: number, lengthBytes: number): Taken {
  const sector = pDataSector(view, base);
  const bad = badRange(pd, sector, lengthBytes, REQUEST_BYTES_MAX);
  if (bad !== undefined) return bad;
  const seq = pDataSeqNum(view, base);
  if (!isInTurn(res, pd, seq) || !hasRoom(res, pd.connection)) return LATER;
  const idHigh = pDataBlockIdHigh(view, base);
  const slot = beginMirroredWrite(res, pd, OP.Write, sector, lengthBytes, idHigh, pDataBlockIdLow(view, base), pDataFlags(view, base));
  if (slot < 0) return LATER;
  dataSeen(pd, seq);
  want(res, pd.connection, slot, lengthBytes, bytes, base);
  return TAKEN;
}

function receiveTrim(res: Resource, pd: PeerDevice, command: number, view: DataView, base: number): Taken {
  const sector = pDataSector(view, base);
  const lengthBytes = pTrimSize(view, base);
  const bad = badRange(pd, sector, lengthBytes, discardBytesMax(pd.connection.features));
  if (bad !== undefined) return bad;
  const seq = pDataSeqNum(view, base);
  if (!isInTurn(res, pd, seq) || !hasRoom(res, pd.connection)) return LATER;
  const flags = pDataFlags(view, base);
  // What is trimmed reads as zeroes on both nodes: a discard that might leave old data would let them differ.
  const op = command === COMMAND.P_TRIM ? OP.Discard : OP.WriteZeroes;
  const slot = beginMirroredWrite(
    res,
    pd,
    op,
    sector,
    lengthBytes,
    pDataBlockIdHigh(view, base),
    pDataBlockIdLow(view, base),
    flags | (op === OP.Discard ? DP.DISCARD : 0),
  );
  if (slot < 0) return LATER;
  dataSeen(pd, seq);
  mirroredWriteReceived(res, pd, slot);
  return TAKEN;
}

function receiveReadRequest(
  res: Resource,
  pd: PeerDevice,
  command: number,
  view: DataView,
  bytes: Uint8Array,
  base: number,
  digestLength: number,
): Taken {
  const sector = pBlockReqSector(view, base);
  const lengthBytes = pBlockReqSize(view, base);
  const bad = badRange(pd, sector, lengthBytes, REQUEST_BYTES_MAX);
  if (bad !== undefined) return bad;
  if (!hasRoom(res, pd.connection)) return LATER;
  const served =
    command === COMMAND.P_DATA_REQUEST
      ? serveRead(res, pd, sector, lengthBytes, pBlockReqIdHigh(view, base), pBlockReqIdLow(view, base))
      : serveResyncRead(res, pd, sector, lengthBytes, bytes, base + BLOCK_REQUEST_BYTES, digestLength);
  return served ? TAKEN : LATER;
}

function receiveVerifyPacket(
  res: Resource,
  pd: PeerDevice,
  command: number,
  view: DataView,
  bytes: Uint8Array,
  base: number,
  digestLength: number,
): Taken {
  const sector = pBlockReqSector(view, base);
  const lengthBytes = pBlockReqSize(view, base);
  const bad = badRange(pd, sector, lengthBytes, REQUEST_BYTES_MAX);
  if (bad !== undefined) return bad;
  if (!hasRoom(res, pd.connection)) return LATER;
  if (command === COMMAND.P_OV_REPLY)
    return receiveVerifyReply(res, pd, sector, lengthBytes, bytes, base + BLOCK_REQUEST_BYTES, digestLength);
  const served = receiveVerifyRequest(res, pd, sector, lengthBytes);
  return served === true ? TAKEN : served === false ? LATER : served;
}

/** An application read of ours comes back: its payload goes into the application's own buffer. */
function receiveDataReply(res: Resource, pd: PeerDevice, view: DataView, bytes: Uint8Array, base: number, lengthBytes: number): Taken {
  const c = pd.connection;
  const sector = pDataSector(view, base);
  const slot = ownSlot(res, pd, sector, pDataBlockIdHigh(view, base), pDataBlockIdLow(view, base), NET.Read);
  if (slot < 0 || !isNextPart(res, c, slot, sector) || nextPartBytes(res, c, slot) !== lengthBytes)
    return 'DataReply for a block that was not requested';
  pd.receivedSectors += lengthBytes / 512;
  want(res, c, slot, lengthBytes, bytes, base, c.partsRead[slot]! * PART_BYTES);
  return TAKEN;
}

const isNextPart = (res: Resource, c: Connection, slot: number, sector: number): boolean =>
  partAt(res.requests.sector[slot]!, sector) === c.partsRead[slot];

/** The slot that a handle of ours names, or -1 when it is not in the state that the answer needs, or has no part that begins there. */
function ownSlot(res: Resource, pd: PeerDevice, sector: number, idHigh: number, idLow: number, needs: number): number {
  const { requests } = res;
  if (idLow >= requests.applicationSlots || requests.generation[idLow] !== idHigh) return -1;
  const part = partAt(requests.sector[idLow]!, sector);
  const parts = partsOf(pd.connection.apv, requests, idLow);
  if (part < 0 || part >= parts || requests.volume[idLow] !== pd.volume.number) return -1;
  return (pd.connection.net[idLow]! & needs) !== 0 ? idLow : -1;
}

function receiveOutOfSync(pd: PeerDevice, view: DataView, base: number): Taken {
  const sector = pBlockDescSector(view, base);
  const lengthBytes = pBlockDescSize(view, base);
  const bad = badRange(pd, sector, lengthBytes, 128 << 20);
  if (bad !== undefined) return bad;
  if (pd.volume.disk !== undefined && pd.bitmapSlot >= 0) pd.volume.disk.bitmap.setRange(pd.bitmapSlot, sector, lengthBytes);
  return TAKEN;
}

/** All bytes of the wanted payload are in the slot's buffer. */
export function payloadDone(res: Resource, c: Connection): void {
  const slot = c.wantedSlot;
  c.wantedSlot = -1;
  c.wantedBytes = 0;
  c.lastDataReceived = res.now;
  const pd = res.peerDevice(c, res.requests.volume[slot]!)!;
  if (res.requests.digest[slot] !== DIGEST_NONE) {
    const isGood = res.requests.digestMatches(slot);
    res.requests.digest[slot] = DIGEST_NONE;
    if (!isGood) return payloadDamaged(res, pd, slot);
  }
  if (slot < res.requests.applicationSlots) return partRead(res, pd, slot);
  if (peerKind(res, slot) === PEER.MirroredWrite) mirroredWriteReceived(res, pd, slot);
  else resyncPayloadReceived(res, pd, slot);
}

/**
 * The payload is not what the peer sent: nobody gets it, and the connection begins anew. What was to be written is marked by the
 * peer when it loses us, what was read is read again.
 */
function payloadDamaged(res: Resource, pd: PeerDevice, slot: number): void {
  const c = pd.connection;
  const { requests } = res;
  const length = requests.lengthBytes[slot]!;
  const isRead = slot < requests.applicationSlots;
  const isMirrored = !isRead && peerKind(res, slot) === PEER.MirroredWrite;
  if (isRead) res.log('err', pd.volume, pd, 'Digest integrity check FAILED. Broken NICs?');
  else res.log('err', pd.volume, pd, `Digest integrity check FAILED: ${requests.sector[slot]}s +${length}`);
  const packet = isRead ? 'DataReply' : isMirrored ? 'Data' : 'RSDataReply';
  if (isMirrored) forgetMirroredWrite(res, pd, slot);
  res.protocolError(c, `error receiving ${packet}, e: ${isRead ? -22 : -5} l: ${length + digestBytes(c.receiveDigest)}!`);
}

function receiveMeta(
  res: Resource,
  c: Connection,
  command: number,
  volumeNumber: number,
  view: DataView,
  base: number,
  length: number,
): Taken {
  switch (command) {
    case COMMAND.P_PING:
      sendMetaEmpty(res, c, COMMAND.P_PING_ACK);
      return TAKEN;
    case COMMAND.P_PING_ACK:
      c.pingsAcked++;
      if (c.pingsAcked >= c.pingsSent) c.pingDeadline = Number.POSITIVE_INFINITY;
      for (const pd of c.peerDevices) {
        if (pd.finishPing === 0 || c.pingsAcked < pd.finishPing) continue;
        // The connection may be coming to its end just now.
        if (pd.conn <= CONN.Connected) pd.finishPing = 0;
        else if (pd.verify === undefined) finishResync(res, pd);
        else finishVerify(res, pd, pd.verify);
      }
      return TAKEN;
    case COMMAND.P_BARRIER_ACK:
      return barrierAcked(res, c, pBarrierNumber(view, base), pBarrierAckSetSize(view, base));
    case COMMAND.P_STATE_CHG_REPLY:
    case COMMAND.P_CONN_ST_CHG_REPLY: {
      const decoded = decodeStruct(P_REQ_STATE_REPLY, view, base, base + length);
      if (decoded.ok) receiveReply(res, c, command === COMMAND.P_CONN_ST_CHG_REPLY ? -1 : volumeNumber, decoded.value.retcode);
      return TAKEN;
    }
    case COMMAND.P_DELAY_PROBE:
      return TAKEN;
  }
  const pd = res.peerDevice(c, volumeNumber);
  if (pd === undefined) return `${packetLogName(command)} for volume ${volumeNumber}, which is not configured locally`;
  const sector = pBlockAckSector(view, base);
  const idHigh = pBlockAckIdHigh(view, base);
  const idLow = pBlockAckIdLow(view, base);
  const lengthBytes = pBlockAckSize(view, base);
  const isResync = idHigh === ID_ALL_ONES && idLow === ID_ALL_ONES;
  ackSeen(res, pd, pBlockAckSeqNum(view, base));
  switch (command) {
    case COMMAND.P_RS_WRITE_ACK:
    case COMMAND.P_NEG_ACK:
      if (isResync) {
        const bad = badRange(pd, sector, lengthBytes, REQUEST_BYTES_MAX);
        if (bad !== undefined) return bad;
        resyncBlockAcked(pd, sector, lengthBytes, command === COMMAND.P_RS_WRITE_ACK);
        return TAKEN;
      }
      return answered(res, pd, sector, idHigh, idLow, command === COMMAND.P_RS_WRITE_ACK, command === COMMAND.P_RS_WRITE_ACK);
    case COMMAND.P_WRITE_ACK:
      return answered(res, pd, sector, idHigh, idLow, true, false);
    case COMMAND.P_RECV_ACK:
      return answered(res, pd, sector, idHigh, idLow, true, false);
    case COMMAND.P_SUPERSEDED:
    case COMMAND.P_RETRY_WRITE: {
      const slot = ownSlot(res, pd, sector, idHigh, idLow, NET.InLog);
      // Nobody turns down a part: two Primaries need a version that has none.
      const isWhole = slot >= 0 && res.requests.sector[slot] === sector && partsOf(c.apv, res.requests, slot) === 1;
      if (!isWhole || (c.net[slot]! & NET.Pending) === 0) return unknownRequest(sector, idHigh, idLow);
      writeTurnedDown(res, pd, slot, command === COMMAND.P_RETRY_WRITE);
      return TAKEN;
    }
    case COMMAND.P_NEG_DREPLY: {
      const slot = ownSlot(res, pd, sector, idHigh, idLow, NET.Read);
      if (slot < 0 || !isNextPart(res, c, slot, sector)) return 'NegDReply for a block that was not requested';
      c.net[slot] = 0;
      pd.applicationPending--;
      unwait(res, pd.volume, slot, 1);
      return TAKEN;
    }
    case COMMAND.P_NEG_RS_DREPLY:
    case COMMAND.P_RS_CANCEL:
      if (!verifyRefused(res, pd, sector, lengthBytes)) resyncRefused(res, pd, sector, lengthBytes, command === COMMAND.P_NEG_RS_DREPLY);
      return TAKEN;
    case COMMAND.P_RS_IS_IN_SYNC:
      return receiveIsInSync(res, pd, sector, lengthBytes);
    case COMMAND.P_OV_RESULT:
      return receiveVerifyResult(res, pd, sector, lengthBytes, idHigh !== 0 || idLow !== ID_OUT_OF_SYNC);
    default:
      return `Unexpected meta packet ${packetLogName(command)} (0x${command.toString(16).padStart(4, '0')})`;
  }
}

function answered(res: Resource, pd: PeerDevice, sector: number, idHigh: number, idLow: number, ok: boolean, setInSync: boolean): Taken {
  const slot = ownSlot(res, pd, sector, idHigh, idLow, NET.InLog);
  if (slot < 0) return unknownRequest(sector, idHigh, idLow);
  if (partsOf(pd.connection.apv, res.requests, slot) === 1) writeAnswered(res, pd, slot, ok, setInSync);
  else partAnswered(res, pd, slot, partAt(res.requests.sector[slot]!, sector), ok, setInSync);
  return TAKEN;
}

const unknownRequest = (sector: number, idHigh: number, idLow: number): string =>
  `failed to find request 0x${idHigh.toString(16)}${idLow.toString(16).padStart(8, '0')}, sector ${sector}s`;
