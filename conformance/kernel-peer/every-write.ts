// Writes of every kind, by either node: sizes, depths, places, flushes, discards and zeroes.
import { randomBytes } from 'node:crypto';
import type { Pair } from './pair.js';

const KIB = 1024;
const MIB = 1024 * KIB;

/** Runs the writes with up to `depth` of them under way. */
async function atDepth(depth: number, writes: readonly (() => Promise<void>)[]): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < writes.length) await writes[next++]!();
  };
  await Promise.all(Array.from({ length: depth }, worker));
}

export async function writeEveryKind(pair: Pair): Promise<void> {
  const nbd = await pair.open();
  const many = (count: number, length: number, at: number, stride = length): (() => Promise<void>)[] =>
    Array.from({ length: count }, (_, i) => () => nbd.write(at + i * stride, randomBytes(length), i % 7 === 3));
  await atDepth(1, many(10, 4 * KIB, 0));
  await atDepth(32, many(256, 4 * KIB, 1 * MIB, 12 * KIB));
  await atDepth(8, many(20, 128 * KIB, 5 * MIB));
  await atDepth(4, many(6, MIB, 8 * MIB));
  await atDepth(16, [...many(32, 512, 15 * MIB, 1536), ...many(32, 3 * KIB, 15 * MIB + 512 * KIB, 5 * KIB)]);
  await nbd.flush();
  // The same blocks again and again: the order has to be the same on both disks.
  await atDepth(
    16,
    Array.from({ length: 200 }, (_, i) => () => nbd.write(16 * MIB + (i % 5) * 4 * KIB, randomBytes(8 * KIB))),
  );
  await nbd.trim(9 * MIB, MIB);
  await nbd.trim(10 * MIB + 12 * KIB, 100 * KIB);
  await nbd.trim(11 * MIB + 512, 9 * KIB);
  await nbd.writeZeroes(12 * MIB, 2 * MIB);
  await nbd.writeZeroes(5 * MIB + 4 * KIB, 20 * KIB);
  await atDepth(8, [
    () => nbd.flush(),
    ...many(16, 4 * KIB, 18 * MIB),
    () => nbd.flush(),
    () => nbd.trim(19 * MIB, MIB),
    ...many(16, 4 * KIB, 20 * MIB),
  ]);
  await nbd.flush();
  await nbd.close();
}

/** For the kernel, in its shell. */
export const kernelWrites = `set -e
random() { /usr/bin/dd if=/dev/urandom of=DEVICE iflag=fullblock oflag="$4" bs="$1" seek="$2" count="$3" status=none; }
random 4k 0 40 direct
random 4k 100 40 direct,dsync
random 128k 40 10 direct
random 1M 8 6 direct
random 1M 3 2 direct,dsync
random 512 33333 7 direct
for i in 1 2 3 4 5 6 7 8; do random 4k $((4000 + i * 16)) 16 direct & done
for i in 1 2 3; do random 64k $((250 + i * 4)) 3 direct & done
wait
random 256k 80 4 nonblock
sync
/usr/sbin/blkdiscard -o $((9 * 1048576)) -l 1048576 DEVICE
/usr/sbin/blkdiscard -o $((10 * 1048576 + 12288)) -l 102400 DEVICE
/usr/sbin/blkdiscard -z -o $((12 * 1048576)) -l 2097152 DEVICE
/usr/sbin/blkdiscard -z -o $((3 * 1048576 + 4096)) -l 20480 DEVICE
random 4k 5000 10 direct
sync`;
