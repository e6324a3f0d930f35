/** One simulated node: the second host of the core. Owns a disk that outlives it, and a core while it runs. */
import {
  type ColdEffect,
  type ControlRequest,
  DIGEST_STRIDE,
  digestBytes,
  EFFECT,
  type MetaWrite,
  OP,
  type Op,
  PROTOCOL_VERSIONS,
  REQ_FUA,
  REQ_PREFLUSH,
  type ReplicationCore,
  type ResourceSnapshot,
  type Stream,
} from '@udrbd/replication';
import { COMMAND, HEADER_KIND, headerBytesOf, P_CONNECTION_FEATURES } from '@udrbd/wire';
import { digestOf } from './digest.js';
import type { Scheduled } from './event-queue.js';
import { applyActivityLog, deviceBytes, moveMetaData, openBackingDisk, placesOfWrites, readMetaData } from './meta-tools.js';
import { type Link, type LinkUser, other, type Side } from './network.js';
import { Saboteur } from './saboteur.js';
import { type DiskWrite, SimDisk } from './sim-disk.js';
import type { World } from './world.js';

const VOLUME = 0;
const CONNECTION = 0;
const APPLICATION_SLOTS = 64;
const PEER_SLOTS = 256;
const OUTBOX_BYTES = 512 * 1024;
const EIO = 5;

const GENUINE_PROTOCOL_MIN = 86;
/** Exit codes of a fence-peer handler. */
const FENCED = { broken: 20, worse: 3, outdated: 4, unreachable: 5, primary: 6, stonith: 7 } as const;

export type CommandDone = (error: string | undefined) => void;

/** Bytes received of one stream and not consumed. */
class Inbox {
  bytes = new Uint8Array(65536);
  start = 0;
  end = 0;
  append(more: Uint8Array): void {
    if (this.end + more.length > this.bytes.length) {
      const kept = this.bytes.subarray(this.start, this.end);
      const next = new Uint8Array(Math.max(this.bytes.length, 2 * (kept.length + more.length)));
      next.set(kept);
      this.bytes = next;
      this.end -= this.start;
      this.start = 0;
    }
    this.bytes.set(more, this.end);
    this.end += more.length;
  }
}

export class SimNode implements LinkUser {
  readonly side: Side;
  readonly disk: SimDisk;
  core: ReplicationCore | undefined;
  wantsLink = false;
  readonly #world: World;
  readonly #saboteur: Saboteur;
  #link: Link | undefined;
  #inboxes: [Inbox, Inbox] = [new Inbox(), new Inbox()];
  #payloadDone = 0;
  /** Entries of each outbox that the socket has taken, and those of them that were reported. */
  #handed: [number, number] = [0, 0];
  #buffers = new Map<number, Uint8Array>();
  /** Slots whose disk request is under way. */
  readonly #diskSlots = new Set<number>();
  #operations = new Map<number, CommandDone>();
  #operationNumber = 0;
  #tick: Scheduled | undefined;
  #draining = false;
  /** Called with an application slot and its errno. */
  onComplete: (slot: number, errno: number) => void = () => {};
  /** The core let the disk go (detach, I/O error). */
  diskClosed = true;
  /** Counts the times that the node came up. */
  incarnation = 0;

  constructor(world: World, side: Side, disk?: SimDisk) {
    this.#world = world;
    this.side = side;
    this.disk = disk ?? new SimDisk(deviceBytes(world.plan), world.plan.writeCache);
    this.#saboteur = new Saboteur(world.plan.canary, world.random.canary, world.plan.format);
  }

  get isUp(): boolean {
    return this.core !== undefined;
  }

  get name(): string {
    return this.side === 0 ? 'a' : 'b';
  }

  get now(): number {
    return this.#world.queue.millis;
  }

  snapshot(): ResourceSnapshot | undefined {
    return this.core?.snapshot(this.now);
  }

  // --- life ---

