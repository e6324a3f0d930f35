/** The arguments of a command: RES, RES/VOLUME, RES:PEER, RES:PEER/VOLUME, minor-N. */
import { type Config, type Connection, findEntry, hostNamesEqual, isIgnored, type Resource, type Volume } from '@udrbd/config';
import type { Target } from './session.js';

type Report = (text: string) => void;

/** What an argument stands for, or the messages to print and the code to go on (1) or stop (20) with. */
export type Resolved =
  | { readonly target: Target }
  | { readonly messages: readonly string[]; readonly exitCode: number; readonly final: boolean };

const notANumber = ({ message, exitCode }: BadNumber): Resolved => ({ messages: [message], exitCode, final: true });

/** Nothing more is done once an argument was found to contradict the configuration. */
const refuse = (...messages: string[]): Resolved => ({ messages, exitCode: 1, final: true });

interface Parts {
  readonly res: string;
  readonly peer: string | undefined;
  readonly volume: number | undefined;
}

/** Why an argument cannot be read, and what to exit with. */
interface BadNumber {
  readonly message: string;
  readonly exitCode: number;
}

const UNITS: Readonly<Record<string, bigint>> = { s: 512n, k: 1024n, m: 1048576n, g: 1073741824n };
const LIMIT = 1n << 63n;

/** A number as stock reads it: blanks and a sign before it, one unit behind it, and of the value the lowest 32 bits. */
function numberOf(text: string): number | BadNumber {
  if (text === '') return { message: 'missing number argument', exitCode: 100 };
  const wrong = (what: string): BadNumber => ({ message: `${text}${what}`, exitCode: 20 });
  const [, digits, unit = ''] = /^\s*([+-]?[0-9]+)(.*)$/s.exec(text) ?? [];
  if (digits === undefined || unit.length > 1) return wrong(' is not a valid number');
  const factor = unit === '' ? 1n : UNITS[unit === 's' ? unit : unit === 'S' ? '' : unit.toLowerCase()];
  if (factor === undefined) return wrong(' is not a valid unit');
  const value = BigInt(digits.replace('+', ''));
  const cut = value >= LIMIT ? LIMIT - 1n : value < -LIMIT ? -LIMIT : value;
  if (factor > 1n && (cut > (LIMIT - 1n) / factor || cut < -LIMIT / factor)) return wrong(': out of range');
  return Number(BigInt.asIntN(32, cut * factor));
}

/** Splits at the last `/`, then at the first `:`. */
function splitArgument(argument: string): Parts | BadNumber {
  let rest = argument;
  let volume: number | undefined;
  const slash = argument.lastIndexOf('/');
  if (slash >= 0) {
    const number = numberOf(argument.slice(slash + 1));
    if (typeof number !== 'number') return number;
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

/** Why there is no such connection. To name the local node is a mistake that stock tells of each time it looks. */
interface NoConnection {
  readonly message: string;
  readonly isLocal: boolean;
}

/** The connection to a peer, named by host or by the connection's own name. */
function findConnection(res: Resource, peer: string, argument: string): Connection | NoConnection {
  const isLocal = res.connections.length > 0 && (res.me?.names.some((name) => hostNamesEqual(name, peer)) ?? false);
  if (isLocal) return { message: `Host name '${peer}' (from '${argument}') is not a peer, but the local node`, isLocal };
  const found =
    res.connections.find((c) => !c.ignore && c.peer?.names.some((name) => hostNamesEqual(name, peer))) ??
    res.connections.find((c) => !c.ignore && connectionName(c) === peer);
  return found ?? { message: `Not a valid connection (${argument}) for this host`, isLocal };
}

/** The connection's name: `_name`, or the names of the peer. */
export const connectionName = (connection: Connection): string =>
  findEntry(connection.net, '_name')?.value ?? connection.peer?.names.join('_') ?? '';

const namesMinor = (argument: string): boolean => argument.startsWith('minor-');
const findResource = (config: Config, name: string): Resource | undefined => config.resources.find((r) => r.name === name && !r.ignore);

export function resolveArgument(config: Config, argument: string): Resolved {
  const undefinedHere: Resolved = { messages: [`'${argument}' not defined in your config (for this host).`], exitCode: 1, final: false };
  if (namesMinor(argument)) {
    const minor = numberOf(argument.slice('minor-'.length));
    if (typeof minor !== 'number') return notANumber(minor);
    const found = byMinor(config, minor);
    return found === undefined ? undefinedHere : { target: { ...found, argument } };
  }
  const parts = splitArgument(argument);
  if ('message' in parts) return notANumber(parts);
  const res = findResource(config, parts.res);
  if (res === undefined) return undefinedHere;
  const unexpected = `'${argument}' unexpected ctx_by_* result r=-2`;
  let connection: Connection | undefined;
  if (parts.peer !== undefined) {
    const found = findConnection(res, parts.peer, argument);
    if (!('paths' in found)) return refuse(found.message, unexpected);
    if (found.ignoreForNow) return refuse(`Connection '${connectionName(found)}' has the ignore flag set`, unexpected);
    connection = found;
  }
  let volume: Volume | undefined;
  if (parts.volume !== undefined) {
    volume = res.me?.volumes.find((v) => v.vnr === parts.volume);
    // To stock, -1 means that none was named, until it has to find it.
    const missing = parts.volume === -1 ? [] : [`Resource '${res.name}' has no volume ${parts.volume}`];
    if (volume === undefined) return refuse(...missing, unexpected);
  }
  return { target: { res, volume, connection, argument } };
}

/** What the survey makes of an argument. Which volume it names does not matter here. */
interface Surveyed {
  /** Whether it names a peer, and not all of them. */
  readonly peer: boolean;
  readonly connections: readonly Connection[];
  readonly badNumber?: BadNumber;
}
const NOTHING: Surveyed = { peer: false, connections: [] };

function survey(config: Config, argument: string, report: Report): Surveyed {
  if (namesMinor(argument)) return NOTHING;
  const parts = splitArgument(argument);
  if ('message' in parts) return { ...NOTHING, badNumber: parts };
  const res = findResource(config, parts.res);
  if (res === undefined) return NOTHING;
  if (parts.peer === undefined)
    return parts.volume === undefined ? { peer: false, connections: res.connections.filter((c) => !isIgnored(c)) } : NOTHING;
  const found = findConnection(res, parts.peer, argument);
  if ('paths' in found) return { peer: true, connections: [found] };
  if (found.isLocal) report(`${found.message}\n`);
  return NOTHING;
}

/**
 * Looks at all arguments before the first is worked on, and then once more: at their numbers, and at which peers they name.
 * @returns those peers' connections, or the message and exit code with which it ends here
 */
export function surveyArguments(config: Config, args: readonly string[], report: Report): ReadonlySet<Connection> | BadNumber {
  for (const argument of args) {
    const { badNumber } = survey(config, argument, report);
    if (badNumber !== undefined) return badNumber;
  }
  const enabled = new Set<Connection>();
  const peers = new Set<Connection>();
  for (const argument of args) {
    const { peer, connections } = survey(config, argument, report);
    if (connections.some((c) => enabled.has(c)))
      return { message: `USAGE_BUG: ${argument} would enable an already enabled connection`, exitCode: 1 };
    for (const connection of connections) {
      enabled.add(connection);
      if (peer) peers.add(connection);
    }
  }
  return peers;
}
