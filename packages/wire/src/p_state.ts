/** State packets: P_STATE, P_STATE_CHG_REQ, P_CONN_ST_CHG_REQ and their replies. The word itself is in state-word.ts. */
import { layout, type StructOf } from './layout.js';

export const P_STATE = layout('p_state', 4, {
  state: { type: 'u32', doc: 'state word of the sender' },
});
export const P_REQ_STATE = layout('p_req_state', 8, {
  mask: { type: 'u32', doc: 'state word: bits that shall change' },
  val: { type: 'u32', doc: 'state word: their new values' },
});
export const P_REQ_STATE_REPLY = layout('p_req_state_reply', 4, {
  retcode: { type: 's32', doc: '1 or more: agreed; 0 and below: why not' },
});
export type PState = StructOf<typeof P_STATE>;
export type PReqState = StructOf<typeof P_REQ_STATE>;
export type PReqStateReply = StructOf<typeof P_REQ_STATE_REPLY>;
