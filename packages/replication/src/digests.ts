/**
 * Digests over payload (csums-alg, verify-alg, data-integrity-alg). The core never sees payload: it names an algorithm by number
 * in a slot's `digest` column or beside an outbox entry, and the host computes. Names as in the kernel's crypto API.
 */
export const DIGESTS = [
  { name: 'crc32c', bytes: 4 },
  { name: 'md5', bytes: 16 },
  { name: 'sha1', bytes: 20 },
  { name: 'sha224', bytes: 28 },
  { name: 'sha256', bytes: 32 },
  { name: 'sha384', bytes: 48 },
  { name: 'sha512', bytes: 64 },
] as const;
export type DigestName = (typeof DIGESTS)[number]['name'];

/** Number of "no digest"; others are positions in {@link DIGESTS} plus one. */
export const DIGEST_NONE = 0;
export const DIGEST_UNKNOWN = -1;
/** Room of one digest in the columns of the slot table. */
export const DIGEST_STRIDE = 64;

/** The number of an algorithm; DIGEST_NONE for the empty name, DIGEST_UNKNOWN for one that is not there. */
export function digestNumber(name: string): number {
  if (name === '') return DIGEST_NONE;
  const at = DIGESTS.findIndex((digest) => digest.name === name);
  return at < 0 ? DIGEST_UNKNOWN : at + 1;
}

const lengths = Uint8Array.from([0, ...DIGESTS.map(({ bytes }) => bytes)]);

/** Bytes of a digest by number; 0 for DIGEST_NONE. */
export const digestBytes = (number: number): number => lengths[number] ?? 0;
