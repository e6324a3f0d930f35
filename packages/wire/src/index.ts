/** DRBD's network protocol as pure functions over bytes. */

export * from './bitmap-transfer.js';
export * from './byte-bitmap.js';
export * from './features.js';
export * from './header.js';
export * from './layout.js';
export * from './outcome.js';
export * from './p_auth.js';
export * from './p_barrier.js';
export * from './p_block_ack.js';
export * from './p_block_desc.js';
export * from './p_block_req.js';
export * from './p_compressed_bm.js';
export * from './p_data.js';
export * from './p_delay_probe.js';
export * from './p_drbd9.js';
export * from './p_protocol.js';
export * from './p_rs_param.js';
export * from './p_sizes.js';
export * from './p_state.js';
export * from './p_uuids.js';
export * from './packet.js';
export * from './packet-body.js';
export * from './packet-length.js';
export * from './packet-rules.js';
export * from './state-word.js';
export * from './vli.js';
