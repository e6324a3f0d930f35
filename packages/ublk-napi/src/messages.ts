// Rows of struct msghdr, each with its own array of iovecs, in one mapping: a sendmsg of several pieces is set up by storing
// numbers, and continued after a short send by moving the row forward.
import { BufferPool } from './buffers.js';
import { IOVEC, MSGHDR } from './io-uring-abi.js';

const TWO_32 = 0x1_0000_0000;
const W_IOV = MSGHDR.at.msg_iov >>> 2;
const W_IOVLEN = MSGHDR.at.msg_iovlen >>> 2;
const IOVEC_WORDS = IOVEC.size >>> 2;

export class MessageTable {
  readonly rows: number;
  readonly piecesPerRow: number;
  readonly #pool: BufferPool;
  readonly #words: Uint32Array;
  readonly #rowBytes: number;
  readonly #used: Int32Array;
  readonly #first: Int32Array;
  readonly #left: Float64Array;

  /** @throws ErrnoError ENOMEM; RangeError */
  static create(rows: number, piecesPerRow: number): MessageTable {
    return new MessageTable(rows, piecesPerRow);
  }

  private constructor(rows: number, piecesPerRow: number) {
    this.rows = rows;
    this.piecesPerRow = piecesPerRow;
    this.#rowBytes = 64 + piecesPerRow * IOVEC.size;
    this.#pool = BufferPool.create({ count: rows, size: this.#rowBytes });
    this.#words = new Uint32Array(this.#pool.bytes.buffer, 0, (rows * this.#rowBytes) >>> 2);
    this.#used = new Int32Array(rows);
    this.#first = new Int32Array(rows);
    this.#left = new Float64Array(rows);
    for (let row = 0; row < rows; row++) this.clear(row);
  }

  /** Address of the row's msghdr, for prepSendmsg and prepRecvmsg. */
  addressOf(row: number): number {
    return this.#pool.address + row * this.#rowBytes;
  }

  /** Address of the row's first unsent iovec, for prepReadv and prepWritev. */
  iovecsOf(row: number): number {
    return this.#iovecAddress(row, this.#first[row]!);
  }

  /** Pieces not yet sent. */
  pieces(row: number): number {
    return this.#used[row]! - this.#first[row]!;
  }

  /** Bytes not yet sent. */
  remaining(row: number): number {
    return this.#left[row]!;
  }

  /** Empties a row. */
  clear(row: number): void {
    this.#used[row] = 0;
    this.#first[row] = 0;
    this.#left[row] = 0;
    this.#store(row);
  }

  /** Appends a piece. @returns false when the row is full */
  push(row: number, address: number, length: number): boolean {
    const piece = this.#used[row]!;
    if (piece >= this.piecesPerRow) return false;
    const w = this.#pieceWord(row, piece);
    this.#words[w] = address;
    this.#words[w + 1] = Math.floor(address / TWO_32);
    this.#words[w + 2] = length;
    this.#words[w + 3] = 0;
    this.#used[row] = piece + 1;
    this.#left[row] = this.#left[row]! + length;
    this.#words[this.#headWord(row) + W_IOVLEN] = piece + 1 - this.#first[row]!;
    return true;
  }

  /** Drops the first `bytes` bytes, as after a short send. @returns bytes that remain */
  advance(row: number, bytes: number): number {
    let skip = bytes;
    let piece = this.#first[row]!;
    const used = this.#used[row]!;
    while (piece < used) {
      const w = this.#pieceWord(row, piece);
      const length = this.#words[w + 2]!;
      if (skip < length) {
        const address = this.#words[w + 1]! * TWO_32 + this.#words[w]! + skip;
        this.#words[w] = address;
        this.#words[w + 1] = Math.floor(address / TWO_32);
        this.#words[w + 2] = length - skip;
        break;
      }
      skip -= length;
      piece++;
    }
    this.#first[row] = piece;
    this.#left[row] = Math.max(0, this.#left[row]! - bytes);
    this.#store(row);
    return this.#left[row]!;
  }

  close(): void {
    this.#pool.close();
  }

  #headWord(row: number): number {
    return (row * this.#rowBytes) >>> 2;
  }

  #pieceWord(row: number, piece: number): number {
    return ((row * this.#rowBytes + 64) >>> 2) + piece * IOVEC_WORDS;
  }

  #iovecAddress(row: number, piece: number): number {
    return this.addressOf(row) + 64 + piece * IOVEC.size;
  }

  #store(row: number): void {
    const w = this.#headWord(row);
    const address = this.#iovecAddress(row, this.#first[row]!);
    this.#words[w + W_IOV] = address;
    this.#words[w + W_IOV + 1] = Math.floor(address / TWO_32);
    this.#words[w + W_IOVLEN] = this.#used[row]! - this.#first[row]!;
    this.#words[w + W_IOVLEN + 1] = 0;
  }
}
