/** Writes that cross: with two Primaries on the same few blocks. */
import { randomBytes } from 'node:crypto';
import type { NbdClient } from './nbd-client.js';

interface Where {
  /** From the start of the device. */
  readonly bytes: number;
  /** Requests at a time. */
  readonly depth: number;
  readonly seconds: number;
}

/** Writes, discards and zeroes of any place and size for a while. @returns how many; rejects when one fails */
export async function writeAnywhere(nbd: NbdClient, { bytes, depth, seconds }: Where): Promise<number> {
  const end = Date.now() + seconds * 1000;
  let count = 0;
  const lane = async (): Promise<void> => {
    while (Date.now() < end) {
      const sectors = 1 + Math.floor(Math.random() * 32);
      const at = Math.floor(Math.random() * (bytes / 512 - sectors)) * 512;
      const dice = Math.random();
      if (dice < 0.9) await nbd.write(at, randomBytes(sectors * 512));
      else if (dice < 0.95) await nbd.writeZeroes(at, sectors * 512);
      else await nbd.trim(at, sectors * 512);
      count++;
    }
  };
  await Promise.all(Array.from({ length: depth }, lane));
  return count;
}
