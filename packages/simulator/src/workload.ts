/** An application on a node's block device: a few threads that read, write and flush, and check what they read. */
import { OP, type Op, REQ_FUA, REQ_PREFLUSH } from '@udrbd/replication';
import type { HistoryWrite } from './history.js';
import type { SimNode } from './node.js';
import { transient } from './slab.js';
import { readStamp, SECTOR, stampSectors } from './stamp.js';
import type { World } from './world.js';

interface Running {
  readonly op: number;
  readonly sector: number;
  readonly sectors: number;
  readonly began: number;
  readonly write: HistoryWrite | undefined;
  readonly thread: number;
  /** How often the peer had come up by then. */
  readonly peerIncarnation: number;
  /** State of the own disk by then. */
  readonly disk: string | undefined;
}

const RETRY_MICROS = 20_000;
const NO_THREAD = -1;

export class Workload {
  readonly #world: World;
  readonly #node: SimNode;
  /** Somebody has the device open for writing. */
  isOpen = false;
  #threads = 0;
  readonly #running = new Map<number, Running>();

  constructor(world: World, node: SimNode) {
    this.#world = world;
    this.#node = node;
    node.onComplete = (slot, errno) => this.#completed(slot, errno);
  }

  get running(): number {
    return this.#running.size;
  }

