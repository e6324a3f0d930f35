/** The locked memory of one connection: receive buffers of both streams, and the place where headers wait for their sendmsg. */
import { BufferPool } from 'ublk-napi';

const RECEIVE_DATA_BYTES = 128 * 1024;
const RECEIVE_META_BYTES = 16 * 1024;
const HEADERS_DATA_BYTES = 64 * 1024;
const HEADERS_META_BYTES = 16 * 1024;

export interface StreamMemory {
  readonly receive: Uint8Array;
  readonly receiveAddress: number;
  readonly headers: Uint8Array;
  readonly headersAddress: number;
}

export class LinkMemory {
  readonly data: StreamMemory;
  readonly meta: StreamMemory;
  readonly #pool: BufferPool;

  constructor(lock: boolean) {
    const sizes = [RECEIVE_DATA_BYTES, HEADERS_DATA_BYTES, RECEIVE_META_BYTES, HEADERS_META_BYTES] as const;
    this.#pool = BufferPool.create({ count: 1, size: sizes.reduce((sum, size) => sum + size, 0), lock });
    let offset = 0;
    const stream = (receiveBytes: number, headersBytes: number): StreamMemory => {
      const at = offset;
      offset += receiveBytes + headersBytes;
      return {
        receive: this.#pool.bytes.subarray(at, at + receiveBytes),
        receiveAddress: this.#pool.addressOf(at),
        headers: this.#pool.bytes.subarray(at + receiveBytes, offset),
        headersAddress: this.#pool.addressOf(at + receiveBytes),
      };
    };
    this.data = stream(RECEIVE_DATA_BYTES, HEADERS_DATA_BYTES);
    this.meta = stream(RECEIVE_META_BYTES, HEADERS_META_BYTES);
  }

  close(): void {
    this.#pool.close();
  }
}
