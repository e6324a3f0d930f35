// The places of the meta-data in verbose output.

import { bitmapBytes, type MetaData, type Placement } from '@udrbd/metadata';
import type { CommandIo } from './command-io.js';
import type { Invocation } from './command-line.js';
import type { Dialect } from './dialect.js';

/** A byte offset as the stock tool prints it: unsigned, so that a place before the device's begin looks huge. */
export const offsetText = (offset: number): string => `${BigInt.asUintN(64, BigInt(offset))}`;

export function sayOffsets(p: Placement, md: MetaData, invocation: Invocation, io: CommandIo, dialect: Dialect): void {
  if (invocation.options.verbose < 2) return;
  io.stderr(
    `md_offset: ${offsetText(p.superblockOffsetBytes)}\nal_offset: ${offsetText(p.alOffsetBytes)} (${p.al_offset})\n` +
      `bm_offset: ${offsetText(p.bmOffsetBytes)} (${p.bm_offset})\nmd_size_sect: ${p.md_size_sect}\nmax_usable_sect: ${p.usableSectors}\n`,
  );
  if (!dialect.saysBitmapGeometry) return;
  const bytes = invocation.kind === 'internal' ? p.bmSizeBytes : Math.max(p.bmSizeBytes, bitmapBytes(0, 1));
  io.stderr(`bm_bytes: ${bytes}\nbm_block_size: ${md.bm_bytes_per_bit}\n`);
}
