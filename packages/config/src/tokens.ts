/**
 * The tokens of drbd.conf. The number is the one that stock messages print as `(TK n)`; keywords count only when unquoted.
 * Source: drbd-utils 9.34, drbdadm_scanner.fl and drbdadm_parser.h.
 */
import { createToken, Lexer, type TokenType } from 'chevrotain';

const numbers = new Map<TokenType, number>();

/**
 * Mostly plain objects: createToken would complete each one on its own, the parser completes them all at once. But the parser only
 * looks for categories when it finds one complete already.
 */
function token(name: string, number: number, categories: TokenType[] = []): TokenType {
  const type: TokenType = categories.length > 0 ? createToken({ name, pattern: Lexer.NA, categories }) : { name };
  numbers.set(type, number);
  return type;
}

/** Number of a token type in stock messages; 0 at end of file. */
export const tokenNumber = (type: TokenType): number => numbers.get(type) ?? 0;

export const LBrace = token('{', 0x7b);
export const RBrace = token('}', 0x7d);
export const Semicolon = token(';', 0x3b);
export const LBracket = token('[', 0x5b);
export const RBracket = token(']', 0x5d);
export const Colon = token(':', 0x3a);

export const IpV4Address = token('TK_IPADDR', 279);
export const Integer = token('TK_INTEGER', 280);
export const Text = token('TK_STRING', 281);
export const OtherCharacter = token('TK_ELSE', 282);
export const WordTooLong = token('TK_ERR_STRING_TOO_LONG', 296);
export const QuotedTooLong = token('TK_ERR_DQSTRING_TOO_LONG', 297);
export const QuotedOpen = token('TK_ERR_DQSTRING', 298);
export const IpV6Address = token('TK_IPADDR6', 304);
export const ModuleVersion = token('TK_KMODVERS', 329);

/** Keywords that stand for each other; fewer places in the grammar make a faster start. */
const category = (name: string): TokenType => ({ name });
export const GlobalNumber = category('GlobalNumber');
export const GlobalFlag = category('GlobalFlag');
export const UsageCountValue = category('UsageCountValue');
export const RequireVersion = category('RequireVersion');
export const Section = category('Section');
export const MetaDisk = category('MetaDisk');
export const ProxySide = category('ProxySide');
export const IpFamily = category('IpFamily');
const CATEGORIES: ReadonlyMap<TokenType, readonly string[]> = new Map([
  [GlobalNumber, ['minor-count', 'dialog-refresh', 'cmd-timeout-short', 'cmd-timeout-medium', 'cmd-timeout-long']],
  [GlobalFlag, ['disable-ip-verification', 'udev-always-use-vnr']],
  [UsageCountValue, ['yes', 'no', 'ask']],
  [RequireVersion, ['eq', 'ne', 'gt', 'ge', 'lt', 'le'].map((op) => `require-drbd-module-version-${op}`)],
  [Section, ['net', 'options', 'startup', 'handlers', 'syncer']],
  [MetaDisk, ['meta-disk', 'flexible-meta-disk']],
  [ProxySide, ['inside', 'outside']],
  [IpFamily, ['ipv4', 'ssocks', 'sdp', 'sci']],
]);
const categoriesOf = (text: string): TokenType[] => [...CATEGORIES].filter(([, texts]) => texts.includes(text)).map(([type]) => type);

/** Keywords by their text. */
export const KEYWORDS: ReadonlyMap<string, TokenType> = new Map(
  (
    [
      ['global', 258],
      ['resource', 259],
      ['on', 260],
      ['stacked-on-top-of', 261],
      ['net', 262],
      ['disk', 263],
      ['skip', 264],
      ['syncer', 265],
      ['startup', 266],
      ['disable-ip-verification', 267],
      ['dialog-refresh', 268],
      ['handlers', 270],
      ['common', 271],
      ['address', 272],
      ['device', 273],
      ['minor', 274],
      ['meta-disk', 275],
      ['flexible-meta-disk', 276],
      ['node-id', 277],
      ['minor-count', 278],
      ['usage-count', 283],
      ['ask', 284],
      ['yes', 285],
      ['no', 286],
      ['_this_host', 287],
      ['_remote_host', 288],
      ['_peer_node_id', 289],
      ['_cstate', 290],
      ['_unknown', 291],
      ['proxy', 292],
      ['inside', 293],
      ['outside', 294],
      ['sci', 299],
      ['sdp', 300],
      ['ssocks', 301],
      ['ipv4', 302],
      ['ipv6', 303],
      ['include', 305],
      ['floating', 307],
      ['volume', 308],
      ['cmd-timeout-short', 309],
      ['cmd-timeout-medium', 310],
      ['cmd-timeout-long', 311],
      ['options', 312],
      ['connection', 313],
      ['outside-address', 314],
      ['host', 315],
      ['port', 316],
      ['connection-mesh', 317],
      ['hosts', 318],
      ['via', 319],
      ['template-file', 320],
      ['path', 321],
      ['udev-always-use-vnr', 322],
      ['require-drbd-module-version-eq', 323],
      ['require-drbd-module-version-ne', 324],
      ['require-drbd-module-version-gt', 325],
      ['require-drbd-module-version-ge', 326],
      ['require-drbd-module-version-lt', 327],
      ['require-drbd-module-version-le', 328],
      ['tiebreaker', 330],
    ] as const
  ).map(([text, number]) => [text, token(`TK_${text.replace(/^_/, '').replaceAll('-', '_').toUpperCase()}`, number, categoriesOf(text))]),
);

/** The token type of a keyword. */
export function keyword(text: string): TokenType {
  const type = KEYWORDS.get(text);
  if (type === undefined) throw new Error(`no keyword ${text}`);
  return type;
}

/**
 * Tokens that the scanner makes where any token will do, so that the grammar stays LL(1): names and values in option sections,
 * words of proxy plugins, what stands where a device name should, and a whole `skip` block.
 */
export const OptionName = token('OptionName', 0);
export const OptionValue = token('OptionValue', 0);
export const PluginName = token('PluginName', 0);
export const PluginWord = token('PluginWord', 0);
export const Swallowed = token('Swallowed', 0);
export const SkipBlock = token('SkipBlock', 0);

/** Every token type, as the parser wants them. */
export const ALL_TOKENS: TokenType[] = [...CATEGORIES.keys(), ...numbers.keys()];
