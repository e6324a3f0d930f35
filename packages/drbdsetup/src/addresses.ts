/** Endpoints as they are typed: `[local:|peer:][FAMILY:]ADDRESS[:PORT]`. */
import { lookup } from 'node:dns/promises';
import { isIPv4, isIPv6 } from 'node:net';
import { ADDRESS_FAMILIES, type AddressFamily, type Endpoint } from '@udrbd/control';
import { CommandExit, EXIT_USAGE } from './command-io.js';
import { parseScaledNumber } from './numbers.js';

const DEFAULT_PORT = 7788;

/**
 * @param note - takes the line that stock writes about an old form
 * @throws CommandExit with the stock text when the address has a bad form or a name that can not be resolved
 */
export async function parseEndpoint(text: string, note: (line: string) => void): Promise<Endpoint> {
  let rest = text.replace(/^(local|peer):/, '');
  let family: AddressFamily = 'ipv4';
  const named = ADDRESS_FAMILIES.find((word) => rest.startsWith(`${word}:`));
  if (named !== undefined) {
    family = named;
    rest = rest.slice(named.length + 1);
  }
  if (family === 'ipv6') {
    const { host, port } = splitIpv6(rest, note);
    return { family, address: isIPv6(host) ? host : await resolve(host, 6), port };
  }
  const colon = rest.lastIndexOf(':');
  const host = colon < 0 ? rest : rest.slice(0, colon);
  const port = colon < 0 ? DEFAULT_PORT : portNumber(rest.slice(colon + 1));
  return { family, address: isIPv4(host) ? host : await resolve(host, 4), port };
}

function splitIpv6(rest: string, note: (line: string) => void): { host: string; port: number } {
  const bracketed = /^\[([^\]]*)\](?::(.+))?$/.exec(rest);
  if (bracketed !== null) return { host: bracketed[1]!, port: bracketed[2] === undefined ? DEFAULT_PORT : portNumber(bracketed[2]) };
  if (rest.includes('[') || rest.includes(']')) throw new CommandExit(EXIT_USAGE, { stderr: `unexpected ipv6 format: ${rest}\n` });
  const colon = rest.lastIndexOf(':');
  if (colon < 0) return { host: rest, port: DEFAULT_PORT };
  const [host, port] = [rest.slice(0, colon), rest.slice(colon + 1)];
  note(`interpreting ipv6:${host}:${port} as ipv6:[${host}]:${port}\n`);
  return { host, port: portNumber(port) };
}

const portNumber = (text: string): number => Number(BigInt.asUintN(16, parseScaledNumber(text, 1)));

async function resolve(host: string, family: 4 | 6): Promise<string> {
  try {
    return (await lookup(host, { family })).address;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const isUnknown = code === 'ENOTFOUND' || code === undefined;
    const stderr =
      family === 4
        ? `can not resolve the hostname: gethostbyname(${host}): ${isUnknown ? 'Unknown host' : 'Host name lookup failure'}\n`
        : `getaddrinfo ${host}: ${isUnknown ? 'Name or service not known' : 'Temporary failure in name resolution'}\n`;
    throw new CommandExit(EXIT_USAGE, { stderr });
  }
}
