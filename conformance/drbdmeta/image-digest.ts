import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

const PAGE = 4096;
const ZERO = Buffer.alloc(PAGE);

/** Digest of an image by its size and its pages that are not zero (see conformance/vectors/metadata/README.md). */
export function imageDigest(path: string): string {
  const hash = createHash('sha256');
  const fd = openSync(path, 'r');
  try {
    hash.update(`${fstatSync(fd).size}`);
    const buffer = Buffer.alloc(256 * PAGE);
    for (let offset = 0; ; ) {
      const got = readSync(fd, buffer, 0, buffer.length, offset);
      if (got === 0) break;
      for (let at = 0; at < got; at += PAGE) {
        const page = buffer.subarray(at, Math.min(at + PAGE, got));
        if (page.equals(ZERO.subarray(0, page.length))) continue;
        hash.update(`${offset + at}:`);
        hash.update(page);
      }
      offset += got;
    }
  } finally {
    closeSync(fd);
  }
  return hash.digest('hex');
}
