/** The first packet on a TCP stream: it says which of the two streams of a connection this one is. Source: drbd_protocol.h, drbd_receiver.c. */
import { STREAM, type Stream } from '@udrbd/replication';
import { HEADER_KIND, MAGIC_80, P_HEADER_80, PACKETS, putHeader } from '@udrbd/wire';

export const INITIAL_PACKET_BYTES = P_HEADER_80.size;

export function putInitialPacket(view: DataView, offset: number, stream: Stream): void {
  putHeader(view, offset, HEADER_KIND.H80, 0, (stream === STREAM.Data ? PACKETS.P_INITIAL_DATA : PACKETS.P_INITIAL_META).command, 0);
}

/** @returns the stream, or -1 for anything that is no initial packet */
export function initialPacketStream(view: DataView, offset: number): Stream | -1 {
  if (view.getUint32(offset) !== MAGIC_80 || view.getUint16(offset + 6) !== 0) return -1;
  const command = view.getUint16(offset + 4);
  if (command === PACKETS.P_INITIAL_DATA.command) return STREAM.Data;
  return command === PACKETS.P_INITIAL_META.command ? STREAM.Meta : -1;
}
