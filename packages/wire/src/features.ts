/** P_CONNECTION_FEATURES and what two nodes agree on. Source: drbd_protocol.h, struct p_connection_features; drbd_receiver.c. */
import { decodeStruct, encodeStruct, layout, type StructOf } from './layout.js';
import { type Decoded, refuse } from './outcome.js';

/** Feature flags; the agreed ones are those that both sides sent. */
export const FF = {
  TRIM: 0x001,
  THIN_RESYNC: 0x002,
  /** Means: P_SIZES has `o_qlim`, discards up to 128 MiB. Not that P_WSAME is understood. */
  WSAME: 0x004,
  WZEROES: 0x008,
  RESYNC_DAGTAG: 0x010,
  TWOPC_V2: 0x020,
  RS_SKIP_UUID: 0x040,
  RESYNC_WITHOUT_REPLICATION: 0x080,
  BM_BLOCK_SHIFT: 0x100,
  RECONCILE_RECONNECT: 0x200,
} as const;

/** What DRBD 8.4 announces. */
export const FEATURES_84 = FF.TRIM | FF.THIN_RESYNC | FF.WSAME | FF.WZEROES;
/** What DRBD 9.3 announces. */
export const FEATURES_93 = 0x3ff;

const LOG_NAME: readonly (readonly [number, string])[] = [
  [FF.TRIM, 'TRIM'],
  [FF.THIN_RESYNC, 'THIN_RESYNC'],
  [FF.WSAME, 'WRITE_SAME'],
  [FF.WZEROES, 'WRITE_ZEROES'],
  [FF.RESYNC_DAGTAG, 'RESYNC_DAGTAG'],
  [FF.TWOPC_V2, '2PC_V2'],
  [FF.RS_SKIP_UUID, 'RS_SKIP_UUID'],
  [FF.RESYNC_WITHOUT_REPLICATION, 'RESYNC_WITHOUT_REPLICATION'],
  [FF.BM_BLOCK_SHIFT, 'BM_BLOCK_SHIFT'],
  [FF.RECONCILE_RECONNECT, 'RECONCILE_RECONNECT'],
];

/** The agreed features as the module's log names them: `TRIM THIN_RESYNC WRITE_SAME WRITE_ZEROES`. */
export const featureNames = (features: number): string =>
  LOG_NAME.filter(([bit]) => (features & bit) !== 0)
    .map(([, name]) => name)
    .join(' ');

export const P_CONNECTION_FEATURES = layout('p_connection_features', 72, {
  protocol_min: { type: 'u32', doc: 'lowest version the sender speaks' },
  feature_flags: { type: 'u32', doc: 'FF bits the sender understands' },
  protocol_max: { type: 'u32', doc: 'highest version; 0 means equal to protocol_min' },
  sender_node_id: { type: 'u32', doc: 'DRBD 9: node id of the sender; zero in 8.4', reserved: true },
  receiver_node_id: { type: 'u32', doc: 'DRBD 9: node id the sender expects the receiver to have; zero in 8.4', reserved: true },
  reserved_u32: { type: 'u32', doc: 'zero', reserved: true },
  reserved: { type: 'reserved48', doc: 'zero', reserved: true },
});
export type PConnectionFeatures = StructOf<typeof P_CONNECTION_FEATURES>;

/**
 * Decodes the payload; its length is exactly 72.
 * Refusal: `p_connection_features.length`, for `expected ConnectionFeatures length: %u, received: %u`.
 */
export function decodeConnectionFeatures(view: DataView, base: number, length: number): Decoded<PConnectionFeatures> {
  if (length !== P_CONNECTION_FEATURES.size)
    return refuse(P_CONNECTION_FEATURES.name, 'length', length < P_CONNECTION_FEATURES.size ? 'too short' : 'too long', length);
  return decodeStruct(P_CONNECTION_FEATURES, view, base, base + length);
}

/** What one side offers. */
export interface Offer {
  readonly protocolMin: number;
  readonly protocolMax: number;
  readonly features: number;
  /** Undefined where node ids are not used: a resource that only speaks the 8.4 dialect. */
  readonly nodeId?: number;
  readonly peerNodeId?: number;
}

/** Writes the 72 payload bytes of an offer. */
export function putConnectionFeatures(view: DataView, base: number, offer: Offer): void {
  encodeStruct(P_CONNECTION_FEATURES, view, base, {
    protocol_min: offer.protocolMin,
    feature_flags: offer.features,
    protocol_max: offer.protocolMax,
    sender_node_id: offer.nodeId ?? 0,
    receiver_node_id: offer.peerNodeId ?? 0,
  });
}

export interface Agreement {
  readonly apv: number;
  readonly features: number;
}
/** Why two nodes cannot talk. `permanent` refusals end in StandAlone, the others are tried again. */
export interface Disagreement {
  readonly permanent: boolean;
  /** The text of the kernel module. */
  readonly text: string;
}
export type Negotiation = { readonly ok: true; readonly value: Agreement } | { readonly ok: false; readonly error: Disagreement };

const disagree = (permanent: boolean, text: string): Negotiation => ({ ok: false, error: { permanent, text } });

/** Versions that DRBD 9.0 spoke and that 9.3 and we refuse. 102 to 109 never existed. */
const GAP_FIRST = 102;
const GAP_LAST = 117;

/**
 * Agrees on a version and on features, as both nodes do independently and with the same result.
 * @param own - our offer; a node that speaks 8.4 and 9 offers 86..124
 * @param peer - the peer's packet
 */
export function negotiate(own: Offer, peer: PConnectionFeatures): Negotiation {
  const peerMax = peer.protocol_max === 0 ? peer.protocol_min : peer.protocol_max;
  if (own.protocolMax < peer.protocol_min || own.protocolMin > peerMax) {
    return disagree(
      true,
      `incompatible DRBD dialects: I support ${own.protocolMin}-${own.protocolMax}, peer supports ${peer.protocol_min}-${peerMax}`,
    );
  }
  const apv = Math.min(own.protocolMax, peerMax);
  const features = (own.features & peer.feature_flags) >>> 0;
  if (apv >= GAP_FIRST && apv <= GAP_LAST) {
    return disagree(
      true,
      `incompatible DRBD 9 dialects: I support ${GAP_LAST + 1}-${own.protocolMax}, peer supports ${peer.protocol_min}-${peerMax}`,
    );
  }
  // Releases 9.2.0 to 9.2.2 had an incompatible idea of the dagtag packets.
  if (apv === 121 && (features & FF.RESYNC_DAGTAG) !== 0) {
    return disagree(true, 'incompatible DRBD 9 dialects: feature RESYNC_DAGTAG with protocol version 121');
  }
  if (apv >= 110) {
    if (own.peerNodeId !== undefined && peer.sender_node_id !== own.peerNodeId) {
      return disagree(false, `Peer presented a node_id of ${peer.sender_node_id} instead of ${own.peerNodeId}`);
    }
    if (own.nodeId !== undefined && peer.receiver_node_id !== own.nodeId) {
      return disagree(false, `Peer expects me to have a node_id of ${peer.receiver_node_id} instead of ${own.nodeId}`);
    }
  }
  return { ok: true, value: { apv, features } };
}
