/**
 * The network between two nodes: links of two ordered byte streams each way. Bytes are delayed, cut at any place, held back
 * while a direction is down, or lost with the link. Nothing is reordered within a stream.
 */
import type { Stream } from '@udrbd/replication';
import type { EventQueue } from './event-queue.js';
import type { Prng } from './prng.js';

export type Side = 0 | 1;
export const other = (side: Side): Side => (side === 0 ? 1 : 0);

export interface NetworkProfile {
  /** One-way delay of a piece, microseconds. */
  readonly delayMin: number;
  readonly delayMax: number;
  /** Bytes a socket takes before the sender has to wait. */
  readonly windowBytes: number;
  /** Cut deliveries into pieces. */
  readonly splits: boolean;
}

/** What a node is told. */
export interface LinkUser {
  /** The node runs and asks for a connection. */
  readonly wantsLink: boolean;
  linkUp(link: Link, resolveConflicts: boolean): void;
  /** A piece of packets: what is no payload, then the payload behind it, which nobody changes any more. */
  received(link: Link, stream: Stream, bytes: Uint8Array, payload: Uint8Array): void;
  /** Room in the socket again. */
  writable(link: Link, stream: Stream): void;
  /** The other side closed, or the network says that it is not there any more. */
  peerClosed(link: Link, isReset: boolean): void;
}

/** `bytes` undefined is the end of the stream. */
interface Piece {
  readonly bytes: Uint8Array | undefined;
  readonly payload: Uint8Array;
  readonly arrival: number;
}

interface Flow {
  /** Bytes under way. */
  inFlight: number;
  lastArrival: number;
  readonly pieces: Piece[];
}
const newFlow = (): Flow => ({ inFlight: 0, lastArrival: 0, pieces: [] });

export class Link {
  readonly number: number;
  /** Per side: the end is open. */
  readonly open: [boolean, boolean] = [true, true];
  /** Per side: it has been told that the link stands; what arrives before that waits. */
  readonly announced: [boolean, boolean] = [false, false];
  /** Per side: it vanished without closing (power cut, killed process). */
  readonly vanished: [boolean, boolean] = [false, false];
  /** Per sending side and stream. */
  readonly flows: readonly (readonly [Flow, Flow])[] = [
    [newFlow(), newFlow()],
    [newFlow(), newFlow()],
  ];
  /** An end that waits for word of the other one's death: the side to be told. */
  resetDue: Side | undefined;
  constructor(number: number) {
    this.number = number;
  }
}

const RETRY_MICROS = 100_000;
const NOTHING = new Uint8Array(0);

/** What `[from, to)` has of some bytes, which it may miss. */
const part = (bytes: Uint8Array, from: number, to: number): Uint8Array =>
  from <= 0 && to >= bytes.length ? bytes : bytes.subarray(Math.max(0, from), Math.max(0, to));

export class Network {
  readonly #queue: EventQueue;
  readonly #prng: Prng;
  readonly #profile: NetworkProfile;
  readonly users: [LinkUser | undefined, LinkUser | undefined] = [undefined, undefined];
  /** Direction from this side to the other one carries bytes. */
  readonly #up: [boolean, boolean] = [true, true];
  #healedAt = Number.NEGATIVE_INFINITY;
  #links: Link[] = [];
  #numbers = 0;
  #establishing = false;

  constructor(queue: EventQueue, prng: Prng, profile: NetworkProfile) {
    this.#queue = queue;
    this.#prng = prng;
    this.#profile = profile;
  }

  get isHealthy(): boolean {
    return this.#up[0] && this.#up[1];
  }

  /** Whether it has been so for that long, in microseconds. */
  wasHealthyFor(micros: number): boolean {
    return this.isHealthy && this.#queue.now - this.#healedAt >= micros;
  }

