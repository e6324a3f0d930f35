/**
 * Opening a backing disk for attach: claim the devices, read and judge the meta-data. The order of the refusals is DRBD's
 * (drbd_nl.c, drbd_adm_attach); what depends on the state of the resource is judged by the core afterwards.
 */
import { close, constants, fdatasync, open, read, write } from 'node:fs';
import { readFile, realpath } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { META_INDEX_FLEXIBLE, META_INDEX_INTERNAL, type Outcome, type ReturnCode, refuse } from '@udrbd/control';
import {
  bitmapBytes,
  capacitySectors,
  checkAttach,
  decodeSuperblock07,
  decodeSuperblock08,
  decodeSuperblock09,
  INDEXED_AREA_BYTES,
  isClean,
  MAGIC,
  MDF,
  type MetaData,
  type MetaDataKind,
  placementOf,
  SECTOR_BYTES,
  SUPERBLOCK_BYTES,
  superblockOffset,
} from '@udrbd/metadata';
import type { BackingDisk, Options } from '@udrbd/replication';
import { BufferPool, ERRNO, ErrnoError, LOCK, lockFile, logicalBlockSize, O, statFile } from 'ublk-napi';
import type { DiskHandles } from '../reactor/messages.js';
import { type MetaDevice, replayIntoBitmap } from './replay-activity-log.js';

const openAsync = promisify(open);
const closeAsync = promisify(close);
const readAsync = promisify(read);
const writeAsync = promisify(write);
const syncAsync = promisify(fdatasync);

const READ_PIECE_BYTES = 1 << 20;
/** Smallest meta-data device of the flexible kind. */
const META_SECTORS_MIN = 2048;

export interface AttachRequest {
  readonly backingDev: string;
  readonly metaDev: string;
  readonly metaIndex: number;
  /** All disk options with their values. */
  readonly options: Options;
  readonly nodeId: number;
  /** Meta-data of DRBD 8.4 is accepted. */
  readonly drbd8Compat: boolean;
  /** The engine that had the disk is gone: its activity log is replayed, as `drbdmeta apply-al` would. */
  readonly replaysActivityLog?: boolean;
  /** Milliseconds to wait for a disk that is in use; default 0. */
  readonly waitMs?: number;
}

/** How often a disk that is in use is tried again. */
const BUSY_RETRY_MS = 10;

export interface OpenedDisk {
  readonly handles: DiskHandles;
  readonly backing: BackingDisk;
  /** Bits that the replay of the activity log has set; undefined when there was nothing to replay. */
  readonly replayedBits: number | undefined;
}

interface Device {
  readonly fd: number;
  readonly path: string;
  readonly isBlock: boolean;
  readonly sizeBytes: number;
  /** Equal for two names of one device or file. */
  readonly identity: string;
  readonly logicalBlockBytes: number;
  readonly major: number;
  readonly minor: number;
}

/** Opens, reads and checks. On refusal everything is closed again. */
export async function openDisk(request: AttachRequest): Promise<Outcome<OpenedDisk>> {
  const devices: Device[] = [];
  try {
    const result = await tryOpen(request, devices);
    if (!result.ok) await closeAll(devices);
    return result;
  } catch (error) {
    await closeAll(devices);
    throw error;
  }
}

/** Gives the devices of an attached disk back. */
export async function closeDisk(handles: DiskHandles): Promise<void> {
  await closeAsync(handles.dataFd);
  if (handles.metaFd !== handles.dataFd) await closeAsync(handles.metaFd);
}

