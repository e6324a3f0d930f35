/**
 * The rules of DRBD 8.4's state engine (drbd_state.c) as lists over one {@link StateView}: what a change implies, what may
 * follow what, which combinations may exist. `judge` is the one place that puts them together.
 */
import type { ReturnCode } from '@udrbd/control';
import { MDF, MDF_PEER } from '@udrbd/metadata';
import { CONN, type ConnNumber, DISK, type DiskNumber, ROLE, type StateView } from './state-view.js';

export type Fencing = 'dont-care' | 'resource-only' | 'resource-and-stonith';

export interface SanitiseContext {
  /** Policy in force; `dont-care` while diskless. */
  readonly fencing: Fencing;
  readonly onNoData: 'io-error' | 'suspend-io';
  /**
   * What a Negotiating disk falls back to when the connection goes first: its states after attach, or undefined when the
   * effective data generation is not the one on this disk.
   */
  readonly negotiated: { readonly disk: DiskNumber; readonly peerDisk: DiskNumber } | undefined;
  /** Blocks of our disk are marked as different from the peer's. */
  readonly lacksBlocks: boolean;
}

export interface ValidityContext {
  readonly twoPrimariesAllowed: boolean;
  /** Some other volume of the connection has a Primary peer. */
  readonly otherVolumePeerPrimary: boolean;
  readonly openCount: number;
  readonly fencing: Fencing;
  readonly verifyAlg: string;
  readonly apv: number;
}

export interface SoftContext {
  /** Our state packet is out, the peer's is not in yet. */
  readonly handshakeInProgress: boolean;
}

export type JudgeContext = SanitiseContext & ValidityContext & SoftContext;

// --- IMPLIED: what else changes when this changes -----------------------------------------------------------------

type Draft = { -readonly [K in keyof StateView]: StateView[K] };
interface Implied {
  readonly name: string;
  readonly imply: (next: Draft, old: StateView, ctx: SanitiseContext, warnings: string[]) => void;
}

/** Range of disk states that a connection state bears; lowering is silent, raising is warned about. */
type Range = readonly [DiskNumber, DiskNumber];
const ANY: Range = [DISK.Diskless, DISK.UpToDate];
const GOOD: Range = [DISK.UpToDate, DISK.UpToDate];
const STALE: Range = [DISK.Inconsistent, DISK.Outdated];
const BAD: Range = [DISK.Inconsistent, DISK.Inconsistent];
const STALE_PEER: Range = [DISK.Inconsistent, DISK.Consistent];
const UNSEEN: Range = [DISK.Inconsistent, DISK.DUnknown];

/** From `Connected` on, in order of the connection state: own disk, peer's disk. */
const CLAMPS: readonly (readonly [own: Range, peer: Range])[] = [
  /* Connected    */ [ANY, ANY],
  /* StartingSyncS*/ [GOOD, STALE_PEER],
  /* StartingSyncT*/ [STALE, GOOD],
  /* WFBitMapS    */ [GOOD, STALE_PEER],
  /* WFBitMapT    */ [STALE, GOOD],
  /* WFSyncUUID   */ [STALE, GOOD],
  /* SyncSource   */ [GOOD, BAD],
  /* SyncTarget   */ [BAD, GOOD],
  /* VerifyS      */ [GOOD, GOOD],
  /* VerifyT      */ [GOOD, GOOD],
  /* PausedSyncS  */ [GOOD, STALE_PEER],
  /* PausedSyncT  */ [STALE, GOOD],
  /* Ahead        */ [GOOD, STALE_PEER],
  /* Behind       */ [STALE, GOOD],
];
const UNCONNECTED_CLAMP: readonly [Range, Range] = [ANY, UNSEEN];

/** The states that a connection state forces on own and peer disk: `[[ownMin, ownMax], [peerMin, peerMax]]`. */
export const diskRanges = (conn: ConnNumber): readonly [Range, Range] =>
  conn < CONN.Connected ? UNCONNECTED_CLAMP : CLAMPS[conn - CONN.Connected]!;

const dataMayBeWrittenUnseen = (s: StateView): boolean => s.role === ROLE.Primary && s.conn < CONN.Connected && s.peerDisk > DISK.Outdated;
const primaryWithoutData = (s: StateView): boolean => s.role === ROLE.Primary && s.disk < DISK.UpToDate && s.peerDisk < DISK.UpToDate;
const settlesOnConnect = (disk: DiskNumber): DiskNumber => (disk === DISK.Consistent || disk === DISK.Outdated ? DISK.UpToDate : disk);

