/** A command line taken apart: the command's row, the object it is about, and the rest. */
import type { ControlClient } from '@udrbd/control';
import type { CommandRow } from './command-catalogue.js';
import { CommandExit, type CommandIo, EXIT_USAGE } from './command-io.js';
import type { GivenOption, ParsedArguments } from './getopt.js';
import { parseU32 } from './numbers.js';
import { commandUsage, generalUsage } from './usage.js';

export interface Invocation {
  readonly io: CommandIo;
  readonly row: CommandRow;
  /** Undefined when the command is about no resource, or about all. */
  readonly resource: string | undefined;
  /** NaN for `connect` and `disconnect` with addresses in its place, which are then in `rest`. */
  readonly peerNodeId: number;
  readonly volume: number;
  readonly minor: number;
  /** What stands before the colon of error messages: the resource or minor as typed. */
  readonly object: string;
  /** What follows the object. */
  readonly rest: readonly string[];
  readonly options: readonly GivenOption[];
}

/** An invocation with an engine to talk to. */
export interface Session extends Invocation {
  readonly engine: ControlClient;
}

export const widthOf = (io: CommandIo): number => io.columns ?? 80;

/** Takes the object off the positionals. @throws CommandExit with the stock text */
export function takeContext(io: CommandIo, row: CommandRow, { options, positionals }: ParsedArguments): Invocation {
  let at = 0;
  let resource: string | undefined;
  let [peerNodeId, volume, minor] = [0, 0, 0];
  let object = '??';
  for (const argument of row.context) {
    const word = positionals[at];
    if (word === undefined) {
      if (argument === 'resource-or-all') {
        object = 'all';
        continue;
      }
      throw new CommandExit(EXIT_USAGE, { stderr: `Missing argument ${at + 1} to command\n`, stdout: commandUsage(row, widthOf(io)) });
    }
    at += 1;
    switch (argument) {
      case 'resource':
      case 'resource-or-all':
        object = word;
        if (word === 'all' && argument === 'resource-or-all') break;
        refuseAll(io, word);
        resource = resourceName(word);
        break;
      case 'minor':
        refuseAll(io, word);
        minor = minorNumber(word);
        if (object === '??') object = word;
        break;
      case 'peer_node_id':
        if (takesAddresses(row, positionals.length - at) && !/^\d+$/.test(word)) {
          // The syntax of DRBD 8.4: addresses instead of a node id.
          return { io, row, resource, peerNodeId: Number.NaN, volume, minor, object, rest: positionals.slice(at - 1), options };
        }
        peerNodeId = parseU32(word);
        break;
      case 'volume':
        volume = parseU32(word);
        break;
    }
  }
  return { io, row, resource, peerNodeId, volume, minor, object, rest: positionals.slice(at), options };
}

/** Stock asks whether `connect` means addresses before it counts the words, and for `disconnect` counts them first. */
const takesAddresses = (row: CommandRow, followed: number): boolean =>
  row.name === 'connect' || (row.name === 'disconnect' && followed > 0);

function refuseAll(io: CommandIo, word: string): void {
  if (word !== 'all') return;
  throw new CommandExit(EXIT_USAGE, { stdout: generalUsage(widthOf(io), "command does not accept argument 'all'") });
}

function resourceName(word: string): string {
  if (word === '') throw new CommandExit(1, { stderr: 'Resource name is empty.\n' });
  if (/[\x00-\x1f\x7f]/.test(word))
    throw new CommandExit(1, { stderr: "Resource name is invalid - please don't use control characters.\n" });
  return word;
}

/** All digits, or `/dev/drbd` and digits: only the name counts, wherever a link of that name leads. */
function minorNumber(word: string): number {
  const digits = /^(?:\/dev\/drbd)?(\d+)$/.exec(word)?.[1];
  if (digits === undefined) throw new CommandExit(EXIT_USAGE, { stderr: `Cannot determine minor device number of device '${word}'\n` });
  return Number(digits);
}

export const isGiven = (invocation: Invocation, name: string): boolean => invocation.options.some((option) => option.name === name);

/** Value of the last occurrence; undefined when absent or without value. */
export const lastValueOf = (invocation: Invocation, name: string): string | undefined =>
  invocation.options.filter((option) => option.name === name).at(-1)?.value;
