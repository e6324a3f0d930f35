/**
 * Changes of a volume's size, one after the other: what an administrator asks for, what the peer's P_SIZES leads to, and the move of
 * internal meta-data when their device has grown (replication semantics: resize and size negotiation).
 *
 * The super block is what makes a new place or size valid, in one write. What it speaks of is on disk before it: the activity
 * log and the bitmap at a new place, the bits of new blocks. Only where the new place overlaps the old one it comes first, and
 * demands a full sync until the rest is there as well.
 */
import type { Refusal, ReturnCode } from '@udrbd/control';
import {
  alExtentsLimit,
  bitmapBytes,
  capacitySectors,
  cloneMetaData,
  MDF,
  MDF_PEER,
  type MetaDataKind,
  type Placement,
  place,
  placement,
} from '@udrbd/metadata';
import { DDSF } from '@udrbd/wire';
import { diskFailed } from './disk-errors.js';
import { writeWholeLog } from './meta-data-io.js';
import { sendSizes, sendUuids } from './packets.js';
import type { PeerDevice } from './peer-device.js';
import { encodeInService } from './peer-meta-data.js';
import type { Resource } from './resource.js';
import { startResync } from './resync.js';
import { newDeviceSize, type SizeDecision } from './size-rule.js';
import { changePeerDevice } from './state-change.js';
import { CONN, DISK, ROLE, type RoleNumber } from './state-view.js';
import type { AttachedDisk, Volume } from './volume.js';

const PAGE_BYTES = 4096;
/** Bytes of the bitmap that are written with one request. */
const PIECE_BYTES = 64 * PAGE_BYTES;
const AL_KIB_MAX = 16 * 1024 * 1024;
const AL_KIB_MIN = 32;
/** How long a command waits for the end of a handshake or of another change, and how often it looks. */
const PATIENCE_MS = 30_000;
const LOOK_MS = 100;

export interface ActivityLogLayout {
  readonly stripes: number;
  readonly stripeSize4k: number;
}

/** Where everything will be on the devices as they are now. */
interface Layout {
  readonly place: Placement;
  readonly log: ActivityLogLayout;
  readonly usableSectors: number;
  readonly backingSectors: number;
  readonly metaSectors: number;
  /** Some of the meta-data will lie somewhere else, or be arranged in another way. */
  readonly isMoved: boolean;
}

type Decision = { readonly sizeSectors: number; readonly logs: SizeDecision['logs'] } | { readonly refusal: Refusal };

export interface ResizeOutcome {
  readonly refusal?: Refusal;
  readonly before: number;
  readonly after: number;
  /** The backing device has another capacity than before. */
  readonly isDeviceChanged: boolean;
}

/** One change. Its first step may be to ask how large the devices are now. */
export interface ResizeJob {
  readonly measures: boolean;
  readonly log?: ActivityLogLayout;
  /** New blocks count as out of sync. */
  readonly setNew: boolean;
  readonly decide: (usableSectors: number) => Decision;
  readonly done: (outcome: ResizeOutcome) => void;
  phase: 'new' | 'measuring' | 'waiting' | 'writing';
  layout: Layout | undefined;
  before: number;
  isDeviceChanged: boolean;
}

const no = (name: ReturnCode, ...info: string[]): Refusal => ({ name, info });

/** Packets of the peers' data streams wait: the size that they are about is not settled. */
export const isSizeUnsettled = (volume: Volume): boolean => volume.resizeJobs.length > 0;

/** The size of the volume changes, here or at the peer: what both have to agree on waits. */
export const isResizing = (pd: PeerDevice): boolean => pd.volume.resizeJobs.length > 0 || pd.resizeSent !== undefined;

/** Queues a change. */
export function beginResize(res: Resource, volume: Volume, job: Pick<ResizeJob, 'measures' | 'setNew' | 'decide' | 'done' | 'log'>): void {
  volume.resizeJobs.push({ ...job, phase: 'new', layout: undefined, before: volume.sizeSectors, isDeviceChanged: false });
  res.wantSettle();
}

