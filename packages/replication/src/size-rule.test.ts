import t from 'tap';
import { newDeviceSize, type SizeInput } from './size-rule.js';

const BASE: SizeInput = { own: 0, peer: 0, lastAgreed: 0, configured: 0, connected: true, forced: false };
const size = (input: Partial<SizeInput>): number => newDeviceSize({ ...BASE, ...input }).sizeSectors;

t.test('the smaller disk decides; alone, what was agreed upon', async (t) => {
  t.equal(size({ own: 1000, peer: 800, lastAgreed: 500 }), 800);
  t.equal(size({ own: 1000, lastAgreed: 800 }), 800);
  t.equal(size({ own: 700, lastAgreed: 800 }), 700);
  t.equal(size({ peer: 600, lastAgreed: 800 }), 600);
  t.equal(size({ own: 1000 }), 1000);
  t.equal(size({ peer: 900 }), 900);
  t.equal(size({}), 0);
});

t.test('a configured size holds when it fits', async (t) => {
  t.equal(size({ own: 1000, peer: 800, configured: 300 }), 300);
  const tooBig = newDeviceSize({ ...BASE, own: 262_064, peer: 262_064, configured: 1_024_000 });
  t.equal(tooBig.sizeSectors, 262_064);
  t.strictSame(tooBig.logs, [{ level: 'err', text: 'Requested disk size is too big (512000 > 131032)' }]);
});

t.test('growing without the peer has to be forced', async (t) => {
  t.equal(size({ own: 1000, lastAgreed: 800, connected: false }), 800);
  const forced = newDeviceSize({ ...BASE, own: 1000, lastAgreed: 800, connected: false, forced: true });
  t.equal(forced.sizeSectors, 1000);
  t.equal(forced.logs[0]?.text, 'Resize while not connected was forced by the user!');
  t.equal(size({ own: 1000, peer: 900, connected: true, forced: true }), 900);
});
