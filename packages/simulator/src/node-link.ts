/** The end of a link that a node has: hands packets of the core to the network, and what has arrived to the core. */
import { digestBytes, type ReplicationCore, type Stream } from '@udrbd/replication';
import { COMMAND, HEADER_KIND, headerBytesOf, P_CONNECTION_FEATURES } from '@udrbd/wire';
import { bufferFilled, digestOf } from './digest.js';
import type { Link, LinkUser } from './network.js';
import type { SimNode } from './node.js';
import { transient } from './slab.js';
import type { World } from './world.js';

const CONNECTION = 0;
const GENUINE_PROTOCOL_MIN = 86;

/** Pieces that are worth no copy. */
const LARGE = 2048;

/** Bytes received of one stream and not consumed. */
class Inbox {
  bytes: Uint8Array = new Uint8Array(65536);
  start = 0;
  end = 0;
  /** What holds bytes that have been copied, while `bytes` is something else. */
  #own = this.bytes;
  append(more: Uint8Array): void {
    if (this.start === this.end && more.length > LARGE) {
      // All of it is taken at once, mostly.
      this.bytes = more;
      this.start = 0;
      this.end = more.length;
      return;
    }
    if (this.bytes !== this.#own) this.#takeOver();
    if (this.end + more.length > this.bytes.length) {
      const kept = this.bytes.subarray(this.start, this.end);
      const next = new Uint8Array(Math.max(this.bytes.length, 2 * (kept.length + more.length)));
      next.set(kept);
      this.bytes = next;
      this.#own = next;
      this.end -= this.start;
      this.start = 0;
    }
    this.bytes.set(more, this.end);
    this.end += more.length;
  }

  #takeOver(): void {
    const kept = this.bytes.subarray(this.start, this.end);
    if (kept.length > this.#own.length) this.#own = new Uint8Array(2 * kept.length);
    this.#own.set(kept);
    this.bytes = this.#own;
    this.start = 0;
    this.end = kept.length;
  }
}

export class NodeLink implements LinkUser {
  wantsLink = false;
  readonly #world: World;
  readonly #node: SimNode;
  #link: Link | undefined;
  #inboxes: [Inbox, Inbox] = [new Inbox(), new Inbox()];
  #payloadDone = 0;
  /** Entries of each outbox that the socket has taken, and those of them that were reported. */
  #handed: [number, number] = [0, 0];
  readonly #senderAwake: [boolean, boolean] = [false, false];
  #closing = false;

  constructor(world: World, node: SimNode) {
    this.#world = world;
    this.#node = node;
  }