  /** What `drbdadm up` does on a node that just started. */
  up(): void {
    const world = this.#world;
    const { plan } = world;
    this.incarnation++;
    world.trace(this, 'up');
    this.core = world.createCore({
      name: 'r0',
      nodeId: this.side,
      options: {},
      protocolVersions: { min: PROTOCOL_VERSIONS.min, max: this.side === 0 ? plan.protocolVersion : PROTOCOL_VERSIONS.max },
      applicationSlots: APPLICATION_SLOTS,
      peerSlots: PEER_SLOTS,
      outboxBytes: OUTBOX_BYTES,
      random64: () => world.random.uuid.u64(),
      hmac: () => undefined,
    });
    this.#buffers.clear();
    this.#diskSlots.clear();
    world.network.users[this.side] = this;
    const options = {
      protocol: plan.protocol,
      'allow-two-primaries': plan.twoPrimaries,
      'use-rle': plan.useRle,
      'csums-alg': plan.csums,
      'csums-after-crash-only': plan.csumsAfterCrashOnly,
      'verify-alg': plan.verifyAlg,
      'data-integrity-alg': plan.integrity,
      'on-congestion': plan.protocol === 'A' ? plan.onCongestion : 'block',
      'congestion-fill': plan.congestionFill,
      _name: 'peer',
      'ping-timeout': 5,
      'connect-int': plan.connectInt,
      fencing: plan.fencing,
    };
    const steps: ControlRequest[] = [
      { command: 'new-minor', volume: VOLUME, minor: this.side, options: {} },
      { command: 'new-peer', connection: CONNECTION, peerNodeId: other(this.side), options },
      {
        command: 'peer-device-options',
        connection: CONNECTION,
        volume: VOLUME,
        options: {
          'resync-rate': plan.resyncRateKiB,
          'c-plan-ahead': plan.planAhead,
          'c-min-rate': plan.minRateKiB,
          'c-fill-target': 2000,
          'c-max-rate': 4_000_000,
        },
        setDefaults: false,
      },
    ];
    for (const step of steps) this.control(step, (error) => this.#expectSuccess(step.command, error));
    this.attach((error) => {
      this.#expectSuccess('attach', error);
      this.control({ command: 'connect', connection: CONNECTION, tentative: false, discardMyData: false }, (e) =>
        this.#expectSuccess('connect', e),
      );
    });
  }

  #expectSuccess(command: string, error: string | undefined): void {
    // The operator detached it again before it was through.
    if (error?.startsWith('ERR_IO_MD_DISK') === true && command === 'attach' && this.diskClosed) return;
    // The disk may fail while it is being attached.
    if (
      error?.startsWith('ERR_IO_MD_DISK') === true &&
      (this.#world.plan.diskErrorsPerMillion > 0 || this.#world.plan.hangEvery < Infinity)
    )
      return;
    // The operator has been quicker than an attach whose disk hung.
    if (error?.startsWith('ERR_NET_CONFIGURED') === true && this.#world.plan.hangEvery < Number.POSITIVE_INFINITY) return;
    if (error !== undefined) this.#world.violation(`L1 ${this.name}: ${command} was refused: ${error}`);
  }

  attach(done: CommandDone): void {
    if (!this.diskClosed && this.core !== undefined && this.incarnation === this.#diskOwner) return done('busy');
    this.diskClosed = false;
    this.#diskOwner = this.incarnation;
    const { plan } = this.#world;
    moveMetaData(this.disk, plan.format);
    this.#limitBytes = Number.POSITIVE_INFINITY;
    this.#isAbandoned = false;
    applyActivityLog(this.disk, plan.format, this.#saboteur.forgetsActivityLog);
    this.#world.checks.activityLogChanged(this);
    this.control({ command: 'attach', volume: VOLUME, disk: openBackingDisk(this.disk, plan) }, done);
  }
  #diskOwner = -1;
  /** Size of the device above, sectors. */
  sizeSectors = 0;
  /** No write of data may go beyond what the super block on disk says. */
  #limitBytes = Number.POSITIVE_INFINITY;

  /** The process is gone, kernel and disk are not. */
  kill(): void {
    if (this.core === undefined) return;
    this.#world.trace(this, 'killed');
    this.#gone(false);
    this.disk.processGone(this.#world.random.disk);
    this.#world.checks.activityLogChanged(this);
  }

  powerCut(): void {
    if (this.core === undefined) return;
    this.#world.trace(this, 'power cut');
    this.#gone(true);
    this.disk.powerCut(this.#world.random.disk, this.#world.plan.tornPercent);
  }

  #gone(silently: boolean): void {
    const world = this.#world;
    this.core = undefined;
    this.wantsLink = false;
    this.diskClosed = true;
    world.network.users[this.side] = undefined;
    if (this.#link !== undefined) world.network.vanish(this.#link, this.side, silently);
    this.#link = undefined;
    this.#operations.clear();
    this.#onItsWay.clear();
    this.#abandonToken = undefined;
    world.queue.cancel(this.#tick);
    this.#tick = undefined;
  }

  // --- calls into the core ---

  /** Every call into the core goes through here; nothing happens when that core is gone. */
  #call(core: ReplicationCore | undefined, body: (core: ReplicationCore) => void): void {
    if (core === undefined || this.core !== core) return;
    try {
      body(core);
      core.settle(this.now);
      this.#drain(core);
    } catch (error) {
      this.#world.violation(`crash ${this.name}: ${error instanceof Error ? error.stack : String(error)}`);
      return;
    }
    this.#schedule(core);
  }

  #later(delayMicros: number, body: (core: ReplicationCore) => void): void {
    const { core } = this;
    this.#world.queue.after(delayMicros, () => this.#call(core, body));
  }

  #schedule(core: ReplicationCore): void {
    if (this.core !== core) return;
    const { deadline } = core;
    const { queue } = this.#world;
    let at = deadline === Number.POSITIVE_INFINITY ? deadline : Math.max(queue.now, Math.ceil(deadline * 1000));
    // The core compares milliseconds: rounding must not call it a moment too early.
    while (at / 1000 < deadline) at++;
    if (this.#tick?.run !== undefined) {
      if (this.#tick.at === at) return;
      queue.cancel(this.#tick);
    }
    this.#tick = undefined;
    if (at === Number.POSITIVE_INFINITY) return;
    if (at <= queue.now) this.#world.noteBusy(this);
    const tick = queue.at(at, () => {
      tick.run = undefined;
      this.#call(core, (c) => c.tick(this.now));
    });
    this.#tick = tick;
  }

  othersComeFirst(mustWait: boolean): void {
    this.#world.trace(this, mustWait ? 'waits for another resync' : 'waits for no other resync');
    this.#call(this.core, (c) => c.resyncDependency(this.now, VOLUME, mustWait));
  }

  control(request: ControlRequest, done: CommandDone = () => {}): void {
    const operation = ++this.#operationNumber;
    this.#operations.set(operation, done);
    const { core } = this;
    this.#world.trace(this, `command ${request.command}`);
    this.#call(core, (c) => c.control(this.now, operation, request));
  }

  /** @returns the slot, or -1 when the device takes nothing now; the payload is taken over */
  submit(op: Op, flags: number, sector: number, lengthBytes: number, payload: Uint8Array | undefined): number {
    const { core } = this;
    if (core === undefined || !core.ioReady(VOLUME)) return -1;
    const slot = core.requests.acquireApplication();
    if (slot < 0) return -1;
    const { requests } = core;
    requests.volume[slot] = VOLUME;
    requests.op[slot] = op;
    requests.flags[slot] = flags;
    requests.sector[slot] = sector;
    requests.lengthBytes[slot] = lengthBytes;
    this.#buffers.set(slot, payload ?? new Uint8Array(op === OP.Read ? lengthBytes : 0));
    return slot;
  }

  /** Starts what `submit` prepared: its caller has noted the slot by now. */
  start(slot: number): void {
    this.#call(this.core, (c) => c.submit(this.now, slot));
  }

  buffer(slot: number): Uint8Array {
    return this.#buffers.get(slot)!;
  }

  // --- effects ---

  #drain(core: ReplicationCore): void {
    if (this.#draining) throw new Error('drained twice');
    this.#draining = true;
    const { effects } = core;
    let isChanged = false;
    const completed: [slot: number, errno: number][] = [];
    for (let i = 0; i < effects.count; i++) {
      const slot = effects.slot[i]!;
      const value = effects.value[i]!;
      switch (effects.kind[i]) {
        case EFFECT.DiskRead:
          this.#occupy(slot);
          this.#diskRead(core, slot);
          break;
        case EFFECT.DiskWrite:
        case EFFECT.DiskDiscard:
        case EFFECT.DiskWriteZeroes:
          this.#occupy(slot);
          this.#diskWrite(core, slot);
          break;
        case EFFECT.DiskFlush:
          this.#occupy(slot);
          this.#diskFlush(this.#latency(), this.#saboteur.skipsFlush, (errno) => this.#diskDone(core, slot, errno));
          break;
        case EFFECT.FlushVolume:
          this.#diskFlush(this.#latency(), this.#saboteur.skipsEpochFlush, (errno) => core.epochFlushed(this.now, value, slot, errno));
          break;
        case EFFECT.Complete:
          completed.push([slot, value]);
          break;
        case EFFECT.AllocateBuffer:
          this.#buffers.set(slot, new Uint8Array(value));
          break;
        case EFFECT.FreeBuffer:
          this.#buffers.delete(slot);
          break;
        case EFFECT.Send:
          this.#wakeSender(value as Stream);
          break;
        case EFFECT.ResumeReceive:
          this.#later(0, () => this.#feed(0));
          break;
        default:
          throw new Error(`effect ${effects.kind[i]} has no host action`);
      }
    }
    effects.count = 0;
    for (const effect of effects.cold.splice(0)) if (this.#cold(core, effect)) isChanged = true;
    this.#draining = false;
    for (const [slot, errno] of completed) this.onComplete(slot, errno);
    if (isChanged) this.#world.stateChanged(this);
  }

  /** Only in a trace that is looked at: one's own requests have numbers below 64, those for the peer above. */
  #detail(what: string, slot: number, sector: number, lengthBytes: number): void {
    if (this.#world.isTracing) this.#world.show(this, `  ${what} ${sector}+${lengthBytes / 512}, slot ${slot}`);
  }

  #latency(): number {
    const { plan, random } = this.#world;
    return random.disk.range(plan.diskMin, plan.diskMax) + Math.max(0, this.#hangsUntil - this.#world.queue.now);
  }

  #fails(): boolean {
    const { plan, random, isQuiet } = this.#world;
    return (
      plan.diskErrorsPerMillion > 0 &&
      plan.diskErrorsOn === this.side &&
      !isQuiet &&
      random.disk.chance(plan.diskErrorsPerMillion, 1_000_000)
    );
  }

  /**
   * Something that the disk does.
   * @param fail - answers it in its place when the disk is given up
   * @param end - what it comes to; `isLate`: nobody waits for the answer any more
   */
  #onDisk(latency: number, fail: (core: ReplicationCore) => void, end: (core: ReplicationCore, isLate: boolean) => void): void {
    if (this.#isAbandoned) return this.#later(1, fail);
    const operation = { fail, isLate: false };
    this.#onItsWay.add(operation);
    this.#later(latency, (c) => {
      this.#onItsWay.delete(operation);
      end(c, operation.isLate);
      this.#disksEnd(c);
    });
  }
  readonly #onItsWay = new Set<{ readonly fail: (core: ReplicationCore) => void; isLate: boolean }>();
  /** The core has given the disk up. */
  #isAbandoned = false;
  #abandonToken: number | undefined;
  /** The disk answers nothing before that, microseconds. */
  #hangsUntil = 0;

  get isHanging(): boolean {
    return this.#world.queue.now < this.#hangsUntil;
  }

  hangs(micros: number): void {
    this.#world.trace(this, `disk hangs for ${micros} us`);
    this.#hangsUntil = this.#world.queue.now + micros;
  }

  #abandonDisk(token: number): void {
    this.#isAbandoned = true;
    const operations = [...this.#onItsWay];
    for (const operation of operations) operation.isLate = true;
    this.#later(1, (c) => {
      for (const { fail } of operations) fail(c);
      this.#abandonToken = token;
      this.#disksEnd(c);
    });
  }

  #disksEnd(core: ReplicationCore): void {
    if (this.#abandonToken === undefined || this.#onItsWay.size > 0) return;
    core.metaDone(this.now, this.#abandonToken, 0);
    this.#abandonToken = undefined;
  }

  /** The engine has one set of counters a slot. */
  #occupy(slot: number): void {
    if (this.#diskSlots.has(slot)) throw new Error(`slot ${slot}: two disk requests at a time`);
    this.#diskSlots.add(slot);
  }

  #diskDone(core: ReplicationCore, slot: number, errno: number): void {
    this.#diskSlots.delete(slot);
    core.diskDone(this.now, slot, errno);
  }

  #diskRead(core: ReplicationCore, slot: number): void {
    const { requests } = core;
    const sector = requests.sector[slot]!;
    const lengthBytes = requests.lengthBytes[slot]!;
    this.#detail('disk read', slot, sector, lengthBytes);
    const buffer = this.#buffers.get(slot);
    if (buffer === undefined || buffer.length < lengthBytes) throw new Error(`slot ${slot}: read of ${lengthBytes} bytes without a buffer`);
    const fail = (c: ReplicationCore): void => {
      // The disk may still touch the old one.
      if (slot < requests.applicationSlots) this.#buffers.set(slot, new Uint8Array(lengthBytes));
      this.#diskDone(c, slot, EIO);
    };
    this.#onDisk(this.#latency(), fail, (c, isLate) => {
      if (isLate) {
        buffer.fill(0xa5);
        return;
      }
      if (this.#fails()) return this.#diskDone(c, slot, EIO);
      this.disk.readInto(sector * 512, buffer.subarray(0, lengthBytes));
      this.#bufferFilled(c, slot, buffer.subarray(0, lengthBytes));
      this.#diskDone(c, slot, 0);
    });
  }

