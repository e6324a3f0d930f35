/**
 * What the meta-data know of one peer. Format v09 has an entry per node id; v08 knows one peer and keeps its flags among the
 * device's.
 */
import { encodeSuperblock, MAGIC, MDF, MDF_PEER, type MetaData, type PeerMetaData } from '@udrbd/metadata';

export const peerMetaData = (md: MetaData, peerNodeId: number): PeerMetaData => md.peers[md.format === 'v09' ? peerNodeId : 0]!;

const V08_FLAGS = [
  [MDF.CONNECTED_IND, MDF_PEER.CONNECTED],
  [MDF.PEER_OUT_DATED, MDF_PEER.OUTDATED],
  [MDF.FULL_SYNC, MDF_PEER.FULL_SYNC],
] as const;

/** Takes the peer's flags of a v08 super block out of the device's. */
export function adoptV08Flags(md: MetaData): void {
  if (md.format === 'v09') return;
  const peer = md.peers[0]!;
  peer.bitmap_index = 0;
  for (const [device, flag] of V08_FLAGS) {
    if ((md.flags & device) !== 0) peer.flags |= flag;
    md.flags &= ~device;
  }
}

/** The super block of a disk that is in service: never clean, whatever happens. */
export function encodeInService(md: MetaData): Uint8Array {
  md.flags &= ~MDF.AL_CLEAN;
  if (md.format === 'v09') return encodeSuperblock(md);
  let { flags } = md;
  for (const [device, flag] of V08_FLAGS) if ((md.peers[0]!.flags & flag) !== 0) flags |= device;
  return encodeSuperblock({ ...md, flags, magic: MAGIC.v08Unclean84 });
}
