import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import {
  CHALLENGE_BYTES,
  COMMAND,
  checkChallenge,
  checkPacket,
  checkRange,
  DP,
  decodeHeader,
  decodePacket,
  encodingByte,
  equalBytes,
  FF,
  type Fields,
  HEADER_BAD_MAGIC,
  HEADER_BAD_PAD,
  HEADER_KIND,
  HEADER_NEED_MORE,
  HEADER_OK,
  HEADER_OVERSIZE,
  type HeaderKind,
  headerKindOf,
  ID_OUT_OF_SYNC,
  ID_SYNCER,
  type Layout,
  PACKET_OK,
  PACKET_TOO_LONG,
  PACKET_TOO_SHORT,
  PACKET_UNKNOWN,
  PACKET_WRONG_SOCKET,
  PACKETS,
  PacketHeader,
  type PacketInput,
  packetBytes,
  packetLogName,
  packetNameOf,
  pDataBlockIdHigh,
  pDataBlockIdLow,
  pDataFlags,
  pDataSector,
  pDataSeqNum,
  pTrimSize,
  putHeader,
  putPTrim,
  RANGE_BAD_SIZE,
  RANGE_BEYOND_END,
  RANGE_OK,
  RS_CONTROLLER_DEFAULT,
  RS_PARAM_DEFAULT,
  responseMessage,
  STRUCTURES,
} from './index.js';
import { formatPage } from './testing/format-page.js';

const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));

/** Title and bytes of each example in golden/worked-examples.txt. */
const examples = new Map<string, Uint8Array>();
for (const part of readFileSync(new URL('../golden/worked-examples.txt', import.meta.url), 'utf8')
  .split('## ')
  .slice(1)) {
  const [title, ...lines] = part.split('\n');
  examples.set(title!, bytesOf(lines.join('').trim()));
}
const countUp = (from: number): Uint8Array => Uint8Array.from({ length: 64 }, (_, i) => from + i);
const sizes = { d_size: 0x1ffb0, u_size: 0, c_size: 0x1ffb0, max_bio_size: 1 << 20, queue_order_type: 0, dds_flags: 0 };
const qlim = {
  physical_block_size: 512,
  logical_block_size: 512,
  alignment_offset: 0,
  io_min: 512,
  io_opt: 0,
  discard_enabled: 1,
  discard_zeroes_data: 0,
  write_same_capable: 0,
};
const data = new Uint8Array(4096);
const settings = { after_sb_0p: 0, after_sb_1p: 0, after_sb_2p: 0, conn_flags: 0, two_primaries: 0 };
const uuids = { history0: 0n, history1: 0n, dirty_bits: 16374n, flags: 0n };
const twopc = { tid: 0x1a2b3c4d, initiator_or_flags: 0xc0000000, target_or_ids: 1, nodes_to_reach: 0xffff_ffff_ffff_fffcn };
const write = { sector: 2048, block_id: 0x0048d1bb20a1ffffn };

