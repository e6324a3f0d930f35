/** The life of a link: features, authentication, first packets; what its end leaves behind (wire protocol: handshake, ping). */
import {
  COMMAND,
  checkChallenge,
  decodeConnectionFeatures,
  equalBytes,
  featureNames,
  HEADER_KIND,
  headerKindOf,
  negotiate,
  responseMessage,
} from '@udrbd/wire';
import { abandonContested } from './concurrent-writes.js';
import { type Connection, NET } from './connection.js';
import type { LinkEnd } from './core.js';
import { dialectProblem } from './dialect.js';
import { digestNumber } from './digests.js';
import { peerLost, peerReturns } from './fencing.js';
import { type Millis, PROTOCOL_VERSIONS } from './host.js';
import { isRival, keepWrites, markKept } from './kept-writes.js';
import { dropUnstarted, finishEpochs, forgetMirroredWrite } from './mirrored-writes.js';
import { SENT } from './outbox.js';
import {
  offerOf,
  sendBytes,
  sendFeatures,
  sendMetaEmpty,
  sendProtocol,
  sendSizes,
  sendState,
  sendSyncParam,
  sendUuids,
} from './packets.js';
import type { PeerDevice } from './peer-device.js';
import { PEER, peerKind, releasePeerSlot } from './peer-requests.js';
import { isSizeUnsettled } from './resize.js';
import type { Resource } from './resource.js';
import { changeConnection } from './state-change.js';
import { CONN, type ConnNumber, DISK, ROLE } from './state-view.js';
import { dropVerify } from './verify.js';
import { abandonBeneath } from './write-beneath.js';
import { clearTransferLog, oldestAwaited, resyncAnswered } from './write-path.js';

const DRBD_PROTOCOL_NUMBER = { A: 1, B: 2, C: 3 } as const;

/** StandAlone, or waiting after a loss: ask the host for a link. */
export function openLink(res: Resource, c: Connection): void {
  if (c.state === CONN.StandAlone || c.state < CONN.Unconnected) changeConnection(res, c, CONN.Unconnected, {}, { hard: true });
  c.linkRequested = true;
  changeConnection(res, c, CONN.Connecting, {}, { hard: true });
  res.cold({ type: 'openLink', connection: c.index });
}

/** Both streams stand. */
export function linkUp(res: Resource, c: Connection, resolveConflicts: boolean): void {
  if (!c.linkRequested || c.closing) {
    res.cold({ type: 'closeLink', connection: c.index });
    return;
  }
  c.linkNumber++;
  c.resolveConflicts = resolveConflicts;
  c.phase = 'features';
  c.apv = 0;
  c.features = 0;
  c.headerKind = HEADER_KIND.H80;
  c.wireProtocol = DRBD_PROTOCOL_NUMBER[c.options.protocol];
  c.sendDigest = digestNumber(c.options['data-integrity-alg']);
  c.receiveDigest = c.sendDigest;
  for (const box of c.outboxes) box.reset();
  c.resetReceiveEpochs();
  c.wantedSlot = -1;
  c.wantedBytes = 0;
  c.stalled = false;
  c.protocolSeen = false;
  c.peerTentative = false;
  c.pingsSent = 0;
  c.pingsAcked = 0;
  c.pingsOwed = 0;
  c.pingDeadline = Number.POSITIVE_INFINITY;
  c.lastMetaReceived = res.now;
  c.lastDataReceived = res.now;
  c.sendProgress = 0;
  c.sendProgressAt = res.now;
  c.handshakeDeadline = res.now + 4 * c.options['ping-timeout'] * 100;
  sendFeatures(res, c);
}

