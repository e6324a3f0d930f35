/** The packet catalogue: numbers, names, sockets, versions and lengths. Source: drbd_protocol.h, enum drbd_packet; DRBD 8.4 and 9. */

/** Which of the two TCP streams of a connection carries a packet: bulk data, or acks and pings. */
export type SocketKind = 'data' | 'meta' | 'both' | 'none';

/** What follows the fixed structure. */
export type Tail =
  | 'none'
  /** Digest of the negotiated integrity algorithm, then sectors. */
  | 'data'
  /** A digest only. */
  | 'digest'
  /** A string that ends with NUL, at most 64 bytes with it. */
  | 'text'
  /** Bytes whose number only the packet's own rules bound. */
  | 'bytes'
  /** `o_qlim` when FF_WSAME is agreed. */
  | 'qlim'
  /** The four values of the resync controller from 95 on. */
  | 'controller'
  /** UUIDs, as many as the structure says. */
  | 'uuids';

export interface PacketRow {
  readonly command: number;
  readonly socket: SocketKind;
  /** Bytes of the fixed part of the payload. */
  readonly size: number;
  readonly tail: Tail;
  /** First and last protocol version that may carry it. */
  readonly since: number;
  readonly until: number;
  /** The name that DRBD 8.4 prints in its messages; DRBD 9 prints the identifier. */
  readonly logName: string;
}

const LAST = 0xffff;
const row = (command: number, socket: SocketKind, size: number, tail: Tail, since: number, until: number, logName: string): PacketRow => ({
  command,
  socket,
  size,
  tail,
  since,
  until,
  logName,
});

