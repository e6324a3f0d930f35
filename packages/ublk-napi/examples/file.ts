// A disk kept in a file or on another block device: file.ts --file PATH [--id N] [--size BYTES] [--depth N] [--user-copy].
// Requests and the I/O they cause are on one ring; nothing waits, nothing is allocated per request.
import { parseArgs } from 'node:util';
import {
  BufferPool,
  closeFile,
  directIoAlignment,
  ErrnoError,
  FALLOC_FL,
  O,
  openFile,
  RWF,
  statFile,
  truncateFile,
  UBLK_F,
  UBLK_IO_F,
  UBLK_OP,
  type UblkQueue,
  UblkServer,
} from 'ublk-napi';

const { values } = parseArgs({
  options: {
    file: { type: 'string' },
    id: { type: 'string' },
    size: { type: 'string' },
    depth: { type: 'string', default: '64' },
    'user-copy': { type: 'boolean', default: false },
  },
});

const EOPNOTSUPP = 95;
const EIO = 5;
const MAX_IO_BYTES = 512 * 1024;
const PUNCH = FALLOC_FL.PUNCH_HOLE | FALLOC_FL.KEEP_SIZE;

/** What a completion belongs to: the high half of user_data. The low half is the tag. */
const FETCHING = 1; // payload of a WRITE comes from the kernel (user copy)
const STORING = 2; // I/O on the file
const DELIVERING = 3; // payload of a READ goes to the kernel (user copy)

/** Page cache where the file system knows no direct I/O. */
function openBacking(path: string): number {
  try {
    return openFile(path, O.RDWR | O.DIRECT);
  } catch (error) {
    if (error instanceof ErrnoError && error.code === 'EINVAL') return openFile(path, O.RDWR);
    throw error;
  }
}

async function main(path: string): Promise<void> {
  const fd = openBacking(path);
  const status = statFile(fd);
  const sizeBytes = values.size === undefined ? status.sizeBytes : Number(values.size);
  if (status.kind === 'file' && status.sizeBytes < sizeBytes) truncateFile(fd, sizeBytes);
  const depth = Number(values.depth);
  const own = values['user-copy'] ? BufferPool.create({ count: depth, size: MAX_IO_BYTES }) : undefined;

  const slotFor = (server: UblkServer, tag: number, stage: number): number => {
    let slot = server.ring.getSqe();
    if (slot < 0) {
      server.ring.submit();
      slot = server.ring.getSqe();
    }
    server.ring.setUserData(slot, tag, stage);
    return slot;
  };
  const payloadAddress = (queue: UblkQueue, tag: number): number => own?.slotAddress(tag) ?? queue.payloadAddress(tag);

  const store = (server: UblkServer, queue: UblkQueue, tag: number): void => {
    const { ring } = server;
    const slot = slotFor(server, tag, STORING);
    const offset = queue.startBytes(tag);
    const length = queue.lengthBytes(tag);
    switch (queue.op(tag)) {
      case UBLK_OP.READ:
        ring.prepRead(slot, fd, payloadAddress(queue, tag), length, offset);
        break;
      case UBLK_OP.WRITE:
        ring.prepWrite(slot, fd, payloadAddress(queue, tag), length, offset, (queue.opFlags(tag) & UBLK_IO_F.FUA) === 0 ? 0 : RWF.DSYNC);
        break;
      case UBLK_OP.FLUSH:
        ring.prepFsync(slot, fd, true);
        break;
      default:
        // DISCARD and WRITE_ZEROES. Where holes cannot be punched the kernel is told so, and writes zeroes itself.
        ring.prepFallocate(slot, fd, PUNCH, offset, length);
    }
  };

  const server = await UblkServer.start({
    sizeBytes,
    depth,
    maxIoBytes: MAX_IO_BYTES,
    logicalBlockBytes: Math.max(512, directIoAlignment(fd)?.offset ?? 512),
    flags: values['user-copy'] ? UBLK_F.USER_COPY : 0,
    ...(values.id !== undefined && { id: Number(values.id) }),
    onRequest(server, queue, tag) {
      if (own !== undefined && queue.op(tag) === UBLK_OP.WRITE) {
        queue.prepReadPayload(slotFor(server, tag, FETCHING), tag, own.slotAddress(tag), queue.lengthBytes(tag));
      } else store(server, queue, tag);
    },
    onCompletion(server, tag, stage, res) {
      const queue = server.queues[0]!;
      const op = queue.op(tag);
      const length = queue.lengthBytes(tag);
      if (op !== UBLK_OP.READ && op !== UBLK_OP.WRITE) queue.commitAndFetch(tag, op === UBLK_OP.DISCARD && res === -EOPNOTSUPP ? 0 : res);
      else if (res !== length) queue.commitAndFetch(tag, res < 0 ? res : -EIO);
      else if (stage === FETCHING) store(server, queue, tag);
      else if (stage === STORING && op === UBLK_OP.READ && own !== undefined) {
        queue.prepWritePayload(slotFor(server, tag, DELIVERING), tag, own.slotAddress(tag), length);
      } else queue.commitAndFetch(tag, length);
    },
  });
  console.log(`ready ${server.path}`);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => server.stop());
  await server.closed;
  closeFile(fd);
}

try {
  if (values.file === undefined) throw new RangeError('--file PATH is needed');
  await main(values.file);
} catch (error) {
  if (!(error instanceof ErrnoError || error instanceof RangeError)) throw error;
  console.error(`file: ${error.message}`);
  process.exitCode = 1;
}
