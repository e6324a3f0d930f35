/** What the disk of a node does: it answers late, with an error, or not at all for a while. */
import { type MetaWrite, OP, REQ_FUA, REQ_PREFLUSH, type ReplicationCore } from '@udrbd/replication';
import { bufferFilled } from './digest.js';
import { peekMetaData, placesOfWrites } from './meta-tools.js';
import type { SimNode } from './node.js';
import { SlotBuffer, zeroes } from './payload.js';
import type { Saboteur } from './saboteur.js';
import type { DiskWrite, SimDisk } from './sim-disk.js';
import type { World } from './world.js';

const EIO = 5;

export class NodeDisk {
  readonly #world: World;
  readonly #node: SimNode;
  readonly #saboteur: Saboteur;
  readonly #disk: SimDisk;
  /** Slots whose request is under way. */
  readonly #slots = new Set<number>();
  readonly #onItsWay = new Set<{ readonly fail: (core: ReplicationCore) => void; isLate: boolean }>();
  /** The core has given the disk up. */
  #isAbandoned = false;
  #abandonToken: number | undefined;
  /** The disk answers nothing before that, microseconds. */
  #hangsUntil = 0;
  /** No write of data may go beyond what the super block on disk says. */
  #limitBytes = Number.POSITIVE_INFINITY;
  /** Where the activity log is, and its shape. */
  #log = '';

  constructor(world: World, node: SimNode, saboteur: Saboteur) {
    this.#world = world;
    this.#node = node;
    this.#saboteur = saboteur;
    this.#disk = node.disk;
  }

  /** A core begins. */
  up(): void {
    this.#slots.clear();
  }

  attached(): void {
    this.#limitBytes = Number.POSITIVE_INFINITY;
    this.#isAbandoned = false;
  }

  /** The core is gone. */
  gone(): void {
    this.#onItsWay.clear();
    this.#abandonToken = undefined;
  }

  measure(token: number): void {
    const sectors = (): number => this.#disk.sizeBytes / 512;
    this.#node.later(this.#latency(), (c) => c.diskMeasured(this.#node.now, token, sectors(), sectors()));
  }

  #latency(): number {
    const { plan, random } = this.#world;
    return random.disk.range(plan.diskMin, plan.diskMax) + Math.max(0, this.#hangsUntil - this.#world.queue.now);
  }

