/** Everything that one life consists of, and the first thing that went wrong in it. */
import type { ReplicationCore, ResourceSetup, ResourceSnapshot } from '@udrbd/replication';
import { Checks } from './checks.js';
import { EventQueue } from './event-queue.js';
import { History } from './history.js';
import type { LifePlan } from './life-plan.js';
import { createOnDisk, readMetaData } from './meta-tools.js';
import { Network } from './network.js';
import { PING_TIMEOUT, SimNode } from './node.js';
import { Prng } from './prng.js';
import type { SimDisk } from './sim-disk.js';
import { Workload } from './workload.js';

/** What is left of a cluster that went down as a whole: its disks, and what its applications had been told. */
export interface Remains {
  readonly of: World;
  readonly disks: readonly [SimDisk, SimDisk];
}

export type CoreFactory = (setup: ResourceSetup) => ReplicationCore;

/** More calls in one instant than any real work needs. */
const BUSY_LIMIT = 3_000;

export class World {
  readonly plan: LifePlan;
  readonly createCore: CoreFactory;
  readonly queue = new EventQueue();
  readonly random: { readonly [K in 'uuid' | 'disk' | 'node' | 'work' | 'faults' | 'damage' | 'canary' | 'resize']: Prng };
  readonly network: Network;
  readonly history: History;
  readonly checks: Checks;
  readonly nodes: readonly [SimNode, SimNode];
  readonly workloads: readonly [Workload, Workload];
  /** The devices are not what they were at the begin. */
  isResized = false;
  /** Applications use nothing from here on: a command to give it up has been issued, sectors. */
  keptSectors = Number.POSITIVE_INFINITY;
  /** No more faults. */
  isQuiet = false;
  /** A promotion by force is under way. */
  isForced = false;
  /** A node was promoted without everything that had been completed: that much is lost, or a split brain. */
  isDiverged = false;
  /**
   * Generations may part though nobody was careless, in DRBD 8.4 too: one began for a diskless Primary that was turned down, or a disk
   * that had been given up wrote its super block late.
   */
  mayPart = false;
  /** A Primary without a disk would not have its peer's data. */
  hasTurnedDown = false;
  /** The node whose changes the operator gave up. */
  victim: 0 | 1 | undefined;
  failure: string | undefined;
  /** A protocol error is no surprise. */
  #mayBreak = false;
  readonly #sink: ((line: string) => void) | undefined;
  readonly #last: [ResourceSnapshot | undefined, ResourceSnapshot | undefined] = [undefined, undefined];
  readonly #described: [string, string] = ['', ''];
  #hash = 0x811c9dc5;
  #busyAt = -1;
  #busy = 0;
  /** Log lines that decide what the operator does next, by node. */
  readonly splitBrain: [boolean, boolean] = [false, false];
  /** A Primary that would have to take the other one's data. */
  readonly isBehind: [boolean, boolean] = [false, false];
  unrelated = false;
  failures = 0;

  /**
   * @param sink - takes the lines of a trace
   * @param remains - the cluster is not a new one
   */
  constructor(plan: LifePlan, createCore: CoreFactory, sink?: (line: string) => void, remains?: Remains) {
    this.plan = plan;
    this.createCore = createCore;
    this.#sink = sink;
    const stream = (name: string): Prng => new Prng(plan.seed, name);
    this.random = {
      uuid: stream('uuid'),
      disk: stream('disk'),
      node: stream('node'),
      work: stream('work'),
      faults: stream('faults'),
      damage: stream('damage'),
      canary: stream('canary'),
      resize: stream('resize'),
    };
    this.network = new Network(this.queue, stream('network'), plan);
    this.checks = new Checks(this);
    this.nodes = [new SimNode(this, 0, remains?.disks[0]), new SimNode(this, 1, remains?.disks[1])];
    this.history = remains?.of.history.clone() ?? new History();
    this.workloads = [new Workload(this, this.nodes[0]), new Workload(this, this.nodes[1])];
    if (remains === undefined) this.#format();
    else this.#inherit(remains.of);
  }