export function receiveFeatures(res: Resource, c: Connection, command: number, view: DataView, base: number, length: number): void {
  if (command !== COMMAND.P_CONNECTION_FEATURES) {
    const hex = command.toString(16).padStart(4, '0');
    return refusePeer(res, c, `expected ConnectionFeatures packet, received: ${res.packetName(command)} (0x${hex})`);
  }
  const decoded = decodeConnectionFeatures(view, base, length);
  if (!decoded.ok) return refusePeer(res, c, `expected ConnectionFeatures length: 72, received: ${length}`);
  // One of ours offers nothing older.
  c.isPeerGenuine = decoded.value.protocol_min < PROTOCOL_VERSIONS.min;
  const agreed = negotiate(offerOf(res), decoded.value);
  if (!agreed.ok) {
    res.logConnection('err', c, agreed.error.text);
    if (agreed.error.permanent) disconnectForGood(res, c);
    else res.closeLink(c, 'protocol-error');
    return;
  }
  const problem = dialectProblem(c, agreed.value.apv);
  if (problem !== undefined) return refusePeer(res, c, problem);
  c.apv = agreed.value.apv;
  c.features = agreed.value.features;
  c.headerKind = headerKindOf(c.apv);
  for (; c.pingsOwed > 0; c.pingsOwed--) sendMetaEmpty(res, c, COMMAND.P_PING_ACK);
  res.logConnection('info', c, `Handshake successful: Agreed network protocol version ${c.apv}`);
  res.logConnection('info', c, `Feature flags enabled on protocol level: 0x${c.features.toString(16)} ${featureNames(c.features)}.`);
  if (c.options['cram-hmac-alg'] === '') return startProtocol(res, c);
  c.ownChallenge = challenge(res);
  c.phase = 'challenge';
  sendBytes(res, c, COMMAND.P_AUTH_CHALLENGE, c.ownChallenge);
}

function challenge(res: Resource): Uint8Array {
  const bytes = new Uint8Array(64);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < 64; i += 8) view.setBigUint64(i, res.random64());
  return bytes;
}

/** The bytes of a shared secret; the configuration is read as bytes, one per character. */
const secretBytes = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0) & 0xff);

export function receiveAuthentication(res: Resource, c: Connection, command: number, payload: Uint8Array): void {
  const key = secretBytes(c.options['shared-secret']);
  const algorithm = c.options['cram-hmac-alg'];
  if (c.phase === 'challenge') {
    if (command !== COMMAND.P_AUTH_CHALLENGE) {
      res.logConnection(
        'err',
        c,
        `expected AuthChallenge packet, received: ${res.packetName(command)} (0x${command.toString(16).padStart(4, '0')})`,
      );
      return refusePeer(res, c, 'Authentication of peer failed');
    }
    const checked = checkChallenge(c.ownChallenge!, payload, c.apv);
    if (!checked.ok) {
      if (checked.error.problem === 'not permitted') res.logConnection('err', c, 'Peer presented the same challenge!');
      return refusePeer(res, c, 'Authentication of peer failed');
    }
    const response = res.hmac(algorithm, key, responseMessage(checked.value, c.apv, res.nodeId));
    if (response === undefined) return refusePeer(res, c, `hmac(${algorithm}) is not available`);
    c.phase = 'response';
    sendBytes(res, c, COMMAND.P_AUTH_RESPONSE, response);
    return;
  }
  const expected = res.hmac(algorithm, key, responseMessage(c.ownChallenge!, c.apv, c.peerNodeId));
  if (command !== COMMAND.P_AUTH_RESPONSE || expected === undefined || payload.length !== expected.length) {
    res.logConnection('err', c, 'Authentication of peer failed, trying again.');
    res.closeLink(c, 'protocol-error');
    return;
  }
  if (!equalBytes(expected, payload)) return refusePeer(res, c, 'Authentication of peer failed');
  res.logConnection('info', c, `Peer authenticated using ${expected.length} bytes HMAC`);
  startProtocol(res, c);
}

