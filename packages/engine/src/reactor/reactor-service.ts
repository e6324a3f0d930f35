/** A reactor with the resources it hosts, driven by the front desk's messages. */
import type { ProtocolVersions, ReplicationCore, ResourceSetup } from '@udrbd/replication';
import { ErrnoError } from 'ublk-napi';
import { NbdFrontEnd } from '../front-ends/nbd-front-end.js';
import { UblkFrontEnd } from '../front-ends/ublk-front-end.js';
import { Listeners } from '../links/listener.js';
import { hostFunctions } from './host-functions.js';
import type { DeskMessage, FrontEndKind, PostToDesk } from './messages.js';
import { Reactor } from './reactor.js';
import { type FrontEndFactory, ResourceHost } from './resource-host.js';
import { ResyncOrder } from './resync-order.js';

export interface ReactorServiceOptions {
  readonly frontEnd: FrontEndKind;
  readonly runDir: string;
  /** Bytes for payloads: of the block devices above, of data from peers, of data read for peers. */
  readonly arenaBytes: readonly [number, number, number];
  readonly lock: boolean;
  /** Request slots of each resource: for its block devices, for its peers. */
  readonly protocolVersions: ProtocolVersions;
  readonly applicationSlots: number;
  readonly peerSlots: number;
}

/** Makes the core of a resource. */
export type CreateCore = (setup: ResourceSetup) => ReplicationCore;

/** Headers that may wait for a connection: the bitmap in flight and every slot's packet fit. */
const OUTBOX_BYTES = 1 << 19;

export class ReactorService {
  readonly reactor: Reactor;
  readonly #options: ReactorServiceOptions;
  readonly #post: PostToDesk;
  readonly #listeners: Listeners;
  readonly #createCore: CreateCore;
  readonly #hosts: (ResourceHost | undefined)[] = [];
  readonly #frontEnds: FrontEndFactory;
  readonly #resyncOrder = new ResyncOrder();
  /** Hosts whose volumes are not served yet. */
  readonly #held = new Set<number>();
  isStopped = false;

  constructor(post: PostToDesk, options: ReactorServiceOptions, createCore: CreateCore) {
    this.#post = post;
    this.#createCore = createCore;
    this.#options = options;
    this.reactor = new Reactor(post, options);
    this.#listeners = new Listeners(this.reactor, (level, text) => post({ type: 'log', level, text }));
    this.#frontEnds = (host, volume, minor) => this.#frontEnd(host, volume, minor);
    const { pool } = this.reactor.memory;
    const lockState = pool.locked ? 'locked' : options.lock ? `not locked (errno ${pool.lockErrno})` : 'not locked';
    post({ type: 'log', level: 'info', text: `reactor: ${Math.round(this.reactor.reservedBytes / 1024)} KiB reserved, ${lockState}` });
  }

  /** One turn of the ring; see Reactor.turn. */
  turn(maxWaitMs: number): void {
    this.reactor.turn(maxWaitMs);
  }

  handle(message: DeskMessage): void {
    if (message.type === 'stop') {
      this.isStopped = true;
      return;
    }
    if (message.type === 'add-resource') {
      this.#add(message);
      return;
    }
    const host = this.#hosts[message.host];
    if (host === undefined) {
      if ('operation' in message) {
        this.#post({ type: 'reply', host: message.host, operation: message.operation, error: { name: 'ERR_RES_NOT_KNOWN' } });
      }
      return;
    }
    try {
      this.#handleFor(host, message);
    } catch (error) {
      host.fail(error);
      if (message.type === 'snapshot') this.#handleFor(host, message);
    }
  }

  #handleFor(host: ResourceHost, message: Exclude<DeskMessage, { type: 'stop' | 'add-resource' }>): void {
    switch (message.type) {
      case 'control':
        host.control(message.operation, message.request);
        break;
      case 'attach':
        host.attach(message.operation, message.volume, message.disk, message.handles);
        break;
      case 'hold':
        host.isHolding = true;
        break;
      case 'release':
        this.#held.delete(message.host);
        for (const volume of message.volumes) {
          const frontEnd = host.frontEndOf(volume);
          if (frontEnd instanceof NbdFrontEnd) frontEnd.listen();
        }
        break;
      case 'paths':
        host.setPaths(message.connection, message.paths);
        break;
      case 'helper-done':
        host.helperDone(message.token, message.exitCode);
        break;
      case 'snapshot':
        this.#post({ type: 'snapshot', host: message.host, operation: message.operation, snapshot: host.snapshot() });
        break;
      case 'remove-resource':
        host.remove(() => {
          this.#hosts[message.host] = undefined;
          this.#post({ type: 'reply', host: message.host, operation: message.operation });
        });
        break;
      case 'ublk-serve':
      case 'ublk-drain':
        this.#ublk(host, message);
        break;
    }
  }

  #add(message: DeskMessage & { type: 'add-resource' }): void {
    if (message.isHeld) this.#held.add(message.host);
    else this.#held.delete(message.host);
    const core = this.#createCore({
      ...hostFunctions,
      name: message.name,
      nodeId: message.nodeId,
      options: message.options,
      protocolVersions: this.#options.protocolVersions,
      applicationSlots: this.#options.applicationSlots,
      peerSlots: this.#options.peerSlots,
      outboxBytes: OUTBOX_BYTES,
    });
    this.#hosts[message.host] = new ResourceHost({
      reactor: this.reactor,
      index: message.host,
      core,
      listeners: this.#listeners,
      frontEnds: this.#frontEnds,
      lock: this.#options.lock,
      resyncOrder: this.#resyncOrder,
    });
  }

  #frontEnd(host: ResourceHost, volume: number, minor: number): NbdFrontEnd | UblkFrontEnd | undefined {
    switch (this.#options.frontEnd) {
      case 'nbd': {
        const frontEnd = new NbdFrontEnd(
          this.reactor,
          host,
          volume,
          minor,
          `${this.#options.runDir}/nbd/${minor}.sock`,
          this.#options.lock,
        );
        if (!this.#held.has(host.index)) frontEnd.listen();
        return frontEnd;
      }
      case 'ublk':
        return new UblkFrontEnd(this.reactor, host, volume, (sizeSectors, writable) =>
          this.#post({ type: 'volume', host: host.index, volume, minor, sizeSectors, writable }),
        );
      default:
        return undefined;
    }
  }

  #ublk(host: ResourceHost, message: DeskMessage & { type: 'ublk-serve' | 'ublk-drain' }): void {
    const reply = (...info: string[]) =>
      this.#post({
        type: 'reply',
        host: message.host,
        operation: message.operation,
        ...(info.length > 0 && { error: { name: 'ERR_INVALID_REQUEST', info } as const }),
      });
    const frontEnd = host.frontEndOf(message.volume);
    if (!(frontEnd instanceof UblkFrontEnd)) {
      reply('no such volume');
      return;
    }
    if (message.type === 'ublk-drain') {
      frontEnd.whenDrained(() => reply());
      return;
    }
    try {
      frontEnd.serve(message.setup);
      reply();
    } catch (error) {
      if (!(error instanceof ErrnoError)) throw error;
      reply(error.message);
    }
  }

  /** Whether no resource is left. */
  get isEmpty(): boolean {
    return this.#hosts.every((host) => host === undefined);
  }

  close(): void {
    this.reactor.close();
  }
}
