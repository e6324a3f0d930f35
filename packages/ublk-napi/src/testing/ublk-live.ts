// Checks that need the driver, as a list. ublk-server.test.ts runs them where /dev/ublk-control is there; by itself this file is a program
// for a virtual machine: `scripts/vm packages/ublk-napi/src/testing/ublk-live.ts`. Clients are child processes: a server must never wait
// for I/O on its own device.
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  BufferPool,
  ErrnoError,
  listUblkDevices,
  O,
  openFile,
  preadFile,
  pwriteFile,
  Ring,
  serveUblk,
  TAG_EVENT,
  truncateFile,
  UBLK_ATTR,
  UBLK_F,
  UBLK_OP,
  UblkCharDevice,
  UblkControl,
  type UblkHandlers,
  UblkQueue,
  type UblkServer,
  ublkBlockPath,
  ublkCommands,
} from '../index.js';
import { reap } from './reap.js';

const run = promisify(execFile);
const shell = (script: string): Promise<{ stdout: string }> => run('bash', ['-c', script]);
const MiB = 2 ** 20;
const self = fileURLToPath(import.meta.url);

/** A check resolves, or throws what is wrong. */
export interface LiveCheck {
  readonly name: string;
  readonly check: () => Promise<void>;
}

const refused = (code: string) => (error: unknown) => error instanceof ErrnoError && error.code === code;

function memoryDisk(sizeBytes: number): UblkHandlers & { readonly disk: Buffer; flushes: number } {
  const disk = Buffer.alloc(sizeBytes);
  return {
    disk,
    flushes: 0,
    read(into, offset) {
      into.set(disk.subarray(offset, offset + into.length));
    },
    write(from, offset) {
      disk.set(from, offset);
    },
    flush() {
      this.flushes++;
    },
    writeZeroes(offset, length) {
      disk.fill(0, offset, offset + length);
    },
  };
}

async function roundTrip(flags: number, queues: number): Promise<void> {
  const handlers = memoryDisk(16 * MiB);
  const server = await serveUblk({ sizeBytes: 16 * MiB, flags, queues, handlers });
  try {
    const pattern = Buffer.alloc(4 * MiB);
    for (let i = 0; i < pattern.length; i += 4) pattern.writeUInt32LE(i, i);
    const source = join(mkdtempSync(join(tmpdir(), 'live-')), 'pattern');
    writeFileSync(source, pattern);
    await shell(`dd if=${source} of=${server.path} bs=1M seek=3 oflag=direct conv=fsync 2>/dev/null`);
    assert.ok(handlers.disk.subarray(3 * MiB, 7 * MiB).equals(pattern), 'what was written is there');
    assert.ok(handlers.flushes > 0, 'fsync arrived as a flush');
    handlers.disk.write('by the server', 9 * MiB);
    const { stdout } = await shell(`dd if=${server.path} bs=4k skip=2304 count=1 iflag=direct 2>/dev/null | head -c 13`);
    assert.equal(stdout, 'by the server');
    await shell(`blkdiscard -z -o ${3 * MiB} -l ${MiB} ${server.path}`);
    assert.ok(
      handlers.disk.subarray(3 * MiB, 4 * MiB).every((byte) => byte === 0),
      'zeroed',
    );
    rmSync(source);
  } finally {
    await server.stop();
  }
  assert.ok(!existsSync(server.path));
}

