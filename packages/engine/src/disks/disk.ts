/** An attached backing disk inside a reactor: its descriptors and what it has turned out to be able to do. */
import { type MetaWrite, ShortList } from '@udrbd/replication';
import type { DiskHandles } from '../reactor/messages.js';
import type { MetaWriter } from './meta-writer.js';

export class Disk {
  readonly volume: number;
  readonly dataFd: number;
  readonly metaFd: number;
  readonly isBlockDevice: boolean;
  readonly logicalBlockBytes: number;
  /** Operations in flight; the disk is closed when none is left. */
  inFlight = 0;
  isClosing = false;
  /** It did not answer: whatever it is asked for fails at once. */
  isAbandoned = false;
  /** What the core waits for: the end of everything that an abandoned disk still does. */
  abandonToken: number | undefined;
  /** Turn false when the disk refuses; then zeroes are written instead. */
  canPunchHole = true;
  canZeroRange = true;
  /** Meta-data writes in order of their issue: running ones, then those that wait because they overlap an earlier one. */
  readonly metaWriters = new ShortList<MetaWriter>();

  constructor(volume: number, handles: DiskHandles) {
    this.volume = volume;
    this.dataFd = handles.dataFd;
    this.metaFd = handles.metaFd;
    this.isBlockDevice = handles.isBlockDevice;
    this.logicalBlockBytes = handles.logicalBlockBytes;
  }
}

/** Whether two writes touch the same bytes; then the later one waits for the earlier one. */
export const metaWritesOverlap = (a: MetaWrite, b: MetaWrite): boolean =>
  a.offsetBytes < b.offsetBytes + b.bytes.length && b.offsetBytes < a.offsetBytes + a.bytes.length;
