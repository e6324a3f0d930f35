/**
 * One replicated resource: the objects, the queues towards the host, and `settle`, which brings everything to rest after a
 * batch of events. What the events do stands in the files named after it.
 */
import { defaultOptions, NET_OPTIONS, RESOURCE_OPTIONS, type ResourceOptions } from '@udrbd/control';
import { packetLogName } from '@udrbd/wire';
import { control } from './admin.js';
import { runActivityLog } from './al-transactions.js';
import { continueBitmapSend } from './bitmap-exchange.js';
import type { Connection } from './connection.js';
import type { ControlRequest, LinkEnd, ReplicationCore } from './core.js';
import { maybeDiskless } from './disk-errors.js';
import { checkDisk, watchDisk } from './disk-timeout.js';
import { type ColdEffect, EFFECT, Effects, type LogLevel } from './effects.js';
import {
  type MetaWrite,
  type Millis,
  type Outbox,
  PROTOCOL_VERSIONS,
  type ProtocolVersions,
  type ResourceSetup,
  type Stream,
} from './host.js';
import { afterDrain, checkLiveness, linkDown, linkUp, livenessDeadline, ping } from './link.js';
import { syncMetaData, writeBitmap } from './meta-data-io.js';
import { type MetaWriteRow, MetaWriteRows, type Preflush } from './meta-write-rows.js';
import { epochFlushed, mirroredWriteDone, mirroredWriteRunnable } from './mirrored-writes.js';
import { SENT } from './outbox.js';
import type { PeerDevice } from './peer-device.js';
import { PEER, peerKind, releasePeerSlot } from './peer-requests.js';
import { payloadDone, receive } from './receiver.js';
import { readRunnable, remoteReadDone } from './remote-reads.js';
import { Requests } from './requests.js';
import { continueResize, resyncNewStorage } from './resize.js';
import {
  checksumReadDone,
  maybeFinishSource,
  type ResyncSide,
  resyncDeadline,
  resyncProgress,
  resyncReadDone,
  resyncTurn,
  resyncWriteDone,
  resyncWriteRunnable,
  startResync,
} from './resync.js';
import type { ResyncPlace } from './resync-order.js';
import type { ResourceSnapshot } from './snapshot.js';
import { snapshotOf } from './snapshot-of.js';
import { changeVolume } from './state-change.js';
import { CONN, DISK, ROLE, type RoleNumber, type StateView } from './state-view.js';
import { retryVerify, verifyCompareDone, verifyDeadline, verifyReadDone, verifyRunnable, verifyTurn } from './verify.js';
import type { Volume } from './volume.js';
import { continueBeneath } from './write-beneath.js';
import {
  afterOverlap,
  applicationDiskDone,
  closeSentEpoch,
  mayStart,
  oldestAwaited,
  releaseHeld,
  submit,
  unblockResync,
  writeHandedOver,
} from './write-path.js';

/** A message that can come with every request is logged once in this time. */
const LOG_RATE_MS = 5000;
const TICK_SLACK_MS = 0.001;

export class Resource implements ReplicationCore {
  readonly name: string;
  readonly nodeId: number;
  readonly requests: Requests;
  readonly effects = new Effects();
  readonly random64: () => bigint;
  readonly hmac: ResourceSetup['hmac'];
  readonly outboxBytes: number;
  readonly protocolVersions: ProtocolVersions;
  readonly volumes = new Map<number, Volume>();
  /** The same for what runs at every turn: to go through a map allocates. */
  readonly volumeList: Volume[] = [];
  readonly connections: (Connection | undefined)[] = [];
  options: ResourceOptions;
  role: RoleNumber = ROLE.Secondary;
  suspUser = false;
  suspNoData = false;
  suspFencing = false;
  /** Demoted by force while open: all I/O fails until the last close, and no promotion before that. */
  failIo = false;
  now: Millis = 0;
  deadline: Millis = Number.POSITIVE_INFINITY;
  /** Number of the epoch that writes go into, and how many it has. */
  currentEpoch = 0;
  currentEpochWrites = 0;
  maxEpochSize = NET_OPTIONS['max-epoch-size'].default as number;
  writeOrdering: 'none' | 'drain' | 'flush' = 'flush';
  wantMetaDataSync = false;
  /** What waits until there are no unfinished writes. */
  readonly whenFinished: (() => void)[] = [];

