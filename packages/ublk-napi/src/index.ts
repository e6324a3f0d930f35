// io_uring and ublk for Node.js. See README.md.
export { BufferPool, type BufferPoolOptions } from './buffers.js';
export { Clock } from './clock.js';
export { crc32c, crc32cIsHardware } from './crc32c.js';
export { checked, ERRNO, ErrnoError, type ErrnoName, errnoName, errnoText } from './errno.js';
export { EventFd, signalEventfd } from './eventfd.js';
export { FdWatcher } from './fd-watcher.js';
export * from './files.js';
export {
  BLOCK_URING_CMD_DISCARD,
  IORING_ASYNC_CANCEL,
  IORING_CQE_F,
  IORING_OP,
  IORING_SETUP,
  IORING_TIMEOUT,
  IOSQE,
  MSG,
  POLL,
  RWF,
} from './io-uring-abi.js';
export { MessageTable } from './messages.js';
export { AddonError } from './native.js';
export { type Grant, lockProcessMemory, setIoFlusher, setOomScore } from './process-memory.js';
export { type AddressRange, Ring, type RingOptions } from './ring.js';
export { type ServeOptions, serveUblk, type UblkHandlers } from './serve-ublk.js';
export { decodeAddress, encodeAddress, encodeAddressInto, SOCKADDR_BYTES_MAX, type SocketAddress } from './socket-address.js';
export * from './sockets.js';
export {
  type DeviceInfo,
  type DeviceWish,
  type DiscardParams,
  featureNames,
  UBLK_ATTR,
  UBLK_F,
  UBLK_IO_F,
  UBLK_MAX_RANGE_SECTORS,
  UBLK_OP,
  type UblkCommandName,
  type UblkFeature,
  type UblkParams,
  type UblkState,
  userCopyPosition,
} from './ublk-abi.js';
export type { UblkRequest } from './ublk-commands.js';
export * as ublkCommands from './ublk-commands.js';
export {
  type EmbedOptions,
  isUblkAvailable,
  listUblkDevices,
  UblkControl,
  type UblkDone,
  ublkBlockPath,
  ublkCharPath,
  waitForNode,
} from './ublk-control.js';
export { TAG_EVENT, UblkCharDevice, UblkQueue, type UblkQueueOptions } from './ublk-queue.js';
export { UblkServer, type UblkServerOptions } from './ublk-server.js';
