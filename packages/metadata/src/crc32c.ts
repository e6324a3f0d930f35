// CRC-32C (Castagnoli), reflected polynomial 0x82F63B78, slicing by 8. DRBD's activity log uses it with start value 0
// and no final inversion; the usual variant is `~crc32c(bytes, ~0)`.

const TABLES = /* @__PURE__ */ buildTables();
const [T0, T1, T2, T3, T4, T5, T6, T7] = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => TABLES.subarray(i * 256, (i + 1) * 256)) as [
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
];

function buildTables(): Uint32Array {
  const tables = new Uint32Array(8 * 256);
  for (let n = 0; n < 256; n++) {
    let c = n;
    for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
    tables[n] = c >>> 0;
  }
  for (let n = 0; n < 256; n++) {
    for (let t = 1; t < 8; t++) {
      const before = tables[(t - 1) * 256 + n];
      tables[t * 256 + n] = (tables[before & 0xff] ^ (before >>> 8)) >>> 0;
    }
  }
  return tables;
}

/**
 * The checksum of `bytes[from..to)`, continuing from `crc`.
 * @returns an unsigned 32-bit number; no inversion at either end
 */
export function crc32c(bytes: Uint8Array, crc = 0, from = 0, to = bytes.length): number {
  let c = crc | 0;
  let i = from;
  const last8 = to - 8;
  for (; i <= last8; i += 8) {
    c ^= bytes[i] | (bytes[i + 1] << 8) | (bytes[i + 2] << 16) | (bytes[i + 3] << 24);
    c =
      T7[c & 0xff] ^
      T6[(c >>> 8) & 0xff] ^
      T5[(c >>> 16) & 0xff] ^
      T4[c >>> 24] ^
      T3[bytes[i + 4]] ^
      T2[bytes[i + 5]] ^
      T1[bytes[i + 6]] ^
      T0[bytes[i + 7]];
  }
  for (; i < to; i++) c = T0[(c ^ bytes[i]) & 0xff] ^ (c >>> 8);
  return c >>> 0;
}
