/**
 * Two nodes with the real core, disks and links, in one thread: one reactor, two resources that talk over the loopback. What writes to
 * the Primary is a front end that submits as soon as something is answered, and makes no garbage of its own.
 */
import { placement } from '@udrbd/metadata';
import { type ControlRequest, OP, type Options, Resource } from '@udrbd/replication';
import { bindSocket, closeFile, getLocalAddress, openSocket } from 'ublk-napi';
import { closeDisk, openDisk } from '../disks/open-disk.js';
import type { FrontEnd } from '../front-ends/front-end.js';
import { Listeners } from '../links/listener.js';
import { hostFunctions } from '../reactor/host-functions.js';
import type { DiskHandles, ReactorMessage } from '../reactor/messages.js';
import { Reactor } from '../reactor/reactor.js';
import { ResourceHost } from '../reactor/resource-host.js';
import { ResyncOrder } from '../reactor/resync-order.js';
import { createImage } from './image.js';

const BLOCK_BYTES = 4096;
const ARENA_BYTES = 4 << 20;
const TRIES = 2000;

/** Keeps `depth` writes of 4 KiB in flight until as many as were wanted have been answered. */
class Writer implements FrontEnd {
  isOpen = true;
  openForWriting = true;
  host: ResourceHost | undefined;
  answered = 0;
  failed = 0;
  #left = 0;
  #free = 0;
  #at = 0;
  readonly #blocks: number;

  constructor(blocks: number) {
    this.#blocks = blocks;
  }

  start(count: number, depth: number): void {
    this.answered = 0;
    this.#left = count;
    this.#free = depth;
    this.host!.wantResume(this);
    this.host!.touched = true;
  }

  update(): void {
    // The size is known.
  }

  complete(slot: number, errno: number): void {
    const host = this.host!;
    host.memory.release(host.takePage(slot));
    this.answered++;
    if (errno !== 0) this.failed++;
    this.#free++;
    host.wantResume(this);
  }

  resume(): void {
    const host = this.host!;
    const { requests } = host.core;
    while (this.#left > 0 && this.#free > 0) {
      const slot = host.acquire(0, this);
      if (slot < 0) return host.wantResume(this);
      if (host.allocate(slot, BLOCK_BYTES) < 0) {
        host.release(slot);
        return host.wantResume(this);
      }
      requests.op[slot] = OP.Write;
      requests.flags[slot] = 0;
      requests.sector[slot] = this.#at * (BLOCK_BYTES / 512);
      requests.lengthBytes[slot] = BLOCK_BYTES;
      // Every block is written before one is written again.
      this.#at = (this.#at + 7919) % this.#blocks;
      this.#left--;
      this.#free--;
      host.submit(slot);
    }
  }

  settle(): void {
    // Nothing is queued.
  }

  stop(stopped: () => void): void {
    stopped();
  }
}

export class ReplicatedPair {
  readonly reactor: Reactor;
  readonly #posted: ReactorMessage[] = [];
  readonly #writer: Writer;
  readonly #hosts: readonly ResourceHost[];
  readonly #handles: DiskHandles[] = [];
  #operation = 0;

  private constructor(imageBytes: number) {
    this.reactor = new Reactor((message) => void this.#posted.push(message), {
      arenaBytes: [ARENA_BYTES, ARENA_BYTES, ARENA_BYTES],
      lock: false,
      ringEntries: 1024,
    });
    const { usableSectors } = placement({ kind: 'internal', deviceBytes: imageBytes, maxPeers: 1 });
    this.#writer = new Writer(Math.floor((usableSectors * 512) / BLOCK_BYTES));
    const listeners = new Listeners(this.reactor, (level, text) => this.#posted.push({ type: 'log', level, text }));
    const resyncOrder = new ResyncOrder();
    this.#hosts = [0, 1].map(
      (index) =>
        new ResourceHost({
          reactor: this.reactor,
          index,
          core: new Resource({
            ...hostFunctions,
            name: `node${index}`,
            nodeId: index,
            options: {},
            applicationSlots: 256,
            peerSlots: 256,
            outboxBytes: 1 << 19,
          }),
          listeners,
          frontEnds: () => (index === 0 ? this.#writer : undefined),
          lock: false,
          resyncOrder,
        }),
    );
    this.#writer.host = this.#hosts[0]!;
  }

