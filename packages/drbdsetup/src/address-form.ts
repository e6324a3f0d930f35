/**
 * `connect RESOURCE LOCAL REMOTE` and `disconnect RESOURCE LOCAL REMOTE`, the words of DRBD 8.4, which knew one peer and named it by its
 * addresses: the peer is made, or forgotten, by the way.
 */
import { type Command, type NetOptions, RETURN_CODES, type RequestParameters } from '@udrbd/control';
import { parseEndpoint } from './addresses.js';
import { type CommandRow, findCommand, longOptionsOf } from './command-catalogue.js';
import { CommandExit, EXIT_USAGE } from './command-io.js';
import { ask } from './configuration-commands.js';
import { type ParsedArguments, parseArguments } from './getopt.js';
import { givenFields } from './given-options.js';
import { type Session, widthOf } from './invocation.js';
import { reportReply } from './reply-report.js';
import { commandUsage } from './usage.js';

/** Such a peer has no host name. */
const PEER_NAME = 'remote';

/** `connect` with addresses takes the options of `new-peer` as well. @returns undefined when the words are not of that form */
export function parseAddressForm(row: CommandRow, words: readonly string[]): ParsedArguments | undefined {
  if (row.name !== 'connect') return undefined;
  const parsed = parseArguments(words, [...longOptionsOf(row), ...longOptionsOf(findCommand('new-peer')!)]);
  return parsed !== undefined && isAddress(parsed.positionals[1]) ? parsed : undefined;
}

/** Whether this stands where otherwise the peer's node id does. */
export const isAddress = (word: string | undefined): boolean => word !== undefined && !/^\d+$/.test(word);

/** @throws CommandExit with the stock text */
export async function runAddressForm(session: Session): Promise<number> {
  const { io, engine, row, object, rest } = session;
  const resource = session.resource ?? '';
  const [own, peer, ...excess] = rest;
  const local = await parseEndpoint(own ?? '', io.stderr);
  if (peer === undefined)
    throw new CommandExit(EXIT_USAGE, { stderr: 'Missing argument 3 to command\n', stdout: commandUsage(row, widthOf(io)) });
  const remote = await parseEndpoint(peer, io.stderr);
  const fields = givenFields(session);
  const net = givenFields({ ...session, row: findCommand('new-peer')! });
  if (excess.length > 0) throw new CommandExit(EXIT_USAGE, { stderr: `Excess arguments: ${excess.join(' ')}\n` });

  // Both nodes come to the same numbers, each from its point of view.
  const peerNodeId = (hash(own!) | 0) > (hash(peer) | 0) ? 0 : 1;
  const connection = { resource, peerNodeId };
  const send = <C extends Exclude<Command, 'events'>>(command: C, parameters: RequestParameters[C]) => ask(engine, { command, parameters });
  if (row.name === 'disconnect') {
    const reply = await send('disconnect', { ...connection, force: fields.force === true });
    return reportReply(io, object, isDone(reply.code) ? await send('del-peer', { ...connection, force: false }) : reply);
  }
  let reply = await send('new-peer', { ...connection, options: { ...(net as Partial<NetOptions>), _name: PEER_NAME } });
  if (!isDone(reply.code)) return reportReply(io, object, reply);
  reply = await send('new-path', { ...connection, local, remote });
  if (isDone(reply.code)) {
    reply = await send('connect', {
      ...connection,
      tentative: fields.tentative === true,
      discardMyData: fields['discard-my-data'] === true,
    });
  }
  // As if nothing had been asked for, so that it can be asked for again.
  if (!isDone(reply.code)) await send('del-peer', { ...connection, force: true });
  return reportReply(io, object, reply);
}

const isDone = (code: number): boolean => code === RETURN_CODES.NO_ERROR.code || (code > 0 && code < RETURN_CODES.NO_ERROR.code);

/** crc32c of the text, as stock seeds it. */
function hash(text: string): number {
  let crc = 0x1a656f21;
  for (const byte of Buffer.from(text)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return crc >>> 0;
}
