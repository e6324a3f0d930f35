/**
 * Which ublk devices are whose. The kernel keeps a private mark with each device, longer than any process lives: ours names the run
 * directory and the minor, so that the next engine, or the operator, knows what a killed one has left.
 *
 * ```text
 *   63..48 'ud'   47..20 first 28 bits of the SHA-256 of the run directory   19..0 minor
 * ```
 */
import { createHash } from 'node:crypto';
import { type DeviceInfo, ErrnoError, listUblkDevices, type UblkControl } from 'ublk-napi';

const MAGIC = 0x7564n;
const MINOR_BITS = 20n;

const hashOf = (runDir: string): bigint => BigInt(createHash('sha256').update(runDir).digest().readUInt32BE(0) >>> 4);

export const markOf = (runDir: string, minor: number): bigint => (MAGIC << 48n) | (hashOf(runDir) << MINOR_BITS) | BigInt(minor);

/** The minor that a mark names, or undefined: it is not of an engine, or not of this run directory. */
export function minorOfMark(mark: bigint, runDir: string): number | undefined {
  const minor = Number(mark & ((1n << MINOR_BITS) - 1n));
  return mark === markOf(runDir, minor) ? minor : undefined;
}

/** Devices of this run directory, by minor. A device that goes meanwhile is left out. */
export async function devicesOf(control: UblkControl, runDir: string): Promise<Map<number, DeviceInfo>> {
  const found = new Map<number, DeviceInfo>();
  for (const id of listUblkDevices()) {
    try {
      const info = await control.getDeviceInfo(id);
      const minor = minorOfMark(info.mark, runDir);
      if (minor !== undefined) found.set(minor, info);
    } catch (error) {
      if (!(error instanceof ErrnoError)) throw error;
    }
  }
  return found;
}

/**
 * Ends a device without a server: what waits for it fails. Openers keep a dead device.
 * @throws ErrnoError
 */
export async function removeLeftDevice(control: UblkControl, id: number): Promise<void> {
  // A device that was never started, or is stopped, needs no stop; the kernel says so in several ways.
  await control.stopDevice(id).catch((error: unknown) => {
    if (!(error instanceof ErrnoError)) throw error;
  });
  await control.deleteDeviceAsync(id).catch((error: unknown) => {
    // Before Linux 6.9.
    if (error instanceof ErrnoError && error.code === 'EOPNOTSUPP') return control.deleteDevice(id);
    throw error;
  });
}