/** Does what can be done now; called again whenever something has happened. */
export function continueResize(res: Resource, volume: Volume): void {
  const job = volume.resizeJobs[0]!;
  const { disk } = volume;
  if (job.phase === 'writing' || job.phase === 'measuring') return;
  if (disk === undefined || volume.diskState < DISK.Negotiating) return finish(res, volume, job, no('ERR_NO_DISK'));
  if (job.phase === 'new') {
    job.before = volume.sizeSectors;
    if (job.measures) {
      job.phase = 'measuring';
      res.measureDisk(volume, (backingSectors, metaSectors) => {
        job.phase = 'waiting';
        // Gone meanwhile.
        if (volume.disk !== disk || backingSectors === 0) return;
        job.isDeviceChanged = backingSectors !== disk.backingSectors;
        job.layout = layoutOf(disk, backingSectors, metaSectors, job.log);
      });
      return;
    }
    job.phase = 'waiting';
  }
  const layout = job.layout ?? layoutOf(disk, disk.backingSectors, disk.metaSectors, job.log);
  const decision = job.decide(layout.usableSectors);
  if ('refusal' in decision) return finish(res, volume, job, decision.refusal);
  const { sizeSectors } = decision;
  const isSame = sizeSectors === disk.bitmap.sizeSectors && sizeSectors === disk.metaData.effective_size && !layout.isMoved;
  // What is under way behind the new end has to come back first. Nothing new starts there.
  if (sizeSectors < volume.sizeSectors) volume.sizeSectors = sizeSectors;
  if (!isSame && volume.overlap.touches(sizeSectors, Number.MAX_SAFE_INTEGER)) {
    // Only once: this is asked again as long as anything else goes on.
    if (!volume.isMoving) return;
    volume.isMoving = false;
    return releaseMoved(res, volume);
  }
  if (!isSame) {
    volume.isMoving = true;
    if (volume.alTransactionRunning || volume.bitmapWrites > 0 || volume.metaDataWrites > 0 || !volume.metaWrites.isIdle) return;
  }
  for (const line of decision.logs) res.log(line.level, volume, undefined, line.text);
  disk.usableSectors = layout.usableSectors;
  disk.backingSectors = layout.backingSectors;
  disk.metaSectors = layout.metaSectors;
  if (isSame) return finish(res, volume, job);
  job.phase = 'writing';
  apply(res, volume, disk, job, layout, sizeSectors);
}

const kindOf = (disk: AttachedDisk): MetaDataKind =>
  disk.given.metaIndex === 'internal' ? 'internal' : disk.given.metaIndex === 'flexible' ? 'flex-external' : 'indexed';

function layoutOf(disk: AttachedDisk, backingSectors: number, metaSectors: number, log: ActivityLogLayout | undefined): Layout {
  const { metaData: md, given } = disk;
  const present = { stripes: md.al_stripes, stripeSize4k: md.al_stripe_size_4k };
  const isSame = backingSectors === disk.backingSectors && metaSectors === disk.metaSectors && log === undefined;
  const kind = kindOf(disk);
  const wanted = log ?? present;
  const p = placement({
    kind,
    deviceBytes: (kind === 'internal' ? backingSectors : metaSectors) * 512,
    index: typeof given.metaIndex === 'number' ? given.metaIndex : 0,
    maxPeers: md.bm_max_peers,
    alStripes: wanted.stripes,
    alStripeSize4k: wanted.stripeSize4k,
    bmBytesPerBit: md.bm_bytes_per_bit,
  });
  const candidate = cloneMetaData(md);
  place(candidate, p);
  const { place: now } = disk;
  const isMoved =
    p.superblockOffsetBytes !== now.superblockOffsetBytes ||
    p.alOffsetBytes !== now.activityLogOffsetBytes ||
    p.bmOffsetBytes !== now.bitmapOffsetBytes ||
    wanted.stripes !== present.stripes ||
    wanted.stripeSize4k !== present.stripeSize4k;
  return {
    place: p,
    log: wanted,
    // Meta-data that another tool has placed in its own way stay where they are as long as nothing asks them to move.
    usableSectors: isSame ? disk.usableSectors : capacitySectors(candidate, kind, p.superblockOffsetBytes, backingSectors * 512),
    backingSectors,
    metaSectors,
    isMoved: !isSame && isMoved,
  };
}

