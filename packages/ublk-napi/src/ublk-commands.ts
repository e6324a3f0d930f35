// The control commands of ublk as values: what goes into the command and its buffer, and how the answer is read.
// UblkControl sends them.

import { getFlags } from './layout.js';
import type { Ring } from './ring.js';
import {
  type DeviceInfo,
  type DeviceWish,
  decodeDeviceInfo,
  decodeParams,
  encodeDeviceInfo,
  encodeParams,
  UBLK_CMD,
  UBLK_PARAMS,
  UBLKSRV_CTRL_DEV_INFO,
  type UblkCommandName,
  type UblkParams,
} from './ublk-abi.js';

/** One control command; `T` is what its answer holds. */
export interface UblkRequest<T> {
  readonly name: UblkCommandName;
  /** Device; -1 = none, or the lowest free one. */
  readonly id: number;
  /** -1 = not about one queue. */
  readonly queue: number;
  /** Inline argument, an integer below 2^53. */
  readonly data: number;
  /** Size of the buffer the kernel reads or writes; 0 = none. */
  readonly bufferBytes: number;
  /** Fills the buffer. @returns bytes to pass, at most bufferBytes */
  readonly encode: (view: DataView, base: number) => number;
  readonly decode: (view: DataView, base: number) => T;
}

const nothing = (): void => undefined;
const plain = (name: UblkCommandName, id: number, data = 0): UblkRequest<void> => ({
  name,
  id,
  queue: -1,
  data,
  bufferBytes: 0,
  encode: () => 0,
  decode: nothing,
});
const answer = <T>(name: UblkCommandName, id: number, bufferBytes: number, decode: UblkRequest<T>['decode']): UblkRequest<T> => ({
  name,
  id,
  queue: -1,
  data: 0,
  bufferBytes,
  encode: (view, base) => {
    for (let i = 0; i < bufferBytes; i++) view.setUint8(base + i, 0);
    return bufferBytes;
  },
  decode,
});

/** UBLK_F bits the driver knows (Linux 6.5). EOPNOTSUPP or ENODEV before. */
export const getFeatures = (): UblkRequest<number> => answer('GET_FEATURES', -1, 8, getFlags);

/** Creates /dev/ublkcN; the answer holds what the kernel granted. Errors: EEXIST, EINVAL, EPERM, EACCES (ublks_max), ENOMEM. */
export const addDevice = (wish: DeviceWish): UblkRequest<DeviceInfo> => ({
  ...answer('ADD_DEV', wish.id ?? -1, UBLKSRV_CTRL_DEV_INFO.size, decodeDeviceInfo),
  encode: (view, base) => {
    encodeDeviceInfo(view, base, wish);
    return UBLKSRV_CTRL_DEV_INFO.size;
  },
});

/** Errors: EACCES once started, EINVAL (all parameters are then forgotten). */
export const setParams = (id: number, params: UblkParams): UblkRequest<void> => ({
  ...answer('SET_PARAMS', id, UBLK_PARAMS.size, nothing),
  encode: (view, base) => encodeParams(view, base, params),
});

export const getParams = (id: number): UblkRequest<UblkParams> => ({
  ...answer('GET_PARAMS', id, UBLK_PARAMS.size, decodeParams),
  encode: (view, base) => {
    for (let i = 0; i < UBLK_PARAMS.size; i++) view.setUint8(base + i, 0);
    view.setUint32(base + UBLK_PARAMS.at.len, UBLK_PARAMS.size, true);
    return UBLK_PARAMS.size;
  },
});

/**
 * Creates /dev/ublkbN. Completes when every tag was fetched and, before Linux 6.19, the partition table was read from the device:
 * keep serving until then. Errors: EINVAL (no parameters, foreign pid), EEXIST, EINTR.
 * @param pid - process that serves the queues (not a thread id)
 */
export const startDevice = (id: number, pid: number): UblkRequest<void> => plain('START_DEV', id, pid);

/** Removes /dev/ublkbN after its dirty pages were written: keep serving until this completes and every tag was aborted. */
export const stopDevice = (id: number): UblkRequest<void> => plain('STOP_DEV', id);

