/** The options that a command hands on to the tool below it, by command; also what `help COMMAND` lists. */
import { COMMAND_OPTIONS, type CommandOption, type Option, type OptionGroup, optionsOf } from '@udrbd/config/options';
import type { OptionSpec } from './getopt.js';

export type ContextOption = Pick<OptionSpec, 'name' | 'argument'>;
export type Context = readonly ContextOption[];

const spec = (option: Option | CommandOption): ContextOption => ({
  name: option.name,
  argument: option.kind === 'boolean' || option.kind === 'flag' ? 'optional' : 'required',
});
const group = (name: OptionGroup): Context => optionsOf(name).map(spec);
const own = (command: string): Context => COMMAND_OPTIONS.filter((o) => o.command === command).map(spec);
const flags = (...names: string[]): Context => names.map((name) => ({ name, argument: 'optional' }));
const values = (...names: string[]): Context => names.map((name) => ({ name, argument: 'required' }));

const IMMUTABLE = new Set(['transport', 'load-balance-paths']);
const TABLE: Readonly<Record<string, () => Context>> = {
  disk: () => group('disk'),
  'disk-options': () => group('disk'),
  'del-peer': () => own('del-peer'),
  secondary: () => own('secondary'),
  device: () => group('device'),
  net: () => [...group('net').filter((o) => !IMMUTABLE.has(o.name))],
  'new-peer': () => group('net'),
  'peer-device': () => group('peer-device'),
  options: () => group('options'),
  'new-resource': () => group('options'),
  connect: () => own('connect'),
  disconnect: () => own('disconnect'),
  detach: () => own('detach'),
  primary: () => own('primary'),
  verify: () => own('verify'),
  resize: () => own('resize'),
  'invalidate-remote': () => own('invalidate-remote'),
  'new-current-uuid': () => own('new-current-uuid'),
  'suspend-io': () => own('suspend-io'),
  invalidate: () => [...flags('force'), ...values('sync-from-peer-node-id'), ...flags('reset-bitmap')],
  'setup-invalidate': () => own('invalidate'),
  'sh-list-adjustable': () => contextOf('adjust'),
  adjust: () => flags('skip-disk', 'skip-net', 'tentative', 'discard-my-data'),
  status: () => flags('statistics'),
  'create-md': () => [
    ...values('max-peers', 'peer-max-bio-size', 'al-stripes', 'al-stripe-size-kB'),
    ...flags('force'),
    ...values('effective-size', 'bitmap-block-size', 'diskful-peers', 'initial-current-uuid'),
    ...flags('consistent', 'uptodate', 'peers-outdated', 'rotate-uuids'),
  ],
  path: () => [],
  // Takes whatever it is given and hands it on.
  anything: () => [],
  meta: () => flags('force', 'quiet'),
  'repair-md': () => flags('tentative', 'force', 'quiet'),
  'dump-superblock': () => [...flags('force'), ...values('output-format'), ...flags('quiet')],
};

export type ContextName = keyof typeof TABLE & string;

const made = new Map<string, Context>();

export function contextOf(name: ContextName): Context {
  let context = made.get(name);
  if (context === undefined) {
    context = TABLE[name]!();
    made.set(name, context);
  }
  return context;
}

/** Whether a backend option reaches the tool: some option of the context begins with its name. */
export function contextTakes(name: ContextName, option: string): boolean {
  return name === 'anything' || contextOf(name).some((o) => o.name.startsWith(option));
}

/** The options of several contexts, one after the other as getopt sees them; all of them are drbdadm's own options too. */
export const optionsOfContexts = (names: Iterable<ContextName>): OptionSpec[] =>
  [...names].flatMap((name) => contextOf(name).map((option) => ({ ...option, family: 'backend' })));
