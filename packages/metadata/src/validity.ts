// Is a decoded superblock believable? Two judges: the command drbdmeta (then meta-data counts as found) and the engine
// at attach (then the device may be used). Source: drbdmeta and DRBD 9 drbd_nl.c, drbd_main.c; docs/on-disk-format.md.

import {
  BITMAP_SLOTS_MAX,
  BM_BYTES_PER_BIT_DEFAULT,
  BM_BYTES_PER_BIT_MAX,
  INDEXED_AREA_BYTES,
  PEERS_MAX,
  SECTOR_BYTES,
  SUPERBLOCK_BYTES,
} from './constants.js';
import { isClean, type MetaData } from './meta-data.js';
import { accept, damaged, type Outcome } from './outcome.js';
import { bitmapBytes, type MetaDataKind, placement } from './placement.js';

const SUPERBLOCK_SECTORS = SUPERBLOCK_BYTES / SECTOR_BYTES;

export interface Validity {
  readonly isValid: boolean;
  /** Lines the tool prints, also where they are not fatal. */
  readonly messages: readonly string[];
}

/**
 * The checks of drbdmeta, in its order; the first failing one decides. The magic was checked by the decoder.
 * @param deviceBytes - size of the device that holds the meta-data
 */
export function checkSuperblock(md: MetaData, kind: MetaDataKind, deviceBytes: number): Validity {
  const { format } = md;
  const no = (message: string): Validity => ({ isValid: false, messages: [message] });
  if (format === 'v09') {
    if (md.bm_max_peers < 1 || md.bm_max_peers > BITMAP_SLOTS_MAX) return no(`v09 max-peers value ${md.bm_max_peers} out of bounds`);
    if (md.node_id < -1 || md.node_id >= PEERS_MAX) return no(`v09 device node-id value ${md.node_id} out of bounds`);
    for (let n = 0; n < md.bm_max_peers; n++) {
      const index = md.peers[n].bitmap_index;
      if (index < -1 || index >= PEERS_MAX) return no(`v09 peer device ${n} node-id value ${index} out of bounds`);
    }
  }
  const alSectors = Math.imul(Math.imul(md.al_stripes, md.al_stripe_size_4k), 8);
  if (kind !== 'internal') {
    if (md.al_offset !== SUPERBLOCK_SECTORS) {
      return no(`${format} Magic number (al_offset) not found\n\texpected: ${SUPERBLOCK_SECTORS}, found ${md.al_offset}`);
    }
    const expected = (SUPERBLOCK_SECTORS + alSectors) | 0;
    if (md.bm_offset !== expected) return no(`${format} bm_offset: expected ${expected}, found ${md.bm_offset}`);
    return isBlockSize(md) ? { isValid: true, messages: [] } : no(blockSizeMessage(md));
  }
  if (md.al_offset !== (-alSectors | 0)) return no(`${format} al_offset: expected ${-alSectors | 0}, found ${md.al_offset}`);
  const isPowerOfTwo = md.bm_bytes_per_bit >= SECTOR_BYTES && (md.bm_bytes_per_bit & (md.bm_bytes_per_bit - 1)) === 0;
  if (!isPowerOfTwo) return no(blockSizeMessage(md));
  const bmSectors = bitmapBytes(Math.floor(deviceBytes / SECTOR_BYTES), md.bm_max_peers, md.bm_bytes_per_bit) / SECTOR_BYTES;
  if (md.bm_offset !== -(bmSectors + alSectors)) return no(`strange bm_offset ${md.bm_offset} (expected: ${-(bmSectors + alSectors)})`);
  if (!isBlockSize(md)) return no(blockSizeMessage(md));
  const sizeExpected = bmSectors + alSectors + SUPERBLOCK_SECTORS;
  if (md.md_size_sect !== sizeExpected) {
    return { isValid: format !== 'v08', messages: [`strange md_size_sect ${md.md_size_sect} (expected: ${sizeExpected})`] };
  }
  return { isValid: true, messages: [] };
}

const blockSizeMessage = (md: MetaData): string => `${md.format} bm_bytes_per_bit value ${md.bm_bytes_per_bit} out of bounds`;

/** Block sizes that exist: powers of two up to 1 MiB in v09, 4 KiB before. */
function isBlockSize({ format, bm_bytes_per_bit: bytes }: MetaData): boolean {
  if (format !== 'v09') return bytes === BM_BYTES_PER_BIT_DEFAULT;
  return bytes >= BM_BYTES_PER_BIT_DEFAULT && bytes <= BM_BYTES_PER_BIT_MAX && (bytes & (bytes - 1)) === 0;
}

/** Why an engine does not attach. Codes and texts are DRBD's. */
export interface AttachRefusal {
  readonly code: 'ERR_MD_UNCLEAN' | 'ERR_MD_INVALID' | 'ERR_IMPLICIT_SHRINK';
  readonly info: string;
}
export type AttachVerdict = { readonly ok: true } | { readonly ok: false; readonly error: AttachRefusal };

