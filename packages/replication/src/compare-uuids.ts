/**
 * Who has the better data? The decision of DRBD 8.4 from two sets of generation identifiers, rule by rule.
 *
 * Every comparison ignores bit 0. The first rule that applies decides. The verdict mirrors: what is source here is target
 * there. Source: DRBD 8.4 drbd_receiver.c; conformance/vectors/kernel84/uuid-compare.json was recorded from two nodes.
 */
import { type Generations, SYNC_UUID_OFFSET, UUID_JUST_CREATED, uuidIdentity } from './generations.js';

/** `FF_WSAME`: a peer recent enough for rule 41. */
const FEATURE_WSAME = 4;

export interface UuidContext {
  /** This node, or the peer, crashed while it was Primary. */
  readonly selfCrashedPrimary: boolean;
  readonly peerCrashedPrimary: boolean;
  /** Roles now. */
  readonly selfPrimary: boolean;
  readonly peerPrimary: boolean;
  /** This node accepted the meta stream: breaks a tie, differs on the two nodes. */
  readonly resolveConflicts: boolean;
  /** Agreed protocol version and features. */
  readonly apv: number;
  readonly features: number;
}

export interface UuidVerdict {
  /**
   * 0 no resync; +1/-1 source/target by bitmap; +2/-2 source/target of everything; 100 split brain with a common bitmap
   * base; -100 split brain without one; -1000 unrelated data, or `needsProtocol` says why it cannot be decided.
   */
  readonly result: 0 | 1 | -1 | 2 | -2 | 100 | -100 | -1000;
  readonly rule: number;
  /** Sets that turned out to have missed an event, as they should be: this node's is to be kept. */
  readonly selfCorrected?: Generations;
  readonly peerCorrected?: Generations;
  readonly needsProtocol?: number;
  readonly needsFeatures?: number;
  /** Line to log before the verdict (and before the corrected set). */
  readonly log?: string;
  /** With -100 and -1000: who had begun as source of a resync out of a split brain that the other one never learned of. */
  readonly begun?: 'self' | 'peer';
}

type Masked = { readonly c: bigint; readonly b: bigint; readonly h1: bigint; readonly h2: bigint };
const masked = (g: Generations): Masked => ({
  c: uuidIdentity(g.current),
  b: uuidIdentity(g.bitmap),
  h1: uuidIdentity(g.history[0]),
  h2: uuidIdentity(g.history[1]),
});

const isVirgin = (uuid: bigint): boolean => uuid === UUID_JUST_CREATED || uuid === 0n;
const inHistory = (uuid: bigint, of: Masked): boolean => uuid === of.h1 || uuid === of.h2;
const MASK_64 = 0xffff_ffff_ffff_ffffn;
const isSyncUuidOf = (sync: bigint, base: bigint): boolean => sync === uuidIdentity((base + SYNC_UUID_OFFSET) & MASK_64);

/** The resync ended on the other side, but not here: bitmap base to history. */
const finishResync = (g: Generations): Generations => ({ current: g.current, bitmap: 0n, history: [g.bitmap, g.history[0]] });
/** The resync began on the source only: take its sync UUID back. */
const undoResyncStart = (g: Generations): Generations => ({
  current: g.current,
  bitmap: g.history[0],
  history: [g.history[1], g.history[1]],
});
/**
 * So it did, and went its own way when it lost its target, which was Primary too. The verdict is the kernel's; but another sync UUID for each
 * such loss would push the base, and with it all that both know, out of the history: unrelated data.
 */
const isPartedStart = (source: Masked, target: bigint): boolean => source.h2 === target && isSyncUuidOf(source.b, target);
const undoPartedStart = (g: Generations): Generations => ({
  current: g.current,
  bitmap: g.history[1],
  history: [g.history[0], g.history[0]],
});

/**
 * Whether `source` has begun a resync out of a split brain, and its sync UUID never got to `target`, or not onto its disk.
 *
 * Two nodes C and E parted at X; C is to be the source. `+` is the sync UUID's distance, `|` separates current, bitmap UUID, history:
 *
 * | moment                                              | source        | target      | seen by            |
 * |-----------------------------------------------------|---------------|-------------|--------------------|
 * | before                                              | C | X | H     | E | X | H   | rule 90: 100       |
 * | sync UUID drawn, never sent; or sent and lost; or   | C | X+ | X H  | E | X | H   | this: E still says |
 * | taken, and forgotten in a power cut                 |               |             | that it is at X    |
 * | the same, and the source went its own way since     | D | X+ | C X  | E | X | H   | this               |
 * | taken, whether the source knows it or not           | C | X+ | X H  | X+ | 0 | H  | rules 50, 70       |
 * | taken, and its node promoted by force               | C | X+ | X H  | F | X+ | H  | rule 90: 100       |
 * | through, whether the source knows it or not         | C | X+ | X H  | C | 0 | X+ X| rules 34, 35       |
 *
 * Who has taken a sync UUID has no bitmap UUID, and gets X back by nothing but forgetting. So X in its place proves that no block was asked
 * for, as nothing is before the sync UUID is on the target's disk. Then the bitmaps still say, as before, what was changed since X, and the
 * same sync UUID may be sent again. A new one each time would push X, and the ancestors, out of the history: unrelated data.
 */