export const liveChecks: readonly LiveCheck[] = [
  {
    name: 'the driver says what it can do',
    check: async () => {
      const control = UblkControl.open();
      const features = await control.getFeatures();
      assert.ok((features & UBLK_F.USER_COPY) !== 0 && (features & UBLK_F.USER_RECOVERY) !== 0, features.toString(16));
      control.close();
    },
  },
  {
    name: 'a device is added, described, configured and deleted',
    check: async () => {
      const control = UblkControl.open();
      const info = await control.addDevice({ depth: 77, maxIoBytes: 256 * 1024, flags: UBLK_F.USER_COPY, mark: 0x7564_0001n });
      assert.equal(info.depth, 77);
      assert.equal(info.state, 'DEAD');
      assert.ok((info.flags & UBLK_F.USER_COPY) !== 0);
      assert.ok(listUblkDevices().includes(info.id));
      assert.equal((await control.getDeviceInfo(info.id)).mark, 0x7564_0001n);
      control.unprivileged = true;
      assert.equal((await control.getDeviceInfo(info.id)).mark, 0x7564_0001n, 'the form for the unprivileged');
      control.unprivileged = false;
      const params = { attrs: UBLK_ATTR.READ_ONLY, sectors: 4096, logicalBlockBytes: 4096, maxSectors: 512 };
      await control.setParams(info.id, params);
      const back = await control.getParams(info.id);
      assert.deepEqual({ ...params, ...back }, { ...back, ...params }, 'parameters come back as they were set');
      assert.ok(back.devt !== undefined && back.devt.charMajor > 0);
      assert.ok((await control.getQueueAffinity(info.id, 0)).length > 0);
      await control.deleteDevice(info.id);
      await assert.rejects(control.getDeviceInfo(info.id), refused('ENODEV'));
      control.close();
    },
  },
  {
    name: 'refusals of the driver are typed',
    check: async () => {
      const control = UblkControl.open();
      await assert.rejects(control.addDevice({ depth: 0 }), refused('EINVAL'));
      const { id } = await control.addDevice({ flags: UBLK_F.USER_COPY });
      await assert.rejects(control.addDevice({ id }), refused('EEXIST'));
      await assert.rejects(control.startDevice(id), refused('EINVAL'));
      await assert.rejects(control.setParams(id, { attrs: 0, sectors: 8, maxSectors: 1 << 20 }), refused('EINVAL'));
      await assert.rejects(control.startUserRecovery(id), refused('EINVAL'));
      const device = UblkCharDevice.open(id);
      assert.throws(() => UblkCharDevice.open(id), refused('EBUSY'));
      device.close();
      await control.deleteDevice(id);
      control.close();
    },
  },
  {
    name: 'a failed start leaves no device',
    check: async () => {
      const before = listUblkDevices();
      await assert.rejects(serveUblk({ sizeBytes: MiB, logicalBlockBytes: 65536, handlers: memoryDisk(MiB) }), refused('EINVAL'));
      await assert.rejects(serveUblk({ sizeBytes: MiB, logicalBlockBytes: 520, handlers: memoryDisk(MiB) }), RangeError);
      assert.deepEqual(listUblkDevices(), before);
    },
  },
  {
    name: 'tags fetched for a device that never starts are retired by a stop',
    check: async () => {
      const control = UblkControl.open();
      const ring = Ring.create({ entries: 8 });
      const { id, flags } = await control.addDevice({ depth: 20, flags: UBLK_F.USER_COPY });
      const device = UblkCharDevice.open(id);
      const queue = UblkQueue.open({ ring, device, depth: 20, flags, userDataHi: 1 });
      queue.fetchAll();
      ring.submit();
      assert.equal(queue.armed, 20);
      await control.stopDevice(id);
      for (const { lo, res } of reap(ring, 20)) assert.equal(queue.completed(lo, res), TAG_EVENT.RETIRED);
      assert.ok(queue.isDrained);
      queue.close();
      device.close();
      await control.deleteDevice(id);
      control.close();
      ring.close();
    },
  },
  { name: 'copy mode, one queue', check: () => roundTrip(0, 1) },
  { name: 'copy mode, two queues', check: () => roundTrip(0, 2) },
  { name: 'user copy, one queue', check: () => roundTrip(UBLK_F.USER_COPY, 1) },
  { name: 'user copy, two queues', check: () => roundTrip(UBLK_F.USER_COPY, 2) },
  {
    name: 'a handler that fails fails the request, and only that',
    check: async () => {
      const handlers = memoryDisk(4 * MiB);
      const server = await serveUblk({
        sizeBytes: 4 * MiB,
        handlers: {
          ...handlers,
          read(into, offset) {
            if (offset >= 2 * MiB) throw offset >= 3 * MiB ? new Error('unexpected') : new ErrnoError(28, 'read');
            return handlers.read(into, offset);
          },
        },
      });
      try {
        const read = (block: number) => shell(`dd if=${server.path} of=/dev/null bs=4k skip=${block} count=1 iflag=direct`);
        await read(0);
        await assert.rejects(read(512), /No space left|ENOSPC/);
        await assert.rejects(read(768), /[Ii]nput\/output error|I\/O error/);
        await read(0);
      } finally {
        await server.stop();
      }
    },
  },
  {
    name: 'resizing, where the kernel can',
    check: async () => {
      const server = await serveUblk({ sizeBytes: 8 * MiB, handlers: memoryDisk(16 * MiB) });
      try {
        const resized = server.control.updateSize(server.id, (16 * MiB) / 512);
        server.kick();
        if ((server.info.flags & UBLK_F.UPDATE_SIZE) === 0) await assert.rejects(resized, refused('EOPNOTSUPP'));
        else await resized;
      } finally {
        await server.stop();
      }
    },
  },
  {
    name: 'a device stopped by somebody else closes its server',
    check: async () => {
      const server = await serveUblk({ sizeBytes: 8 * MiB, handlers: memoryDisk(8 * MiB) });
      const control = UblkControl.open();
      await control.stopDevice(server.id);
      await server.closed;
      await assert.rejects(control.getDeviceInfo(server.id), refused('ENODEV'));
      control.close();
    },
  },
  { name: 'a new server takes over from a killed one; its clients see a pause', check: takeOver },
  { name: 'a reactor that never returns to libuv serves a device', check: async () => reactor() },
];