export const PACKETS = {
  P_DATA: row(0x00, 'data', 24, 'data', 86, LAST, 'Data'),
  P_DATA_REPLY: row(0x01, 'data', 24, 'data', 86, LAST, 'DataReply'),
  P_RS_DATA_REPLY: row(0x02, 'data', 24, 'data', 86, LAST, 'RSDataReply'),
  P_BARRIER: row(0x03, 'data', 8, 'none', 86, LAST, 'Barrier'),
  P_BITMAP: row(0x04, 'data', 0, 'bytes', 86, LAST, 'ReportBitMap'),
  P_BECOME_SYNC_TARGET: row(0x05, 'none', 0, 'none', 86, LAST, 'BecomeSyncTarget'),
  P_BECOME_SYNC_SOURCE: row(0x06, 'none', 0, 'none', 86, LAST, 'BecomeSyncSource'),
  P_UNPLUG_REMOTE: row(0x07, 'data', 0, 'none', 86, LAST, 'UnplugRemote'),
  P_DATA_REQUEST: row(0x08, 'data', 24, 'none', 86, LAST, 'DataRequest'),
  P_RS_DATA_REQUEST: row(0x09, 'data', 24, 'none', 86, LAST, 'RSDataRequest'),
  P_SYNC_PARAM: row(0x0a, 'data', 4, 'text', 86, 88, 'SyncParam'),
  P_PROTOCOL: row(0x0b, 'data', 24, 'text', 86, LAST, 'ReportProtocol'),
  P_UUIDS: row(0x0c, 'data', 48, 'none', 86, 109, 'ReportUUIDs'),
  P_SIZES: row(0x0d, 'data', 32, 'qlim', 86, LAST, 'ReportSizes'),
  P_STATE: row(0x0e, 'data', 4, 'none', 86, LAST, 'ReportState'),
  P_SYNC_UUID: row(0x0f, 'data', 8, 'none', 86, 109, 'ReportSyncUUID'),
  P_AUTH_CHALLENGE: row(0x10, 'data', 0, 'bytes', 86, LAST, 'AuthChallenge'),
  P_AUTH_RESPONSE: row(0x11, 'data', 0, 'bytes', 86, LAST, 'AuthResponse'),
  P_STATE_CHG_REQ: row(0x12, 'data', 8, 'none', 86, 109, 'StateChgRequest'),
  P_PING: row(0x13, 'meta', 0, 'none', 86, LAST, 'Ping'),
  P_PING_ACK: row(0x14, 'meta', 0, 'none', 86, LAST, 'PingAck'),
  P_RECV_ACK: row(0x15, 'meta', 24, 'none', 86, LAST, 'RecvAck'),
  P_WRITE_ACK: row(0x16, 'meta', 24, 'none', 86, LAST, 'WriteAck'),
  P_RS_WRITE_ACK: row(0x17, 'meta', 24, 'none', 86, LAST, 'RSWriteAck'),
  P_SUPERSEDED: row(0x18, 'meta', 24, 'none', 86, LAST, 'Superseded'),
  P_NEG_ACK: row(0x19, 'meta', 24, 'none', 86, LAST, 'NegAck'),
  P_NEG_DREPLY: row(0x1a, 'meta', 24, 'none', 86, LAST, 'NegDReply'),
  P_NEG_RS_DREPLY: row(0x1b, 'meta', 24, 'none', 86, LAST, 'NegRSDReply'),
  P_BARRIER_ACK: row(0x1c, 'meta', 8, 'none', 86, LAST, 'BarrierAck'),
  P_STATE_CHG_REPLY: row(0x1d, 'meta', 4, 'none', 86, 109, 'StateChgReply'),
  P_OV_REQUEST: row(0x1e, 'data', 24, 'none', 86, LAST, 'OVRequest'),
  P_OV_REPLY: row(0x1f, 'data', 24, 'digest', 86, LAST, 'OVReply'),
  P_OV_RESULT: row(0x20, 'meta', 24, 'none', 86, 121, 'OVResult'),
  P_CSUM_RS_REQUEST: row(0x21, 'data', 24, 'digest', 89, LAST, 'CsumRSRequest'),
  P_RS_IS_IN_SYNC: row(0x22, 'meta', 24, 'none', 89, LAST, 'CsumRSIsInSync'),
  P_SYNC_PARAM89: row(0x23, 'data', 132, 'controller', 89, LAST, 'SyncParam89'),
  P_COMPRESSED_BITMAP: row(0x24, 'data', 1, 'bytes', 90, LAST, 'CBitmap'),
  P_DELAY_PROBE: row(0x27, 'both', 8, 'none', 86, LAST, 'DelayProbe'),
  P_OUT_OF_SYNC: row(0x28, 'data', 16, 'none', 96, LAST, 'OutOfSync'),
  P_RS_CANCEL: row(0x29, 'meta', 24, 'none', 96, LAST, 'RSCancel'),
  P_CONN_ST_CHG_REQ: row(0x2a, 'data', 8, 'none', 100, 109, 'conn_st_chg_req'),
  P_CONN_ST_CHG_REPLY: row(0x2b, 'meta', 4, 'none', 100, 109, 'conn_st_chg_reply'),
  P_RETRY_WRITE: row(0x2c, 'meta', 24, 'none', 100, LAST, 'P_RETRY_WRITE'),
  P_PROTOCOL_UPDATE: row(0x2d, 'data', 24, 'text', 100, LAST, 'protocol_update'),
  P_TWOPC_PREPARE: row(0x2e, 'data', 36, 'none', 110, LAST, 'P_TWOPC_PREPARE'),
  P_TWOPC_ABORT: row(0x2f, 'data', 36, 'none', 110, LAST, 'P_TWOPC_ABORT'),
  P_DAGTAG: row(0x30, 'data', 8, 'none', 110, LAST, 'P_DAGTAG'),
  P_TRIM: row(0x31, 'data', 28, 'none', 86, LAST, 'Trim'),
  P_RS_THIN_REQ: row(0x32, 'data', 24, 'none', 86, LAST, 'rs_thin_req'),
  P_RS_DEALLOCATED: row(0x33, 'data', 16, 'none', 86, 121, 'rs_deallocated'),
  P_WSAME: row(0x34, 'none', 28, 'bytes', 86, LAST, 'WriteSame'),
  P_TWOPC_PREP_RSZ: row(0x35, 'data', 36, 'none', 112, LAST, 'P_TWOPC_PREP_RSZ'),
  P_ZEROES: row(0x36, 'data', 28, 'none', 86, LAST, 'Zeroes'),
  P_PEER_ACK: row(0x40, 'meta', 16, 'none', 110, LAST, 'P_PEER_ACK'),
  P_PEERS_IN_SYNC: row(0x41, 'meta', 24, 'none', 110, LAST, 'P_PEERS_IN_SYNC'),
  P_UUIDS110: row(0x42, 'data', 40, 'uuids', 110, LAST, 'P_UUIDS110'),
  P_PEER_DAGTAG: row(0x43, 'data', 12, 'none', 110, LAST, 'P_PEER_DAGTAG'),
  P_CURRENT_UUID: row(0x44, 'data', 16, 'none', 110, LAST, 'P_CURRENT_UUID'),
  P_TWOPC_YES: row(0x45, 'meta', 32, 'none', 110, LAST, 'P_TWOPC_YES'),
  P_TWOPC_NO: row(0x46, 'meta', 32, 'none', 110, LAST, 'P_TWOPC_NO'),
  P_TWOPC_COMMIT: row(0x47, 'data', 36, 'none', 110, LAST, 'P_TWOPC_COMMIT'),
  P_TWOPC_RETRY: row(0x48, 'meta', 32, 'none', 110, LAST, 'P_TWOPC_RETRY'),
  P_CONFIRM_STABLE: row(0x49, 'meta', 24, 'none', 114, LAST, 'P_CONFIRM_STABLE'),
  P_RS_CANCEL_AHEAD: row(0x4a, 'meta', 24, 'none', 115, LAST, 'P_RS_CANCEL_AHEAD'),
  P_DISCONNECT: row(0x4b, 'data', 0, 'none', 118, LAST, 'P_DISCONNECT'),
  P_RS_DAGTAG_REQ: row(0x4c, 'data', 32, 'none', 110, LAST, 'P_RS_DAGTAG_REQ'),
  P_RS_CSUM_DAGTAG_REQ: row(0x4d, 'data', 32, 'digest', 110, LAST, 'P_RS_CSUM_DAGTAG_REQ'),
  P_RS_THIN_DAGTAG_REQ: row(0x4e, 'data', 32, 'none', 110, LAST, 'P_RS_THIN_DAGTAG_REQ'),
  P_OV_DAGTAG_REQ: row(0x4f, 'data', 32, 'none', 110, LAST, 'P_OV_DAGTAG_REQ'),
  P_OV_DAGTAG_REPLY: row(0x50, 'data', 32, 'digest', 110, LAST, 'P_OV_DAGTAG_REPLY'),
  P_WRITE_ACK_IN_SYNC: row(0x51, 'meta', 24, 'none', 122, LAST, 'P_WRITE_ACK_IN_SYNC'),
  P_RS_NEG_ACK: row(0x52, 'meta', 24, 'none', 122, LAST, 'P_RS_NEG_ACK'),
  P_OV_RESULT_ID: row(0x53, 'meta', 32, 'none', 122, LAST, 'P_OV_RESULT_ID'),
  P_RS_DEALLOCATED_ID: row(0x54, 'data', 24, 'none', 122, LAST, 'P_RS_DEALLOCATED_ID'),
  P_FLUSH_REQUESTS: row(0x55, 'data', 8, 'none', 123, LAST, 'P_FLUSH_REQUESTS'),
  P_FLUSH_FORWARD: row(0x56, 'meta', 12, 'none', 123, LAST, 'P_FLUSH_FORWARD'),
  P_FLUSH_REQUESTS_ACK: row(0x57, 'data', 12, 'none', 123, LAST, 'P_FLUSH_REQUESTS_ACK'),
  P_ENABLE_REPLICATION_NEXT: row(0x58, 'data', 4, 'none', 110, LAST, 'P_ENABLE_REPLICATION_NEXT'),
  P_ENABLE_REPLICATION: row(0x59, 'data', 4, 'none', 110, LAST, 'P_ENABLE_REPLICATION'),
  P_INITIAL_META: row(0xfff1, 'meta', 0, 'none', 0, LAST, 'InitialMeta'),
  P_INITIAL_DATA: row(0xfff2, 'data', 0, 'none', 0, LAST, 'InitialData'),
  P_CONNECTION_FEATURES: row(0xfffe, 'data', 72, 'none', 0, LAST, 'ConnectionFeatures'),
} as const satisfies Record<string, PacketRow>;

export type PacketName = keyof typeof PACKETS;

/** Packet numbers by name: `COMMAND.P_DATA` is 0. */
export const COMMAND = Object.fromEntries(Object.entries(PACKETS).map(([name, { command }]) => [name, command])) as {
  readonly [N in PacketName]: (typeof PACKETS)[N]['command'];
};

const nameByCommand = new Map<number, PacketName>(Object.entries(PACKETS).map(([name, { command }]) => [command, name as PacketName]));

/** The name of a packet number, or undefined for a number that no version defines. */
export const packetNameOf = (command: number): PacketName | undefined => nameByCommand.get(command);

/** The name 8.4 prints for a packet number; unknown numbers print as UNKNOWN. */
export const packetLogName = (command: number): string => {
  const name = nameByCommand.get(command);
  return name === undefined ? 'UNKNOWN' : PACKETS[name].logName;
};