/** What the examples say in words. Those of which only the header part is given carry data here and are compared as far as they go. */
const packets: Readonly<Record<string, PacketInput & { readonly kind?: HeaderKind }>> = {
  P_INITIAL_DATA: { name: 'P_INITIAL_DATA', volume: 0, body: {}, kind: HEADER_KIND.H80 },
  P_INITIAL_META: { name: 'P_INITIAL_META', volume: 0, body: {}, kind: HEADER_KIND.H80 },
  'P_CONNECTION_FEATURES, as sent by 8.4': {
    name: 'P_CONNECTION_FEATURES',
    volume: 0,
    body: { protocol_min: 86, feature_flags: 15, protocol_max: 101 },
    kind: HEADER_KIND.H80,
  },
  'P_CONNECTION_FEATURES, as sent by 9.3, node 0 to node 1': {
    name: 'P_CONNECTION_FEATURES',
    volume: 0,
    body: { protocol_min: 86, feature_flags: 0x3ff, protocol_max: 124, sender_node_id: 0, receiver_node_id: 1 },
    kind: HEADER_KIND.H80,
  },
  'P_AUTH_CHALLENGE from A': { name: 'P_AUTH_CHALLENGE', volume: 0, body: {}, tail: { bytes: countUp(0) } },
  'P_AUTH_RESPONSE from B (apv < 110)': {
    name: 'P_AUTH_RESPONSE',
    volume: 0,
    body: {},
    tail: {
      bytes: createHmac('sha1', 'S3cr3t')
        .update(responseMessage(countUp(0), 101, 1))
        .digest(),
    },
  },
  P_PROTOCOL: { name: 'P_PROTOCOL', volume: 0, body: { protocol: 3, ...settings }, tail: { algorithm: '' } },
  'P_PROTOCOL, other settings': {
    name: 'P_PROTOCOL',
    volume: 0,
    body: { protocol: 1, after_sb_0p: 3, after_sb_1p: 8, after_sb_2p: 0, conn_flags: 1, two_primaries: 0 },
    tail: { algorithm: 'crc32c' },
  },
  P_SYNC_PARAM89: { name: 'P_SYNC_PARAM89', volume: 0, body: RS_PARAM_DEFAULT, tail: { controller: RS_CONTROLLER_DEFAULT } },
  P_SIZES: { name: 'P_SIZES', volume: 0, body: sizes, tail: { qlim } },
  'P_UUIDS, just created': { name: 'P_UUIDS', volume: 0, body: { current: 4n, bitmap: 0n, ...uuids } },
  'P_STATE, initial': { name: 'P_STATE', volume: 0, body: { state: 0xc882 } },
  'P_STATE, after entering Connected': { name: 'P_STATE', volume: 0, body: { state: 0x88aa } },
  'P_STATE_CHG_REQ (primary --force)': { name: 'P_STATE_CHG_REQ', volume: 0, body: { mask: 0x1e03, val: 0x1001 } },
  'P_STATE_CHG_REPLY success': { name: 'P_STATE_CHG_REPLY', volume: 0, body: { retcode: 1 } },
  'P_STATE_CHG_REPLY −19': { name: 'P_STATE_CHG_REPLY', volume: 0, body: { retcode: -19 } },
  'P_UUIDS after the forced promotion': { name: 'P_UUIDS', volume: 0, body: { current: 0x1122334455667789n, bitmap: 4n, ...uuids } },
  'P_COMPRESSED_BITMAP, all 16374 bits set': {
    name: 'P_COMPRESSED_BITMAP',
    volume: 0,
    body: { encoding: encodingByte(true, 3) },
    tail: { bytes: bytesOf('7fc51e00') },
  },
  P_SYNC_UUID: { name: 'P_SYNC_UUID', volume: 0, body: { uuid: 0xa1b2c3d4e5f60718n } },
  'P_RS_DATA_REQUEST sector 0, 128 KiB': {
    name: 'P_RS_DATA_REQUEST',
    volume: 0,
    body: { sector: 0, block_id: ID_SYNCER, blksize: 131072 },
  },
  'P_RS_DATA_REPLY header part': {
    name: 'P_RS_DATA_REPLY',
    volume: 0,
    body: { sector: 0, block_id: ID_SYNCER, seq_num: 0, dp_flags: 0 },
    tail: { data: new Uint8Array(131072) },
  },
  P_RS_WRITE_ACK: { name: 'P_RS_WRITE_ACK', volume: 0, body: { sector: 0, block_id: ID_SYNCER, blksize: 131072, seq_num: 1 } },
  'P_DATA, protocol C, REQ_SYNC, 4 KiB at sector 2048': {
    name: 'P_DATA',
    volume: 0,
    body: { ...write, seq_num: 1, dp_flags: DP.SEND_WRITE_ACK | DP.RW_SYNC },
    tail: { data },
  },
  P_WRITE_ACK: { name: 'P_WRITE_ACK', volume: 0, body: { ...write, blksize: 4096, seq_num: 1 } },
  'P_BARRIER, epoch 1 of a little-endian sender': { name: 'P_BARRIER', volume: 0, body: { barrier: 0x01000000 } },
  'P_BARRIER_ACK, one write': { name: 'P_BARRIER_ACK', volume: 0, body: { barrier: 0x01000000, set_size: 1 } },
  'P_TRIM 1 MiB at sector 4096, protocol C': {
    name: 'P_TRIM',
    volume: 0,
    body: { ...write, sector: 4096, seq_num: 3, dp_flags: DP.SEND_WRITE_ACK | DP.DISCARD, size: 1 << 20 },
  },
  'P_OV_RESULT out of sync, sector 8': {
    name: 'P_OV_RESULT',
    volume: 0,
    body: { sector: 8, block_id: BigInt(ID_OUT_OF_SYNC), blksize: 4096, seq_num: 5 },
  },
  P_PING: { name: 'P_PING', volume: 0, body: {} },
  P_PING_ACK: { name: 'P_PING_ACK', volume: 0, body: {} },
  'P_CONN_ST_CHG_REQ disconnect': { name: 'P_CONN_ST_CHG_REQ', volume: 0, body: { mask: 0x1f0, val: 0x10 } },
  P_CONN_ST_CHG_REPLY: { name: 'P_CONN_ST_CHG_REPLY', volume: 0, body: { retcode: 1 } },
  'h95 header of a 64 KiB P_DATA (apv 95–99)': {
    name: 'P_DATA',
    volume: 0,
    body: { ...write, seq_num: 1, dp_flags: 0 },
    tail: { data: new Uint8Array(65536) },
    kind: HEADER_KIND.H95,
  },
  'h80 header of a 4 KiB P_DATA (apv ≤ 99)': {
    name: 'P_DATA',
    volume: 0,
    body: { ...write, seq_num: 1, dp_flags: 0 },
    tail: { data },
    kind: HEADER_KIND.H80,
  },
  'P_TWOPC_PREPARE, connect': { name: 'P_TWOPC_PREPARE', volume: 0xffff, body: { ...twopc, word20: 0n, word28: 0x1f0_0000_0090n } },
  P_TWOPC_YES: {
    name: 'P_TWOPC_YES',
    volume: 0xffff,
    body: { tid: 0x1a2b3c4d, initiator_node_id: 0, reachable_nodes: 3n, primary_nodes: 0n, weak_nodes: 0n },
  },
  P_TWOPC_COMMIT: { name: 'P_TWOPC_COMMIT', volume: 0xffff, body: { ...twopc, word20: 0n, word28: 3n } },
  'P_UUIDS110, just created, node 0 to node 1': {
    name: 'P_UUIDS110',
    volume: 0,
    body: { current_uuid: 4n, dirty_bits: 16374n, uuid_flags: 0x24n, node_mask: 0n, bitmap_uuids_mask: 2n },
    tail: { uuids: Array<bigint>(33).fill(0n) },
  },
  'P_CURRENT_UUID, fresh diskless node': { name: 'P_CURRENT_UUID', volume: 0, body: { uuid: 0n, weak_nodes: 0n } },
  'P_DAGTAG 2048': { name: 'P_DAGTAG', volume: 0xffff, body: { dagtag: 2048n } },
  'P_PEER_ACK nodes 0 and 1, dagtag 2056': { name: 'P_PEER_ACK', volume: 0xffff, body: { mask: 3n, dagtag: 2056n } },
};