const TAKEN_BYTES = 32 * MiB;

/** Serves a file with recovery: what the child of takeOver runs. */
async function serveRecoverable(file: string, recoverId?: number): Promise<UblkServer> {
  const fd = openFile(file, O.RDWR | O.CREAT);
  truncateFile(fd, TAKEN_BYTES);
  return serveUblk({
    sizeBytes: TAKEN_BYTES,
    flags: UBLK_F.USER_RECOVERY | UBLK_F.USER_RECOVERY_REISSUE,
    ...(recoverId !== undefined && { recover: true, id: recoverId }),
    handlers: {
      read(into, offset) {
        preadFile(fd, into, offset);
      },
      write(from, offset) {
        pwriteFile(fd, from, offset);
      },
    },
  });
}

async function takeOver(): Promise<void> {
  const file = join(mkdtempSync(join(tmpdir(), 'live-')), 'disk');
  const first: ChildProcess = spawn(process.execPath, [...process.execArgv, self, 'serve', file], { stdio: ['ignore', 'pipe', 'inherit'] });
  const line = await new Promise<string>((resolve, reject) => {
    first.stdout?.once('data', (chunk: Buffer) => resolve(chunk.toString()));
    first.once('exit', (code) => reject(new Error(`the first server ended with ${code}`)));
  });
  const id = Number(/ready (\d+)/.exec(line)?.[1]);
  const client = shell(
    `dd if=/dev/zero of=${ublkBlockPath(id)} bs=4k count=8192 oflag=direct 2>/dev/null && tr '\\0' x < /dev/zero | dd of=${ublkBlockPath(id)} bs=64k count=16 iflag=fullblock oflag=direct 2>/dev/null`,
  );
  await new Promise((resolve) => setTimeout(resolve, 300));
  first.removeAllListeners('exit');
  first.kill('SIGKILL');
  const second = await serveRecoverable(file, id);
  try {
    assert.equal(second.id, id);
    await client;
    const fd = openFile(file, O.RDONLY);
    const head = Buffer.alloc(MiB);
    preadFile(fd, head, 0);
    assert.ok(
      head.every((byte) => byte === 0x78),
      'every write arrived',
    );
  } finally {
    await second.stop();
  }
  assert.ok(!listUblkDevices().includes(id));
}

