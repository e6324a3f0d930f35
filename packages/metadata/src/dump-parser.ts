// Reads the dump-md text back: the super block's content first, then the bitmaps, run by run.

import { PEERS_MAX } from './constants.js';
import { DumpScanner, type Token } from './dump-scanner.js';
import type { GenerationCounts, MetaData } from './meta-data.js';

/** Malformed text; `message` is the line for the user. */
export class DumpError extends Error {}

/** Expectations as the tool words them; a keyword that is not listed is only called invalid. */
const EXPECTED: Readonly<Record<string, string>> = {
  end: 'end of file',
  ';': 'semicolon (;)',
  '{': 'opening brace ({)',
  '}': 'closing brace (})',
  '[': 'opening bracket ([)',
  ']': 'closing bracket (])',
  number: 'number ([0-9], up to 20 digits)',
  string: 'short quoted string ("..up to 20 characters, no newline..")',
  u32: 'an 8-digit hex number',
  u64: 'a 16-digit hex number',
  bits: 'repeat count, 16-digit hex number, or closing brace (})',
};
const UNWORDED = new Set(['members', 'bitmap-index', 'history-uuids', 'al-stripes', 'al-stripe-size-4k', 'la-peer-max-bio-size']);

export class DumpParser {
  readonly #scanner: DumpScanner;
  #token: Token | undefined;

  constructor(read: () => string, complain: (line: string) => void) {
    this.#scanner = new DumpScanner(read, complain);
  }

  /** The version the text claims; everything else depends on it. */
  version(): string {
    this.#word('version');
    const version = this.#take('string').text;
    this.#operator(';');
    return version;
  }