async function tryOpen(request: AttachRequest, devices: Device[]): Promise<Outcome<OpenedDisk>> {
  const data = await openDevice(request.backingDev, true, 'ERR_OPEN_DISK', devices, request.waitMs);
  if (!data.ok) return data;
  const kind = kindOf(request.metaIndex);
  const meta = await openMeta(request, data.value, devices);
  if (!meta.ok) return meta;
  const superblockAt = superblockOffset(kind, meta.value.sizeBytes, Math.max(0, request.metaIndex));
  const superblock = superblockAt < 0 ? undefined : await readArea(meta.value, superblockAt, SUPERBLOCK_BYTES);
  if (superblock === undefined) return refuse('ERR_IO_MD_DISK');
  const decoded = judge(superblock, kind, request);
  if (!decoded.ok) return decoded;
  const md = decoded.value;
  const usableSectors = capacitySectors(md, kind, superblockAt, data.value.sizeBytes);
  const wantedSectors = typeof request.options.size === 'number' ? request.options.size : 0;
  if (wantedSectors > usableSectors) return refuse('ERR_DISK_TOO_SMALL');
  const metaMin = request.metaIndex >= 0 ? ((request.metaIndex + 1) * INDEXED_AREA_BYTES) / SECTOR_BYTES : META_SECTORS_MIN;
  if (kind !== 'internal' && Math.floor(meta.value.sizeBytes / SECTOR_BYTES) < metaMin) return refuse('ERR_MD_DISK_TOO_SMALL');
  const place = placementOf(md, kind, superblockAt);
  const bitmapLength = Math.min(
    place.bmSizeBytes,
    bitmapBytes(Math.max(usableSectors, md.effective_size), md.bm_max_peers, md.bm_bytes_per_bit),
  );
  const bitmap = await readArea(meta.value, place.bmOffsetBytes, bitmapLength);
  if (bitmap === undefined) return refuse('ERR_IO_MD_DISK');
  let replayedBits: number | undefined;
  if (!isClean(md)) {
    const replayed = await replayIntoBitmap(metaDevice(meta.value), md, place, bitmap).catch((error: NodeJS.ErrnoException) => {
      if (error.errno === undefined) throw error;
      return refuse('ERR_IO_MD_DISK');
    });
    if (!replayed.ok) return replayed;
    replayedBits = replayed.value;
  }
  return {
    ok: true,
    value: {
      replayedBits,
      handles: {
        dataFd: data.value.fd,
        metaFd: meta.value.fd,
        isBlockDevice: data.value.isBlock,
        logicalBlockBytes: data.value.logicalBlockBytes,
      },
      backing: {
        backingDevice: request.backingDev,
        metaDevice: request.metaDev,
        metaIndex: kind === 'internal' ? 'internal' : kind === 'flex-external' ? 'flexible' : request.metaIndex,
        backingSectors: Math.floor(data.value.sizeBytes / SECTOR_BYTES),
        metaSectors: Math.floor(meta.value.sizeBytes / SECTOR_BYTES),
        metaData: md,
        superblockOffsetBytes: place.superblockOffsetBytes,
        activityLogOffsetBytes: place.alOffsetBytes,
        bitmapOffsetBytes: place.bmOffsetBytes,
        usableSectors,
        bitmap,
        options: request.options,
        hasWriteCache: await hasWriteCache(data.value),
      },
    },
  };
}

function kindOf(metaIndex: number): MetaDataKind {
  if (metaIndex === META_INDEX_INTERNAL) return 'internal';
  return metaIndex === META_INDEX_FLEXIBLE ? 'flex-external' : 'indexed';
}

/** The meta-data device: the data device itself if and only if the meta-data is internal. */
async function openMeta(request: AttachRequest, data: Device, devices: Device[]): Promise<Outcome<Device>> {
  const isInternal = request.metaIndex === META_INDEX_INTERNAL;
  const isSame = request.metaDev === request.backingDev || (await sameFile(request.metaDev, request.backingDev));
  if (isInternal) return isSame ? { ok: true, value: data } : refuse('ERR_MD_IDX_INVALID');
  // An indexed meta-data device is shared, but not with the data device, which is claimed.
  if (isSame) return refuse(request.metaIndex === META_INDEX_FLEXIBLE ? 'ERR_MD_IDX_INVALID' : 'ERR_OPEN_MD_DISK');
  const meta = await openDevice(request.metaDev, request.metaIndex === META_INDEX_FLEXIBLE, 'ERR_OPEN_MD_DISK', devices, request.waitMs);
  if (meta.ok && meta.value.identity === data.identity) return refuse('ERR_MD_IDX_INVALID');
  return meta;
}

async function sameFile(a: string, b: string): Promise<boolean> {
  const [x, y] = await Promise.all([a, b].map((path) => realpath(path).catch(() => undefined)));
  return x !== undefined && x === y;
}

/**
 * The I/O of an engine that was killed goes on without it, and holds the disk as long as it does: waiting for the disk is waiting for
 * that I/O, so nothing that we write can be overtaken by it.
 */
async function openDevice(path: string, exclusive: boolean, code: ReturnCode, devices: Device[], waitMs = 0): Promise<Outcome<Device>> {
  for (let waited = 0; ; waited += BUSY_RETRY_MS) {
    const opened = await tryDevice(path, exclusive, code, devices);
    if (opened !== 'busy') return opened;
    if (waited >= waitMs) return refuse(code, `open("${path}") failed with ${-ERRNO.EBUSY}`);
    await sleep(BUSY_RETRY_MS);
  }
}

