/** Becoming Primary, by agreement or by force (replication semantics: promote). */
import type { ReturnCode } from '@udrbd/control';
import { answer, nameOfCode, type Reply } from './admin.js';
import { askPeer, CONCURRENT_RETRY_MS, REQUEST } from './agreement.js';
import type { Connection } from './connection.js';
import { fencePeer } from './fencing.js';
import { durably, newCurrentUuid } from './generation-changes.js';
import { withPrimaryBit } from './generations.js';
import { ping } from './link.js';
import { sendState, sendUuids } from './packets.js';
import type { PeerDevice } from './peer-device.js';
import { isResizing } from './resize.js';
import type { Resource } from './resource.js';
import { changeResource, type Wanted } from './state-change.js';
import { CONN, DISK, ROLE } from './state-view.js';
import type { Volume } from './volume.js';

/** As many times as DRBD 8.4 asks; each may run the fence-peer handler. */
const TRIES = 4;
const DRAIN_POLL_MS = 10;

interface Attempt {
  readonly force: boolean;
  readonly triesLeft: number;
  /** Another Primary may be waited for, once. */
  readonly mayWait: boolean;
  /** Peers are out of sight and a Consistent disk is as good as it gets: they were fenced. */
  readonly fenced: ReadonlySet<Volume>;
  /** By force: peers that could not be fenced are taken for Outdated. */
  readonly outdatesPeers: boolean;
}

export function promote(res: Resource, force: boolean, reply: Reply): void {
  for (const c of res.connections) if (c !== undefined) ping(res, c);
  attempt(res, { force, triesLeft: TRIES, mayWait: true, fenced: new Set(), outdatesPeers: false }, reply);
}

/** Volumes whose own data are declared good, when force has to. */
function forcedVolumes(res: Resource): Set<Volume> {
  const volumes = new Set<Volume>();
  for (const volume of res.volumes.values()) {
    const peerHasData = volume.peerDevices.some((pd) => pd.peerDisk === DISK.UpToDate && pd.conn >= CONN.Connected);
    if (!peerHasData && volume.diskState >= DISK.Inconsistent && volume.diskState <= DISK.Consistent && volume.disk !== undefined)
      volumes.add(volume);
  }
  return volumes;
}

function attempt(res: Resource, given: Attempt, reply: Reply): void {
  if (res.role === ROLE.Primary) return reply();
  const isChanging = (c: Connection | undefined): boolean => c?.agreement !== undefined || c?.peerDevices.some(isResizing) === true;
  if (res.connections.some(isChanging)) return reply({ name: 'SS_IN_TRANSIENT_STATE' });
  if (res.connections.some((c) => c?.drained)) {
    // Writes of a peer that is gone are under way to our disk: they must not land on top of what our application writes.
    res.later(DRAIN_POLL_MS, () => attempt(res, given, reply));
    return;
  }
  let forced = new Set<Volume>();
  const wanted = (volume: Volume, pd: PeerDevice | undefined): Wanted => ({
    role: ROLE.Primary,
    ...(forced.has(volume) || given.fenced.has(volume) ? { disk: DISK.UpToDate } : {}),
    ...(given.outdatesPeers && pd !== undefined && isOutOfSight(pd) ? { peerDisk: DISK.Outdated } : {}),
  });
  let code: ReturnCode = changeResource(res, wanted, { dryRun: true });
  if (code === 'SS_NO_UP_TO_DATE_DISK' && given.force) {
    forced = forcedVolumes(res);
    code = changeResource(res, wanted, { dryRun: true });
  }
  if (code === 'SS_TWO_PRIMARIES' && given.mayWait) {
    // The other Primary may be dead or about to step down: the ping will tell.
    res.later(res.pingTimeoutMs() + 100, () => attempt(res, { ...given, mayWait: false }, reply));
    return;
  }
  if (res.failIo) return reply({ name: 'SS_DEVICE_IN_USE' });
  if (given.triesLeft > 0 && !given.outdatesPeers && isForFencing(res, code)) return fenceFirst(res, given, code, reply);
  if (code !== 'SS_SUCCESS' && code !== 'SS_NOTHING_TO_DO') {
    changeResource(res, wanted, { dryRun: true, verbose: true });
    return reply(answer(code));
  }
  askPeers(res, forced, (refusal) => {
    if (refusal === 'SS_CONCURRENT_ST_CHG' && given.triesLeft > 0) {
      // The peer wants to be promoted too, and came first: two Primaries may be allowed.
      res.later(CONCURRENT_RETRY_MS, () => attempt(res, { ...given, triesLeft: given.triesLeft - 1 }, reply));
      return;
    }
    if (refusal !== undefined) return reply({ name: refusal });
    const result = changeResource(res, wanted, { verbose: true });
    if (answer(result) !== undefined) return reply(answer(result));
    promoted(res, forced, reply);
  });
}

