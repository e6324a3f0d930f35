/** What a slot that waited for memory leaves behind. */
import t from 'tap';
import { FakeCore } from '../testing/fake-core.js';
import { ARENA, BLOCK_BYTES_MAX, PayloadMemory } from './payload-memory.js';
import { SlotBuffers } from './slot-buffers.js';

const PAGE = 4096;

t.test('a request that ends while it waits for another buffer leaves nothing to the next one in its slot', (t) => {
  const memory = new PayloadMemory([BLOCK_BYTES_MAX, BLOCK_BYTES_MAX, BLOCK_BYTES_MAX], false);
  const core = new FakeCore();
  const came: number[] = [];
  const buffers = new SlotBuffers(memory, core, { bufferCame: (slot) => void came.push(slot) });
  const slot = core.requests.acquireApplication();
  core.requests.lengthBytes[slot] = PAGE;
  const fill = (arena: 0 | 2): number[] => {
    const pages: number[] = [];
    for (let page = memory.allocate(arena, PAGE); page >= 0; page = memory.allocate(arena, PAGE)) pages.push(page);
    return pages;
  };

  // Its disk is given up, which keeps the buffer, and there is no other.
  const first = buffers.allocate(slot, PAGE);
  memory.retain(first);
  const all = [...fill(ARENA.Application), ...fill(ARENA.Outgoing)];
  buffers.replace(slot);
  t.equal(buffers.pageOf(slot), -1);
  t.ok(buffers.lacksMemory);
  // The peer is lost: the request fails.
  t.equal(buffers.take(slot), -1);
  t.notOk(buffers.lacksMemory);
  for (const page of all) memory.release(page);

  const next = buffers.allocate(slot, PAGE);
  buffers.serveWaiting();
  t.equal(buffers.pageOf(slot), next, 'the buffer of the next request stays');
  t.strictSame(came, []);
  buffers.free(slot);
  memory.release(first);
  t.equal(memory.freeBytes(ARENA.Application), BLOCK_BYTES_MAX, 'all memory is back');
  memory.close();
  t.end();
});