t.test('the worked examples: words to bytes and back', async (t) => {
  t.strictSame(Object.keys(packets).sort(), [...examples.keys()].sort(), 'each example is tried');
  for (const [title, { kind = HEADER_KIND.H100, ...packet }] of Object.entries(packets)) {
    const wanted = examples.get(title)!;
    const bytes = packetBytes(packet as PacketInput, kind);
    t.strictSame(Buffer.from(bytes.subarray(0, wanted.length)).toString('hex'), Buffer.from(wanted).toString('hex'), title);
    const header = new PacketHeader();
    const view = new DataView(bytes.buffer);
    t.equal(decodeHeader(view, 0, bytes.length, kind, header), HEADER_OK);
    const isNine = PACKETS[packet.name].since >= 110;
    const apv = isNine ? 124 : kind === HEADER_KIND.H100 ? 101 : 99;
    const context = { apv, features: 15, onMetaSocket: PACKETS[packet.name].socket === 'meta', integrityBytes: 0 };
    const decoded = decodePacket(header, view, header.headerBytes, bytes.length, context);
    t.ok(decoded.ok && equalBytes(packetBytes(decoded.value as PacketInput, kind), bytes), `${title} decoded and encoded again`);
  }
});

t.test('a catalogue without contradictions', async (t) => {
  for (const [name, row] of Object.entries(PACKETS)) {
    t.equal(packetNameOf(row.command), name);
    const table = (STRUCTURES as unknown as Readonly<Record<string, Layout<Fields>>>)[name];
    if (table !== undefined) t.equal(table.size, row.size, `${name}: the structure has the catalogue's size`);
    else t.equal(row.socket, 'none', `${name} may not be sent`);
  }
  t.equal(packetLogName(0x0b), 'ReportProtocol');
  t.equal(packetLogName(0x7777), 'UNKNOWN');
});