  #bufferFilled({ requests }: ReplicationCore, slot: number, payload: Uint8Array): void {
    const length = digestBytes(requests.digest[slot]!);
    if (length > 0) requests.computed.set(digestOf(payload, length), slot * DIGEST_STRIDE);
  }

  #diskWrite(core: ReplicationCore, slot: number): void {
    const { requests } = core;
    const { checks } = this.#world;
    const lengthBytes = requests.lengthBytes[slot]!;
    if (this.#isAbandoned) return this.#later(1, (c) => this.#diskDone(c, slot, EIO));
    const flags = requests.flags[slot]!;
    const isMirrored = slot >= requests.applicationSlots;
    if (!isMirrored) checks.beforeApplicationWrite(this, requests.sector[slot]!, lengthBytes);
    const sector = this.#saboteur.sector(requests.sector[slot]!);
    const isDropped = this.#saboteur.drops(isMirrored, requests.op[slot] !== OP.Write);
    const point = (flags & REQ_PREFLUSH) !== 0 ? this.disk.flushPoint : -1;
    let write: DiskWrite;
    if (requests.op[slot] === OP.Write) {
      const buffer = this.#buffers.get(slot);
      if (buffer === undefined || buffer.length < lengthBytes) throw new Error(`slot ${slot}: write of ${lengthBytes} bytes without them`);
      const payload = this.#saboteur.payload(isMirrored, buffer.subarray(0, lengthBytes));
      write = this.disk.submit(sector * 512, payload, (flags & REQ_FUA) !== 0, false, point);
    } else write = this.disk.submitZeroes(sector * 512, lengthBytes, (flags & REQ_FUA) !== 0);
    if (sector * 512 + lengthBytes > this.#limitBytes) throw new Error(`write behind the end: sector ${sector} + ${lengthBytes} bytes`);
    this.#detail('disk write', slot, sector, lengthBytes);
    const isAnswered = this.#saboteur.answersEarly(isMirrored);
    if (isAnswered) this.#later(1, (c) => this.#diskDone(c, slot, 0));
    const fail = (c: ReplicationCore): void => this.#diskDone(c, slot, EIO);
    this.#onDisk(this.#latency(), fail, (c, isLate) => {
      this.#detail('disk write done', slot, sector, lengthBytes);
      if (isDropped || (!isLate && this.#fails())) {
        this.disk.abandon(write);
        if (!isLate) this.#diskDone(c, slot, isDropped ? 0 : EIO);
        return;
      }
      if (point >= 0 && !this.#saboteur.skipsFlush) this.disk.flushed(point);
      this.disk.complete(write);
      checks.touched();
      if (isAnswered || isLate) return;
      this.#diskDone(c, slot, 0);
    });
  }

  #diskFlush(latency: number, isSkipped: boolean, done: (errno: number) => void): void {
    const point = this.disk.flushPoint;
    const fail = (): void => done(EIO);
    this.#onDisk(latency, fail, (_c, isLate) => {
      if (isLate) return;
      if (this.#fails()) return done(EIO);
      if (!isSkipped) this.disk.flushed(point);
      done(0);
    });
  }

  #metaWrite(request: MetaWrite): void {
    const { plan } = this.#world;
    if (this.#isAbandoned) return this.#later(1, (c) => c.metaDone(this.now, request.token, EIO));
    const places = placesOfWrites(this.disk, plan.format);
    const { offsetBytes } = request;
    const within = (start: number, length: number): boolean => offsetBytes >= start && offsetBytes < start + length;
    const isSuperblock = places.some((place) => offsetBytes === place.superblockOffsetBytes);
    const isAl = !isSuperblock && places.some((place) => within(place.alOffsetBytes, place.alSizeBytes));
    const isBitmap = !isSuperblock && !isAl && places.some((place) => within(place.bmOffsetBytes, place.bmSizeBytes));
    if (!isAl && !isBitmap && !isSuperblock) throw new Error(`meta-data write to ${request.offsetBytes}, which is none of its places`);
    const { token } = request;
    const part = isAl ? 'activity log' : isBitmap ? 'bitmap' : 'superblock';
    const isLost = this.#saboteur.losesMetaWrite(part);
    const isAnswered = this.#saboteur.answersMetaWriteEarly(part);
    if (isAnswered) this.#later(1, (c) => c.metaDone(this.now, token, 0));
    const point = request.preflush && !this.#saboteur.skipsPreflush ? this.disk.flushPoint : -1;
    // The super block is one atomic unit of 4 KiB for the disks that we promise anything for.
    const bytes = this.#saboteur.metaBytes(part, request.bytes);
    const write = this.disk.submit(request.offsetBytes, bytes, request.fua, isSuperblock, point);
    const fail = (c: ReplicationCore): void => c.metaDone(this.now, token, EIO);
    this.#onDisk(this.#latency(), fail, (c, isLate) => {
      if (isLost || (!isLate && this.#fails())) {
        this.disk.abandon(write);
        if (!isLate) c.metaDone(this.now, token, isLost ? 0 : EIO);
        return;
      }
      if (point >= 0) this.disk.flushed(point);
      this.disk.complete(write);
      if (isSuperblock) this.#superblockWritten();
      if (isSuperblock && isLate) this.#world.mayPart = true;
      if (isAl) this.#world.checks.activityLogChanged(this);
      this.#world.checks.touched();
      if (!isAnswered && !isLate) c.metaDone(this.now, token, 0);
    });
  }

  #superblockWritten(): void {
    const { md } = readMetaData(this.disk, this.#world.plan.format);
    if (md.effective_size > 0) this.#limitBytes = md.effective_size * 512;
    // The activity log that counts may be another one now.
    this.#world.checks.activityLogChanged(this);
  }

  /** @returns whether the state may have changed */
  #cold(core: ReplicationCore, effect: ColdEffect): boolean {
    const world = this.#world;
    switch (effect.type) {
      case 'metaWrite':
        this.#metaWrite(effect.write);
        return false;
      case 'abandonDisk':
        world.trace(this, 'disk abandoned');
        // What reaches it late may be a generation that nobody knows of.
        world.mayPart = true;
        this.#abandonDisk(effect.token);
        return false;
      case 'resyncPlace':
        return false;
      case 'measureDisk':
        this.#later(this.#latency(), (c) => c.diskMeasured(this.now, effect.token, this.disk.sizeBytes / 512, this.disk.sizeBytes / 512));
        return false;
      case 'openLink':
        if (this.#link === undefined) {
          this.wantsLink = true;
          world.network.lookForPartners();
        }
        return false;
      case 'closeLink':
        this.#closeLink();
        return false;
      case 'reply': {
        const done = this.#operations.get(effect.operation);
        this.#operations.delete(effect.operation);
        const error = effect.error === undefined ? undefined : [effect.error.name, ...(effect.error.info ?? [])].join(' ');
        world.trace(this, `reply ${error ?? 'ok'}`);
        // Outside of the drain: the answer may lead to another command.
        world.queue.after(0, () => {
          if (this.core === core) done?.(error);
        });
        return false;
      }
      case 'helper': {
        world.trace(this, `handler ${effect.name}`);
        const { token } = effect;
        if (effect.name === 'fence-peer') this.#fencePeer((exitCode) => this.#call(core, (c) => c.helperDone(this.now, token, exitCode)));
        else this.#later(world.random.node.range(100, 50_000), (c) => c.helperDone(this.now, token, 0));
        return false;
      }
      case 'closeDisk':
        world.trace(this, 'disk closed');
        this.diskClosed = true;
        return true;
      case 'log':
        world.log(this, effect.level, effect.text);
        return false;
      case 'volumeChanged':
        this.sizeSectors = effect.sizeSectors;
        return false;
      case 'stateChanged':
        return true;
    }
  }

  /** What a cluster manager does: the peer is told to call its disk Outdated, or loses its power. The network for that never fails. */
  #fencePeer(done: (exitCode: number) => void): void {
    const world = this.#world;
    const prng = world.random.node;
    world.queue.after(prng.range(1000, 2_000_000), () => {
      const peer = world.nodes[other(this.side)];
      const isShot = world.plan.fencing === 'resource-and-stonith' && prng.chance(1, 2) && !(world.isQuiet && peer.isUp);
      if (isShot) {
        if (peer.isUp) world.cutPower(peer);
        return done(FENCED.stonith);
      }
      if (!peer.isUp) return done(FENCED.unreachable);
      if (prng.chance(1, 8)) return done(FENCED.broken);
      if (peer.snapshot()?.role === 'Primary') return done(FENCED.primary);
      peer.control({ command: 'outdate', volume: VOLUME }, (error) => {
        if (error === undefined) return done(FENCED.outdated);
        done(error.startsWith('SS_LOWER_THAN_OUTDATED') || error.startsWith('SS_IS_DISKLESS') ? FENCED.worse : FENCED.broken);
      });
    });
  }

  // --- link ---

  linkUp(link: Link, resolveConflicts: boolean): void {
    this.wantsLink = false;
    this.#link = link;
    this.#inboxes = [new Inbox(), new Inbox()];
    this.#handed = [0, 0];
    this.#payloadDone = 0;
    this.#world.trace(this, `link ${link.number} up`);
    const decides = resolveConflicts || this.#world.plan.canary === 'two-resolvers';
    this.#call(this.core, (c) => c.linkUp(this.now, CONNECTION, decides));
  }

  #closeLink(): void {
    this.wantsLink = false;
    const link = this.#link;
    if (link === undefined) {
      if (!this.#closing) this.#linkGone('closed', '');
      return;
    }
    this.#link = undefined;
    this.#world.network.close(link, this.side);
    this.#linkGone('closed', '');
  }

  peerClosed(link: Link, isReset: boolean): void {
    if (this.#link !== link) return;
    this.#link = undefined;
    this.#world.trace(this, `link ${link.number} ${isReset ? 'reset' : 'closed by the peer'}`);
    this.#linkGone(isReset ? 'network-failure' : 'broken-pipe', isReset ? 'connection reset by peer' : 'sock was shut down by peer');
  }

  #closing = false;
  /** Reports the end once nothing of the link is in flight. */
  #linkGone(why: 'closed' | 'network-failure' | 'broken-pipe', detail: string): void {
    this.#closing = true;
    const { core } = this;
    this.#world.queue.after(this.#world.random.node.range(10, 2000), () => {
      this.#closing = false;
      this.#call(core, (c) => c.linkDown(this.now, CONNECTION, why, detail));
    });
  }

  received(link: Link, stream: Stream, bytes: Uint8Array): void {
    if (this.#link !== link) return;
    this.#inboxes[stream].append(bytes);
    this.#feed(stream);
  }

  /** Offers what has arrived until the core takes nothing more. */
  #feed(stream: Stream): void {
    const { core } = this;
    const link = this.#link;
    const inbox = this.#inboxes[stream];
    let progress = true;
    while (progress && core !== undefined && this.core === core && this.#link === link && link !== undefined) {
      progress = false;
      if (stream === 0 && this.#takePayload(core, inbox)) {
        progress = true;
        continue;
      }
      if (stream === 0 && core.payloadSlot(CONNECTION) >= 0) return;
      if (inbox.start === inbox.end) return;
      this.#call(core, (c) => {
        const used = c.receive(this.now, CONNECTION, stream, inbox.bytes, inbox.start, inbox.end);
        if (used < 0 || inbox.start + used > inbox.end) throw new Error(`receive consumed ${used} of ${inbox.end - inbox.start} bytes`);
        inbox.start += used;
        progress = used > 0 || (stream === 0 && c.payloadSlot(CONNECTION) >= 0);
      });
    }
  }

  /** Moves payload into the buffer that waits for it. @returns whether anything was done */
  #takePayload(core: ReplicationCore, inbox: Inbox): boolean {
    const slot = core.payloadSlot(CONNECTION);
    if (slot < 0) return false;
    const wanted = core.payloadBytes(CONNECTION);
    const length = Math.min(wanted - this.#payloadDone, inbox.end - inbox.start);
    const buffer = this.#buffers.get(slot);
    const from = core.payloadOffset(CONNECTION);
    if (buffer === undefined || buffer.length < from + wanted) throw new Error(`slot ${slot}: payload of ${wanted} bytes without a buffer`);
    buffer.set(inbox.bytes.subarray(inbox.start, inbox.start + length), from + this.#payloadDone);
    inbox.start += length;
    this.#payloadDone += length;
    if (this.#payloadDone < wanted) return false;
    this.#payloadDone = 0;
    this.#bufferFilled(core, slot, buffer.subarray(from, from + wanted));
    this.#call(core, (c) => c.payloadDone(this.now, CONNECTION));
    return true;
  }

  readonly #senderAwake: [boolean, boolean] = [false, false];
  #wakeSender(stream: Stream): void {
    if (this.#senderAwake[stream]) return;
    this.#senderAwake[stream] = true;
    const link = this.#link;
    this.#world.queue.after(this.#world.random.node.range(1, 30), () => {
      this.#senderAwake[stream] = false;
      if (this.#link === link || this.#link !== undefined) this.#pump(stream);
    });
  }

  writable(link: Link, stream: Stream): void {
    if (this.#link === link) this.#wakeSender(stream);
  }

  /** A network card that changes a bit; the check sum of TCP does not see everything. */
  #damage(payload: Uint8Array): void {
    const { plan, random, isQuiet } = this.#world;
    if (plan.damagedPerMillion === 0 || isQuiet || !random.damage.chance(plan.damagedPerMillion, 1_000_000)) return;
    const at = random.damage.below(payload.length);
    payload[at] = payload[at]! ^ (1 << random.damage.below(8));
    this.#world.noteDamage();
  }

  /** Hands waiting packets to the socket as long as it has room. */
  #pump(stream: Stream): void {
    const { core } = this;
    const link = this.#link;
    if (core === undefined || link === undefined) return;
    const { network } = this.#world;
    const box = core.outbox(CONNECTION, stream);
    let entries = 0;
    while (this.#handed[stream] < box.queued && network.room(link, this.side, stream) > 0) {
      const row = this.#handed[stream]++ % box.capacity;
      const slot = box.payloadSlot[row]!;
      const header = box.arena.subarray(box.headerOffset[row]!, box.headerOffset[row]! + box.headerBytes[row]!);
      const lengthBytes = box.payloadBytes[row]!;
      const payload =
        slot < 0 ? undefined : this.#buffers.get(slot)?.subarray(box.payloadOffset[row]!, box.payloadOffset[row]! + lengthBytes);
      if (slot >= 0 && payload === undefined) {
        this.#world.violation(`crash ${this.name}: packet with the payload of slot ${slot}, which has none`);
        return;
      }
      const packet = new Uint8Array(header.length + lengthBytes);
      packet.set(header);
      if (this.#world.plan.genuinePeers && slot < 0) pretendGenuine(packet);
      if (payload !== undefined) {
        packet.set(payload, header.length);
        const digest = digestBytes(box.digest[row]!);
        if (digest > 0) packet.set(digestOf(payload, digest), header.length - digest);
        this.#damage(packet.subarray(header.length));
      }
      network.send(link, this.side, stream, packet);
      entries++;
    }
    if (entries === 0) return;
    this.#world.queue.after(this.#world.random.node.range(1, 200), () => {
      if (this.#link === link) this.#call(core, (c) => c.sendDone(this.now, CONNECTION, stream, entries));
    });
  }
}

/** Makes a P_CONNECTION_FEATURES say what a genuine DRBD says of its oldest protocol. */
function pretendGenuine(packet: Uint8Array): void {
  const view = new DataView(packet.buffer);
  const headerBytes = headerBytesOf(HEADER_KIND.H80);
  if (packet.length !== headerBytes + P_CONNECTION_FEATURES.size || view.getUint16(4) !== COMMAND.P_CONNECTION_FEATURES) return;
  view.setUint32(headerBytes + P_CONNECTION_FEATURES.at.protocol_min.offset, GENUINE_PROTOCOL_MIN);
}