/** As stopDevice, but EBUSY while somebody has the device open (Linux 7.0; else EOPNOTSUPP). */
export const tryStopDevice = (id: number): UblkRequest<void> => plain('TRY_STOP_DEV', id);

/** Removes the device; waits until nobody, this process included, holds /dev/ublkcN. */
export const deleteDevice = (id: number): UblkRequest<void> => plain('DEL_DEV', id);

/** As deleteDevice without waiting; the id may stay taken for a while (Linux 6.9; else EOPNOTSUPP). */
export const deleteDeviceAsync = (id: number): UblkRequest<void> => plain('DEL_DEV_ASYNC', id);

/** ENODEV: there is no such device. */
export const getDeviceInfo = (id: number): UblkRequest<DeviceInfo> =>
  answer('GET_DEV_INFO', id, UBLKSRV_CTRL_DEV_INFO.size, decodeDeviceInfo);

/** As getDeviceInfo for a caller without CAP_SYS_ADMIN (UblkControl prefixes the path). */
export const getDeviceInfo2 = (id: number): UblkRequest<DeviceInfo> =>
  answer('GET_DEV_INFO2', id, UBLKSRV_CTRL_DEV_INFO.size, decodeDeviceInfo);

/** CPUs that submit to a queue. */
export const getQueueAffinity = (id: number, queue: number): UblkRequest<number[]> => ({
  ...answer('GET_QUEUE_AFFINITY', id, AFFINITY_BYTES, decodeCpuMask),
  queue,
  data: queue,
});

/** Changes the capacity of a started device (Linux 6.16; else EOPNOTSUPP). @param sectors - a multiple of the logical block */
export const updateSize = (id: number, sectors: number): UblkRequest<void> => plain('UPDATE_SIZE', id, sectors);

/** First step of taking over a device whose server is gone. EBUSY: not yet, try again; EINVAL: made without USER_RECOVERY. */
export const startUserRecovery = (id: number): UblkRequest<void> => plain('START_USER_RECOVERY', id);

/** Last step, after the new server fetched every tag. */
export const endUserRecovery = (id: number, pid: number): UblkRequest<void> => plain('END_USER_RECOVERY', id, pid);

/** Detaches the server without failing I/O (Linux 6.16, flag QUIESCE). @param timeoutMs - 0 = for ever; EBUSY when it passes */
export const quiesceDevice = (id: number, timeoutMs: number): UblkRequest<void> => plain('QUIESCE_DEV', id, timeoutMs);

/** Enough for 8192 CPUs. */
const AFFINITY_BYTES = 1024;

function decodeCpuMask(view: DataView, base: number): number[] {
  const cpus: number[] = [];
  for (let cpu = 0; cpu < AFFINITY_BYTES * 8; cpu++) if ((view.getUint8(base + (cpu >> 3)) & (1 << (cpu & 7))) !== 0) cpus.push(cpu);
  return cpus;
}

/** Largest buffer a request above needs. */
export const UBLK_REQUEST_BYTES_MAX = AFFINITY_BYTES;

/**
 * Fills a slot of a ring with 128-byte SQEs with a control command.
 * @param address - of the buffer, 0 = none; it must stay until the completion
 * @param pathBytes - length of the char device path in front of the payload, 0 = none
 */
export function prepUblkControl(
  ring: Ring,
  slot: number,
  controlFd: number,
  request: Pick<UblkRequest<unknown>, 'name' | 'id' | 'queue' | 'data'>,
  address: number,
  lengthBytes: number,
  pathBytes = 0,
): void {
  ring.prepUringCmd(slot, controlFd, UBLK_CMD[request.name]);
  ring.setCommand32(slot, 0, request.id);
  ring.setCommand32(slot, 1, (request.queue & 0xffff) | (lengthBytes << 16));
  ring.setCommand32(slot, 2, address);
  ring.setCommand32(slot, 3, Math.floor(address / 0x1_0000_0000));
  ring.setCommand32(slot, 4, request.data);
  ring.setCommand32(slot, 5, Math.floor(request.data / 0x1_0000_0000));
  ring.setCommand32(slot, 6, pathBytes);
}