  #fails(): boolean {
    const { plan, random, isQuiet } = this.#world;
    return (
      plan.diskErrorsPerMillion > 0 &&
      plan.diskErrorsOn === this.#node.side &&
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
    if (this.#isAbandoned) return this.#node.later(1, fail);
    const operation = { fail, isLate: false };
    this.#onItsWay.add(operation);
    this.#node.later(latency, (c) => {
      this.#onItsWay.delete(operation);
      end(c, operation.isLate);
      this.#end(c);
    });
  }

  get isHanging(): boolean {
    return this.#world.queue.now < this.#hangsUntil;
  }

  hangs(micros: number): void {
    this.#world.trace(this.#node, `disk hangs for ${micros} us`);
    this.#hangsUntil = this.#world.queue.now + micros;
  }

  abandon(token: number): void {
    this.#isAbandoned = true;
    const operations = [...this.#onItsWay];
    for (const operation of operations) operation.isLate = true;
    this.#node.later(1, (c) => {
      for (const { fail } of operations) fail(c);
      this.#abandonToken = token;
      this.#end(c);
    });
  }

  #end(core: ReplicationCore): void {
    if (this.#abandonToken === undefined || this.#onItsWay.size > 0) return;
    core.metaDone(this.#node.now, this.#abandonToken, 0);
    this.#abandonToken = undefined;
  }

  /** The engine has one set of counters a slot. */
  #occupy(slot: number): void {
    if (this.#slots.has(slot)) throw new Error(`slot ${slot}: two disk requests at a time`);
    this.#slots.add(slot);
  }

  #done(core: ReplicationCore, slot: number, errno: number): void {
    this.#slots.delete(slot);
    core.diskDone(this.#node.now, slot, errno);
  }

  read(core: ReplicationCore, slot: number): void {
    this.#occupy(slot);
    const { requests } = core;
    const sector = requests.sector[slot]!;
    const lengthBytes = requests.lengthBytes[slot]!;
    this.#node.detail('disk read', slot, sector, lengthBytes);
    const buffer = this.#node.buffers.get(slot);
    if (buffer === undefined || buffer.bytes.length < lengthBytes)
      throw new Error(`slot ${slot}: read of ${lengthBytes} bytes without a buffer`);
    const fail = (c: ReplicationCore): void => {
      // The disk may still touch the old one.
      if (slot < requests.applicationSlots) this.#node.buffers.set(slot, new SlotBuffer(zeroes(lengthBytes)));
      this.#done(c, slot, EIO);
    };
    this.#onDisk(this.#latency(), fail, (c, isLate) => {
      if (isLate) {
        buffer.spoil();
        return;
      }
      if (this.#fails()) return this.#done(c, slot, EIO);
      const payload = this.#disk.view(sector * 512, lengthBytes);
      buffer.put(payload, 0);
      bufferFilled(c, slot, payload);
      this.#done(c, slot, 0);
    });
  }

  write(core: ReplicationCore, slot: number): void {
    this.#occupy(slot);
    const { requests } = core;
    const { checks } = this.#world;
    const lengthBytes = requests.lengthBytes[slot]!;
    if (this.#isAbandoned) return this.#node.later(1, (c) => this.#done(c, slot, EIO));
    const flags = requests.flags[slot]!;
    const isMirrored = slot >= requests.applicationSlots;
    if (!isMirrored) checks.beforeApplicationWrite(this.#node, requests.sector[slot]!, lengthBytes);
    const sector = this.#saboteur.sector(requests.sector[slot]!);
    const isDropped = this.#saboteur.drops(isMirrored, requests.op[slot] !== OP.Write);
    const point = (flags & REQ_PREFLUSH) !== 0 ? this.#disk.flushPoint : -1;
    let write: DiskWrite;
    if (requests.op[slot] === OP.Write) {
      const buffer = this.#node.buffers.get(slot)?.bytes;
      if (buffer === undefined || buffer.length < lengthBytes) throw new Error(`slot ${slot}: write of ${lengthBytes} bytes without them`);
      const payload = this.#saboteur.payload(isMirrored, buffer.subarray(0, lengthBytes));
      // A buffer is filled once, and another request gets another one.
      write = this.#disk.submitKept(sector * 512, payload, (flags & REQ_FUA) !== 0, false, point);
    } else write = this.#disk.submitZeroes(sector * 512, lengthBytes, (flags & REQ_FUA) !== 0);
    if (sector * 512 + lengthBytes > this.#limitBytes) throw new Error(`write behind the end: sector ${sector} + ${lengthBytes} bytes`);
    this.#node.detail('disk write', slot, sector, lengthBytes);
    const isAnswered = this.#saboteur.answersEarly(isMirrored);
    if (isAnswered) this.#node.later(1, (c) => this.#done(c, slot, 0));
    const fail = (c: ReplicationCore): void => this.#done(c, slot, EIO);
    this.#onDisk(this.#latency(), fail, (c, isLate) => {
      this.#node.detail('disk write done', slot, sector, lengthBytes);
      if (isDropped || (!isLate && this.#fails())) {
        this.#disk.abandon(write);
        if (!isLate) this.#done(c, slot, isDropped ? 0 : EIO);
        return;
      }
      if (point >= 0 && !this.#saboteur.skipsFlush) this.#disk.flushed(point);
      this.#disk.complete(write);
      checks.touched();
      if (isAnswered || isLate) return;
      this.#done(c, slot, 0);
    });
  }

  flush(core: ReplicationCore, slot: number): void {
    this.#occupy(slot);
    this.#flush(this.#latency(), this.#saboteur.skipsFlush, (errno) => this.#done(core, slot, errno));
  }

  /** On behalf of the receiver, for a barrier. */
  flushVolume(core: ReplicationCore, connection: number, volume: number): void {
    this.#flush(this.#latency(), this.#saboteur.skipsEpochFlush, (errno) => core.epochFlushed(this.#node.now, connection, volume, errno));
  }

  #flush(latency: number, isSkipped: boolean, done: (errno: number) => void): void {
    const point = this.#disk.flushPoint;
    const fail = (): void => done(EIO);
    this.#onDisk(latency, fail, (_c, isLate) => {
      if (isLate) return;
      if (this.#fails()) return done(EIO);
      if (!isSkipped) this.#disk.flushed(point);
      done(0);
    });
  }

  metaWrite(request: MetaWrite): void {
    const { plan } = this.#world;
    if (this.#isAbandoned) return this.#node.later(1, (c) => c.metaDone(this.#node.now, request.token, EIO));
    const places = placesOfWrites(this.#disk, plan.format);
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
    if (isAnswered) this.#node.later(1, (c) => c.metaDone(this.#node.now, token, 0));
    const point = request.preflush && !this.#saboteur.skipsPreflush ? this.#disk.flushPoint : -1;
    // The super block is one atomic unit of 4 KiB for the disks that we promise anything for.
    const bytes = this.#saboteur.metaBytes(part, request.bytes);
    const write = this.#disk.submit(request.offsetBytes, bytes, request.fua, isSuperblock, point);
    const fail = (c: ReplicationCore): void => c.metaDone(this.#node.now, token, EIO);
    this.#onDisk(this.#latency(), fail, (c, isLate) => {
      if (isLost || (!isLate && this.#fails())) {
        this.#disk.abandon(write);
        if (!isLate) c.metaDone(this.#node.now, token, isLost ? 0 : EIO);
        return;
      }
      if (point >= 0) this.#disk.flushed(point);
      this.#disk.complete(write);
      if (isSuperblock) this.#superblockWritten();
      if (isSuperblock && isLate) this.#world.mayPart = true;
      if (isAl) this.#world.checks.activityLogChanged(this.#node);
      this.#world.checks.touched();
      if (!isAnswered && !isLate) c.metaDone(this.#node.now, token, 0);
    });
  }

  #superblockWritten(): void {
    const { md, place } = peekMetaData(this.#disk, this.#world.plan.format);
    if (md.effective_size > 0) this.#limitBytes = md.effective_size * 512;
    // The activity log that counts may be another one now.
    const log = `${place.alOffsetBytes} ${md.al_stripes} ${md.al_stripe_size_4k}`;
    if (log !== this.#log) this.#world.checks.activityLogChanged(this.#node);
    this.#log = log;
  }
}
