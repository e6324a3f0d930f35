// Options of create-md that write more than "nothing known yet" into a new v09 super block.

import { randomBytes } from 'node:crypto';
import { MDF, MDF_PEER, type MetaData, PEERS_MAX, UUID_JUST_CREATED, UUID_PRIMARY } from '@udrbd/metadata';
import type { CommandIo } from './command-io.js';
import { Exit } from './exit.js';

/** Judges the options before anything is written; the result changes a super block accordingly. */
export function applyPreset(preset: ReadonlyMap<string, string>, io: CommandIo): (md: MetaData) => void {
  const stop = (text: string): never => {
    io.stderr(`${text}\n`);
    throw new Exit(10);
  };
  const peers = nodeList(preset.get('diskful-peers') ?? '', stop);
  const uuidText = preset.get('initial-current-uuid');
  let initial: bigint | undefined;
  if (uuidText === 'generate') {
    initial = randomUuid();
  } else if (uuidText !== undefined) {
    if (!/^(0[xX])?[0-9a-fA-F]{1,16}$/.test(uuidText))
      stop(`--initial-current-uuid: expected 'generate' or a hex value, got '${uuidText}'`);
    initial = BigInt(`0x${uuidText.replace(/^0[xX]/, '')}`) & ~UUID_PRIMARY;
    if (initial === 0n) stop('--initial-current-uuid: value must not be zero');
  }
  return (md) => {
    if (preset.has('effective-size')) md.effective_size = Number(preset.get('effective-size'));
    for (const nodeId of peers) md.peers[nodeId]!.flags |= MDF_PEER.DEVICE_SEEN;
    if (initial !== undefined) md.current_uuid = initial;
    if (preset.has('consistent')) md.flags |= MDF.CONSISTENT;
    if (preset.has('uptodate')) md.flags |= MDF.CONSISTENT | MDF.WAS_UP_TO_DATE;
    const hasData = (md.flags & MDF.CONSISTENT) !== 0 || preset.has('rotate-uuids');
    if (hasData && md.current_uuid === UUID_JUST_CREATED) md.current_uuid = randomUuid();
    if (preset.has('peers-outdated')) for (const peer of md.peers) peer.flags |= MDF_PEER.OUTDATED;
    if (preset.has('rotate-uuids')) {
      for (const peer of md.peers) peer.bitmap_uuid = md.current_uuid;
      md.history_uuids[0] = md.current_uuid;
      md.current_uuid = randomUuid();
    }
  };
}

/** Node ids from `1,3` or a mask like `0xA`; what is neither is refused by name. */
function nodeList(text: string, stop: (text: string) => never): number[] {
  if (text === '') return [];
  if (/^0[xX][0-9a-fA-F]{1,8}$/.test(text)) {
    const mask = Number(text);
    return Array.from({ length: PEERS_MAX }, (_, id) => id).filter((id) => Math.floor(mask / 2 ** id) % 2 === 1);
  }
  return text.split(',').map((word) => {
    if (!/^\d{1,2}$/.test(word) || Number(word) >= PEERS_MAX) stop(`invalid node list / mask value '${word}'`);
    return Number(word);
  });
}

/** Any generation but none, "just created" or one that claims to be Primary. */
function randomUuid(): bigint {
  for (;;) {
    const uuid = randomBytes(8).readBigUInt64BE() & ~UUID_PRIMARY;
    if (uuid !== 0n && uuid !== UUID_JUST_CREATED) return uuid;
  }
}
