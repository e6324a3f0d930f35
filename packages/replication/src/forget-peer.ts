/** `forget-peer`: nothing in the meta-data tells any more that there was this peer, and its slot of the bitmap is free. */
import type { Refusal } from '@udrbd/control';
import { syncMetaData } from './meta-data-io.js';
import { peerMetaData } from './peer-meta-data.js';
import type { Resource } from './resource.js';

/** Answers when the super blocks of all attached volumes have been written. */
export function forgetPeer(res: Resource, peerNodeId: number, reply: (error?: Refusal) => void): void {
  if (res.connections.some((c) => c?.peerNodeId === peerNodeId)) return reply({ name: 'ERR_NET_CONFIGURED' });
  const attached = [...res.volumes.values()].filter((volume) => volume.disk !== undefined);
  const known = attached.filter((volume) => {
    const md = volume.disk!.metaData;
    // Format v08 does not know node ids: its only entry is that of whatever peer there is.
    return peerMetaData(md, peerNodeId).bitmap_index >= 0 && !(md.format !== 'v09' && res.connections.some((c) => c !== undefined));
  });
  if (peerNodeId === res.nodeId || (attached.length > 0 && known.length === 0)) return reply({ name: 'ERR_INVALID_PEER_NODE_ID' });
  let waiting = known.length;
  if (waiting === 0) return reply();
  let failed = false;
  for (const volume of known) {
    const entry = peerMetaData(volume.disk!.metaData, peerNodeId);
    entry.bitmap_index = -1;
    entry.bitmap_uuid = 0n;
    entry.bitmap_dagtag = 0n;
    entry.flags = 0;
    syncMetaData(res, volume, (errno) => {
      failed ||= errno !== 0;
      waiting -= 1;
      if (waiting === 0) reply(failed ? { name: 'ERR_IO_MD_DISK' } : undefined);
    });
  }
}
