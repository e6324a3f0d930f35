/** P_DELAY_PROBE: sent by some early releases on both sockets; received and ignored. */
import { layout, type StructOf } from './layout.js';

export const P_DELAY_PROBE = layout('p_delay_probe', 8, {
  seq_num: { type: 'u32', doc: 'sequence number that matches the two probes' },
  offset: { type: 'u32', doc: 'µs the probe was sent after the reference time' },
});
export type PDelayProbe = StructOf<typeof P_DELAY_PROBE>;
