/** Administrative operations: one function per command (replication semantics: administrative operations). */
import {
  DEVICE_OPTIONS,
  type DeviceOptions,
  DISK_OPTIONS,
  defaultOptions,
  NET_OPTIONS,
  type NetOptions,
  type OptionTable,
  type OptionValues,
  PEER_DEVICE_OPTIONS,
  type PeerDeviceOptions,
  RESOURCE_OPTIONS,
  RETURN_CODES,
  type Refusal,
  type ReturnCode,
} from '@udrbd/control';
import { MDF_PEER } from '@udrbd/metadata';
import { COMMAND, SS } from '@udrbd/wire';
import { askPeer, askPeerAboutConnection, CONCURRENT_RETRY_MS, REQUEST } from './agreement.js';
import { allocateSlots, attach } from './attach.js';
import { Connection } from './connection.js';
import type { ControlRequest } from './core.js';
import { demote, goOnFailing, lastClose } from './demote.js';
import { hasProtocolUpdate, hasVolumes } from './dialect.js';
import { DIGEST_UNKNOWN, digestNumber } from './digests.js';
import { abandonDisk, watchDisk } from './disk-timeout.js';
import { goOnAlone } from './fencing.js';
import { forgetPeer } from './forget-peer.js';
import { markKept } from './kept-writes.js';
import { introduce, openLink } from './link.js';
import { markMetaDataDirty } from './meta-data-io.js';
import { newGeneration } from './new-generation.js';
import { isConnected, sendProtocol, sendSyncParam } from './packets.js';
import { PeerDevice } from './peer-device.js';
import { peerMetaData } from './peer-meta-data.js';
import { promote } from './promote.js';
import { isResizing, resize } from './resize.js';
import type { Resource } from './resource.js';
import { resyncOptions, setAllBits } from './resync.js';
import { changeConnection, changePeerDevice, changeResource, changeVolume, type Wanted } from './state-change.js';
import { CONN, type ConnNumber, DISK, ROLE } from './state-view.js';
import { Volume } from './volume.js';
import { releaseHeld } from './write-path.js';

/** A forced detach is answered by then, whether the disk has come to an end or not. */
const FORCED_DETACH_WAIT_MS = 500;

/** Answers an operation: nothing is success. */
export type Reply = (error?: Refusal) => void;
const no = (name: ReturnCode, ...info: string[]): Refusal => ({ name, info });
/** A state change's code as an answer. */
export const answer = (code: ReturnCode): Refusal | undefined => (RETURN_CODES[code].code > 0 ? undefined : no(code));
const nameOfCode = (code: number): ReturnCode =>
  (Object.entries(RETURN_CODES).find(([, row]) => row.code === code)?.[0] as ReturnCode | undefined) ?? 'SS_UNKNOWN_ERROR';

export { nameOfCode };

const merged = <T extends OptionTable>(table: T, current: OptionValues<T>, given: object, setDefaults: boolean): OptionValues<T> => ({
  ...(setDefaults ? defaultOptions(table) : current),
  ...(given as Partial<OptionValues<T>>),
});

