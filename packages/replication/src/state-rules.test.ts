import { MDF, MDF_PEER } from '@udrbd/metadata';
import t from 'tap';
import {
  hardTransition,
  IMPLIED,
  type JudgeContext,
  judge,
  lostContactToPeerData,
  needsAgreement,
  persistentFlags,
  sanitise,
  softTransition,
  stateEqual,
  validity,
  wouldReplicate,
  wouldSendOutOfSync,
} from './state-rules.js';
import { CONN, type ConnNumber, DISK, type DiskNumber, ROLE, type RoleNumber, STATE_VIEW_INITIAL, type StateView } from './state-view.js';

const CTX: JudgeContext = {
  fencing: 'dont-care',
  onNoData: 'io-error',
  negotiated: undefined,
  lacksBlocks: false,
  twoPrimariesAllowed: false,
  otherVolumePeerPrimary: false,
  openCount: 0,
  verifyAlg: '',
  apv: 101,
  handshakeInProgress: false,
};
const { Primary, Secondary, Unknown } = ROLE;
const at = (
  role: RoleNumber,
  peerRole: RoleNumber,
  conn: ConnNumber,
  disk: DiskNumber,
  peerDisk: DiskNumber,
  more: Partial<StateView> = {},
): StateView => ({ ...STATE_VIEW_INITIAL, role, peerRole, conn, disk, peerDisk, ...more });

const CONNECTED = at(Secondary, Secondary, CONN.Connected, DISK.UpToDate, DISK.UpToDate);
const ALONE = at(Secondary, Unknown, CONN.StandAlone, DISK.UpToDate, DISK.DUnknown);

t.test('what a change implies', async (t) => {
  const lost = sanitise({ ...CONNECTED, peerRole: Primary }, { ...CONNECTED, peerRole: Primary, conn: CONN.NetworkFailure }, CTX).state;
  t.match(lost, { peerRole: Unknown, peerDisk: DISK.DUnknown });
  const stillBad = sanitise(CONNECTED, { ...CONNECTED, conn: CONN.Timeout, peerDisk: DISK.Inconsistent }, CTX).state;
  t.equal(stillBad.peerDisk, DISK.Inconsistent, 'what is known to be bad stays known');

  const syncing = at(Primary, Secondary, CONN.SyncSource, DISK.UpToDate, DISK.Inconsistent);
  const aborted = sanitise(syncing, { ...syncing, disk: DISK.Failed }, CTX);
  t.equal(aborted.state.conn, CONN.Connected);
  t.strictSame(aborted.warnings, ['Resync aborted.']);

  const outdated = { ...CONNECTED, conn: CONN.WFReportParams, disk: DISK.Outdated, peerDisk: DISK.DUnknown };
  t.equal(sanitise(outdated, { ...outdated, conn: CONN.Connected, peerDisk: DISK.UpToDate }, CTX).state.disk, DISK.UpToDate);
  t.equal(sanitise(outdated, { ...outdated, conn: CONN.WFBitMapT, peerDisk: DISK.UpToDate }, CTX).state.disk, DISK.Outdated);
  const waiting = at(Secondary, Primary, CONN.WFSyncUUID, DISK.Outdated, DISK.UpToDate);
  const givenUp = sanitise(waiting, { ...waiting, peerDisk: DISK.Failed }, CTX).state;
  t.match(givenUp, { conn: CONN.Connected, disk: DISK.Outdated }, 'a sync target that got nothing is still old');
  const source = at(Primary, Secondary, CONN.WFBitMapS, DISK.UpToDate, DISK.Consistent);
  t.equal(sanitise(source, { ...source, disk: DISK.Failed }, CTX).state.peerDisk, DISK.Consistent);
  const target = sanitise(CONNECTED, { ...CONNECTED, conn: CONN.SyncTarget }, CTX).state;
  t.match(target, { disk: DISK.Inconsistent, peerDisk: DISK.UpToDate });
  const upgraded = sanitise(CONNECTED, { ...CONNECTED, conn: CONN.StartingSyncS, disk: DISK.Inconsistent }, CTX);
  t.strictSame(upgraded.warnings, ['Implicitly upgraded disk']);

  const fenced = { ...CTX, fencing: 'resource-and-stonith' } as const;
  const primary = { ...CONNECTED, role: Primary };
  const frozen = sanitise(primary, { ...primary, conn: CONN.NetworkFailure }, fenced).state;
  t.equal(frozen.suspFencing, true);
  t.equal(sanitise(frozen, { ...frozen, suspFencing: false }, fenced).state.suspFencing, false, 'only the moment of the loss freezes');
  const noData = { ...CTX, onNoData: 'suspend-io' } as const;
  t.equal(sanitise(primary, { ...primary, conn: CONN.Timeout, disk: DISK.Failed }, noData).state.suspNoData, true);

  const paused = sanitise(syncing, { ...syncing, resyncSuspPeer: true }, CTX).state;
  t.equal(paused.conn, CONN.PausedSyncS);
  t.equal(sanitise(paused, { ...paused, resyncSuspPeer: false }, CTX).state.conn, CONN.SyncSource);

  const negotiating = { ...CONNECTED, disk: DISK.Negotiating };
  const gone = { ...negotiating, conn: CONN.NetworkFailure };
  t.match(sanitise(negotiating, gone, CTX), { state: { disk: DISK.Diskless }, warnings: ['Connection lost while negotiating, no data!'] });
  const negotiated = { disk: DISK.Consistent, peerDisk: DISK.DUnknown };
  t.equal(sanitise(negotiating, gone, { ...CTX, negotiated }).state.disk, DISK.Consistent);
});