/** Everything on one ring and one thread that only ever sleeps in io_uring_enter, with callbacks instead of promises. */
function reactor(): void {
  const CONTROL = 1;
  const QUEUE = 2;
  const PAYLOAD = 3;
  const TICK = 4;
  const depth = 32;
  const ring = Ring.create({ entries: 64, cqEntries: 1024, sqe128: true });
  const control = UblkControl.embed(ring, { userDataHi: CONTROL });
  const disk = BufferPool.create(8 * MiB);
  const done = join(mkdtempSync(join(tmpdir(), 'live-')), 'done');
  let device: UblkCharDevice | undefined;
  let queue: UblkQueue | undefined;
  let failure: string | undefined;
  let finished = false;
  let stopping = false;
  let served = 0;

  const must = (step: string, next: () => void) => (result: number) => {
    if (result >= 0) next();
    else {
      failure = `${step}: ${result}`;
      finished = true;
    }
  };
  const tick = (): void => {
    const slot = ring.getSqe();
    ring.prepTimeout(slot, 50e6);
    ring.setUserData(slot, 0, TICK);
  };
  control.send(ublkCommands.addDevice({ depth, maxIoBytes: 128 * 1024, flags: UBLK_F.USER_COPY }), (result, info) => {
    if (info === undefined) {
      failure = `ADD_DEV: ${result}`;
      finished = true;
      return;
    }
    const { id, flags } = info;
    const params = { attrs: UBLK_ATTR.VOLATILE_CACHE, sectors: disk.lengthBytes / 512, maxSectors: 256 };
    control.send(
      ublkCommands.setParams(id, params),
      must('SET_PARAMS', () => {
        device = UblkCharDevice.open(id);
        queue = UblkQueue.open({ ring, device, depth, flags, userDataHi: QUEUE });
        queue.fetchAll();
        control.send(
          ublkCommands.startDevice(id, process.pid),
          must('START_DEV', () => {
            const path = ublkBlockPath(id);
            spawn(
              '/bin/sh',
              [
                '-c',
                `tr '\\0' r < /dev/zero | dd of=${path} bs=64k count=64 iflag=fullblock conv=fsync; dd if=${path} of=/dev/null bs=1M iflag=direct; touch ${done}`,
              ],
              {
                stdio: 'ignore',
              },
            );
            tick();
          }),
        );
      }),
    );
  });
  const stop = (id: number): void => {
    stopping = true;
    control.send(
      ublkCommands.stopDevice(id),
      must('STOP_DEV', () => undefined),
    );
  };
  const remove = (): void => {
    const id = device?.id ?? -1;
    queue?.close();
    device?.close();
    queue = undefined;
    control.send(
      ublkCommands.deleteDevice(id),
      must('DEL_DEV', () => {
        finished = true;
      }),
    );
  };
  const request = (tag: number): void => {
    served++;
    const op = queue?.op(tag);
    const slot = ring.getSqe();
    ring.setUserData(slot, tag, PAYLOAD);
    const address = disk.addressOf(queue?.startBytes(tag) ?? 0);
    if (op === UBLK_OP.WRITE) queue?.prepReadPayload(slot, tag, address, queue.lengthBytes(tag));
    else if (op === UBLK_OP.READ) queue?.prepWritePayload(slot, tag, address, queue.lengthBytes(tag));
    else ring.prepNop(slot);
  };
  const deadline = Date.now() + 60_000;
  while (!finished && Date.now() < deadline) {
    ring.submitAndWait(1, 1e6);
    const ready = ring.cqReady();
    for (let i = 0; i < ready; i++) {
      const lo = ring.cqUserDataLo(i);
      const res = ring.cqRes(i);
      switch (ring.cqUserDataHi(i)) {
        case CONTROL:
          control.complete(lo, res);
          break;
        case QUEUE:
          if (queue?.completed(lo, res) === TAG_EVENT.REQUEST) request(lo);
          else if (queue?.isDrained === true) remove();
          break;
        case PAYLOAD:
          queue?.commitAndFetch(lo, res);
          break;
        default:
          if (!existsSync(done)) tick();
          else if (!stopping) stop(device?.id ?? -1);
      }
    }
    ring.cqAdvance(ready);
  }
  control.close();
  ring.close();
  assert.equal(failure, undefined);
  assert.ok(finished, 'in time');
  assert.ok(served > 64, `${served} requests`);
  assert.ok(
    disk.bytes.subarray(0, 4 * MiB).every((byte) => byte === 0x72),
    'every byte arrived',
  );
  disk.close();
}

if (process.argv[2] === 'serve') {
  const server = await serveRecoverable(process.argv[3]!);
  console.log(`ready ${server.id}`);
} else if (process.argv[1] === self) {
  let failed = 0;
  for (const [i, { name, check }] of liveChecks.entries()) {
    try {
      await check();
      console.log(`ok ${i + 1} - ${name}`);
    } catch (error) {
      failed++;
      console.log(`not ok ${i + 1} - ${name}\n# ${String(error instanceof Error ? error.stack : error).replaceAll('\n', '\n# ')}`);
    }
  }
  console.log(`1..${liveChecks.length}`);
  process.exitCode = failed === 0 ? 0 : 1;
}
