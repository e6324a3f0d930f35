/** Which options each section of drbd.conf takes, and what stock says when it meets another word there. */
import type { NodeType } from './ast.js';
import { findOption, type Option, type OptionGroup, optionsOf } from './options.js';

const names = (group: OptionGroup): string =>
  optionsOf(group)
    .map((o) => o.name)
    .join(' | ');

/** What an unknown word in a section is answered with. */
export function expectedIn(section: NodeType): string {
  switch (section) {
    case 'options':
      return names('options');
    case 'handlers':
      return names('handlers');
    case 'disk-options':
      return names('peer-device');
    case 'startup':
      return '<an option keyword> | become-primary-on | stacked-timeouts';
    case 'syncer':
      return 'a syncer option keyword';
    default:
      return 'an option keyword';
  }
}

/** Finds an option by the name in the file, in the groups given. */
export function lookUp(groups: readonly OptionGroup[], name: string): Option | undefined {
  for (const group of groups) {
    const option = findOption(group, name);
    if (option !== undefined) return option;
  }
  return undefined;
}
