/** What an operator does with `drbdmeta` before a device is attached: create meta-data, apply the activity log, read it. */

import {
  createMetaData,
  decodeAlBlock,
  decodeSuperblock,
  encodeSuperblock,
  initializedActivityLog,
  internalDeviceBytes,
  isClean,
  MAGIC,
  MDF,
  MDF_PEER,
  type MetaData,
  type Placement,
  place,
  placement,
  placementOf,
  replayActivityLog,
  setExtent,
} from '@udrbd/metadata';
import type { BackingDisk } from '@udrbd/replication';
import type { LifePlan } from './life-plan.js';
import type { SimDisk } from './sim-disk.js';

export const MAX_PEERS = 1;

export const deviceBytes = (plan: LifePlan): number => internalDeviceBytes(plan.sizeSectors, { maxPeers: MAX_PEERS });

/** `create-md`; unless the life starts fresh, with the generation of a pair that was in sync. */
export function createOnDisk(disk: SimDisk, plan: LifePlan, nodeId: number, generation: bigint): void {
  const md = createMetaData(plan.format, { maxPeers: MAX_PEERS });
  const p = placement({ kind: 'internal', deviceBytes: disk.sizeBytes, maxPeers: MAX_PEERS });
  place(md, p);
  const peer = md.peers[plan.format === 'v08' ? 0 : 1 - nodeId]!;
  if (plan.format === 'v09') {
    md.node_id = nodeId;
    peer.bitmap_index = 0;
    peer.flags = MDF_PEER.NODE_EXISTS | MDF_PEER.DEVICE_SEEN;
  } else peer.bitmap_index = 0;
  disk.format(p.bmOffsetBytes, new Uint8Array(p.bmSizeBytes));
  if (!plan.startsFresh) {
    md.current_uuid = generation;
    md.flags = MDF.CONSISTENT | MDF.WAS_UP_TO_DATE | MDF.AL_CLEAN;
    md.effective_size = p.usableSectors;
  }
  disk.format(p.alOffsetBytes, initializedActivityLog(md.al_stripes, md.al_stripe_size_4k));
  disk.format(p.superblockOffsetBytes, encodeSuperblock(md));
}

export interface FoundMetaData {
  readonly md: MetaData;
  readonly place: Placement;
}

/** What was found last, and in which bytes. */
interface Known {
  readonly bytes: Uint8Array;
  readonly sizeBytes: number;
  readonly found: FoundMetaData;
}
/** Of what a read returns, and of what a power cut would leave. */
const known = new WeakMap<SimDisk, [Known | undefined, Known | undefined]>();

/**
 * The same as `readMetaData`, to be looked at only: the very same object as long as the super block is the same, for it is decoded once.
 */
export function peekMetaData(disk: SimDisk, format: 'v08' | 'v09', stable = false): FoundMetaData {
  const { sizeBytes } = disk;
  const number = superblockOffset(sizeBytes) / 4096;
  const bytes = stable ? disk.stablePage(number) : disk.page(number);
  let memory = known.get(disk);
  if (memory === undefined) {
    memory = [undefined, undefined];
    known.set(disk, memory);
  }
  const which = stable ? 1 : 0;
  // What is durable now was read before, mostly.
  for (const last of [memory[which], memory[1 - which]]) {
    if (bytes === undefined || last?.sizeBytes !== sizeBytes || Buffer.compare(last.bytes, bytes) !== 0) continue;
    memory[which] = last;
    return last.found;
  }
  const found = readMetaData(disk, format, stable);
  if (bytes !== undefined && found.place.superblockOffsetBytes === superblockOffset(sizeBytes))
    memory[which] = { bytes: bytes.slice(), sizeBytes, found };
  return found;
}

const superblockOffset = (sizeBytes: number): number => sizeBytes - 4096;

/** Reads the super block, which may be where the device ended once; `stable`: what a power cut would leave for certain. */
export function readMetaData(disk: SimDisk, format: 'v08' | 'v09', stable = false): FoundMetaData {
  let problem = '';
  for (let i = disk.sizes.length - 1; i >= 0; i--) {
    const offset = superblockOffset(disk.sizes[i]!);
    const bytes = stable ? disk.readStable(offset, 4096) : disk.read(offset, 4096);
    const md = decodeSuperblock(format, bytes);
    if (md.ok) return { md: md.value, place: placementOf(md.value, 'internal', offset) };
    problem ||= `${md.error.field}: ${md.error.reason}`;
  }
  throw new Error(`unreadable super block: ${problem}`);
}

const placeAt = (deviceBytes: number): Placement => placement({ kind: 'internal', deviceBytes, maxPeers: MAX_PEERS });

/** Where internal meta-data belong on the device as it is now. */
export const placeOnDevice = (disk: SimDisk): Placement => placeAt(disk.sizeBytes);

/** Where meta-data may be written: at the place they are at, and while they move at any that the device had since. */
export function placesOfWrites(disk: SimDisk, format: 'v08' | 'v09'): readonly Placement[] {
  const { place: found } = peekMetaData(disk, format);
  const later = disk.sizes.filter((size) => superblockOffset(size) > found.superblockOffsetBytes);
  return [found, ...later.map(placeAt)];
}

