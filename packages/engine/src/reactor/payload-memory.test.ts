import fc from 'fast-check';
import t from 'tap';
import { ARENA, BLOCK_BYTES_MAX, PAGE_BYTES, PayloadMemory } from './payload-memory.js';

t.test('blocks never overlap, and everything comes back', async (t) => {
  const MIB = 1 << 20;
  const memory = new PayloadMemory([2 * MIB, MIB, MIB], false);
  t.teardown(() => memory.close());
  const step = fc.record({
    arena: fc.constantFrom(0 as const, 1 as const, 2 as const),
    bytes: fc.integer({ min: 1, max: MIB }),
    drop: fc.nat(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const held: { page: number; pages: number }[] = [];
      for (const { arena, bytes, drop } of steps) {
        const page = memory.allocate(arena, bytes);
        if (page >= 0) {
          const pages = memory.blockBytes(page) / PAGE_BYTES;
          if (memory.blockBytes(page) < bytes) return false;
          if (held.some((other) => page < other.page + other.pages && other.page < page + pages)) return false;
          held.push({ page, pages });
        }
        if (drop % 3 === 0 && held.length > 0) memory.release(held.splice(drop % held.length, 1)[0]!.page);
      }
      for (const { page } of held) memory.release(page);
      return memory.freeBytes(0) === 2 * MIB && memory.freeBytes(1) === MIB && memory.freeBytes(2) === MIB;
    }),
    { numRuns: 100 },
  );
  const whole = [memory.allocate(ARENA.Application, BLOCK_BYTES_MAX), memory.allocate(ARENA.Application, BLOCK_BYTES_MAX)];
  t.notOk(whole.includes(-1), 'buddies joined again into whole blocks');
  t.equal(memory.allocate(ARENA.Application, 1), -1);
  t.not(memory.allocate(ARENA.Incoming, 1), -1, 'arenas do not starve each other');
});

t.test('a retained block outlives its owner', async (t) => {
  const memory = new PayloadMemory([1, 1, 1], false);
  t.teardown(() => memory.close());
  const page = memory.allocate(ARENA.Application, 4096);
  memory.retain(page);
  t.notOk(memory.release(page));
  t.ok(memory.release(page));
  t.throws(() => memory.release(page), /released twice/);
  t.equal(memory.allocate(ARENA.Application, BLOCK_BYTES_MAX + 1), -1);
});