  /**
   * Connected, UpToDate on both, the first one Primary.
   * @param dir - for the images
   */
  static async create(
    dir: string,
    imageBytes: number,
    netOptions: Readonly<Record<string, unknown>> = {},
    diskOptions: Options = {},
  ): Promise<ReplicatedPair> {
    const pair = new ReplicatedPair(imageBytes);
    const ports = [freePort(), freePort()] as const;
    for (const node of [0, 1] as const) await pair.#configure(node, dir, imageBytes, ports, netOptions, diskOptions);
    for (const node of [0, 1]) pair.#control(node, { command: 'connect', connection: 0, tentative: false, discardMyData: false });
    pair.#until(
      'the connection',
      () => pair.#peerDevice(0)?.replicationState === 'Established' && pair.#peerDevice(1)?.replicationState === 'Established',
    );
    // The last thing that the nodes tell each other about the state before.
    for (let i = 0; i < 10; i++) pair.reactor.turn(5);
    pair.#control(0, { command: 'new-current-uuid', volume: 0, clearBitmap: true, forceResync: false });
    pair.#control(0, { command: 'primary', force: false });
    pair.#until(
      'two good disks',
      () => pair.#peerDevice(0)?.peerDiskState === 'UpToDate' && pair.#peerDevice(1)?.peerDiskState === 'UpToDate',
    );
    return pair;
  }

  async #configure(
    node: 0 | 1,
    dir: string,
    imageBytes: number,
    ports: readonly [number, number],
    netOptions: Readonly<Record<string, unknown>>,
    options: Options,
  ): Promise<void> {
    const image = `${dir}/${node}.img`;
    createImage(image, imageBytes);
    const opened = await openDisk({ backingDev: image, metaDev: image, metaIndex: -3, options, nodeId: node, drbd8Compat: false });
    if (!opened.ok) throw new Error(`${image}: ${opened.error.name}`);
    this.#control(node, { command: 'new-minor', volume: 0, minor: node, options: {} });
    this.#control(node, { command: 'new-peer', connection: 0, peerNodeId: 1 - node, options: { protocol: 'C', ...netOptions } as never });
    const endpoint = (of: number) => ({ family: 'ipv4', address: '127.0.0.1', port: ports[of]! }) as const;
    this.#hosts[node]!.setPaths(0, [{ local: endpoint(node), remote: endpoint(1 - node) }]);
    this.#handles.push(opened.value.handles);
    this.#hosts[node]!.attach(++this.#operation, 0, opened.value.backing, opened.value.handles);
    this.#answered(this.#operation);
  }

  /** Writes `count` blocks. Synchronous; allocates nothing by itself. */
  write(count: number, depth: number): void {
    this.#writer.start(count, depth);
    this.reactor.turn(0);
    while (this.#writer.answered < count) this.reactor.turn(100);
    if (this.#writer.failed > 0) throw new Error(`${this.#writer.failed} writes failed`);
  }

  /** Transactions of both activity logs so far. */
  get transactions(): number {
    return this.#hosts.reduce((sum, host) => sum + host.snapshot().core.volumes[0]!.alWrites, 0);
  }

  /** Pages of both bitmaps that were written so far. */
  get bitmapPages(): number {
    return this.#hosts.reduce((sum, host) => sum + host.snapshot().core.volumes[0]!.bmWrites, 0);
  }

  /** The Primary goes on alone. */
  disconnect(): void {
    for (const node of [0, 1]) this.#control(node, { command: 'disconnect', connection: 0, force: true });
  }

  #peerDevice(node: number) {
    return this.#hosts[node]!.snapshot().core.connections[0]?.peerDevices[0];
  }

  #control(node: number, request: ControlRequest): void {
    this.#hosts[node]!.control(++this.#operation, request);
    this.#answered(this.#operation);
  }

  #answered(operation: number): void {
    const find = () => this.#posted.find((message) => message.type === 'reply' && message.operation === operation);
    this.#until(`answer ${operation}`, () => find() !== undefined);
    const answer = find();
    if (answer?.type === 'reply' && answer.error !== undefined) throw new Error(`refused: ${JSON.stringify(answer.error)}`);
  }

  #until(what: string, isSo: () => boolean): void {
    for (let i = 0; i < TRIES && !isSo(); i++) this.reactor.turn(5);
    if (!isSo())
      throw new Error(`${what} did not come: ${JSON.stringify(this.#posted.filter((message) => message.type === 'log').slice(-5))}`);
  }

  async close(): Promise<void> {
    this.disconnect();
    this.#writer.openForWriting = false;
    this.#control(0, { command: 'secondary', openVolumes: [], force: false });
    for (const node of [0, 1]) this.#control(node, { command: 'detach', volume: 0, force: false });
    this.#until('the disks', () => this.#posted.filter((message) => message.type === 'disk-closed').length === 2);
    for (const handles of this.#handles) await closeDisk(handles);
    this.reactor.close();
  }
}

/** A port that nobody uses now. */
function freePort(): number {
  const fd = openSocket('ipv4');
  bindSocket(fd, { family: 'ipv4', address: '127.0.0.1', port: 0 });
  const address = getLocalAddress(fd);
  closeFile(fd);
  return address.family === 'unix' ? 0 : address.port;
}