interface Area {
  readonly start: number;
  readonly end: number;
}
const overlaps = (a: Area, b: Area): boolean => a.start < b.end && b.start < a.end;

type Step = (done: (errno: number) => void) => void;

function apply(res: Resource, volume: Volume, disk: AttachedDisk, job: ResizeJob, layout: Layout, sizeSectors: number): void {
  const { bitmap, metaData: md } = disk;
  const before = bitmap.sizeSectors;
  const isResized = sizeSectors !== md.effective_size || sizeSectors !== before;
  const isGrown = sizeSectors > before;
  const old: Area = {
    start: Math.min(disk.place.superblockOffsetBytes, disk.place.bitmapOffsetBytes, disk.place.activityLogOffsetBytes),
    end: Math.max(disk.place.superblockOffsetBytes + PAGE_BYTES, disk.place.bitmapOffsetBytes + bitmap.bytes.length),
  };
  const imageBytes = Math.min(
    layout.isMoved ? layout.place.bmSizeBytes : Number.MAX_SAFE_INTEGER,
    Math.max(bitmap.bytes.length, bitmapBytes(Math.max(layout.usableSectors, sizeSectors), md.bm_max_peers, md.bm_bytes_per_bit)),
  );
  bitmap.resize(new Uint8Array(imageBytes), sizeSectors, job.setNew);
  // Not all bits are set any more.
  if (isGrown && !job.setNew) volume.alSuspended = false;
  md.effective_size = sizeSectors;
  if (layout.isMoved) {
    place(md, layout.place);
    md.al_stripes = layout.log.stripes;
    md.al_stripe_size_4k = layout.log.stripeSize4k;
    disk.activityLog.layOut(layout.log.stripes, layout.log.stripeSize4k);
    disk.place = {
      superblockOffsetBytes: layout.place.superblockOffsetBytes,
      activityLogOffsetBytes: layout.place.alOffsetBytes,
      bitmapOffsetBytes: layout.place.bmOffsetBytes,
    };
  }
  if (isResized) res.log('info', volume, undefined, `size = ${prettySize(Math.trunc(sizeSectors / 2))}`);
  const what = isResized && layout.isMoved ? 'size changed and md moved' : isResized ? 'size changed' : 'md moved';
  res.log('info', volume, undefined, `Writing the whole bitmap, ${what}`);
  const log: Area = { start: layout.place.alOffsetBytes, end: layout.place.alOffsetBytes + layout.place.alSizeBytes };
  const bits: Area = { start: disk.place.bitmapOffsetBytes, end: disk.place.bitmapOffsetBytes + imageBytes };
  const writes = { log: writeLog, bits: writeBits, final: superblock(false), interim: superblock(true) };
  let countsHere = !layout.isMoved;
  run(orderOf(), (errno) => {
    if (errno === 0) return finish(res, volume, job);
    // The super block at the old place is the one that counts: what is written to the new one may lie on top of it.
    if (!countsHere) volume.detachBitmapWritten = true;
    // Whatever is written from here on says that nothing of it is to be relied on.
    for (const peer of md.peers) if (peer.bitmap_index >= 0) peer.flags |= MDF_PEER.FULL_SYNC;
    diskFailed(res, volume, 'resize');
    finish(res, volume, job, no('ERR_IO_MD_DISK'));
  });

  function orderOf(): Step[] {
    // Bits beyond the size that the super block tells mean nothing: new ones may be there before, old ones after it.
    if (!layout.isMoved) return isGrown ? [writes.bits, writes.final] : [writes.final, writes.bits];
    if (overlaps(log, old)) return [writes.interim, writes.log, writes.bits, writes.final];
    if (overlaps(bits, old)) return [writes.log, writes.interim, writes.bits, writes.final];
    return [writes.log, writes.bits, writes.final];
  }

  function writeLog(done: (errno: number) => void): void {
    const all = gathered(md.al_stripes * md.al_stripe_size_4k, done);
    writeWholeLog(res, volume, all);
  }

  function writeBits(done: (errno: number) => void): void {
    const image = bitmap.bytes;
    const all = gathered(Math.ceil(image.length / PIECE_BYTES), done);
    for (let page = bitmap.nextDirtyPage(0); page >= 0; page = bitmap.nextDirtyPage(page + 1)) bitmap.clearDirty(page);
    for (let at = 0; at < image.length; at += PIECE_BYTES) {
      const piece = image.subarray(at, Math.min(at + PIECE_BYTES, image.length));
      volume.bmWrites += Math.ceil(piece.length / PAGE_BYTES);
      // Cleared bits stand for data that have to be durable; at a new place the super block's own flush comes in time.
      res.metaWrite(volume, disk.place.bitmapOffsetBytes + at, piece, !layout.isMoved, disk.options['md-flushes'], all);
    }
  }

  function superblock(isInterim: boolean): Step {
    return (done) => {
      const flushes = disk.options['md-flushes'];
      const spoken = isInterim ? cloneMetaData(md) : md;
      if (isInterim) {
        spoken.flags |= MDF.AL_DISABLED;
        for (const peer of spoken.peers) if (peer.bitmap_index >= 0) peer.flags |= MDF_PEER.FULL_SYNC;
      }
      volume.primaryIndicatorOnDisk = (md.flags & MDF.PRIMARY_IND) !== 0;
      res.metaWrite(volume, disk.place.superblockOffsetBytes, encodeInService(spoken), flushes, flushes, (errno) => {
        countsHere ||= errno === 0;
        done(errno);
      });
    };
  }
}

