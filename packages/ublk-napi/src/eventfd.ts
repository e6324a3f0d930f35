// eventfd(2): a counter that wakes a ring (prepRead or prepPollAdd on it) or libuv (FdWatcher), also from another thread,
// which needs only the number of the descriptor.
import { checked } from './errno.js';
import { native } from './native.js';

export class EventFd {
  #fd: number;

  /** @throws ErrnoError EMFILE, ENFILE */
  static create(initial = 0): EventFd {
    return new EventFd(checked(native.eventfd(initial), 'eventfd'));
  }

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** -1 once closed. */
  get fd(): number {
    return this.#fd;
  }

  /** Adds to the counter. @returns 0 or -errno */
  signal(value = 1): number {
    return native.eventfdWrite(this.#fd, value);
  }

  /** Takes the counter. @returns its value, or -11 (EAGAIN) when it is 0 */
  drain(): number {
    return native.eventfdRead(this.#fd);
  }

  close(): void {
    if (this.#fd >= 0) native.close(this.#fd);
    this.#fd = -1;
  }
}

/** Signals an eventfd that another thread owns. @returns 0 or -errno */
export function signalEventfd(fd: number, value = 1): number {
  return native.eventfdWrite(fd, value);
}
