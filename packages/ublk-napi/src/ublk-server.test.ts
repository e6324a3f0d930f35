// What needs the driver (see testing/ublk-live.ts); skipped on kernels without it.
import t from 'tap';
import { liveChecks } from './testing/ublk-live.js';
import { isUblkAvailable } from './ublk-control.js';

const skip = !isUblkAvailable() || process.getuid?.() !== 0 ? 'needs root and the ublk driver' : false;
for (const { name, check } of liveChecks) t.test(name, { skip }, async () => check());
