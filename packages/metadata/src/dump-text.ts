// The text form of meta-data that `dump-md` prints and `restore-md` reads. Pure: the caller supplies header lines and
// bitmap bytes. Grammar in docs/on-disk-format.md.

import { hweight, hweight32, slotWords } from './bitmap.js';
import { MDF_PEER } from './constants.js';
import { viewOf } from './layout.js';
import type { MetaData, PeerMetaData } from './meta-data.js';

const hex = (value: bigint | number, digits: number): string =>
  `0x${(typeof value === 'number' ? value >>> 0 : value).toString(16).toUpperCase().padStart(digits, '0')}`;

const PEER_FLAG_NAMES: readonly (readonly [number, string])[] = [
  [MDF_PEER.CONNECTED, 'connected'],
  [MDF_PEER.OUTDATED, '<=outdated'],
  [MDF_PEER.FENCING, 'fencing'],
  [MDF_PEER.FULL_SYNC, 'full-sync'],
  [MDF_PEER.DEVICE_SEEN, 'seen'],
  [MDF_PEER.NODE_EXISTS, 'exists'],
];

function peerFlagNames(flags: number): string {
  const names: string[] = [];
  for (let bit = 0; bit < 32; bit++) {
    const mask = (1 << bit) >>> 0;
    if ((flags & mask) === 0) continue;
    names.push(PEER_FLAG_NAMES.find(([m]) => m === mask)?.[1] ?? `0x${mask.toString(16)}=?`);
  }
  // The stock tool has room for 76 characters.
  return names.join(' | ').slice(0, 76);
}

/** Identifiers and flags: what stands between the offsets and the sizes. */
export function dumpIdentifiers(md: MetaData, printsMembers: boolean): string {
  if (md.format === 'v07') return `gc {\n   ${md.gc.map((count) => ` ${count | 0};`).join('')}\n}\n`;
  if (md.format === 'v08') {
    const uuids = [md.current_uuid, md.peers[0].bitmap_uuid, md.history_uuids[0], md.history_uuids[1]];
    return `uuid {\n    ${uuids.map((u) => `${hex(u, 16)};`).join(' ')}\n    flags ${hex(md.flags, 8)};\n}\n`;
  }
  const history: string[] = [];
  for (let i = 0; i < md.history_uuids.length; i += 4) {
    history.push(
      `        ${md.history_uuids
        .slice(i, i + 4)
        .map((u) => `${hex(u, 16)};`)
        .join(' ')}\n`,
    );
  }
  return (
    `node-id ${md.node_id};\ncurrent-uuid ${hex(md.current_uuid, 16)};\nflags ${hex(md.flags, 8)};\n` +
    (printsMembers || md.members !== 0n ? `members ${hex(md.members, 16)};\n` : '') +
    md.peers.map(dumpPeer).join('') +
    `history-uuids {\n${history.join('')}}\n`
  );
}

const dumpPeer = (peer: PeerMetaData, nodeId: number): string =>
  `peer[${nodeId}] {\n    bitmap-index ${peer.bitmap_index};\n    bitmap-uuid ${hex(peer.bitmap_uuid, 16)};\n` +
  `    bitmap-dagtag ${hex(peer.bitmap_dagtag, 16)};\n    flags ${hex(peer.flags, 8)};${peer.flags === 0 ? '' : ` # ${peerFlagNames(peer.flags)}`}\n}\n`;

/** Sizes and striping, up to the bitmaps. */
export function dumpSizes(md: MetaData, bitmapBytes: number): string {
  const newer =
    md.format === 'v07'
      ? ''
      : `bm-byte-per-bit ${md.bm_bytes_per_bit};\ndevice-uuid ${hex(md.device_uuid, 16)};\nla-peer-max-bio-size ${md.la_peer_max_bio_size | 0};\n` +
        `al-stripes ${md.al_stripes};\nal-stripe-size-4k ${md.al_stripe_size_4k};\n`;
  return `# al-extents ${md.al_nr_extents};\nla-size-sect ${md.effective_size};\n${newer}# bm-bytes ${bitmapBytes};\n`;
}

