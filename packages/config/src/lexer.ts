/**
 * The scanner: text to tokens. The longest match wins, so a run of word characters is cut out first and then classified as keyword,
 * module version, IPv4 address, number or string. Every input has a token vector; what is no token is one of the error tokens.
 */
import { createToken, type IToken, Lexer, type TokenType } from 'chevrotain';
import {
  Colon,
  Integer,
  IpV4Address,
  IpV6Address,
  KEYWORDS,
  LBrace,
  LBracket,
  ModuleVersion,
  OtherCharacter,
  QuotedOpen,
  QuotedTooLong,
  RBrace,
  RBracket,
  Semicolon,
  Text,
  WordTooLong,
} from './tokens.js';

const BLANK = createToken({ name: 'Blank', pattern: /[ \t\r]+/, group: Lexer.SKIPPED });
const NEWLINE = createToken({ name: 'Newline', pattern: /\n/, group: Lexer.SKIPPED, line_breaks: true });
const COMMENT = createToken({ name: 'Comment', pattern: /#[^\n]*/, group: Lexer.SKIPPED });
const WORD = createToken({ name: 'Word', pattern: /[a-zA-Z0-9/._-]{1,129}/ });
const QUAD = '[0-9a-fA-F]{1,4}';
const IPV6 = createToken({
  name: 'IpV6',
  pattern: new RegExp(
    `::[fF]{4}:(?:[0-9]{1,3}\\.){3}[0-9]{1,3}|(?:(?:${QUAD}:){1,6}|:)(?:${QUAD})?(?:(?::${QUAD}){1,6}|:)(?:%[a-zA-Z0-9/._-]+)?`,
  ),
  start_chars_hint: [...':0123456789abcdefABCDEF'],
});
const QUOTED = createToken({ name: 'Quoted', pattern: /"(?:[^"\\\n]|\\[^\n]){0,255}"/, line_breaks: false });
const QUOTED_TOO_LONG = createToken({ name: 'QuotedTooLong', pattern: /"(?:[^"\\\n]|\\[^\n]){256}/, line_breaks: false });
// The newline inside is not counted, as in stock; line numbers after such a token are one short.
const QUOTED_OPEN = createToken({ name: 'QuotedOpen', pattern: /"(?:[^"\\\n]|\\[^\n]){0,255}[\\\n]/, line_breaks: false });
const PUNCTUATION = createToken({ name: 'Punctuation', pattern: /[{};[\]:]/ });
// chevrotain dispatches on the first character: below 256 directly, above in blocks of 255. This one may start with any.
const ANY_START = Array.from({ length: 513 }, (_, i) => (i < 256 ? i : Math.min((i - 255) * 255, 0xffff)));
const OTHER = createToken({ name: 'Other', pattern: /[\s\S]/, line_breaks: false, start_chars_hint: ANY_START });

const PUNCTUATION_TYPES: Readonly<Record<string, TokenType>> = {
  '{': LBrace,
  '}': RBrace,
  ';': Semicolon,
  '[': LBracket,
  ']': RBracket,
  ':': Colon,
};
const CLASSES: readonly (readonly [RegExp, TokenType])[] = [
  [/^[0-9]+\.[0-9]+\.[0-9]+$/, ModuleVersion],
  [/^(?:[0-9]{1,3}\.){3}[0-9]{1,3}$/, IpV4Address],
  [/^[0-9]{1,8}[MKGs]?$/, Integer],
  [/^.{129}$/, WordTooLong],
];
const FIXED = new Map<TokenType, TokenType>([
  [IPV6, IpV6Address],
  [QUOTED_TOO_LONG, QuotedTooLong],
  [QUOTED_OPEN, QuotedOpen],
  [OTHER, OtherCharacter],
]);

const lexer = new Lexer([BLANK, NEWLINE, PUNCTUATION, IPV6, WORD, COMMENT, QUOTED, QUOTED_TOO_LONG, QUOTED_OPEN, OTHER], {
  positionTracking: 'onlyStart',
  skipValidations: true,
  ensureOptimizations: true,
});

function classify(token: IToken): TokenType {
  const fixed = FIXED.get(token.tokenType);
  if (fixed !== undefined) return fixed;
  const text = token.image;
  if (token.tokenType === PUNCTUATION) return PUNCTUATION_TYPES[text]!;
  if (token.tokenType === QUOTED) {
    token.image = text.slice(1, -1).replace(/\\([\s\S])/g, '$1');
    return Text;
  }
  const keyword = KEYWORDS.get(text);
  if (keyword !== undefined) return keyword;
  const first = text.charCodeAt(0);
  if ((first >= 0x30 && first <= 0x39) || text.length === 129) {
    for (const [pattern, type] of CLASSES) if (pattern.test(text)) return type;
  }
  return Text;
}

export interface Scan {
  readonly tokens: IToken[];
  /** The line on which the text ends, for messages about its end. */
  readonly endLine: number;
}

/** Cuts a text into tokens; `image` is the text without quotes and escapes. Never fails. */
export function scan(text: string): Scan {
  const { tokens } = lexer.tokenize(text);
  for (const token of tokens) {
    const type = classify(token);
    token.tokenType = type;
    token.tokenTypeIdx = type.tokenTypeIdx!;
  }
  const last = tokens.at(-1);
  let endLine = last?.startLine ?? 1;
  // No other token holds a newline; the one inside an unterminated string does not count.
  let at = last === undefined ? 0 : last.startOffset + (last.tokenType === QuotedOpen ? last.image.length : 0);
  for (at = text.indexOf('\n', at); at >= 0; at = text.indexOf('\n', at + 1)) endLine++;
  return { tokens, endLine };
}
