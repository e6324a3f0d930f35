// dump-md: everything as text, for people and for restore-md.

import { hostname } from 'node:os';
import {
  AL_CONTEXT_PER_TRANSACTION,
  AL_FREE,
  AL_MAGIC,
  AL_TYPE_INITIALIZED,
  AL_UNUSED_SLOT,
  AL_UPDATES_PER_TRANSACTION,
  decodeAlBlock,
  dumpBitmap,
  dumpIdentifiers,
  dumpSizes,
  isClean,
  isPmemActivityLog,
} from '@udrbd/metadata';
import { offsetText } from '../offsets.js';
import { isSuppressed } from '../questions.js';
import { Volume } from '../volume.js';
import { type Command, type CommandContext, ignoreSurplus } from './command.js';

export const dumpMd: Command = {
  name: 'dump-md',
  modifies: false,
  wantsNodeId: false,
  async run(context) {
    ignoreSurplus(context);
    const volume = await Volume.open(context);
    const { io, options, md, format, dialect } = volume;
    if (volume.found === 'none') return volume.fail('No valid meta data found');
    const isUnclean = !isClean(md);
    if (isUnclean && !isSuppressed(options)) {
      io.stderr('Found meta data is "unclean", please apply-al first\n');
      if (!options.force) return volume.fail();
    }
    const { bitmapBytes, places } = volume;
    const emit = (text: string): void => io.stdout(text);
    emit(header(context, new Date()));
    emit(`version "${format}";\n\n`);
    if (isUnclean) {
      emit(`This_is_an_unclean_meta_data_dump._Don't_trust_the_bitmap.\n# You should "apply-al" first, if you plan to restore this.\n\n`);
    }
    if (format === 'v09') emit(`max-peers ${md.bm_max_peers};\n`);
    emit(`# md_size_sect ${md.md_size_sect}\n`);
    if (volume.found === 'at last known location') emit(relocationNote(volume));
    const { superblockOffsetBytes, alOffsetBytes, bmOffsetBytes } = places;
    emit(
      `# md_offset ${offsetText(superblockOffsetBytes)}\n# al_offset ${offsetText(alOffsetBytes)}\n# bm_offset ${offsetText(bmOffsetBytes)}\n\n`,
    );
    emit(dumpIdentifiers(md, dialect.printsMembers));
    emit(dumpSizes(md, bitmapBytes));
    const slots = format === 'v09' ? md.bm_max_peers : 1;
    let bitsSet = 0;
    for (let slot = 0; slot < slots; slot++) {
      const read = (offset: number, length: number): Uint8Array => volume.device.read('fprintf_bm', length, places.bmOffsetBytes + offset);
      bitsSet = dumpBitmap(format === 'v09' ? `bitmap[${slot}]` : 'bm', slot, slots, bitmapBytes, read, emit);
    }
    emit(`# bits-set ${bitsSet};\n`);
    if (options.verbose >= 10 && format !== 'v07') emit(activityLogText(volume));
    return 0;
  },
};

function header(context: CommandContext, now: Date): string {
  const two = (n: number): string => `${n}`.padStart(2, '0');
  const zone = -now.getTimezoneOffset();
  const zoneText = `${zone < 0 ? '-' : '+'}${two(Math.floor(Math.abs(zone) / 60))}${two(Math.abs(zone) % 60)}`;
  const date = `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
  const time = `${two(now.getHours())}:${two(now.getMinutes())}:${two(now.getSeconds())}`;
  return (
    `# DRBD meta data dump\n# ${date} ${time} ${zoneText} [${Math.floor(now.getTime() / 1000)}]\n` +
    `# ${hostname()}> drbdmeta ${context.invocation.permuted.join(' ')}\n#\n\n`
  );
}

function relocationNote(volume: Volume): string {
  const { device } = volume;
  const oldName = volume.lastKnown.load()?.deviceName || device.path;
  return (
    `#\n### Device seems to have been resized!\n### dumping meta data from the last known position\n` +
    `### current size of ${device.path}: ${device.sizeBytes} byte\n### expected position of meta data:\n` +
    `## md_offset ${volume.superblockOffset}\n## al_offset 0\n## bm_offset 0\n` +
    `### last known size of ${oldName}: ${volume.lastKnownBytes} byte\n### adjusted position of meta data:\n`
  );
}

/** The activity log in disk order, as comments. */
function activityLogText(volume: Volume): string {
  const area = volume.readActivityLog('printf_al');
  const lines = ['# al {'];
  const at = (n: number): string => `${n}`.padStart(2);
  const ten = (n: number): string => `${n}`.padStart(10);
  let highestSlot = 0;
  if (isPmemActivityLog(area)) {
    const view = new DataView(area.buffer, area.byteOffset);
    const slots = Math.min(volume.md.al_nr_extents, area.length / 4 - 1);
    for (let slot = 0; slot < slots; slot++) {
      const extent = view.getUint32(4 + 4 * slot);
      lines.push(`# slot[${slot}]: ${extent === AL_FREE ? '      FREE' : ten(extent)}`);
    }
  } else {
    for (let block = 0; block * 4096 < area.length; block++) {
      const t = decodeAlBlock(area.subarray(block * 4096, block * 4096 + 4096));
      if (!t) {
        lines.push(`#     block ${at(block)} { INVALID }`);
        continue;
      }
      if (t.transaction_type === AL_TYPE_INITIALIZED) {
        lines.push(`#     block ${at(block)} { INITIALIZED }`);
        continue;
      }
      const hex = (n: number, digits: number): string => `0x${n.toString(16).padStart(digits, '0')}`;
      lines.push(`#     block ${at(block)} {`, `# \tmagic: ${hex(AL_MAGIC, 8)}`, `# \ttype: ${hex(t.transaction_type, 4)}`);
      lines.push(`# \ttr: ${ten(t.tr_number)}`, `# \tactive set size: ${t.context_size}`);
      for (let i = 0; i < AL_CONTEXT_PER_TRANSACTION; i++) {
        const slot = t.context_start_slot_nr + i;
        const extent = t.context[i]!;
        if (extent === AL_FREE && slot >= t.context_size) continue;
        highestSlot = Math.max(highestSlot, slot);
        lines.push(`# \t${at(i)}: ${ten(slot)} ${ten(extent)}`);
      }
      lines.push(`# \tupdates: ${t.n_updates}`);
      for (let i = 0; i < AL_UPDATES_PER_TRANSACTION; i++) {
        const slot = t.updateSlots[i]!;
        if (i >= t.n_updates && slot === AL_UNUSED_SLOT) continue;
        highestSlot = Math.max(highestSlot, slot);
        lines.push(`# \t${at(i)}: ${ten(slot)} ${ten(t.updateExtents[i]!)}`);
      }
      lines.push(`# \tcrc32c: ${hex(t.crc32c, 8)}`, '#     }');
    }
  }
  if (highestSlot >= volume.md.al_nr_extents) {
    lines.push(`### CAUTION: maximum slot number found in AL: ${highestSlot}`);
    lines.push(`### CAUTION: but 'super-block' al-extents is: ${volume.md.al_nr_extents}`);
  }
  lines.push('# }');
  return `${lines.join('\n')}\n`;
}
