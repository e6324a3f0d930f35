// A block device from a handful of functions, in the style of `http.createServer`.
import { ERRNO, ErrnoError } from './errno.js';
import { native } from './native.js';
import { UBLK_F, UBLK_IO_F, UBLK_OP, userCopyPosition } from './ublk-abi.js';
import type { UblkQueue } from './ublk-queue.js';
import { UblkServer, type UblkServerOptions } from './ublk-server.js';

/**
 * Answers requests synchronously. Offsets and lengths are bytes, multiples of the logical block. A handler fails by returning
 * -errno or by throwing ErrnoError; anything else thrown becomes EIO. Buffers are valid during the call only.
 */
export interface UblkHandlers {
  /** Fills all of `into`. */
  read(into: Uint8Array, offset: number): number | undefined;
  /** @param fua - must be durable on return */
  write(from: Uint8Array, offset: number, fua: boolean): number | undefined;
  /** Makes every write so far durable. Absent: every write already is. */
  flush?(): number | undefined;
  /** The content need not be kept. Absent together with writeZeroes: not offered. */
  discard?(offset: number, length: number): number | undefined;
  /** @param mayUnmap - may the space be given back? */
  writeZeroes?(offset: number, length: number, mayUnmap: boolean): number | undefined;
}

export type ServeOptions = Omit<UblkServerOptions, 'onRequest' | 'onCompletion' | 'discard'> & { readonly handlers: UblkHandlers };

/** Creates /dev/ublkbN and serves it until `stop()`. @throws ErrnoError: ENOENT without the driver, EPERM without CAP_SYS_ADMIN */
export function serveUblk(options: ServeOptions): Promise<UblkServer> {
  const { handlers } = options;
  const userCopy = ((options.flags ?? 0) & UBLK_F.USER_COPY) !== 0;
  const scratch = new Uint8Array(userCopy ? (options.maxIoBytes ?? 512 * 1024) : 0);
  return UblkServer.start({
    ...options,
    attrs: options.attrs ?? (handlers.flush === undefined ? 0 : 4 | 8),
    discard: handlers.discard !== undefined || handlers.writeZeroes !== undefined,
    onRequest: (server, queue, tag) => queue.commitAndFetch(tag, answer(server, queue, tag)),
  });
  function answer(server: UblkServer, queue: UblkQueue, tag: number): number {
    try {
      return perform(server.device.fd, queue, tag);
    } catch (error) {
      return error instanceof ErrnoError ? -error.errno : -ERRNO.EIO;
    }
  }

  function perform(charFd: number, queue: UblkQueue, tag: number): number {
    const offset = queue.startBytes(tag);
    const length = queue.lengthBytes(tag);
    switch (queue.op(tag)) {
      case UBLK_OP.READ: {
        const into = payload(queue, tag, length);
        return handlers.read(into, offset) || push(charFd, queue, tag, into);
      }
      case UBLK_OP.WRITE: {
        const from = payload(queue, tag, length);
        const got = pull(charFd, queue, tag, from);
        if (got !== length) return got < 0 ? got : -ERRNO.EIO;
        return handlers.write(from, offset, (queue.opFlags(tag) & UBLK_IO_F.FUA) !== 0) || length;
      }
      case UBLK_OP.FLUSH:
        return handlers.flush?.() || 0;
      case UBLK_OP.DISCARD:
        return handlers.discard?.(offset, length) || 0;
      case UBLK_OP.WRITE_ZEROES:
        if (handlers.writeZeroes === undefined) return -ERRNO.EOPNOTSUPP;
        return handlers.writeZeroes(offset, length, (queue.opFlags(tag) & UBLK_IO_F.NOUNMAP) === 0) || 0;
      default:
        return -ERRNO.EOPNOTSUPP;
    }
  }

  function payload(queue: UblkQueue, tag: number, length: number): Uint8Array {
    if (queue.buffers === undefined) return scratch.subarray(0, length);
    const start = queue.buffers.slotOffset(tag);
    return queue.buffers.bytes.subarray(start, start + length);
  }

  function pull(charFd: number, queue: UblkQueue, tag: number, into: Uint8Array): number {
    if (!queue.userCopy) return into.length;
    return native.pread(charFd, into, 0, into.length, userCopyPosition(queue.queue, tag, 0));
  }

  function push(charFd: number, queue: UblkQueue, tag: number, from: Uint8Array): number {
    if (!queue.userCopy) return from.length;
    return native.pwrite(charFd, from, 0, from.length, userCopyPosition(queue.queue, tag, 0));
  }
}