/** Applied in this order; the order is part of the rule (DRBD 8.4 sanitize_state). */
export const IMPLIED: readonly Implied[] = [
  {
    name: 'without a connection nothing is known of the peer but that its data is bad',
    imply: (next) => {
      if (next.conn >= CONN.Connected) return;
      next.resyncSuspPeer = false;
      next.peerRole = ROLE.Unknown;
      if (next.peerDisk > DISK.DUnknown || next.peerDisk < DISK.Inconsistent) next.peerDisk = DISK.DUnknown;
    },
  },
  {
    name: 'an unconfigured device waits for no other one',
    imply: (next) => {
      if (next.conn === CONN.StandAlone && next.disk === DISK.Diskless && next.role === ROLE.Secondary) next.resyncSuspDependency = false;
    },
  },
  {
    name: 'losing a disk ends a resync or verify',
    imply: (next, _old, _ctx, warnings) => {
      if (next.conn <= CONN.Connected || (next.disk > DISK.Failed && next.peerDisk > DISK.Failed)) return;
      warnings.push(next.conn === CONN.VerifyS || next.conn === CONN.VerifyT ? 'Online-verify aborted.' : 'Resync aborted.');
      next.conn = CONN.Connected;
    },
  },
  {
    name: 'losing the connection ends the negotiation of a disk',
    imply: (next, _old, ctx, warnings) => {
      if (next.conn >= CONN.Connected || next.disk !== DISK.Negotiating) return;
      if (ctx.negotiated === undefined) {
        warnings.push('Connection lost while negotiating, no data!');
        next.disk = DISK.Diskless;
        next.peerDisk = DISK.DUnknown;
      } else {
        next.disk = ctx.negotiated.disk;
        next.peerDisk = ctx.negotiated.peerDisk;
      }
    },
  },
  {
    name: 'Consistent and Outdated vanish on connect',
    imply: (next, old, ctx) => {
      if (next.conn < CONN.Connected || next.conn >= CONN.Ahead) return;
      // DRBD 8.4 settles at every change, and so calls a sync target good again whose resync was given up before it began. Nor does it
      // mind that an Outdated disk, alone with a node that has none, knows of blocks that it lacks, or that nobody vouches for it: only
      // a Primary knows what its last data were.
      const isNew = old.conn < CONN.Connected;
      const isAlone = next.disk === DISK.Outdated && next.peerDisk < DISK.Inconsistent;
      const isPeerAlone = next.peerDisk === DISK.Outdated && next.disk < DISK.Inconsistent;
      const isVouchedFor = next.peerRole === ROLE.Primary && !ctx.lacksBlocks;
      if ((isNew || next.disk !== old.disk) && (!isAlone || isVouchedFor)) next.disk = settlesOnConnect(next.disk);
      // Such a peer says by itself whether its disk is good.
      if ((isNew || next.peerDisk !== old.peerDisk) && !isPeerAlone) next.peerDisk = settlesOnConnect(next.peerDisk);
    },
  },
  {
    name: 'disks fit the connection state',
    imply: (next, _old, _ctx, warnings) => {
      const [[ownMin, ownMax], [peerMin, peerMax]] = diskRanges(next.conn);
      if (next.disk > ownMax) next.disk = ownMax;
      if (next.disk < ownMin) {
        warnings.push('Implicitly upgraded disk');
        next.disk = ownMin;
      }
      if (next.peerDisk > peerMax) next.peerDisk = peerMax;
      if (next.peerDisk < peerMin) {
        warnings.push('Implicitly upgraded pdsk');
        next.peerDisk = peerMin;
      }
    },
  },
  {
    name: 'a Primary freezes until its lost peer is fenced',
    imply: (next, old, ctx) => {
      if (ctx.fencing === 'resource-and-stonith' && dataMayBeWrittenUnseen(next) && !dataMayBeWrittenUnseen(old)) next.suspFencing = true;
    },
  },
  {
    name: 'a Primary freezes when it lost all data',
    imply: (next, old, ctx) => {
      if (ctx.onNoData === 'suspend-io' && primaryWithoutData(next) && !primaryWithoutData(old)) next.suspNoData = true;
    },
  },
  {
    name: 'pause flags pause a resync',
    imply: (next) => {
      const paused = next.resyncSuspDependency || next.resyncSuspPeer || next.resyncSuspUser;
      if (paused && next.conn === CONN.SyncSource) next.conn = CONN.PausedSyncS;
      else if (paused && next.conn === CONN.SyncTarget) next.conn = CONN.PausedSyncT;
      else if (!paused && next.conn === CONN.PausedSyncS) next.conn = CONN.SyncSource;
      else if (!paused && next.conn === CONN.PausedSyncT) next.conn = CONN.SyncTarget;
    },
  },
];