t.test('the order of the implied changes is part of the rule', async (t) => {
  t.strictSame(
    IMPLIED.map((rule) => rule.name),
    [
      'without a connection nothing is known of the peer but that its data is bad',
      'an unconfigured device waits for no other one',
      'losing a disk ends a resync or verify',
      'losing the connection ends the negotiation of a disk',
      'Consistent and Outdated vanish on connect',
      'disks fit the connection state',
      'a Primary freezes until its lost peer is fenced',
      'a Primary freezes when it lost all data',
      'pause flags pause a resync',
    ],
  );
});

const everyState = function* (): Generator<StateView> {
  for (const role of [Primary, Secondary] as const)
    for (const peerRole of [Unknown, Primary, Secondary] as const)
      for (const conn of Object.values(CONN))
        for (const disk of Object.values(DISK)) for (const peerDisk of Object.values(DISK)) yield at(role, peerRole, conn, disk, peerDisk);
};

t.test('sanitising is idempotent, whatever the state', async (t) => {
  let count = 0;
  for (const state of everyState()) {
    // A pause that ends comes after the disks were fitted: a state that cannot stand is not looked at.
    if (state.conn === CONN.PausedSyncS || state.conn === CONN.PausedSyncT) continue;
    const once = sanitise(state, state, CTX).state;
    const twice = sanitise(once, once, CTX);
    count++;
    if (!stateEqual(once, twice.state) || twice.warnings.length > 0) return t.strictSame(twice.state, once);
    if (once.conn > CONN.Connected && (once.disk < DISK.Inconsistent || once.peerDisk < DISK.Inconsistent))
      return t.fail('resync without disks');
    if (once.conn < CONN.Connected && once.peerRole !== Unknown) return t.fail('a role of nobody');
    if (wouldReplicate(once) && wouldSendOutOfSync(once)) return t.fail('written and only told about');
  }
  t.ok(count > 10_000);
});

