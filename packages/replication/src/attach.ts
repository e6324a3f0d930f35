/** Takes a disk that the host has opened into service (replication semantics: attach, 8.4). */
import { DISK_OPTIONS, type DiskOptions, defaultOptions, type Refusal, type ReturnCode } from '@udrbd/control';
import { AL_EXTENTS_MIN, alExtentsLimit, MDF, MDF_PEER, type MetaData } from '@udrbd/metadata';
import { ActivityLog } from './activity-log.js';
import { Bitmap } from './bitmap.js';
import { newCurrentUuid } from './generation-changes.js';
import { UUID_JUST_CREATED, uuidEqual, withPrimaryBit } from './generations.js';
import type { BackingDisk } from './host.js';
import { markAllKept } from './kept-writes.js';
import { markMetaDataDirty, syncMetaData, writeBitmap, writeWholeLog } from './meta-data-io.js';
import type { PeerDevice } from './peer-device.js';
import { adoptV08Flags, peerMetaData } from './peer-meta-data.js';
import type { Resource } from './resource.js';
import { newDeviceSize } from './size-rule.js';
import { changePeerDevice, changeVolume } from './state-change.js';
import { CONN, DISK, type DiskNumber, ROLE } from './state-view.js';
import type { AttachedDisk, Volume } from './volume.js';

const no = (name: ReturnCode, ...info: string[]): Refusal => ({ name, info });

export function attach(res: Resource, volume: Volume, given: BackingDisk, reply: (error?: Refusal) => void): void {
  const refused = prepare(res, volume, given);
  if (refused !== undefined) {
    res.cold({ type: 'closeDisk', volume: volume.number });
    reply(refused);
  } else bringUp(res, volume, reply);
}

/** What a Primary has above it was read from a peer: without that peer, only the same data may follow. */
function refusesOtherData(res: Resource, volume: Volume, md: MetaData): Refusal | undefined {
  const someoneIsPrimary = res.role === ROLE.Primary || volume.peerDevices.some((pd) => pd.peerRole === ROLE.Primary);
  const peerHasData = volume.peerDevices.some((pd) => pd.peerDisk === DISK.UpToDate);
  if (peerHasData || !someoneIsPrimary || volume.isCurrent(md.current_uuid)) return undefined;
  const text = volume.exposedUuid.toString(16).toUpperCase().padStart(16, '0');
  const wanted = volume.isSuperseded ? `data of a generation that follows ${text}` : `data with current UUID=${text}`;
  res.log('err', volume, undefined, `Can only attach to ${wanted}`);
  return no('ERR_DATA_NOT_CURRENT');
}

/** Everything that can refuse, without a trace on the disk. */
function prepare(res: Resource, volume: Volume, given: BackingDisk): Refusal | undefined {
  if (volume.diskState > DISK.Diskless || volume.disk !== undefined) return no('ERR_DISK_CONFIGURED');
  const md = given.metaData;
  const options: DiskOptions = { ...defaultOptions(DISK_OPTIONS), ...(given.options as Partial<DiskOptions>) };
  if (options.size > given.usableSectors) return no('ERR_DISK_TOO_SMALL');
  if (volume.sizeSectors > 0 && isInUse(res, volume) && given.usableSectors < volume.sizeSectors) return no('ERR_DISK_TOO_SMALL');
  const notCurrent = refusesOtherData(res, volume, md);
  if (notCurrent !== undefined) return notCurrent;
  const size = negotiatedSize(res, volume, given, options);
  const isConsistent = (md.flags & MDF.CONSISTENT) !== 0;
  if (isConsistent && size < md.effective_size && size !== options.size) {
    return no(
      'ERR_IMPLICIT_SHRINK',
      'To-be-attached device has last effective > current size, and is consistent',
      `(${md.effective_size} > ${size} sectors). Refusing to attach.`,
    );
  }
  adoptV08Flags(md);
  const slots = allocateSlots(volume, md);
  if (slots !== undefined) return slots;
  const alSlots = Math.min(options['al-extents'], Math.max(AL_EXTENTS_MIN, alExtentsLimit(md.al_stripes, md.al_stripe_size_4k)));
  let bitmap: Bitmap;
  try {
    bitmap = new Bitmap(
      given.bitmap,
      md.bm_max_peers,
      md.effective_size > 0 ? Math.min(size, md.effective_size) : size,
      md.bm_bytes_per_bit,
    );
    if (size > bitmap.sizeSectors) bitmap.resize(bitmap.bytes.slice(), size, true);
  } catch {
    return no('ERR_MD_INVALID');
  }
  const disk: AttachedDisk = {
    given,
    metaData: md,
    bitmap,
    activityLog: new ActivityLog(alSlots, md.al_stripes, md.al_stripe_size_4k),
    options: { ...options, 'al-extents': alSlots },
    alUnrecorded: false,
    usableSectors: given.usableSectors,
    backingSectors: given.backingSectors,
    metaSectors: given.metaSectors,
    place: given,
  };
  volume.disk = disk;
  return undefined;
}