/** Everything up to our first state packets goes out at once; the peer does the same. */
function startProtocol(res: Resource, c: Connection): void {
  // What we would say of ourselves is about to change: a forced demotion may have failed writes that are not marked yet.
  const isSteppingDown = res.failIo && res.role === ROLE.Primary;
  if (isSteppingDown || c.peerDevices.some((pd) => isSizeUnsettled(pd.volume))) {
    c.retryAfterMs = 1000;
    return res.closeLink(c, 'network-failure');
  }
  c.phase = 'running';
  c.handshakeDeadline = Number.POSITIVE_INFINITY;
  c.connectedSince = res.now;
  c.connects++;
  for (const pd of c.peerDevices) peerReturns(res, pd.volume);
  sendProtocol(res, c);
  for (const pd of c.peerDevices) introduce(res, pd.volume.number, c);
  changeConnection(res, c, CONN.WFReportParams, {}, { hard: true });
}

/** Sync parameters, sizes, generations and state of one volume. */
export function introduce(res: Resource, volumeNumber: number, c: Connection): void {
  const pd = res.peerDevice(c, volumeNumber)!;
  pd.sentSectors = 0;
  pd.receivedSectors = 0;
  sendSyncParam(res, pd);
  sendSizes(res, pd, pd.volume.sizeSectors);
  if (pd.volume.diskState >= DISK.Negotiating) sendUuids(res, pd);
  pd.owesState = looksFirst(res, pd);
  if (!pd.owesState) tellState(res, pd);
}

/**
 * Whether the peer's generations are looked at before it hears that we are Primary without a disk. It takes that as our word for its data at
 * once, and begins a generation of its own though we turn it down and leave; a kernel calls an Outdated disk good, too.
 */
const looksFirst = (res: Resource, pd: PeerDevice): boolean =>
  pd.connection.state < CONN.WFReportParams && res.role === ROLE.Primary && pd.volume.diskState < DISK.Negotiating;

/** Our P_STATE of this connection, once it is due. */
export function tellState(res: Resource, pd: PeerDevice): void {
  pd.owesState = false;
  sendState(res, pd);
  pd.stateSent = true;
}

/** The peer is not one that we will ever talk to with these settings. */
function refusePeer(res: Resource, c: Connection, text: string): void {
  res.logConnection('err', c, text);
  disconnectForGood(res, c);
}

/**
 * To StandAlone: only an administrator connects again. The peer comes to the same conclusion from what we have sent, and logs it and
 * runs its handlers, provided that it gets to read it: it is left the time to close first.
 */
export function disconnectForGood(res: Resource, c: Connection): void {
  if (c.state !== CONN.StandAlone) changeConnection(res, c, CONN.Disconnecting, {}, { hard: true });
  if (c.closing) return;
  if (c.phase === 'none') return res.closeLink(c, 'closed');
  c.closing = true;
  c.closeReason = 'closed';
  const link = c.linkNumber;
  res.later(c.options['ping-timeout'] * 100, () => {
    if (c.linkNumber === link && c.closing) res.cold({ type: 'closeLink', connection: c.index });
  });
}

const STATE_AFTER: Readonly<Record<LinkEnd, ConnNumber>> = {
  closed: CONN.BrokenPipe,
  'broken-pipe': CONN.BrokenPipe,
  'network-failure': CONN.NetworkFailure,
  'protocol-error': CONN.ProtocolError,
  timeout: CONN.Timeout,
};

/** No packet will come or go any more. Cleans up in the order of DRBD 8.4 (drbd_disconnected). */
export function linkDown(res: Resource, c: Connection, why: LinkEnd, detail: string): void {
  const reason = c.closeReason ?? why;
  if (detail !== '' && !c.closing) res.logConnection('warning', c, detail);
  const wasEstablished = c.phase === 'running';
  const goingDown = c.state === CONN.Disconnecting || c.state === CONN.StandAlone;
  c.phase = 'none';
  c.closing = false;
  c.closeReason = undefined;
  c.apv = 0;
  c.handshakeDeadline = Number.POSITIVE_INFINITY;
  c.pingDeadline = Number.POSITIVE_INFINITY;
  c.acksMissingSince = Number.POSITIVE_INFINITY;
  c.turnedDown.length = 0;
  c.dueBarrierAcks.length = 0;
  const rivals = c.peerDevices.filter((pd) => isRival(res, pd));
  if (!goingDown && c.state >= CONN.Connecting && c.linkNumber > 0) changeConnection(res, c, STATE_AFTER[reason], {}, { hard: true });
  for (const pd of c.peerDevices) {
    if (!res.isSuspended) markKept(res, pd);
    else if (pd.volume.generationPending && rivals.includes(pd)) pd.keepsWrites = true;
  }
  dropUnfinished(res, c);
  for (const pd of c.peerDevices) pd.linkGone();
  keepWrites(res, c);
  clearTransferLog(res, c);
  for (const pd of c.peerDevices) abandonContested(res, pd);
  c.agreement?.done(-15);
  c.agreement = undefined;
  c.drained = true;
  if (wasEstablished) peerLost(res, c);
  res.wantSettle();
}

