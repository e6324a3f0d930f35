/**
 * What two connected nodes do about their data: the verdict of the UUIDs, overruled by disk states, split-brain policies,
 * `discard-my-data` and `rr-conflict`. Source: DRBD 8.4 drbd_receiver.c (drbd_sync_handshake, drbd_asb_recover_*).
 */
import { compareUuids, type UuidContext, type UuidVerdict } from './compare-uuids.js';
import type { LogLevel } from './effects.js';
import { formatGenerations, type Generations, uuidWasPrimary } from './generations.js';
import { CONN, DISK, type DiskNumber, ROLE, type RoleNumber } from './state-view.js';

/** Values of the net options `after-sb-*pri` and `rr-conflict`. */
export interface SplitBrainPolicies {
  readonly afterSb0pri: string;
  readonly afterSb1pri: string;
  readonly afterSb2pri: string;
  readonly rrConflict: string;
  readonly alwaysAsbp: boolean;
}

export interface SyncHandshakeInput {
  readonly self: Generations;
  /** As received. */
  readonly peer: Generations;
  readonly role: RoleNumber;
  readonly peerRole: RoleNumber;
  /** State of the own disk; for a Negotiating one also what it will be after the attach. */
  readonly disk: DiskNumber;
  readonly diskAfterAttach: DiskNumber;
  readonly peerDisk: DiskNumber;
  readonly selfCrashedPrimary: boolean;
  readonly peerCrashedPrimary: boolean;
  /** Out-of-sync bits on both sides: ours now, the peer's as it told with its UUIDs. */
  readonly selfBits: number;
  readonly peerBits: number;
  /** UUID flags as received, for the log. */
  readonly peerFlags: number;
  readonly discardMyData: boolean;
  readonly peerDiscardMyData: boolean;
  /** Only look: `connect --tentative`. */
  readonly tentative: boolean;
  readonly resolveConflicts: boolean;
  readonly apv: number;
  readonly features: number;
  readonly isPeerGenuine: boolean;
  readonly policies: SplitBrainPolicies;
}

export interface HandshakeLog {
  readonly level: LogLevel;
  readonly text: string;
}

export interface SyncHandshakeOutcome {
  /** `abort`: drop the connection, or only the attach that is being negotiated. */
  readonly kind: 'sync' | 'abort';
  /** WFBitMapS, WFBitMapT or, without resync, Connected. */
  readonly conn: typeof CONN.WFBitMapS | typeof CONN.WFBitMapT | typeof CONN.Connected;
  /** Aborted because a Primary would have to take the peer's data (`rr-conflict`). */
  readonly isRoleConflict: boolean;
  /** Set all bits and write them before going on. */
  readonly setAllBits: boolean;
  readonly verdict: UuidVerdict;
  readonly logs: readonly HandshakeLog[];
  /** Handlers to run, in order. */
  readonly handlers: readonly string[];
  /** Sets after correction; the own one is to be kept when it differs. */
  readonly self: Generations;
  readonly peer: Generations;
}

/** Preference for one direction: above 0 we are source, below 0 target. Undefined: the policy does not decide. */
type Direction = 1 | -1 | undefined;

const BOTH = 100;