export function control(res: Resource, request: ControlRequest, reply: Reply): void {
  switch (request.command) {
    case 'resource-options':
      res.options = merged(RESOURCE_OPTIONS, res.options, request.options, false);
      res.stateChanged();
      return reply();
    case 'new-minor':
      return reply(
        newMinor(res, request.volume, request.minor, { ...defaultOptions(DEVICE_OPTIONS), ...request.options } as DeviceOptions),
      );
    case 'new-peer':
      return reply(
        newPeer(res, request.connection, request.peerNodeId, { ...defaultOptions(NET_OPTIONS), ...request.options } as NetOptions),
      );
    case 'connect':
    case 'disconnect':
    case 'del-peer':
    case 'net-options': {
      const c = res.connections[request.connection];
      if (c === undefined) return reply(no('ERR_INVALID_REQUEST', 'unknown connection'));
      if (request.command === 'connect') return reply(connect(res, c, request.tentative, request.discardMyData));
      if (request.command === 'disconnect') return disconnect(res, c, request.force, reply);
      if (request.command === 'del-peer') return delPeer(res, c, reply);
      return reply(netOptions(res, c, request.options, request.setDefaults));
    }
    case 'forget-peer':
      return forgetPeer(res, request.peerNodeId, reply);
    case 'primary':
      return promote(res, request.force, reply);
    case 'secondary':
      return demote(res, request.openVolumes, request.force, reply);
    case 'closed':
      lastClose(res);
      return reply();
    case 'fail-io':
      goOnFailing(res);
      return reply();
    case 'suspend-io':
      changeResource(res, () => ({ suspUser: true }), { hard: true });
      return reply();
    case 'resume-io':
      return resumeIo(res, reply);
    case 'peer-device-options':
    case 'invalidate-remote':
    case 'pause-sync':
    case 'resume-sync':
    case 'verify': {
      const c = res.connections[request.connection];
      const pd = c === undefined ? undefined : res.peerDevice(c, request.volume);
      if (pd === undefined) return reply(no('ERR_INVALID_REQUEST', 'unknown volume'));
      if (request.command === 'peer-device-options') return reply(peerDeviceOptions(res, pd, request.options, request.setDefaults));
      if (request.command === 'verify') return verify(res, pd, request.start, request.stop, reply);
      if (request.command === 'invalidate-remote') return fullSync(res, pd.volume, pd, 'source', reply);
      return reply(request.command === 'pause-sync' ? pauseSync(res, pd) : resumeSync(res, pd));
    }
    default: {
      const volume = res.volumes.get(request.volume);
      if (volume === undefined) {
        if (request.command === 'attach') res.cold({ type: 'closeDisk', volume: request.volume });
        return reply(no('ERR_MINOR_INVALID'));
      }
      return volumeControl(res, volume, request, reply);
    }
  }
}

type VolumeRequest = Extract<
  ControlRequest,
  { readonly command: 'del-minor' | 'attach' | 'detach' | 'disk-options' | 'invalidate' | 'outdate' | 'new-current-uuid' | 'resize' }
>;

const WAIT_FOR_ATTACH = new Set<VolumeRequest['command']>(['invalidate', 'outdate', 'new-current-uuid', 'resize']);
const ATTACH_POLL_MS = 20;

function volumeControl(res: Resource, volume: Volume, request: VolumeRequest, reply: Reply): void {
  // As the kernel's commands wait for each other: what the disk is shows at the end of its attach, and not by what was asked before.
  if (WAIT_FOR_ATTACH.has(request.command) && volume.diskState === DISK.Attaching) {
    res.later(ATTACH_POLL_MS, () => volumeControl(res, volume, request, reply));
    return;
  }
  switch (request.command) {
    case 'del-minor':
      return reply(delMinor(res, volume));
    case 'attach':
      return attach(res, volume, request.disk, reply);
    case 'detach':
      return detach(res, volume, request.force, (error) => {
        if (error === undefined && request.diskless) volume.deviceOptions = { ...volume.deviceOptions, diskless: true };
        reply(error);
      });
    case 'disk-options':
      if (volume.disk === undefined) return reply(no('ERR_NO_DISK'));
      volume.disk.options = merged(DISK_OPTIONS, volume.disk.options, request.options, request.setDefaults);
      watchDisk(res, volume);
      res.evaluateWriteOrdering();
      res.stateChanged();
      return reply();
    case 'resize':
      return resize(res, volume, request, reply);
    case 'invalidate': {
      if (volume.disk === undefined) return reply(no('ERR_NO_DISK'));
      const { fromPeerNodeId: from } = request;
      const able = volume.peerDevices.filter((p) => from === undefined || p.connection.peerNodeId === from);
      if (from !== undefined && able.length === 0) return reply(no('ERR_INVALID_REQUEST', 'unknown connection'));
      return fullSync(res, volume, able.find((p) => p.conn >= CONN.Connected) ?? able[0], 'target', reply);
    }
    case 'outdate':
      if (volume.peerDevices.some((pd) => pd.conn >= CONN.Connected)) return reply(no('SS_CONNECTED_OUTDATES'));
      return reply(outdate(res, volume));
    case 'new-current-uuid':
      return newGeneration(res, volume, request.clearBitmap, request.forceResync, reply);
  }
}

