/** Decoders of what comes from the network: packets, bitmaps, NBD. */

import { initialPacketStream } from '../../packages/engine/src/links/initial-packet.js';
import {
  CMD,
  HANDSHAKE,
  IHAVEOPT,
  NBD_BROKEN,
  NBD_DISCONNECT,
  NBD_NEED_MORE,
  NbdSession,
  OPT,
  REQUEST_MAGIC,
} from '../../packages/engine/src/nbd/index.js';
import { exportedVolume } from '../../packages/engine/src/testing/nbd-export.js';
import {
  BitmapReceiver,
  BitmapSender,
  ByteBitmap,
  decodeConnectionFeatures,
  decodeHeader,
  decodePacket,
  HEADER_KIND,
  HEADER_OK,
  type HeaderKind,
  headerBytesOf,
  headerKindOf,
  negotiate,
  PACKETS,
  PAYLOAD_BYTES_MAX,
  PacketHeader,
  packetBytes,
  packetNameOf,
  STRUCTURES,
} from '../../packages/wire/src/index.js';
import { streams } from '../wire/recordings.js';
import { type FieldAt, mutateBytes, type Prng } from './mutate.js';
import { fuzzer, holds, type Target } from './target.js';

/** One packet as it was on the wire. */
export interface RecordedPacket {
  readonly bytes: Uint8Array;
  readonly command: number;
  readonly onMetaSocket: boolean;
  readonly apv: number;
  readonly features: number;
  readonly kind: HeaderKind;
  readonly fields: readonly FieldAt[];
}

/** Longer ones are the same again, with more data. */
const SEED_BYTES_MAX = 8192;

/** Where the fields of a packet stand, by the tables of our layouts. */
export function fieldsOf(command: number, kind: HeaderKind): readonly FieldAt[] {
  const head = headerBytesOf(kind);
  const fields: FieldAt[] =
    kind === HEADER_KIND.H100
      ? [
          { offset: 4, width: 2 },
          { offset: 6, width: 2 },
          { offset: 8, width: 4 },
        ]
      : [
          { offset: 4, width: 2 },
          { offset: 6, width: 2 },
        ];
  const name = packetNameOf(command);
  if (name === undefined || !(name in STRUCTURES)) return fields;
  const table: { readonly at: Readonly<Record<string, { readonly offset: number; readonly width: number }>> } =
    STRUCTURES[name as keyof typeof STRUCTURES];
  for (const { offset, width } of Object.values(table.at)) fields.push({ offset: head + offset, width });
  return fields;
}

/** One of each kind and length that two kernels exchanged. */
export function recordedPackets(): RecordedPacket[] {
  const seen = new Map<string, RecordedPacket>();
  for (const stream of streams()) {
    const apv = stream.apv ?? 86;
    const onMetaSocket = stream.socket === 'meta';
    for (const { bytes, packets } of stream.directions.values()) {
      for (const { offset, name, length } of packets) {
        const { command } = PACKETS[name as keyof typeof PACKETS];
        const kind = command >= 0xfff0 ? HEADER_KIND.H80 : headerKindOf(apv);
        const end = offset + headerBytesOf(kind) + length;
        if (end - offset > SEED_BYTES_MAX) continue;
        const key = [name, length, apv, onMetaSocket].join();
        if (!seen.has(key)) {
          seen.set(key, {
            bytes: bytes.slice(offset, end),
            command,
            onMetaSocket,
            apv,
            features: stream.features,
            kind,
            fields: fieldsOf(command, kind),
          });
        }
      }
    }
  }
  return [...seen.values()];
}

const KINDS = [HEADER_KIND.H80, HEADER_KIND.H95, HEADER_KIND.H100] as const;
const equal = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

