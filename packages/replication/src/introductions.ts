/** What two nodes tell each other about a connection and its volumes, and what follows (wire protocol: handshake). */
import {
  AFTER_SB,
  CF,
  convertAfterSb,
  DDSF,
  decodeStruct,
  isStateValid,
  P_PROTOCOL,
  P_RS_PARAM_89,
  P_SIZES,
  P_STATE,
  P_UUIDS,
  type PProtocol,
  type PSizes,
  readName,
  refusalText,
  stateFromWire,
  UUID_FLAG,
  unpackState,
} from '@udrbd/wire';
import { continueBitmapSend } from './bitmap-exchange.js';
import type { Connection } from './connection.js';
import { DIGEST_NONE, DIGEST_UNKNOWN, digestNumber } from './digests.js';
import { lacksOurs } from './disk-errors.js';
import { peerReturns } from './fencing.js';
import { durably, keepGenerations, takePartingBack } from './generation-changes.js';
import { UUID_JUST_CREATED, uuidEqual } from './generations.js';
import { hasKept, markKept, sendKeptAgain } from './kept-writes.js';
import { disconnectForGood, tellState } from './link.js';
import { syncMetaData } from './meta-data-io.js';
import { sendSizes, sendState, sendUuids } from './packets.js';
import type { PeerDevice } from './peer-device.js';
import { beginResize, type ResizeOutcome, resyncNewStorage } from './resize.js';
import type { Resource } from './resource.js';
import { finishResync, resyncLeft, setAllBits } from './resync.js';
import { takeSize } from './size.js';
import { newDeviceSize, type SizeDecision } from './size-rule.js';
import { changePeerDevice, changeVolume } from './state-change.js';
import { CONN, type ConnNumber, DISK, type DiskNumber, ROLE, type RoleNumber, type StateView } from './state-view.js';
import { syncHandshake } from './sync-handshake.js';
import { verifyPeerDone } from './verify.js';

const PROTOCOL_LETTERS = ['', 'A', 'B', 'C'] as const;

/** P_PROTOCOL: both nodes have to be configured alike. */
export function receiveProtocol(
  res: Resource,
  c: Connection,
  view: DataView,
  base: number,
  length: number,
  update: boolean,
): string | undefined {
  const decoded = decodeStruct(P_PROTOCOL, view, base, base + length);
  if (!decoded.ok) return refusalText(decoded.error);
  const integrity = readName(view, base + P_PROTOCOL.size, length - P_PROTOCOL.size);
  if (integrity === undefined) return 'P_PROTOCOL: algorithm name is not terminated';
  const p = decoded.value;
  if (update) return adoptProtocol(res, c, p, integrity);
  c.protocolSeen = true;
  const mismatch = protocolMismatch(c, p, integrity);
  if (mismatch !== undefined) {
    res.logConnection('err', c, `incompatible ${mismatch} settings`);
    disconnectForGood(res, c);
    return undefined;
  }
  c.receiveDigest = digestNumber(integrity);
  c.peerDiscardMyData = (p.conn_flags & CF.DISCARD_MY_DATA) !== 0;
  c.peerTentative = (p.conn_flags & CF.DRY_RUN) !== 0;
  return undefined;
}

function protocolMismatch(c: Connection, p: PProtocol, integrity: string): string | undefined {
  const o = c.options;
  if (PROTOCOL_LETTERS[p.protocol] !== o.protocol) return 'protocol';
  if (convertAfterSb(p.after_sb_0p) !== AFTER_SB[o['after-sb-0pri']]) return 'after-sb-0pri';
  if (convertAfterSb(p.after_sb_1p) !== AFTER_SB[o['after-sb-1pri']]) return 'after-sb-1pri';
  if (convertAfterSb(p.after_sb_2p) !== AFTER_SB[o['after-sb-2pri']]) return 'after-sb-2pri';
  if (p.two_primaries !== (o['allow-two-primaries'] ? 1 : 0)) return 'allow-two-primaries';
  if (integrity !== o['data-integrity-alg']) return 'data-integrity-alg';
  return undefined;
}