export const hasBegun = (source: Generations, target: Generations): boolean => begunTo(masked(source), masked(target));
const begunTo = (source: Masked, target: Masked): boolean =>
  target.b !== 0n && inHistory(target.b, source) && isSyncUuidOf(source.b, target.b);

const tooOld = (rule: number): UuidVerdict => ({ result: -1000, rule, needsProtocol: 91 });

/** @param self - this node's set; @param peer - the peer's, as received */
export function compareUuids(self: Generations, peer: Generations, ctx: UuidContext): UuidVerdict {
  const s = masked(self);
  const p = masked(peer);
  if (s.c === UUID_JUST_CREATED && p.c === UUID_JUST_CREATED) return { result: 0, rule: 10 };
  if (isVirgin(s.c) && p.c !== UUID_JUST_CREATED) return { result: -2, rule: 20 };
  if (s.c !== UUID_JUST_CREATED && isVirgin(p.c)) return { result: 2, rule: 30 };
  if (s.c === p.c) return compareEqualCurrents(self, peer, s, p, ctx);
  if (s.c === p.b) return { result: -1, rule: 50 };
  if (s.c === p.h1 && (ctx.apv < 96 ? s.h1 === p.h2 : isSyncUuidOf(p.b, p.h1))) {
    if (ctx.apv < 91) return tooOld(51);
    return { result: -1, rule: 51, peerCorrected: undoResyncStart(peer), log: 'Lost last syncUUID packet, corrected:' };
  }
  if (inHistory(s.c, p)) return { result: -2, rule: 60, ...(isPartedStart(p, s.c) && { peerCorrected: undoPartedStart(peer) }) };
  if (s.b === p.c) return { result: 1, rule: 70 };
  if (s.h1 === p.c && (ctx.apv < 96 ? s.h2 === p.h1 : isSyncUuidOf(s.b, s.h1))) {
    if (ctx.apv < 91) return tooOld(71);
    return { result: 1, rule: 71, selfCorrected: undoResyncStart(self), log: 'Last syncUUID did not get through, corrected:' };
  }
  if (inHistory(p.c, s)) return { result: 2, rule: 80, ...(isPartedStart(s, p.c) && { selfCorrected: undoPartedStart(self) }) };
  if (s.b === p.b && s.b !== 0n) return { result: 100, rule: 90 };
  // Unused slots are zero on both sides and count as common: two young devices are a split brain, not unrelated.
  const result = inHistory(s.h1, p) || inHistory(s.h2, p) ? -100 : -1000;
  const begun = begunTo(s, p) ? 'self' : begunTo(p, s) ? 'peer' : undefined;
  return { result, rule: 100, ...(begun !== undefined && { begun }) };
}

/** Rules 34 to 41: the same generation on both sides. */
function compareEqualCurrents(self: Generations, peer: Generations, s: Masked, p: Masked, ctx: UuidContext): UuidVerdict {
  if (p.b === 0n && s.b !== 0n) {
    if (ctx.apv < 91) return tooOld(34);
    if (s.b === p.h1 && s.h1 === p.h2) {
      const log = 'was SyncSource, missed the resync finished event, corrected myself:';
      return { result: 1, rule: 34, selfCorrected: finishResync(self), log };
    }
    return { result: 1, rule: 36, log: 'was SyncSource (peer failed to write sync_uuid)' };
  }
  if (s.b === 0n && p.b !== 0n) {
    if (ctx.apv < 91) return tooOld(35);
    if (s.h1 === p.b && s.h2 === p.h1) {
      const log = 'was SyncTarget, peer missed the resync finished event, corrected peer:';
      return { result: -1, rule: 35, peerCorrected: finishResync(peer), log };
    }
    return { result: -1, rule: 37, log: 'was SyncTarget (failed to write sync_uuid)' };
  }
  const { selfCrashedPrimary, peerCrashedPrimary, selfPrimary, peerPrimary } = ctx;
  if (!selfCrashedPrimary && !peerCrashedPrimary) return { result: 0, rule: 40 };
  if (selfPrimary || peerPrimary) {
    if ((ctx.features & FEATURE_WSAME) === 0) {
      const log = 'Equivalent unrotated UUIDs, but current primary present.';
      return { result: -1000, rule: 41, needsProtocol: 101, needsFeatures: FEATURE_WSAME, log };
    }
    if (selfPrimary && peerPrimary) {
      return { result: -100, rule: 41, log: 'Equivalent unrotated UUIDs, but both are primary. Can not resolve this.' };
    }
    return { result: selfPrimary ? 1 : -1, rule: 41 };
  }
  if (selfCrashedPrimary && peerCrashedPrimary) return { result: ctx.resolveConflicts ? -1 : 1, rule: 40 };
  return { result: selfCrashedPrimary ? 1 : -1, rule: 40 };
}