t.test('the format page shows the tables as they are', async (t) => {
  const page = readFileSync(new URL('../../../docs/wire-protocol.md', import.meta.url), 'utf8');
  t.ok(page.endsWith(`${formatPage()}\n`), 'docs/wire-protocol.md: run src/testing/format-page.ts');
});

t.test('headers', async (t) => {
  const header = new PacketHeader();
  const view = new DataView(new ArrayBuffer(32));
  fc.assert(
    fc.property(
      fc.constantFrom(HEADER_KIND.H80, HEADER_KIND.H95, HEADER_KIND.H100),
      fc.nat(0xffff),
      fc.nat(0xffff),
      fc.nat(1 << 20),
      fc.nat(8),
      (kind, volume, command, anyLength, offset) => {
        const length = kind === HEADER_KIND.H80 ? anyLength & 0xffff : anyLength;
        const bytes = putHeader(view, offset, kind, volume, command, length);
        return (
          decodeHeader(view, offset, offset + bytes, kind, header) === HEADER_OK &&
          decodeHeader(view, offset, offset + bytes - 1, kind, header) === HEADER_NEED_MORE &&
          header.command === command &&
          header.length === length &&
          header.headerBytes === bytes &&
          header.volume === (kind === HEADER_KIND.H100 ? volume : 0)
        );
      },
    ),
    { numRuns: 2000 },
  );
  putHeader(view, 0, HEADER_KIND.H100, 0, 1, 2);
  view.setUint32(12, 1);
  t.equal(decodeHeader(view, 0, 16, HEADER_KIND.H100, header), HEADER_BAD_PAD);
  t.equal(decodeHeader(view, 0, 16, HEADER_KIND.H80, header), HEADER_BAD_MAGIC);
  putHeader(view, 0, HEADER_KIND.H100, 0, 1, 1 << 24);
  t.equal(decodeHeader(view, 0, 16, HEADER_KIND.H100, header), HEADER_OVERSIZE);
  putHeader(view, 0, HEADER_KIND.H95, 0, 1, 1 << 24);
  t.equal(decodeHeader(view, 0, 16, HEADER_KIND.H95, header), HEADER_OVERSIZE);
  t.equal(decodeHeader(view, 0, 16, HEADER_KIND.H80, header), HEADER_BAD_MAGIC, 'h95 before 95');
  t.strictSame([86, 94, 95, 99, 100, 124].map(headerKindOf), [0, 0, 1, 1, 2, 2]);
});

t.test('lengths and sockets are judged from the header alone', async (t) => {
  const onData = (command: number, length: number, apv = 101, features = 15) => checkPacket(false, command, length, apv, features);
  t.equal(onData(COMMAND.P_DATA, 24 + 4096), PACKET_OK);
  t.equal(onData(COMMAND.P_DATA, 23), PACKET_TOO_SHORT);
  t.equal(onData(COMMAND.P_DATA, 24 + 64 + (1 << 20) + 1), PACKET_TOO_LONG);
  t.equal(onData(COMMAND.P_PING, 0), PACKET_WRONG_SOCKET);
  t.equal(checkPacket(true, COMMAND.P_DATA, 24, 101, 15), PACKET_WRONG_SOCKET);
  t.equal(checkPacket(true, COMMAND.P_PING, 1, 101, 15), PACKET_TOO_LONG);
  t.equal(onData(COMMAND.P_SIZES, 32), PACKET_TOO_SHORT);
  t.equal(onData(COMMAND.P_SIZES, 32, 101, FF.TRIM), PACKET_OK);
  t.equal(onData(COMMAND.P_SYNC_PARAM89, 132, 94), PACKET_OK);
  t.equal(onData(COMMAND.P_SYNC_PARAM89, 132, 95), PACKET_TOO_SHORT);
  t.equal(onData(COMMAND.P_PROTOCOL, 24, 86), PACKET_OK);
  t.equal(onData(COMMAND.P_PROTOCOL, 24, 87), PACKET_TOO_SHORT);
  t.equal(onData(COMMAND.P_PROTOCOL, 24 + 65), PACKET_TOO_LONG);
  t.equal(onData(COMMAND.P_BITMAP, 4080), PACKET_OK);
  t.equal(onData(COMMAND.P_BITMAP, 4088), PACKET_TOO_LONG);
  t.equal(onData(COMMAND.P_COMPRESSED_BITMAP, 1), PACKET_TOO_SHORT);
  t.equal(onData(COMMAND.P_UUIDS110, 40), PACKET_UNKNOWN, 'below 110');
  t.equal(onData(COMMAND.P_OUT_OF_SYNC, 16, 95), PACKET_UNKNOWN);
  t.equal(onData(COMMAND.P_WSAME, 28 + 512), PACKET_UNKNOWN, 'never accepted');
  t.equal(onData(0x0100, 0), PACKET_UNKNOWN);
  t.equal(onData(COMMAND.P_INITIAL_DATA, 0), PACKET_UNKNOWN, 'only as the first packet');
});