  #unsettled = false;
  #token = 0;
  readonly #waiting = new Map<number, (errno: number) => void>();
  readonly #metaWrites = new MetaWriteRows((row) => this.#issueMetaWrite(row));
  readonly #measuring = new Map<number, (backingSectors: number, metaSectors: number) => void>();
  readonly #timers: { at: Millis; run: () => void }[] = [];
  #overlapWanted = false;
  #activityLogWanted = false;
  readonly #lastLogged = new Map<string, Millis>();
  #announce = false;
  #flushBroken = false;
  #view: DataView | undefined;
  #viewBytes: Uint8Array | undefined;

  constructor(setup: ResourceSetup) {
    this.name = setup.name;
    this.nodeId = setup.nodeId;
    this.options = { ...defaultOptions(RESOURCE_OPTIONS), ...(setup.options as Partial<ResourceOptions>) };
    this.requests = new Requests(setup.applicationSlots, setup.peerSlots);
    this.outboxBytes = setup.outboxBytes;
    this.protocolVersions = setup.protocolVersions ?? PROTOCOL_VERSIONS;
    this.random64 = () => setup.random64();
    this.hmac = (algorithm, key, data) => setup.hmac(algorithm, key, data);
  }

  // --- data plane -----------------------------------------------------------------------------------------------------

  get isSuspended(): boolean {
    return this.suspUser || this.suspNoData || this.suspFencing;
  }

  ioReady(volumeNumber: number): boolean {
    const volume = this.volumes.get(volumeNumber);
    return volume !== undefined && mayStart(this, volume);
  }

  submit(now: Millis, slot: number): void {
    this.now = now;
    this.#unsettled = true;
    submit(this, slot);
  }

  diskDone(now: Millis, slot: number, errno: number): void {
    this.now = now;
    this.#unsettled = true;
    if (slot < this.requests.applicationSlots) return applicationDiskDone(this, slot, errno);
    const c = this.connections[this.requests.connection[slot]!]!;
    const pd = this.peerDevice(c, this.requests.volume[slot]!)!;
    switch (peerKind(this, slot)) {
      case PEER.MirroredWrite:
        return mirroredWriteDone(this, pd, slot, errno);
      case PEER.RemoteRead:
        return remoteReadDone(this, pd, slot, errno);
      case PEER.ResyncRead:
        return resyncReadDone(this, pd, slot, errno);
      case PEER.ResyncWrite:
        return resyncWriteDone(this, pd, slot, errno);
      case PEER.ChecksumRead:
        return checksumReadDone(this, pd, slot, errno);
      case PEER.VerifyCompare:
        return verifyCompareDone(this, pd, slot, errno);
      case PEER.VerifyRead:
        return verifyReadDone(this, pd, slot, errno);
      default:
        throw new Error(`slot ${slot}: no disk request is under way`);
    }
  }

  metaDone(now: Millis, token: number, errno: number): void {
    this.now = now;
    this.#unsettled = true;
    if (token < 0) return this.#metaWriteDone(token, errno);
    const done = this.#waiting.get(token);
    this.#waiting.delete(token);
    done?.(errno);
  }

  epochFlushed(now: Millis, connection: number, volumeNumber: number, errno: number): void {
    this.now = now;
    this.#unsettled = true;
    epochFlushed(this, this.connections[connection]!, this.volumes.get(volumeNumber)!, errno);
  }

  diskMeasured(now: Millis, token: number, backingSectors: number, metaSectors: number): void {
    this.now = now;
    this.#unsettled = true;
    const done = this.#measuring.get(token);
    this.#measuring.delete(token);
    done?.(backingSectors, metaSectors);
  }

  outbox(connection: number, stream: Stream): Outbox {
    return this.connections[connection]!.outboxes[stream];
  }

  sendDone(now: Millis, connection: number, stream: Stream, entries: number): void {
    this.now = now;
    this.#unsettled = true;
    const c = this.connections[connection]!;
    const box = c.outboxes[stream];
    for (let i = 0; i < entries && box.done < box.queued; i++) {
      const row = box.finishOldest();
      const action = box.action[row]!;
      if (action === SENT.ApplicationWrite) writeHandedOver(this, c, box.actionSlot[row]!);
      else if (action === SENT.Reply) releasePeerSlot(this, box.actionSlot[row]!);
    }
    if (c.stalled) this.resumeReceive(c);
    for (let i = 0; i < c.peerDevices.length; i++) {
      const pd = c.peerDevices[i]!;
      if (pd.bitmapSend !== undefined) continueBitmapSend(this, pd);
    }
  }

