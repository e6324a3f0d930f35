/** Shutting a socket down in both directions, which makes everything that waits on it complete. */
import { ErrnoError, shutdownSocket } from 'ublk-napi';

/** A socket that is not connected any more does not matter. */
export function shut(fd: number): void {
  try {
    shutdownSocket(fd, 2);
  } catch (error) {
    if (!(error instanceof ErrnoError)) throw error;
  }
}