function newMinor(res: Resource, number: number, minor: number, options: DeviceOptions): Refusal | undefined {
  if (res.volumes.has(number)) return no('ERR_MINOR_OR_VOLUME_EXISTS');
  const isBeyond = number !== 0 && res.connections.some((c) => c?.isUp && c.apv > 0 && !hasVolumes(c.apv));
  if (isBeyond) return no('ERR_INVALID_REQUEST', 'the protocol version of a connected peer knows volume 0 only');
  const volume = new Volume(number, minor, options, res.requests);
  res.addVolume(volume);
  for (const c of res.connections) if (c !== undefined) addPeerDevice(res, volume, c);
  res.stateChanged();
  res.volumeChanged(volume);
  return undefined;
}

function addPeerDevice(res: Resource, volume: Volume, c: Connection): void {
  const pd = new PeerDevice(volume, c, defaultOptions(PEER_DEVICE_OPTIONS) as PeerDeviceOptions);
  volume.peerDevices.push(pd);
  c.peerDevices.push(pd);
  c.peerDevices.sort((a, b) => a.volume.number - b.volume.number);
  if (isConnected(c) && c.isUp) introduce(res, volume.number, c);
}

function delMinor(res: Resource, volume: Volume): Refusal | undefined {
  if (volume.diskState !== DISK.Diskless || volume.disk !== undefined || res.role !== ROLE.Secondary) return no('ERR_MINOR_CONFIGURED');
  res.removeVolume(volume);
  res.cold({ type: 'resyncPlace', volume: volume.number, minor: volume.minor, place: undefined });
  for (const pd of volume.peerDevices) {
    const list = pd.connection.peerDevices;
    list.splice(list.indexOf(pd), 1);
  }
  res.stateChanged();
  return undefined;
}

function newPeer(res: Resource, index: number, peerNodeId: number, options: NetOptions): Refusal | undefined {
  if (res.connections[index] !== undefined) return no('ERR_INVALID_REQUEST', 'connection exists');
  const refused = checkNetOptions(res, options);
  if (refused !== undefined) return refused;
  const c = new Connection(index, peerNodeId, options, res.requests.capacity, res.outboxBytes);
  const added: Volume[] = [];
  res.connections[index] = c;
  for (const volume of res.volumes.values()) {
    addPeerDevice(res, volume, c);
    if (volume.disk !== undefined) {
      const slots = allocateSlots(volume, volume.disk.metaData);
      if (slots !== undefined) {
        for (const done of [...added, volume])
          done.peerDevices.splice(
            done.peerDevices.findIndex((pd) => pd.connection === c),
            1,
          );
        delete res.connections[index];
        return slots;
      }
      markMetaDataDirty(res, volume);
    }
    added.push(volume);
  }
  for (const pd of c.peerDevices) {
    const { disk } = pd.volume;
    if (disk !== undefined && (peerMetaData(disk.metaData, peerNodeId).flags & MDF_PEER.FULL_SYNC) !== 0) setAllBits(res, pd, () => {});
  }
  res.stateChanged();
  return undefined;
}

/** Combinations that DRBD refuses, and algorithms that are not there. */
function checkNetOptions(res: Resource, o: NetOptions): Refusal | undefined {
  if (o['allow-two-primaries'] && o.protocol !== 'C') return no('ERR_NOT_PROTO_C');
  if (o.fencing === 'resource-and-stonith' && o.protocol === 'A') return no('ERR_STONITH_AND_PROT_A');
  if (o['on-congestion'] !== 'block' && o.protocol !== 'A') return no('ERR_CONG_NOT_PROTO_A');
  if (digestNumber(o['csums-alg']) === DIGEST_UNKNOWN) return no('ERR_CSUMS_ALG');
  if (digestNumber(o['verify-alg']) === DIGEST_UNKNOWN) return no('ERR_VERIFY_ALG');
  if (digestNumber(o['data-integrity-alg']) === DIGEST_UNKNOWN) return no('ERR_INTEGRITY_ALG');
  if (o['cram-hmac-alg'] !== '' && res.hmac(o['cram-hmac-alg'], new Uint8Array(1), new Uint8Array(1)) === undefined)
    return no('ERR_AUTH_ALG');
  return undefined;
}

