/** The handshake of one client: greeting, client flags, options, until an export is open. Bytes in, bytes out. */
import { HANDSHAKE, IHAVEOPT, INFO, NBDMAGIC, OPT, OPTION_REPLY_MAGIC, REP } from './nbd-constants.js';
import { exportFlags, type NbdExport, type NbdExports } from './nbd-export.js';
import { NbdOutput } from './nbd-output.js';

/** Longest option that is read; longer ones are skipped and answered with ERR_TOO_BIG. */
const OPTION_BYTES_MAX = 64 << 10;
/** Longest string of the protocol. */
const STRING_BYTES_MAX = 4096;

/**
 * `flags` and `options` negotiate, `open` means that requests follow, `closed` that the connection ends after the output.
 */
export type HandshakePhase = 'flags' | 'options' | 'open' | 'closed';

const utf8 = new TextDecoder('utf-8', { fatal: true });
const encoder = new TextEncoder();

export class NbdHandshake {
  readonly #exports: NbdExports;
  readonly #output = new NbdOutput();
  /** What is being collected: client flags, an option's header, or its data. */
  #pending = new Uint8Array(16);
  #have = 0;
  #want = 4;
  #inOption = false;
  #option = 0;
  /** Bytes of an oversized option that are still to be skipped. */
  #skip = 0;
  #clientFlags = 0;

  phase: HandshakePhase = 'flags';
  /** The opened export, once `phase` is `open`. */
  exported: NbdExport | undefined;
  /** Whether READ is answered with structured chunks. */
  structured = false;

  constructor(exports: NbdExports) {
    this.#exports = exports;
    this.#output
      .u32(NBDMAGIC[0])
      .u32(NBDMAGIC[1])
      .u32(IHAVEOPT[0])
      .u32(IHAVEOPT[1])
      .u16(HANDSHAKE.FIXED_NEWSTYLE | HANDSHAKE.NO_ZEROES);
  }

  /** Bytes to be sent now; possibly none. The greeting is there from the start. */
  takeOutput(): Uint8Array {
    return this.#output.take();
  }

  /**
   * Takes received bytes.
   * @returns the position of the first byte that was not used; below `end` only when the phase became `open` or `closed`
   */
  push(input: Uint8Array, from: number, end: number): number {
    let at = from;
    while (at < end && (this.phase === 'flags' || this.phase === 'options')) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, end - at);
        this.#skip -= skipped;
        at += skipped;
        if (this.#skip === 0) this.#reply(REP.ERR_TOO_BIG);
        continue;
      }
      const count = Math.min(this.#want - this.#have, end - at);
      this.#pending.set(input.subarray(at, at + count), this.#have);
      this.#have += count;
      at += count;
      if (this.#have === this.#want) this.#complete();
    }
    return at;
  }

