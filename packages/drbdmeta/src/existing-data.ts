// Before meta-data is written over something: what stands at the beginning of the device, and would it be hurt?

import { spawnSync } from 'node:child_process';
import { viewOf } from '@udrbd/metadata';
import { Exit } from './exit.js';
import { offsetText } from './offsets.js';
import type { Volume } from './volume.js';

const LOOKED_AT_BYTES = 69632;

/** Used part of the device in KiB; `refused`: never overwritten; `unknown`: some data, nobody knows how much. */
type Used = number | 'refused' | 'pvs failed' | 'unknown';
interface Signature {
  readonly name: string;
  readonly used: Used;
}

const TRUNCATION = "Device size would be truncated, which\nwould corrupt data and result in\n'access beyond end of device' errors.\n";
const ZERO_IT = `If you want me to do this, you need to zero out the first part
of the device (destroy the content).
You should be very sure that you mean it.
Operation refused.

`;
const SHRINK_IT = `You need to either
   * use external meta data (recommended)
   * shrink that filesystem first
   * zero out the device (destroy the filesystem)
Operation refused.

`;

/** Looks for data and asks, refuses (exit 40) or gives up (exit 1). Returns when the meta-data may be written. */
export async function checkForExistingData(volume: Volume): Promise<void> {
  const { io, device, options } = volume;
  const head = device.read('check_for_existing_data', LOOKED_AT_BYTES, 0);
  if (head.every((byte) => byte === 0)) return;
  const { name, used } = identify(head, device.path, (text) => io.stderr(text));
  const p = volume.placementFor(volume.md);
  io.stdout(
    `md_offset ${offsetText(p.superblockOffsetBytes)}\nal_offset ${offsetText(p.alOffsetBytes)}\nbm_offset ${offsetText(p.bmOffsetBytes)}\n\nFound ${name}\n`,
  );
  const refuse = (text: string): void => {
    if (options.ignoreSanityChecks) {
      io.stdout('\nIgnoring sanity check on user request.\n\n');
      return;
    }
    io.stdout(text);
    throw new Exit(40);
  };
  if (used === 'unknown') {
    io.stdout('\n ==> This might destroy existing data! <==\n');
    return proceed(volume);
  }
  if (volume.kind === 'indexed' || volume.kind === 'flex-external') {
    io.stdout('\nThis would corrupt existing data.\n');
    return refuse(ZERO_IT);
  }
  const usableKib = Math.floor(p.usableSectors / 2);
  if (typeof used === 'number') io.stdout(`${`${used}`.padStart(12)} kB data area apparently used\n`);
  io.stdout(`${`${usableKib}`.padStart(12)} kB left usable by current configuration\n`);
  if (used === 'pvs failed') io.stdout('Could not determine the size of the actually used data area.\n\n');
  if (typeof used !== 'number') {
    io.stdout(TRUNCATION);
    return refuse(ZERO_IT);
  }
  if (used > usableKib) {
    io.stdout(`\n${TRUNCATION}${SHRINK_IT}`);
    throw new Exit(40);
  }
  io.stdout(
    '\nEven though it looks like this would place the new meta data into\nunused space, you still need to confirm, as this is only a guess.\n',
  );
  return proceed(volume);
}

async function proceed(volume: Volume): Promise<void> {
  if (await volume.ask('Do you want to proceed?')) return;
  volume.io.stdout('Operation canceled.\n');
  throw new Exit(1);
}

/** First match wins. Offsets are those of the on-disk formats named. */
function identify(head: Uint8Array, path: string, stderr: (text: string) => void): Signature {
  const view = viewOf(head);
  const text = (at: number, length: number): string => String.fromCharCode(...head.subarray(at, at + length));
  const kib = (blocks: bigint, blockBytes: bigint): Used =>
    blocks === 0n ? 'unknown' : Number((BigInt.asUintN(64, blocks * blockBytes) + 1023n) >> 10n);
  for (const at of [4086, 8182]) {
    if (text(at, 10) === 'SWAP-SPACE' || text(at, 10) === 'SWAPSPACE2') return { name: 'swap space signature', used: 'refused' };
  }
  if (text(0x218, 4) === 'LVM2') return { name: 'LVM2 physical volume signature', used: physicalVolumeKib(path, stderr) };
  if (view.getUint16(0x438, true) === 0xef53) {
    const blockBytes = [1024n, 2048n, 4096n][view.getUint32(0x418, true)] ?? 4096n;
    const name = (view.getUint8(0x45c) & 4) !== 0 ? 'ext3 filesystem' : 'ext2 filesystem';
    return { name, used: kib(BigInt(view.getUint32(0x404, true)), blockBytes) };
  }
  if (text(0, 4) === 'XFSB') return { name: 'xfs filesystem', used: kib(view.getBigUint64(8), BigInt(view.getUint32(4))) };
  if (text(0x8000, 4) === 'JFS1') {
    return { name: 'JFS filesystem', used: kib(view.getBigUint64(0x8008, true), BigInt(view.getUint32(0x8018, true))) };
  }
  if (text(0x10034, 8) === 'ReIsErFs' || text(0x10034, 9) === 'ReIsEr2Fs') {
    return { name: 'reiser filesystem', used: kib(BigInt(view.getUint32(0x10000, true)), BigInt(view.getUint16(0x1002c, true))) };
  }
  return { name: 'some data', used: 'unknown' };
}

/** Asks LVM how large the physical volume is. */
function physicalVolumeKib(path: string, stderr: (text: string) => void): Used {
  const config = "devices { write_cache_state=0 filter = [ 'a|'\"$dev_name\"'|', 'r|.|' ] }".replaceAll(`'"$dev_name"'`, path);
  const args = ['-vvv', '--noheadings', '--nosuffix', '--units', 's', '-o', 'pv_size', '--config', config];
  const result = spawnSync('pvs', args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8', env: { ...process.env, dev_name: path } });
  const sectors = /\d+/.exec(result.stdout ?? '')?.[0];
  if (result.status === 0 && sectors !== undefined) return Math.ceil(Number(sectors) / 2);
  for (const line of (result.stderr ?? '').trimEnd().split('\n').slice(-4)) stderr(`pvs stderr:${line}\n`);
  return 'pvs failed';
}