/** P_PROTOCOL_UPDATE: the peer changed its net options while connected; from here on ours are the same. */
function adoptProtocol(res: Resource, c: Connection, p: PProtocol, integrity: string): string | undefined {
  const letter = PROTOCOL_LETTERS[p.protocol];
  if (letter === undefined || letter === '') return 'P_PROTOCOL_UPDATE: unknown protocol';
  const digest = digestNumber(integrity);
  if (digest === DIGEST_UNKNOWN) {
    res.logConnection('err', c, `peer data-integrity-alg ${integrity} not supported`);
    disconnectForGood(res, c);
    return undefined;
  }
  if (digest !== c.receiveDigest) {
    res.logConnection('info', c, `peer data-integrity-alg: ${integrity === '' ? '<not-used>' : integrity}`);
    c.receiveDigest = digest;
  }
  const name = (value: number): string | undefined => Object.entries(AFTER_SB).find(([, v]) => v === convertAfterSb(value))?.[0];
  c.options = {
    ...c.options,
    protocol: letter,
    'after-sb-0pri': (name(p.after_sb_0p) ?? c.options['after-sb-0pri']) as (typeof c.options)['after-sb-0pri'],
    'after-sb-1pri': (name(p.after_sb_1p) ?? c.options['after-sb-1pri']) as (typeof c.options)['after-sb-1pri'],
    'after-sb-2pri': (name(p.after_sb_2p) ?? c.options['after-sb-2pri']) as (typeof c.options)['after-sb-2pri'],
    'allow-two-primaries': p.two_primaries !== 0,
  };
  c.wireProtocol = p.protocol;
  res.stateChanged();
  return undefined;
}

/** P_SYNC_PARAM89. The controller's values of the peer are not taken over: two nodes would swap their settings. */
export function receiveSyncParam(res: Resource, pd: PeerDevice, view: DataView, base: number, length: number): string | undefined {
  const decoded = decodeStruct(P_RS_PARAM_89, view, base, base + length);
  if (!decoded.ok) return refusalText(decoded.error);
  const { verify_alg, csums_alg } = decoded.value;
  const c = pd.connection;
  c.peerVerifyAlg = verify_alg;
  for (const [name, peer] of [
    ['verify-alg', verify_alg],
    ['csums-alg', csums_alg],
  ] as const) {
    const own = c.options[name];
    if (own === peer) continue;
    if (pd.conn === CONN.WFReportParams) {
      res.log('err', pd.volume, pd, `Different ${name} settings. me="${own}" peer="${peer}"`);
      disconnectForGood(res, c);
      return undefined;
    }
    // The peer's administrator changed it while connected: from here on ours is the same. To none it is not changed.
    const digest = digestNumber(peer);
    if (digest === DIGEST_NONE) continue;
    if (digest === DIGEST_UNKNOWN) {
      res.log('err', pd.volume, pd, `Can not allocate "${peer}" as ${name} (reason=-2)`);
      disconnectForGood(res, c);
      return undefined;
    }
    c.options = { ...c.options, [name]: peer };
    res.log('info', pd.volume, pd, `using ${name}: "${peer}"`);
    res.stateChanged();
  }
  return undefined;
}

