/** Rules between the options of a device. Source: drbd_nl.c of DRBD 9.3. */
import { type DeviceOptions, DISCARD_GRANULARITY_UNSET, type Outcome, refuse, succeed } from '@udrbd/control';
import type { Options } from '@udrbd/replication';

const BLOCK_SIZES: ReadonlySet<number> = new Set([512, 1024, 2048, 4096]);

/** @param options - all of them */
export function checkDeviceOptions(options: Options): Outcome {
  const { 'block-size': blockSize, 'discard-granularity': granularity } = options as DeviceOptions;
  if (!BLOCK_SIZES.has(blockSize)) return refuse('ERR_INVALID_REQUEST', 'block_size not 512, 1024, 2048, or 4096');
  if (granularity !== DISCARD_GRANULARITY_UNSET && granularity % blockSize !== 0) {
    return refuse('ERR_INVALID_REQUEST', 'discard_granularity must be 0 or a multiple of block_size');
  }
  return succeed();
}
