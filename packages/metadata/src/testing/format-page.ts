// The generated part of docs/on-disk-format.md: one table per structure, from the layout tables.

import {
  AL_TRANSACTION_OLD,
  AL_TRANSACTION_ON_DISK,
  type Layout,
  MD_ON_DISK_07,
  MD_ON_DISK_08,
  META_DATA_ON_DISK_9,
  PEER_DEV_MD_ON_DISK_9,
} from '../index.js';

export const GENERATED = '<!-- Written from the layout tables; do not edit below. -->\n';

export function structureTables(): string {
  const structures: Layout[] = [
    META_DATA_ON_DISK_9,
    PEER_DEV_MD_ON_DISK_9,
    MD_ON_DISK_08,
    MD_ON_DISK_07,
    AL_TRANSACTION_ON_DISK,
    AL_TRANSACTION_OLD,
  ];
  return structures.map(table).join('\n');
}

function table({ name, size, at }: Layout): string {
  const rows = Object.entries(at).map(([field, placed]) => {
    const count = placed.count === undefined ? '' : ` × ${placed.count}`;
    const type = placed.recordBytes === undefined ? placed.type : `${placed.recordBytes} bytes`;
    return `| ${placed.offset} | ${type}${count} | ${field} | ${placed.unit ?? ''} | ${placed.doc} |\n`;
  });
  return `### ${name}, ${size} bytes\n\n| offset | type | field | unit | meaning |\n| --- | --- | --- | --- | --- |\n${rows.join('')}`;
}
