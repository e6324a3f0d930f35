// The data plane of a ublk device: the mapped request descriptors of one queue, and the commands that fetch and commit its tags.
// Everything goes through the caller's ring; after set-up nothing is allocated.
//
//   idle --fetchAll--> armed --completion, res 0--> owned --commitAndFetch--> armed ... --completion, -ENODEV--> retired
//
// All tags of a queue must be fetched and committed by the thread that owns the ring.
import type { BufferPool } from './buffers.js';
import { checked, ERRNO, ErrnoError } from './errno.js';
import { closeFile, O, openFile } from './files.js';
import { native } from './native.js';
import type { Ring } from './ring.js';
import { UBLK_F, UBLK_IO, UBLK_MAX_QUEUE_DEPTH, UBLKSRV_IO_DESC, userCopyPosition } from './ublk-abi.js';
import { ublkCharPath } from './ublk-control.js';

const DESC_WORDS = UBLKSRV_IO_DESC.size >>> 2;
const SECTOR_BYTES = 512;

/** What a completion of a tag means. */
export const TAG_EVENT = {
  /** A request is in the tag's descriptor; commit it some time. */
  REQUEST: 0,
  /** The device stops, quiesces or went away; the tag delivers nothing any more. */
  RETIRED: 1,
  /** The kernel refused the command: a bug of the server. `UblkQueue.error` holds the errno. */
  FAILED: 2,
} as const;

const IDLE = 0;
const ARMED = 1;
const OWNED = 2;
const RETIRED = 3;

/** /dev/ublkcN, which only one process can have open. */
export class UblkCharDevice {
  readonly id: number;
  #fd: number;

  /** @throws ErrnoError ENOENT, EBUSY while another server has it, EACCES */
  static open(id: number, path = ublkCharPath(id)): UblkCharDevice {
    // Without O_NONBLOCK the ring would hand every payload copy to a kernel worker thread.
    return new UblkCharDevice(id, openFile(path, O.RDWR | O.NONBLOCK));
  }

  private constructor(id: number, fd: number) {
    this.id = id;
    this.#fd = fd;
  }

  get fd(): number {
    return this.#fd;
  }

  /** Unmap every queue first. Harmless twice. */
  close(): void {
    if (this.#fd >= 0) closeFile(this.#fd);
    this.#fd = -1;
  }
}

export interface UblkQueueOptions {
  readonly ring: Ring;
  readonly device: UblkCharDevice;
  /** Number of the queue (default 0). */
  readonly queue?: number;
  /** From DeviceInfo, as is `flags`. */
  readonly depth: number;
  readonly flags: number;
  /** High half of the user_data of the fetch and commit commands; the low half is queue * 65536 + tag. */
  readonly userDataHi: number;
  /** Copy mode: one slot per tag, each at least maxIoBytes. Not given with USER_COPY. */
  readonly buffers?: BufferPool;
}

export class UblkQueue {
  readonly queue: number;
  readonly depth: number;
  /** Payload moves with prepReadPayload and prepWritePayload; else it is in the tag's slot of `buffers`. */
  readonly userCopy: boolean;
  /** Copy mode: the tags' buffers. */
  readonly buffers: BufferPool | undefined;
  /** First errno with which a command of this queue was refused; 0 = none. */
  error = 0;

  readonly #ring: Ring;
  readonly #device: UblkCharDevice;
  readonly #userDataHi: number;
  readonly #map: ArrayBuffer;
  readonly #descriptors: Int32Array;
  readonly #state: Uint8Array;
  #armed = 0;
  #owned = 0;
  #retired = 0;

  /** Maps the queue's descriptors. @throws ErrnoError EINVAL, EPERM, ENODEV; RangeError */
  static open(options: UblkQueueOptions): UblkQueue {
    return new UblkQueue(options);
  }

  private constructor({ ring, device, queue = 0, depth, flags, userDataHi, buffers }: UblkQueueOptions) {
    this.userCopy = (flags & UBLK_F.USER_COPY) !== 0;
    if (this.userCopy === (buffers !== undefined)) throw new RangeError('buffers are needed in copy mode, and only there');
    if (buffers !== undefined && buffers.slotCount < depth) throw new RangeError(`${buffers.slotCount} buffers for ${depth} tags`);
    this.queue = queue;
    this.depth = depth;
    this.buffers = buffers;
    this.#ring = ring;
    this.#device = device;
    this.#userDataHi = userDataHi;
    // The stride does not depend on the depth in use: each queue has room for the largest.
    const page = native.pageSize();
    const roundUp = (bytes: number) => Math.ceil(bytes / page) * page;
    const map = native.mmapDescriptors(
      device.fd,
      roundUp(depth * UBLKSRV_IO_DESC.size),
      queue * roundUp(UBLK_MAX_QUEUE_DEPTH * UBLKSRV_IO_DESC.size),
    );
    if (typeof map === 'number') throw new ErrnoError(-map, 'mmap', ublkCharPath(device.id));
    this.#map = map;
    this.#descriptors = new Int32Array(map);
    this.#state = new Uint8Array(depth);
  }