export function syncHandshake(input: SyncHandshakeInput): SyncHandshakeOutcome {
  const logs: HandshakeLog[] = [];
  const handlers: string[] = [];
  const log = (level: LogLevel, text: string): void => {
    logs.push({ level, text });
  };
  const verdict = compareUuids(input.self, input.peer, uuidContext(input));
  const self = verdict.selfCorrected ?? input.self;
  const peer = verdict.peerCorrected ?? input.peer;
  logVerdict(input, verdict, log);

  const end = (kind: 'sync' | 'abort', result: number, isRoleConflict = false): SyncHandshakeOutcome => ({
    kind,
    isRoleConflict,
    conn: kind === 'abort' || result === 0 ? CONN.Connected : result > 0 ? CONN.WFBitMapS : CONN.WFBitMapT,
    setAllBits: kind === 'sync' && Math.abs(result) >= 2,
    verdict,
    logs,
    handlers,
    self,
    peer,
  });

  let result: number = byBegunResync(input, verdict, log);
  if (result === -1000) {
    log('err', verdict.needsProtocol === undefined ? 'Unrelated data, aborting!' : needsText(verdict));
    return end('abort', 0);
  }
  const disk = input.disk === DISK.Negotiating ? input.diskAfterAttach : input.disk;
  result = byDiskStates(result, disk, input.peerDisk, log);
  if (result === 0 && !input.isPeerGenuine) result = byMissedBlocks(input, disk);
  if (Math.abs(result) === BOTH) handlers.push('initial-split-brain');
  if (result === BOTH || (result === -BOTH && input.policies.alwaysAsbp)) {
    result = byPolicy(result, input, self, peer, handlers, log);
  }
  if (result === -BOTH && input.discardMyData !== input.peerDiscardMyData) {
    result = input.discardMyData ? -1 : 1;
    log('warning', `Split-Brain detected, manually solved. Sync from ${winner(result)} node`);
  }
  if (result === -BOTH) {
    log('err', 'Split-Brain detected but unresolved, dropping connection!');
    handlers.push('split-brain');
    return end('abort', 0);
  }
  if (result > 0 && disk <= DISK.Inconsistent) {
    log('err', 'I shall become SyncSource, but I am inconsistent!');
    return end('abort', 0);
  }
  // The state now, not the one after the attach.
  if (result < 0 && input.role === ROLE.Primary && input.disk >= DISK.Consistent && !mayOverrun(input.policies.rrConflict, handlers, log)) {
    log('err', 'I shall become SyncTarget, but I am primary!');
    return end('abort', 0, true);
  }
  if (input.tentative) {
    log('info', dryRunText(result));
    return end('abort', 0);
  }
  if (Math.abs(result) >= 2) log('info', 'Writing the whole bitmap, full sync required after drbd_sync_handshake.');
  if (result === 0 && input.selfBits > 0) log('info', `No resync, but ${input.selfBits} bits in bitmap!`);
  return end('sync', result);
}

/** rr-conflict: whether a Primary takes the peer's data over what its application sees. */
function mayOverrun(policy: string, handlers: string[], log: Log): boolean {
  switch (policy) {
    case 'violently':
      log('warning', 'Becoming SyncTarget, violating the stable-dataassumption');
      return true;
    case 'call-pri-lost':
      handlers.push('pri-lost');
      return false;
    // The conflict that DRBD 9 reverses, a Primary opposite one that crashed before it, is none: by rule 41 the Primary is the source.
    case 'auto-discard':
    // Comes back in a second: the caller's part.
    case 'retry-connect':
    case 'disconnect':
      return false;
    default:
      log('err', 'Configuration error.');
      return false;
  }
}

const uuidContext = (input: SyncHandshakeInput): UuidContext => ({
  selfCrashedPrimary: input.selfCrashedPrimary,
  peerCrashedPrimary: input.peerCrashedPrimary,
  selfPrimary: input.role === ROLE.Primary,
  peerPrimary: input.peerRole === ROLE.Primary,
  resolveConflicts: input.resolveConflicts,
  apv: input.apv,
  features: input.features,
});

type Log = (level: LogLevel, text: string) => void;

function logVerdict(input: SyncHandshakeInput, verdict: UuidVerdict, log: Log): void {
  const selfText = (g: Generations): string => `self ${formatGenerations(g)} bits:${input.selfBits} flags:0`;
  const peerText = (g: Generations): string =>
    `peer ${formatGenerations(g)} bits:${input.peerBits} flags:${input.peerFlags.toString(16).toUpperCase()}`;
  log('info', 'drbd_sync_handshake:');
  log('info', selfText(input.self));
  log('info', peerText(input.peer));
  if (verdict.log !== undefined) log('info', verdict.log);
  if (verdict.selfCorrected !== undefined) log('info', selfText(verdict.selfCorrected));
  if (verdict.peerCorrected !== undefined) log('info', peerText(verdict.peerCorrected));
  log('info', `uuid_compare()=${verdict.result} by rule ${verdict.rule}`);
}

