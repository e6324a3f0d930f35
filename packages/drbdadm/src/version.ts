/** Versions that scripts ask for. */
import type { AdmIo } from './io.js';

/** The drbd-utils release whose behaviour this is. */
export const VERSION = '9.34.0';
export const BUILD_TAG = 'GIT-hash: udrbd 0.1.0';

/** The version of the DRBD module whose place the engine takes. Below 9.0 clients would fall back to the tools of 8.4. */
const ENGINE_VERSION = '9.2.14';

/** `M.m.p`; DRBD_DRIVER_VERSION_OVERRIDE wins, as in stock. */
export function moduleVersion(io: Pick<AdmIo, 'env'>): string {
  const override = /^[0-9]+\.[0-9]+\.[0-9]+/.exec(io.env.DRBD_DRIVER_VERSION_OVERRIDE ?? '')?.[0];
  return override ?? ENGINE_VERSION;
}
