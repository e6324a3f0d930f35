/**
 * The scanner: text to tokens for the grammar. The longest match wins, so a run of word characters is cut out first and then
 * classified as keyword, module version, IPv4 address, number or string. Every input has a token vector; what is no token is one of
 * the error tokens. Written by hand because chevrotain's lexer needs 15 ms to set itself up, which every command would pay.
 */
import type { IToken, TokenType } from 'chevrotain';
import { optionsOf } from './options.js';
import {
  Colon,
  Integer,
  IpV4Address,
  IpV6Address,
  KEYWORDS,
  keyword,
  LBrace,
  LBracket,
  ModuleVersion,
  OptionName,
  OptionValue,
  OtherCharacter,
  PluginName,
  PluginWord,
  QuotedOpen,
  QuotedTooLong,
  RBrace,
  RBracket,
  Semicolon,
  SkipBlock,
  Swallowed,
  Text,
  tokenNumber,
  WordTooLong,
} from './tokens.js';

const LONGEST_WORD = 129;
const BLANK = 1;
const WORD = 2;
const HEX = 4;
/** What the character with this code can be part of. */
const KINDS = Uint8Array.from({ length: 128 }, (_, code) => {
  const c = String.fromCharCode(code);
  return (/[ \t\r]/.test(c) ? BLANK : 0) | (/[a-zA-Z0-9/._-]/.test(c) ? WORD : 0) | (/[0-9a-fA-F]/.test(c) ? HEX : 0);
});
const NEWLINE = 0x0a;
const HASH = 0x23;
const COLON = 0x3a;
const QUAD = '[0-9a-fA-F]{1,4}';
const IPV6 = new RegExp(
  `::[fF]{4}:(?:[0-9]{1,3}\\.){3}[0-9]{1,3}|(?:(?:${QUAD}:){1,6}|:)(?:${QUAD})?(?:(?::${QUAD}){1,6}|:)(?:%[a-zA-Z0-9/._-]+)?`,
  'y',
);
const QUOTED = /"(?:[^"\\\n]|\\[^\n]){0,255}"/y;
const QUOTED_TOO_LONG = /"(?:[^"\\\n]|\\[^\n]){256}/y;
// The newline at its end is not counted, as in stock; line numbers after such a token are one short.
const QUOTED_OPEN = /"(?:[^"\\\n]|\\[^\n]){0,255}[\\\n]/y;

/** By character code. */
const PUNCTUATION: readonly (TokenType | undefined)[] = Object.entries({
  '{': LBrace,
  '}': RBrace,
  ';': Semicolon,
  '[': LBracket,
  ']': RBracket,
  ':': Colon,
}).reduce<(TokenType | undefined)[]>((table, [c, type]) => {
  table[c.charCodeAt(0)] = type;
  return table;
}, Array(128).fill(undefined));

function matchAt(pattern: RegExp, text: string, at: number): string | undefined {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0];
}

function classifyWord(word: string): TokenType {
  const type = KEYWORDS.get(word);
  if (type !== undefined) return type;
  if (word.length === LONGEST_WORD) return WordTooLong;
  const first = word.charCodeAt(0);
  if (first < 0x30 || first > 0x39) return Text;
  if (/^[0-9]{1,8}[MKGs]?$/.test(word)) return Integer;
  if (/^(?:[0-9]{1,3}\.){3}[0-9]{1,3}$/.test(word)) return IpV4Address;
  return /^[0-9]+\.[0-9]+\.[0-9]+$/.test(word) ? ModuleVersion : Text;
}

const PROXY_OPTIONS = new Set(optionsOf('proxy').flatMap((o) => [o.name, `no-${o.name}`]));
const SECTION_HEADS = new Set(['net', 'disk', 'options', 'startup', 'handlers', 'syncer', 'proxy'].map(keyword));
const [SKIP, PROXY, ON, OPTIONS, DEVICE, MINOR] = ['skip', 'proxy', 'on', 'options', 'device', 'minor'].map(keyword);

/**
 * Cuts a text into tokens, and retypes those whose meaning depends only on where they stand. `image` is the text without quotes
 * and escapes, `payload` the token's number in stock messages.
 */
class Scanner {
  readonly tokens: IToken[] = [];
  line = 1;
  #at = 0;
  #lineStart = 0;

  readonly #text: string;
  constructor(text: string) {
    this.#text = text;
  }

  run(): void {
    /** Tokens of the current statement, up to its `{` or `;`. */
    let head: IToken[] = [];
    const open: ('proxy' | 'other')[] = [];
    for (let token = this.#next(); token !== undefined; token = this.#next()) {
      const type = token.tokenType;
      if (head.at(-1)?.tokenType === DEVICE && type !== Text && type !== MINOR) {
        this.tokens.push(retype(token, Swallowed));
        head = [];
        continue;
      }
      if (type === SKIP) {
        this.#skipBlock(token);
        head = [];
        continue;
      }
      if (head.length === 0 && type === Text && token.image === 'protocol') {
        this.#option(retype(token, OptionName));
        continue;
      }
      this.tokens.push(token);
      if (type === LBrace) {
        const isProxy = head.some((t, i) => t.tokenType === PROXY && head[i + 1]?.tokenType === ON);
        const section = head.length === 1 && SECTION_HEADS.has(head[0]!.tokenType) ? head[0]!.tokenType : undefined;
        head = [];
        if (section === undefined) open.push(isProxy ? 'proxy' : 'other');
        else this.#optionSection(section === PROXY || (section === OPTIONS && open.at(-1) === 'proxy'));
      } else if (type === RBrace) {
        open.pop();
        head = [];
      } else if (type === Semicolon) head = [];
      else head.push(token);
    }
  }

