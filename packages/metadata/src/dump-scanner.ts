// Tokens of the dump-md text, with the scanner's own complaints.

export type TokenKind = 'word' | 'number' | 'u64' | 'u32' | 'string' | 'operator' | 'invalid' | 'complaint' | 'end';
export interface Token {
  readonly kind: TokenKind;
  readonly text: string;
  readonly line: number;
}

const KEYWORDS = new Set([
  'gc',
  'bm',
  'uuid',
  'version',
  'la-size-sect',
  'bm-byte-per-bit',
  'device-uuid',
  'times',
  'flags',
  'al-stripes',
  'al-stripe-size-4k',
  'la-peer-max-bio-size',
  'node-id',
  'current-uuid',
  'bitmap',
  'bitmap-uuid',
  'bitmap-dagtag',
  'history-uuids',
  'peer',
  'hash',
  'max-peers',
  'bitmap-index',
  'members',
]);

/** Longest match of a token that starts at `lastIndex`; one group per kind. */
const TOKEN = /([{};[\]])|(0x[0-9a-fA-F]+)(?![-\w])|(-?[0-9]+)(?![-\w])|("[^"\r\n]*"?)|([-\w]+)/y;
const BLANKS = /(?:[ \t\r\n]+|#[^\n]*)+/y;

/** Reads a dump piece by piece, so that texts of any length can be scanned. */
export class DumpScanner {
  /** Line of the token given last. */
  line = 1;
  #text = '';
  #at = 0;
  #isAtEnd = false;
  readonly #read: () => string;
  readonly #complain: (line: string) => void;

  /**
   * @param read - next piece of text, '' at the end
   * @param complain - takes what the scanner says about malformed tokens, one line without newline
   */
  constructor(read: () => string, complain: (line: string) => void) {
    this.#read = read;
    this.#complain = complain;
  }

  next(): Token {
    this.#skipBlanks();
    if (this.#at >= this.#text.length) return this.#token('end', '');
    this.#fill(256);
    TOKEN.lastIndex = this.#at;
    const match = TOKEN.exec(this.#text);
    if (!match) {
      const text = this.#text[this.#at++]!;
      return this.#token('invalid', text);
    }
    const text = match[0];
    this.#at += text.length;
    const [, operator, hexNumber, number, string] = match;
    if (operator !== undefined) return this.#token('operator', text);
    if (hexNumber !== undefined) {
      if (text.length === 18) return this.#token('u64', text);
      if (text.length === 10) return this.#token('u32', text);
      return this.#complaint('invalid hex number (only 8 or 16 hex digits accepted)', text);
    }
    if (number !== undefined) {
      return text.replace('-', '').length <= 19 ? this.#token('number', text) : this.#complaint('number too big', text);
    }
    if (string !== undefined) {
      const body = text.slice(1, -1);
      const isGood = text.endsWith('"') && body.length >= 1 && body.length <= 20;
      return isGood ? this.#token('string', body) : this.#complaint('invalid string', text);
    }
    return KEYWORDS.has(text) ? this.#token('word', text) : this.#complaint('unknown token', text);
  }

  #token(kind: TokenKind, text: string): Token {
    return { kind, text, line: this.line };
  }

  #complaint(message: string, text: string): Token {
    this.#complain(`line ${this.line}: ${message}: ${text} ...`);
    return this.#token('complaint', text);
  }

  #skipBlanks(): void {
    for (;;) {
      this.#fill(256);
      BLANKS.lastIndex = this.#at;
      const match = BLANKS.exec(this.#text);
      if (!match) return;
      for (const c of match[0]) if (c === '\n') this.line++;
      this.#at += match[0].length;
      // A comment or blank that reaches the end of the piece may go on in the next one.
      if (this.#at < this.#text.length || this.#isAtEnd) return;
      if (match[0].includes('#') && !match[0].endsWith('\n')) this.#skipLine();
    }
  }

  #skipLine(): void {
    for (;;) {
      this.#fill(1);
      const end = this.#text.indexOf('\n', this.#at);
      this.#at = end < 0 ? this.#text.length : end;
      if (end >= 0 || this.#isAtEnd) return;
    }
  }

  /** Makes at least `count` characters available unless the text ends before. */
  #fill(count: number): void {
    while (this.#text.length - this.#at < count && !this.#isAtEnd) {
      const piece = this.#read();
      if (piece === '') this.#isAtEnd = true;
      this.#text = this.#text.slice(this.#at) + piece;
      this.#at = 0;
    }
  }
}