/** P_SIZES: both nodes export the same size. */
export function receiveSizes(res: Resource, pd: PeerDevice, view: DataView, base: number, length: number): string | undefined {
  const decoded = decodeStruct(P_SIZES, view, base, base + length);
  if (!decoded.ok) return refusalText(decoded.error);
  const { d_size, u_size, c_size, dds_flags } = decoded.value;
  const { volume } = pd;
  pd.peerDiskSectors = d_size;
  pd.peerConfiguredSectors = u_size;
  // It has no generations that could be told.
  if (pd.owesState && d_size === 0) tellState(res, pd);
  const told = { d_size, u_size, c_size, dds_flags };
  const { disk } = volume;
  if (disk === undefined || volume.diskState < DISK.Negotiating) return withoutDisk(res, pd, told);
  warnIfFar(res, pd, 'lower level device sizes', d_size, disk.usableSectors);
  warnIfFar(res, pd, 'user requested size', u_size, disk.options.size);
  const isConnected = pd.conn > CONN.WFReportParams;
  // Without a size of its own the peer asks for ours: an administrator has said `resize` there.
  // It was asked of the disk that was here before: the peer compares with the size that we told it of this one.
  const isRequest = isConnected && c_size === 0 && volume.diskState !== DISK.Negotiating;
  const sent = pd.resizeSent;
  // Both administrators have spoken: the word of one of the nodes holds, and the other one follows.
  if (isRequest && sent !== undefined && pd.connection.resolveConflicts) return undefined;
  const answered = c_size === 0 ? undefined : sent;
  const hasGrownBefore = sent?.hasGrown === true;
  const configured = isRequest || answered !== undefined ? u_size : smallestSet(disk.options.size, u_size);
  // Growing is an administrator's decision: a larger pair of disks alone changes nothing.
  const most = isRequest || volume.sizeSectors === 0 ? Number.POSITIVE_INFINITY : Math.max(volume.sizeSectors, c_size);
  const decide = (own: number): SizeDecision => {
    const decision = newDeviceSize({
      own,
      peer: d_size,
      lastAgreed: disk.metaData.effective_size,
      configured,
      connected: true,
      forced: false,
    });
    return { ...decision, sizeSectors: Math.min(decision.sizeSectors, most) };
  };
  const { sizeSectors } = decide(disk.usableSectors);
  const mustNotShrink = volume.diskState >= DISK.Outdated && (pd.conn < CONN.Connected || pd.peerDisk === DISK.Diskless);
  if (sizeSectors < volume.sizeSectors && mustNotShrink) {
    res.log('err', volume, pd, `The peer's disk size is too small! (${sizeSectors} < ${volume.sizeSectors} sectors)`);
    disconnectForGood(res, pd.connection);
    return undefined;
  }
  if (configured !== disk.options.size) {
    res.log('info', volume, pd, `Peer sets u_size to ${configured} sectors (old: ${disk.options.size})`);
    disk.options = { ...disk.options, size: configured };
    res.stateChanged();
  }
  pd.resizeSent = undefined;
  if (!isRequest && sizeSectors === disk.bitmap.sizeSectors && sizeSectors === disk.metaData.effective_size) {
    for (const line of decide(disk.usableSectors).logs) res.log(line.level, volume, pd, line.text);
    sizeFollowed(res, pd, told, hasGrownBefore, answered?.role, { before: sizeSectors, after: sizeSectors, isDeviceChanged: false });
    return undefined;
  }
  const link = pd.connection.linkNumber;
  const noResync = (dds_flags & DDSF.NO_RESYNC) !== 0;
  beginResize(res, volume, {
    measures: isRequest,
    setNew: !noResync,
    // A device that has become too small is no reason to give up data.
    decide: (own) => (own < volume.sizeSectors && own < disk.usableSectors ? decide(disk.usableSectors) : decide(own)),
    done: (outcome) => {
      if (pd.connection.linkNumber === link && pd.connection.isUp) sizeFollowed(res, pd, told, hasGrownBefore, answered?.role, outcome);
    },
  });
  return undefined;
}

type ToldSizes = Pick<PSizes, 'd_size' | 'u_size' | 'c_size' | 'dds_flags'>;

/** The size of a node without a disk is the peer's. */
function withoutDisk(res: Resource, pd: PeerDevice, { d_size, u_size, c_size, dds_flags }: ToldSizes): string | undefined {
  const { volume } = pd;
  // `resize` there: the node with the disk decides, and tells. DRBD 8.4 takes all of the peer's disk, which exports less.
  const isRequest = pd.conn > CONN.WFReportParams && c_size === 0;
  const size = isRequest && volume.sizeSectors > 0 ? 0 : c_size || u_size || d_size;
  if (size > 0 && !(volume.sizeSectors > 0 && d_size === 0)) {
    if (size < volume.sizeSectors && res.role === ROLE.Primary) {
      res.log('err', volume, pd, `The peer's device size is too small! (${size} < ${volume.sizeSectors} sectors); demote me first!`);
      disconnectForGood(res, pd.connection);
      return undefined;
    }
    takeSize(res, volume, size);
  }
  if (isRequest) sendSizes(res, pd, volume.sizeSectors, dds_flags);
  return undefined;
}