export interface Sanitised {
  readonly state: StateView;
  readonly warnings: readonly string[];
}

/** The state that really follows when `wanted` is asked for. */
export function sanitise(old: StateView, wanted: StateView, ctx: SanitiseContext): Sanitised {
  const state: Draft = { ...wanted };
  const warnings: string[] = [];
  for (const rule of IMPLIED) rule.imply(state, old, ctx, warnings);
  return { state, warnings };
}

// --- HARD: may we go from here to there, whoever asks ----------------------------------------------------------------

interface Transition<C> {
  readonly name: string;
  /** True when the rule forbids the change. */
  readonly violated: (old: StateView, next: StateView, ctx: C) => boolean;
  readonly code: ReturnCode;
}

const isLossState = (conn: ConnNumber): boolean => conn >= CONN.Timeout && conn <= CONN.TearDown;
const conn =
  (violated: (from: ConnNumber, to: ConnNumber) => boolean) =>
  (old: StateView, next: StateView): boolean =>
    old.conn !== next.conn && violated(old.conn, next.conn);

/** First match wins (DRBD 8.4 is_valid_transition). */
export const HARD: readonly Transition<undefined>[] = [
  {
    name: 'no disk can fail twice',
    violated: (old, next) => next.disk === DISK.Failed && old.disk === DISK.Diskless,
    code: 'SS_IS_DISKLESS',
  },
  {
    name: 'StandAlone has nothing to disconnect',
    violated: conn((from, to) => from === CONN.StandAlone && to === CONN.Disconnecting),
    code: 'SS_ALREADY_STANDALONE',
  },
  {
    name: 'StandAlone is left only for Unconnected',
    violated: conn((from, to) => from === CONN.StandAlone && to !== CONN.Unconnected),
    code: 'SS_NEED_CONNECTION',
  },
  {
    name: 'a connection needs a handshake',
    violated: conn((from, to) => from < CONN.WFReportParams && to >= CONN.Connected),
    code: 'SS_NEED_CONNECTION',
  },
  {
    name: 'a lost connection is cleaned up first',
    violated: conn((from, to) => isLossState(from) && to !== CONN.Unconnected && to !== CONN.Disconnecting),
    code: 'SS_IN_TRANSIENT_STATE',
  },
  {
    name: 'Disconnecting ends StandAlone',
    violated: conn((from, to) => from === CONN.Disconnecting && to !== CONN.StandAlone),
    code: 'SS_IN_TRANSIENT_STATE',
  },
];

export const hardTransition = (old: StateView, next: StateView): ReturnCode | undefined =>
  HARD.find((rule) => rule.violated(old, next, undefined))?.code;

// --- VALID: may this combination exist -------------------------------------------------------------------------------

interface Validity {
  readonly name: string;
  readonly violated: (s: StateView, ctx: ValidityContext) => boolean;
  readonly code: ReturnCode;
}

const isVerify = (s: StateView): boolean => s.conn === CONN.VerifyS || s.conn === CONN.VerifyT;
const startsFullSync = (s: StateView): boolean => s.conn === CONN.StartingSyncS || s.conn === CONN.StartingSyncT;