t.test('ranges', async (t) => {
  t.equal(checkRange(0, 4096, 1 << 20, 8), RANGE_OK);
  t.equal(checkRange(1, 4096, 1 << 20, 8), RANGE_BEYOND_END);
  t.equal(checkRange(Number.MAX_SAFE_INTEGER, 512, 1 << 20, 8), RANGE_BEYOND_END);
  for (const size of [0, 1, 511, 513, (1 << 20) + 512]) t.equal(checkRange(0, size, 1 << 20, 1e9), RANGE_BAD_SIZE);
});

t.test('sectors and block ids pass the data path unchanged', async () => {
  const sector = fc.oneof(fc.constantFrom(0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1), fc.maxSafeNat());
  const u32 = fc.nat(0xffff_ffff);
  const view = new DataView(new ArrayBuffer(64));
  fc.assert(
    fc.property(sector, u32, u32, u32, u32, u32, (first, high, low, seq, flags, size) => {
      putPTrim(view, 8, first, high, low, seq, flags, size);
      return (
        pDataSector(view, 8) === first &&
        pDataBlockIdHigh(view, 8) === high &&
        pDataBlockIdLow(view, 8) === low &&
        pDataSeqNum(view, 8) === seq &&
        pDataFlags(view, 8) === flags &&
        pTrimSize(view, 8) === size
      );
    }),
    { numRuns: 2000 },
  );
});

t.test('any bytes give a packet or a refusal that names a field', async (t) => {
  let accepted = 0;
  let refused = 0;
  const trial = (
    command: number,
    bytes: Uint8Array,
    length: number,
    apv: number,
    features: number,
    onMetaSocket: boolean,
    integrityBytes: number,
  ): boolean => {
    const header = new PacketHeader();
    header.command = command;
    header.length = length;
    header.headerBytes = 16;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const decoded = decodePacket(header, view, 0, bytes.length, { apv, features, onMetaSocket, integrityBytes });
    if (!decoded.ok) {
      refused++;
      return decoded.error.field !== '' && decoded.error.structure !== '';
    }
    accepted++;
    const again = packetBytes(decoded.value as PacketInput, HEADER_KIND.H100);
    // Bytes behind the NUL of a string mean nothing; everything else is preserved.
    const hasStrings = PACKETS[decoded.value.name].tail === 'text' || decoded.value.name === 'P_SYNC_PARAM89';
    return hasStrings || equalBytes(again.subarray(16), bytes.subarray(0, length));
  };
  const version = fc.constantFrom(86, 94, 95, 99, 100, 101, 118, 124);
  const digest = fc.constantFrom(0, 4, 20, 64);
  const anything = fc.uint8Array({ maxLength: 400 });
  fc.assert(fc.property(fc.nat(0xffff), anything, fc.nat(600), version, fc.nat(0x3ff), fc.boolean(), digest, trial), { numRuns: 2000 });
  const likely = fc.constantFrom(...Object.values(PACKETS)).chain((row) => {
    const length = row.size + (row.tail === 'data' ? 512 : row.tail === 'none' ? 0 : 8);
    return fc.tuple(fc.constant(row), fc.uint8Array({ minLength: length, maxLength: length }), fc.nat(row.tail === 'none' ? 0 : 8));
  });
  fc.assert(
    fc.property(likely, version, fc.constantFrom(0, 15, 0x3ff), fc.boolean(), ([row, bytes, less], apv, features, clean) => {
      // Half of the sizes are made plausible, so that the packet gets past the rules.
      if (clean && row.size >= 20) {
        new DataView(bytes.buffer, bytes.byteOffset).setUint16(0, 0);
        new DataView(bytes.buffer, bytes.byteOffset).setUint32(16, 4096);
      }
      return trial(row.command, bytes, bytes.length - less, apv, features, row.socket === 'meta', 0);
    }),
    { numRuns: 4000 },
  );
  t.ok(accepted > 500 && refused > 1000, `${accepted} accepted, ${refused} refused`);
});