t.test('hard transitions', async (t) => {
  const from = (conn: ConnNumber, to: ConnNumber) => hardTransition({ ...ALONE, conn }, { ...ALONE, conn: to });
  t.equal(from(CONN.StandAlone, CONN.Disconnecting), 'SS_ALREADY_STANDALONE');
  t.equal(from(CONN.StandAlone, CONN.Connecting), 'SS_NEED_CONNECTION');
  t.equal(from(CONN.StandAlone, CONN.Unconnected), undefined);
  t.equal(from(CONN.Connecting, CONN.Connected), 'SS_NEED_CONNECTION');
  t.equal(from(CONN.WFReportParams, CONN.WFBitMapS), undefined);
  for (const loss of [CONN.Timeout, CONN.BrokenPipe, CONN.NetworkFailure, CONN.ProtocolError, CONN.TearDown]) {
    for (const to of Object.values(CONN)) {
      const isWay = to === loss || to === CONN.Unconnected || to === CONN.Disconnecting;
      const code = from(loss, to);
      if (to >= CONN.Connected) t.equal(code, 'SS_NEED_CONNECTION');
      else t.equal(code, isWay ? undefined : 'SS_IN_TRANSIENT_STATE');
    }
  }
  t.equal(from(CONN.Disconnecting, CONN.Unconnected), 'SS_IN_TRANSIENT_STATE');
  t.equal(from(CONN.Disconnecting, CONN.StandAlone), undefined);
  t.equal(hardTransition({ ...ALONE, disk: DISK.Diskless }, { ...ALONE, disk: DISK.Failed }), 'SS_IS_DISKLESS');
});

t.test('validity', async (t) => {
  const code = (state: StateView, more: Partial<JudgeContext> = {}) => validity(state, { ...CTX, ...more });
  t.equal(code({ ...CONNECTED, role: Primary, peerRole: Primary }), 'SS_TWO_PRIMARIES');
  t.equal(code({ ...CONNECTED, role: Primary, peerRole: Primary }, { twoPrimariesAllowed: true }), undefined);
  t.equal(code({ ...CONNECTED, role: Primary }, { otherVolumePeerPrimary: true }), 'SS_O_VOL_PEER_PRI');
  t.equal(code(CONNECTED, { openCount: 1 }), 'SS_DEVICE_IN_USE');
  t.equal(code({ ...ALONE, role: Primary, disk: DISK.Outdated }), 'SS_NO_UP_TO_DATE_DISK');
  t.equal(code({ ...ALONE, role: Primary }, { fencing: 'resource-only' }), 'SS_PRIMARY_NOP');
  t.equal(code({ ...ALONE, role: Primary, peerDisk: DISK.Outdated }, { fencing: 'resource-only' }), undefined);
  t.equal(code({ ...CONNECTED, role: Primary, disk: DISK.Diskless, peerDisk: DISK.Inconsistent }), 'SS_NO_UP_TO_DATE_DISK');
  t.equal(code({ ...CONNECTED, conn: CONN.SyncTarget, disk: DISK.Diskless }), 'SS_NO_LOCAL_DISK');
  t.equal(code({ ...CONNECTED, conn: CONN.SyncSource, peerDisk: DISK.Diskless }), 'SS_NO_REMOTE_DISK');
  t.equal(code({ ...CONNECTED, conn: CONN.SyncTarget, disk: DISK.Inconsistent, peerDisk: DISK.Outdated }), 'SS_NO_UP_TO_DATE_DISK');
  t.equal(code({ ...CONNECTED, disk: DISK.Outdated }), 'SS_CONNECTED_OUTDATES');
  t.equal(code({ ...CONNECTED, conn: CONN.VerifyS }), 'SS_NO_VERIFY_ALG');
  t.equal(code({ ...CONNECTED, conn: CONN.VerifyS }, { verifyAlg: 'sha1', apv: 87 }), 'SS_NOT_SUPPORTED');
  t.equal(
    code({ ...CONNECTED, role: Primary, disk: DISK.Outdated, conn: CONN.Behind, peerDisk: DISK.Consistent }),
    'SS_NO_UP_TO_DATE_DISK',
  );
  t.equal(code({ ...CONNECTED, conn: CONN.StartingSyncS, peerDisk: DISK.DUnknown }), 'SS_NEED_CONNECTION');
  t.equal(code({ ...CONNECTED, peerDisk: DISK.DUnknown }), 'SS_CONNECTED_OUTDATES');
});