/** First match wins (DRBD 8.4 is_valid_state). */
export const VALID: readonly Validity[] = [
  {
    name: 'one Primary',
    violated: (s, ctx) => !ctx.twoPrimariesAllowed && s.role === ROLE.Primary && s.peerRole === ROLE.Primary,
    code: 'SS_TWO_PRIMARIES',
  },
  {
    name: 'one Primary over all volumes',
    violated: (s, ctx) => !ctx.twoPrimariesAllowed && s.role === ROLE.Primary && ctx.otherVolumePeerPrimary,
    code: 'SS_O_VOL_PEER_PRI',
  },
  {
    name: 'a Secondary is not in use',
    violated: (s, ctx) => s.role === ROLE.Secondary && ctx.openCount > 0,
    code: 'SS_DEVICE_IN_USE',
  },
  {
    name: 'an unconnected Primary has good data',
    violated: (s) => s.role === ROLE.Primary && s.conn < CONN.Connected && s.disk < DISK.UpToDate,
    code: 'SS_NO_UP_TO_DATE_DISK',
  },
  {
    name: 'with fencing, an unconnected Primary knows its peer is outdated',
    violated: (s, ctx) => ctx.fencing !== 'dont-care' && s.role === ROLE.Primary && s.conn < CONN.Connected && s.peerDisk >= DISK.DUnknown,
    code: 'SS_PRIMARY_NOP',
  },
  {
    name: 'a Primary has some usable disk',
    violated: (s) => s.role === ROLE.Primary && s.disk <= DISK.Inconsistent && s.peerDisk <= DISK.Inconsistent,
    code: 'SS_NO_UP_TO_DATE_DISK',
  },
  {
    name: 'a resync needs a local disk',
    violated: (s) => s.conn > CONN.Connected && s.disk < DISK.Inconsistent,
    code: 'SS_NO_LOCAL_DISK',
  },
  {
    name: 'a resync needs a remote disk',
    violated: (s) => s.conn > CONN.Connected && s.peerDisk < DISK.Inconsistent,
    code: 'SS_NO_REMOTE_DISK',
  },
  {
    name: 'a resync needs good data',
    violated: (s) => s.conn > CONN.Connected && s.disk < DISK.UpToDate && s.peerDisk < DISK.UpToDate,
    code: 'SS_NO_UP_TO_DATE_DISK',
  },
  {
    name: 'no Outdated disk serves a connected peer',
    violated: (s) =>
      (s.conn === CONN.Connected || s.conn === CONN.WFBitMapS || s.conn === CONN.SyncSource || s.conn === CONN.PausedSyncS) &&
      s.disk === DISK.Outdated,
    code: 'SS_CONNECTED_OUTDATES',
  },
  { name: 'verify needs an algorithm', violated: (s, ctx) => isVerify(s) && ctx.verifyAlg === '', code: 'SS_NO_VERIFY_ALG' },
  { name: 'verify needs protocol 88', violated: (s, ctx) => isVerify(s) && ctx.apv < 88, code: 'SS_NOT_SUPPORTED' },
  {
    name: 'a Primary reaches good data',
    violated: (s) => primaryWithoutData(s),
    code: 'SS_NO_UP_TO_DATE_DISK',
  },
  {
    name: 'a full sync needs a known peer disk',
    violated: (s) => startsFullSync(s) && s.peerDisk === DISK.DUnknown,
    code: 'SS_NEED_CONNECTION',
  },
  {
    name: 'a connected peer has a known disk',
    violated: (s) => s.conn >= CONN.Connected && s.peerDisk === DISK.DUnknown,
    code: 'SS_CONNECTED_OUTDATES',
  },
];

export const validity = (next: StateView, ctx: ValidityContext): ReturnCode | undefined =>
  VALID.find((rule) => rule.violated(next, ctx))?.code;

// --- SOFT: may an administrator ask for this now --------------------------------------------------------------------

const becomes = (old: StateView, next: StateView, wanted: ConnNumber): boolean => next.conn === wanted && old.conn !== wanted;