  receive(now: Millis, connection: number, stream: Stream, bytes: Uint8Array, start: number, end: number): number {
    this.now = now;
    this.#unsettled = true;
    const c = this.connections[connection];
    if (c === undefined) return end - start;
    if (this.#viewBytes !== bytes) {
      this.#viewBytes = bytes;
      this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    }
    return receive(this, c, stream, this.#view!, bytes, start, end);
  }

  payloadSlot(connection: number): number {
    return this.connections[connection]?.wantedSlot ?? -1;
  }

  payloadBytes(connection: number): number {
    return this.connections[connection]?.wantedBytes ?? 0;
  }

  payloadOffset(connection: number): number {
    return this.connections[connection]?.wantedOffset ?? 0;
  }

  payloadDone(now: Millis, connection: number): void {
    this.now = now;
    this.#unsettled = true;
    const c = this.connections[connection];
    if (c !== undefined && c.wantedSlot >= 0) payloadDone(this, c);
  }

  // --- links, time, control ---------------------------------------------------------------------------------------------

  linkUp(now: Millis, connection: number, resolveConflicts: boolean): void {
    this.now = now;
    this.#unsettled = true;
    const c = this.connections[connection];
    if (c !== undefined) linkUp(this, c, resolveConflicts);
  }

  linkDown(now: Millis, connection: number, why: LinkEnd, detail: string): void {
    this.now = now;
    this.#unsettled = true;
    const c = this.connections[connection];
    if (c !== undefined) linkDown(this, c, why, detail);
  }

  control(now: Millis, operation: number, request: ControlRequest): void {
    this.now = now;
    this.#unsettled = true;
    control(this, request, (error) => {
      this.#unsettled = true;
      this.cold(error === undefined ? { type: 'reply', operation } : { type: 'reply', operation, error, info: error.info ?? [] });
    });
  }

  helperDone(now: Millis, token: number, exitCode: number): void {
    this.now = now;
    this.#unsettled = true;
    const done = this.#waiting.get(token);
    this.#waiting.delete(token);
    done?.(exitCode);
  }

  tick(now: Millis): void {
    // A host that counts in whole microseconds may come a rounding error too early.
    this.now = this.deadline - now < TICK_SLACK_MS ? Math.max(now, this.deadline) : now;
    this.#unsettled = true;
    for (let i = 0; i < this.#timers.length; ) {
      if (this.#timers[i]!.at > this.now) i++;
      else this.#timers.splice(i, 1)[0]!.run();
    }
    for (const volume of this.volumes.values()) checkDisk(this, volume);
    for (const c of this.connections) {
      if (c === undefined) continue;
      if (c.nextRequestCheck <= this.now) c.nextRequestCheck = this.now + 1000;
      checkLiveness(this, c);
      for (let i = 0; i < c.peerDevices.length; i++) {
        resyncTurn(this, c.peerDevices[i]!);
        verifyTurn(this, c.peerDevices[i]!);
      }
    }
  }

  resyncDependency(now: Millis, volumeNumber: number, mustWait: boolean): void {
    this.now = now;
    this.#unsettled = true;
    const volume = this.volumes.get(volumeNumber);
    if (volume !== undefined) changeVolume(this, volume, { resyncSuspDependency: mustWait }, { hard: true });
  }

  snapshot(now: Millis): ResourceSnapshot {
    this.now = now;
    return snapshotOf(this);
  }

  /** Runs what handlers left to do until nothing is left; then the deadline is known. */
  settle(now: Millis): void {
    this.now = now;
    while (this.#unsettled) {
      this.#unsettled = false;
      if (this.#overlapWanted) this.#runOverlaps();
      if (this.#activityLogWanted) this.#runActivityLogs();
      for (let i = 0; i < this.connections.length; i++) {
        const c = this.connections[i];
        if (c === undefined) continue;
        // The epoch on the wire is closed: its barrier need not wait for the next write.
        if (c.isUp && c.sentEpoch !== this.currentEpoch) closeSentEpoch(this, c);
        for (let k = 0; k < c.peerDevices.length; k++) {
          const { newStorage, conn } = c.peerDevices[k]!;
          if (newStorage !== undefined && conn === CONN.Connected) resyncNewStorage(this, c.peerDevices[k]!, newStorage);
          if (c.peerDevices[k]!.targetIsThrough) maybeFinishSource(this, c.peerDevices[k]!);
          if (c.peerDevices[k]!.verifyWaiting.length > 0) retryVerify(this, c.peerDevices[k]!);
        }
        if (c.beneath.length > 0) continueBeneath(this, c);
        if (c.drained) afterDrain(this, c);
      }
      for (let i = 0; i < this.volumeList.length; i++) {
        const volume = this.volumeList[i]!;
        if (volume.resizeJobs.length > 0) continueResize(this, volume);
        if (volume.resyncAnswered) unblockResync(this, volume);
        if (volume.parked.length > 0 || volume.heldCompletions.length > 0) releaseHeld(this, volume);
        if (volume.disk !== undefined && volume.diskState <= DISK.Failed && volume.diskState !== DISK.Attaching)
          maybeDiskless(this, volume);
      }
      if (this.whenFinished.length > 0 && !this.hasUnfinishedWrites()) for (const run of this.whenFinished.splice(0)) run();
      if (this.wantMetaDataSync) {
        // A state that others may learn of is not forgotten by a crash.
        this.wantMetaDataSync = false;
        for (const volume of this.volumes.values()) if (volume.metaDataDirty) syncMetaData(this, volume);
      }
    }
    if (this.#announce) {
      this.#announce = false;
      this.effects.cold.push({ type: 'stateChanged' });
      for (const volume of this.volumes.values()) this.#tellResyncPlace(volume);
    }
    this.#setDeadline();
  }

  #tellResyncPlace(volume: Volume): void {
    const place = resyncPlaceOf(volume);
    const told = volume.resyncPlace;
    if (told.after === place.after && told.hasDisk === place.hasDisk && told.isBusy === place.isBusy && told.isWaiting === place.isWaiting)
      return;
    volume.resyncPlace = place;
    this.cold({ type: 'resyncPlace', volume: volume.number, minor: volume.minor, place });
  }

  #setDeadline(): void {
    let deadline = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.#timers.length; i++) deadline = Math.min(deadline, this.#timers[i]!.at);
    for (let i = 0; i < this.volumeList.length; i++) deadline = Math.min(deadline, this.volumeList[i]!.diskCheckAt);
    for (let i = 0; i < this.connections.length; i++) {
      const c = this.connections[i];
      if (c === undefined) continue;
      deadline = Math.min(deadline, livenessDeadline(c));
      for (let k = 0; k < c.peerDevices.length; k++) {
        deadline = Math.min(deadline, resyncDeadline(c.peerDevices[k]!), verifyDeadline(c.peerDevices[k]!));
      }
    }
    this.deadline = deadline;
  }

  #runOverlaps(): void {
    // What becomes runnable may want others to be looked at again.
    this.#overlapWanted = false;
    for (let i = 0; i < this.volumeList.length; i++) {
      const volume = this.volumeList[i]!;
      if (!volume.overlapWanted) continue;
      volume.overlapWanted = false;
      for (let slot = volume.overlap.nextRunnable(); slot >= 0; slot = volume.overlap.nextRunnable()) this.#runnable(volume, slot);
    }
  }

  #runnable(volume: Volume, slot: number): void {
    if (slot < this.requests.applicationSlots) return afterOverlap(this, volume, slot);
    const pd = this.peerDevice(this.connections[this.requests.connection[slot]!]!, volume.number)!;
    switch (peerKind(this, slot)) {
      case PEER.MirroredWrite:
        return mirroredWriteRunnable(this, pd, slot);
      case PEER.ResyncRead:
      case PEER.RemoteRead:
      case PEER.VerifyWait:
      case PEER.VerifyRead:
      case PEER.VerifyCompare:
        return this.peerReadRunnable(pd, slot);
      default:
        return resyncWriteRunnable(this, pd, slot);
    }
  }