const isVerify = (conn: ConnNumber): boolean => conn === CONN.VerifyS || conn === CONN.VerifyT;

/** What the peer has to be told of, and can only from protocol version 100 on. */
const TOLD_BY_UPDATE = ['protocol', 'allow-two-primaries', 'data-integrity-alg'] as const;

function netOptions(res: Resource, c: Connection, given: object, setDefaults: boolean): Refusal | undefined {
  const next = merged(NET_OPTIONS, c.options, given, setDefaults);
  const options = { ...next, _name: c.options._name, transport: c.options.transport };
  if (!options['allow-two-primaries'] && res.role === ROLE.Primary && c.peerRole === ROLE.Primary) return no('ERR_NEED_ALLOW_TWO_PRI');
  const refused = checkNetOptions(res, options);
  if (refused !== undefined) return refused;
  const isSyncing = c.peerDevices.some(({ conn }) => conn >= CONN.SyncSource && conn <= CONN.PausedSyncT && !isVerify(conn));
  if (isSyncing && options['csums-alg'] !== c.options['csums-alg']) return no('ERR_CSUMS_RESYNC_RUNNING');
  if (c.peerDevices.some(({ conn }) => isVerify(conn)) && options['verify-alg'] !== c.options['verify-alg'])
    return no('ERR_VERIFY_RUNNING');
  const isLimited = c.isUp && !hasProtocolUpdate(c.apv);
  if (isLimited && TOLD_BY_UPDATE.some((name) => options[name] !== c.options[name])) return no('ERR_NEED_APV_100');
  c.options = options;
  if (c.isUp) {
    c.wireProtocol = { A: 1, B: 2, C: 3 }[options.protocol];
    if (!isLimited) sendProtocol(res, c, COMMAND.P_PROTOCOL_UPDATE);
    // What is queued from here on has the new digest: the peer reads the update first.
    c.sendDigest = digestNumber(options['data-integrity-alg']);
    for (const pd of c.peerDevices) sendSyncParam(res, pd);
    // The peer takes it over without a word.
    if (options['verify-alg'] !== '') c.peerVerifyAlg = options['verify-alg'];
  }
  res.stateChanged();
  return undefined;
}

function peerDeviceOptions(res: Resource, pd: PeerDevice, given: object, setDefaults: boolean): Refusal | undefined {
  pd.options = merged(PEER_DEVICE_OPTIONS, pd.options, given, setDefaults);
  pd.resync?.controller.configure(resyncOptions(pd));
  pd.verify?.controller.configure(resyncOptions(pd));
  res.stateChanged();
  return undefined;
}

function connect(res: Resource, c: Connection, tentative: boolean, discardMyData: boolean): Refusal | undefined {
  if (c.state !== CONN.StandAlone) return no('ERR_NET_CONFIGURED');
  if (discardMyData && res.role === ROLE.Primary) return no('ERR_DISCARD_IMPOSSIBLE');
  c.discardMyData = discardMyData;
  c.tentative = tentative;
  openLink(res, c);
  return undefined;
}

/** While the peer has changes of its own. */
const DISCONNECT_TRIES = 4;