/** The *last* match wins (DRBD 8.4 is_valid_soft_transition). */
export const SOFT: readonly Transition<SoftContext>[] = [
  {
    name: 'one full sync at a time',
    violated: (old, next) => startsFullSync(next) && old.conn > CONN.Connected,
    code: 'SS_RESYNC_RUNNING',
  },
  {
    name: 'StandAlone has nothing to disconnect',
    violated: (old, next) => next.conn === CONN.Disconnecting && old.conn === CONN.StandAlone,
    code: 'SS_ALREADY_STANDALONE',
  },
  {
    name: 'a disk is attached by attaching it',
    violated: (old, next) => next.disk > DISK.Attaching && old.disk === DISK.Diskless,
    code: 'SS_IS_DISKLESS',
  },
  {
    name: 'connecting needs a network configuration',
    violated: (old, next) => next.conn === CONN.Connecting && old.conn < CONN.Unconnected,
    code: 'SS_NO_NET_CONFIG',
  },
  {
    name: 'bad data does not become Outdated',
    violated: (old, next) => next.disk === DISK.Outdated && old.disk < DISK.Outdated && old.disk !== DISK.Attaching,
    code: 'SS_LOWER_THAN_OUTDATED',
  },
  {
    name: 'Unconnected is passed through',
    violated: (old, next) => next.conn === CONN.Disconnecting && old.conn === CONN.Unconnected,
    code: 'SS_IN_TRANSIENT_STATE',
  },
  {
    name: 'a handshake is not disturbed',
    violated: (old, next, ctx) =>
      ctx.handshakeInProgress &&
      !(old.conn === CONN.Connecting && next.conn === CONN.WFReportParams) &&
      !(old.conn === CONN.WFReportParams && next.conn >= CONN.Connected),
    code: 'SS_IN_TRANSIENT_STATE',
  },
  {
    name: 'no promotion of a node that is about to become sync target',
    violated: (old, next) =>
      old.role !== ROLE.Primary &&
      next.role === ROLE.Primary &&
      next.peerDisk === DISK.UpToDate &&
      next.disk !== DISK.UpToDate &&
      next.disk !== DISK.Diskless &&
      (next.conn <= CONN.WFSyncUUID || next.conn !== old.conn),
    code: 'SS_IN_TRANSIENT_STATE',
  },
  {
    name: 'verify needs a connection',
    violated: (old, next) => isVerify(next) && old.conn < CONN.Connected,
    code: 'SS_NEED_CONNECTION',
  },
  {
    name: 'verify does not run beside a resync',
    violated: (old, next) => isVerify(next) && next.conn !== old.conn && old.conn > CONN.Connected,
    code: 'SS_RESYNC_RUNNING',
  },
  {
    name: 'a full sync needs a connection',
    violated: (old, next) => startsFullSync(next) && old.conn < CONN.Connected,
    code: 'SS_NEED_CONNECTION',
  },
  {
    name: 'a resync needs a handshake',
    violated: (old, next) => (next.conn === CONN.SyncSource || next.conn === CONN.SyncTarget) && old.conn < CONN.WFReportParams,
    code: 'SS_NEED_CONNECTION',
  },
  {
    name: 'only a connected peer can be outdated by disconnecting',
    violated: (old, next) =>
      next.conn === CONN.Disconnecting && next.peerDisk === DISK.Outdated && old.conn < CONN.Connected && old.peerDisk > DISK.Outdated,
    // DRBD 8.4 has a code of its own here; DRBD 9 gave its number another meaning.
    code: 'SS_NEED_CONNECTION',
  },
];

export const softTransition = (old: StateView, next: StateView, ctx: SoftContext): ReturnCode | undefined => {
  let code: ReturnCode | undefined;
  for (const rule of SOFT) if (rule.violated(old, next, ctx)) code = rule.code;
  return code;
};

// --- judgement -------------------------------------------------------------------------------------------------------

export interface Judgement {
  /** SS_SUCCESS, SS_NOTHING_TO_DO or the refusal. */
  readonly code: ReturnCode;
  /** The state after the change; of a refused one the state that would have followed. */
  readonly state: StateView;
  readonly warnings: readonly string[];
}

export const stateEqual = (a: StateView, b: StateView): boolean =>
  a.role === b.role &&
  a.peerRole === b.peerRole &&
  a.conn === b.conn &&
  a.disk === b.disk &&
  a.peerDisk === b.peerDisk &&
  a.suspUser === b.suspUser &&
  a.suspNoData === b.suspNoData &&
  a.suspFencing === b.suspFencing &&
  a.resyncSuspDependency === b.resyncSuspDependency &&
  a.resyncSuspPeer === b.resyncSuspPeer &&
  a.resyncSuspUser === b.resyncSuspUser;

/**
 * What becomes of a wish.
 * @param wanted - the current state with the wished fields replaced
 * @param hard - imposed by the environment: only the transition itself can be impossible
 */
