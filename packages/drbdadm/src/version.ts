/** Versions that scripts ask for. */
import type { AdmIo } from './io.js';

/** The drbd-utils release whose behaviour this is. */
export const VERSION = '9.34.0';
export const BUILD_TAG = 'GIT-hash: udrbd 0.1.0';

/** The version of the DRBD module whose place the engine takes. Below 9.0 clients would fall back to the tools of 8.4. */
const ENGINE_VERSION = '9.2.14';

/**
 * `M.m.p`; DRBD_DRIVER_VERSION_OVERRIDE wins, as in stock, which takes a missing number for 0, leaves aside what follows the third one, and
 * asks elsewhere when nothing but zeros is left.
 */
export function moduleVersion(io: Pick<AdmIo, 'env'>): string {
  const override = /^\s*([0-9]*)\.([0-9]*)\.([0-9]*)/.exec(io.env.DRBD_DRIVER_VERSION_OVERRIDE ?? '');
  const numbers = (override ?? []).slice(1).map(Number);
  return numbers.some((n) => n > 0) ? numbers.join('.') : ENGINE_VERSION;
}

/** Whether the tools of 8.4 are asked for: no engine says so, but somebody who pretends a version may. */
export const wantsLegacyTools = (io: Pick<AdmIo, 'env'>): boolean => moduleVersion(io).startsWith('8.4.');
