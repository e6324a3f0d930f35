/**
 * Every command of drbdsetup 9.34 with its arguments and options, in the order in which `help` lists them.
 *
 * Options that are configuration (`--timeout`) come from the option catalogue by the command's name; `flags` are the others.
 * The commands are a table read by getopt, usage, help and dispatch alike, because stock's grammar and wording leave a
 * command-line library nothing to do.
 */
import { type CommandOption, type Option, optionsOfCommand, SET_DEFAULTS_COMMANDS } from '@udrbd/config/options';
import type { LongOption } from './getopt.js';

/** Arguments that name the object; they come first, in this order. */
export type ContextArgument = 'resource' | 'resource-or-all' | 'peer_node_id' | 'minor' | 'volume';

export interface CommandRow {
  readonly name: string;
  /** A configuration command sends one request and reports the answer. */
  readonly kind: 'configuration' | 'query';
  readonly context: readonly ContextArgument[];
  readonly payload?: readonly string[];
  readonly flags?: readonly LongOption[];
  /** Options that stock does not have, and its help must not show. */
  readonly ownFlags?: readonly LongOption[];
  readonly summary: string;
}

const COLOR = { name: 'color', short: 'c', value: 'optional' } as const;
const STATUS_FLAGS: readonly LongOption[] = [
  { name: 'verbose', short: 'v', value: 'none' },
  { name: 'statistics', short: 's', value: 'none' },
  COLOR,
  { name: 'json', short: 'j', value: 'none' },
];
const SHOW_FLAGS: readonly LongOption[] = [
  { name: 'show-defaults', short: 'D', value: 'none' },
  { name: 'json', short: 'j', value: 'none' },
];
const EVENTS_FLAGS: readonly LongOption[] = [
  { name: 'timestamps', short: 'T', value: 'none' },
  { name: 'statistics', short: 's', value: 'none' },
  { name: 'now', short: 'n', value: 'none' },
  { name: 'poll', short: 'p', value: 'none' },
  { name: 'full', short: 'f', value: 'none' },
  COLOR,
  { name: 'diff', short: 'i', value: 'optional' },
  { name: 'rcvbuf', value: 'required' },
];
const WAIT_FLAGS: readonly LongOption[] = [
  { name: 'wfc-timeout', short: 't', value: 'required' },
  { name: 'degr-wfc-timeout', short: 'd', value: 'required' },
  { name: 'outdated-wfc-timeout', short: 'o', value: 'required' },
  { name: 'wait-after-sb', short: 'w', value: 'optional' },
];