  /** Takes one direction down or up. What was held back goes on. */
  setDirection(from: Side, up: boolean): void {
    if (up && !this.#up[from]) this.#healedAt = this.#queue.now;
    this.#up[from] = up;
    if (!up) return;
    for (const link of this.#links) {
      for (const stream of [0, 1] as const) this.#queue.after(this.#delay(), () => this.#pump(link, from, stream));
      if (link.resetDue !== undefined) this.#resetWhenHeard(link, link.resetDue);
    }
    this.lookForPartners();
  }

  /** Breaks all links at once, for both ends at about the same time. */
  resetAll(): void {
    for (const link of this.#links) for (const side of [0, 1] as const) this.#reset(link, side);
  }

  /** A side closed its end in order: what it sent arrives, then the end of the streams. */
  close(link: Link, side: Side): void {
    if (!link.open[side]) return;
    link.open[side] = false;
    for (const stream of [0, 1] as const) this.#enqueue(link, side, stream, undefined);
    this.#forget(link);
  }

  /** A side is gone: its kernel resets the link (a killed process) or says nothing at all (power). */
  vanish(link: Link, side: Side, silently: boolean): void {
    if (!link.open[side]) return;
    link.open[side] = false;
    link.vanished[side] = true;
    if (!silently) this.#resetWhenHeard(link, other(side));
    this.#forget(link);
  }

  /** @returns bytes that the socket would take now */
  room(link: Link, side: Side, stream: Stream): number {
    return this.#profile.windowBytes - link.flows[side]![stream]!.inFlight;
  }

  /** Sends one packet; neither part of it is to change any more. */
  send(link: Link, side: Side, stream: Stream, header: Uint8Array, payload: Uint8Array): void {
    const peer = other(side);
    const bytes = header.length + payload.length;
    link.flows[side]![stream]!.inFlight += bytes;
    if (link.vanished[peer]) {
      // Nobody is there. A kernel that runs again answers with a reset.
      if (this.users[peer] !== undefined) this.#resetWhenHeard(link, side);
      return;
    }
    for (let at = 0; at < bytes; ) {
      const rest = bytes - at;
      const end = this.#profile.splits && this.#prng.chance(1, 3) ? at + 1 + this.#prng.below(rest) : bytes;
      this.#enqueue(link, side, stream, part(header, at, end), part(payload, at - header.length, end - header.length));
      at = end;
    }
  }

  #enqueue(link: Link, side: Side, stream: Stream, bytes: Uint8Array | undefined, payload: Uint8Array = NOTHING): void {
    const flow = link.flows[side]![stream]!;
    flow.lastArrival = Math.max(flow.lastArrival, this.#queue.now + this.#delay());
    flow.pieces.push({ bytes, payload, arrival: flow.lastArrival });
    this.#queue.at(flow.lastArrival, () => this.#pump(link, side, stream));
  }

  /** Delivers what has arrived of one flow, in order. */
  #pump(link: Link, side: Side, stream: Stream): void {
    const flow = link.flows[side]![stream]!;
    const peer = other(side);
    while (flow.pieces.length > 0 && this.#up[side] && link.announced[peer] && flow.pieces[0]!.arrival <= this.#queue.now) {
      const { bytes, payload } = flow.pieces.shift()!;
      if (bytes === undefined) {
        this.#end(link, peer, false);
        return;
      }
      flow.inFlight -= bytes.length + payload.length;
      if (link.open[peer]) this.users[peer]?.received(link, stream, bytes, payload);
      if (link.open[side]) this.users[side]?.writable(link, stream);
    }
  }

  #resetWhenHeard(link: Link, told: Side): void {
    link.resetDue = undefined;
    if (!link.open[told]) return;
    if (this.isHealthy) this.#reset(link, told);
    else link.resetDue = told;
  }

  #reset(link: Link, side: Side): void {
    this.#queue.after(this.#delay(), () => this.#end(link, side, true));
  }

  #end(link: Link, side: Side, isReset: boolean): void {
    if (!link.open[side]) return;
    link.open[side] = false;
    this.#forget(link);
    if (link.announced[side]) this.users[side]?.peerClosed(link, isReset);
  }

  #forget(link: Link): void {
    if (!link.open[0] && !link.open[1]) this.#links = this.#links.filter((candidate) => candidate !== link);
  }

  /** Somebody began to listen and to call: a link stands up once both do and the network lets them. */
  lookForPartners(): void {
    if (this.#establishing) return;
    this.#establishing = true;
    this.#queue.after(this.#prng.range(500, RETRY_MICROS), () => {
      this.#establishing = false;
      const [a, b] = this.users;
      if (a?.wantsLink !== true || b?.wantsLink !== true) return;
      if (!this.isHealthy) {
        if (this.#up[0] || this.#up[1]) this.lookForPartners();
        return;
      }
      const link = new Link(++this.#numbers);
      this.#links.push(link);
      const resolver = this.#prng.below(2);
      // One end hears of it first; bytes for the other wait there.
      const first = this.#prng.below(2) as Side;
      this.#announce(link, first, resolver === first);
      const second = other(first);
      this.#queue.after(this.#delay(), () => {
        if (!link.open[second]) return;
        if (this.users[second]?.wantsLink === true) this.#announce(link, second, resolver === second);
        else this.vanish(link, second, false);
      });
    });
  }

  #announce(link: Link, side: Side, resolveConflicts: boolean): void {
    link.announced[side] = true;
    this.users[side]!.linkUp(link, resolveConflicts);
    for (const stream of [0, 1] as const) this.#queue.after(0, () => this.#pump(link, other(side), stream));
  }

  #delay(): number {
    return this.#prng.range(this.#profile.delayMin, this.#profile.delayMax);
  }
}