export const packets: Target = {
  name: 'packets',
  what: 'headers, first packets, features and all packets of DRBD 8.4 and 9',
  short: 20_000,
  open: () => {
    const seeds = recordedPackets();
    const header = new PacketHeader();
    return fuzzer(
      (prng: Prng) => {
        const seed = prng.pick(seeds);
        const bytes = mutateBytes(prng, seed.bytes, seed.fields, PAYLOAD_BYTES_MAX);
        // Another version sees the same bytes too, and the other socket.
        const isOther = prng.chance(20);
        const apv = isOther ? prng.pick([86, 88, 91, 95, 97, 100, 101, 110, 118, 122, 123]) : seed.apv;
        const onMetaSocket = prng.chance(5) ? !seed.onMetaSocket : seed.onMetaSocket;
        return {
          bytes,
          kind: isOther ? prng.pick(KINDS) : seed.kind,
          context: {
            apv,
            features: isOther ? prng.below(0x400) : seed.features,
            onMetaSocket,
            integrityBytes: prng.pick([0, 0, 4, 20, 64]),
          },
        };
      },
      ({ bytes, kind, context }) => {
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        if (bytes.length >= 8) holds([-1, 0, 1].includes(initialPacketStream(view, 0)), 'a first packet names a stream');
        const verdict = decodeHeader(view, 0, bytes.length, kind, header);
        if (verdict !== HEADER_OK) return;
        holds(header.length >= 0 && header.length <= PAYLOAD_BYTES_MAX, 'a length within bounds');
        const base = header.headerBytes;
        if (base + header.length <= bytes.length) {
          const features = decodeConnectionFeatures(view, base, header.length);
          if (features.ok) negotiate({ protocolMin: 86, protocolMax: 101, features: 0xf }, features.value);
        }
        const decoded = decodePacket(header, view, base, bytes.length, context);
        if (!decoded.ok) return;
        const packet = decoded.value;
        const used = bytes.subarray(0, base + header.length);
        const again = packetBytes(packet, kind);
        if (equal(again, used)) return;
        // Not the same bytes (a padding that is not looked at, a header that may be written in two ways), but the same packet.
        const second = new PacketHeader();
        const copy = new DataView(again.buffer);
        holds(decodeHeader(copy, 0, again.length, kind, second) === HEADER_OK, 'what we encode has a header');
        const twice = decodePacket(second, copy, second.headerBytes, again.length, context);
        holds(twice.ok, 'what was accepted is accepted again');
        holds(equal(packetBytes(twice.value, kind), again), 'and means the same');
      },
      ({ bytes }) => bytes,
    );
  },
};

/** A bitmap with runs of all lengths, as our sender sends it. */
function transfer(prng: Prng, bits: number, kind: HeaderKind): Uint8Array[] {
  const bitmap = new ByteBitmap(bits);
  for (let at = prng.below(bits); at < bits; ) {
    const end = Math.min(bits, at + 1 + prng.below(prng.pick([2, 20, 300, 5000])));
    bitmap.setRange(at, end);
    at = end + 1 + prng.below(prng.pick([2, 64, 1000, 20_000]));
  }
  const sender = new BitmapSender(bitmap, kind, 0, prng.chance(70));
  const sent: Uint8Array[] = [];
  while (!sender.done) {
    const out = new Uint8Array(4096);
    sent.push(out.subarray(0, sender.next(out, 0)));
  }
  return sent;
}

export const bitmaps: Target = {
  name: 'bitmaps',
  what: 'bitmap transfers, plain and run-length encoded',
  short: 3000,
  open: () =>
    fuzzer(
      (prng) => {
        const bits = prng.pick([1, 63, 64, 65, 1000, 32_768, 100_003]);
        const kind = prng.pick([HEADER_KIND.H95, HEADER_KIND.H100]);
        const head = headerBytesOf(kind);
        const sent = transfer(prng, bits, kind).map((bytes) =>
          prng.chance(40) ? mutateBytes(prng, bytes, [{ offset: head, width: 1 }]) : bytes,
        );
        if (prng.chance(20)) sent.splice(prng.below(sent.length + 1), prng.below(2), prng.pick(sent));
        return { bits, kind, sent };
      },
      ({ bits, kind, sent }) => {
        const bitmap = new ByteBitmap(bits);
        const receiver = new BitmapReceiver(bitmap, kind);
        const head = headerBytesOf(kind);
        let before = 0;
        for (const bytes of sent) {
          if (bytes.length < head) return;
          const command = new DataView(bytes.buffer, bytes.byteOffset).getUint16(kind === HEADER_KIND.H100 ? 6 : 4);
          const verdict = receiver.packet(command, bytes, head, bytes.length);
          const count = bitmap.count();
          holds(count >= before && count <= bits, 'bits are only set, and inside of the bitmap');
          holds(bitmap.nextSet(bits) === bits, 'nothing behind the end');
          before = count;
          if (!verdict.ok || verdict.value) return;
        }
      },
      (input) => Buffer.concat(input.sent),
    ),
};

const VOLUME = exportedVolume(512);

function nbdOption(option: number, data: Buffer): Buffer {
  const head = Buffer.alloc(16);
  head.writeUInt32BE(IHAVEOPT[0], 0);
  head.writeUInt32BE(IHAVEOPT[1], 4);
  head.writeUInt32BE(option, 8);
  head.writeUInt32BE(data.length, 12);
  return Buffer.concat([head, data]);
}

