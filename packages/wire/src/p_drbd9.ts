/** Structures that only DRBD 9 peers use. Source: drbd_protocol.h of DRBD 9.3. */
import { layout, type StructOf } from './layout.js';

/** P_RS_DAGTAG_REQ and relatives. */
export const P_RS_REQ = layout('p_rs_req', 32, {
  sector: { type: 'sectors', doc: 'first sector, 512 B units' },
  block_id: { type: 'u64', doc: 'opaque' },
  blksize: { type: 'u32', doc: 'bytes' },
  dagtag_node_id: { type: 'u32', doc: 'node whose writes have to arrive first' },
  dagtag: { type: 'u64', doc: 'position in that node’s stream of writes' },
});
export const P_OV_RESULT_ID = layout('p_ov_result', 32, {
  sector: { type: 'sectors', doc: 'as in the request' },
  block_id: { type: 'u64', doc: 'echo' },
  blksize: { type: 'u32', doc: 'bytes' },
  seq_num: { type: 'u32', doc: 'as in p_block_ack' },
  result: { type: 'u32', doc: '0 skipped, 1 in sync, 2 out of sync' },
  pad: { type: 'u32', doc: 'zero', reserved: true },
});
export const P_CONFIRM_STABLE = layout('p_confirm_stable', 24, {
  oldest_block_id: { type: 'u64', doc: 'echo' },
  youngest_block_id: { type: 'u64', doc: 'echo' },
  set_size: { type: 'u32', doc: 'writes from oldest to youngest' },
  pad: { type: 'u32', doc: 'zero', reserved: true },
});
export const P_DAGTAG = layout('p_dagtag', 8, {
  dagtag: { type: 'u64', doc: 'sectors written before the next write' },
});
export const P_PEER_ACK = layout('p_peer_ack', 16, {
  mask: { type: 'u64', doc: 'nodes that have the writes' },
  dagtag: { type: 'u64', doc: 'up to and including this write' },
});
export const P_PEER_BLOCK_DESC = layout('p_peer_block_desc', 24, {
  sector: { type: 'sectors', doc: 'first sector, 512 B units' },
  mask: { type: 'u64', doc: 'nodes that are in sync with each other' },
  size: { type: 'u32', doc: 'bytes' },
  pad: { type: 'u32', doc: 'zero', reserved: true },
});
export const P_PEER_DAGTAG = layout('p_peer_dagtag', 12, {
  dagtag: { type: 'u64', doc: 'last position seen' },
  node_id: { type: 'u32', doc: 'of this node’s stream' },
});
export const P_CURRENT_UUID = layout('p_current_uuid', 16, {
  uuid: { type: 'u64', doc: 'current UUID' },
  weak_nodes: { type: 'u64', doc: 'mask of node ids' },
});
/** `node_mask` and the UUIDs that follow are explained by `uuid_flags`. */
export const P_UUIDS110 = layout('p_uuids110', 40, {
  current_uuid: { type: 'u64', doc: 'current UUID' },
  dirty_bits: { type: 'u64', doc: 'set bits towards the receiver' },
  uuid_flags: { type: 'u64', doc: 'UUID_FLAG bits' },
  node_mask: { type: 'u64', doc: 'weak nodes when STABLE is set, else authoritative nodes' },
  bitmap_uuids_mask: { type: 'u64', doc: 'bit i: a bitmap UUID for node i follows; then history UUIDs, youngest first' },
});
/** The words at 4 and 8 hold node ids, or flags and two bytes of node ids with FF_TWOPC_V2; 20 and 28 depend on the packet. */
export const P_TWOPC_REQUEST = layout('p_twopc_request', 36, {
  tid: { type: 'u32', doc: 'transaction, not zero' },
  initiator_or_flags: { type: 'u32', doc: 'V1: initiator node id; V2: flags' },
  target_or_ids: { type: 'u32', doc: 'V1: target node id; V2: pad, initiator, target' },
  nodes_to_reach: { type: 'u64', doc: 'nodes that the receiver shall forward to' },
  word20: { type: 'u64', doc: 'primary_nodes, user_size or diskful_primary_nodes' },
  word28: { type: 'u64', doc: 'mask and val, reachable_nodes, dds_flags or exposed_size' },
});
export const P_TWOPC_REPLY = layout('p_twopc_reply', 32, {
  tid: { type: 'u32', doc: 'transaction' },
  initiator_node_id: { type: 'u32', doc: 'node id' },
  reachable_nodes: { type: 'u64', doc: 'mask of node ids' },
  primary_nodes: { type: 'u64', doc: 'or diskful_primary_nodes' },
  weak_nodes: { type: 'u64', doc: 'or max_possible_size' },
});
export const P_FLUSH_REQUESTS = layout('p_flush_requests', 8, {
  flush_requests_seq: { type: 'u64', doc: 'sequence' },
});
export const P_FLUSH_FORWARD = layout('p_flush_forward', 12, {
  flush_requests_seq: { type: 'u64', doc: 'sequence' },
  initiator_node_id: { type: 'u32', doc: 'node id' },
});
export const P_FLUSH_ACK = layout('p_flush_ack', 12, {
  flush_requests_seq: { type: 'u64', doc: 'sequence' },
  primary_node_id: { type: 'u32', doc: 'node id' },
});
export const P_ENABLE_REPLICATION = layout('p_enable_replication', 4, {
  enable: { type: 'u8', doc: '0 or 1' },
  pad8: { type: 'u8', doc: 'zero', reserved: true },
  pad16: { type: 'u16', doc: 'zero', reserved: true },
});
export type PUuids110 = StructOf<typeof P_UUIDS110>;
export type PTwopcRequest = StructOf<typeof P_TWOPC_REQUEST>;
export type PTwopcReply = StructOf<typeof P_TWOPC_REPLY>;
