/** Small zeroed buffers cut from large ones: the engine's own allocation of each would cost more than what is done with it. */
const SLAB_BYTES = 1024 * 1024;

export class Slab {
  #bytes = new Uint8Array(0);
  #used = 0;

  /** Zeroes, at a multiple of eight bytes in what they are a part of. */
  allocate(length: number): Uint8Array {
    if (length > SLAB_BYTES / 4) return new Uint8Array(length);
    if (this.#used + length > this.#bytes.length) {
      this.#bytes = new Uint8Array(SLAB_BYTES);
      this.#used = 0;
    }
    const result = this.#bytes.subarray(this.#used, this.#used + length);
    this.#used += (length + 7) & ~7;
    return result;
  }

  copyOf(bytes: Uint8Array): Uint8Array {
    const result = this.allocate(bytes.length);
    result.set(bytes);
    return result;
  }
}

/** What is over as soon as a packet or a request is: apart from what stays for a life. */
export const transient = new Slab();