// biome-ignore format: a table, one command a line
export const COMMANDS: readonly CommandRow[] = [
  { name: 'primary', kind: 'configuration', context: ['resource'], summary: 'Change the role of a node in a resource to primary.' },
  { name: 'secondary', kind: 'configuration', context: ['resource'], summary: 'Change the role of a node in a resource to secondary.' },
  { name: 'attach', kind: 'configuration', context: ['minor'], payload: ['lower_dev', 'meta_data_dev', 'meta_data_index'], summary: 'Attach a lower-level device to an existing replicated device.' },
  { name: 'disk-options', kind: 'configuration', context: ['minor'], summary: 'Change the disk options of an attached lower-level device.' },
  { name: 'detach', kind: 'configuration', context: ['minor'], summary: 'Detach the lower-level device of a replicated device.' },
  { name: 'connect', kind: 'configuration', context: ['resource', 'peer_node_id'], summary: 'Attempt to (re)establish a replication link to a peer host.' },
  { name: 'new-peer', kind: 'configuration', context: ['resource', 'peer_node_id'], summary: 'Make a peer host known to a resource.' },
  { name: 'del-peer', kind: 'configuration', context: ['resource', 'peer_node_id'], summary: 'Remove a connection to a peer host.' },
  { name: 'new-path', kind: 'configuration', context: ['resource', 'peer_node_id'], payload: ['local-addr', 'remote-addr'], summary: 'Add a path (endpoint address pair) where a peer host should be reachable.' },
  { name: 'del-path', kind: 'configuration', context: ['resource', 'peer_node_id'], payload: ['local-addr', 'remote-addr'], summary: 'Remove a path (endpoint address pair) from a connection to a peer host.' },
  { name: 'net-options', kind: 'configuration', context: ['resource', 'peer_node_id'], summary: 'Change the network options of a connection.' },
  { name: 'disconnect', kind: 'configuration', context: ['resource', 'peer_node_id'], summary: 'Unconnect from a peer host.' },
  { name: 'resize', kind: 'configuration', context: ['minor'], summary: 'Reexamine the lower-level device sizes to resize a replicated device.' },
  { name: 'resource-options', kind: 'configuration', context: ['resource'], summary: 'Change the resource options of an existing resource.' },
  { name: 'peer-device-options', kind: 'configuration', context: ['resource', 'peer_node_id', 'volume'], summary: 'Change peer-device options.' },
  { name: 'new-current-uuid', kind: 'configuration', context: ['minor'], summary: 'Generate a new current UUID.' },
  { name: 'invalidate', kind: 'configuration', context: ['minor'], summary: 'Replace the local data of a volume with that of a peer.' },
  { name: 'invalidate-remote', kind: 'configuration', context: ['resource', 'peer_node_id', 'volume'], summary: "Replace a peer's data of a volume with the local data." },
  { name: 'pause-sync', kind: 'configuration', context: ['resource', 'peer_node_id', 'volume'], summary: 'Stop resynchronizing between a local and a peer device.' },
  { name: 'resume-sync', kind: 'configuration', context: ['resource', 'peer_node_id', 'volume'], summary: 'Allow resynchronization to resume on a replicated device.' },
  { name: 'suspend-io', kind: 'configuration', context: ['minor'], summary: 'Suspend I/O on a replicated device.' },
  { name: 'resume-io', kind: 'configuration', context: ['minor'], summary: 'Resume I/O on a replicated device.' },
  { name: 'outdate', kind: 'configuration', context: ['minor'], summary: 'Mark the data on a lower-level device as outdated.' },
  { name: 'verify', kind: 'configuration', context: ['resource', 'peer_node_id', 'volume'], summary: 'Verify the data on a lower-level device against a peer device.' },
  { name: 'down', kind: 'query', context: ['resource-or-all'], summary: 'Take a resource down.' },
  { name: 'role', kind: 'query', context: ['resource'], summary: 'Show the current role of a resource.' },
  { name: 'peer-role', kind: 'query', context: ['resource', 'peer_node_id'], summary: 'Show the current role of a peer.' },
  { name: 'cstate', kind: 'query', context: ['resource', 'peer_node_id'], summary: 'Show the current state of a connection.' },
  { name: 'dstate', kind: 'query', context: ['minor'], summary: 'Show the current disk state of a lower-level device.' },
  { name: 'show-gi', kind: 'query', context: ['resource', 'peer_node_id', 'volume'], summary: 'Show the data generation identifiers for a device on a particular connection, with explanations.' },
  { name: 'get-gi', kind: 'query', context: ['resource', 'peer_node_id', 'volume'], summary: 'Show the data generation identifiers for a device on a particular connection.' },
  { name: 'show', kind: 'query', context: ['resource-or-all'], flags: SHOW_FLAGS, summary: 'Show the current configuration of a resource, or of all resources.' },
  { name: 'status', kind: 'query', context: ['resource-or-all'], flags: STATUS_FLAGS, ownFlags: [{ name: 'watch', value: 'none' }], summary: 'Show the state of a resource, or of all resources.' },
  { name: 'check-resize', kind: 'query', context: ['minor'], summary: 'Remember the current size of a lower-level device.' },
  { name: 'events2', kind: 'query', context: ['resource-or-all'], flags: EVENTS_FLAGS, summary: 'Show the current state and all state changes of a resource, or of all resources.' },
  { name: 'wait-sync-volume', kind: 'query', context: ['resource', 'peer_node_id', 'volume'], flags: WAIT_FLAGS, summary: 'Wait until resync finished on a volume.' },
  { name: 'wait-sync-connection', kind: 'query', context: ['resource', 'peer_node_id'], flags: WAIT_FLAGS, summary: 'Wait until resync finished on all volumes of a connection.' },
  { name: 'wait-sync-resource', kind: 'query', context: ['resource'], flags: WAIT_FLAGS, summary: 'Wait until resync finished on all volumes.' },
  { name: 'wait-connect-volume', kind: 'query', context: ['resource', 'peer_node_id', 'volume'], flags: WAIT_FLAGS, summary: 'Wait until a device on a peer is visible.' },
  { name: 'wait-connect-connection', kind: 'query', context: ['resource', 'peer_node_id'], flags: WAIT_FLAGS, summary: 'Wait until all peer volumes of connection are visible.' },
  { name: 'wait-connect-resource', kind: 'query', context: ['resource'], flags: WAIT_FLAGS, summary: 'Wait until all connections are establised.' },
  { name: 'new-resource', kind: 'configuration', context: ['resource'], payload: ['node_id'], summary: 'Create a new resource.' },
  { name: 'new-minor', kind: 'configuration', context: ['resource', 'minor', 'volume'], summary: 'Create a new replicated device within a resource.' },
  { name: 'del-minor', kind: 'configuration', context: ['minor'], summary: 'Remove a replicated device.' },
  { name: 'del-resource', kind: 'configuration', context: ['resource'], summary: 'Remove a resource.' },
  { name: 'forget-peer', kind: 'configuration', context: ['resource'], payload: ['peer_node_id'], summary: 'Completely remove any reference to an unconnected peer from meta-data.' },
  { name: 'rename-resource', kind: 'configuration', context: ['resource'], payload: ['new_name'], summary: 'Rename a resource.' },
  { name: 'udev', kind: 'query', context: ['minor'], summary: 'Generate output for udev rules.' },
];

