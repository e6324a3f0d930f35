import { constants } from 'node:os';
import t from 'tap';
import { checked, ERRNO, ErrnoError, errnoName, errnoText } from './errno.js';

t.test('names and numbers are those of this system', async (t) => {
  const aliases = new Set(['EWOULDBLOCK', 'ENOTSUP', 'EDEADLOCK']);
  for (const [name, number] of Object.entries(constants.errno)) {
    if (aliases.has(name)) continue;
    t.equal(errnoName(number), name);
    t.equal(ERRNO[name as keyof typeof ERRNO], number, name);
  }
  t.equal(errnoName(-5), 'EIO', 'either sign');
  t.equal(errnoName(512), 'E512', 'a number without a name');
  t.equal(errnoText(5), 'Input/output error');
  t.equal(errnoText(-4095), 'Unknown error 4095');
});

t.test('a refused call is a typed error', async (t) => {
  t.equal(checked(7, 'read'), 7);
  try {
    checked(-28, 'write', '/dev/full');
    t.fail('must throw');
  } catch (error) {
    t.ok(error instanceof ErrnoError);
    t.match(error, { name: 'ErrnoError', errno: 28, code: 'ENOSPC', syscall: 'write' });
    t.equal((error as Error).message, "ENOSPC: No space left on device, write '/dev/full'");
  }
});
