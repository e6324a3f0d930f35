/** The bitmap exchange before a resync: P_BITMAP and P_COMPRESSED_BITMAP. Source: DRBD 8.4 drbd_main.c, drbd_receiver.c. */
import { bitmapWords, type WireBitmap } from './byte-bitmap.js';
import { type HeaderKind, headerBytesOf, putHeader } from './header.js';
import { accept, type Decoded, refuse } from './outcome.js';
import { encodingByte, encodingCode, encodingPadBits, encodingStartsSet, RLE_VLI_BITS } from './p_compressed_bm.js';
import { COMMAND } from './packet.js';
import { BITMAP_PACKET_BYTES_MAX } from './packet-length.js';
import { VliReader, VliWriter } from './vli.js';

/** Words of a plain packet: as many as fit a page behind the header, 510 with h100 and 511 with the short ones. */
const plainWordsMax = (kind: HeaderKind): number => Math.floor((BITMAP_PACKET_BYTES_MAX - headerBytesOf(kind)) / 8);

/** Payload bytes of all packets of one kind, for `send bitmap stats`. */
export interface BitmapStats {
  readonly plainPackets: number;
  readonly plainBytes: number;
  readonly rlePackets: number;
  readonly rleBytes: number;
}

/**
 * Produces the packets of one transfer one after the other.
 *
 * The bitmap may gain bits between two packets; it must not shrink.
 */
export class BitmapSender {
  readonly #bitmap: WireBitmap;
  readonly #kind: HeaderKind;
  readonly #volume: number;
  readonly #useRle: boolean;
  #bit = 0;
  #done = false;
  #plainPackets = 0;
  #plainBytes = 0;
  #rlePackets = 0;
  #rleBytes = 0;

  /** @param useRle - option use-rle, and apv at least 90 */
  constructor(bitmap: WireBitmap, kind: HeaderKind, volume: number, useRle: boolean) {
    this.#bitmap = bitmap;
    this.#kind = kind;
    this.#volume = volume;
    this.#useRle = useRle;
  }

  /** True after the last packet was produced. */
  get done(): boolean {
    return this.#done;
  }

  get stats(): BitmapStats {
    return {
      plainPackets: this.#plainPackets,
      plainBytes: this.#plainBytes,
      rlePackets: this.#rlePackets,
      rleBytes: this.#rleBytes,
    };
  }

  /**
   * Writes the next packet, header included, at `out[at…]`, where 4096 bytes are free.
   * @returns bytes written; 0 when the transfer is over
   */
  next(out: Uint8Array, at: number): number {
    if (this.#done) return 0;
    return this.#nextRle(out, at) || this.#nextPlain(out, at);
  }

  #nextRle(out: Uint8Array, at: number): number {
    const { bits } = this.#bitmap;
    const start = this.#bit;
    if (!this.#useRle || start >= bits) return 0;
    const headerBytes = headerBytesOf(this.#kind);
    const codeAt = at + headerBytes + 1;
    const writer = new VliWriter(out, codeAt, at + BITMAP_PACKET_BYTES_MAX);
    const startsSet = this.#bitmap.nextSet(start) === start;
    let isSet = startsSet;
    let bit = start;
    while (bit < bits) {
      const runEnd = isSet ? this.#bitmap.nextClear(bit) : this.#bitmap.nextSet(bit);
      if (!writer.append(runEnd - bit)) break;
      bit = runEnd;
      isSet = !isSet;
    }
    if (bit - start < writer.usedBytes * 8) {
      // Plain words would be shorter. They start at a word, so up to 63 bits travel twice.
      this.#bit = start - (start % 64);
      return 0;
    }
    this.#bit = bit;
    this.#done = bit >= bits;
    const length = 1 + writer.usedBytes;
    putHeader(viewOf(out), at, this.#kind, this.#volume, COMMAND.P_COMPRESSED_BITMAP, length);
    out[codeAt - 1] = encodingByte(startsSet, writer.padBits);
    this.#rlePackets++;
    this.#rleBytes += headerBytes + length;
    return headerBytes + length;
  }

  #nextPlain(out: Uint8Array, at: number): number {
    const { bits } = this.#bitmap;
    const headerBytes = headerBytesOf(this.#kind);
    const word = Math.ceil(this.#bit / 64);
    const count = Math.min(plainWordsMax(this.#kind), bitmapWords(bits) - word);
    putHeader(viewOf(out), at, this.#kind, this.#volume, COMMAND.P_BITMAP, count * 8);
    this.#bitmap.readWords(word, count, out, at + headerBytes);
    this.#bit = Math.min(bits, (word + count) * 64);
    // The empty packet says that a transfer which ended with plain words is over.
    this.#done = count === 0;
    this.#plainPackets++;
    this.#plainBytes += headerBytes + count * 8;
    return headerBytes + count * 8;
  }
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Takes the packets of one transfer and ORs them into a bitmap. */
export class BitmapReceiver {
  readonly #bitmap: WireBitmap;
  readonly #kind: HeaderKind;
  #bit = 0;
  #word = 0;

  constructor(bitmap: WireBitmap, kind: HeaderKind) {
    this.#bitmap = bitmap;
    this.#kind = kind;
  }

  /**
   * Applies one P_BITMAP or P_COMPRESSED_BITMAP. Bounded by the packet's length; a refused packet may have set some bits,
   * which is on the safe side.
   * @param payload - bytes that contain the payload at `from … end`
   * @returns true when this was the last packet
   */
  packet(command: number, payload: Uint8Array, from: number, end: number): Decoded<boolean> {
    if (command === COMMAND.P_BITMAP) return this.#plain(payload, from, end);
    if (command === COMMAND.P_COMPRESSED_BITMAP) return this.#compressed(payload, from, end);
    return refuse('bitmap transfer', 'command', 'not permitted', command);
  }

  #plain(payload: Uint8Array, from: number, end: number): Decoded<boolean> {
    const { bits } = this.#bitmap;
    const words = Math.min(plainWordsMax(this.#kind), bitmapWords(bits) - this.#word);
    if (end - from !== words * 8 || end > payload.length) return refuse('P_BITMAP', 'length', 'mismatch', end - from);
    if (words === 0) return accept(true);
    this.#bitmap.orWords(this.#word, words, payload, from);
    this.#word += words;
    this.#bit = Math.min(bits, this.#word * 64);
    return accept(false);
  }

  #compressed(payload: Uint8Array, from: number, end: number): Decoded<boolean> {
    if (end - from < 2 || end > payload.length) return refuse('P_COMPRESSED_BITMAP', 'length', 'too short', end - from);
    const encoding = payload[from]!;
    if (encodingCode(encoding) !== RLE_VLI_BITS) return refuse('P_COMPRESSED_BITMAP', 'encoding', 'unknown', encodingCode(encoding));
    const reader = new VliReader(payload, from + 1, end, encodingPadBits(encoding));
    const { bits } = this.#bitmap;
    let isSet = encodingStartsSet(encoding);
    let bit = this.#bit;
    while (reader.remainingBits > 0) {
      const run = reader.next();
      if (run === 0) return refuse('P_COMPRESSED_BITMAP', 'code', 'too short', reader.remainingBits);
      if (run > bits - bit) return refuse('P_COMPRESSED_BITMAP', 'code', 'out of range', bit + run);
      if (isSet) this.#bitmap.setRange(bit, bit + run);
      bit += run;
      isSet = !isSet;
    }
    this.#bit = bit;
    this.#word = Math.floor(bit / 64);
    return accept(bit === bits);
  }
}