function nbdRequest(prng: Prng): Buffer {
  const head = Buffer.alloc(28);
  head.writeUInt32BE(REQUEST_MAGIC, 0);
  head.writeUInt16BE(prng.pick([0, 0, 1, 2, 4, 16, 32]), 4);
  head.writeUInt16BE(prng.pick(Object.values(CMD)), 6);
  head.writeUInt32BE(prng.below(2 ** 32), 12);
  head.writeUInt32BE(prng.below(1 << 20) & ~511, 20);
  head.writeUInt32BE(prng.pick([0, 512, 4096, 65_536]), 24);
  return head;
}

const name = (text: string): Buffer => {
  const bytes = Buffer.from(text);
  const head = Buffer.alloc(4);
  head.writeUInt32BE(bytes.length);
  return Buffer.concat([head, bytes]);
};

export const nbd: Target = {
  name: 'nbd',
  what: 'NBD: greeting, options and requests of a client, cut into pieces',
  short: 10_000,
  open: () =>
    fuzzer(
      (prng) => {
        const flags = Buffer.alloc(4);
        flags.writeUInt32BE(prng.pick([HANDSHAKE.FIXED_NEWSTYLE, 3, 3, 2, 0, 8]));
        const parts: Uint8Array[] = [flags];
        for (let n = prng.below(4); n > 0; n--) {
          const option = prng.pick([...Object.values(OPT), 99]);
          parts.push(
            nbdOption(
              option,
              prng.chance(50) ? Buffer.alloc(0) : Buffer.concat([name(prng.pick(['', 'r0', 'no'])), Buffer.from([0, 1, 0, 3])]),
            ),
          );
        }
        parts.push(
          prng.chance(80)
            ? nbdOption(OPT.GO, Buffer.concat([name('r0'), Buffer.from([0, 0])]))
            : nbdOption(OPT.EXPORT_NAME, Buffer.from('r0')),
        );
        const fields: FieldAt[] = [];
        let at = 0;
        const requests: Uint8Array[] = [];
        for (let n = prng.below(8); n > 0; n--) requests.push(nbdRequest(prng));
        for (const part of [...parts, ...requests]) {
          if (part.length === 28)
            fields.push(
              { offset: at + 4, width: 2 },
              { offset: at + 6, width: 2 },
              { offset: at + 16, width: 8 },
              { offset: at + 24, width: 4 },
            );
          else if (part.length >= 16)
            fields.push({ offset: at + 8, width: 4 }, { offset: at + 12, width: 4 }, { offset: at + 16, width: 4 });
          at += part.length;
        }
        const bytes = mutateBytes(prng, Buffer.concat([...parts, ...requests]), fields);
        return { bytes, pieces: prng.pick([1, 7, 100, bytes.length + 1]) };
      },
      ({ bytes, pieces }) => {
        const session = new NbdSession({ list: () => [VOLUME], find: (wanted) => (wanted === '' || wanted === 'r0' ? VOLUME : undefined) });
        let at = 0;
        for (let end = 0; end < bytes.length && !session.isOpen && !session.isClosed; ) {
          end = Math.min(bytes.length, end + pieces);
          const used = session.push(bytes, at, end);
          holds(used >= at && used <= end, 'bytes are used in order');
          at = used;
          holds(session.takeOutput().length < 1 << 20, 'an answer that is not out of proportion');
        }
        if (!session.isOpen) return;
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        const reply = new DataView(new ArrayBuffer(64));
        while (at <= bytes.length) {
          const verdict = session.next(view, at, bytes.length);
          holds(session.consumed >= 0 && at + session.consumed <= bytes.length, 'nothing is used that has not come');
          if (verdict === NBD_NEED_MORE && session.consumed === 0) return;
          at += session.consumed;
          if (verdict === NBD_BROKEN || verdict === NBD_DISCONNECT) return;
          if (verdict === NBD_NEED_MORE) continue;
          const { command, cookieHigh, cookieLow, offset, lengthBytes, error } = session.request;
          if (error === 0 && command !== CMD.FLUSH)
            holds(offset + lengthBytes <= VOLUME.sizeBytes && offset >= 0, 'a request that is served lies inside of the device');
          holds(session.putReply(reply, 0, command, cookieHigh, cookieLow, offset, lengthBytes, error) <= 28, 'a short reply');
        }
      },
      ({ bytes }) => bytes,
    ),
};
