// CRC-32C (Castagnoli), with the processor's instruction where it has one.
import { native } from './native.js';

/** Does the processor do it? */
export const crc32cIsHardware: boolean = native.crc32cHardware();

/**
 * The plain CRC register: no inversion at the start or the end, as the kernel's `crc32c(seed, data, length)` has it.
 * The usual checksum of a whole buffer is `~crc32c(bytes, 0, n, 0xffffffff) >>> 0`.
 * @throws RangeError for a range outside `bytes`
 */
export function crc32c(bytes: Uint8Array, offset = 0, length = bytes.length - offset, seed = 0xffffffff): number {
  return native.crc32c(bytes, offset, length, seed);
}
