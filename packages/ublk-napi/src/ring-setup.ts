// Creating a ring on whatever kernel is there: the best set-up flags first, then one step back at a time.
import { ERRNO, ErrnoError } from './errno.js';
import { IORING_SETUP } from './io-uring-abi.js';
import { native, type RingMapping } from './native.js';

const { SUBMIT_ALL, COOP_TASKRUN, SQE128, SINGLE_ISSUER, DEFER_TASKRUN, NO_SQARRAY, CQSIZE } = IORING_SETUP;

/** What a wish for performance falls back to, best first; the kernel that introduced the last missing flag is named. */
const LADDER = [
  SUBMIT_ALL | COOP_TASKRUN | SINGLE_ISSUER | DEFER_TASKRUN | NO_SQARRAY, // 6.6
  SUBMIT_ALL | COOP_TASKRUN | SINGLE_ISSUER | DEFER_TASKRUN, // 6.1
  SUBMIT_ALL | COOP_TASKRUN | SINGLE_ISSUER, // 6.0
  SUBMIT_ALL | COOP_TASKRUN, // 5.19
  SUBMIT_ALL, // 5.18
  0,
] as const;

export interface RingOptions {
  /** Submission slots, rounded up to a power of two, at most 32768. */
  readonly entries: number;
  /** Completion slots; default twice the submission slots. Size it for everything that may be in flight. */
  readonly cqEntries?: number;
  /** 128-byte SQEs, as ublk control commands need. Never given up in the fall-back. */
  readonly sqe128?: boolean;
  /** Exactly these IORING_SETUP flags (plus CQSIZE and SQE128 as asked for); no fall-back. */
  readonly flags?: number;
}

/** The sets of flags to try, in order. */
export function setupAttempts(options: RingOptions): readonly number[] {
  const fixed = (options.sqe128 === true ? SQE128 : 0) | (options.cqEntries === undefined ? 0 : CQSIZE);
  return options.flags === undefined ? LADDER.map((flags) => flags | fixed) : [options.flags | fixed];
}

/**
 * Tries the attempts until the kernel accepts one.
 * @param setup - `native.ringSetup`, or a stand-in for an older kernel
 * @throws ErrnoError EPERM or ENOSYS where io_uring is switched off, EINVAL when even the plainest ring is refused, ENOMEM
 */
export function setupRing(options: RingOptions, setup: Native['ringSetup'] = native.ringSetup): RingMapping {
  let result: RingMapping | number = -ERRNO.EINVAL;
  for (const flags of setupAttempts(options)) {
    result = setup(options.entries, options.cqEntries ?? 0, flags);
    if (result !== -ERRNO.EINVAL) break;
  }
  if (typeof result === 'number') throw new ErrnoError(-result, 'io_uring_setup');
  return result;
}

type Native = typeof native;
