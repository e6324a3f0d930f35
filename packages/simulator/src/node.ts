/** One simulated node: the second host of the core. Owns a disk that outlives it, and a core while it runs. */
import {
  type ColdEffect,
  type ControlRequest,
  EFFECT,
  OP,
  type Op,
  PROTOCOL_VERSIONS,
  type ReplicationCore,
  type ResourceSnapshot,
  type Stream,
} from '@udrbd/replication';
import type { Scheduled } from './event-queue.js';
import { applyActivityLog, deviceBytes, moveMetaData, openBackingDisk } from './meta-tools.js';
import { other, type Side } from './network.js';
import { NodeDisk } from './node-disk.js';
import { NodeLink } from './node-link.js';
import { SlotBuffer, zeroes } from './payload.js';
import { Saboteur } from './saboteur.js';
import { SimDisk } from './sim-disk.js';
import type { World } from './world.js';

const VOLUME = 0;
const CONNECTION = 0;
const APPLICATION_SLOTS = 64;
const PEER_SLOTS = 256;
/** In tenths of a second. */
export const PING_TIMEOUT = 5;
const OUTBOX_BYTES = 512 * 1024;

/** Exit codes of a fence-peer handler. */
const FENCED = { broken: 20, worse: 3, outdated: 4, unreachable: 5, primary: 6, stonith: 7 } as const;

export type CommandDone = (error: string | undefined) => void;

export class SimNode {
  readonly side: Side;
  readonly disk: SimDisk;
  core: ReplicationCore | undefined;
  readonly #world: World;
  readonly #saboteur: Saboteur;
  readonly io: NodeDisk;
  readonly #link: NodeLink;
  readonly buffers = new Map<number, SlotBuffer>();
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
    this.io = new NodeDisk(world, this, this.#saboteur);
    this.#link = new NodeLink(world, this);
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

  /** The very same one until the core has been called again: times in it are those of the first look. */
  snapshot(): ResourceSnapshot | undefined {
    this.#snapshot ??= this.core?.snapshot(this.now);
    return this.#snapshot;
  }
  #snapshot: ResourceSnapshot | undefined;

  // --- life ---

  /** What `drbdadm up` does on a node that just started. */
  up(): void {
    const world = this.#world;
    const { plan } = world;
    this.incarnation++;
    world.trace(this, 'up');
    this.#snapshot = undefined;
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
    this.buffers.clear();
    this.isGrowing = false;
    this.io.up();
    world.network.users[this.side] = this.#link;
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
      'ping-timeout': PING_TIMEOUT,
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
    this.io.attached();
    applyActivityLog(this.disk, plan.format, this.#saboteur.forgetsActivityLog);
    this.#world.checks.activityLogChanged(this);
    this.control({ command: 'attach', volume: VOLUME, disk: openBackingDisk(this.disk, plan) }, done);
  }
  #diskOwner = -1;
  /** Size of the device above, sectors. */
  sizeSectors = 0;
  /** It changes, and is not yet what the meta-data say. */
  isGrowing = false;

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
    this.#snapshot = undefined;
    this.diskClosed = true;
    world.network.users[this.side] = undefined;
    this.#link.vanish(silently);
    this.#operations.clear();
    this.io.gone();
    world.queue.cancel(this.#tick);
    this.#tick = undefined;
  }

  // --- calls into the core ---

  /** Every call into the core goes through here; nothing happens when that core is gone. */
  call(core: ReplicationCore | undefined, body: (core: ReplicationCore) => void): void {
    if (core === undefined || this.core !== core) return;
    try {
      this.#snapshot = undefined;
      body(core);
      core.settle(this.now);
      this.#snapshot = undefined;
      this.#drain(core);
    } catch (error) {
      this.#world.violation(`crash ${this.name}: ${error instanceof Error ? error.stack : String(error)}`);
      return;
    }
    this.#schedule(core);
  }

  later(delayMicros: number, body: (core: ReplicationCore) => void): void {
    const { core } = this;
    this.#world.queue.after(delayMicros, () => this.call(core, body));
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
      this.call(core, (c) => c.tick(this.now));
    });
    this.#tick = tick;
  }

  othersComeFirst(mustWait: boolean): void {
    this.#world.trace(this, mustWait ? 'waits for another resync' : 'waits for no other resync');
    this.call(this.core, (c) => c.resyncDependency(this.now, VOLUME, mustWait));
  }