export function disconnect(res: Resource, c: Connection, force: boolean, reply: Reply, triesLeft = DISCONNECT_TRIES): void {
  if (c.state === CONN.StandAlone) return reply();
  const close = (implied: Wanted = {}): void => {
    c.whenStandAlone.push(() => reply());
    if (c.state !== CONN.Disconnecting) changeConnection(res, c, CONN.Disconnecting, implied, { hard: true });
    res.closeLink(c, 'closed');
  };
  if (force || c.state < CONN.WFReportParams || !c.isUp) return close();
  if (c.agreement !== undefined) return reply(no('SS_IN_TRANSIENT_STATE'));
  const code = changeConnection(res, c, CONN.Disconnecting, {}, { dryRun: true, verbose: true });
  const outdatesPeer = code === 'SS_PRIMARY_NOP';
  if (!outdatesPeer && code !== 'SS_SUCCESS' && code !== 'SS_NOTHING_TO_DO') return reply(no(code));
  askPeerAboutConnection(res, c, outdatesPeer ? REQUEST.disconnectOutdatePeer : REQUEST.disconnect, (first) => {
    if (first >= 1 || !c.isUp) {
      // In one change: a peer that is connected counts as UpToDate.
      return close(outdatesPeer && first >= 1 ? { peerDisk: DISK.Outdated } : {});
    }
    if (first === SS.CONCURRENT_ST_CHG && triesLeft > 0) {
      // The peer asked for something too, perhaps for the same.
      res.later(CONCURRENT_RETRY_MS, () => disconnect(res, c, force, reply, triesLeft - 1));
      return;
    }
    if (!c.peerDevices.some((pd) => pd.volume.diskState >= DISK.Outdated) || res.role === ROLE.Primary) {
      return reply(no('SS_CW_FAILED_BY_PEER'));
    }
    // The peer does not let us go with data that it cannot tell from its own: leave as Outdated.
    askPeerAboutConnection(res, c, REQUEST.disconnectOutdateSelf, (second) => {
      if (second < 1 && c.isUp) return reply(no('SS_CW_FAILED_BY_PEER'));
      close();
      for (const pd of c.peerDevices)
        if (pd.volume.diskState > DISK.Outdated) changeVolume(res, pd.volume, { disk: DISK.Outdated }, { hard: true });
    });
  });
}

function delPeer(res: Resource, c: Connection, reply: Reply): void {
  const remove = (error?: Refusal): void => {
    if (error !== undefined) return reply(error);
    for (const pd of c.peerDevices) markKept(res, pd);
    for (const pd of c.peerDevices) pd.volume.peerDevices.splice(pd.volume.peerDevices.indexOf(pd), 1);
    delete res.connections[c.index];
    res.stateChanged();
    reply();
  };
  disconnect(res, c, false, remove);
}

function resumeIo(res: Resource, reply: Reply): void {
  goOnAlone(res);
  changeResource(res, () => ({ suspUser: false, suspNoData: false, suspFencing: false }), { hard: true });
  res.suspNoData = false;
  res.suspFencing = false;
  for (const volume of res.volumes.values()) releaseHeld(res, volume);
  reply();
}

/** Of a disk that hangs as well: nobody waits for what it has not answered. */
function forcedDetach(res: Resource, volume: Volume, reply: Reply): void {
  let isAnswered = false;
  const once = (): void => {
    if (!isAnswered) reply();
    isAnswered = true;
  };
  volume.whenDiskless.push(once);
  changeVolume(res, volume, { disk: DISK.Failed }, { hard: true });
  abandonDisk(res, volume);
  res.later(FORCED_DETACH_WAIT_MS, once);
  res.wantSettle();
}

function detach(res: Resource, volume: Volume, force: boolean, reply: Reply): void {
  if (volume.diskState === DISK.Diskless && volume.disk === undefined) return reply();
  const wait = (): void => {
    volume.whenDiskless.push(() => reply());
    changeVolume(res, volume, { disk: DISK.Failed }, { hard: true });
    res.wantSettle();
  };
  if (force) return forcedDetach(res, volume, reply);
  if (volume.diskState <= DISK.Failed) return wait();
  const refusal = (): Refusal | undefined => {
    const code = changeVolume(res, volume, { disk: DISK.Failed }, { dryRun: true, verbose: true });
    return code === 'SS_SUCCESS' || code === 'SS_NOTHING_TO_DO' ? undefined : no(code);
  };
  const refused = refusal();
  if (refused !== undefined) return reply(refused);
  const pd = volume.peerDevices.find((p) => p.connection.isUp && p.conn >= CONN.Connected);
  if (pd === undefined) return wait();
  if (pd.connection.agreement !== undefined) return reply(no('SS_IN_TRANSIENT_STATE'));
  askPeer(res, pd.connection, [pd], REQUEST.detach, (result) => {
    if (result < 1 && pd.connection.isUp) return reply(no('SS_CW_FAILED_BY_PEER'));
    // The peer may be gone by now, and with it the data that were to be used instead.
    const changed = refusal();
    if (changed === undefined) wait();
    else reply(changed);
  });
}

function outdate(res: Resource, volume: Volume): Refusal | undefined {
  return answer(changeVolume(res, volume, { disk: DISK.Outdated }, { verbose: true }));
}