const isOutOfSight = (pd: PeerDevice): boolean => pd.conn < CONN.Connected && pd.peerDisk > DISK.Outdated;

const consistentVolumes = (res: Resource): Volume[] => [...res.volumes.values()].filter(({ diskState }) => diskState === DISK.Consistent);

/** Whether knowing that the peers are Outdated would help. */
const isForFencing = (res: Resource, code: ReturnCode): boolean =>
  code === 'SS_PRIMARY_NOP' || (code === 'SS_NO_UP_TO_DATE_DISK' && consistentVolumes(res).length > 0);

function fenceFirst(res: Resource, given: Attempt, code: ReturnCode, reply: Reply): void {
  const lost = res.connections.filter((c) => c?.peerDevices.some(isOutOfSight)) as Connection[];
  let outstanding = 1;
  let isFenced = lost.length > 0;
  const next = (ok: boolean): void => {
    isFenced &&= ok;
    if (--outstanding > 0) return;
    const triesLeft = given.triesLeft - 1;
    if (isFenced && code === 'SS_NO_UP_TO_DATE_DISK') {
      return attempt(res, { ...given, triesLeft, fenced: new Set(consistentVolumes(res)) }, reply);
    }
    const outdatesPeers = !isFenced && given.force && code === 'SS_PRIMARY_NOP';
    if (outdatesPeers) res.log('warning', undefined, undefined, 'Forced into split brain situation!');
    attempt(res, { ...given, triesLeft, outdatesPeers }, reply);
  };
  for (const c of lost) {
    outstanding++;
    fencePeer(res, c, next);
  }
  next(true);
}

function askPeers(res: Resource, forced: ReadonlySet<Volume>, done: (refusal: ReturnCode | undefined) => void): void {
  const asked: { c: Connection; pds: PeerDevice[] }[] = [];
  for (const c of res.connections) {
    const pds = c === undefined || !c.isUp ? [] : c.peerDevices.filter((pd) => pd.conn >= CONN.Connected);
    if (pds.length > 0) asked.push({ c: c!, pds });
  }
  let outstanding = asked.length;
  let refusal: ReturnCode | undefined;
  if (outstanding === 0) return done(undefined);
  for (const { c, pds } of asked) {
    const request = pds.some((pd) => forced.has(pd.volume)) ? REQUEST.promoteForced : REQUEST.promote;
    askPeer(res, c, pds, request, (code) => {
      if (code < 1 && c.isUp) {
        refusal = code === -18 || code === -19 ? nameOfCode(code) : 'SS_CW_FAILED_BY_PEER';
        // Volumes that the peer did agree to: it believes we are Primary there.
        for (const pd of pds) sendState(res, pd);
      }
      if (--outstanding === 0) done(refusal);
    });
  }
}

/** Success is told when it is on disk: who is told may take it for granted that a node which goes down now was Primary. */
function promoted(res: Resource, forced: ReadonlySet<Volume>, reply: Reply): void {
  let outstanding = 1;
  const written = (): void => {
    if (--outstanding === 0) reply();
  };
  for (const c of res.connections) if (c !== undefined) c.discardMyData = false;
  for (const volume of res.volumes.values()) {
    const { disk } = volume;
    const isForced = forced.has(volume);
    if (isForced) res.log('warning', volume, undefined, 'Forced to consider local data as UpToDate!');
    if (disk !== undefined && volume.diskState >= DISK.Inconsistent) {
      const alone = volume.peerDevices.some((pd) => pd.conn < CONN.Connected || pd.peerDisk <= DISK.Failed);
      outstanding++;
      const fresh = (isForced || (alone && volume.diskState === DISK.UpToDate)) && newCurrentUuid(res, volume, isForced, written);
      if (!fresh) {
        disk.metaData.current_uuid = withPrimaryBit(disk.metaData.current_uuid, true);
        // A crash after the first write has to find a Primary's super block, or its activity log counts for nothing.
        durably(res, volume, written);
      }
    }
    for (const pd of volume.peerDevices) {
      if (!pd.connection.isUp || pd.conn < CONN.Connected) continue;
      if (isForced && disk !== undefined) sendUuids(res, pd);
      sendState(res, pd);
    }
  }
  written();
}