  open(): void {
    if (this.#link !== undefined) return;
    this.wantsLink = true;
    this.#world.network.lookForPartners();
  }

  /** The node is gone; `silently`: the other side hears nothing. */
  vanish(silently: boolean): void {
    this.wantsLink = false;
    if (this.#link !== undefined) this.#world.network.vanish(this.#link, this.#node.side, silently);
    this.#link = undefined;
  }

  linkUp(link: Link, resolveConflicts: boolean): void {
    this.wantsLink = false;
    this.#link = link;
    this.#inboxes = [new Inbox(), new Inbox()];
    this.#handed = [0, 0];
    this.#payloadDone = 0;
    this.#world.trace(this.#node, `link ${link.number} up`);
    const decides = resolveConflicts || this.#world.plan.canary === 'two-resolvers';
    this.#node.call(this.#node.core, (c) => c.linkUp(this.#node.now, CONNECTION, decides));
  }

  close(): void {
    this.wantsLink = false;
    const link = this.#link;
    if (link === undefined) {
      if (!this.#closing) this.#gone('closed', '');
      return;
    }
    this.#link = undefined;
    this.#world.network.close(link, this.#node.side);
    this.#gone('closed', '');
  }

  peerClosed(link: Link, isReset: boolean): void {
    if (this.#link !== link) return;
    this.#link = undefined;
    this.#world.trace(this.#node, `link ${link.number} ${isReset ? 'reset' : 'closed by the peer'}`);
    this.#gone(isReset ? 'network-failure' : 'broken-pipe', isReset ? 'connection reset by peer' : 'sock was shut down by peer');
  }

  /** Reports the end once nothing of the link is in flight. */
  #gone(why: 'closed' | 'network-failure' | 'broken-pipe', detail: string): void {
    this.#closing = true;
    const { core } = this.#node;
    this.#world.queue.after(this.#world.random.node.range(10, 2000), () => {
      this.#closing = false;
      this.#node.call(core, (c) => c.linkDown(this.#node.now, CONNECTION, why, detail));
    });
  }

  received(link: Link, stream: Stream, bytes: Uint8Array): void {
    if (this.#link !== link) return;
    this.#inboxes[stream].append(bytes);
    this.feed(stream);
  }

  /** Offers what has arrived until the core takes nothing more. */
  feed(stream: Stream): void {
    const { core } = this.#node;
    const link = this.#link;
    const inbox = this.#inboxes[stream];
    let progress = true;
    while (progress && core !== undefined && this.#node.core === core && this.#link === link && link !== undefined) {
      progress = false;
      if (stream === 0 && this.#takePayload(core, inbox)) {
        progress = true;
        continue;
      }
      if (stream === 0 && core.payloadSlot(CONNECTION) >= 0) return;
      if (inbox.start === inbox.end) return;
      this.#node.call(core, (c) => {
        const used = c.receive(this.#node.now, CONNECTION, stream, inbox.bytes, inbox.start, inbox.end);
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
    const buffer = this.#node.buffers.get(slot);
    const from = core.payloadOffset(CONNECTION);
    if (buffer === undefined || buffer.length < from + wanted) throw new Error(`slot ${slot}: payload of ${wanted} bytes without a buffer`);
    buffer.set(inbox.bytes.subarray(inbox.start, inbox.start + length), from + this.#payloadDone);
    inbox.start += length;
    this.#payloadDone += length;
    if (this.#payloadDone < wanted) return false;
    this.#payloadDone = 0;
    bufferFilled(core, slot, buffer.subarray(from, from + wanted));
    this.#node.call(core, (c) => c.payloadDone(this.#node.now, CONNECTION));
    return true;
  }

  wakeSender(stream: Stream): void {
    if (this.#senderAwake[stream]) return;
    this.#senderAwake[stream] = true;
    const link = this.#link;
    this.#world.queue.after(this.#world.random.node.range(1, 30), () => {
      this.#senderAwake[stream] = false;
      if (this.#link === link || this.#link !== undefined) this.#pump(stream);
    });
  }

  writable(link: Link, stream: Stream): void {
    if (this.#link === link) this.wakeSender(stream);
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
    const { core } = this.#node;
    const link = this.#link;
    if (core === undefined || link === undefined) return;
    const { network } = this.#world;
    const box = core.outbox(CONNECTION, stream);
    let entries = 0;
    while (this.#handed[stream] < box.queued && network.room(link, this.#node.side, stream) > 0) {
      const row = this.#handed[stream]++ % box.capacity;
      const slot = box.payloadSlot[row]!;
      const header = box.arena.subarray(box.headerOffset[row]!, box.headerOffset[row]! + box.headerBytes[row]!);
      const lengthBytes = box.payloadBytes[row]!;
      const payload =
        slot < 0 ? undefined : this.#node.buffers.get(slot)?.subarray(box.payloadOffset[row]!, box.payloadOffset[row]! + lengthBytes);
      if (slot >= 0 && payload === undefined) {
        this.#world.violation(`crash ${this.#node.name}: packet with the payload of slot ${slot}, which has none`);
        return;
      }
      const packet = transient.allocate(header.length + lengthBytes);
      packet.set(header);
      if (this.#world.plan.genuinePeers && slot < 0) pretendGenuine(packet);
      if (payload !== undefined) {
        packet.set(payload, header.length);
        const digest = digestBytes(box.digest[row]!);
        if (digest > 0) packet.set(digestOf(payload, digest), header.length - digest);
        this.#damage(packet.subarray(header.length));
      }
      network.send(link, this.#node.side, stream, packet);
      entries++;
    }
    if (entries === 0) return;
    this.#world.queue.after(this.#world.random.node.range(1, 200), () => {
      if (this.#link === link) this.#node.call(core, (c) => c.sendDone(this.#node.now, CONNECTION, stream, entries));
    });
  }
}

/** Makes a P_CONNECTION_FEATURES say what a genuine DRBD says of its oldest protocol. */
function pretendGenuine(packet: Uint8Array): void {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const headerBytes = headerBytesOf(HEADER_KIND.H80);
  if (packet.length !== headerBytes + P_CONNECTION_FEATURES.size || view.getUint16(4) !== COMMAND.P_CONNECTION_FEATURES) return;
  view.setUint32(headerBytes + P_CONNECTION_FEATURES.at.protocol_min.offset, GENUINE_PROTOCOL_MIN);
}
