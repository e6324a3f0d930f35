/**
 * The small interface between a resource and what serves its volumes as block devices.
 *
 * A front end takes a slot, fills the request's columns and buffer and submits it; the answer comes as `complete`. When no
 * slot or no memory is free, or I/O is suspended, it keeps its requests back and asks `wantResume`.
 */
import type { ReplicationCore } from '@udrbd/replication';
import type { OperationOwner } from '../reactor/operations.js';
import type { PayloadMemory } from '../reactor/payload-memory.js';

/** What a front end may do with its resource. */
export interface FrontEndHost extends OperationOwner {
  readonly core: ReplicationCore;
  readonly memory: PayloadMemory;
  touched: boolean;
  /** The resource was stopped by a bug: requests fail. */
  readonly hasFailed: boolean;
  /** A slot for an application request of this volume, or -1; always -1 inside `complete`. */
  acquire(volume: number, frontEnd: FrontEnd): number;
  /** Gives the slot a buffer. @returns its first page, or -1 when there is no memory now */
  allocate(slot: number, lengthBytes: number): number;
  /** First page of the slot's buffer, or -1. */
  pageOf(slot: number): number;
  /** A slot that was not submitted after all. */
  release(slot: number): void;
  /** Takes the buffer of a completed request over; the front end releases the page when it is done with it. -1 without one. */
  takePage(slot: number): number;
  submit(slot: number): void;
  /** Calls `resume` once slots, memory and the core allow submitting. */
  wantResume(frontEnd: FrontEnd): void;
  log(level: 'err' | 'warning' | 'notice' | 'info', text: string): void;
  /** Somebody opened or closed the device. */
  openChanged(): void;
}

export interface FrontEnd {
  /** The size or the right to write has changed; also called once at the beginning. */
  update(sizeSectors: number, writable: boolean): void;
  /** A submitted request is finished: errno 0 or positive. The buffer is taken with `takePage`. */
  complete(slot: number, errno: number): void;
  resume(): void;
  /** Once per turn after completions: sends the answers that were queued. */
  settle(): void;
  /** Somebody has the device open for writing. */
  readonly openForWriting: boolean;
  readonly isOpen: boolean;
  /** Ends all service; calls `stopped` when nothing is in flight any more. */
  stop(stopped: () => void): void;
}
