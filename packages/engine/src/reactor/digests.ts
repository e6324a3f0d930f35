/** The digests that the core names by number (`DIGESTS` of the replication package), over payload memory. */
import { createHash } from 'node:crypto';
import { DIGESTS, type DigestName } from '@udrbd/replication';
import { crc32c } from 'ublk-napi';

type Digest = (bytes: Uint8Array, offset: number, length: number, to: Uint8Array, at: number) => void;

/** As the kernel's crypto API has it: inverted at both ends, little endian. Allocates nothing. */
const crc32cDigest: Digest = (bytes, offset, length, to, at) => {
  const crc = ~crc32c(bytes, offset, length);
  to[at] = crc;
  to[at + 1] = crc >>> 8;
  to[at + 2] = crc >>> 16;
  to[at + 3] = crc >>> 24;
};

const cryptoDigest =
  (name: DigestName): Digest =>
  (bytes, offset, length, to, at) => {
    to.set(
      createHash(name)
        .update(bytes.subarray(offset, offset + length))
        .digest(),
      at,
    );
  };

const digests: readonly Digest[] = DIGESTS.map(({ name }) => (name === 'crc32c' ? crc32cDigest : cryptoDigest(name)));

/** Puts the digest of `bytes[offset, offset + length)` to `to[at...]`. */
export function computeDigest(number: number, bytes: Uint8Array, offset: number, length: number, to: Uint8Array, at: number): void {
  const digest = digests[number - 1];
  if (digest === undefined) throw new Error(`no digest has number ${number}`);
  digest(bytes, offset, length, to, at);
}
