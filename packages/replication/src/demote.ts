/** Stepping down, also by force while the device is open (replication semantics: demote). */
import { answer, type Reply } from './admin.js';
import { withPrimaryBit } from './generations.js';
import { markAllKept } from './kept-writes.js';
import { syncMetaData } from './meta-data-io.js';
import { sendState } from './packets.js';
import type { Resource } from './resource.js';
import { changeResource } from './state-change.js';
import { CONN, ROLE } from './state-view.js';
import { closeEpoch } from './write-path.js';

/**
 * @param openVolumes - what somebody holds open: refused, or with `force` cut off, so that all its I/O fails until the last close
 */
export function demote(res: Resource, openVolumes: readonly number[], force: boolean, reply: Reply): void {
  if (force && openVolumes.length > 0 && res.role === ROLE.Primary) {
    const refused = answer(changeResource(res, () => ({ role: ROLE.Secondary }), { dryRun: true, verbose: true }));
    if (refused !== undefined) return reply(refused);
    res.log('warning', undefined, undefined, 'forced demotion');
    // Before the change of role: new writes would keep it from what the earlier ones wait for.
    res.failIo = true;
    res.stateChanged();
    stepDown(res, [], reply);
  } else stepDown(res, force ? [] : openVolumes, reply);
}

/** A forced demotion before a restart is still in force: what is open was cut off, and its memory of the data counts no more. */
export function goOnFailing(res: Resource): void {
  if (res.failIo || res.role === ROLE.Primary) return;
  res.failIo = true;
  res.log('warning', undefined, undefined, 'was demoted by force: all I/O fails until the last close');
  res.stateChanged();
}

/** Nobody has a volume open any more. */
export function lastClose(res: Resource): void {
  if (!res.failIo) return;
  res.failIo = false;
  res.stateChanged();
}

/** A peer that has gone on since the freeze knows better; else what was in flight here is copied to it, as after a crash. */
function forgetFrozenWrites(res: Resource): void {
  for (const volume of res.volumes.values()) {
    markAllKept(res, volume);
    if (!volume.generationPending) continue;
    volume.generationPending = false;
    const isAhead = volume.peerDevices.some((pd) => pd.bitmapSlot >= 0 && (volume.disk?.bitmap.weight(pd.bitmapSlot) ?? 0) > 0);
    if (isAhead) volume.crashedPrimary = true;
  }
}

function stepDown(res: Resource, openVolumes: readonly number[], reply: Reply): void {
  const wasPrimary = res.role === ROLE.Primary;
  const judged = changeResource(res, () => ({ role: ROLE.Secondary }), { openVolumes, dryRun: true });
  if (wasPrimary && judged === 'SS_SUCCESS' && res.hasUnfinishedWrites()) {
    // A connection lost from here on has to be lost by a Primary: it begins a new generation for what the peer misses.
    closeEpoch(res);
    res.whenFinished.push(() => stepDown(res, openVolumes, reply));
    return;
  }
  if (res.failIo) forgetFrozenWrites(res);
  const code = changeResource(res, () => ({ role: ROLE.Secondary }), { openVolumes, verbose: true });
  const refused = answer(code);
  if (refused !== undefined) lastClose(res);
  // A generation that was begun here is on disk when this is answered: somebody else may be made Primary then.
  let outstanding = 1;
  const written = (): void => {
    if (--outstanding === 0) reply(refused);
  };
  if (wasPrimary && code === 'SS_SUCCESS') {
    for (const volume of res.volumes.values()) {
      const md = volume.disk?.metaData;
      if (md !== undefined) md.current_uuid = withPrimaryBit(md.current_uuid, false);
      for (const pd of volume.peerDevices) if (pd.connection.isUp && pd.conn >= CONN.Connected) sendState(res, pd);
      outstanding++;
      syncMetaData(res, volume, written);
    }
  }
  written();
}
