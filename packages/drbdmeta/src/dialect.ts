// drbd-utils releases differ in a few visible ways. The default is 9.34; UDRBD_UTILS_VERSION=9.22 selects the wording and the
// exit codes of the older release that distributions ship. Defects of either release that lose data are in neither column.

export interface Dialect {
  /** Has the commands and options that came with 9.34. */
  readonly knows934: boolean;
  /** Exit status of a command that failed without a status of its own. */
  readonly failure: number;
  /** Print the `members` line of a v09 dump also when it says nothing. */
  readonly printsMembers: boolean;
  /** Verbose output shows size and block size of the bitmap. */
  readonly saysBitmapGeometry: boolean;
  /** create-md clears the whole external bitmap area, not only the part that an internal one would have. */
  readonly clearsWholeExternalBitmap: boolean;
  /** A wrong md_size_sect invalidates v09 meta-data. */
  readonly checksAreaSize: boolean;
  /** apply-al at the last known location moves the meta-data first. */
  readonly appliesAtLastKnown: boolean;
  /** Moving clears the complete old area. */
  readonly wipesWholeOldArea: boolean;
  /** forget-peer looks for the day-0 entry from the highest node id down. */
  readonly findsDay0FromTop: boolean;
  /** Converting keeps the largest request that was agreed on with the peer. */
  readonly convertsMaxBioSize: boolean;
  /** What create-md finds in place is told as part of its first question, not before it. */
  readonly asksWithContext: boolean;
  /** Verbose output tells each range that the kernel zeroes, and the part of the bitmap that a move initialises. */
  readonly saysClearing: boolean;
  readonly bitmapModes: readonly string[];
  readonly lockDir: string;
}

const V9_22: Dialect = {
  knows934: false,
  failure: 1,
  printsMembers: false,
  saysBitmapGeometry: false,
  clearsWholeExternalBitmap: false,
  checksAreaSize: false,
  appliesAtLastKnown: true,
  wipesWholeOldArea: false,
  findsDay0FromTop: false,
  convertsMaxBioSize: false,
  asksWithContext: false,
  saysClearing: false,
  bitmapModes: ['automatic', 'zeroout', 'pwrite', 'skip'],
  lockDir: '/var/lock',
};
const V9_34: Dialect = {
  knows934: true,
  failure: 255,
  printsMembers: true,
  saysBitmapGeometry: true,
  clearsWholeExternalBitmap: true,
  checksAreaSize: true,
  appliesAtLastKnown: false,
  wipesWholeOldArea: true,
  findsDay0FromTop: true,
  convertsMaxBioSize: true,
  asksWithContext: true,
  saysClearing: true,
  bitmapModes: ['automatic', 'zeroout', 'pwrite', 'set-all', 'skip'],
  lockDir: '/var/run/drbd/lock',
};

export const dialectOf = (env: Readonly<Record<string, string | undefined>>): Dialect =>
  env.UDRBD_UTILS_VERSION?.startsWith('9.22') ? V9_22 : V9_34;