/** Our size is what it is to be after the peer's P_SIZES: answer, and copy what is new. */
function sizeFollowed(
  res: Resource,
  pd: PeerDevice,
  told: ToldSizes,
  hasGrownBefore: boolean,
  askedAs: RoleNumber | undefined,
  { before, after, isDeviceChanged }: ResizeOutcome,
): void {
  const { volume } = pd;
  if (pd.conn <= CONN.WFReportParams) return;
  const isNews = told.c_size !== volume.sizeSectors || isDeviceChanged;
  if (isNews && (told.d_size > 0 || told.c_size === 0)) sendSizes(res, pd, volume.sizeSectors, told.dds_flags);
  const hasGrown = (after > before && before > 0) || hasGrownBefore;
  if (!hasGrown || pd.conn < CONN.Connected || pd.peerDisk < DISK.Inconsistent || volume.diskState < DISK.Inconsistent) return;
  if ((told.dds_flags & DDSF.NO_RESYNC) !== 0) {
    res.log('info', volume, pd, 'Resync of new storage suppressed with --assume-clean');
  } else resyncNewStorage(res, pd, askedAs ?? res.role);
}

/** More than an eighth apart. */
function warnIfFar(res: Resource, pd: PeerDevice, what: string, peer: number, own: number): void {
  if (peer === 0 || own === 0 || Math.abs(peer - own) <= Math.floor(Math.min(peer, own) / 8)) return;
  res.log('warning', pd.volume, pd, `Considerable difference in ${what}: ${peer}s vs. ${own}s`);
}

const smallestSet = (a: number, b: number): number => (a === 0 ? b : b === 0 ? a : Math.min(a, b));

/** P_UUIDS. */
export function receiveUuids(res: Resource, pd: PeerDevice, view: DataView, base: number, length: number): string | undefined {
  const decoded = decodeStruct(P_UUIDS, view, base, base + length);
  if (!decoded.ok) return refusalText(decoded.error);
  const p = decoded.value;
  const { volume } = pd;
  const wasDiskless = pd.conn < CONN.Connected || pd.peerDisk === DISK.Diskless;
  pd.peerUuids = {
    generations: { current: p.current, bitmap: p.bitmap, history: [p.history0, p.history1] },
    dirtyBits: Number(p.dirty_bits),
    flags: p.flags,
  };
  if (volume.peerHasGeneration(p.current)) res.wantSettle();
  if (res.role !== ROLE.Primary) pd.lacksOurs = false;
  const isOld = lacksOurs(pd) && uuidEqual(volume.exposedUuid, p.current);
  const isOther = isOld || !volume.mayConnectTo(pd.peerUuids.generations);
  if (wasDiskless && volume.diskState < DISK.Inconsistent && res.role === ROLE.Primary && isOther) {
    res.log('err', volume, pd, `Can only connect to data with current UUID=${hex(volume.exposedUuid)}`);
    disconnectForGood(res, pd.connection);
    return undefined;
  }
  if (pd.owesState) tellState(res, pd);
  const md = volume.disk?.metaData;
  if (volume.diskState < DISK.Negotiating || md === undefined) {
    // A connected peer whose own data are bad or old has none for what is above us, whatever it tells.
    const isBehind = pd.peerDisk >= DISK.Inconsistent && pd.peerDisk < DISK.UpToDate;
    const isOurs = pd.conn < CONN.Connected || !isBehind || res.role !== ROLE.Primary;
    if (isOurs && !uuidEqual(volume.exposedUuid, p.current)) volume.expose(p.current);
    return undefined;
  }
  const skips =
    pd.conn === CONN.Connected && uuidEqual(md.current_uuid, UUID_JUST_CREATED) && (p.flags & UUID_FLAG.SKIP_INITIAL_SYNC) !== 0n;
  if (skips) {
    res.log('info', volume, pd, 'Accepted new current UUID, preparing to skip initial sync');
    volume.disk!.bitmap.clearAll(pd.bitmapSlot);
    const g = volume.generationsFor(pd);
    keepGenerations(res, volume, pd, { ...g, current: p.current, bitmap: 0n });
    res.writeWholeBitmap(volume);
    changePeerDevice(res, pd, { disk: DISK.UpToDate, peerDisk: DISK.UpToDate }, { hard: true });
    durably(res, volume);
  }
  return undefined;
}