/**
 * The engine's checks at attach, after the superblock was decoded.
 * @param nodeId - the configured node id, or -1 where the configuration has none
 * @param newSizeSectors - size the device would get; 0 skips the shrink check
 */
export function checkAttach(md: MetaData, kind: MetaDataKind, nodeId: number, newSizeSectors = 0): AttachVerdict {
  const invalid = (info: string): AttachVerdict => ({ ok: false, error: { code: 'ERR_MD_INVALID', info } });
  if (md.format === 'v07') return invalid('Found old meta data magic. Did you "drbdadm create-md"?');
  if (!isClean(md)) {
    return { ok: false, error: { code: 'ERR_MD_UNCLEAN', info: 'Found unclean meta data. Did you "drbdadm apply-al"?' } };
  }
  const bpb = md.bm_bytes_per_bit;
  if (bpb < BM_BYTES_PER_BIT_DEFAULT || bpb > BM_BYTES_PER_BIT_MAX || (bpb & (bpb - 1)) !== 0) {
    return invalid(`unexpected bm_bytes_per_bit: ${bpb} (expected power of 2 in [4096..1048576])`);
  }
  const offsets = checkOffsets(md, kind);
  if (!offsets.ok) return invalid(offsets.error.reason);
  if (md.format === 'v09') {
    if (md.node_id !== -1 && nodeId !== -1 && md.node_id !== nodeId) {
      return invalid(`ambiguous node id: meta-data: ${md.node_id}, config: ${nodeId}`);
    }
    const own = nodeId === -1 ? -1 : (md.peers[nodeId]?.bitmap_index ?? -1);
    if (own !== -1) return invalid(`my own node id (${nodeId}) should not have a bitmap index (${own})`);
    for (const [peerNodeId, peer] of md.peers.entries()) {
      if (peer.bitmap_index < -1 || peer.bitmap_index >= md.bm_max_peers) {
        return invalid(
          `peer node id ${peerNodeId}: bitmap index (${peer.bitmap_index}) exceeds allocated bitmap slots (${md.bm_max_peers})`,
        );
      }
    }
  }
  const MDF_CONSISTENT = 1;
  if (newSizeSectors > 0 && (md.flags & MDF_CONSISTENT) !== 0 && newSizeSectors < md.effective_size) {
    const info = `To-be-attached device has last effective > current size, and is consistent\n(${md.effective_size} > ${newSizeSectors} sectors). Refusing to attach.`;
    return { ok: false, error: { code: 'ERR_IMPLICIT_SHRINK', info } };
  }
  return { ok: true };
}

/** Do striping, offsets and sizes fit together, as the engine wants them? */
export function checkOffsets(md: MetaData, kind: MetaDataKind): Outcome<void> {
  const { al_stripes, al_stripe_size_4k, al_offset, bm_offset, md_size_sect } = md;
  const alBlocks = al_stripes * al_stripe_size_4k;
  if (alBlocks < 8 || alBlocks > 4_194_304) {
    return damaged('al_stripes', `invalid activity log striping: al_stripes=${al_stripes}, al_stripe_size_4k=${al_stripe_size_4k}`);
  }
  const no = (field: string): Outcome<never> =>
    damaged(
      field,
      `meta data offsets don't make sense: idx=${kind} al_s=${al_stripes} al_sz4k=${al_stripe_size_4k} al_offset=${al_offset} bm_offset=${bm_offset} md_size_sect=${md_size_sect} la_size=${md.effective_size} md_capacity=${md_size_sect}`,
    );
  const alSectors = alBlocks * 8;
  if (md.bm_max_peers < 1 || md.bm_max_peers > PEERS_MAX) return no('bm_max_peers');
  if (bm_offset % 8 !== 0) return no('bm_offset');
  let bmSectors: number;
  if (kind === 'internal') {
    if (bm_offset > al_offset || -al_offset !== alSectors) return no('al_offset');
    bmSectors = al_offset - bm_offset;
  } else {
    if (al_offset !== SUPERBLOCK_SECTORS) return no('al_offset');
    if (bm_offset !== al_offset + alSectors || bm_offset > md_size_sect) return no('bm_offset');
    bmSectors = md_size_sect - bm_offset;
  }
  if (kind === 'indexed') {
    const fixed = placement({ kind: 'indexed', deviceBytes: INDEXED_AREA_BYTES, maxPeers: md.bm_max_peers });
    if (md_size_sect !== fixed.md_size_sect || bm_offset !== fixed.bm_offset || md.bm_bytes_per_bit !== BM_BYTES_PER_BIT_DEFAULT) {
      return no('md_size_sect');
    }
  }
  const needed = bitmapBytes(md.effective_size, md.bm_max_peers, md.bm_bytes_per_bit) / SECTOR_BYTES;
  if (needed > bmSectors) return no('bm_offset');
  return accept(undefined);
}