  #complete(): void {
    const view = new DataView(this.#pending.buffer, 0, this.#have);
    this.#have = 0;
    if (this.phase === 'flags') {
      this.#clientFlags = view.getUint32(0);
      if ((this.#clientFlags & ~(HANDSHAKE.FIXED_NEWSTYLE | HANDSHAKE.NO_ZEROES)) !== 0) this.phase = 'closed';
      else this.phase = 'options';
      this.#want = 16;
      return;
    }
    if (this.#inOption) {
      const data = this.#pending.slice(0, this.#want);
      this.#inOption = false;
      this.#want = 16;
      this.#answer(data);
      return;
    }
    if (view.getUint32(0) !== IHAVEOPT[0] || view.getUint32(4) !== IHAVEOPT[1]) {
      this.phase = 'closed';
      return;
    }
    this.#option = view.getUint32(8);
    const length = view.getUint32(12);
    // A client that does not know the fixed handshake cannot parse replies to options.
    if ((this.#clientFlags & HANDSHAKE.FIXED_NEWSTYLE) === 0 && this.#option !== OPT.EXPORT_NAME) {
      this.phase = 'closed';
    } else if (length > OPTION_BYTES_MAX) {
      if (this.#option === OPT.EXPORT_NAME) this.phase = 'closed';
      else this.#skip = length;
    } else if (length === 0) {
      this.#answer(new Uint8Array());
    } else {
      this.#inOption = true;
      this.#want = length;
      if (length > this.#pending.length) this.#pending = new Uint8Array(length);
    }
  }

  #answer(data: Uint8Array): void {
    switch (this.#option) {
      case OPT.EXPORT_NAME:
        this.#openOldStyle(data);
        break;
      case OPT.ABORT:
        this.#reply(REP.ACK);
        this.phase = 'closed';
        break;
      case OPT.LIST:
        if (data.length !== 0) this.#reply(REP.ERR_INVALID);
        else this.#list();
        break;
      case OPT.INFO:
      case OPT.GO:
        this.#info(data);
        break;
      case OPT.STRUCTURED_REPLY:
        if (data.length !== 0) {
          this.#reply(REP.ERR_INVALID);
        } else {
          this.structured = true;
          this.#reply(REP.ACK);
        }
        break;
      case OPT.LIST_META_CONTEXT:
      case OPT.SET_META_CONTEXT:
        this.#metaContext(data);
        break;
      default:
        this.#reply(REP.ERR_UNSUP);
    }
  }

  #reply(type: number, data: Uint8Array = new Uint8Array()): void {
    this.#output.u32(OPTION_REPLY_MAGIC[0]).u32(OPTION_REPLY_MAGIC[1]).u32(this.#option).u32(type).u32(data.length).bytes(data);
  }

  #openOldStyle(data: Uint8Array): void {
    const name = textOf(data);
    const exported = name === undefined ? undefined : this.#exports.find(name);
    if (exported === undefined || exported.refusal !== undefined) {
      // This option has no way to say no.
      this.phase = 'closed';
      return;
    }
    this.#output.u64(exported.sizeBytes).u16(exportFlags(exported, this.structured));
    if ((this.#clientFlags & HANDSHAKE.NO_ZEROES) === 0) this.#output.zeroes(124);
    this.exported = exported;
    this.phase = 'open';
  }

  #list(): void {
    for (const { name, description } of this.#exports.list()) {
      const nameBytes = encoder.encode(name);
      this.#reply(REP.SERVER, new NbdOutput().u32(nameBytes.length).bytes(nameBytes).bytes(encoder.encode(description)).take());
    }
    this.#reply(REP.ACK);
  }

  #info(data: Uint8Array): void {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const name = stringAt(data, 0);
    if (name === undefined || data.length < name.end + 2) {
      this.#reply(REP.ERR_INVALID);
      return;
    }
    const count = view.getUint16(name.end);
    if (data.length !== name.end + 2 + count * 2) {
      this.#reply(REP.ERR_INVALID);
      return;
    }
    const exported = this.#exports.find(name.text);
    if (exported === undefined) {
      this.#reply(REP.ERR_UNKNOWN, encoder.encode(`export '${name.text}' not present`));
      return;
    }
    if (exported.refusal !== undefined) {
      this.#reply(REP.ERR_POLICY, encoder.encode(exported.refusal));
      return;
    }
    const wanted = new Set<number>();
    for (let i = 0; i < count; i++) wanted.add(view.getUint16(name.end + 2 + i * 2));
    if (wanted.has(INFO.NAME)) this.#reply(REP.INFO, new NbdOutput().u16(INFO.NAME).bytes(encoder.encode(exported.name)).take());
    if (wanted.has(INFO.DESCRIPTION) && exported.description !== '')
      this.#reply(REP.INFO, new NbdOutput().u16(INFO.DESCRIPTION).bytes(encoder.encode(exported.description)).take());
    if (wanted.has(INFO.BLOCK_SIZE)) {
      const { minimum, preferred, maximum } = exported.blockSize;
      this.#reply(REP.INFO, new NbdOutput().u16(INFO.BLOCK_SIZE).u32(minimum).u32(preferred).u32(maximum).take());
    }
    const flags = exportFlags(exported, this.structured);
    this.#reply(REP.INFO, new NbdOutput().u16(INFO.EXPORT).u64(exported.sizeBytes).u16(flags).take());
    this.#reply(REP.ACK);
    if (this.#option === OPT.GO) {
      this.exported = exported;
      this.phase = 'open';
    }
  }

  /** No context is offered: every block of a replicated volume is allocated, so there is nothing to tell. */
  #metaContext(data: Uint8Array): void {
    if (!this.structured) {
      this.#reply(REP.ERR_INVALID);
      return;
    }
    const name = stringAt(data, 0);
    if (name === undefined || data.length < name.end + 4) {
      this.#reply(REP.ERR_INVALID);
      return;
    }
    const count = new DataView(data.buffer, data.byteOffset, data.byteLength).getUint32(name.end);
    let at = name.end + 4;
    for (let i = 0; i < count; i++) {
      const query = stringAt(data, at);
      if (query === undefined) {
        this.#reply(REP.ERR_INVALID);
        return;
      }
      at = query.end;
    }
    if (at !== data.length) {
      this.#reply(REP.ERR_INVALID);
      return;
    }
    this.#reply(this.#exports.find(name.text) === undefined ? REP.ERR_UNKNOWN : REP.ACK);
  }
}

/** UTF-8 text, or undefined when it is none or too long. */
function textOf(bytes: Uint8Array): string | undefined {
  if (bytes.length > STRING_BYTES_MAX) return undefined;
  try {
    return utf8.decode(bytes);
  } catch (error) {
    // The decoder reports malformed text by throwing; anything else is a bug.
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}

/** A u32 length and that many bytes of text; undefined when they do not lie inside `data`. */
function stringAt(data: Uint8Array, at: number): { readonly text: string; readonly end: number } | undefined {
  if (data.length < at + 4) return undefined;
  const length = new DataView(data.buffer, data.byteOffset, data.byteLength).getUint32(at);
  const end = at + 4 + length;
  if (end > data.length) return undefined;
  const text = textOf(data.subarray(at + 4, end));
  return text === undefined ? undefined : { text, end };
}