const hex = (uuid: bigint): string => uuid.toString(16).toUpperCase().padStart(16, '0');

/** P_STATE, the moment of decision: who has the better data, and whether we may be connected at all. */
export function receiveState(res: Resource, pd: PeerDevice, view: DataView, base: number, length: number): string | undefined {
  const decoded = decodeStruct(P_STATE, view, base, base + length);
  if (!decoded.ok) return refusalText(decoded.error);
  const c = pd.connection;
  if (!isStateValid(decoded.value.state, c.apv)) return `bad state 0x${decoded.value.state.toString(16)}`;
  const peer = unpackState(stateFromWire(decoded.value.state, c.apv));
  const { volume } = pd;
  if (pd.owesState) tellState(res, pd);
  let old = res.view(volume, pd);
  if (old.conn <= CONN.TearDown) return undefined;
  if (old.conn === CONN.WFReportParams && awaitsVerdict(old, peer)) return undefined;
  let peerDisk = peer.disk as DiskNumber;
  if ((old.conn === CONN.SyncSource || old.conn === CONN.PausedSyncS) && peer.conn === CONN.Ahead && peerDisk === DISK.UpToDate) {
    // The target was through, and pulled ahead before we had noticed.
    finishResync(res, pd);
    old = res.view(volume, pd);
  }
  if (peerDisk === DISK.Negotiating) {
    // Both attach at once: what it told before we had a disk is forgotten, and told again when it hears that we have one.
    if (pd.peerUuids === undefined && old.disk === DISK.Negotiating) return undefined;
    if (pd.peerUuids === undefined) return 'state Negotiating without generations';
    peerDisk = (pd.peerUuids.flags & UUID_FLAG.INCONSISTENT) !== 0n ? DISK.Inconsistent : DISK.Consistent;
  }
  if (pd.skippedSync && peerDisk === DISK.Inconsistent && peer.pdsk !== DISK.UpToDate) peerDisk = DISK.UpToDate;
  const isSource = old.conn === CONN.SyncSource || old.conn === CONN.PausedSyncS;
  if (
    (old.peerDisk === DISK.Inconsistent || old.peerDisk === DISK.Consistent) &&
    peerDisk === DISK.UpToDate &&
    old.conn > CONN.Connected &&
    old.disk === DISK.UpToDate
  ) {
    if (peer.conn > CONN.Connected && peer.conn < CONN.SyncSource) peerDisk = DISK.Inconsistent;
    else if (old.conn >= CONN.SyncSource && peer.conn === CONN.Connected) {
      // All its acks have been here: it has pinged on their stream before it tells its state.
      if (isSource && resyncLeft(pd) === 0) finishResync(res, pd);
      else if (isSource) pd.targetIsThrough = true;
      return undefined;
    }
  }
  if (old.conn === CONN.VerifyT && old.disk === DISK.UpToDate && peer.conn === CONN.Connected && peerDisk === DISK.UpToDate) {
    verifyPeerDone(res, pd);
    return undefined;
  }
  let conn: ConnNumber = old.conn === CONN.WFReportParams ? CONN.Connected : old.conn;
  if (peer.conn === CONN.Ahead) conn = CONN.Behind;
  // The target gave up with blocks that failed: it waits for nothing more.
  if (isSource && peer.conn === CONN.Connected && peerDisk === DISK.Inconsistent && pd.resync !== undefined && pd.resync.failedBits > 0) {
    pd.resync = undefined;
    conn = CONN.Connected;
  }
  let ownDisk = old.disk;
  if (
    pd.peerUuids !== undefined &&
    peerDisk >= DISK.Negotiating &&
    old.disk >= DISK.Negotiating &&
    wantsHandshake(pd, old.conn, old.disk, peer)
  ) {
    // A peer that attached has not seen ours yet, and has to come to the same verdict.
    if (peer.disk === DISK.Negotiating && old.conn === CONN.Connected) pd.comparedGenerations = volume.generationsFor(pd);
    const { next, isRoleConflict } = handshake(res, pd, peer.role as RoleNumber, peerDisk);
    if (next !== undefined) conn = next;
    else if (old.disk === DISK.Negotiating) {
      changeVolume(res, volume, { disk: DISK.Failed }, { hard: true });
      conn = CONN.Connected;
      ownDisk = volume.diskState;
    } else if (peer.disk === DISK.Negotiating) {
      res.log('err', volume, pd, 'Disk attach process on the peer node was aborted.');
      peerDisk = DISK.Diskless;
      conn = CONN.Connected;
    } else if (c.peerTentative && !c.tentative) {
      // The peer has seen what it wanted to see; it may come back in earnest.
      res.closeLink(c, 'protocol-error');
      return undefined;
    } else {
      partOver(res, c, isRoleConflict);
      return undefined;
    }
  }
  pd.considerResync = false;
  if (old.conn === CONN.WFReportParams && pd.keepsWrites && !isSamePrimary(pd, peer)) {
    const isLost = conn === CONN.Connected && hasKept(res, pd);
    markKept(res, pd);
    if (isLost) {
      // As marked blocks of a generation that the peer does not know: in the next conversation.
      res.log('err', volume, pd, 'Aborting Connect, can not thaw IO with a peer that was not Primary all the time');
      res.closeLink(c, 'network-failure');
      return undefined;
    }
  } else if (pd.keepsWrites && conn !== CONN.Connected) markKept(res, pd);
  // A state packet that was on its way when we attached decides nothing: the peer's generations have not been seen yet.
  if ((conn === CONN.Connected || conn === CONN.WFBitMapS) && ownDisk === DISK.Negotiating && pd.peerUuids !== undefined) {
    ownDisk = volume.stateAfterAttach;
  }
  const isConnecting = old.conn < CONN.Connected && conn >= CONN.Connected;
  const wanted = {
    conn,
    disk: ownDisk,
    peerRole: peer.role as RoleNumber,
    peerDisk,
    resyncSuspPeer: peer.aftr_isp !== 0 || peer.user_isp !== 0,
  };
  const result = changePeerDevice(res, pd, wanted, { hard: !isConnecting, verbose: true });
  if (result !== 'SS_SUCCESS' && result !== 'SS_NOTHING_TO_DO') {
    partOver(res, c, result === 'SS_TWO_PRIMARIES');
    return undefined;
  }
  if (pd.keepsWrites && isConnecting) sendKeptAgain(res, pd);
  if (
    old.conn > CONN.WFReportParams &&
    pd.conn > CONN.Connected &&
    peer.conn <= CONN.Connected &&
    peer.disk !== DISK.Negotiating &&
    pd.conn !== old.conn
  ) {
    // We want a resync that the peer has not decided on yet: a node was made Primary by force.
    sendUuids(res, pd);
    sendState(res, pd);
  }
  if (isConnecting || old.disk === DISK.Negotiating) {
    c.discardMyData = false;
    pd.stateSent = false;
    syncMetaData(res, volume);
  }
  pd.comparedGenerations = undefined;
  continueBitmapSend(res, pd);
  return undefined;
}

