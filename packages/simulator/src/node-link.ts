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
const NOTHING = new Uint8Array(0);

/** Bytes received of one stream and not consumed: those that are put together to packets, and behind them what came after a payload began. */
class Inbox {
  bytes = new Uint8Array(4096);
  start = 0;
  end = 0;
  readonly #behind: { readonly bytes: Uint8Array; readonly isPayload: boolean }[] = [];

  append(bytes: Uint8Array, payload: Uint8Array): void {
    if (bytes.length > 0) {
      if (this.#behind.length === 0) this.#put(bytes);
      else this.#behind.push({ bytes, isPayload: false });
    }
    if (payload.length > 0) this.#behind.push({ bytes: payload, isPayload: true });
  }

  /** Takes the next bytes of a payload, at most so many. They do not change any more. */
  take(most: number): Uint8Array {
    if (this.start < this.end) {
      const part = transient.copyOf(this.bytes.subarray(this.start, Math.min(this.end, this.start + most)));
      this.start += part.length;
      return part;
    }
    const next = this.#behind.shift();
    if (next === undefined) return NOTHING;
    if (next.bytes.length <= most) {
      this.#line();
      return next.bytes;
    }
    this.#behind.unshift({ ...next, bytes: next.bytes.subarray(most) });
    return next.bytes.subarray(0, most);
  }

  /** Whether there is something to look at for packets. */
  hasBytes(): boolean {
    // A payload that the core did not ask for.
    while (this.start === this.end && this.#behind.length > 0) {
      this.#put(this.#behind.shift()!.bytes);
      this.#line();
    }
    return this.start < this.end;
  }

  /** Puts together what follows up to the next payload. */
  #line(): void {
    while (this.#behind[0]?.isPayload === false) this.#put(this.#behind.shift()!.bytes);
  }

  #put(more: Uint8Array): void {
    const kept = this.end - this.start;
    if (this.end + more.length > this.bytes.length) {
      const next = kept + more.length > this.bytes.length / 2 ? new Uint8Array(2 * (kept + more.length)) : this.bytes;
      next.set(this.bytes.subarray(this.start, this.end));
      this.bytes = next;
      this.start = 0;
      this.end = kept;
    }
    this.bytes.set(more, this.end);
    this.end += more.length;
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

  received(link: Link, stream: Stream, bytes: Uint8Array, payload: Uint8Array): void {
    if (this.#link !== link) return;
    this.#inboxes[stream].append(bytes, payload);
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
      if (!inbox.hasBytes()) return;
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
    const buffer = this.#node.buffers.get(slot);
    const from = core.payloadOffset(CONNECTION);
    if (buffer === undefined || buffer.bytes.length < from + wanted)
      throw new Error(`slot ${slot}: payload of ${wanted} bytes without a buffer`);
    while (this.#payloadDone < wanted) {
      const part = inbox.take(wanted - this.#payloadDone);
      if (part.length === 0) return false;
      buffer.put(part, from + this.#payloadDone);
      this.#payloadDone += part.length;
    }
    this.#payloadDone = 0;
    bufferFilled(core, slot, buffer.bytes.subarray(from, from + wanted));
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

  /** A network card that changes a bit; the check sum of TCP does not see everything. @returns what arrives */
  #damaged(payload: Uint8Array): Uint8Array {
    const { plan, random, isQuiet } = this.#world;
    if (plan.damagedPerMillion === 0 || isQuiet || !random.damage.chance(plan.damagedPerMillion, 1_000_000)) return payload;
    const result = transient.copyOf(payload);
    const at = random.damage.below(payload.length);
    result[at] = result[at]! ^ (1 << random.damage.below(8));
    this.#world.noteDamage();
    return result;
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
      const header = transient.copyOf(box.arena.subarray(box.headerOffset[row]!, box.headerOffset[row]! + box.headerBytes[row]!));
      const from = box.payloadOffset[row]!;
      let payload = slot < 0 ? NOTHING : this.#node.buffers.get(slot)?.bytes.subarray(from, from + box.payloadBytes[row]!);
      if (payload === undefined) {
        this.#world.violation(`crash ${this.#node.name}: packet with the payload of slot ${slot}, which has none`);
        return;
      }
      if (slot >= 0) {
        const digest = digestBytes(box.digest[row]!);
        if (digest > 0) header.set(digestOf(payload, digest), header.length - digest);
        payload = this.#damaged(payload);
      } else if (this.#world.plan.genuinePeers) pretendGenuine(header);
      network.send(link, this.#node.side, stream, header, payload);
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
