/**
 * A write of a kernel DRBD that crossed one of ours and reaches beyond it.
 *
 * The answer would be P_RETRY_WRITE. But a kernel has one thread that writes such requests again, and this waits for every write of
 * its own node in their way; when one of those has to be written again as well, both stand still for good (seen with Linux 6.1).
 * So the kernel's write is taken as if it had come before ours. It goes to the disk, then ours goes there again: its data are still
 * here, for the peer answers it only after we have answered the peer's. Nobody but the local disk is waited for.
 */
import { type Connection, NET } from './connection.js';
import { beneathIsThrough, dropMirroredWrite, refuseMirroredWrite, submitMirroredWrite } from './mirrored-writes.js';
import type { PeerDevice } from './peer-device.js';
import type { Resource } from './resource.js';
import { LOCAL, writeAgain } from './write-path.js';

export interface WriteBeneath {
  readonly slot: number;
  /** Ours that it overlaps, with the generation of their slots. */
  readonly own: readonly { readonly slot: number; readonly generation: number }[];
  stage: 'waiting' | 'writing' | 'written' | 'rewriting';
}

const isOurs = (res: Resource, c: Connection, own: WriteBeneath['own'][number]): boolean =>
  res.requests.generation[own.slot] === own.generation && (c.net[own.slot]! & NET.Pending) !== 0;

export function writeBeneath(res: Resource, pd: PeerDevice, slot: number, own: readonly number[]): void {
  const { generation } = res.requests;
  pd.connection.beneath.push({ slot, own: own.map((other) => ({ slot: other, generation: generation[other]! })), stage: 'waiting' });
  // From here on nobody else gets between.
  pd.volume.overlap.enterBeside(slot);
  res.wantSettle();
}

/** Goes on with those that need not wait any more. */
export function continueBeneath(res: Resource, c: Connection): void {
  for (const entry of [...c.beneath]) {
    const { slot, own, stage } = entry;
    const pd = res.peerDevice(c, res.requests.volume[slot]!)!;
    const { volume } = pd;
    if (own.some((other) => isOurs(res, c, other) && (res.requests.state[other.slot]! & LOCAL.Pending) !== 0)) continue;
    if (stage === 'written') {
      // One write of ours may lie on two of the peer's.
      entry.stage = 'rewriting';
      for (const other of own) if (c.isUp && volume.hasUsableDisk && isOurs(res, c, other)) writeAgain(res, volume, other.slot);
      res.wantSettle();
    } else if (stage === 'rewriting') {
      forget(c, entry);
      beneathIsThrough(res, pd, slot);
    } else if (stage === 'waiting' && !volume.hasUsableDisk) {
      forget(c, entry);
      refuseMirroredWrite(res, pd, slot);
    } else if (stage === 'waiting') {
      const ours = own.map((other) => other.slot);
      if (volume.overlap.findHolder(slot, res.requests.capacity, (holder) => holder !== slot && !ours.includes(holder)) >= 0) continue;
      entry.stage = 'writing';
      submitMirroredWrite(res, volume, slot);
    }
  }
}

/** The disk has a mirrored write. @returns true when ours has to go there once more, before the peer gets its answer */
export function writtenBeneath(pd: PeerDevice, slot: number, errno: number): boolean {
  const c = pd.connection;
  const entry = c.beneath.find((other) => other.slot === slot);
  if (entry === undefined) return false;
  if (errno !== 0) {
    forget(c, entry);
    return false;
  }
  entry.stage = 'written';
  return true;
}

/** The link is gone: what has not been begun is left. */
export function abandonBeneath(res: Resource, c: Connection): void {
  for (const entry of c.beneath.filter(({ stage }) => stage === 'waiting')) {
    forget(c, entry);
    dropMirroredWrite(res, c, entry.slot);
  }
}

function forget(c: Connection, entry: WriteBeneath): void {
  c.beneath.splice(c.beneath.indexOf(entry), 1);
}
