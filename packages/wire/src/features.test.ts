import t from 'tap';
import {
  decodeConnectionFeatures,
  FEATURES_84,
  FEATURES_93,
  FF,
  featureNames,
  negotiate,
  type Offer,
  putConnectionFeatures,
} from './index.js';

const view = new DataView(new ArrayBuffer(80));
const meet = (own: Offer, peer: Offer) => {
  putConnectionFeatures(view, 0, peer);
  const decoded = decodeConnectionFeatures(view, 0, 72);
  if (!decoded.ok) throw new Error(decoded.error.field);
  return negotiate(own, decoded.value);
};
const kernel84: Offer = { protocolMin: 86, protocolMax: 101, features: FEATURES_84 };
const both: Offer = { protocolMin: 86, protocolMax: 124, features: FEATURES_93, nodeId: 0, peerNodeId: 1 };
const kernel93: Offer = { protocolMin: 86, protocolMax: 124, features: FEATURES_93, nodeId: 1, peerNodeId: 0 };

t.test('two nodes agree on the highest version and the common features', async (t) => {
  t.strictSame(meet(both, kernel84), { ok: true, value: { apv: 101, features: FEATURES_84 } });
  t.strictSame(meet(kernel84, both), { ok: true, value: { apv: 101, features: FEATURES_84 } });
  t.strictSame(meet(both, kernel93), { ok: true, value: { apv: 124, features: FEATURES_93 } });
  t.strictSame(meet(kernel84, { ...kernel84, protocolMax: 0, protocolMin: 96 }), { ok: true, value: { apv: 96, features: 15 } });
});

t.test('and say why they cannot', async (t) => {
  const text = (own: Offer, peer: Offer): string => {
    const result = meet(own, peer);
    return result.ok ? 'agreed' : `${result.error.permanent ? 'permanent' : 'retry'}: ${result.error.text}`;
  };
  t.equal(
    text({ ...kernel84, protocolMin: 100 }, { ...kernel84, protocolMax: 99 }),
    'permanent: incompatible DRBD dialects: I support 100-101, peer supports 86-99',
  );
  t.match(text(both, { ...kernel93, protocolMin: 110, protocolMax: 117 }), /^permanent: incompatible DRBD 9 dialects: I support 118-124/);
  t.match(text(both, { ...kernel93, protocolMax: 121 }), /^permanent: .*RESYNC_DAGTAG/);
  t.equal(text(both, { ...kernel93, protocolMax: 121, features: FF.TRIM }), 'agreed');
  t.equal(text(both, { ...kernel93, nodeId: 2 }), 'retry: Peer presented a node_id of 2 instead of 1');
  t.equal(text(both, { ...kernel93, peerNodeId: 3 }), 'retry: Peer expects me to have a node_id of 3 instead of 0');
});

t.test('names and lengths', async (t) => {
  t.equal(featureNames(FEATURES_84), 'TRIM THIN_RESYNC WRITE_SAME WRITE_ZEROES');
  t.match(decodeConnectionFeatures(view, 0, 71), { ok: false, error: { field: 'length', problem: 'too short' } });
  t.match(decodeConnectionFeatures(view, 0, 80), { ok: false, error: { field: 'length', problem: 'too long' } });
});