const isInUse = (res: Resource, volume: Volume): boolean =>
  res.role === ROLE.Primary || volume.peerDevices.some((pd) => pd.conn >= CONN.Connected);

function negotiatedSize(res: Resource, volume: Volume, given: BackingDisk, options: DiskOptions): number {
  const peer = volume.peerDevices.find((pd) => pd.conn >= CONN.Connected && pd.peerDiskSectors > 0);
  const size = newDeviceSize({
    own: given.usableSectors,
    peer: peer?.peerDiskSectors ?? 0,
    lastAgreed: given.metaData.effective_size,
    configured: options.size,
    connected: peer !== undefined,
    forced: false,
  }).sizeSectors;
  const { effective_size: lastAgreed } = given.metaData;
  // The device may have grown while it was served from the peer.
  return lastAgreed > 0 ? Math.min(size, Math.max(lastAgreed, isInUse(res, volume) ? volume.sizeSectors : 0)) : size;
}

/** Every peer needs a bitmap of its own. */
export function allocateSlots(volume: Volume, md: MetaData): Refusal | undefined {
  const taken = new Set(md.peers.map((peer) => peer.bitmap_index).filter((index) => index >= 0));
  const needed = volume.peerDevices.filter((pd) => peerMetaData(md, pd.connection.peerNodeId).bitmap_index < 0 && pd.options.bitmap);
  if (taken.size + needed.length > md.bm_max_peers) {
    return no('ERR_INVALID_REQUEST', `Not enough free bitmap slots (available=${md.bm_max_peers - taken.size}, needed=${needed.length})`);
  }
  for (const pd of needed) {
    let index = 0;
    while (taken.has(index)) index++;
    taken.add(index);
    const entry = peerMetaData(md, pd.connection.peerNodeId);
    entry.bitmap_index = index;
    entry.flags |= MDF_PEER.NODE_EXISTS;
    // Meta-data converted from v08 (drbdmeta create-md) have no node id yet: their first bitmap is that of the only peer they knew.
    const isConverted = md.format === 'v09' && md.node_id < 0 && index === 0 && needed.length === 1;
    // What a slot nobody used says about this peer is only known for data that never changed.
    if (!isConverted && !uuidEqual(md.current_uuid, UUID_JUST_CREATED)) entry.flags |= MDF_PEER.FULL_SYNC;
  }
  return undefined;
}

function bringUp(res: Resource, volume: Volume, reply: (error?: Refusal) => void): void {
  const disk = volume.disk!;
  const md = disk.metaData;
  volume.readSectors = 0;
  volume.writtenSectors = 0;
  volume.resyncSectors = 0;
  volume.othersSectors = 0;
  for (const pd of volume.peerDevices) {
    pd.lacksOurs = false;
    pd.sentSectors = 0;
    pd.receivedSectors = 0;
  }
  volume.lostGenerations = [];
  volume.unbegun = undefined;
  markAllKept(res, volume);
  if (md.format === 'v09' && md.node_id < 0) md.node_id = res.nodeId;
  volume.crashedPrimary =
    (md.flags & MDF.CRASHED_PRIMARY) !== 0 || ((md.flags & MDF.PRIMARY_IND) !== 0 && !(res.role === ROLE.Primary && res.suspNoData));
  volume.degraded =
    res.role !== ROLE.Primary && (md.flags & MDF.PRIMARY_IND) !== 0 && !md.peers.some((p) => (p.flags & MDF_PEER.CONNECTED) !== 0);
  volume.primaryIndicatorOnDisk = (md.flags & MDF.PRIMARY_IND) !== 0;
  changeVolume(res, volume, { disk: DISK.Attaching }, { hard: true });
  let steps = 1;
  let failed = 0;
  const step = (errno: number): void => {
    if (errno !== 0) failed = errno;
    if (--steps > 0) return;
    if (volume.disk !== disk) return reply(no('ERR_IO_MD_DISK'));
    // The peer may have gone meanwhile.
    const refused = failed === 0 ? refusesOtherData(res, volume, md) : no('ERR_IO_MD_DISK');
    if (refused === undefined) return takeState(res, volume, reply);
    // Not attached: the host closes it.
    volume.whenDiskless.push(() => reply(refused));
    changeVolume(res, volume, { disk: DISK.Failed }, { hard: true });
    res.wantSettle();
  };
  const isFresh = md.effective_size === 0;
  markOutOfSync(res, volume, isFresh);
  if (isFresh) {
    res.log('info', volume, undefined, 'Writing the whole bitmap, size changed');
    steps += md.al_stripes * md.al_stripe_size_4k;
    writeWholeLog(res, volume, step);
  }
  if (disk.bitmap.dirtyPages > 0) {
    steps++;
    writeBitmap(res, volume, isFresh ? 'all' : 'changed', step);
  }
  md.effective_size = disk.bitmap.sizeSectors;
  volume.sizeSectors = disk.bitmap.sizeSectors;
  step(0);
}