/**
 * Whether our disk, which may be old, meets a Primary without one: only that one knows whether these are its data. It says so by being
 * connected, in its next state packet; otherwise it closes the link, and the disk stays what it is.
 */
const awaitsVerdict = (old: StateView, peer: { readonly role: number; readonly disk: number; readonly conn: number }): boolean =>
  (old.disk === DISK.Outdated || old.disk === DISK.Consistent) &&
  peer.role === ROLE.Primary &&
  peer.disk < DISK.Inconsistent &&
  peer.conn < CONN.Connected;

/** A Primary that has been one since the link broke: one that crashed says so, and one that was promoted since has a generation of its own. */
const isSamePrimary = (pd: PeerDevice, peer: { readonly role: number; readonly disk: number }): boolean =>
  peer.role === ROLE.Primary && peer.disk === DISK.UpToDate && ((pd.peerUuids?.flags ?? 0n) & UUID_FLAG.CRASHED_PRIMARY) === 0n;

/** The two cannot be connected: for good, or until their roles have changed. */
function partOver(res: Resource, c: Connection, isRoleConflict: boolean): void {
  if (!isRoleConflict || c.options['rr-conflict'] !== 'retry-connect') return disconnectForGood(res, c);
  c.retryAfterMs = 1000;
  res.closeLink(c, 'network-failure');
}

