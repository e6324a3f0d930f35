/** Write epochs: P_BARRIER closes one, P_BARRIER_ACK says that it is on stable storage. */
import { layout, type StructOf } from './layout.js';

export const P_BARRIER = layout('p_barrier', 8, {
  barrier: { type: 'u32', doc: 'opaque: the bytes are returned in the ack' },
  pad: { type: 'u32', doc: 'zero', reserved: true },
});
export const P_BARRIER_ACK = layout('p_barrier_ack', 8, {
  barrier: { type: 'u32', doc: 'echo of P_BARRIER' },
  set_size: { type: 'u32', doc: 'number of writes in the epoch' },
});
export type PBarrier = StructOf<typeof P_BARRIER>;
export type PBarrierAck = StructOf<typeof P_BARRIER_ACK>;

/** The barrier as the big endian number its bytes spell; holds for P_BARRIER and P_BARRIER_ACK. */
export const pBarrierNumber = (view: DataView, base: number): number => view.getUint32(base + P_BARRIER.at.barrier.offset);
export const pBarrierAckSetSize = (view: DataView, base: number): number => view.getUint32(base + P_BARRIER_ACK.at.set_size.offset);

export function putPBarrier(view: DataView, base: number, barrier: number): void {
  view.setUint32(base + P_BARRIER.at.barrier.offset, barrier);
  view.setUint32(base + P_BARRIER.at.pad.offset, 0);
}

export function putPBarrierAck(view: DataView, base: number, barrier: number, setSize: number): void {
  view.setUint32(base + P_BARRIER_ACK.at.barrier.offset, barrier);
  view.setUint32(base + P_BARRIER_ACK.at.set_size.offset, setSize);
}