function dropUnfinished(res: Resource, c: Connection): void {
  if (c.wantedSlot >= 0) {
    const slot = c.wantedSlot;
    c.wantedSlot = -1;
    c.wantedBytes = 0;
    if (slot >= res.requests.applicationSlots) {
      const pd = res.peerDevice(c, res.requests.volume[slot]!)!;
      if (peerKind(res, slot) === PEER.MirroredWrite) forgetMirroredWrite(res, pd, slot);
      // A resync block is still in the list of requests, which is cleared below.
    }
  }
  // Replies that were never sent.
  for (const box of c.outboxes) {
    while (box.done < box.queued) {
      const row = box.finishOldest();
      // A write's part in an entry that is never sent ends with the transfer log.
      if (box.action[row] === SENT.Reply) releasePeerSlot(res, box.actionSlot[row]!);
    }
  }
  for (const pd of c.peerDevices) {
    // A block that is being read for its checksum gives its slot back by itself.
    for (const slot of pd.resyncRequests.splice(0)) if (peerKind(res, slot) !== PEER.ChecksumRead) releasePeerSlot(res, slot);
    resyncAnswered(res, pd.volume);
    dropVerify(res, pd);
    dropWaitingReads(res, pd);
  }
  c.resyncSectorsInFlight = 0;
  abandonBeneath(res, c);
  if (res.role === ROLE.Primary && c.wireProtocol === DRBD_PROTOCOL_NUMBER.C) dropUnstarted(res, c);
  // No more barriers: what is held behind one runs when the epochs in front are through.
  for (const epoch of c.receiveEpochs) epoch.hasBarrier = true;
  finishEpochs(res, c);
}

/** Reads for the peer that wait for a write to end: while I/O is suspended it does not, and nobody wants the answer any more. */
function dropWaitingReads(res: Resource, pd: PeerDevice): void {
  const { requests } = res;
  const { overlap } = pd.volume;
  const isRead = (slot: number): boolean => {
    if (slot < requests.applicationSlots || requests.connection[slot] !== pd.connection.index) return false;
    const kind = peerKind(res, slot);
    return kind === PEER.ResyncRead || kind === PEER.RemoteRead;
  };
  for (const slot of overlap.forgetAll(isRead)) releasePeerSlot(res, slot);
  if (overlap.waitingCount > 0) res.wantOverlap(pd.volume);
}

/** The link is down and nothing of it is in flight: StandAlone, or the next attempt. */
export function afterDrain(res: Resource, c: Connection): void {
  if (!c.drained || c.peerSlots > 0 || c.flushesOutstanding > 0) return;
  c.drained = false;
  if (c.state === CONN.Disconnecting) {
    c.linkRequested = false;
    changeConnection(res, c, CONN.StandAlone, {}, { hard: true });
    res.logConnection('info', c, 'Terminating receiver thread');
    for (const done of c.whenStandAlone.splice(0)) done();
    return;
  }
  if (c.state === CONN.StandAlone) return;
  changeConnection(res, c, CONN.Unconnected, {}, { hard: true });
  if (c.retryAfterMs > 0) {
    c.retryAt = res.now + c.retryAfterMs;
    c.retryAfterMs = 0;
    return;
  }
  openLink(res, c);
}

