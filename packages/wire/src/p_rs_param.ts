/** Resync settings: P_SYNC_PARAM (to 88), P_SYNC_PARAM89. Source: drbd_protocol.h, struct p_rs_param, p_rs_param_89, p_rs_param_95. */
import { layout, type StructOf } from './layout.js';

/** In 88 the verify algorithm follows as a string with its NUL. */
export const P_RS_PARAM = layout('p_rs_param', 4, {
  resync_rate: { type: 'u32', doc: 'KiB/s' },
});
export const P_RS_PARAM_89 = layout('p_rs_param_89', 132, {
  resync_rate: { type: 'u32', doc: 'KiB/s' },
  verify_alg: { type: 'name64', doc: 'kernel hash name, empty: none' },
  csums_alg: { type: 'name64', doc: 'kernel hash name, empty: none' },
});
/** What 95 and later append to p_rs_param_89. */
export const RS_CONTROLLER = layout('p_rs_param_95', 16, {
  c_plan_ahead: { type: 'u32', doc: '0.1 s' },
  c_delay_target: { type: 'u32', doc: '0.1 s' },
  c_fill_target: { type: 'u32', doc: 'sectors' },
  c_max_rate: { type: 'u32', doc: 'KiB/s' },
});
export type PRsParam89 = StructOf<typeof P_RS_PARAM_89>;
export type RsController = StructOf<typeof RS_CONTROLLER>;

/** What a node without a disk sends. */
export const RS_PARAM_DEFAULT = { resync_rate: 250, verify_alg: '', csums_alg: '' } as const satisfies PRsParam89;
export const RS_CONTROLLER_DEFAULT = {
  c_plan_ahead: 20,
  c_delay_target: 10,
  c_fill_target: 100,
  c_max_rate: 102400,
} as const satisfies RsController;