  peerReadRunnable(pd: PeerDevice, slot: number): void {
    const kind = peerKind(this, slot);
    if (kind === PEER.RemoteRead || kind === PEER.ResyncRead) readRunnable(this, pd, slot);
    else verifyRunnable(this, pd, slot);
  }

  #runActivityLogs(): void {
    this.#activityLogWanted = false;
    for (let i = 0; i < this.volumeList.length; i++) {
      const volume = this.volumeList[i]!;
      if (!volume.activityLogWanted) continue;
      volume.activityLogWanted = false;
      runActivityLog(this, volume);
    }
  }

  // --- what the parts of the core ask of each other -------------------------------------------------------------------------

  /** Some write was sent to a peer whose epoch is not acked yet, or only told of. While all I/O fails: some request is not answered yet. */
  hasUnfinishedWrites(): boolean {
    if (this.failIo) for (const volume of this.volumes.values()) if (volume.upperPending > 0) return true;
    const isAwaiting = (c: Connection): boolean => oldestAwaited(this, c) >= 0 || c.peerDevices.some((pd) => pd.conn === CONN.Ahead);
    return this.connections.some((c) => c !== undefined && isAwaiting(c));
  }

  addVolume(volume: Volume): void {
    this.volumes.set(volume.number, volume);
    this.volumeList.push(volume);
  }

  removeVolume(volume: Volume): void {
    this.volumes.delete(volume.number);
    this.volumeList.splice(this.volumeList.indexOf(volume), 1);
  }

  wantSettle(): void {
    this.#unsettled = true;
  }

  wantOverlap(volume: Volume): void {
    volume.overlapWanted = true;
    this.#overlapWanted = true;
    this.#unsettled = true;
  }

  wantActivityLog(volume: Volume): void {
    volume.activityLogWanted = true;
    this.#activityLogWanted = true;
    this.#unsettled = true;
  }

  later(delayMs: number, run: () => void): void {
    this.#timers.push({ at: this.now + delayMs, run });
  }

  cold(effect: ColdEffect): void {
    this.effects.cold.push(effect);
  }

  pushSend(connection: number, stream: Stream): void {
    this.effects.push(EFFECT.Send, connection, stream);
  }

  resumeReceive(c: Connection): void {
    c.stalled = false;
    this.effects.push(EFFECT.ResumeReceive, c.index, 0);
  }

  /**
   * Writes `lengthBytes` of `bytes`, from `from` on, to a place of the meta-data device.
   * @param preflush - asked when the write is issued, which is when its bytes are taken: writes to the same place wait for each other
   */
  metaWrite(
    volume: Volume,
    offsetBytes: number,
    bytes: Uint8Array,
    preflush: Preflush,
    fua: boolean,
    done: (errno: number) => void,
    from = 0,
    lengthBytes = bytes.length,
  ): void {
    const row = this.#metaWrites.acquire();
    row.set(volume, offsetBytes, bytes, preflush, fua, done, from, lengthBytes);
    volume.metaWrites.add(row);
  }

  #issueMetaWrite(row: MetaWriteRow): void {
    row.issuedAt = this.now;
    watchDisk(this, row.of!);
    this.effects.push(EFFECT.MetaWrite, row.row, 0);
  }

  metaWriteOf(row: number): MetaWrite {
    return this.#metaWrites.at(row);
  }

  #metaWriteDone(token: number, errno: number): void {
    const row = this.#metaWrites.find(token);
    if (row === undefined) return;
    const { done } = row;
    row.of!.metaWrites.done(row);
    this.#metaWrites.release(row);
    done(errno);
  }

  /** Asks how large a volume's devices are now, in sectors. */
  measureDisk(volume: Volume, done: (backingSectors: number, metaSectors: number) => void): void {
    const token = ++this.#token;
    this.#measuring.set(token, done);
    this.cold({ type: 'measureDisk', volume: volume.number, token });
  }

  /** Runs a handler; `done` is told its exit code. */
  helper(name: string, volume: Volume | undefined, c: Connection | undefined, done: (exitCode: number) => void = () => {}): void {
    this.cold({ type: 'helper', name, volume: volume?.number, connection: c?.index, token: this.expect(done) });
  }

  /** A token that the host answers with a number. */
  expect(done: (value: number) => void): number {
    const token = ++this.#token;
    this.#waiting.set(token, done);
    return token;
  }

  peerDevice(c: Connection, volumeNumber: number): PeerDevice | undefined {
    for (let i = 0; i < c.peerDevices.length; i++) if (c.peerDevices[i]!.volume.number === volumeNumber) return c.peerDevices[i];
    return undefined;
  }

  view(volume: Volume, pd: PeerDevice | undefined): StateView {
    return {
      role: this.role,
      peerRole: pd?.peerRole ?? ROLE.Unknown,
      conn: pd?.conn ?? CONN.StandAlone,
      disk: volume.diskState,
      peerDisk: pd?.peerDisk ?? DISK.DUnknown,
      suspUser: this.suspUser,
      suspNoData: this.suspNoData,
      suspFencing: this.suspFencing,
      resyncSuspDependency: pd?.resyncSuspDependency ?? false,
      resyncSuspPeer: pd?.resyncSuspPeer ?? false,
      resyncSuspUser: pd?.resyncSuspUser ?? false,
    };
  }

  stateChanged(): void {
    this.#announce = true;
    this.#unsettled = true;
    this.evaluateWriteOrdering();
    let size = Number.POSITIVE_INFINITY;
    for (const c of this.connections) if (c !== undefined) size = Math.min(size, c.options['max-epoch-size']);
    this.maxEpochSize = size;
  }

  progressChanged(): void {
    this.#announce = true;
  }

  resyncProgress(pd: PeerDevice): void {
    resyncProgress(this, pd);
  }

  startResync(pd: PeerDevice, side: ResyncSide): void {
    startResync(this, pd, side);
  }

  writeWholeBitmap(volume: Volume): void {
    writeBitmap(this, volume, 'all');
  }

  volumeChanged(volume: Volume): void {
    this.cold({ type: 'volumeChanged', volume: volume.number, sizeSectors: volume.sizeSectors, writable: this.role === ROLE.Primary });
  }

  /** Data are accessible again: what was frozen for want of them goes on. */
  thawNoData(): void {
    this.suspNoData = false;
    this.#unsettled = true;
    this.#announce = true;
  }

  pingTimeoutMs(): number {
    let longest = 0;
    for (const c of this.connections) if (c !== undefined) longest = Math.max(longest, c.options['ping-timeout'] * 100);
    return longest;
  }

  ping(c: Connection): void {
    ping(this, c);
  }

  closeLink(c: Connection, why: LinkEnd): void {
    if (c.closing) return;
    c.closing = true;
    c.closeReason = why;
    this.cold({ type: 'closeLink', connection: c.index });
  }

  /**
   * The peer broke the protocol: drop the link, try again.
   * @param permanent - DRBD 8.4 gives up on an unknown packet of the meta stream
   */
  protocolError(c: Connection, text: string, permanent = false): void {
    this.logConnection('err', c, text);
    if (permanent && c.state !== CONN.StandAlone) this.logConnection('err', c, 'retrying');
    c.retryAfterMs = 1000;
    this.closeLink(c, 'protocol-error');
  }

  packetName(command: number): string {
    return packetLogName(command);
  }

  /** The strongest method that every disk allows; a disk without flushes lowers it for good. */
  evaluateWriteOrdering(): void {
    let method: 'none' | 'drain' | 'flush' = this.#flushBroken ? 'drain' : 'flush';
    for (const volume of this.volumes.values()) {
      if (volume.disk === undefined) continue;
      const { options } = volume.disk;
      const allowed = options['disk-flushes'] ? 'flush' : options['disk-drain'] ? 'drain' : 'none';
      if (allowed === 'none') method = 'none';
      else if (allowed === 'drain' && method === 'flush') method = 'drain';
    }
    if (method === this.writeOrdering) return;
    this.writeOrdering = method;
    this.log('info', undefined, undefined, `Method to ensure write ordering: ${method}`);
  }

  flushesUnsupported(volume: Volume): void {
    this.log('err', volume, undefined, 'local disk FLUSH FAILED with status -95');
    this.#flushBroken = true;
    this.evaluateWriteOrdering();
  }

  log(level: LogLevel, volume: Volume | undefined, pd: PeerDevice | undefined, text: string): void {
    const where = volume === undefined ? this.name : `${this.name}/${volume.number} drbd${volume.minor}`;
    const peer = pd === undefined || pd.connection.name === '' ? '' : ` ${pd.connection.name}`;
    this.cold({ type: 'log', level, text: `drbd ${where}${peer}: ${text}` });
  }

  logConnection(level: LogLevel, c: Connection, text: string): void {
    this.cold({ type: 'log', level, text: `drbd ${this.name}${c.name === '' ? '' : ` ${c.name}`}: ${text}` });
  }

  logRateLimited(level: LogLevel, volume: Volume, text: string): void {
    const key = `${volume.number} ${text.replace(/\d+/g, '')}`;
    const last = this.#lastLogged.get(key);
    if (last !== undefined && this.now - last < LOG_RATE_MS) return;
    this.#lastLogged.set(key, this.now);
    this.log(level, volume, undefined, text);
  }
}

/** Where a volume stands among those that wait for each other's resyncs. */
function resyncPlaceOf(volume: Volume): ResyncPlace {
  const { peerDevices, disk } = volume;
  const isWaiting = peerDevices.some((pd) => pd.resyncSuspDependency);
  const isBusy = peerDevices.some(
    (pd) => (pd.conn >= CONN.SyncSource && pd.conn <= CONN.PausedSyncT) || pd.resyncSuspPeer || pd.resyncSuspUser,
  );
  return { after: disk?.options['resync-after'] ?? -1, hasDisk: disk !== undefined, isBusy: isBusy || isWaiting, isWaiting };
}
