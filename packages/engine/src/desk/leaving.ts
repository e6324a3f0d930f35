/**
 * The two ways in which an engine ends on purpose.
 *
 * *Shut down*: what is not in use is taken down. A block device that somebody has open would fail under him: it is served until it is
 * released, or until the operator insists. NBD clients lose nothing that they can not ask the next engine for: they are left.
 *
 * *Hand over*: intake stops, what was submitted is finished, every resource steps down, disconnects and detaches, and the next engine
 * sets all of it up again. What has not come to rest by then is handed over as a crash would.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Outcome } from '@udrbd/control';
import type { ControlRequest } from '@udrbd/replication';
import type { HostSnapshot } from '../reactor/messages.js';
import type { Log } from './log.js';
import type { Opener } from './openers.js';
import type { ResourceEntry } from './resource-entry.js';

type Answer = Outcome<readonly string[]>;

export interface LeavingDesk {
  readonly log: Log;
  entries(): readonly ResourceEntry[];
  down(entry: ResourceEntry): Promise<Answer>;
  /** Who has block devices of the resource open. */
  openers(entry: ResourceEntry): Promise<readonly Opener[]>;
  /** Ends the block devices of the resource, in use or not. */
  endDevices(entry: ResourceEntry): Promise<void>;
  /** Front ends of the resource submit nothing any more. */
  hold(entry: ResourceEntry): void;
  refresh(entry: ResourceEntry): Promise<HostSnapshot>;
  control(entry: ResourceEntry, request: ControlRequest): Promise<Answer>;
  /** The disk of a detached volume has been closed. */
  closed(entry: ResourceEntry): Promise<void>;
}

/** An attempt to take a resource down takes no longer. */
const DOWN_MS = 10_000;
/** How often devices in use are looked at. */
const IN_USE_MS = 500;
/** What hangs is handed over as it is after this time. */
const HAND_OVER_MS = 3000;
const REST_MS = 2;

/**
 * @param insist - resolves when the operator does not want to wait for what is in use
 * @returns whether nothing is left that the next engine should set up again
 */
export async function shutDown(desk: LeavingDesk, insist: Promise<void>): Promise<boolean> {
  let hasInsisted = false;
  void insist.then(() => {
    hasInsisted = true;
  });
  for (let told = ''; ; ) {
    const inUse: string[] = [];
    for (const entry of desk.entries()) {
      const answer = await Promise.race([desk.down(entry), sleep(DOWN_MS, undefined, { ref: false })]);
      if (answer?.ok === true) continue;
      const openers = await desk.openers(entry);
      for (const { text } of openers) inUse.push(`${entry.name} ${text}`);
      if (openers.length === 0)
        desk.log('warning', `resource ${entry.name} can not be taken down${answer === undefined ? ' in time' : ''}`);
    }
    if (inUse.length === 0 || hasInsisted) break;
    const text = inUse.join(', ');
    if (text !== told) desk.log('warning', `waiting until nothing is in use (another SIGTERM makes its I/O fail): ${text}`);
    told = text;
    await Promise.race([insist, sleep(IN_USE_MS)]);
  }
  for (const entry of desk.entries()) await desk.endDevices(entry);
  return desk.entries().length === 0 || hasInsisted;
}

/** Everything that can be brought to rest in time is. Never rejects. */
export async function handOver(desk: LeavingDesk): Promise<void> {
  const deadline = performance.now() + HAND_OVER_MS;
  await Promise.race([Promise.allSettled(desk.entries().map((entry) => bringToRest(desk, entry, deadline))), sleep(HAND_OVER_MS)]);
}

async function bringToRest(desk: LeavingDesk, entry: ResourceEntry, deadline: number): Promise<void> {
  desk.hold(entry);
  for (;;) {
    const { core } = await desk.refresh(entry);
    if (core.volumes.every(({ upperPending }) => upperPending === 0)) break;
    if (performance.now() > deadline) return;
    await sleep(REST_MS);
  }
  const must = async (request: ControlRequest): Promise<void> => {
    const answer = await desk.control(entry, request);
    if (!answer.ok) throw new Error(answer.error.name);
  };
  await must({ command: 'secondary', openVolumes: [], force: false });
  for (const { number: connection } of entry.connections.values()) await must({ command: 'disconnect', connection, force: false });
  for (const { volume, disk } of entry.volumes.values()) if (disk !== undefined) await must({ command: 'detach', volume, force: false });
  await desk.closed(entry);
}
