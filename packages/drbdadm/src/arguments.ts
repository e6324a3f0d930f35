/** The arguments of a command: RES, RES/VOLUME, RES:PEER, RES:PEER/VOLUME, minor-N. */
import { type Config, type Connection, findEntry, hostNamesEqual, isIgnored, type Resource, type Volume } from '@udrbd/config';
import type { Target } from './session.js';

/** What an argument stands for, or the messages to print and the code to go on (1) or stop (20) with. */
export type Resolved =
  | { readonly target: Target }
  | { readonly messages: readonly string[]; readonly exitCode: number; readonly final: boolean };

/** Nothing more is done once an argument was found to contradict the configuration. */
const refuse = (...messages: string[]): Resolved => ({ messages, exitCode: 1, final: true });

interface Parts {
  readonly res: string;
  readonly peer: string | undefined;
  readonly volume: number | undefined;
}

const MISSING_NUMBER = 'missing number argument';
/** Stock ends differently for a number that is wrong and one that is not there. */
const notANumber = (message: string): Resolved => ({ messages: [message], exitCode: message === MISSING_NUMBER ? 100 : 20, final: true });

function numberOf(text: string): number | string {
  if (text === '') return MISSING_NUMBER;
  if (/^[0-9]+[^0-9]$/.test(text)) return `${text} is not a valid unit`;
  return /^[0-9]+$/.test(text) ? Number.parseInt(text, 10) : `${text} is not a valid number`;
}

/** Splits at the last `/`, then at the first `:`. @returns a message when the volume is no number */
export function splitArgument(argument: string): Parts | string {
  let rest = argument;
  let volume: number | undefined;
  const slash = argument.lastIndexOf('/');
  if (slash >= 0) {
    const number = numberOf(argument.slice(slash + 1));
    if (typeof number === 'string') return number;
    volume = number;
    rest = argument.slice(0, slash);
  }
  const colon = rest.indexOf(':');
  return colon < 0 ? { res: rest, peer: undefined, volume } : { res: rest.slice(0, colon), peer: rest.slice(colon + 1), volume };
}

function byMinor(config: Config, minor: number): { res: Resource; volume: Volume } | undefined {
  for (const res of config.resources) {
    if (res.ignore) continue;
    const volume = res.me?.volumes.find((v) => v.minor === minor);
    if (volume !== undefined) return { res, volume };
  }
  return undefined;
}

/** The connection to a peer, named by host or by the connection's own name. */
function findConnection(res: Resource, peer: string, argument: string): Connection | readonly string[] {
  const isLocal = res.me?.names.some((name) => hostNamesEqual(name, peer)) ?? false;
  if (isLocal) return new Array<string>(3).fill(`Host name '${peer}' (from '${argument}') is not a peer, but the local node`);
  const found =
    res.connections.find((c) => !c.ignore && c.peer?.names.some((name) => hostNamesEqual(name, peer))) ??
    res.connections.find((c) => !c.ignore && connectionName(c) === peer);
  return found ?? [`Not a valid connection (${argument}) for this host`];
}

/** The connection's name: `_name`, or the names of the peer. */
export const connectionName = (connection: Connection): string =>
  findEntry(connection.net, '_name')?.value ?? connection.peer?.names.join('_') ?? '';

export function resolveArgument(config: Config, argument: string): Resolved {
  const undefinedHere: Resolved = { messages: [`'${argument}' not defined in your config (for this host).`], exitCode: 1, final: false };
  if (argument.startsWith('minor-')) {
    const minor = numberOf(argument.slice('minor-'.length));
    if (typeof minor === 'string') return notANumber(minor);
    const found = byMinor(config, minor);
    return found === undefined ? undefinedHere : { target: { ...found, argument } };
  }
  const parts = splitArgument(argument);
  if (typeof parts === 'string') return notANumber(parts);
  const res = config.resources.find((r) => r.name === parts.res && !r.ignore);
  if (res === undefined) return undefinedHere;
  const unexpected = `'${argument}' unexpected ctx_by_* result r=-2`;
  let connection: Connection | undefined;
  if (parts.peer !== undefined) {
    const found = findConnection(res, parts.peer, argument);
    if (!('paths' in found)) return refuse(...found, unexpected);
    if (found.ignoreForNow) return refuse(`Connection '${connectionName(found)}' has the ignore flag set`, unexpected);
    connection = found;
  }
  let volume: Volume | undefined;
  if (parts.volume !== undefined) {
    volume = res.me?.volumes.find((v) => v.vnr === parts.volume);
    if (volume === undefined) return refuse(`Resource '${res.name}' has no volume ${parts.volume}`, unexpected);
  }
  return { target: { res, volume, connection, argument } };
}

/**
 * Whether arguments name a connection twice, alone or as part of their resource.
 * @returns the message, if so
 */
export function repeatedConnection(config: Config, args: readonly string[]): string | undefined {
  const enabled = new Set<Connection>();
  for (const argument of args) {
    const resolved = resolveArgument(config, argument);
    if (!('target' in resolved)) continue;
    const { res, connection, volume } = resolved.target;
    if (connection === undefined && volume !== undefined) continue;
    const named = connection === undefined ? res.connections.filter((c) => !isIgnored(c)) : [connection];
    if (named.some((c) => enabled.has(c))) return `USAGE_BUG: ${argument} would enable an already enabled connection\n`;
    for (const c of named) enabled.add(c);
  }
  return undefined;
}
