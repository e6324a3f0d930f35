// A RAM disk: ramdisk.ts [--id N] [--size BYTES]. Its content goes with the process.
import { parseArgs } from 'node:util';
import { serveUblk } from 'ublk-napi';

const { values } = parseArgs({ options: { id: { type: 'string' }, size: { type: 'string', default: String(64 * 2 ** 20) } } });
const disk = Buffer.alloc(Number(values.size));

const server = await serveUblk({
  sizeBytes: disk.length,
  ...(values.id !== undefined && { id: Number(values.id) }),
  handlers: {
    read(into, offset) {
      into.set(disk.subarray(offset, offset + into.length));
    },
    write(from, offset) {
      disk.set(from, offset);
    },
    writeZeroes(offset, length) {
      disk.fill(0, offset, offset + length);
    },
  },
});
console.log(`ready ${server.path}`);
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => server.stop());
