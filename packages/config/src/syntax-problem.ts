/** What stock expected where a text does not fit the grammar, and the messages it makes of it. */
import { EOF, type IToken, type TokenType } from 'chevrotain';
import { QuotedOpen, QuotedTooLong, WordTooLong } from './tokens.js';

/** Marks an expectation that stock reports without the token number. */
export const BARE = '\u0001';
export const EXPECTED = {
  top: `${BARE}global | common | resource | skip | include |\n\trequire-drbd-module-version-{eq,ne,gt,ge,lt,le}`,
  global: `${BARE}dialog-refresh | minor-count | disable-ip-verification`,
  usageCount: `${BARE}yes | no | ask`,
  resource: 'protocol | on | disk | net | syncer | startup | handlers | connection | ignore-on | stacked-on-top-of | skip',
  host: `${BARE}disk | device | address | meta-disk | flexible-meta-disk | node-id | skip`,
  stacked: `${BARE}device | address | proxy | volume | node-id`,
  stackedVolume: 'device | disk | }',
  volume: 'device | disk | meta-disk | flex-meta-disk | }',
  disk: 'TK_STRING | {',
  device: `${BARE}minor | ;`,
  metaDisk: `${BARE}[ | ;`,
  names: "TK_STRING | '{'",
  address: `${BARE}ssocks | sdp | ipv4 | ipv6 | <ipv4 address> `,
  floating: '{ | ;',
  connection: 'host | net | skip | }',
  path: 'host | }',
  endpoint: 'address | port | ;',
  afterEndpoint: 'via | ; ',
  via: 'proxy | outside-address',
  mesh: 'hosts | net | }',
  hosts: "TK_STRING | ';'",
  proxy: `${BARE}inside | outside`,
  skip: `${BARE}skip`,
  plugin: `${BARE}plugin`,
  pluginEnd: `${BARE}plugin end`,
} as const;

/** Stock cuts long tokens in messages. */
export function shown(text: string): string {
  // C strings end at their first zero byte.
  const [visible] = text.split('\0', 1) as [string];
  return visible.length > 20 ? `${visible.slice(0, 20)}...` : visible;
}

/** The message for a token that came instead of what was expected. */
export function describe(expected: string, token: IToken): string {
  const type: TokenType = token.tokenType;
  const got = type === EOF ? '' : token.image;
  if (expected === EXPECTED.skip) return 'reached eof while parsing this skip block.';
  if (expected === EXPECTED.plugin) return 'expected "{" after "proxy" keyword';
  if (expected === EXPECTED.pluginEnd) return 'Missing ";" before  "}"';
  if (expected === 'TK_STRING' || expected === EXPECTED.disk) {
    if (type === WordTooLong) return `Token too long >>>${shown(got)}<<<`;
    if (type === QuotedTooLong) return `Double quoted string too long >>>${shown(got)}<<<`;
    if (type === QuotedOpen) return `Unterminated double quoted string\n  we don't allow embedded newlines\n  >>>${got.slice(0, 20)}...<<<`;
  }
  const bare = expected.startsWith(BARE);
  return `Parse error: '${bare ? expected.slice(1) : expected}' expected,\n\tbut got '${shown(got)}'${bare ? '' : ` (TK ${token.payload ?? 0})`}`;
}
