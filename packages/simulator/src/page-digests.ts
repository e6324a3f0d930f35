/** Digests of images of disks, cheap where images share most of their pages. Of one moment: pages are not to change meanwhile. */
import type { SimDisk } from './sim-disk.js';

const PAGE = 4096;

export class PageDigests {
  readonly #known = new Map<Uint8Array, bigint>();

  /** Of all pages from a byte on. */
  of(disk: SimDisk, fromBytes = 0): string {
    let sum = 0n;
    for (const number of disk.pageNumbers()) {
      if (number * PAGE < fromBytes) continue;
      const page = disk.page(number)!;
      let digest = this.#known.get(page);
      if (digest === undefined) {
        digest = digestOfPage(page);
        this.#known.set(page, digest);
      }
      // A page of zeroes is as good as none.
      sum += digest * BigInt(2 * number + 1);
    }
    return BigInt.asUintN(64, sum).toString(36);
  }
}

/** Two sums that go through the page in different ways; 0 for zeroes. */
function digestOfPage(page: Uint8Array): bigint {
  const words = new Int32Array(page.buffer, page.byteOffset, page.length / 4);
  let a = 0;
  let b = 0;
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (word === 0) continue;
    a = Math.imul(a ^ word ^ i, 0x01000193);
    a ^= a >>> 15;
    b = Math.imul(b + word + i, 0x9e3779b1) ^ (b >>> 13);
  }
  return (BigInt(a >>> 0) << 32n) | BigInt(b >>> 0);
}