  /** Tags waiting for a request. */
  get armed(): number {
    return this.#armed;
  }
  /** Requests with the server. */
  get owned(): number {
    return this.#owned;
  }
  get retired(): number {
    return this.#retired;
  }
  /** Is every tag retired, so that the device may be closed? After QUIESCE_DEV committed tags never retire: wait for `owned` to be 0. */
  get isDrained(): boolean {
    return this.#retired === this.depth;
  }

  /** Arms every tag, submitting when the ring is full. @throws ErrnoError of io_uring_enter */
  fetchAll(): void {
    for (let tag = 0; tag < this.depth; tag++) if (this.#state[tag] === IDLE) this.#command(tag, UBLK_IO.FETCH_REQ, 0);
  }

  /**
   * Takes the completion of a tag's command.
   * @returns TAG_EVENT: only after REQUEST may the descriptor be read, until commitAndFetch
   */
  completed(tag: number, res: number): number {
    if (this.#state[tag] === ARMED) this.#armed--;
    if (res === 0) {
      this.#state[tag] = OWNED;
      this.#owned++;
      return TAG_EVENT.REQUEST;
    }
    this.#state[tag] = RETIRED;
    this.#retired++;
    if (res === -ERRNO.ENODEV || res === -ERRNO.ECANCELED) return TAG_EVENT.RETIRED;
    if (this.error === 0) this.error = -res;
    return TAG_EVENT.FAILED;
  }

  /** UBLK_OP. */
  op(tag: number): number {
    return this.#descriptors[tag * DESC_WORDS]! & 0xff;
  }

  /** UBLK_IO_F bits. */
  opFlags(tag: number): number {
    return (this.#descriptors[tag * DESC_WORDS]! & ~0xff) >>> 0;
  }

  /** Length in 512-byte sectors; 0 for FLUSH. */
  nrSectors(tag: number): number {
    return this.#descriptors[tag * DESC_WORDS + 1]! >>> 0;
  }

  lengthBytes(tag: number): number {
    return (this.#descriptors[tag * DESC_WORDS + 1]! >>> 0) * SECTOR_BYTES;
  }

  /** Position in 512-byte sectors; meaningless for FLUSH. */
  startSector(tag: number): number {
    const w = tag * DESC_WORDS + 2;
    return (this.#descriptors[w + 1]! >>> 0) * 0x1_0000_0000 + (this.#descriptors[w]! >>> 0);
  }

  startBytes(tag: number): number {
    return this.startSector(tag) * SECTOR_BYTES;
  }

  /** Copy mode: memory address of the tag's payload. */
  payloadAddress(tag: number): number {
    return this.buffers === undefined ? 0 : this.buffers.slotAddress(tag);
  }

  /**
   * Answers a request and arms its tag again; goes out with the next submit.
   * @param result - READ and WRITE: exactly lengthBytes; FLUSH, DISCARD, WRITE_ZEROES: 0 (never the length, it may not fit); or -errno
   * @throws Error for a tag that is not with the server; ErrnoError of io_uring_enter when the ring is full and stays so
   */
  commitAndFetch(tag: number, result: number): void {
    if (this.#state[tag] !== OWNED) throw new Error(`ublk queue ${this.queue}: tag ${tag} is not with the server`);
    this.#owned--;
    this.#command(tag, UBLK_IO.COMMIT_AND_FETCH_REQ, result);
  }

  /** User copy: brings the payload of a WRITE (from byte `offset` on) to `address`. */
  prepReadPayload(slot: number, tag: number, address: number, lengthBytes: number, offset = 0): void {
    this.#ring.prepRead(slot, this.#device.fd, address, lengthBytes, userCopyPosition(this.queue, tag, offset));
  }

  /** User copy: delivers the payload of a READ from `address`; before the commit. */
  prepWritePayload(slot: number, tag: number, address: number, lengthBytes: number, offset = 0): void {
    this.#ring.prepWrite(slot, this.#device.fd, address, lengthBytes, userCopyPosition(this.queue, tag, offset));
  }

  /** Unmaps the descriptors. Harmless twice. */
  close(): void {
    native.munmap(this.#map);
  }

  #command(tag: number, cmdOp: number, result: number): void {
    const ring = this.#ring;
    let slot = ring.getSqe();
    if (slot < 0) {
      checked(ring.submit(), 'io_uring_enter');
      slot = ring.getSqe();
      if (slot < 0) throw new ErrnoError(ERRNO.EBUSY, 'io_uring_enter');
    }
    prepUblkIo(ring, slot, this.#device.fd, cmdOp, this.queue, tag, result, this.payloadAddress(tag));
    ring.setUserData(slot, this.queue * 0x10000 + tag, this.#userDataHi);
    this.#state[tag] = ARMED;
    this.#armed++;
  }
}

/** Fills a slot with a fetch or commit command. @param address - copy mode: buffer for the tag's next request; else 0 */
export function prepUblkIo(
  ring: Ring,
  slot: number,
  charFd: number,
  cmdOp: number,
  queue: number,
  tag: number,
  result: number,
  address: number,
): void {
  ring.prepUringCmd(slot, charFd, cmdOp);
  ring.setCommand32(slot, 0, queue | (tag << 16));
  ring.setCommand32(slot, 1, result);
  ring.setCommand32(slot, 2, address);
  ring.setCommand32(slot, 3, Math.floor(address / 0x1_0000_0000));
}