// --- liveness -----------------------------------------------------------------------------------------------------------

/** Time-outs of a link: hand-shake, ping, requests (wire protocol: ping, time-outs, liveness). */
export function checkLiveness(res: Resource, c: Connection): void {
  if (c.retryAt <= res.now) {
    c.retryAt = Number.POSITIVE_INFINITY;
    if (c.state === CONN.Unconnected) openLink(res, c);
    return;
  }
  if (c.phase === 'none' || c.closing) return;
  if (res.now >= c.handshakeDeadline) {
    res.logConnection('err', c, 'initial packets timed out');
    res.closeLink(c, 'network-failure');
    return;
  }
  if (c.phase !== 'running') return;
  if (res.now >= c.pingDeadline) {
    res.logConnection('err', c, 'PingAck did not arrive in time.');
    res.closeLink(c, 'network-failure');
    return;
  }
  if (res.now >= acksDeadline(c)) return res.protocolError(c, 'Timed out waiting for missing ack packets; disconnecting');
  const idle = c.options['ping-int'] * 1000;
  // The same sum as in the deadline: a difference of two fractions could fall short of it.
  if (res.now >= c.lastMetaReceived + idle && c.pingDeadline === Number.POSITIVE_INFINITY) ping(res, c);
  checkSendProgress(res, c);
  checkOldestRequest(res, c);
}

export function ping(res: Resource, c: Connection): void {
  if (!c.isUp) return;
  sendMetaEmpty(res, c, COMMAND.P_PING);
  c.pingsSent++;
  c.armPing(res.now);
}

/** Until when the acks that a data packet waits for have to come. */
const acksDeadline = (c: Connection): Millis => c.acksMissingSince + c.options['ping-timeout'] * 100;

const limitMs = (c: Connection): number => c.options.timeout * 100 * c.options['ko-count'];

function checkSendProgress(res: Resource, c: Connection): void {
  const box = c.outboxes[0];
  if (box.done !== c.sendProgress || box.done === box.queued) {
    c.sendProgress = box.done;
    c.sendProgressAt = res.now;
  } else if (limitMs(c) > 0 && res.now - c.sendProgressAt > limitMs(c)) {
    res.logConnection('err', c, `sock_sendmsg time expired, ko = 0`);
    res.closeLink(c, 'timeout');
  }
}

function checkOldestRequest(res: Resource, c: Connection): void {
  const limit = limitMs(c);
  if (limit === 0 || c.logHead < 0 || res.now - c.connectedSince < limit) return;
  const oldest = oldestAwaited(res, c);
  if (oldest < 0) return;
  const age = res.now - res.requests.startedAt[oldest]!;
  // A closed epoch waits for its ack; writes of the open one only count while their own ack is missing.
  const isAwaited = c.openEpochCount > 0 || (c.net[c.logHead]! & NET.Pending) !== 0;
  if (age <= limit || !isAwaited) return;
  res.logConnection(
    'warning',
    c,
    `Remote failed to finish a request within ${Math.trunc(age)}ms > ko-count (${c.options['ko-count']}) * timeout (${c.options.timeout} * 0.1s)`,
  );
  res.closeLink(c, 'timeout');
}

/** When `checkLiveness` wants to be called next. */
export function livenessDeadline(c: Connection): number {
  if (c.phase === 'none') return c.retryAt;
  if (c.closing) return Number.POSITIVE_INFINITY;
  let deadline = Math.min(c.handshakeDeadline, c.pingDeadline, acksDeadline(c));
  if (c.phase === 'running') {
    if (c.pingDeadline === Number.POSITIVE_INFINITY) deadline = Math.min(deadline, c.lastMetaReceived + c.options['ping-int'] * 1000);
    if (c.logHead >= 0 || c.outboxes[0].done < c.outboxes[0].queued) deadline = Math.min(deadline, c.nextRequestCheck);
  }
  return deadline;
}