  /** Number of bitmap slots; comes right after the version, in v09 only. */
  maxPeers(): number {
    return Number(BigInt.asUintN(32, this.#number('max-peers')));
  }

  /**
   * Reads what stands before the bitmaps into `md`; offsets and `md_size_sect` are not in the text.
   * @param checkBlockSize - may refuse the bitmap block size by throwing
   * @returns the agreed size in sectors, which malformed text may push beyond 2^53
   */
  superblock(md: MetaData, checkBlockSize: (bytes: number) => void): bigint {
    const { format } = md;
    if (format === 'v07') {
      this.#word('gc');
      this.#operator('{');
      md.gc = md.gc.map(() => u32(this.#numberValue())) as GenerationCounts;
      this.#operator('}');
    } else if (format === 'v08') {
      this.#word('uuid');
      this.#operator('{');
      md.current_uuid = this.#u64Value();
      md.peers[0].bitmap_uuid = this.#u64Value();
      md.history_uuids[0] = this.#u64Value();
      md.history_uuids[1] = this.#u64Value();
      md.flags = this.#u32('flags');
      this.#operator('}');
    } else {
      this.#identifiers09(md);
    }
    const sizeSectors = this.#number('la-size-sect');
    md.effective_size = Number(sizeSectors);
    if (format !== 'v07') {
      md.bm_bytes_per_bit = Number(this.#number('bm-byte-per-bit'));
      checkBlockSize(md.bm_bytes_per_bit);
      md.device_uuid = this.#u64('device-uuid');
      md.la_peer_max_bio_size = u32(this.#number('la-peer-max-bio-size'));
      md.al_stripes = u32(this.#number('al-stripes'));
      md.al_stripe_size_4k = u32(this.#number('al-stripe-size-4k'));
    }
    return sizeSectors;
  }

  /**
   * The bitmaps, slot by slot.
   * @param put - takes a run: `count` times the 64-bit number `value` from number `position` of `slot` on
   */
  bitmaps(md: MetaData, put: (slot: number, position: number, count: number, value: bigint) => void): void {
    for (let slot = 0; slot < (md.format === 'v09' ? md.bm_max_peers : 1); slot++) {
      if (md.format === 'v09') {
        this.#word('bitmap');
        this.#operator('[');
        const found = unsigned64(this.#take('number').text);
        if (found !== BigInt(slot)) this.#fail(`Expected peer slot ${slot} but found ${i32(found)}`);
        this.#operator(']');
      } else {
        this.#word('bm');
      }
      this.#operator('{');
      this.#runs((position, count, value) => put(slot, position, count, value));
    }
    this.#take('end');
  }

  #identifiers09(md: MetaData): void {
    md.node_id = i32(this.#number('node-id'));
    md.current_uuid = this.#u64('current-uuid');
    md.flags = this.#u32('flags');
    if (this.#peek().text === 'members' && this.#peek().kind === 'word') md.members = this.#u64('members');
    const seen = new Set<number>();
    for (let n = 0; n < PEERS_MAX; n++) {
      this.#word('peer');
      this.#operator('[');
      const nodeId = i32(unsigned64(this.#take('number').text));
      if (nodeId < 0 || nodeId >= PEERS_MAX) this.#fail(`Slot ${nodeId} out of range`);
      if (seen.has(nodeId)) this.#fail(`Peer slot ${nodeId} defined multiple times`);
      seen.add(nodeId);
      this.#operator(']');
      this.#operator('{');
      const peer = md.peers[nodeId];
      peer.bitmap_index = i32(this.#number('bitmap-index'));
      peer.bitmap_uuid = this.#u64('bitmap-uuid');
      peer.bitmap_dagtag = this.#u64('bitmap-dagtag');
      peer.flags = this.#u32('flags');
      this.#operator('}');
    }
    this.#word('history-uuids');
    this.#operator('{');
    md.history_uuids = md.history_uuids.map(() => this.#u64Value());
    this.#operator('}');
  }

  #runs(put: (position: number, count: number, value: bigint) => void): void {
    let position = 0;
    for (;;) {
      const token = this.#next();
      if (token.kind === 'operator' && token.text === '}') return;
      let count = 1;
      let value: bigint;
      if (token.kind === 'u64') {
        value = BigInt(token.text);
      } else if (token.kind === 'number') {
        count = Math.max(0, Number(token.text));
        this.#word('times');
        value = BigInt(this.#take('u64').text);
      } else {
        this.#unexpected(token, 'bits');
      }
      this.#operator(';');
      put(position, count, value);
      position += count;
    }
  }

  #word(keyword: string): void {
    const token = this.#next();
    if (token.kind !== 'word' || token.text !== keyword) this.#unexpected(token, keyword);
  }
  #operator(text: ';' | '{' | '}' | '[' | ']'): void {
    const token = this.#next();
    if (token.kind !== 'operator' || token.text !== text) this.#unexpected(token, text);
  }
  #take(kind: 'number' | 'string' | 'u32' | 'u64' | 'end'): Token {
    const token = this.#next();
    if (token.kind !== kind) this.#unexpected(token, kind);
    return token;
  }
  #number(keyword: string): bigint {
    this.#word(keyword);
    return this.#numberValue();
  }
  #numberValue(): bigint {
    const value = unsigned64(this.#take('number').text);
    this.#operator(';');
    return value;
  }
  #u64(keyword: string): bigint {
    this.#word(keyword);
    return this.#u64Value();
  }
  #u64Value(): bigint {
    const value = BigInt(this.#take('u64').text);
    this.#operator(';');
    return value;
  }
  #u32(keyword: string): number {
    this.#word(keyword);
    const value = Number(this.#take('u32').text);
    this.#operator(';');
    return value;
  }

  #peek(): Token {
    this.#token ??= this.#scanner.next();
    return this.#token;
  }
  #next(): Token {
    const token = this.#peek();
    this.#token = undefined;
    return token;
  }

  #fail(message: string): never {
    throw new DumpError(`Parse error in line ${this.#scanner.line}: ${message}`);
  }

  #unexpected(token: Token, expected: string): never {
    const wording = EXPECTED[expected] ?? (UNWORDED.has(expected) ? undefined : `keyword '${expected}'`);
    const what = wording === undefined ? '  invalid/unexpected token!:' : ` ${wording} expected`;
    throw new DumpError(`Parse error in line ${token.line}:${what}${tail(token)}`);
  }
}

/** Numbers wrap as in C: 64 bits wide, then as wide as the field. */
const unsigned64 = (text: string): bigint => BigInt.asUintN(64, BigInt(text));
const u32 = (value: bigint): number => Number(BigInt.asUintN(32, value));
const i32 = (value: bigint): number => Number(BigInt.asIntN(32, value));

/** What was found instead. */
function tail(token: Token): string {
  switch (token.kind) {
    case 'end':
      return ', but end of file encountered';
    case 'complaint':
      return '';
    case 'invalid': {
      const code = token.text.charCodeAt(0);
      return `; got invalid input character '\\x${code.toString(16).padStart(2, '0')}' [${token.text}]`;
    }
    case 'operator':
      return ';{}'.includes(token.text)
        ? `, not '${token.text}'`
        : `; got token value ${token.text.charCodeAt(0)} (this should never happen!)`;
    case 'number':
    case 'u32':
    case 'u64':
      return ', not some number';
    default:
      return `, not '${token.text}'`;
  }
}
