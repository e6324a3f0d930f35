import t from 'tap';
import { EndRequest, ONE_REQUEST_MS } from './end-request.js';

t.test('signals in quick succession are one request, a later one insists', async (t) => {
  let now = 5000;
  const request = new EndRequest(() => now);
  t.equal(request.signalled(), 'asks');
  t.equal(request.signalled(), 'belongs', 'at the same moment');
  now += ONE_REQUEST_MS - 1;
  t.equal(request.signalled(), 'belongs', 'just before the time is over');
  now += 1;
  t.equal(request.signalled(), 'insists', 'counted from the first one: a burst does not put it off');
  t.equal(request.signalled(), 'insists', 'and once said it stays said');
});