export function judge(old: StateView, wanted: StateView, ctx: JudgeContext, hard: boolean): Judgement {
  const { state, warnings } = sanitise(old, wanted, ctx);
  const outcome = (code: ReturnCode): Judgement => ({ code, state, warnings });
  if (stateEqual(old, state)) return outcome('SS_NOTHING_TO_DO');
  const impossible = hardTransition(old, state);
  if (impossible !== undefined) return outcome(impossible);
  if (hard) return outcome('SS_SUCCESS');
  const invalid = validity(state, ctx);
  // A state that is wrong already may stay wrong in the same way, but not become wrong in another one.
  if (invalid !== undefined && validity(old, ctx) !== invalid) return outcome(invalid);
  const worse = invalid === undefined ? undefined : VALID.find((rule) => rule.violated(state, ctx) && !rule.violated(old, ctx));
  if (worse !== undefined) return outcome(worse.code);
  return outcome(softTransition(old, state, ctx) ?? 'SS_SUCCESS');
}

/** Whether the peer has to agree before the change is made. */
export function needsAgreement(old: StateView, next: StateView): boolean {
  if (old.conn < CONN.Connected) return false;
  if (next.conn === CONN.Disconnecting || next.conn === CONN.WFReportParams) return old.conn !== next.conn;
  if (next.conn < CONN.Connected) return false;
  return (
    (old.role !== ROLE.Primary && next.role === ROLE.Primary) ||
    becomes(old, next, CONN.StartingSyncS) ||
    becomes(old, next, CONN.StartingSyncT) ||
    (old.disk !== DISK.Failed && next.disk === DISK.Failed) ||
    (old.disk !== DISK.Detaching && next.disk === DISK.Detaching) ||
    (old.conn === CONN.Connected && next.conn === CONN.VerifyS)
  );
}

/** Whether application writes are mirrored to the peer. */
export const wouldReplicate = (s: StateView): boolean =>
  s.peerDisk === DISK.UpToDate || (s.peerDisk >= DISK.Inconsistent && s.conn >= CONN.WFBitMapT && s.conn < CONN.Ahead);

/** Whether the peer is only told which blocks were written. Never true together with `wouldReplicate`. */
export const wouldSendOutOfSync = (s: StateView): boolean => s.conn === CONN.Ahead || s.conn === CONN.WFBitMapS;

const isPeerDataKnown = (disk: DiskNumber): boolean => disk >= DISK.Inconsistent && disk !== DISK.DUnknown && disk !== DISK.Outdated;

/** Whether the peer's copy begins to age: a new data generation may be due. */
export const lostContactToPeerData = (old: StateView, next: StateView): boolean =>
  (isPeerDataKnown(old.peerDisk) && !isPeerDataKnown(next.peerDisk)) ||
  (old.peerDisk === DISK.DUnknown && (next.peerDisk === DISK.Diskless || next.peerDisk === DISK.Failed || next.peerDisk === DISK.Outdated));

export interface PersistentFlags {
  /** MDF bits of the super block. */
  readonly device: number;
  /** MDF_PEER bits of the peer's entry, those that follow from the state. */
  readonly peer: number;
}

/**
 * The flags that the meta-data keeps of a state, in the places of format v09 (v08 has CONNECTED_IND, PEER_OUT_DATED and
 * FULL_SYNC among the device's).
 * @returns undefined below Inconsistent: then what is on disk stays
 */
export function persistentFlags(
  s: StateView,
  kept: { readonly fullSync: boolean; readonly alDisabled: boolean; readonly crashedPrimary: boolean },
): PersistentFlags | undefined {
  if (s.disk < DISK.Inconsistent) return undefined;
  const isPrimary = s.role === ROLE.Primary || (s.peerDisk < DISK.Inconsistent && s.peerRole === ROLE.Primary);
  const isPeerOutdated = s.peerDisk >= DISK.Inconsistent && s.peerDisk <= DISK.Outdated;
  return {
    device:
      (s.disk > DISK.Inconsistent ? MDF.CONSISTENT : 0) |
      (s.disk > DISK.Outdated ? MDF.WAS_UP_TO_DATE : 0) |
      (isPrimary ? MDF.PRIMARY_IND : 0) |
      (kept.crashedPrimary ? MDF.CRASHED_PRIMARY : 0) |
      (kept.alDisabled ? MDF.AL_DISABLED : 0),
    peer:
      (s.conn > CONN.WFReportParams ? MDF_PEER.CONNECTED : 0) |
      (isPeerOutdated ? MDF_PEER.OUTDATED : 0) |
      (kept.fullSync ? MDF_PEER.FULL_SYNC : 0),
  };
}
