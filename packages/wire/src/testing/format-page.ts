/** The tables of docs/wire-protocol.md, written from the layouts. Run it to print them. */
import { O_QLIM, P_HEADER_80, P_HEADER_95, P_HEADER_100, PACKETS, RS_CONTROLLER, STRUCTURES, VLI_LEVELS } from '../index.js';
import type { Fields, Layout } from '../layout.js';

const TAIL_TEXT = {
  none: '',
  data: '[digest] data',
  digest: 'digest',
  text: 'string with its NUL',
  bytes: 'bytes',
  qlim: 'o_qlim with FF_WSAME',
  controller: 'p_rs_param_95 from 95 on',
  uuids: 'UUIDs',
} as const;

function structure(table: Layout<Fields>, packets: readonly string[]): string {
  const rows = Object.entries(table.at).map(([name, field]) => `| ${field.offset} | ${field.type} | ${name} | ${field.doc} |`);
  const users = packets.length === 0 ? '' : `${packets.join(', ')}\n\n`;
  return `**${table.name}**, ${table.size} bytes\n\n${users}| offset | type | field | meaning |\n|---|---|---|---|\n${rows.join('\n')}\n`;
}

/** The generated part of the page. */
export function formatPage(): string {
  const catalogue = Object.entries(PACKETS).map(([name, row]) => {
    const number = `0x${row.command.toString(16).padStart(2, '0')}`;
    const versions = row.since === 0 ? 'all' : row.until === 0xffff ? `${row.since}…` : `${row.since}–${row.until}`;
    return `| ${number} | ${name} | ${row.socket} | ${row.size} | ${TAIL_TEXT[row.tail]} | ${versions} |`;
  });
  const users = new Map<Layout<Fields>, string[]>();
  for (const [name, table] of Object.entries(STRUCTURES) as [string, Layout<Fields>][]) {
    if (table.size > 0) users.set(table, [...(users.get(table) ?? []), name]);
  }
  const headers = [P_HEADER_80, P_HEADER_95, P_HEADER_100].map((table) => structure(table, []));
  const structures = [...users].map(([table, packets]) => structure(table, packets));
  const tails = [O_QLIM, RS_CONTROLLER].map((table) => structure(table, []));
  const levels = VLI_LEVELS.map(
    ({ total, prefixBits, prefix, min }) => `| ${total} | ${prefixBits} | 0x${prefix.toString(16).padStart(2, '0')} | ${min} |`,
  );
  return [
    '## Packets\n',
    '| number | packet | socket | bytes | then | versions |\n|---|---|---|---|---|---|',
    `${catalogue.join('\n')}\n`,
    '## Headers\n',
    ...headers,
    '## Structures\n',
    ...structures,
    ...tails,
    '## Run lengths\n',
    '| bits | prefix bits | prefix | shortest run |\n|---|---|---|---|',
    `${levels.join('\n')}\n`,
  ].join('\n');
}

if (process.argv[1] !== undefined && import.meta.url.endsWith(process.argv[1].split('/').at(-1) ?? '')) console.log(formatPage());