  #format(): void {
    const { plan } = this;
    const generation = this.random.uuid.u64() & ~1n;
    for (const node of this.nodes) createOnDisk(node.disk, plan, node.side, generation);
    this.history.bornSectors = readMetaData(this.nodes[0].disk, plan.format).place.usableSectors;
  }

  /** All requests that were under way are nobody's any more. */
  #inherit(before: World): void {
    this.queue.now = before.queue.now;
    this.isResized = before.isResized;
    this.keptSectors = before.keptSectors;
    this.isForced = before.isForced;
    this.isDiverged = before.isDiverged;
    this.mayPart = before.mayPart;
    this.hasTurnedDown = before.hasTurnedDown;
    this.victim = before.victim;
    for (const side of [0, 1] as const) {
      for (const id of before.checks.excused[side]) this.checks.excused[side].add(id);
      this.workloads[side].gone();
    }
  }

  /**
   * Whether completed writes have to survive. With `pass_on` a failed block leaves its node in charge, and a second failure of
   * the node with the only good copy loses it: then only crashes, hangs and leaks count.
   */
  get hasDataPromise(): boolean {
    return this.plan.diskErrorsPerMillion === 0 || this.plan.onIoError === 'detach';
  }

  get isTracing(): boolean {
    return this.#sink !== undefined;
  }

  /** Equal for two runs of one seed. */
  get traceHash(): number {
    return this.#hash >>> 0;
  }

  /** No request is under way anywhere. */
  get isAtRest(): boolean {
    if (this.history.running > 0) return false;
    return this.nodes.every((node) => {
      const connection = node.snapshot()?.connections[0];
      const peer = connection?.peerDevices[0];
      return connection === undefined || (connection.apInFlightSectors === 0 && (peer?.pending ?? 0) === 0 && (peer?.unacked ?? 0) === 0);
    });
  }

  trace(node: SimNode | undefined, text: string): void {
    for (let i = 0; i < text.length; i++) this.#hash = Math.imul(this.#hash ^ text.charCodeAt(i), 0x01000193);
    this.#hash = Math.imul(this.#hash ^ this.queue.now, 0x01000193);
    this.#sink?.(`${(this.queue.now / 1_000_000).toFixed(6).padStart(11)} ${node?.name ?? '-'} ${text}`);
  }

  /** A line of the trace that is no part of its hash. */
  show(node: SimNode, text: string): void {
    this.#sink?.(`${(this.queue.now / 1_000_000).toFixed(6).padStart(11)} ${node.name} ${text}`);
  }

  log(node: SimNode, level: string, text: string): void {
    this.trace(node, `[${level}] ${text}`);
    if (text.includes('Split-Brain detected but unresolved')) {
      this.splitBrain[node.side] = true;
      if (!this.plan.careless && !this.plan.twoPrimaries && !this.mayPart)
        this.violation(`L1 ${node.name}: split brain, though only one node was ever promoted at a time with current data`);
    }
    // With two Primaries each waits for acks of the other one, and calls that an error of the protocol when a network that was cut
    // while it waited has kept them.
    const isImpatient = text.includes('Timed out waiting for missing ack packets');
    if (isImpatient && !this.network.wasHealthyFor(PING_TIMEOUT * 100_000)) this.#mayBreak = true;
    if (text.includes('-> ProtocolError') && !this.#mayBreak)
      this.violation(`L2 ${node.name}: a protocol error between two nodes of one kind`);
    if (text.includes(': Out of sync: start=') && this.plan.diskErrorsPerMillion === 0) {
      const sameOnBoth = this.nodes.every((n) => n.snapshot()?.volumes[0]?.diskState === 'UpToDate');
      if (sameOnBoth) this.violation(`V1 ${node.name}: a verify found a difference: ${text.slice(text.indexOf('start='))}`);
    }
    // A Secondary begins a generation for a diskless Primary before that one finds that these are not its data.
    if (text.includes('demote me first!')) this.mayPart = true;
    if (text.includes('Can only connect to data with current UUID=')) this.hasTurnedDown = true;
    if (text.includes('I shall become SyncTarget, but I am primary!')) {
      this.isBehind[node.side] = true;
    }
    // A source that parted from its target cannot know whether that one was through. A kernel's DRBD calls it unrelated, once.
    const isParted = this.plan.twoPrimaries && this.plan.genuinePeers && text.includes('Unrelated data');
    if (isParted) this.splitBrain[node.side] = true;
    else if (text.includes('Unrelated data')) {
      this.unrelated = true;
      if (!this.plan.careless) this.violation(`L1 ${node.name}: unrelated data`);
    }
  }

  /** A payload was damaged on its way: whoever gets it breaks the connection. */
  noteDamage(): void {
    this.#mayBreak = true;
  }

  violation(text: string): void {
    if (this.failure !== undefined || (text.startsWith('D') && !this.hasDataPromise)) return;
    this.failure = `${text} (at ${(this.queue.now / 1_000_000).toFixed(6)} s)`;
    this.trace(undefined, `VIOLATION ${this.failure}`);
  }

  /** @param hadDisk - whether the node's disk was good when the write began: one that only the peer has may fail with the peer's disk */
  countFailure(node: SimNode, hadDisk: boolean): void {
    this.failures++;
    const snapshot = node.snapshot();
    const peer = snapshot?.connections[0]?.peerDevices[0];
    const isHealthy = snapshot?.volumes[0]?.diskState === 'UpToDate' && !snapshot.failIo;
    if (hadDisk && isHealthy && snapshot?.role === 'Primary' && this.plan.diskErrorsPerMillion === 0) {
      this.violation(`L2 ${node.name}: a write failed on a Primary with an UpToDate disk (peer ${peer?.peerDiskState})`);
    }
  }

  cutPower(node: SimNode): void {
    const before = node.snapshot();
    this.workloads[node.side].gone();
    node.powerCut();
    this.checks.afterPowerCut(node, before);
  }

  stateChanged(node: SimNode): void {
    const after = node.snapshot();
    if (after === undefined) return;
    const peer = after.connections[0]?.peerDevices[0];
    const volume = after.volumes[0];
    const words = `cs:${after.connections[0]?.state}/${peer?.replicationState} ro:${after.role}/${after.connections[0]?.peerRole} ds:${volume?.diskState}/${peer?.peerDiskState}`;
    const uuids = `${volume?.currentUuid.toString(16)}:${peer?.bitmapUuid.toString(16)}`;
    const text = `${words} oos:${peer?.outOfSyncSectors} uuid:${uuids}`;
    if (text !== this.#described[node.side]) this.trace(node, `state ${text}`);
    this.#described[node.side] = text;
    const before = this.#last[node.side];
    this.#last[node.side] = after;
    this.checks.stateChanged(node, before, after);
  }

  forgetState(node: SimNode): void {
    this.#last[node.side] = undefined;
    this.#described[node.side] = '';
  }

  lastState(node: SimNode): ResourceSnapshot | undefined {
    return this.#last[node.side];
  }

  /** L3: a node wants to be called again in the same instant. */
  noteBusy(node: SimNode): void {
    if (this.#busyAt !== this.queue.now) {
      this.#busyAt = this.queue.now;
      this.#busy = 0;
    }
    if (++this.#busy > BUSY_LIMIT) this.violation(`L3 ${node.name}: busy without progress`);
  }
}
