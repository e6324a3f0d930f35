// A device that forgets writes and reads as whatever was in memory: null.ts [--id N] [--size BYTES] [--depth N] [--queues N] [--user-copy].
// It shows what the driver, the ring and JavaScript cost by themselves.
import { parseArgs } from 'node:util';
import { ErrnoError, UBLK_F, UBLK_OP, UblkServer } from 'ublk-napi';

const { values } = parseArgs({
  options: {
    id: { type: 'string' },
    size: { type: 'string', default: String(2 ** 30) },
    depth: { type: 'string', default: '128' },
    queues: { type: 'string', default: '1' },
    'user-copy': { type: 'boolean', default: false },
  },
});

try {
  const server = await UblkServer.start({
    sizeBytes: Number(values.size),
    depth: Number(values.depth),
    queues: Number(values.queues),
    attrs: 0,
    flags: values['user-copy'] ? UBLK_F.USER_COPY : 0,
    ...(values.id !== undefined && { id: Number(values.id) }),
    onRequest(_server, queue, tag) {
      const op = queue.op(tag);
      queue.commitAndFetch(tag, op === UBLK_OP.READ || op === UBLK_OP.WRITE ? queue.lengthBytes(tag) : 0);
    },
  });
  console.log(`ready ${server.path}`);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => server.stop());
} catch (error) {
  if (!(error instanceof ErrnoError)) throw error;
  console.error(`null: ${error.message}`);
  process.exitCode = 1;
}
