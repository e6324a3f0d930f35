// forget-peer and repair-md: entries of nodes that are not peers carry the "day 0" generation, from which a new peer can start.

import type { PeerMetaData } from '@udrbd/metadata';
import { hex16 } from '../numbers.js';
import { Volume } from '../volume.js';
import { type Command, ignoreSurplus } from './command.js';

export const forgetPeer: Command = {
  name: 'forget-peer',
  modifies: true,
  wantsNodeId: true,
  async run(context) {
    const volume = await Volume.open(context);
    if (volume.found !== 'found') return volume.fail();
    const { md, io, dialect } = volume;
    const nodeId = volume.options.nodeId ?? 0;
    const peer = md.peers[nodeId]!;
    // Older formats have one slot that is always in use, and nowhere to keep a day-0 generation.
    const isOld = md.format !== 'v09';
    const oldIndex = isOld ? 0 : peer.bitmap_index;
    peer.bitmap_index = -1;
    peer.flags = 0;
    const isDay0 = (candidate: PeerMetaData, id: number): boolean =>
      !isOld && id !== nodeId && id !== md.node_id && candidate.bitmap_index === -1 && (!dialect.findsDay0FromTop || candidate.flags === 0);
    const day0 = dialect.findsDay0FromTop ? md.peers.filter(isDay0).at(-1) : md.peers.find(isDay0);
    peer.bitmap_uuid = day0?.bitmap_uuid ?? 0n;
    peer.bitmap_dagtag = day0?.bitmap_dagtag ?? 0n;
    io.stderr(
      day0 ? `Copying bitmap slot -1 to ${oldIndex} not implemented.\n` : `Setting all bits in slot ${oldIndex} not implemented.\n`,
    );
    io.stderr('Do it with dump-md, edit, restore-md\n');
    return volume.writeSuperblock() ? 0 : volume.fail('update failed');
  },
};

export const repairMd: Command = {
  name: 'repair-md',
  since934: true,
  modifies: true,
  wantsNodeId: false,
  async run(context) {
    ignoreSurplus(context);
    const volume = await Volume.open(context);
    if (volume.found !== 'found') return volume.fail('No valid meta data found');
    const { md, io, options } = volume;
    const isUnused = (peer: PeerMetaData, id: number): boolean => id !== md.node_id && peer.bitmap_index === -1 && peer.flags === 0;
    const day0 = md.peers.filter(isUnused).at(-1)?.bitmap_uuid;
    if (day0 === undefined) return 0;
    let findings = 0;
    for (const [id, peer] of md.peers.entries()) {
      if (!isUnused(peer, id) || peer.bitmap_uuid === day0) continue;
      io.stderr(`Peer slot ${id} has "day0" UUID 0x${hex16(peer.bitmap_uuid)}, expected 0x${hex16(day0)}\n`);
      peer.bitmap_uuid = day0;
      findings++;
    }
    if (findings === 0) return 0;
    if (options.dryRun) return volume.fail();
    io.stderr('Repairing metadata\n');
    return volume.writeSuperblock() ? 0 : volume.fail('update failed');
  },
};