function wantsHandshake(
  pd: PeerDevice,
  conn: ConnNumber,
  disk: DiskNumber,
  peer: { readonly conn: number; readonly disk: number },
): boolean {
  if (conn < CONN.Connected || pd.considerResync) return true;
  if (conn !== CONN.Connected) return false;
  return disk === DISK.Negotiating || peer.disk === DISK.Negotiating || (peer.conn >= CONN.StartingSyncS && peer.conn <= CONN.WFBitMapT);
}

interface Verdict {
  /** The new connection state, or undefined when the two cannot go together. */
  readonly next: ConnNumber | undefined;
  readonly isRoleConflict: boolean;
}

function handshake(res: Resource, pd: PeerDevice, peerRole: RoleNumber, peerDisk: DiskNumber): Verdict {
  const { volume } = pd;
  const c = pd.connection;
  const uuids = pd.peerUuids!;
  const slot = pd.bitmapSlot;
  peerReturns(res, volume);
  const self = volume.generationsFor(pd);
  const outcome = syncHandshake({
    self,
    peer: uuids.generations,
    role: res.role,
    peerRole,
    disk: volume.diskState,
    diskAfterAttach: volume.stateAfterAttach,
    peerDisk,
    selfCrashedPrimary: volume.crashedPrimary,
    peerCrashedPrimary: (uuids.flags & UUID_FLAG.CRASHED_PRIMARY) !== 0n,
    selfBits: slot < 0 ? 0 : volume.disk!.bitmap.weight(slot),
    peerBits: uuids.dirtyBits,
    peerFlags: Number(uuids.flags),
    discardMyData: c.discardMyData,
    peerDiscardMyData: (uuids.flags & UUID_FLAG.DISCARD_MY_DATA) !== 0n,
    tentative: c.tentative || c.peerTentative,
    resolveConflicts: c.resolveConflicts,
    apv: c.apv,
    features: c.features,
    isPeerGenuine: c.isPeerGenuine,
    policies: {
      afterSb0pri: c.options['after-sb-0pri'],
      afterSb1pri: c.options['after-sb-1pri'],
      afterSb2pri: c.options['after-sb-2pri'],
      rrConflict: c.options['rr-conflict'],
      alwaysAsbp: c.options['always-asbp'],
    },
  });
  for (const line of outcome.logs) res.log(line.level, volume, pd, line.text);
  for (const name of outcome.handlers) res.helper(name, volume, c);
  if (outcome.self !== self) {
    keepGenerations(res, volume, pd, outcome.self);
    // Equal generations again, although what we wrote since is on our disk alone: two nodes that stop before the resync has begun have to
    // tell by something else who copies.
    if (outcome.conn === CONN.WFBitMapS && pd.bitmapSlot >= 0 && volume.disk!.bitmap.weight(pd.bitmapSlot) > 0)
      volume.crashedPrimary = true;
  }
  uuids.generations = outcome.peer;
  if (outcome.kind === 'abort' && outcome.verdict.begun === 'self') takePartingBack(res, volume, uuids.generations.bitmap);
  if (outcome.kind === 'abort') return { next: undefined, isRoleConflict: outcome.isRoleConflict };
  if (outcome.setAllBits) setAllBits(res, pd, () => continueBitmapSend(res, pd));
  return { next: outcome.conn, isRoleConflict: false };
}