/** Commands that stock does not have; its list of commands must not show them. */
const OWN_COMMANDS: readonly CommandRow[] = [
  { name: 'metrics', kind: 'query', context: ['resource-or-all'], summary: 'Show states and counters as Prometheus reads them.' },
];

const BY_NAME: ReadonlyMap<string, CommandRow> = new Map([...COMMANDS, ...OWN_COMMANDS].map((row) => [row.name, row]));
export const findCommand = (name: string): CommandRow | undefined => BY_NAME.get(name);

/** Configuration options of a command, in the order of help and show. */
export const fieldsOf = (row: CommandRow): readonly (Option | CommandOption)[] =>
  row.kind === 'configuration' ? optionsOfCommand(row.name) : [];

export const takesSetDefaults = (row: CommandRow): boolean => SET_DEFAULTS_COMMANDS.includes(row.name);

/** Second names of options, per command. */
const ALIASES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  primary: { 'overwrite-data-of-peer': 'force' },
  connect: { 'dry-run': 'tentative' },
};

/** @returns the option's own name for one that may be an alias */
export const optionName = (row: CommandRow, given: string): string => ALIASES[row.name]?.[given] ?? given;

/** Everything getopt has to know about a command. */
export function longOptionsOf(row: CommandRow): LongOption[] {
  const fields = fieldsOf(row).map(
    (field): LongOption => ({ name: field.name, value: field.kind === 'boolean' || field.kind === 'flag' ? 'optional' : 'required' }),
  );
  return [
    ...(row.flags ?? []),
    ...(row.ownFlags ?? []),
    ...(takesSetDefaults(row) ? [{ name: 'set-defaults', short: '(', value: 'none' } as const] : []),
    ...fields,
    ...Object.keys(ALIASES[row.name] ?? {}).map((name): LongOption => ({ name, value: 'optional', isAlias: true })),
  ];
}
