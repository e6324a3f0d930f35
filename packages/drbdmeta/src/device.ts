// The device (or image file) that holds the meta-data: open, size, positioned reads and writes.

import { spawnSync } from 'node:child_process';
import { closeSync, constants, fstatSync, fsyncSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { alignedBuffer } from './aligned-buffer.js';
import type { CommandIo } from './command-io.js';
import type { Options } from './command-line.js';
import { Exit } from './exit.js';
import { hexdump } from './hexdump.js';
import { offsetText } from './offsets.js';
import { confirmed } from './questions.js';
import { errnoOf, strerror } from './strerror.js';

/** First and one past the last byte that a command may write. */
export interface ByteRange {
  readonly first: number;
  readonly end: number;
}

/** `length` times the same byte. */
export interface Fill {
  readonly byte: number;
  readonly length: number;
}
const filled = (fill: Fill): Uint8Array => new Uint8Array(fill.length).fill(fill.byte);

export interface OpenRequest {
  readonly path: string;
  /** Flexible layouts claim the device; indexed areas share it. */
  readonly exclusive: boolean;
  /** apply-al gives up at once when somebody else holds the device. */
  readonly givesUpWhenBusy: boolean;
  /** Number the descriptor has in verbose output. */
  readonly fdLabel: number;
}

/** Most that is read at once: far more than an activity log or a window of the bitmap. */
const READ_MAX = 1024 * 1024 * 1024;
/** Shorter ranges are written sooner than a process starts. */
const ZERO_OUT_MIN = 16 * 1024 * 1024;

export class Device {
  readonly path: string;
  readonly sizeBytes: number;
  readonly isBlockDevice: boolean;
  readonly #fd: number;
  /** Number of the descriptor in verbose output. */
  readonly fdLabel: number;
  readonly #io: CommandIo;
  readonly #options: Options;
  #postponed: (() => void)[] | undefined;

  private constructor(fd: number, request: OpenRequest, io: CommandIo, options: Options) {
    this.path = request.path;
    this.#fd = fd;
    this.fdLabel = request.fdLabel;
    this.#io = io;
    this.#options = options;
    const stat = fstatSync(fd);
    this.isBlockDevice = stat.isBlockDevice();
    this.sizeBytes = this.isBlockDevice ? blockDeviceBytes(stat.rdev, fd) : stat.size;
    if (this.isBlockDevice) {
      if (options.verbose >= 2) io.stderr(`hard_sect_size is ${logicalSectorBytes(stat.rdev)} Byte\n`);
    } else if (!options.quiet) {
      io.stderr('ioctl(md_fd, BLKSSZGET) returned -1, assuming hard_sect_size is 512 Byte\n');
    }
    if (this.sizeBytes === 0 && !this.isBlockDevice) {
      closeSync(fd);
      io.stderr('ioctl(,BLKGETSIZE64,) failed: Inappropriate ioctl for device\n');
      throw new Exit(20);
    }
  }

  /** Opens for reading and writing, asks before it takes a busy device; every failure ends the command. */
  static async open(request: OpenRequest, io: CommandIo, options: Options): Promise<Device> {
    let flags = constants.O_RDWR | constants.O_DIRECT | (request.exclusive ? constants.O_EXCL : 0);
    for (;;) {
      let fd: number;
      try {
        fd = openSync(request.path, flags);
      } catch (error) {
        io.stderr(`open(${request.path}) failed: ${strerror(error)}\n`);
        if (errnoOf(error) === 'EINVAL' && (flags & constants.O_DIRECT) !== 0) {
          io.stderr('could not open with O_DIRECT, retrying without\n');
          flags &= ~constants.O_DIRECT;
          continue;
        }
        if (errnoOf(error) !== 'EBUSY' || (flags & constants.O_EXCL) === 0) throw new Exit(20);
        const goesOn =
          (!request.givesUpWhenBusy || options.force) && (await confirmed('Exclusive open failed. Do it anyways?', io, options));
        if (!goesOn) {
          io.stdout('Operation canceled.\n');
          throw new Exit(20);
        }
        flags &= ~constants.O_EXCL;
        continue;
      }
      const stat = fstatSync(fd);
      if (!stat.isBlockDevice() && !options.force && !(io.acceptsFiles === true && stat.isFile())) {
        closeSync(fd);
        io.stderr(`'${request.path}' is not a block device!\n`);
        throw new Exit(20);
      }
      return new Device(fd, request, io, options);
    }
  }

  /** Exactly `lengthBytes` from `offset`; anything else ends the command. `tag` names the reader in verbose output. */
  read(tag: string, lengthBytes: number, offset: number, isQuiet = false): Uint8Array {
    if (this.#options.verbose >= 2 && !isQuiet) this.#io.stderr(`${this.#line(tag, 'pread', lengthBytes, offset)}\n`);
    // A damaged super block may ask for anything; what no device holds is not even tried.
    const into = new Uint8Array(lengthBytes > READ_MAX ? 0 : lengthBytes);
    const buffer = alignedBuffer();
    let done = 0;
    try {
      refuseNegative(offset);
      if (lengthBytes > READ_MAX) done = Math.max(0, this.sizeBytes - offset);
      else
        while (done < lengthBytes) {
          const got = readSync(this.#fd, buffer, 0, Math.min(buffer.length, lengthBytes - done), offset + done);
          if (got === 0) break;
          into.set(buffer.subarray(0, got), done);
          done += got;
        }
    } catch (error) {
      this.#io.stderr(`pread(${this.fdLabel},...,${lengthBytes},${offsetText(offset)}) in ${tag} failed: ${strerror(error)}\n`);
      throw new Exit(10);
    }
    if (into.length !== lengthBytes || done !== lengthBytes) {
      this.#io.stderr(`confused in ${tag}: expected to read ${lengthBytes} bytes, actually read ${done}\n`);
      throw new Exit(10);
    }
    if (this.#options.verbose > 10 && !isQuiet) this.#io.stderr(hexdump(into.subarray(0, lengthBytes), offset));
    return into;
  }

  /**
   * Writes all of `data` at `offset`, inside `allowed` only; in a dry run it says what it would have written. Where the order of
   * writes that protects what is there differs from the order in which they are told, `postpone` collects them.
   */
  write(tag: string, data: Uint8Array | Fill, offset: number, allowed: ByteRange, isQuiet = false): void {
    this.announce(tag, data, offset, allowed, isQuiet);
    if (this.#options.dryRun) return;
    if (this.#postponed) this.#postponed.push(() => this.#put(tag, data, offset));
    else this.#put(tag, data, offset);
  }

  /** Everything about a write but the write itself: may it be, and what is said of it. */
  announce(tag: string, data: Uint8Array | Fill, offset: number, allowed: ByteRange, isQuiet = false): void {
    if (offset < allowed.first || offset + data.length > allowed.end) {
      this.#io.stderr(
        `${tag}: offset+count (${offsetText(offset)}+${data.length}) not in meta data area range [${offsetText(allowed.first)}; ${offsetText(allowed.end)}], aborted\n`,
      );
      if (!this.#options.ignoreSanityChecks) {
        this.#io.stderr('If you want to force this, tell me to --ignore-sanity-checks\n');
        throw new Exit(10);
      }
      this.#io.stderr('Ignored due to --ignore-sanity-checks\n');
    }
    if (!isQuiet && (this.#options.verbose >= 2 || this.#options.dryRun)) {
      this.#io.stderr(`${this.#line(tag, 'pwrite', data.length, offset)}${this.#options.dryRun ? ' SKIPPED DUE TO DRY-RUN' : ''}\n`);
    }
    if (this.#options.dryRun && !isQuiet && this.#options.verbose > 10) {
      this.#io.stderr(hexdump(data instanceof Uint8Array ? data : filled(data), offset));
    }
  }

  /** From here on writes are only told; `carryOut` does them. */
  postpone(): void {
    this.#postponed = [];
  }

  /** Does the writes that were postponed: the last one, then what it stands for; later writes are done at once. */
  carryOut(): void {
    const postponed = this.#postponed ?? [];
    this.#postponed = undefined;
    postponed.pop()?.();
    this.barrier();
    for (const put of postponed) put();
    this.barrier();
  }

  #put(tag: string, data: Uint8Array | Fill, offset: number): void {
    const buffer = alignedBuffer();
    try {
      refuseNegative(offset);
      if (!(data instanceof Uint8Array)) buffer.fill(data.byte, 0, data.length);
      for (let done = 0; done < data.length; ) {
        const length = Math.min(buffer.length, data.length - done);
        if (data instanceof Uint8Array) buffer.set(data.subarray(done, done + length));
        const written = writeSync(this.#fd, buffer, 0, length, offset + done);
        done += written;
        if (written === length) continue;
        // A file system that ran full takes a part.
        this.#io.stderr(`confused in ${tag}: expected to write ${data.length} bytes, actually wrote ${done}\n`);
        throw new Exit(10);
      }
    } catch (error) {
      if (error instanceof Exit) throw error;
      this.#io.stderr(`pwrite(${this.fdLabel},...,${data.length},${offsetText(offset)}) in ${tag} failed: ${strerror(error)}\n`);
      throw new Exit(10);
    }
  }

  /**
   * Lets the kernel zero a long range, which needs no transfer: fallocate(1) does for a file or a block device what BLKZEROOUT does.
   * @returns false if it cannot, or the range is short; then it has to be written
   */
  zeroOut(tag: string, offset: number, length: number): boolean {
    if (length < ZERO_OUT_MIN || this.#options.dryRun) return false;
    if (this.#postponed) {
      this.#postponed.push(() => {
        if (!this.#fallocate(offset, length)) this.#put(tag, { byte: 0, length }, offset);
      });
      return true;
    }
    return this.#fallocate(offset, length);
  }

  #fallocate(offset: number, length: number): boolean {
    const range = ['--keep-size', '--offset', `${offset}`, '--length', `${length}`, '/proc/self/fd/3'];
    const done = (way: string): boolean =>
      spawnSync('fallocate', [way, ...range], { stdio: ['ignore', 'ignore', 'ignore', this.#fd] }).status === 0;
    // A file in memory can only have a hole there, which reads the same.
    return done('--zero-range') || (!this.isBlockDevice && done('--punch-hole'));
  }

  /** What was written so far is on the medium before anything written later. */
  barrier(): void {
    if (this.#options.dryRun || this.#postponed) return;
    try {
      fsyncSync(this.#fd);
    } catch (error) {
      this.#io.stderr(`fsync(${this.path}) failed: ${strerror(error)}\n`);
      throw new Exit(10);
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  #line(tag: string, call: 'pread' | 'pwrite', lengthBytes: number, offset: number): string {
    return ` ${tag.padEnd(26)}: ${call}(${this.fdLabel}, ...,${`${lengthBytes}`.padStart(6)},${offsetText(offset).padStart(12)})`;
  }
}

/** The kernel says EINVAL; Node would say something of its own. */
function refuseNegative(offset: number): void {
  if (offset < 0) throw Object.assign(new Error('offset before the beginning'), { code: 'EINVAL' });
}

const sysfs = (rdev: number): string => {
  const major = Math.floor(rdev / 256) & 0xfff;
  const minor = (rdev % 256) + 256 * Math.floor(rdev / 0x10_0000);
  return `/sys/dev/block/${major}:${minor}`;
};

function blockDeviceBytes(rdev: number, fd: number): number {
  try {
    return Number(readFileSync(`${sysfs(rdev)}/size`, 'latin1')) * 512;
  } catch {
    // No sysfs (a chroot): the end is where reading stops.
    const byte = new Uint8Array(1);
    let low = 0;
    let high = 2 ** 50;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (readSync(fd, byte, 0, 1, middle) === 1) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function logicalSectorBytes(rdev: number): number {
  for (const at of ['queue', '../queue']) {
    try {
      return Number(readFileSync(`${sysfs(rdev)}/${at}/logical_block_size`, 'latin1'));
    } catch {
      // A partition has its queue one level up.
    }
  }
  return 512;
}