async function tryDevice(path: string, exclusive: boolean, code: ReturnCode, devices: Device[]): Promise<Outcome<Device> | 'busy'> {
  const base = constants.O_RDWR | (exclusive ? O.EXCL : 0);
  let fd: number;
  try {
    fd = await openAsync(path, base | O.DIRECT).catch((error: NodeJS.ErrnoException) => {
      // Some file systems have no O_DIRECT; then the page cache stands between, and fdatasync is what counts.
      if (error.code === 'EINVAL') return openAsync(path, base);
      throw error;
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EBUSY') return 'busy';
    return refuse(code, `open("${path}") failed with ${(error as NodeJS.ErrnoException).errno ?? -ERRNO.EIO}`);
  }
  const status = statFile(fd);
  // O_EXCL claims block devices only; image files are claimed with a lock.
  if (status.kind === 'file' && exclusive && !lockFile(fd, LOCK.EX | LOCK.NB)) {
    await closeAsync(fd);
    return 'busy';
  }
  const device: Device = {
    fd,
    path,
    isBlock: status.kind === 'block',
    sizeBytes: status.sizeBytes,
    identity: status.kind === 'block' ? `b${status.major}:${status.minor}` : `f${status.inode}`,
    logicalBlockBytes: status.kind === 'block' ? logicalBlockSize(fd) : 512,
    major: status.major,
    minor: status.minor,
  };
  devices.push(device);
  if (status.kind === 'other') return refuse(code === 'ERR_OPEN_DISK' ? 'ERR_DISK_NOT_BDEV' : 'ERR_MD_NOT_BDEV');
  return { ok: true, value: device };
}

function judge(bytes: Uint8Array, kind: MetaDataKind, request: AttachRequest): Outcome<MetaData> {
  for (const decode of [decodeSuperblock09, decodeSuperblock08, decodeSuperblock07]) {
    const decoded = decode(bytes);
    if (!decoded.ok) continue;
    const md = decoded.value;
    if (md.format === 'v08' && !request.drbd8Compat) {
      return refuse('ERR_MD_INVALID', 'Found old meta data magic. Did you "drbdadm create-md"?');
    }
    // A log that will be replayed is judged as it is going to be; nothing is written to meta-data that make no sense.
    const judged =
      request.replaysActivityLog === true
        ? { ...md, flags: md.flags | MDF.AL_CLEAN, magic: md.format === 'v08' ? MAGIC.v08 : md.magic }
        : md;
    const verdict = checkAttach(judged, kind, request.drbd8Compat ? -1 : request.nodeId);
    return verdict.ok ? { ok: true, value: md } : refuse(verdict.error.code, verdict.error.info);
  }
  return refuse('ERR_MD_INVALID', 'Meta data magic not found. Did you "drbdadm create-md"?');
}

/** Bytes of a device, or undefined after an I/O error or at the end of the device. */
async function readArea({ fd, sizeBytes }: Device, offset: number, length: number): Promise<Uint8Array | undefined> {
  // A damaged super block may ask for anything: no memory for what the device does not have.
  if (offset < 0 || offset + length > sizeBytes) return undefined;
  const result = new Uint8Array(length);
  if (length === 0) return result;
  const pool = BufferPool.create({ count: 1, size: READ_PIECE_BYTES, lock: false });
  try {
    const buffer = Buffer.from(pool.bytes.buffer, 0, READ_PIECE_BYTES);
    for (let done = 0; done < length; ) {
      const { bytesRead } = await readAsync(fd, buffer, 0, Math.min(READ_PIECE_BYTES, length - done), offset + done);
      if (bytesRead === 0) return undefined;
      result.set(pool.bytes.subarray(0, bytesRead), done);
      done += bytesRead;
    }
    return result;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).errno === undefined) throw error;
    return undefined;
  } finally {
    pool.close();
  }
}

/** For the replay of the activity log. Direct I/O wants aligned memory. */
function metaDevice(device: Device): MetaDevice {
  const { fd } = device;
  return {
    async read(offset, length) {
      const bytes = await readArea(device, offset, length);
      if (bytes === undefined) throw new ErrnoError(ERRNO.EIO, 'read');
      return bytes;
    },
    async write(offset, bytes) {
      const pool = BufferPool.create({ count: 1, size: bytes.length, lock: false });
      try {
        pool.bytes.set(bytes);
        const buffer = Buffer.from(pool.bytes.buffer, 0, bytes.length);
        for (let done = 0; done < bytes.length; ) {
          done += (await writeAsync(fd, buffer, done, bytes.length - done, offset + done)).bytesWritten;
        }
      } finally {
        pool.close();
      }
    },
    flush: () => syncAsync(fd),
  };
}

/** Whether writes need a flush to be durable. Of an image file that is always so. */
async function hasWriteCache(device: Device): Promise<boolean> {
  if (!device.isBlock) return true;
  const base = `/sys/dev/block/${device.major}:${device.minor}`;
  for (const path of [`${base}/queue/write_cache`, `${base}/../queue/write_cache`]) {
    const text = await readFile(path, 'utf8').catch(() => undefined);
    if (text !== undefined) return text.trim() !== 'write through';
  }
  return true;
}

async function closeAll(devices: readonly Device[]): Promise<void> {
  for (const device of devices) await closeAsync(device.fd);
}
