/**
 * Fencing a peer that is out of sight: the fence-peer handler, what its exit codes mean, and the end of the freeze
 * (replication semantics: fencing, fence-peer protocol; DRBD 8.4, conn_try_outdate_peer).
 */
import type { Connection } from './connection.js';
import { newCurrentUuid } from './generation-changes.js';
import { markAllKept } from './kept-writes.js';
import type { Resource } from './resource.js';
import { changeResource, type Wanted } from './state-change.js';
import { CONN, DISK, ROLE } from './state-view.js';
import type { Volume } from './volume.js';

/** The peer may hold data that are as good as ours, for all that we know. */
const isPossiblyGood = (c: Connection): boolean => c.peerDevices.some((pd) => pd.peerDisk > DISK.Outdated);

/** The link is gone and its requests are settled: a Primary sees to it that the peer does not go on by itself. */
export function peerLost(res: Resource, c: Connection): void {
  if (res.role === ROLE.Primary && isPossiblyGood(c)) fencePeer(res, c, () => {});
}

/** @param done - told whether the peer is known to be Outdated or worse now (also: whether nobody has to know, without fencing) */
export function fencePeer(res: Resource, c: Connection, done: (isFenced: boolean) => void): void {
  if (c.state >= CONN.WFReportParams) return done(false);
  if (bestDisk(c) < DISK.Consistent) {
    res.logConnection('warning', c, "Not fencing peer, I'm not even Consistent myself.");
    thaw(res, () => false);
    return done(!isPossiblyGood(c));
  }
  if (c.options.fencing === 'dont-care') return done(true);
  c.whenFenced.push(done);
  if (c.whenFenced.length > 1) return;
  const { connects } = c;
  res.helper('fence-peer', undefined, c, (exitCode) => {
    const verdict = verdictOf(c, exitCode);
    const level = verdict.isBroken ? 'err' : 'info';
    res.logConnection(level, c, verdict.text);
    if (c.connects !== connects || c.state >= CONN.WFReportParams) {
      if (c.state < CONN.WFReportParams) res.logConnection('info', c, 'Ignoring fence-peer exit code');
    } else {
      const { wanted } = verdict;
      if (wanted !== undefined) changeResource(res, (_volume, pd) => (pd?.connection === c ? wanted : {}), { verbose: true });
      thaw(res, isPossiblyGood);
    }
    const waiting = c.whenFenced.splice(0);
    // The peer was back meanwhile and was lost again: what the handler said is about the time before.
    const isOutdated = c.connects !== connects && c.state < CONN.WFReportParams && waiting.length > 1;
    for (const settled of waiting) {
      if (isOutdated) fencePeer(res, c, settled);
      else settled(!isPossiblyGood(c));
    }
  });
}

function bestDisk(c: Connection): number {
  let best: number = DISK.Diskless;
  for (const pd of c.peerDevices) best = Math.max(best, pd.volume.diskState);
  return best;
}

interface Verdict {
  readonly text: string;
  readonly wanted?: Wanted;
  readonly isBroken?: boolean;
}

function verdictOf(c: Connection, exitCode: number): Verdict {
  const said = (text: string): string => `fence-peer helper returned ${exitCode} (${text})`;
  switch (exitCode) {
    case 3:
      return { text: said('peer is inconsistent or worse'), wanted: { peerDisk: DISK.Inconsistent } };
    case 4:
      return { text: said('peer was fenced'), wanted: { peerDisk: DISK.Outdated } };
    case 5:
      return bestDisk(c) === DISK.UpToDate
        ? { text: said('peer is unreachable, assumed to be dead'), wanted: { peerDisk: DISK.Outdated } }
        : { text: said('peer unreachable, doing nothing since disk != UpToDate') };
    case 6:
      // A Primary is not outdated: the rules refuse that.
      return { text: said('peer is active'), wanted: { disk: DISK.Outdated } };
    case 7:
      return { text: said('peer was stonithed'), wanted: { peerDisk: DISK.Outdated } };
    default:
      // A handler that could not be run counts as 0, which says nothing about the peer.
      return { text: `fence-peer helper broken, returned ${Math.max(exitCode, 0)}`, isBroken: true };
  }
}

/** Ends the freeze once no peer for whose fencing it waits can be as good as we are. */
function thaw(res: Resource, mustWait: (c: Connection) => boolean): void {
  if (!res.suspFencing) return;
  for (const c of res.connections) {
    if (c?.options.fencing === 'resource-and-stonith' && c.state < CONN.WFReportParams && mustWait(c)) return;
  }
  goOnAlone(res);
  changeResource(res, () => ({ suspFencing: false }), { hard: true });
}

/** The freeze is over for the peers that are out of sight. */
export function goOnAlone(res: Resource): void {
  for (const volume of res.volumes.values()) {
    markAllKept(res, volume);
    beginPendingGeneration(res, volume);
  }
}

/**
 * The generation that a freeze kept back begins: writes go on without the peer. While a returned peer compares the generations that
 * it was told, a new one would come too late: what follows from the comparison comes first, and application I/O waits for it.
 */
export function beginPendingGeneration(res: Resource, volume: Volume): void {
  if (!volume.generationPending || volume.peerDevices.some((pd) => pd.conn === CONN.WFReportParams)) return;
  volume.generationPending = false;
  newCurrentUuid(res, volume);
}

/**
 * The peer is back before the freeze ended. Where nothing was written meanwhile it need not know that it was away; what was in
 * flight when the link broke, and is marked, reaches it as the resync of a generation of its own. What is kept is not decided yet.
 */
export function peerReturns(res: Resource, volume: Volume): void {
  if (volume.peerDevices.some((pd) => pd.keepsWrites)) return;
  const isBehind = volume.peerDevices.some((pd) => pd.bitmapSlot >= 0 && (volume.disk?.bitmap.weight(pd.bitmapSlot) ?? 0) > 0);
  if (isBehind) beginPendingGeneration(res, volume);
}

/** No write comes after the freeze: what was in flight is all that could have parted the generations. */
export function endPendingGeneration(res: Resource, volume: Volume): void {
  markAllKept(res, volume);
  peerReturns(res, volume);
  volume.generationPending = false;
}

/** The returned peer has compared generations, or is gone again. */
export function peerHasReturned(res: Resource, volume: Volume, isConnected: boolean): void {
  if (isConnected) volume.generationPending = false;
  else if (!res.isSuspended) beginPendingGeneration(res, volume);
}

/** All volumes of a connection are good on both sides: what fencing did to the peer can be undone. */
export function peerIsGoodAgain(res: Resource, c: Connection): void {
  if (c.options.fencing === 'dont-care') return;
  if (c.peerDevices.every((pd) => pd.volume.diskState === DISK.UpToDate && pd.peerDisk === DISK.UpToDate))
    res.helper('unfence-peer', undefined, c);
}