/** Bytes of bitmap that the text treats at a time; runs are counted within one window and go on in the next. */
export const dumpWindowBytes = (maxPeers: number): number => {
  const unit = 4096 * maxPeers;
  return Math.floor((32 * 1024 * 1024) / unit) * unit;
};

const NUMBERS_PER_LINE = 4;
const WORDS_PER_LINE = 2 * NUMBERS_PER_LINE;

/**
 * One slot's bitmap as text.
 * @param head - `bm` or `bitmap[N]`
 * @param read - gives that many bytes of the bitmap area from an offset; called with consecutive windows
 * @param emit - takes the text in pieces
 * @returns number of set bits of the slot
 */
export function dumpBitmap(
  head: string,
  slot: number,
  maxPeers: number,
  bitmapBytes: number,
  read: (offset: number, length: number) => Uint8Array,
  emit: (text: string) => void,
): number {
  const windowBytes = dumpWindowBytes(maxPeers);
  emit(`${head} {`);
  let text = '';
  let bitsSet = 0;
  let ownWord = 0;
  let runValue = 0;
  let runWords = 0;
  for (let offset = 0; offset < bitmapBytes; offset += windowBytes) {
    if (text !== '') emit(text);
    text = '';
    const bytes = read(offset, Math.min(windowBytes, bitmapBytes - offset));
    const view = viewOf(bytes);
    const words = slotWords(bytes.length >> 2, slot, maxPeers);
    if (maxPeers === 1) bitsSet += hweight(bytes);
    else for (let w = 0; w < words; w++) bitsSet += hweight32(view.getUint32(4 * (slot + w * maxPeers), true));
    let w = 0;
    while (w < words || (runWords > 0 && w === words)) {
      if (runWords > 0) {
        const more = equalWords(view, slot, maxPeers, w, words, runValue);
        const taken = more - (more % WORDS_PER_LINE);
        runWords += taken;
        w += taken;
        if (w === words && offset + windowBytes < bitmapBytes) break;
        text += ` ${runWords / 2} times 0x${runValue.toString(16).toUpperCase().padStart(8, '0').repeat(2)};`;
        ownWord += runWords;
        runWords = 0;
        continue;
      }
      if (ownWord % WORDS_PER_LINE === 0) {
        const position = slot + ownWord * maxPeers;
        text += position % 64 === slot ? `\n   # at ${128 * ownWord * maxPeers}kB\n   ` : '\n   ';
        const value = view.getUint32(4 * (slot + w * maxPeers), true);
        const equal = equalWords(view, slot, maxPeers, w, words, value);
        if (equal - (equal % WORDS_PER_LINE) > WORDS_PER_LINE) {
          runValue = value;
          runWords = equal - (equal % WORDS_PER_LINE);
          w += runWords;
          continue;
        }
      }
      if (w + 1 < words) {
        const low = view.getUint32(4 * (slot + w * maxPeers), true);
        const high = view.getUint32(4 * (slot + (w + 1) * maxPeers), true);
        text += ` 0x${hex32(high)}${hex32(low)};`;
        w += 2;
        ownWord += 2;
      } else {
        w++;
        ownWord++;
      }
      if (text.length > 65536) {
        emit(text);
        text = '';
      }
    }
  }
  emit(`${text}\n}\n`);
  return bitsSet;
}

const hex32 = (word: number): string => word.toString(16).toUpperCase().padStart(8, '0');

/** How many of the slot's words from `from` on have that value. */
function equalWords(view: DataView, slot: number, maxPeers: number, from: number, to: number, value: number): number {
  let w = from;
  while (w < to && view.getUint32(4 * (slot + w * maxPeers), true) === value) w++;
  return w - from;
}