/** `drbdmeta check-resize`: the device has grown while it was not attached. */
export function moveMetaData(disk: SimDisk, format: 'v08' | 'v09'): void {
  const { md, place: old } = readMetaData(disk, format);
  const p = placeOnDevice(disk);
  if (old.superblockOffsetBytes === p.superblockOffsetBytes) return;
  const bitmap = new Uint8Array(p.bmSizeBytes);
  bitmap.set(disk.read(old.bmOffsetBytes, old.bmSizeBytes));
  const log = disk.read(old.alOffsetBytes, old.alSizeBytes);
  place(md, p);
  disk.format(p.bmOffsetBytes, bitmap);
  disk.format(p.alOffsetBytes, log);
  disk.format(p.superblockOffsetBytes, encodeSuperblock(md));
}

/** Blocks of the activity log of a disk as they were found last, by place: from one look to the next few are others. */
class KnownBlocks {
  readonly #blocks = new Map<number, { readonly bytes: Uint8Array; readonly transaction: ReturnType<typeof decodeAlBlock> }>();

  readonly decode = (bytes: Uint8Array, at: number): ReturnType<typeof decodeAlBlock> => {
    const last = this.#blocks.get(at);
    if (last !== undefined && Buffer.compare(last.bytes, bytes) === 0) return last.transaction;
    const transaction = decodeAlBlock(bytes);
    this.#blocks.set(at, { bytes, transaction });
    return transaction;
  };
}
const knownBlocks = new WeakMap<SimDisk, KnownBlocks>();

/** Extents that the activity log on disk names. */
export function hotExtentsOnDisk(disk: SimDisk, { md, place: p }: FoundMetaData, stable = false): Uint32Array {
  const area = stable ? disk.readStable(p.alOffsetBytes, p.alSizeBytes) : disk.read(p.alOffsetBytes, p.alSizeBytes);
  let blocks = knownBlocks.get(disk);
  if (blocks === undefined) {
    blocks = new KnownBlocks();
    knownBlocks.set(disk, blocks);
  }
  return replayActivityLog(area, md.al_stripes, md.al_stripe_size_4k, blocks.decode).hotExtents;
}

/**
 * `apply-al`: marks what was hot when a Primary went down, empties the log, and syncs.
 * @param forgets - a deliberate mistake: nothing is marked
 */
export function applyActivityLog(disk: SimDisk, format: 'v08' | 'v09', forgets = false): void {
  const found = readMetaData(disk, format);
  const { md, place: p } = found;
  if (isClean(md)) return;
  if ((md.flags & MDF.PRIMARY_IND) !== 0 && !forgets) {
    const bitmap = disk.read(p.bmOffsetBytes, p.bmSizeBytes);
    for (const extent of hotExtentsOnDisk(disk, found)) {
      // The last extent of the device may be cut short.
      const covered = Math.min((extent + 1) * 128 * MAX_PEERS, bitmap.length) - extent * 128 * MAX_PEERS;
      if (covered === 128 * MAX_PEERS) setExtent(bitmap, 0, extent, MAX_PEERS, md.bm_bytes_per_bit);
      else bitmap.fill(0xff, extent * 128 * MAX_PEERS);
    }
    disk.format(p.bmOffsetBytes, bitmap);
  }
  disk.format(p.alOffsetBytes, initializedActivityLog(md.al_stripes, md.al_stripe_size_4k));
  md.flags |= MDF.AL_CLEAN;
  if (md.format === 'v08') md.magic = MAGIC.v08;
  disk.format(p.superblockOffsetBytes, encodeSuperblock(md));
}

/** What the host hands over for `attach`. */
export function openBackingDisk(disk: SimDisk, plan: LifePlan): BackingDisk {
  const { md, place: p } = readMetaData(disk, plan.format);
  return {
    backingDevice: '/dev/sim',
    metaDevice: '/dev/sim',
    metaIndex: 'internal',
    backingSectors: disk.sizeBytes / 512,
    metaSectors: disk.sizeBytes / 512,
    metaData: md,
    superblockOffsetBytes: p.superblockOffsetBytes,
    activityLogOffsetBytes: p.alOffsetBytes,
    bitmapOffsetBytes: p.bmOffsetBytes,
    usableSectors: p.usableSectors,
    bitmap: disk.read(p.bmOffsetBytes, p.bmSizeBytes),
    options: {
      'al-extents': plan.alExtents,
      'on-io-error': plan.onIoError,
      'disk-timeout': plan.diskTimeout,
      'disk-flushes': plan.diskFlushes,
      'md-flushes': plan.mdFlushes,
      'resync-rate': plan.resyncRateKiB,
      'c-plan-ahead': plan.planAhead,
      'c-fill-target': 2000,
      'c-max-rate': 4_000_000,
    },
    hasWriteCache: disk.hasWriteCache,
  };
}