/** Calls `done` once, with the last error, after `count` calls. */
function gathered(count: number, done: (errno: number) => void): (errno: number) => void {
  let left = count;
  let failed = 0;
  return (errno) => {
    if (errno !== 0) failed = errno;
    if (--left === 0) done(failed);
  };
}

/** One step after the other, until one fails. */
function run(steps: readonly Step[], done: (errno: number) => void): void {
  const [first, ...rest] = steps;
  if (first === undefined) return done(0);
  first((errno) => (errno === 0 ? run(rest, done) : done(errno)));
}

function releaseMoved(res: Resource, volume: Volume): void {
  for (const write of volume.whenMoved.splice(0)) write();
  res.wantActivityLog(volume);
}

function finish(res: Resource, volume: Volume, job: ResizeJob, refusal?: Refusal): void {
  volume.resizeJobs.shift();
  volume.isMoving = false;
  if (volume.disk !== undefined) {
    volume.sizeSectors = volume.disk.bitmap.sizeSectors;
    if (volume.sizeSectors !== job.before) res.volumeChanged(volume);
  }
  releaseMoved(res, volume);
  for (const pd of volume.peerDevices) if (pd.connection.stalled) res.resumeReceive(pd.connection);
  const { before, isDeviceChanged } = job;
  job.done({ before, after: volume.sizeSectors, isDeviceChanged, ...(refusal !== undefined && { refusal }) });
  res.stateChanged();
}

const UNITS = 'KMGTPE';

/** KiB in DRBD's way: up to four digits, rounded. */
export function prettySize(kib: number): string {
  let size = kib;
  let unit = 0;
  while (size >= 10_000 && unit < UNITS.length - 1) {
    size = Math.floor(size / 1024) + (Math.floor(size / 512) % 2);
    unit++;
  }
  return `${size} ${UNITS[unit]}B (${kib} KB)`;
}

