// The control plane without the driver: /dev/null answers every ring command with 0 on current kernels, and a plain file refuses it.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { ErrnoError } from './errno.js';
import { Ring } from './ring.js';
import { serveUblk } from './serve-ublk.js';
import { UBLK_PARAMS } from './ublk-abi.js';
import * as ublkCommands from './ublk-commands.js';
import { isUblkAvailable, listUblkDevices, UblkControl, waitForNode } from './ublk-control.js';

const folder = mkdtempSync(join(tmpdir(), 'ublk-control-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'plain');
writeFileSync(file, 'x');

/** Does this kernel's /dev/null take ring commands? */
async function nullTakesCommands(): Promise<boolean> {
  const control = UblkControl.open('/dev/null');
  try {
    await control.stopDevice(0);
    return true;
  } catch {
    return false;
  } finally {
    control.close();
  }
}

t.test('a refused command rejects with a typed error', async (t) => {
  const control = UblkControl.open(file);
  await t.rejects(control.getDeviceInfo(3), { name: 'ErrnoError', syscall: 'ublk GET_DEV_INFO' });
  await control.startDevice(7).catch((error: ErrnoError) => t.match(error, { syscall: 'ublk START_DEV', message: /'7'$/ }));
  t.equal(control.pending, 0);
  control.close();
  control.close();
});

t.test('without the driver everything says so', { skip: isUblkAvailable() }, async (t) => {
  t.throws(() => UblkControl.open(), { code: 'ENOENT', syscall: 'open' });
  await t.rejects(serveUblk({ sizeBytes: 1 << 20, handlers: { read: () => undefined, write: () => undefined } }), { code: 'ENOENT' });
});

t.test('answers', { skip: (await nullTakesCommands()) ? false : 'no ring commands on /dev/null' }, async (t) => {
  await t.test('more commands than can be in flight are all answered', async (t) => {
    const control = UblkControl.open('/dev/null');
    const answers = await Promise.all(Array.from({ length: 100 }, (_, id) => control.getDeviceInfo(id)));
    t.equal(answers.length, 100);
    t.match(answers[0], { state: 'DEAD', flags: 0 });
    t.match(await control.addDevice({ id: 9, depth: 32, mark: 77n }), { id: 9, depth: 32, mark: 77n }, 'the buffer goes in and out');
    t.match(await control.getParams(1), { sectors: 0 });
    t.strictSame(await control.getQueueAffinity(0, 0), []);
    t.equal(await control.getFeatures(), 0);
    control.unprivileged = true;
    t.match(await control.getDeviceInfo(12345), { state: 'DEAD' });
    control.close();
  });

  await t.test('embedded in the ring of a reactor', async (t) => {
    const ring = Ring.create({ entries: 2, sqe128: true });
    const control = UblkControl.embed(ring, { userDataHi: 0x55, path: '/dev/null', concurrency: 3 });
    const seen: number[] = [];
    for (let id = 0; id < 10; id++) {
      control.send(ublkCommands.updateSize(id, 2 ** 40 + id), (result, value) => {
        t.equal(result, 0);
        t.equal(value, undefined);
        seen.push(id);
      });
    }
    t.equal(control.pending, 10);
    for (let round = 0; round < 50 && control.pending > 0; round++) {
      ring.submitAndWait(1, 1e6);
      const ready = ring.cqReady();
      for (let i = 0; i < ready; i++) {
        t.equal(ring.cqUserDataHi(i), 0x55);
        control.complete(ring.cqUserDataLo(i), ring.cqRes(i));
      }
      ring.cqAdvance(ready);
    }
    t.strictSame(seen, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    t.throws(() => control.complete(0, 0), /no ublk command 0 is in flight/);
    control.send(ublkCommands.getFeatures(), () => t.fail('answered after close'));
    control.close();
    ring.close();
  });

  await t.test('needs 128-byte entries', async (t) => {
    const ring = Ring.create({ entries: 2 });
    t.throws(() => UblkControl.embed(ring, { userDataHi: 1, path: '/dev/null' }), RangeError);
    ring.close();
  });
});

t.test('requests', async (t) => {
  const view = new DataView(new ArrayBuffer(2048));
  const all = {
    getFeatures: ublkCommands.getFeatures(),
    addDevice: ublkCommands.addDevice({}),
    getParams: ublkCommands.getParams(1),
    setParams: ublkCommands.setParams(1, { attrs: 0, sectors: 8, maxSectors: 8 }),
    getQueueAffinity: ublkCommands.getQueueAffinity(1, 2),
    quiesceDevice: ublkCommands.quiesceDevice(1, 500),
    endUserRecovery: ublkCommands.endUserRecovery(1, 77),
  };
  t.equal(all.getFeatures.encode(view, 0), 8, 'exactly eight bytes');
  t.equal(all.addDevice.encode(view, 0), 64);
  t.equal(all.addDevice.id, -1);
  t.equal(all.getParams.encode(view, 0), UBLK_PARAMS.size);
  t.equal(view.getUint32(0, true), UBLK_PARAMS.size, 'its own len is set');
  t.equal(all.setParams.encode(view, 0), 112);
  t.match(all.getQueueAffinity, { queue: 2, data: 2 });
  t.match(all.quiesceDevice, { name: 'QUIESCE_DEV', data: 500, queue: -1 });
  t.match(all.endUserRecovery, { name: 'END_USER_RECOVERY', data: 77 });
  view.setUint8(0, 0b101);
  view.setUint8(8, 1);
  t.strictSame(all.getQueueAffinity.decode(new DataView(view.buffer, 0, 1024), 0).slice(0, 2), [0, 2]);
  for (const request of Object.values(all)) t.ok(request.bufferBytes <= ublkCommands.UBLK_REQUEST_BYTES_MAX);
});

t.test('devices of the host', async (t) => {
  const classPath = join(folder, 'class');
  t.strictSame(listUblkDevices(classPath), []);
  for (const name of ['ublkc10', 'ublkc2', 'ublkb2', 'ublkc', 'xublkc3']) mkdirSync(join(classPath, name), { recursive: true });
  t.strictSame(listUblkDevices(classPath), [2, 10]);
  t.equal(await waitForNode(classPath), true);
  t.equal(await waitForNode(join(folder, 'never'), 20), false);
});
