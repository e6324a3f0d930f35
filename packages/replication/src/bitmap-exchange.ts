/** The bitmap exchange in front of a resync: source, target, source (wire protocol: resync flow). Both end with the union. */
import { BITMAP_PACKET_BYTES_MAX, BitmapReceiver, BitmapSender, refusalText, type WireBitmap } from '@udrbd/wire';
import type { Bitmap } from './bitmap.js';
import { syncMetaData } from './meta-data-io.js';
import { sendRawData } from './packets.js';
import type { PeerDevice } from './peer-device.js';
import type { Resource } from './resource.js';
import { changePeerDevice } from './state-change.js';
import { CONN } from './state-view.js';

/** One slot of a volume's bitmap as the wire codec wants it. */
function wireBitmap(bitmap: Bitmap, slot: number): WireBitmap {
  return {
    bits: bitmap.bits,
    nextSet: (from) => {
      const bit = bitmap.findNext(slot, from);
      return bit < 0 ? bitmap.bits : bit;
    },
    nextClear: (from) => {
      const bit = bitmap.findNextClear(slot, from);
      return bit < 0 ? bitmap.bits : bit;
    },
    setRange: (from, end) => {
      if (end > from) bitmap.setBits(slot, from, end - 1);
    },
    readWords: (word, count, out, at) => bitmap.readWords(slot, word, count, out, at),
    orWords: (word, count, input, at) => {
      bitmap.orWords(slot, word, input, at, count);
    },
  };
}

/** Begins to send our bitmap; the source does so on entering WFBitMapS, the target when it has the source's. */
export function startBitmapExchange(res: Resource, pd: PeerDevice): void {
  const { disk } = pd.volume;
  if (disk === undefined || pd.bitmapSlot < 0) return;
  const c = pd.connection;
  pd.bitmapSend = new BitmapSender(wireBitmap(disk.bitmap, pd.bitmapSlot), c.headerKind, pd.volume.number, c.options['use-rle']);
  continueBitmapSend(res, pd);
}

/** Sends as many packets as there is room for; called again when the outbox has drained. */
export function continueBitmapSend(res: Resource, pd: PeerDevice): void {
  const sender = pd.bitmapSend;
  const c = pd.connection;
  if (sender === undefined || pd.bitmapWriteOut || !c.isUp) return;
  const packet = new Uint8Array(BITMAP_PACKET_BYTES_MAX);
  while (!sender.done && c.outboxes[0].hasBulkRoom(BITMAP_PACKET_BYTES_MAX)) {
    const bytes = sender.next(packet, 0);
    if (bytes > 0) sendRawData(res, c, packet.subarray(0, bytes));
  }
  if (!sender.done) return;
  const { stats } = sender;
  res.log(
    'info',
    pd.volume,
    pd,
    `send bitmap stats [Bytes(packets)]: plain ${stats.plainBytes}(${stats.plainPackets}), RLE ${stats.rleBytes}(${stats.rlePackets}), total ${stats.plainBytes + stats.rleBytes}`,
  );
  pd.bitmapSend = undefined;
  if (pd.conn === CONN.WFBitMapT) changePeerDevice(res, pd, { conn: CONN.WFSyncUUID }, { hard: true });
}

/** @returns the text of a protocol error, or undefined */
export function receiveBitmap(
  res: Resource,
  pd: PeerDevice,
  command: number,
  bytes: Uint8Array,
  from: number,
  end: number,
): string | undefined {
  const { disk } = pd.volume;
  const { conn } = pd;
  // A disk that failed meanwhile ended the exchange here; the peer learns it from our state.
  // The exchange was given up because a disk failed, while packets of it were under way.
  if (conn === CONN.Connected) return undefined;
  if (disk === undefined || pd.bitmapSlot < 0 || (conn !== CONN.WFBitMapS && conn !== CONN.WFBitMapT)) return undefined;
  pd.bitmapReceive ??= new BitmapReceiver(wireBitmap(disk.bitmap, pd.bitmapSlot), pd.connection.headerKind);
  const result = pd.bitmapReceive.packet(command, bytes, from, end);
  if (!result.ok) return refusalText(result.error);
  if (!result.value) return undefined;
  pd.bitmapReceive = undefined;
  if (conn === CONN.WFBitMapT) answerBitmap(res, pd);
  else {
    // The union is complete on both sides: the resync begins.
    res.startResync(pd, 'source');
  }
  return undefined;
}

/**
 * Our bitmap makes the source begin, with a generation of its own for the resync. The one of a resync before has to be on our disk by
 * then: a disk that is further behind than the source's history would be taken for another one's.
 */
function answerBitmap(res: Resource, pd: PeerDevice): void {
  const { linkNumber } = pd.connection;
  syncMetaData(res, pd.volume, () => {
    if (pd.connection.linkNumber === linkNumber && pd.conn === CONN.WFBitMapT) startBitmapExchange(res, pd);
  });
}