// --- the command -----------------------------------------------------------------------------------------------------------

/** Sizes in sectors, 0: as much as there is; the activity log in KiB, absent: as it is. */
export interface ResizeRequest {
  readonly size: number;
  readonly assumePeerHasSpace: boolean;
  readonly assumeClean: boolean;
  readonly alStripes?: number;
  readonly alStripeSizeKiB?: number;
}

export function resize(
  res: Resource,
  volume: Volume,
  request: ResizeRequest,
  reply: (error?: Refusal) => void,
  until: number = res.now + PATIENCE_MS,
): void {
  const { disk } = volume;
  if (disk === undefined || volume.diskState < DISK.Inconsistent) return reply(no('ERR_NO_DISK'));
  const isBusy = volume.resizeJobs.length > 0 || volume.peerDevices.some((pd) => isMeeting(pd) || pd.resizeSent !== undefined);
  if (isBusy) {
    if (res.now >= until) return reply(no('SS_IN_TRANSIENT_STATE'));
    return res.later(LOOK_MS, () => resize(res, volume, request, reply, until));
  }
  const md = disk.metaData;
  const log = { stripes: request.alStripes ?? md.al_stripes, stripeSize4k: (request.alStripeSizeKiB ?? md.al_stripe_size_4k * 4) / 4 };
  const isLogChanged = log.stripes !== md.al_stripes || log.stripeSize4k !== md.al_stripe_size_4k;
  const refused = refusal(res, volume, request) ?? (isLogChanged ? logRefusal(volume, disk, log, request.assumePeerHasSpace) : undefined);
  if (refused !== undefined) return reply(refused);
  beginResize(res, volume, {
    measures: true,
    setNew: !request.assumeClean,
    ...(isLogChanged && { log }),
    decide: (usableSectors) => decide(res, volume, request, usableSectors),
    done: ({ refusal: failed, before, after }) => {
      if (failed !== undefined) return reply(failed);
      if (isLogChanged) {
        const [stripes, size] = [log.stripes, log.stripeSize4k * 4];
        res.log('info', volume, undefined, `Changed AL layout to al-stripes = ${stripes}, al-stripe-size-kB = ${size}`);
      }
      if (volume.disk !== undefined) volume.disk.options = { ...volume.disk.options, size: request.size };
      for (const pd of volume.peerDevices) askToFollow(res, pd, request, after > before);
      res.stateChanged();
      reply();
    },
  });
}

/** The handshake has not come to its end. */
const isMeeting = (pd: PeerDevice): boolean => pd.connection.isUp && pd.conn === CONN.WFReportParams;

/** What forbids any change now. */
function refusal(res: Resource, volume: Volume, request: ResizeRequest): Refusal | undefined {
  // A write behind the new end might wait for the end of the freeze.
  if (res.isSuspended) return no('SS_IN_TRANSIENT_STATE');
  for (const pd of volume.peerDevices) {
    if (pd.conn > CONN.Connected) return no('ERR_RESIZE_RESYNC');
    if (pd.conn !== CONN.Connected) continue;
    if (pd.connection.agreement !== undefined) return no('SS_IN_TRANSIENT_STATE');
    if (res.role !== ROLE.Primary && pd.peerRole !== ROLE.Primary) return no('ERR_NO_PRIMARY');
    // It would not follow: what is above it uses what it was told.
    if (pd.peerRole === ROLE.Primary && pd.peerDisk === DISK.Diskless && request.size > 0 && request.size < volume.sizeSectors) {
      return no('SS_DEVICE_IN_USE', 'the Primary has no disk: smaller only when it has been demoted');
    }
    // The Primary's data are copied to what is new: they have to be good (a rule of DRBD 9).
    const source = res.role === ROLE.Primary ? volume.diskState : pd.peerDisk;
    if (pd.peerDisk > DISK.Diskless && source < DISK.UpToDate && source > DISK.Diskless) return no('ERR_NO_PRIMARY');
  }
  return undefined;
}

