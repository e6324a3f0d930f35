// One format's super block turned into another's. Activity log and bitmap stay as they are.

import { checkSuperblock, cloneMetaData, createMetaData, emptyPeer, MAGIC, MDF, MDF_PEER, type MetaData, place } from '@udrbd/metadata';
import { Exit } from './exit.js';
import type { Existing } from './flavours.js';
import type { Volume } from './volume.js';

/** Knowledge about the one peer: device flags of v08, peer flags of v09. */
const PEER_KNOWLEDGE = [
  [MDF.CONNECTED_IND, MDF_PEER.CONNECTED],
  [MDF.FULL_SYNC, MDF_PEER.FULL_SYNC],
  [MDF.PEER_OUT_DATED, MDF_PEER.OUTDATED],
] as const;

/** The existing meta-data in the format of the command line, with its offsets computed anew. */
export function convert(volume: Volume, existing: Existing): MetaData {
  let md = existing.md;
  const target = volume.format;
  if (md.format === 'v09') md = relocate(volume, toV08from09(md));
  if (md.format === 'v07' && target !== 'v07') {
    md = relocate(volume, toV08from07(md));
    volume.io.stdout('Converting meta data...\n');
  }
  if (target === 'v09') return relocate(volume, toV09from08(md));
  if (target === 'v07') {
    volume.io.stdout('Converting meta data...\nConversion v08 -> v07 is BROKEN!\nBe prepared to manually intervene!\n');
    md = relocate(volume, toV07from08(md));
  }
  return md;
}

function relocate(volume: Volume, md: MetaData): MetaData {
  const p = volume.placementFor(md);
  place(md, p);
  volume.sayOffsets(p);
  const { isValid, messages } = checkSuperblock(md, volume.kind, volume.device.sizeBytes);
  for (const message of messages) volume.io.stderr(`${message}\n`);
  if (!isValid) {
    volume.io.stderr('Conversion failed.\nThis is a bug :(\n');
    throw new Exit(111);
  }
  return md;
}

function toV08from07(old: MetaData): MetaData {
  const md = createMetaData('v08');
  const [flags, human, timeout, connected, arbitrary] = old.gc;
  const part = (value: number, shift: bigint): bigint => BigInt((value & 0xffff) >>> 0) << shift;
  const current = part(human, 48n) | part(timeout, 32n) | part(connected + arbitrary, 16n) | 0xbaben;
  md.effective_size = old.effective_size;
  md.al_nr_extents = old.al_nr_extents;
  md.flags = flags;
  md.current_uuid = current;
  md.history_uuids[0] = BigInt.asUintN(64, current - 0x1_0000n);
  md.history_uuids[1] = BigInt.asUintN(64, current - 0x2_0000n);
  return md;
}

function toV07from08(old: MetaData): MetaData {
  return { ...cloneMetaData(old), format: 'v07', magic: MAGIC.v07, gc: [0, 0, 0, 0, 0] };
}

function toV09from08(old: MetaData): MetaData {
  const md = cloneMetaData(old);
  md.format = 'v09';
  md.magic = MAGIC.v09;
  md.node_id = -1;
  md.bm_max_peers = 1;
  md.members = 0n;
  md.peers = md.peers.map(emptyPeer);
  for (const [deviceFlag, peerFlag] of PEER_KNOWLEDGE) {
    if ((md.flags & deviceFlag) === 0) continue;
    md.peers[0]!.flags |= peerFlag;
    md.flags &= ~deviceFlag;
  }
  return md;
}

function toV08from09(old: MetaData): MetaData {
  const md = cloneMetaData(old);
  md.format = 'v08';
  md.magic = MAGIC.v08;
  md.bm_max_peers = 1;
  md.bm_bytes_per_bit = 4096;
  for (const [deviceFlag, peerFlag] of PEER_KNOWLEDGE) if ((md.peers[0]!.flags & peerFlag) !== 0) md.flags |= deviceFlag;
  return md;
}