/** Bits that follow from what happened before: never synced, told to, or crashed without an activity log. */
function markOutOfSync(res: Resource, volume: Volume, isFresh: boolean): void {
  const disk = volume.disk!;
  const md = disk.metaData;
  const unlogged = volume.crashedPrimary && (md.flags & MDF.AL_DISABLED) !== 0;
  for (const peer of md.peers) {
    if (peer.bitmap_index < 0 || peer.bitmap_index >= md.bm_max_peers) continue;
    if (isFresh || unlogged || (md.flags & MDF.FULL_SYNC) !== 0 || (peer.flags & MDF_PEER.FULL_SYNC) !== 0) {
      if (!isFresh) res.log('info', volume, undefined, 'Assuming that all blocks are out of sync (aka FullSync)');
      disk.bitmap.setAll(peer.bitmap_index);
      peer.flags &= ~MDF_PEER.FULL_SYNC;
    } else if (volume.peerDevices.some((pd) => peerMetaData(md, pd.connection.peerNodeId) === peer)) {
      const bits = disk.bitmap.weight(peer.bitmap_index);
      res.log('info', volume, undefined, `${bits * 4} KB (${bits} bits) marked out-of-sync by on disk bit-map.`);
    }
  }
  md.flags &= ~MDF.FULL_SYNC;
}

/** The state that the disk's own flags speak of. */
function stateOf(res: Resource, volume: Volume): DiskNumber {
  const md = volume.disk!.metaData;
  if ((md.flags & MDF.CONSISTENT) === 0) return DISK.Inconsistent;
  if ((md.flags & MDF.WAS_UP_TO_DATE) === 0) return DISK.Outdated;
  const isSafe = (pd: PeerDevice): boolean =>
    pd.connection.options.fencing === 'dont-care' || (peerMetaData(md, pd.connection.peerNodeId).flags & MDF_PEER.OUTDATED) !== 0;
  return res.role === ROLE.Primary || volume.peerDevices.every(isSafe) ? DISK.UpToDate : DISK.Consistent;
}

function takeState(res: Resource, volume: Volume, reply: (error?: Refusal) => void): void {
  const disk = volume.disk!;
  const md = disk.metaData;
  const state = stateOf(res, volume);
  const first = volume.peerDevices[0];
  if (first !== undefined)
    res.log('info', volume, undefined, `attached to current UUID: ${md.current_uuid.toString(16).toUpperCase().padStart(16, '0')}`);
  md.current_uuid = withPrimaryBit(md.current_uuid, res.role === ROLE.Primary);
  // A peer that is just being met has been told that there is no disk, and would never compare with this one.
  for (const pd of volume.peerDevices) if (pd.stateSent) res.closeLink(pd.connection, 'network-failure');
  const connected = volume.peerDevices.some((pd) => pd.conn >= CONN.Connected);
  const allBitsSet = volume.peerDevices.every((pd) => pd.bitmapSlot >= 0 && disk.bitmap.weight(pd.bitmapSlot) === disk.bitmap.bits);
  if (!connected && volume.peerDevices.length > 0 && allBitsSet) {
    volume.alSuspended = true;
    res.log('info', volume, undefined, 'Suspended AL updates');
  }
  if (connected) {
    volume.stateAfterAttach = state;
    for (const pd of volume.peerDevices) pd.peerUuids = undefined;
    changeVolume(res, volume, { disk: DISK.Negotiating }, { hard: true });
  } else {
    for (const pd of volume.peerDevices) {
      const outdated = (peerMetaData(md, pd.connection.peerNodeId).flags & MDF_PEER.OUTDATED) !== 0;
      changePeerDevice(res, pd, outdated ? { disk: state, peerDisk: DISK.Outdated } : { disk: state }, { hard: true });
    }
    if (volume.peerDevices.length === 0) changeVolume(res, volume, { disk: state }, { hard: true });
    // What is written from here on is on this disk alone.
    if (res.role === ROLE.Primary && volume.diskState === DISK.UpToDate) newCurrentUuid(res, volume);
  }
  res.volumeChanged(volume);
  markMetaDataDirty(res, volume);
  syncMetaData(res, volume, (errno) => reply(errno === 0 ? undefined : no('ERR_IO_MD_DISK')));
}
