/** scripts/bench: runs the named benches, prints their tables and keeps the figures in .cache/bench. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { allocation } from './allocation.js';
import { commands } from './commands.js';
import { configuration } from './configuration.js';
import { events } from './events.js';
import { memory } from './memory.js';
import { metadata } from './metadata.js';
import { native } from './native.js';
import { recovery } from './recovery.js';
import { status } from './status.js';
import type { Table } from './table.js';
import { markdown } from './table.js';
import { vm } from './vm.js';

const BENCHES: Readonly<Record<string, () => Promise<Table>>> = {
  allocation,
  commands,
  configuration,
  events,
  memory,
  metadata,
  native,
  recovery,
  status,
  vm,
};

const words = process.argv.slice(2);
const unknown = words.filter((word) => BENCHES[word] === undefined);
if (unknown.length > 0) {
  process.stderr.write(`scripts/bench: ${unknown.join(' ')}: unknown; there are ${Object.keys(BENCHES).join(', ')}\n`);
  process.exit(64);
}

const machine = `${cpus().length} x ${cpus()[0]?.model ?? 'unknown processor'}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, Node.js ${process.versions.node}`;
process.stdout.write(`${machine}\n`);
mkdirSync('.cache/bench', { recursive: true });
for (const name of words.length > 0 ? words : Object.keys(BENCHES)) {
  const table = await BENCHES[name]!();
  process.stdout.write(`\n${markdown(table)}`);
  writeFileSync(`.cache/bench/${name}.json`, `${JSON.stringify({ machine, when: new Date().toISOString(), ...table }, undefined, 1)}\n`);
}