const needsText = (verdict: UuidVerdict): string =>
  `To resolve this both sides have to support at least protocol ${verdict.needsProtocol}` +
  (verdict.needsFeatures === undefined ? '' : ` and feature flags 0x${verdict.needsFeatures.toString(16)}`);

/**
 * How to get out of a split brain had been decided, and its resync had begun when the link broke: it goes on, as long as the loser still is
 * what it became when it gave in. Policies would judge by bitmaps that have been merged since. A DRBD 8.4 does not see this.
 */
function byBegunResync(input: SyncHandshakeInput, { result, begun }: UuidVerdict, log: Log): number {
  if (begun === undefined || input.isPeerGenuine) return result;
  const disk = diskAsTold(input);
  const [source, target, isRevoked] =
    begun === 'self' ? [disk, input.peerDisk, input.discardMyData] : [input.peerDisk, disk, input.peerDiscardMyData];
  if (isRevoked || source <= DISK.Outdated || target > DISK.Outdated) return -BOTH;
  log('info', `Last syncUUID did not get through, going on as sync ${begun === 'self' ? 'source' : 'target'}.`);
  return begun === 'self' ? 1 : -1;
}

/** What the peer knows of our disk, also while it is being attached: both nodes have to decide alike. */
function diskAsTold({ disk, diskAfterAttach }: SyncHandshakeInput): DiskNumber {
  if (disk !== DISK.Negotiating) return disk;
  return diskAfterAttach === DISK.Inconsistent ? DISK.Inconsistent : DISK.Consistent;
}

/** An Inconsistent disk never wins against a better one, whatever the UUIDs say. */
function byDiskStates(result: number, disk: DiskNumber, peerDisk: DiskNumber, log: Log): number {
  const peerIsBetter = disk === DISK.Inconsistent && peerDisk > DISK.Inconsistent;
  const selfIsBetter = peerDisk === DISK.Inconsistent && disk > DISK.Inconsistent;
  if (!peerIsBetter && !selfIsBetter) return result;
  log('info', `Becoming sync ${selfIsBetter ? 'source' : 'target'} due to disk states.`);
  const isFull = result === -BOTH || Math.abs(result) === 2;
  return (selfIsBetter ? 1 : -1) * (isFull ? 2 : 1);
}

/**
 * Of one generation, and one of them has been left behind: what is marked is copied to it. A DRBD 8.4 would call both good, and so it
 * must be with one for a peer.
 */
function byMissedBlocks({ selfBits, peerBits, peerDisk }: SyncHandshakeInput, disk: DiskNumber): number {
  if (disk === DISK.Outdated && selfBits > 0 && peerDisk > DISK.Outdated) return -1;
  return peerDisk === DISK.Outdated && peerBits > 0 && disk > DISK.Outdated ? 1 : 0;
}

const winner = (result: number): string => (result < 0 ? 'peer' : 'this');

const dryRunText = (result: number): string =>
  result === 0
    ? 'dry-run connect: No resync, would become Connected immediately.'
    : `dry-run connect: Would become ${result > 0 ? 'SyncSource' : 'SyncTarget'}, doing a ${Math.abs(result) >= 2 ? 'full' : 'bit-map based'} resync.`;

function byPolicy(result: number, input: SyncHandshakeInput, self: Generations, peer: Generations, handlers: string[], log: Log): number {
  const primaries = (input.role === ROLE.Primary ? 1 : 0) + (input.peerRole === ROLE.Primary ? 1 : 0);
  const decide = [afterSb0pri, afterSb1pri, afterSb2pri][primaries]!;
  const direction = decide(input, self, peer, handlers, log);
  if (direction === undefined) return -BOTH;
  log('warning', `Split-Brain detected, ${primaries} primaries, automatically solved. Sync from ${winner(direction)} node`);
  if (result !== -BOTH) return direction;
  log('warning', 'Doing a full sync, since UUIDs where ambiguous.');
  return direction * 2;
}

