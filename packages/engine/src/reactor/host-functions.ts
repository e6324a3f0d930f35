/** What the core may not invent: randomness and digests. */
import { createHmac, getHashes, randomBytes } from 'node:crypto';
import type { HostFunctions } from '@udrbd/replication';

const hashes = new Set(getHashes().map((name) => name.toLowerCase()));

export const hostFunctions: HostFunctions = {
  random64: () => randomBytes(8).readBigUInt64BE(),
  /** The kernel's crypto API names a keyed digest by its hash: `sha256`, or `hmac(sha256)`. */
  hmac(algorithm, key, data) {
    const name = (/^hmac\((.+)\)$/.exec(algorithm)?.[1] ?? algorithm).toLowerCase();
    return hashes.has(name) ? createHmac(name, key).update(data).digest() : undefined;
  },
};