/** invalidate and invalidate-remote: everything is copied, from the peer or to it. */
export function fullSync(res: Resource, volume: Volume, pd: PeerDevice | undefined, side: 'source' | 'target', reply: Reply): void {
  if (volume.disk === undefined) return reply(no('ERR_NO_DISK'));
  if (pd === undefined || pd.conn === CONN.StandAlone) {
    const fits = side === 'target' ? res.role === ROLE.Secondary : res.role === ROLE.Primary;
    if (!fits) return reply(no('SS_NEED_CONNECTION'));
    if (side === 'target') changeVolume(res, volume, { disk: DISK.Inconsistent }, { hard: true });
    else if (pd !== undefined) changePeerDevice(res, pd, { peerDisk: DISK.Inconsistent }, { hard: true });
    if (pd === undefined) return reply();
    setAllBits(res, pd, () => reply());
    return;
  }
  const conn = side === 'target' ? CONN.StartingSyncT : CONN.StartingSyncS;
  // Without a check the clamps would declare a disk that never held data good (DRBD 8.4 does).
  const sourceDisk = side === 'target' ? pd.peerDisk : volume.diskState;
  if (pd.conn === CONN.Connected && sourceDisk !== DISK.UpToDate) return reply(no('SS_NO_UP_TO_DATE_DISK'));
  const code = changePeerDevice(res, pd, { conn }, { dryRun: true, verbose: true });
  if (code !== 'SS_SUCCESS') return reply(answer(code));
  if (pd.connection.agreement !== undefined || isResizing(pd)) return reply(no('SS_IN_TRANSIENT_STATE'));
  askPeer(res, pd.connection, [pd], side === 'target' ? REQUEST.invalidate : REQUEST.invalidateRemote, (result) => {
    if (result < 1) return reply(no('SS_CW_FAILED_BY_PEER'));
    reply(answer(changePeerDevice(res, pd, { conn }, { verbose: true })));
  });
}

/** While one runs, only its stop sector is changed. */
function verify(res: Resource, pd: PeerDevice, start: number | undefined, stop: number | undefined, reply: Reply): void {
  const c = pd.connection;
  const end = stop ?? Number.POSITIVE_INFINITY;
  if (pd.volume.disk === undefined) return reply(no('ERR_NO_DISK'));
  if (pd.verify?.side === 'source') {
    pd.verify.stopAt(pd, end);
    return reply();
  }
  const code = changePeerDevice(res, pd, { conn: CONN.VerifyS }, { dryRun: true, verbose: true });
  if (code !== 'SS_SUCCESS') return reply(answer(code));
  const [own, peer] = [c.options['verify-alg'], c.peerVerifyAlg];
  if (own !== peer) {
    return reply(no('ERR_VERIFY_ALG', `Online verify refused: local verify-alg "${own}" differs from peer verify-alg "${peer}"`));
  }
  if (c.agreement !== undefined || isResizing(pd)) return reply(no('SS_IN_TRANSIENT_STATE'));
  askPeer(res, c, [pd], REQUEST.verify, (result) => {
    if (result < 1) return reply(no('SS_CW_FAILED_BY_PEER'));
    if (start !== undefined) pd.verifyStart = start;
    pd.verifyStop = end;
    reply(answer(changePeerDevice(res, pd, { conn: CONN.VerifyS }, { verbose: true })));
  });
}

function pauseSync(res: Resource, pd: PeerDevice): Refusal | undefined {
  if (pd.resyncSuspUser) return no('ERR_PAUSE_IS_SET');
  changePeerDevice(res, pd, { resyncSuspUser: true }, { hard: true });
  return undefined;
}

function resumeSync(res: Resource, pd: PeerDevice): Refusal | undefined {
  if (!pd.resyncSuspUser) {
    if (pd.resyncSuspDependency) return no('ERR_PIC_AFTER_DEP');
    return no(pd.resyncSuspPeer ? 'ERR_PIC_PEER_DEP' : 'ERR_PAUSE_IS_CLEAR');
  }
  changePeerDevice(res, pd, { resyncSuspUser: false }, { hard: true });
  return undefined;
}
