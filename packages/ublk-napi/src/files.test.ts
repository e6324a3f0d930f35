import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { EventFd, signalEventfd } from './eventfd.js';
import {
  allocateFile,
  blockDeviceSize,
  closeFile,
  directIoAlignment,
  FALLOC_FL,
  LOCK,
  lockFile,
  logicalBlockSize,
  O,
  openFile,
  preadFile,
  pwriteFile,
  statFile,
  syncFile,
  truncateFile,
} from './files.js';

const folder = mkdtempSync(join(tmpdir(), 'files-'));
t.teardown(() => rmSync(folder, { recursive: true }));

t.test('a regular file', async (t) => {
  const path = join(folder, 'a');
  const fd = openFile(path, O.RDWR | O.CREAT | O.EXCL, 0o640);
  t.equal(pwriteFile(fd, Buffer.from('xhellox'), 10, 1, 5), 5);
  const got = Buffer.alloc(20, '.');
  t.equal(preadFile(fd, got, 8, 2), 7, 'short at the end');
  t.equal(got.toString('latin1'), '..\0\0hello...........');
  t.match(statFile(fd), { kind: 'file', sizeBytes: 15, mode: 0o100640 });
  syncFile(fd);
  syncFile(fd, true);
  allocateFile(fd, FALLOC_FL.KEEP_SIZE, 0, 65536);
  t.ok(statFile(fd).allocatedBytes >= 65536);
  truncateFile(fd, 5 * 2 ** 30);
  t.equal(statFile(fd).sizeBytes, 5 * 2 ** 30);
  t.equal(pwriteFile(fd, Buffer.from('far'), 5 * 2 ** 30 - 3), 3);
  t.equal(preadFile(fd, got, 5 * 2 ** 30 - 2), 2);
  const alignment = directIoAlignment(fd);
  if (alignment !== undefined) t.ok(alignment.offset >= 512 && alignment.memory >= 1);
  closeFile(fd);
  t.throws(() => closeFile(fd), { code: 'EBADF', syscall: 'close' });
});

t.test('locks exclude', async (t) => {
  const path = join(folder, 'lock');
  writeFileSync(path, '');
  const [a, b] = [openFile(path, O.RDWR), openFile(path, O.RDWR)];
  t.equal(lockFile(a, LOCK.EX | LOCK.NB), true);
  t.equal(lockFile(b, LOCK.EX | LOCK.NB), false);
  t.equal(lockFile(a, LOCK.UN), true);
  t.equal(lockFile(b, LOCK.EX | LOCK.NB), true);
  closeFile(a);
  closeFile(b);
});

t.test('refusals', async (t) => {
  t.throws(() => openFile(join(folder, 'none'), O.RDONLY), {
    code: 'ENOENT',
    errno: 2,
    syscall: 'open',
    message: `ENOENT: No such file or directory, open '${join(folder, 'none')}'`,
  });
  t.throws(() => openFile('a\0b', O.RDONLY), TypeError);
  t.throws(() => openFile('x'.repeat(5000), O.RDONLY), RangeError);
  const fd = openFile('/dev/full', O.RDWR);
  t.throws(() => pwriteFile(fd, Buffer.alloc(1), 0), { code: 'ENOSPC' });
  t.equal(statFile(fd).kind, 'other');
  t.match(statFile(fd), { major: 1, minor: 7 });
  t.throws(() => blockDeviceSize(fd), { code: 'ENOTTY' });
  t.throws(() => logicalBlockSize(fd), { code: 'ENOTTY' });
  t.throws(() => truncateFile(fd, 5), { code: 'EINVAL' });
  t.throws(() => preadFile(fd, Buffer.alloc(4), 0, 2, 3), RangeError);
  t.throws(() => preadFile(fd, Buffer.alloc(4), -1), RangeError);
  closeFile(fd);
  t.throws(() => statFile(fd), { code: 'EBADF' });
});

t.test('an eventfd counts', async (t) => {
  const eventfd = EventFd.create(2);
  t.equal(eventfd.signal(3), 0);
  t.equal(signalEventfd(eventfd.fd), 0);
  t.equal(eventfd.drain(), 6);
  t.equal(eventfd.drain(), -11);
  t.throws(() => eventfd.signal(0), RangeError);
  eventfd.close();
  eventfd.close();
  t.equal(eventfd.fd, -1);
  t.equal(eventfd.signal(), -9);
  t.equal(eventfd.drain() < 0, true);
});
