// Finds and loads the addon, states its functions as types, and refuses an addon whose structures differ from our tables.
// Every native function checks the type and range of each argument and throws TypeError or RangeError; what the kernel says
// comes back as a number: >= 0, or -errno.
import { createRequire } from 'node:module';
import { endianness } from 'node:os';
import { fileURLToPath } from 'node:url';
import { IO_URING_CQE, IO_URING_SQE, IOVEC, KERNEL_TIMESPEC, MSGHDR } from './io-uring-abi.js';
import { assertLayout, type CompiledLayout } from './layout.js';
import { UBLK_PARAMS, UBLKSRV_CTRL_CMD, UBLKSRV_CTRL_DEV_INFO, UBLKSRV_IO_CMD, UBLKSRV_IO_DESC } from './ublk-abi.js';

/** What `ringSetup` mapped. Offsets are bytes inside `ring`. */
export interface RingMapping {
  readonly fd: number;
  readonly flags: number;
  readonly features: number;
  readonly sqEntries: number;
  readonly cqEntries: number;
  readonly ring: ArrayBuffer;
  readonly sqes: ArrayBuffer;
  readonly sqHead: number;
  readonly sqTail: number;
  readonly sqFlags: number;
  readonly sqDropped: number;
  readonly sqArray: number;
  readonly cqHead: number;
  readonly cqTail: number;
  readonly cqFlags: number;
  readonly cqOverflow: number;
  readonly cqes: number;
}

/** Anonymous memory from `mmapAnonymous`. */
export interface AnonymousMapping {
  readonly buffer: ArrayBuffer;
  readonly address: number;
  /** 0, or the errno with which mlock was refused. */
  readonly lockErrno: number;
}

export interface FileStatus {
  readonly mode: number;
  readonly size: number;
  readonly blocks: number;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  readonly ino: number;
}

export interface Native {
  layouts(): Readonly<Record<string, CompiledLayout>>;
  pageSize(): number;
  // rings
  ringSetup(entries: number, cqEntries: number, flags: number): RingMapping | number;
  ringEnter(fd: number, toSubmit: number, minComplete: number, flags: number, timeoutUs: number): number;
  ringClose(fd: number, registeredIndex: number): number;
  ringRegisterSelf(fd: number): number;
  ringRegisterEventfd(fd: number, eventfd: number): number;
  ringRegisterBuffers(fd: number, addressAndLength: Float64Array): number;
  ringUnregisterBuffers(fd: number): number;
  ringRegisterFiles(fd: number, fds: Int32Array): number;
  ringUpdateFiles(fd: number, offset: number, fds: Int32Array): number;
  ringUnregisterFiles(fd: number): number;
  ringWorkers(fd: number, bounded: number, unbounded: number): number;
  ringProbe(fd: number): Uint8Array | number;
  // memory
  mmapAnonymous(lengthBytes: number, lock: boolean): AnonymousMapping | number;
  mmapDescriptors(fd: number, lengthBytes: number, offset: number): ArrayBuffer | number;
  munmap(buffer: ArrayBuffer): number;
  lockProcessMemory(): number;
  /** Writes CLOCK_MONOTONIC in milliseconds to the first element. */
  readClock(into: Float64Array): number;
  setIoFlusher(on: boolean): number;
  crc32c(bytes: Uint8Array, offset: number, length: number, seed: number): number;
  crc32cPortable(bytes: Uint8Array, offset: number, length: number, seed: number): number;
  crc32cHardware(): boolean;
  // files
  open(path: string, flags: number, mode: number): number;
  close(fd: number): number;
  pread(fd: number, bytes: Uint8Array, offset: number, length: number, position: number): number;
  pwrite(fd: number, bytes: Uint8Array, offset: number, length: number, position: number): number;
  fstat(fd: number): FileStatus | number;
  dioAlign(fd: number): readonly [memory: number, offset: number] | number;
  fallocate(fd: number, mode: number, offset: number, length: number): number;
  ftruncate(fd: number, length: number): number;
  fsync(fd: number, dataOnly: boolean): number;
  flock(fd: number, operation: number): number;
  blkGetSize(fd: number): number;
  blkLogicalBlockSize(fd: number): number;
  blkPhysicalBlockSize(fd: number): number;
  blkReadOnly(fd: number): number;
  blkFlushBuffers(fd: number): number;
  blkDiscard(fd: number, offset: number, length: number): number;
  blkZeroOut(fd: number, offset: number, length: number): number;
  eventfd(initial: number): number;
  eventfdWrite(fd: number, value: number): number;
  eventfdRead(fd: number): number;
  // sockets
  socket(family: number, type: number, protocol: number): number;
  bind(fd: number, address: Uint8Array): number;
  listen(fd: number, backlog: number): number;
  connect(fd: number, address: Uint8Array): number;
  accept(fd: number): number;
  shutdown(fd: number, how: number): number;
  setSockOpt(fd: number, level: number, option: number, value: number): number;
  getSockOpt(fd: number, level: number, option: number): number;
  /** struct ucred, or -errno. */
  peerCredentials(fd: number): Uint8Array | number;
  bindToDevice(fd: number, name: string): number;
  getSockName(fd: number): Uint8Array | number;
  getPeerName(fd: number): Uint8Array | number;
  inetPton(family: number, text: string): Uint8Array | number;
  interfaceIndex(name: string): number;
  // libuv
  /** A handle > 0, or -errno. */
  watchFd(fd: number, readable: () => void): number;
  watchRef(handle: number, keepAlive: boolean): void;
  unwatchFd(handle: number): void;
}

/** The addon is absent or cannot be loaded; the message lists what was tried. */
export class AddonError extends Error {
  constructor(tried: readonly string[]) {
    super(`cannot load ublk_napi.node (build it with \`npm run build -w ublk-napi\`):\n${tried.map((line) => `  ${line}`).join('\n')}`);
    this.name = 'AddonError';
  }
}

/** Beside a bundle, one folder above a bundle's chunk, or in the package's own build folder seen from src/ or dist/. */
export const ADDON_PLACES = ['./ublk_napi.node', '../ublk_napi.node', '../build/Release/ublk_napi.node'] as const;

/** @throws AddonError when no place holds a loadable addon */
export function loadAddon(base: string, places: readonly string[] = ADDON_PLACES): Native {
  const require = createRequire(base);
  const tried: string[] = [];
  for (const place of places) {
    const file = fileURLToPath(new URL(place, base));
    try {
      return require(file) as Native;
    } catch (error) {
      tried.push(`${file}: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`);
    }
  }
  throw new AddonError(tried);
}

if (endianness() !== 'LE') throw new Error('ublk-napi supports little-endian machines only');

export const native: Native = loadAddon(import.meta.url);
// The newest function: an addon that was built before it may also understand others differently.
if (typeof native.readClock !== 'function') throw new AddonError(['ublk_napi.node: built from older sources']);

/** Every structure this package lays over memory. */
export const LAYOUTS = [
  IO_URING_SQE,
  IO_URING_CQE,
  KERNEL_TIMESPEC,
  IOVEC,
  MSGHDR,
  UBLKSRV_CTRL_CMD,
  UBLKSRV_CTRL_DEV_INFO,
  UBLKSRV_IO_DESC,
  UBLKSRV_IO_CMD,
  UBLK_PARAMS,
] as const;

const compiled = native.layouts();
for (const table of LAYOUTS) assertLayout(table, compiled[table.name]);