t.test('soft transitions', async (t) => {
  const code = (old: StateView, change: Partial<StateView>, handshakeInProgress = false) =>
    softTransition(old, { ...old, ...change }, { handshakeInProgress });
  const syncing = at(Secondary, Secondary, CONN.SyncTarget, DISK.Inconsistent, DISK.UpToDate);
  t.equal(code(syncing, { conn: CONN.StartingSyncT }), 'SS_RESYNC_RUNNING');
  t.equal(code({ ...ALONE, disk: DISK.Diskless }, { disk: DISK.UpToDate }), 'SS_IS_DISKLESS');
  t.equal(code(ALONE, { conn: CONN.Connecting }), 'SS_NO_NET_CONFIG');
  t.equal(code({ ...ALONE, disk: DISK.Inconsistent }, { disk: DISK.Outdated }), 'SS_LOWER_THAN_OUTDATED');
  t.equal(code({ ...ALONE, conn: CONN.Unconnected }, { conn: CONN.Disconnecting }), 'SS_IN_TRANSIENT_STATE');
  t.equal(code(CONNECTED, { role: Primary }, true), 'SS_IN_TRANSIENT_STATE');
  t.equal(code({ ...CONNECTED, conn: CONN.WFReportParams }, { conn: CONN.WFBitMapS }, true), undefined);
  t.equal(code({ ...CONNECTED, conn: CONN.WFBitMapT, disk: DISK.Outdated }, { role: Primary }), 'SS_IN_TRANSIENT_STATE');
  t.equal(code(syncing, { role: Primary }), undefined, 'a running SyncTarget may be promoted');
  t.equal(code(ALONE, { conn: CONN.VerifyS }), 'SS_NEED_CONNECTION');
  t.equal(code(syncing, { conn: CONN.VerifyS }), 'SS_RESYNC_RUNNING');
  t.equal(code(ALONE, { conn: CONN.StartingSyncT }), 'SS_NEED_CONNECTION');
  t.equal(code(ALONE, { conn: CONN.SyncSource }), 'SS_NEED_CONNECTION');
});

t.test('judge', async (t) => {
  const promote = judge(CONNECTED, { ...CONNECTED, role: Primary }, CTX, false);
  t.match(promote, { code: 'SS_SUCCESS', state: { role: Primary } });
  t.equal(judge(CONNECTED, CONNECTED, CTX, false).code, 'SS_NOTHING_TO_DO');
  const stale = { ...CONNECTED, disk: DISK.Outdated, peerDisk: DISK.Diskless };
  t.equal(judge(stale, { ...stale, role: Primary }, CTX, false).code, 'SS_NO_UP_TO_DATE_DISK', 'wrong already, and worse then');
  t.equal(judge(CONNECTED, { ...CONNECTED, disk: DISK.Outdated }, CTX, false).code, 'SS_NOTHING_TO_DO', 'raised again by the connection');
  const diskless = { ...ALONE, disk: DISK.Diskless };
  t.equal(judge(diskless, { ...diskless, role: Primary }, CTX, false).code, 'SS_NO_UP_TO_DATE_DISK');
  t.equal(judge(diskless, { ...diskless, role: Primary }, CTX, true).code, 'SS_SUCCESS', 'hard changes are not asked');
  t.equal(judge(diskless, { ...diskless, disk: DISK.Failed }, CTX, true).code, 'SS_IS_DISKLESS');
  const broken = { ...diskless, role: Primary, conn: CONN.Unconnected };
  t.equal(judge(broken, { ...broken, conn: CONN.Connecting }, CTX, false).code, 'SS_SUCCESS', 'as invalid as before');
});