  /** Up to the section's `}`, or to the first token with which the grammar will not agree. */
  #optionSection(isProxy: boolean): void {
    for (let name = this.#next(); name !== undefined; name = this.#next()) {
      if (name.tokenType === RBrace) {
        this.tokens.push(name);
        return;
      }
      if (isProxy && !PROXY_OPTIONS.has(name.image)) {
        this.tokens.push(retype(name, PluginName));
        if (!this.#plugins()) return;
        continue;
      }
      if (!this.#option(retype(name, OptionName))) return;
    }
  }

  /** The rest of `NAME [VALUE];`. @returns false when no `;` came */
  #option(name: IToken): boolean {
    this.tokens.push(name);
    let next = this.#next();
    // Obsolete: read up to the `;` and forgotten.
    if (name.image === 'become-primary-on') while (next !== undefined && next.tokenType !== Semicolon) next = this.#next();
    if (next === undefined) return false;
    if (next.tokenType !== Semicolon) {
      this.tokens.push(retype(next, OptionValue));
      next = this.#next();
      if (next === undefined) return false;
    }
    this.tokens.push(next);
    return next.tokenType === Semicolon;
  }

  #plugins(): boolean {
    const brace = this.#next();
    if (brace === undefined) return false;
    this.tokens.push(brace);
    if (brace.tokenType !== LBrace) return false;
    for (let token = this.#next(); token !== undefined; token = this.#next()) {
      const { tokenType } = token;
      this.tokens.push(tokenType === RBrace || tokenType === Semicolon ? token : retype(token, PluginWord));
      if (tokenType === RBrace) return true;
    }
    return false;
  }

  /**
   * Everything up to the `}` that makes as many of them as of `{` becomes one token; without that `}`, none. Of a `}` that comes
   * first, stock makes a debt, and so do we.
   */
  #skipBlock(skip: IToken): void {
    let depth = 0;
    for (let token = this.#next(); token !== undefined; token = this.#next()) {
      if (token.tokenType === LBrace) depth++;
      if (token.tokenType === RBrace && --depth === 0) {
        this.tokens.push(retype(skip, SkipBlock));
        return;
      }
    }
    this.tokens.push(skip);
  }

  #token(tokenType: TokenType, length: number, image?: string): IToken {
    const startOffset = this.#at;
    this.#at += length;
    return {
      image: image ?? this.#text.slice(startOffset, this.#at),
      startOffset,
      startLine: this.line,
      startColumn: startOffset - this.#lineStart + 1,
      tokenType,
      tokenTypeIdx: tokenType.tokenTypeIdx!,
      payload: tokenNumber(tokenType),
    };
  }

  /** Skips blanks and comments. @returns the code of the character that comes next; NaN at the end */
  #skipBlanks(): number {
    const text = this.#text;
    for (;;) {
      const code = text.charCodeAt(this.#at);
      if (code === NEWLINE) {
        this.line++;
        this.#lineStart = ++this.#at;
      } else if (code === HASH) {
        const end = text.indexOf('\n', this.#at);
        this.#at = end < 0 ? text.length : end;
      } else if (((KINDS[code] ?? 0) & BLANK) === 0) return code;
      else this.#at++;
    }
  }

  /** Where the characters of a kind end that begin here. */
  #endOf(kind: number, limit: number): number {
    const text = this.#text;
    let end = this.#at;
    for (const last = end + limit; end < last; end++) if (((KINDS[text.charCodeAt(end)] ?? 0) & kind) === 0) break;
    return end;
  }

  /** Whether what comes next begins like an IPv6 address; most words do not. */
  #mayBeIpV6(code: number): boolean {
    if (code === COLON) return true;
    return ((KINDS[code] ?? 0) & HEX) !== 0 && this.#text.charCodeAt(this.#endOf(HEX, 4)) === COLON;
  }

  #next(): IToken | undefined {
    const text = this.#text;
    const code = this.#skipBlanks();
    if (Number.isNaN(code)) return undefined;
    if (this.#mayBeIpV6(code)) {
      const ipv6 = matchAt(IPV6, text, this.#at);
      if (ipv6 !== undefined) return this.#token(IpV6Address, ipv6.length);
    }
    const punctuation = PUNCTUATION[code];
    if (punctuation !== undefined) return this.#token(punctuation, 1);
    const end = this.#endOf(WORD, LONGEST_WORD);
    if (end > this.#at) {
      const word = text.slice(this.#at, end);
      return this.#token(classifyWord(word), word.length, word);
    }
    const quoted = matchAt(QUOTED, text, this.#at);
    if (quoted !== undefined) return this.#token(Text, quoted.length, quoted.slice(1, -1).replace(/\\(.)/gs, '$1'));
    const tooLong = matchAt(QUOTED_TOO_LONG, text, this.#at);
    if (tooLong !== undefined) return this.#token(QuotedTooLong, tooLong.length);
    const unterminated = matchAt(QUOTED_OPEN, text, this.#at);
    if (unterminated !== undefined) return this.#token(QuotedOpen, unterminated.length);
    return this.#token(OtherCharacter, 1);
  }
}

/** Makes the token something else; its number stays that of what it is. */
function retype(token: IToken, tokenType: TokenType): IToken {
  token.tokenType = tokenType;
  token.tokenTypeIdx = tokenType.tokenTypeIdx!;
  return token;
}

export interface Scan {
  readonly tokens: IToken[];
  /** The line on which the text ends, for messages about its end. */
  readonly endLine: number;
}

/** Cuts a text into tokens. Never fails. */
export function scan(text: string): Scan {
  const scanner = new Scanner(text);
  scanner.run();
  return { tokens: scanner.tokens, endLine: scanner.line };
}