type Policy = (input: SyncHandshakeInput, self: Generations, peer: Generations, handlers: string[], log: Log) => Direction;

const tieBreak = (input: SyncHandshakeInput): Direction => (input.resolveConflicts ? -1 : 1);

/**
 * Who is Outdated has given in before, and counts since then what the other one has changed as well. Or it was outdated, and knows that
 * the other one is ahead. A DRBD 8.4 counts all the same.
 */
function byOutdated(input: SyncHandshakeInput): Direction {
  const isBehind = diskAsTold(input) === DISK.Outdated;
  if (input.isPeerGenuine || isBehind === (input.peerDisk === DISK.Outdated)) return undefined;
  return isBehind ? -1 : 1;
}

function zeroChanges(input: SyncHandshakeInput): Direction {
  const known = byOutdated(input);
  if (known !== undefined) return known;
  if (input.selfBits === 0 && input.peerBits === 0) return tieBreak(input);
  if (input.peerBits === 0) return 1;
  return input.selfBits === 0 ? -1 : undefined;
}

function leastChanges(input: SyncHandshakeInput): Direction {
  const clear = zeroChanges(input);
  if (clear !== undefined) return clear;
  if (input.selfBits === input.peerBits) return tieBreak(input);
  return input.selfBits < input.peerBits ? -1 : 1;
}

const afterSb0pri: Policy = (input, self, peer, _handlers, log) => {
  // Who was Primary when the two lost each other stands in bit 0 of the bitmap UUIDs.
  const selfWas = uuidWasPrimary(self.bitmap);
  const peerWas = uuidWasPrimary(peer.bitmap);
  const policy = input.policies.afterSb0pri;
  switch (policy) {
    case 'disconnect':
      return undefined;
    case 'discard-younger-primary':
    case 'discard-older-primary':
      if (selfWas !== peerWas) return selfWas === (policy === 'discard-younger-primary') ? 1 : -1;
      log('warning', 'Discard younger/older primary did not find a decision\nUsing discard-least-changes instead');
      return leastChanges(input);
    case 'discard-zero-changes':
      return zeroChanges(input);
    case 'discard-least-changes':
      return leastChanges(input);
    case 'discard-local':
      return -1;
    case 'discard-remote':
      return 1;
    default:
      log('err', 'Configuration error.');
      return undefined;
  }
};

/** The loser, when Primary, would have to demote itself. During a handshake no role changes, so its handler is called instead. */
function callPriLostAfterSb(direction: Direction, input: SyncHandshakeInput, handlers: string[]): Direction {
  if (direction !== -1 || input.role !== ROLE.Primary) return direction;
  handlers.push('pri-lost-after-sb');
  return undefined;
}

const afterSb1pri: Policy = (input, self, peer, handlers, log) => {
  const isPrimary = input.role === ROLE.Primary;
  const asWithout = (): Direction => afterSb0pri(input, self, peer, handlers, log);
  switch (input.policies.afterSb1pri) {
    case 'disconnect':
      return undefined;
    case 'consensus': {
      const direction = asWithout();
      return (direction === 1) === isPrimary ? direction : undefined;
    }
    case 'violently-as0p':
      return asWithout();
    case 'discard-secondary':
      return isPrimary ? 1 : -1;
    case 'call-pri-lost-after-sb':
      return callPriLostAfterSb(asWithout(), input, handlers);
    default:
      log('err', 'Configuration error.');
      return undefined;
  }
};

const afterSb2pri: Policy = (input, self, peer, handlers, log) => {
  const asWithout = (): Direction => afterSb0pri(input, self, peer, handlers, log);
  switch (input.policies.afterSb2pri) {
    case 'disconnect':
      return undefined;
    case 'violently-as0p':
      return asWithout();
    case 'call-pri-lost-after-sb':
      return callPriLostAfterSb(asWithout(), input, handlers);
    default:
      log('err', 'Configuration error.');
      return undefined;
  }
};
