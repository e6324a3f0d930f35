// Calls back in libuv's loop whenever a descriptor (an eventfd of a ring, say) is readable.
import { checked } from './errno.js';
import { native } from './native.js';

export class FdWatcher {
  #handle: number | undefined;

  /**
   * @param readable - must take what is there to read (EventFd.drain), else it is called again at once
   * @param keepAlive - does the watcher keep the process running? (default true)
   * @throws ErrnoError EPERM for a descriptor that cannot be polled, EEXIST when it is watched already
   */
  static open(fd: number, readable: () => void, keepAlive = true): FdWatcher {
    return new FdWatcher(fd, readable, keepAlive);
  }

  private constructor(fd: number, readable: () => void, keepAlive: boolean) {
    const handle = checked(native.watchFd(fd, readable), 'uv_poll');
    this.#handle = handle;
    if (!keepAlive) native.watchRef(handle, false);
  }

  setKeepAlive(on: boolean): void {
    if (this.#handle !== undefined) native.watchRef(this.#handle, on);
  }

  /** Stops watching; close the descriptor afterwards. Harmless twice. */
  close(): void {
    if (this.#handle !== undefined) native.unwatchFd(this.#handle);
    this.#handle = undefined;
  }
}
