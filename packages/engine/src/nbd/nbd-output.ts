/** A small growing buffer for what the handshake sends. */
export class NbdOutput {
  #bytes = new Uint8Array(256);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  u16(value: number): this {
    const at = this.#room(2);
    new DataView(this.#bytes.buffer).setUint16(at, value);
    return this;
  }

  u32(value: number): this {
    const at = this.#room(4);
    new DataView(this.#bytes.buffer).setUint32(at, value);
    return this;
  }

  /** @param value - a safe integer */
  u64(value: number): this {
    return this.u32(Math.floor(value / 0x1_0000_0000)).u32(value >>> 0);
  }

  bytes(value: Uint8Array): this {
    const at = this.#room(value.length);
    this.#bytes.set(value, at);
    return this;
  }

  zeroes(count: number): this {
    const at = this.#room(count);
    this.#bytes.fill(0, at, at + count);
    return this;
  }

  /** What was written since the last call, for the caller to keep. */
  take(): Uint8Array {
    const taken = this.#bytes.slice(0, this.#length);
    this.#length = 0;
    return taken;
  }

  #room(count: number): number {
    const at = this.#length;
    if (at + count > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#bytes.length * 2, at + count));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#length = at + count;
    return at;
  }
}
