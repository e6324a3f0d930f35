/** The locked memory of one connection: receive buffers of both streams, and the place where headers wait for their sendmsg. */
import type { PayloadMemory } from '../reactor/payload-memory.js';
import { ReceivingArea } from '../reactor/receiving-area.js';

const RECEIVE_DATA_BYTES = 128 * 1024;
const RECEIVE_META_BYTES = 16 * 1024;
const HEADERS_DATA_BYTES = 64 * 1024;
const HEADERS_META_BYTES = 16 * 1024;

export interface StreamMemory {
  /** Received bytes begin at `receiveStart` of the area. */
  readonly area: ReceivingArea;
  readonly receiveStart: number;
  readonly receive: Uint8Array;
  readonly receiveAddress: number;
  readonly headers: Uint8Array;
  readonly headersAddress: number;
}

export class LinkMemory {
  readonly data: StreamMemory;
  readonly meta: StreamMemory;
  readonly #area: ReceivingArea;

  constructor(memory: PayloadMemory, lock: boolean) {
    const sizes = [RECEIVE_DATA_BYTES, HEADERS_DATA_BYTES, RECEIVE_META_BYTES, HEADERS_META_BYTES] as const;
    const area = new ReceivingArea(
      memory,
      sizes.reduce((sum, size) => sum + size, 0),
      lock,
    );
    this.#area = area;
    let offset = 0;
    const stream = (receiveBytes: number, headersBytes: number): StreamMemory => {
      const at = offset;
      offset += receiveBytes + headersBytes;
      return {
        area,
        receiveStart: at,
        receive: area.bytes.subarray(at, at + receiveBytes),
        receiveAddress: area.address + at,
        headers: area.bytes.subarray(at + receiveBytes, offset),
        headersAddress: area.address + at + receiveBytes,
      };
    };
    this.data = stream(RECEIVE_DATA_BYTES, HEADERS_DATA_BYTES);
    this.meta = stream(RECEIVE_META_BYTES, HEADERS_META_BYTES);
  }

  close(): void {
    this.#area.close();
  }
}
