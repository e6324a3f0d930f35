// Files and block devices, synchronously: for set-up and cold paths. The hot path reads and writes through the ring.
import { checked, ErrnoError } from './errno.js';
import { type FileStatus, native } from './native.js';

/** open(2) flags of this architecture family (asm-generic; O_DIRECT and O_DIRECTORY differ on arm64 and powerpc). */
const SWAPPED = process.arch === 'arm64' || process.arch === 'arm' || process.arch === 'ppc64';
export const O = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  /** With CREAT: the file must be new. On a block device without CREAT: claim it, EBUSY when mounted or claimed. */
  EXCL: 0o200,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  NONBLOCK: 0o4000,
  DSYNC: 0o10000,
  DIRECT: process.arch === 'ppc64' ? 0o400000 : SWAPPED ? 0o200000 : 0o40000,
  DIRECTORY: SWAPPED ? 0o40000 : 0o200000,
  CLOEXEC: 0o2000000,
} as const;

export const FALLOC_FL = { KEEP_SIZE: 1, PUNCH_HOLE: 2, ZERO_RANGE: 0x10 } as const;
export const LOCK = { SH: 1, EX: 2, NB: 4, UN: 8 } as const;

const S_IFMT = 0o170000;
const S_IFBLK = 0o060000;
const S_IFREG = 0o100000;

/** Opens close-on-exec. @throws ErrnoError ENOENT, EACCES, EBUSY (O.EXCL), EINVAL (O.DIRECT not supported), ENXIO */
export function openFile(path: string, flags: number, mode = 0o600): number {
  return checked(native.open(path, flags | O.CLOEXEC, mode), 'open', path);
}

/** @throws ErrnoError EBADF, EIO */
export function closeFile(fd: number): void {
  checked(native.close(fd), 'close');
}

/** Reads up to `length` bytes at `position` into `bytes` from `offset` on. @returns bytes read; fewer only at the end. @throws ErrnoError */
export function preadFile(fd: number, bytes: Uint8Array, position: number, offset = 0, length = bytes.length - offset): number {
  return checked(native.pread(fd, bytes, offset, length, position), 'pread');
}

/** Writes all `length` bytes, or as many as fit before an error that is then thrown. @returns bytes written. @throws ErrnoError ENOSPC, EIO */
export function pwriteFile(fd: number, bytes: Uint8Array, position: number, offset = 0, length = bytes.length - offset): number {
  return checked(native.pwrite(fd, bytes, offset, length, position), 'pwrite');
}

export interface FileInfo {
  readonly kind: 'block' | 'file' | 'other';
  /** Permission and type bits. */
  readonly mode: number;
  /** Bytes; of a block device its capacity. */
  readonly sizeBytes: number;
  /** Bytes allocated; 0 for devices. */
  readonly allocatedBytes: number;
  /** The device a device node stands for. */
  readonly major: number;
  readonly minor: number;
  readonly inode: number;
}

/** @throws ErrnoError EBADF */
export function statFile(fd: number): FileInfo {
  const status: FileStatus | number = native.fstat(fd);
  if (typeof status === 'number') throw new ErrnoError(-status, 'fstat');
  const type = status.mode & S_IFMT;
  const kind = type === S_IFBLK ? 'block' : type === S_IFREG ? 'file' : 'other';
  return {
    kind,
    mode: status.mode,
    sizeBytes: kind === 'block' ? blockDeviceSize(fd) : status.size,
    allocatedBytes: status.blocks * 512,
    major: status.rdevMajor,
    minor: status.rdevMinor,
    inode: status.ino,
  };
}

/** Bytes. @throws ErrnoError ENOTTY for what is no block device */
export function blockDeviceSize(fd: number): number {
  return checked(native.blkGetSize(fd), 'BLKGETSIZE64');
}

/** @throws ErrnoError ENOTTY */
export function logicalBlockSize(fd: number): number {
  return checked(native.blkLogicalBlockSize(fd), 'BLKSSZGET');
}

/** @throws ErrnoError ENOTTY */
export function physicalBlockSize(fd: number): number {
  return checked(native.blkPhysicalBlockSize(fd), 'BLKPBSZGET');
}

/** @throws ErrnoError ENOTTY */
export function isBlockDeviceReadOnly(fd: number): boolean {
  return checked(native.blkReadOnly(fd), 'BLKROGET') !== 0;
}

/** Writes back and drops the page cache of a block device. @throws ErrnoError EACCES without CAP_SYS_ADMIN */
export function flushBlockDevice(fd: number): void {
  checked(native.blkFlushBuffers(fd), 'BLKFLSBUF');
}

/** Blocks until done. @throws ErrnoError EOPNOTSUPP, EINVAL for an unaligned range */
export function discardBlockDevice(fd: number, offset: number, length: number): void {
  checked(native.blkDiscard(fd, offset, length), 'BLKDISCARD');
}

/** Blocks until done. @throws ErrnoError EINVAL for an unaligned range */
export function zeroBlockDevice(fd: number, offset: number, length: number): void {
  checked(native.blkZeroOut(fd, offset, length), 'BLKZEROOUT');
}

/** Alignment that O_DIRECT wants for memory and for offsets and lengths; undefined where the kernel does not say (before 6.1, tmpfs). */
export function directIoAlignment(fd: number): { readonly memory: number; readonly offset: number } | undefined {
  const answer = native.dioAlign(fd);
  if (typeof answer === 'number') throw new ErrnoError(-answer, 'statx');
  const [memory, offset] = answer;
  return memory === 0 ? undefined : { memory, offset };
}

/** @param mode - FALLOC_FL bits. @throws ErrnoError EOPNOTSUPP, ENOSPC */
export function allocateFile(fd: number, mode: number, offset: number, length: number): void {
  checked(native.fallocate(fd, mode, offset, length), 'fallocate');
}

/** @throws ErrnoError EINVAL for what is no regular file */
export function truncateFile(fd: number, length: number): void {
  checked(native.ftruncate(fd, length), 'ftruncate');
}

/** @param dataOnly - fdatasync. @throws ErrnoError EIO */
export function syncFile(fd: number, dataOnly = false): void {
  checked(native.fsync(fd, dataOnly), dataOnly ? 'fdatasync' : 'fsync');
}

/** @param operation - LOCK bits. @returns false when LOCK.NB was given and somebody else holds it. @throws ErrnoError */
export function lockFile(fd: number, operation: number): boolean {
  const result = native.flock(fd, operation);
  if (result === -11) return false;
  checked(result, 'flock');
  return true;
}
