/**
 * Payloads are not copied on their way: what is in a buffer, in a packet or on a disk are views of the same bytes, and nobody changes these any
 * more. Most of a large device is zeroes, and a view of *the* zeroes is known as such without a look at it.
 */
import { transient } from './slab.js';

const ZEROES = new Uint8Array(1024 * 1024);
/** Views of them by length: a life knows few lengths. */
const views = new Map<number, Uint8Array>();

/** Zeroes, not to be changed. */
export function zeroes(length: number): Uint8Array {
  let view = views.get(length);
  if (view === undefined) {
    view = length > ZEROES.length ? new Uint8Array(length) : ZEROES.subarray(0, length);
    views.set(length, view);
  }
  return view;
}

/** Whether these are zeroes for certain: false says nothing. */
export const areZeroes = (bytes: Uint8Array): boolean => bytes.buffer === ZEROES.buffer;

/** Whether all bytes are zero; most that are not show it at once. */
export const isZero = (bytes: Uint8Array): boolean => bytes[0] === 0 && Buffer.compare(bytes, zeroes(bytes.length)) === 0;

/** Whether both are views of the very same memory. */
export const isSameMemory = (a: Uint8Array, b: Uint8Array): boolean =>
  a.byteOffset === b.byteOffset && a.length === b.length && a.buffer === b.buffer;

/** The buffer of one slot. */
export class SlotBuffer {
  #bytes: Uint8Array;
  /** It is being put together from parts. */
  #isOwn = false;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** To be looked at only. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** Puts `part`, which nobody changes any more, at an offset. */
  put(part: Uint8Array, at: number): void {
    if (part.length === this.#bytes.length) {
      this.#bytes = part;
      this.#isOwn = false;
      return;
    }
    if (!this.#isOwn) this.#bytes = transient.copyOf(this.#bytes);
    this.#isOwn = true;
    this.#bytes.set(part, at);
  }

  /** What a disk leaves that was given up, and still had the buffer. */
  spoil(): void {
    this.#bytes = new Uint8Array(this.#bytes.length).fill(0xa5);
    this.#isOwn = false;
  }
}
