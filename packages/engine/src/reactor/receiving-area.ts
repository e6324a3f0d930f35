/**
 * Where the bytes of one socket arrive. It lies in the payload memory as long as there is room: then what is copied from here to a
 * request's block moves within one array, which needs no view of a part, and so no garbage for each request. Else it is memory of its own.
 */
import { BufferPool } from 'ublk-napi';
import { ARENA, type PayloadMemory } from './payload-memory.js';

export class ReceivingArea {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly address: number;
  readonly #memory: PayloadMemory;
  readonly #page: number;
  readonly #own: BufferPool | undefined;

  /** @throws ErrnoError when there is no memory */
  constructor(memory: PayloadMemory, lengthBytes: number, lock: boolean) {
    this.#memory = memory;
    this.#page = memory.allocate(ARENA.Receiving, lengthBytes);
    if (this.#page >= 0) {
      this.bytes = memory.view(this.#page, lengthBytes);
      this.address = memory.address(this.#page);
    } else {
      this.#own = BufferPool.create({ count: 1, size: lengthBytes, lock });
      this.bytes = this.#own.bytes;
      this.address = this.#own.address;
    }
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, lengthBytes);
  }

  /** Copies `length` bytes from `start` on to the payload memory at `to`. */
  copy(start: number, length: number, to: number): void {
    if (this.#page >= 0) {
      const from = this.#memory.offset(this.#page) + start;
      this.#memory.bytes.copyWithin(to, from, from + length);
    } else this.#memory.bytes.set(this.bytes.subarray(start, start + length), to);
  }

  close(): void {
    if (this.#page >= 0) this.#memory.release(this.#page);
    this.#own?.close();
  }
}