t.test('what the rules refuse', async (t) => {
  const refusal = (packet: PacketInput, features = 15): string => {
    const bytes = packetBytes(packet, HEADER_KIND.H100);
    const view = new DataView(bytes.buffer);
    const header = new PacketHeader();
    decodeHeader(view, 0, bytes.length, HEADER_KIND.H100, header);
    const onMetaSocket = PACKETS[packet.name].socket === 'meta';
    const decoded = decodePacket(header, view, 16, bytes.length, { apv: 101, features, onMetaSocket, integrityBytes: 0 });
    return decoded.ok ? 'accepted' : `${decoded.error.structure}.${decoded.error.field} ${decoded.error.problem}`;
  };
  const head = { ...write, seq_num: 1, dp_flags: 0 };
  t.equal(refusal({ name: 'P_DATA', volume: 0, body: head, tail: { data: new Uint8Array(4095) } }), 'P_DATA.data out of range');
  t.equal(refusal({ name: 'P_DATA', volume: 0, body: head }), 'P_DATA.data out of range');
  t.equal(refusal({ name: 'P_TRIM', volume: 0, body: { ...head, size: 64 << 20 } }), 'accepted');
  t.equal(refusal({ name: 'P_TRIM', volume: 0, body: { ...head, size: 64 << 20 } }, FF.TRIM), 'P_TRIM.size out of range');
  t.equal(refusal({ name: 'P_DATA_REQUEST', volume: 0, body: { ...write, blksize: 0 } }), 'P_DATA_REQUEST.blksize out of range');
  t.equal(refusal({ name: 'P_STATE', volume: 0, body: { state: 24 << 4 } }), 'P_STATE.state out of range');
  t.equal(
    refusal({ name: 'P_PROTOCOL', volume: 0, body: { protocol: 4, ...settings }, tail: { algorithm: '' } }),
    'P_PROTOCOL.protocol out of range',
  );
  t.equal(
    refusal({ name: 'P_SIZES', volume: 0, body: { ...sizes, d_size: 2 ** 60 }, tail: { qlim } }),
    'p_sizes.d_size out of range',
    'sectors that a double cannot hold',
  );
  const unterminated = packetBytes(
    { name: 'P_PROTOCOL', volume: 0, body: { protocol: 3, ...settings }, tail: { algorithm: 'md5' } },
    HEADER_KIND.H100,
  );
  unterminated[unterminated.length - 1] = 0x41;
  const header = new PacketHeader();
  const view = new DataView(unterminated.buffer);
  decodeHeader(view, 0, unterminated.length, HEADER_KIND.H100, header);
  const decoded = decodePacket(header, view, 16, unterminated.length, { apv: 101, features: 15, onMetaSocket: false, integrityBytes: 0 });
  t.match(decoded, { ok: false, error: { field: 'algorithm', problem: 'not terminated' } });
});

t.test('authentication', async (t) => {
  const respond = (hash: string, challenge: Uint8Array, apv: number, nodeId: number): string =>
    createHmac(hash, 'S3cr3t')
      .update(responseMessage(challenge, apv, nodeId))
      .digest('hex');
  t.equal(respond('sha1', countUp(0), 101, 1), 'f6c14531c874ee0bf7fa6edd07606f761895ae4c');
  t.equal(respond('sha1', countUp(64), 101, 0), '57d38e0d4d5338bb29dee4d00f6786d77f6e98ce');
  t.equal(respond('sha1', countUp(0), 110, 1), 'bb92a4ea780b18cb647a9bfb98710c86adb1f33b');
  t.equal(respond('sha256', countUp(64), 124, 0), '1990335495f67e13eede1f16fcd99697c61be7c7d227b03b89939307bb5878f2');
  t.match(checkChallenge(countUp(0), countUp(0), 101), { ok: false, error: { found: 'own challenge' } });
  t.match(checkChallenge(countUp(0), new Uint8Array(63), 101), { ok: false, error: { problem: 'too short' } });
  const long = new Uint8Array(CHALLENGE_BYTES + 1).fill(9);
  t.match(checkChallenge(countUp(0), long, 101), { ok: true });
  t.match(checkChallenge(countUp(0), long, 118), { ok: false, error: { problem: 'too long' } });
  t.notOk(equalBytes(countUp(0), countUp(1)));
});
