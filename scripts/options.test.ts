/** The engine's table of options and the configuration's catalogue are two views of one thing. */
import { OPTIONS, type Option, type OptionGroup } from '@udrbd/config/options';
import {
  DEVICE_OPTIONS,
  DISK_OPTIONS,
  NET_OPTIONS,
  type OptionRow,
  type OptionTable,
  PEER_DEVICE_OPTIONS,
  RESOURCE_OPTIONS,
} from '@udrbd/control';
import t from 'tap';

/** The catalogue's row as the engine would write it. */
function row(option: Option): OptionRow {
  switch (option.kind) {
    case 'boolean':
    case 'flag':
      return { kind: 'yes-no', default: option.default === 'yes' };
    case 'enum':
      return { kind: 'word', words: option.values, default: option.default };
    case 'number': {
      const number = { kind: 'number', min: option.min, max: option.max, default: option.default } as const;
      return option.clamped ? { ...number, clamped: true } : number;
    }
    case 'symbol-or-number':
      return { kind: 'number-or-word', words: option.values, min: option.min, max: option.max, default: option.default };
    case 'string':
    case 'keyring':
      return { kind: 'text', maxLength: option.maxLength ?? Number.POSITIVE_INFINITY, default: '' };
  }
}

const TABLES: readonly (readonly [OptionGroup, OptionTable])[] = [
  ['options', RESOURCE_OPTIONS],
  ['net', NET_OPTIONS],
  ['disk', DISK_OPTIONS],
  ['device', DEVICE_OPTIONS],
  ['peer-device', PEER_DEVICE_OPTIONS],
];

for (const [group, table] of TABLES) {
  t.test(`${group}: the same options with the same ranges and defaults`, async (t) => {
    const catalogue = OPTIONS.filter((option) => option.group === group);
    const own = Object.keys(table);
    t.strictSame(own.sort(), catalogue.map((option) => option.name).sort());
    for (const option of catalogue) {
      const ours = table[option.name];
      if (ours === undefined) continue;
      const theirs = row(option);
      if (option.kind === 'keyring') t.equal(ours.kind, 'text', option.name);
      else t.strictSame(ours, theirs, option.name);
    }
  });
}