  control(request: ControlRequest, done: CommandDone = () => {}): void {
    const operation = ++this.#operationNumber;
    this.#operations.set(operation, done);
    const { core } = this;
    this.#world.trace(this, `command ${request.command}`);
    this.call(core, (c) => c.control(this.now, operation, request));
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
    this.buffers.set(slot, new SlotBuffer(payload ?? zeroes(op === OP.Read ? lengthBytes : 0)));
    return slot;
  }

  /** Starts what `submit` prepared: its caller has noted the slot by now. */
  start(slot: number): void {
    this.call(this.core, (c) => c.submit(this.now, slot));
  }

  buffer(slot: number): Uint8Array {
    return this.buffers.get(slot)!.bytes;
  }

  // --- effects ---

  #drain(core: ReplicationCore): void {
    if (this.#draining) throw new Error('drained twice');
    const { effects } = core;
    if (effects.count === 0 && effects.cold.length === 0) return;
    this.#draining = true;
    let isChanged = false;
    const completed: [slot: number, errno: number][] = [];
    const metaWrites: number[] = [];
    for (let i = 0; i < effects.count; i++) {
      const slot = effects.slot[i]!;
      const value = effects.value[i]!;
      switch (effects.kind[i]) {
        case EFFECT.DiskRead:
          this.io.read(core, slot);
          break;
        case EFFECT.DiskWrite:
        case EFFECT.DiskDiscard:
        case EFFECT.DiskWriteZeroes:
          this.io.write(core, slot);
          break;
        case EFFECT.DiskFlush:
          this.io.flush(core, slot);
          break;
        case EFFECT.FlushVolume:
          this.io.flushVolume(core, value, slot);
          break;
        case EFFECT.MetaWrite:
          metaWrites.push(slot);
          break;
        case EFFECT.Complete:
          completed.push([slot, value]);
          break;
        case EFFECT.AllocateBuffer:
          this.buffers.set(slot, new SlotBuffer(zeroes(value)));
          break;
        case EFFECT.FreeBuffer:
          this.buffers.delete(slot);
          break;
        case EFFECT.Send:
          this.#link.wakeSender(value as Stream);
          break;
        case EFFECT.ResumeReceive:
          this.later(0, () => this.#link.feed(0));
          break;
        default:
          throw new Error(`effect ${effects.kind[i]} has no host action`);
      }
    }
    effects.count = 0;
    for (const row of metaWrites) this.io.metaWrite(core.metaWriteOf(row));
    if (effects.cold.length > 0) for (const effect of effects.cold.splice(0)) if (this.#cold(core, effect)) isChanged = true;
    this.#draining = false;
    for (const [slot, errno] of completed) this.onComplete(slot, errno);
    if (isChanged) this.#world.stateChanged(this);
  }

  /** Only in a trace that is looked at: one's own requests have numbers below 64, those for the peer above. */
  detail(what: string, slot: number, sector: number, lengthBytes: number): void {
    if (this.#world.isTracing) this.#world.show(this, `  ${what} ${sector}+${lengthBytes / 512}, slot ${slot}`);
  }

  /** @returns whether the state may have changed */
  #cold(core: ReplicationCore, effect: ColdEffect): boolean {
    const world = this.#world;
    switch (effect.type) {
      case 'abandonDisk':
        world.trace(this, 'disk abandoned');
        // What reaches it late may be a generation that nobody knows of.
        world.mayPart = true;
        this.io.abandon(effect.token);
        return false;
      case 'resyncPlace':
        return false;
      case 'measureDisk':
        this.io.measure(effect.token);
        return false;
      case 'openLink':
        this.#link.open();
        return false;
      case 'closeLink':
        this.#link.close();
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
        if (effect.name === 'fence-peer') this.#fencePeer((exitCode) => this.call(core, (c) => c.helperDone(this.now, token, exitCode)));
        else this.later(world.random.node.range(100, 50_000), (c) => c.helperDone(this.now, token, 0));
        return false;
      }
      case 'closeDisk':
        world.trace(this, 'disk closed');
        this.isGrowing = false;
        this.diskClosed = true;
        return true;
      case 'log':
        if (effect.text.includes('Writing the whole bitmap, size changed')) this.isGrowing = true;
        world.log(this, effect.level, effect.text);
        return false;
      case 'volumeChanged':
        this.sizeSectors = effect.sizeSectors;
        this.isGrowing = false;
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
}