function logRefusal(volume: Volume, disk: AttachedDisk, log: ActivityLogLayout, isForced: boolean): Refusal | undefined {
  const kib = log.stripes * log.stripeSize4k * 4;
  if (kib > AL_KIB_MAX) return no('ERR_MD_LAYOUT_TOO_BIG');
  if (kib < AL_KIB_MIN) return no('ERR_MD_LAYOUT_TOO_SMALL');
  // An extent must not fall out of the ring while it is hot.
  if (disk.activityLog.slots > alExtentsLimit(log.stripes, log.stripeSize4k)) return no('ERR_MD_LAYOUT_TOO_SMALL');
  const isConnected = volume.peerDevices.some((pd) => pd.conn === CONN.Connected);
  return isConnected || isForced ? undefined : no('ERR_MD_LAYOUT_CONNECTED');
}

function decide(res: Resource, volume: Volume, request: ResizeRequest, usableSectors: number): Decision {
  const changed = refusal(res, volume, request);
  if (changed !== undefined) return { refusal: changed };
  const { effective_size: lastAgreed } = volume.disk!.metaData;
  const connected = volume.peerDevices.filter((pd) => pd.conn === CONN.Connected);
  const known = connected.map((pd) => pd.peerDiskSectors).filter((sectors) => sectors > 0);
  const decision = newDeviceSize({
    own: usableSectors,
    peer: known.length > 0 ? Math.min(...known) : 0,
    // A node that has no peers needs nobody's consent.
    lastAgreed: volume.peerDevices.length > 0 ? lastAgreed : 0,
    configured: request.size,
    connected: connected.length > 0,
    forced: request.assumePeerHasSpace,
  });
  const { sizeSectors } = decision;
  if (sizeSectors < lastAgreed) {
    if (request.size === 0) {
      res.log('warning', volume, undefined, `Implicit shrink not allowed. Use --size=${sizeSectors}s for explicit shrink.`);
      return { refusal: no('ERR_IMPLICIT_SHRINK') };
    }
    if (request.size > sizeSectors) return { refusal: no('ERR_MD_LAYOUT_NO_FIT') };
  }
  return decision;
}

/** Tells the peer to look at its own devices. */
function askToFollow(res: Resource, pd: PeerDevice, request: ResizeRequest, hasGrown: boolean): void {
  if (!pd.connection.isUp || pd.conn !== CONN.Connected) return;
  pd.resizeSent = { role: res.role, hasGrown };
  sendUuids(res, pd);
  sendSizes(res, pd, 0, (request.assumePeerHasSpace ? DDSF.FORCED : 0) | (request.assumeClean ? DDSF.NO_RESYNC : 0));
}

/**
 * Both nodes have grown: the Primary's blocks are copied to the other one, without a bitmap exchange.
 * @param ownRole - when the one of us that asked did so
 */
export function resyncNewStorage(res: Resource, pd: PeerDevice, ownRole: RoleNumber): void {
  const { volume } = pd;
  if (!pd.connection.isUp) return;
  // The end of an earlier resync is still on its way: settle comes back to it.
  if (pd.conn !== CONN.Connected) {
    pd.newStorage = ownRole;
    return;
  }
  pd.newStorage = undefined;
  if (pd.connection.stalled) res.resumeReceive(pd.connection);
  const isSource = ownRole === pd.peerRole ? pd.connection.resolveConflicts : ownRole === ROLE.Primary;
  const source = isSource ? volume.diskState : pd.peerDisk;
  const target = isSource ? pd.peerDisk : volume.diskState;
  if (source !== DISK.UpToDate || target < DISK.Inconsistent) return;
  res.log('info', volume, pd, 'Resync of new storage after online grow');
  if (isSource) startResync(res, pd, 'source');
  else changePeerDevice(res, pd, { conn: CONN.WFSyncUUID }, { hard: true });
}