t.test('who has to agree', async (t) => {
  const asks = (old: StateView, change: Partial<StateView>): boolean => needsAgreement(old, { ...old, ...change });
  t.ok(asks(CONNECTED, { role: Primary }));
  t.notOk(asks({ ...CONNECTED, role: Primary }, { role: Secondary }));
  t.ok(asks(CONNECTED, { conn: CONN.StartingSyncT }));
  t.ok(asks(CONNECTED, { disk: DISK.Failed }));
  t.ok(asks(CONNECTED, { conn: CONN.Disconnecting }));
  t.ok(asks(CONNECTED, { conn: CONN.VerifyS }));
  t.notOk(asks(ALONE, { role: Primary }));
  t.notOk(asks({ ...CONNECTED, conn: CONN.WFReportParams }, { conn: CONN.Disconnecting }));
});

t.test('mirroring and lost contact', async (t) => {
  t.ok(wouldReplicate(CONNECTED));
  t.ok(wouldReplicate({ ...CONNECTED, conn: CONN.SyncSource, peerDisk: DISK.Inconsistent }));
  t.notOk(wouldReplicate({ ...CONNECTED, conn: CONN.WFBitMapS, peerDisk: DISK.Consistent }));
  t.ok(wouldSendOutOfSync({ ...CONNECTED, conn: CONN.WFBitMapS, peerDisk: DISK.Consistent }));
  t.notOk(wouldReplicate({ ...CONNECTED, peerDisk: DISK.Inconsistent }));
  const { Diskless, Failed, Inconsistent, Outdated, DUnknown, Consistent, UpToDate } = DISK;
  const lost = (from: DiskNumber, to: DiskNumber): boolean =>
    lostContactToPeerData({ ...CONNECTED, peerDisk: from }, { ...CONNECTED, peerDisk: to });
  for (const from of [Inconsistent, Consistent, UpToDate]) {
    for (const to of [Diskless, Failed, DUnknown, Outdated]) t.ok(lost(from, to));
    for (const to of [Inconsistent, Consistent, UpToDate]) t.notOk(lost(from, to));
  }
  for (const to of [Diskless, Failed, Outdated]) t.ok(lost(DUnknown, to));
  t.notOk(lost(DUnknown, UpToDate));
  t.notOk(lost(Outdated, DUnknown));
});

t.test('persistent flags, as a kernel wrote them', async (t) => {
  // Its words have CONNECTED_IND (4) and PEER_OUT_DATED (0x20) among them.
  const word = (state: StateView, crashedPrimary = false, alDisabled = false): number => {
    const flags = persistentFlags(state, { fullSync: false, alDisabled, crashedPrimary })!;
    return (
      flags.device | (flags.peer & MDF_PEER.CONNECTED ? MDF.CONNECTED_IND : 0) | (flags.peer & MDF_PEER.OUTDATED ? MDF.PEER_OUT_DATED : 0)
    );
  };
  t.equal(word({ ...CONNECTED, role: Primary }), 0x17);
  t.equal(word({ ...CONNECTED, peerRole: Primary }), 0x15);
  t.equal(word(ALONE), 0x11);
  t.equal(word({ ...ALONE, role: Primary }), 0x13);
  t.equal(word(at(Primary, Secondary, CONN.SyncSource, DISK.UpToDate, DISK.Inconsistent)), 0x37);
  t.equal(word(at(Secondary, Primary, CONN.SyncTarget, DISK.Inconsistent, DISK.UpToDate)), 0x04);
  t.equal(word(ALONE, true), 0x51);
  t.equal(word(CONNECTED, true), 0x55);
  t.equal(word({ ...CONNECTED, role: Primary }, false, true), 0x117);
  t.equal(word({ ...CONNECTED, peerRole: Primary, peerDisk: DISK.Diskless }), 0x17, 'storage of a diskless Primary');
  t.equal(persistentFlags({ ...CONNECTED, disk: DISK.Failed }, { fullSync: false, alDisabled: false, crashedPrimary: false }), undefined);
});
