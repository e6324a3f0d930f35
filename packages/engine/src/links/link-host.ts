/** What a link needs of the resource it belongs to. */
import type { LogLevel, ReplicationCore } from '@udrbd/replication';
import type { OperationOwner } from '../reactor/operations.js';

export interface LinkHost extends OperationOwner {
  readonly core: ReplicationCore;
  /** Set whenever the core was told something. */
  touched: boolean;
  /** Carries out the hot effects queued so far; buffers promised by them exist afterwards, as far as there is memory. */
  drainHot(): void;
  /** First page of the slot's buffer, or -1 while it has none. */
  pageOf(slot: number): number;
  /** What was to come into the slot's buffer is there: computes the digest that the core wants of it, if any. */
  bufferFilled(slot: number, from: number, lengthBytes: number): void;
  log(level: LogLevel, text: string): void;
  /** A path became the established one, or none is any more. */
  pathsChanged(): void;
}

/** What a stream tells its link. */
export interface StreamEvents {
  /** The stream is at its end; `errno` 0 for end of file, or when it was stopped and its operation has come back. */
  broken(errno: number): void;
  /** Nothing is in flight any more. */
  idle(): void;
}