  open(): void {
    this.isOpen = true;
    const { incarnation } = this.#node;
    this.#threads++;
    for (let i = 0; i < this.#world.plan.queueDepth; i++) this.#next(this.#threads, incarnation);
  }

  /** No new requests. */
  close(): void {
    this.isOpen = false;
    this.#threads++;
  }

  /** The node is down, and its applications with it. */
  gone(): void {
    this.close();
    this.#running.clear();
    const { history, checks, queue } = this.#world;
    for (const id of history.crashed(this.#node.side, queue.now)) checks.excused[this.#node.side].add(id);
  }

  #next(thread: number, incarnation: number, delay = this.#world.random.work.interval(this.#world.plan.thinkMicros)): void {
    this.#world.queue.after(delay, () => {
      if (thread !== this.#threads || incarnation !== this.#node.incarnation || !this.#node.isUp) return;
      if (!this.#request(thread)) this.#next(thread, incarnation, RETRY_MICROS);
    });
  }

  #request(thread: number): boolean {
    const { random, plan } = this.#world;
    const prng = random.work;
    const dice = prng.below(100);
    const op = dice < 68 ? OP.Write : dice < 84 ? OP.Read : dice < 92 ? OP.Flush : dice < 97 ? OP.Discard : OP.WriteZeroes;
    const end = Math.min(this.#node.sizeSectors, this.#world.keptSectors);
    if (end === 0) return false;
    const size = this.#world.isResized ? end : plan.sizeSectors;
    let sector = prng.chance(9, 10) ? prng.pick(plan.hotSpots) : prng.below(size);
    if (sector >= end) sector = prng.below(end);
    let sectors = prng.chance(1, 2) ? 8 : 1 + prng.below(plan.maxSectors);
    if (prng.chance(2, 3)) sector -= sector % 8;
    sectors = Math.min(sectors, end - sector);
    if (op === OP.Flush) {
      sector = 0;
      sectors = 0;
    }
    const flags = op === OP.Write && prng.chance(1, 15) ? (prng.chance(1, 2) ? REQ_FUA : REQ_FUA | REQ_PREFLUSH) : 0;
    return this.issue(op, flags, sector, sectors, thread);
  }

  /**
   * One request.
   * @param thread - goes on with another one after it, or `NO_THREAD`
   * @returns false when the device takes nothing now
   */
  issue(op: Op, flags: number, sector: number, sectors: number, thread = NO_THREAD): boolean {
    const { history, queue } = this.#world;
    const payload = op === OP.Write ? transient.allocate(sectors * SECTOR) : undefined;
    const slot = this.#node.submit(op, flags, sector, sectors * SECTOR, payload);
    if (slot < 0) return false;
    const isWriting = op === OP.Write || op === OP.Discard || op === OP.WriteZeroes;
    const isFua = (flags & REQ_FUA) !== 0;
    const write = isWriting ? history.begin(this.#node.side, op !== OP.Write, sector, sectors, isFua, queue.now) : undefined;
    if (payload !== undefined) stampSectors(payload, sector, write!.id);
    const peerIncarnation = this.#peer.incarnation;
    this.#running.set(slot, { op, sector, sectors, began: queue.now, write, thread, peerIncarnation, disk: this.#disk });
    if (this.#world.isTracing)
      this.#world.trace(this.#node, `${OP_WORDS[op]} ${sector}+${sectors}${write === undefined ? '' : ` as ${write.id}`}, slot ${slot}`);
    this.#node.start(slot);
    return true;
  }

  #completed(slot: number, errno: number): void {
    const world = this.#world;
    const running = this.#running.get(slot);
    if (running === undefined) {
      world.violation(`L2 ${this.#node.name}: slot ${slot} completed, which nobody waits for`);
      return;
    }
    this.#running.delete(slot);
    if (world.isTracing)
      world.trace(this.#node, `completed slot ${slot}${running.write === undefined ? '' : `, write ${running.write.id}`}, errno ${errno}`);
    const { history, queue } = world;
    if (running.write !== undefined) {
      history.end(running.write, errno === 0, this.#writesLocally(), this.#mirroredTo(running), queue.now);
      if (errno !== 0) world.countFailure(this.#node, running.disk === 'UpToDate');
      else if ((!this.#hasOwnDisk() || world.plan.twoPrimaries) && !this.#isPeerTheSame(running)) {
        // Acked by a peer that lost power before we knew: the only good disk may have lost it again; or, of two Primaries that went
        // down together, the one that the other one follows.
        world.checks.excused[this.#peer.side].add(running.write.id);
      }
      // It went to the own disk, too, which was lost meanwhile: not flushed there, as after a power cut with that disk.
      if (errno === 0 && WORKING.has(running.disk) && !this.#writesLocally()) world.checks.excused[this.#node.side].add(running.write.id);
    } else if (running.op === OP.Flush) {
      if (errno === 0 && this.#hasOwnDisk()) history.flushed(this.#node.side, running.began);
    } else if (errno === 0) this.#verify(slot, running);
    if (running.thread === this.#threads) this.#next(running.thread, this.#node.incarnation);
  }

  get #peer(): SimNode {
    return this.#world.nodes[this.#node.side === 0 ? 1 : 0];
  }

  get #disk(): string | undefined {
    return this.#node.snapshot()?.volumes[0]?.diskState;
  }

  #hasOwnDisk(): boolean {
    return this.#disk === 'UpToDate';
  }

  /** Good or not, its own disk gets what is written, and answers reads of what is good on it. */
  #writesLocally(): boolean {
    return WORKING.has(this.#disk);
  }

  #isPeerTheSame({ peerIncarnation }: Pick<Running, 'peerIncarnation'>): boolean {
    return this.#peer.isUp && this.#peer.incarnation === peerIncarnation;
  }

  /** The peer whose disk had to answer as well. */
  #mirroredTo({ peerIncarnation }: Running): 0 | 1 | undefined {
    // An ack may still arrive from a peer that has lost power, and its cache, since it sent it.
    if (!this.#isPeerTheSame({ peerIncarnation })) return undefined;
    if (this.#world.plan.protocol !== 'C') return undefined;
    const connection = this.#node.snapshot()?.connections[0];
    const peer = connection?.peerDevices[0];
    if (connection?.state !== 'Connected' || peer === undefined) return undefined;
    // A source has not heard yet that its target is through, and good.
    const isThrough = SOURCE.has(peer.replicationState) && this.#peer.snapshot()?.volumes[0]?.diskState === 'UpToDate';
    if (peer.peerDiskState !== 'UpToDate' && !isThrough) return undefined;
    return this.#node.side === 0 ? 1 : 0;
  }

  /** D1, D3: what was read is the last completed write, or one that ran meanwhile. */
  #verify(slot: number, { sector, sectors, began, disk }: Running): void {
    const buffer = this.#node.buffer(slot);
    const { history } = this.#world;
    const from = this.#writesLocally() ? this.#node.side : this.#peer.side;
    // Its own disk may have answered before it was lost.
    const earlier = WORKING.has(disk) ? this.#node.side : from;
    for (let i = 0; i < sectors; i++) {
      const value = readStamp(buffer, i * SECTOR, sector + i);
      const complaint = history.complaint(from, sector + i, value, began);
      if (complaint === undefined || (earlier !== from && history.complaint(earlier, sector + i, value, began) === undefined)) continue;
      this.#world.violation(`D1 ${this.#node.name}: a read of sector ${sector + i} that began at ${began} ${complaint}`);
      return;
    }
  }
}

const WORKING: ReadonlySet<string | undefined> = new Set(['Inconsistent', 'Outdated', 'Consistent', 'UpToDate']);

const SOURCE: ReadonlySet<string> = new Set(['SyncSource', 'PausedSyncS']);

const OP_WORDS = ['read', 'write', 'flush', 'discard', 'zero'] as const;
