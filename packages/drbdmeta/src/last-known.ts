// Internal meta-data stands at the end of the device, so it seems lost after the device grew. A small file per minor
// remembers the size at which it was last written; with it the old place is looked at, too.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { SUPERBLOCK_BYTES } from '@udrbd/metadata';
import type { CommandIo } from './command-io.js';
import type { Invocation } from './command-line.js';
import { hex16 } from './numbers.js';
import { errnoOf, strerror } from './strerror.js';
import type { Volume } from './volume.js';

export interface LastKnown {
  readonly deviceBytes: bigint;
  /** Empty if the file does not name it. */
  readonly deviceName: string;
  /** 0 if the file does not tell. */
  readonly deviceUuid: bigint;
}

export class LastKnownFile {
  readonly path: string;
  readonly #io: CommandIo;
  readonly #directory: string;

  constructor(invocation: Invocation, io: CommandIo) {
    this.#io = io;
    const { varLibDrbd } = invocation.options;
    this.#directory = varLibDrbd;
    this.path = `${this.#directory}/drbd-minor-${(invocation.minor ?? -1) | 0}.lkbd`;
  }

  load(): LastKnown | undefined {
    let text: string;
    try {
      text = readFileSync(this.path, 'utf8');
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') this.#io.stderr(`lk_bdev_load(${this.path}) failed: ${strerror(error)}\n`);
      return undefined;
    }
    const match = /^\s*([+-]?\d+)\s*(\S+)?(?:\n+uuid:\s*([+-]?(?:0[xX])?[0-9A-Fa-f]+))?/.exec(text);
    if (!match) {
      this.#io.stderr(`lk_bdev_load(${this.path}): parse error\n`);
      return undefined;
    }
    const deviceUuid = match[3] ? unsigned64(match[3], '0x') : 0n;
    return { deviceBytes: unsigned64(match[1]!, ''), deviceName: match[2] ?? '', deviceUuid };
  }

  /** Records the volume as it is now; layouts that do not move have no record. */
  update(volume: Volume): void {
    if (volume.kind !== 'internal') {
      this.remove();
      return;
    }
    const { device_uuid } = volume.md;
    const uuid = device_uuid === 0n ? '' : `uuid:\t${hex16(device_uuid)}\n`;
    try {
      mkdirSync(this.#directory, { recursive: true });
      writeFileSync(this.path, `${volume.device.sizeBytes}\t${volume.device.path}\n${uuid}`, { mode: 0o644 });
    } catch (error) {
      this.#io.stderr(`lk_bdev_save(${this.path}) failed: ${strerror(error)}\n`);
    }
  }

  remove(): void {
    try {
      rmSync(this.path);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') this.#io.stderr(`lk_bdev_delete(${this.path}) failed: ${strerror(error)}\n`);
    }
  }
}

/** A number as the C library scans it: with a sign it wraps, what is too large becomes the largest. */
function unsigned64(text: string, prefix: '' | '0x'): bigint {
  const digits = text.replace(/^[+-]/, '');
  const magnitude = BigInt(prefix + (prefix === '0x' ? digits.replace(/^0[xX]/, '') : digits));
  if (magnitude >= 1n << 64n) return (1n << 64n) - 1n;
  return BigInt.asUintN(64, text.startsWith('-') ? -magnitude : magnitude);
}

/** Looks where the end of the device used to be and, if meta-data is there, makes it the volume's. */
export function findAtLastKnownLocation(volume: Volume): void {
  const { io, options, device, invocation } = volume;
  const say = (text: string): void => {
    if (options.verbose > 0) io.stderr(`${text}\n`);
  };
  const known = volume.lastKnown.load();
  if (!known) {
    say('no last-known offset information available.');
    return;
  }
  say(` last known info: ${known.deviceBytes} ${known.deviceName || '-unknown device name-'}`);
  if (known.deviceUuid !== 0n) say(` last known uuid: ${hex16(known.deviceUuid)}`);
  if (known.deviceBytes === BigInt(device.sizeBytes)) return;

  // A record may hold anything; a place beyond the device is only printed.
  const offset = BigInt.asUintN(64, (known.deviceBytes - BigInt(SUPERBLOCK_BYTES)) & ~BigInt(SUPERBLOCK_BYTES - 1));
  let md: ReturnType<Volume['judge']>;
  const isInside = offset < BigInt(device.sizeBytes);
  if (isInside) {
    const bytes = device.read('v08_check_for_resize', SUPERBLOCK_BYTES, Number(offset));
    md = volume.judge(bytes, volume.format, 'internal', Number(known.deviceBytes));
  }
  const onOldName = known.deviceName !== '' && known.deviceName !== device.path ? `on ${known.deviceName} ` : '';
  say(
    `While checking for internal meta data for drbd${(invocation.minor ?? -1) >>> 0} on ${device.path},\n` +
      'it appears that it may have been relocated.\n' +
      `It used to be ${onOldName}at byte offset ${offset}, ${md ? 'and seems to still be valid.' : 'but I cannot find it now.'}`,
  );
  if (!md) {
    if (!isInside) say('Device is too small now!');
    return;
  }
  if (known.deviceUuid !== 0n && known.deviceUuid !== md.device_uuid) {
    io.stderr(`Last known and found uuid differ!?\n${hex16(known.deviceUuid)} != ${hex16(0n)}\n`);
    if (!options.force) {
      io.stderr('You may --force me to ignore that.\n');
      return;
    }
    io.stderr("You --force'ed me to ignore that.\n");
  }
  volume.md = md;
  volume.found = 'at last known location';
  volume.lastKnownBytes = Number(known.deviceBytes);
}
