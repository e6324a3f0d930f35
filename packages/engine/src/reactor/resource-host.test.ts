/** The host with a core that does what the test says: disk I/O, meta-data, flushes, front ends, bugs. */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { EFFECT, OP, REQ_FUA, REQ_NOUNMAP, REQ_PREFLUSH } from '@udrbd/replication';
import t from 'tap';
import type { FrontEnd } from '../front-ends/front-end.js';
import { Listeners } from '../links/listener.js';
import { FakeCore } from '../testing/fake-core.js';
import type { ReactorMessage } from './messages.js';
import { Reactor } from './reactor.js';
import { ResourceHost } from './resource-host.js';
import { ResyncOrder } from './resync-order.js';

const MIB = 1 << 20;

class TestFrontEnd implements FrontEnd {
  readonly completions: string[] = [];
  resumed = 0;
  readonly openForWriting = true;
  readonly isOpen = true;
  onComplete: (slot: number) => void = () => undefined;
  update(sizeSectors: number, writable: boolean): void {
    this.completions.push(`update ${sizeSectors} ${writable}`);
  }
  complete(slot: number, errno: number): void {
    this.completions.push(`complete ${slot} ${errno}`);
    this.onComplete(slot);
  }
  resume(): void {
    this.resumed++;
  }
  settle(): void {
    // Nothing is queued.
  }
  stop(stopped: () => void): void {
    stopped();
  }
}

function setUp(t: Tap, bytes = MIB) {
  const dir = t.testdir();
  mkdirSync(dir, { recursive: true });
  const path = `${dir}/disk`;
  writeFileSync(path, Buffer.alloc(bytes, 0xee));
  const fd = openSync(path, 'r+');
  const posted: ReactorMessage[] = [];
  const reactor = new Reactor((message) => posted.push(message), { arenaBytes: [MIB, MIB, MIB], lock: false, ringEntries: 16 });
  const core = new FakeCore();
  const frontEnd = new TestFrontEnd();
  const listeners = new Listeners(reactor, () => undefined);
  const host = new ResourceHost({
    reactor,
    index: 0,
    core,
    listeners,
    frontEnds: () => frontEnd,
    lock: false,
    resyncOrder: new ResyncOrder(),
  });
  t.teardown(() => {
    reactor.close();
    closeSync(fd);
  });
  const run = (done: () => boolean) => {
    for (let i = 0; i < 500 && !done(); i++) reactor.turn(2);
    return done();
  };
  const said = (text: string) => core.calls.includes(text);
  host.control(1, { command: 'new-minor', volume: 0, minor: 5, options: {} });
  run(() => posted.some((m) => m.type === 'reply'));
  const attach = (diskFd = fd) => {
    const handles = { dataFd: diskFd, metaFd: diskFd, isBlockDevice: false, logicalBlockBytes: 512 };
    host.attach(2, 0, { backingDevice: path } as never, handles);
    run(() => posted.filter((m) => m.type === 'reply').length === 2);
  };
  return { path, core, host, reactor, frontEnd, posted, run, said, attach, content: () => readFileSync(path) };
}

interface Tap {
  testdir(): string;
  teardown(end: () => void): void;
}

t.test('slots read, write, flush and zero', async (t) => {
  const { core, host, reactor, frontEnd, run, said, attach, content } = setUp(t);
  attach();
  t.strictSame(frontEnd.completions.splice(0), ['update 0 false']);
  const request = (op: number, sector: number, lengthBytes: number, flags: number, effect: number, fill?: number) => {
    const slot = host.acquire(0, frontEnd);
    core.requests.op[slot] = op;
    core.requests.flags[slot] = flags;
    core.requests.sector[slot] = sector;
    core.requests.lengthBytes[slot] = lengthBytes;
    if (op === OP.Read || op === OP.Write) host.allocate(slot, lengthBytes);
    if (fill !== undefined) reactor.memory.view(host.pageOf(slot), lengthBytes).fill(fill);
    core.onSubmit = (s) => core.effects.push(effect as never, s, 0);
    let read: Buffer | undefined;
    frontEnd.onComplete = (s) => {
      const page = host.takePage(s);
      if (page < 0) return;
      read = Buffer.from(reactor.memory.view(page, lengthBytes));
      reactor.memory.release(page);
    };
    host.submit(slot);
    t.ok(
      run(() => frontEnd.completions.includes(`complete ${slot} 0`)),
      `operation ${op}`,
    );
    frontEnd.completions.length = 0;
    return read;
  };
  request(OP.Write, 8, 8192, REQ_FUA | REQ_PREFLUSH, EFFECT.DiskWrite, 0x11);
  t.ok(content().subarray(4096, 12288).equals(Buffer.alloc(8192, 0x11)));
  t.ok(request(OP.Read, 8, 8192, 0, EFFECT.DiskRead)?.equals(Buffer.alloc(8192, 0x11)));
  request(OP.Flush, 0, 0, 0, EFFECT.DiskFlush);
  request(OP.Discard, 8, 4096, 0, EFFECT.DiskDiscard);
  request(OP.WriteZeroes, 64, 65536, REQ_NOUNMAP, EFFECT.DiskWriteZeroes);
  t.ok(content().subarray(4096, 8192).equals(Buffer.alloc(4096)), 'discarded blocks read as zeroes');
  t.ok(
    content()
      .subarray(32768, 32768 + 65536)
      .equals(Buffer.alloc(65536)),
  );
  t.equal(content()[8192], 0x11, 'and the rest is untouched');
  t.equal(reactor.memory.freeBytes(0), MIB, 'all memory is back');

  const slot = host.acquire(0, frontEnd);
  core.requests.sector[slot] = 4096;
  core.requests.lengthBytes[slot] = 4096;
  host.allocate(slot, 4096);
  core.onSubmit = (s) => core.effects.push(EFFECT.DiskRead, s, 0);
  host.submit(slot);
  t.ok(
    run(() => said(`diskDone ${slot} 5`)),
    'a read beyond the end is an I/O error',
  );
});

t.test('a slot that the core freed is not taken before its completion was seen', async (t) => {
  const { core, host, frontEnd } = setUp(t);
  const first = host.acquire(0, frontEnd);
  core.onSubmit = (slot) => core.complete(slot, 0);
  host.submit(first);
  let during = 0;
  frontEnd.onComplete = () => {
    during = host.acquire(0, frontEnd);
  };
  const second = host.acquire(0, frontEnd);
  t.equal(during, -1, 'not from inside a completion');
  t.equal(second, first);
  t.ok(frontEnd.completions.includes(`complete ${first} 0`), 'acquire has drained the effects');
  host.release(second);
});

t.test('meta-data writes: durable, in order where they overlap', async (t) => {
  const { core, host, run, said, attach, content } = setUp(t);
  attach();
  const write = (token: number, offsetBytes: number, bytes: number, fill: number) => {
    core.metaWrite({ token, volume: 0, offsetBytes, bytes: new Uint8Array(bytes).fill(fill), preflush: true, fua: true });
  };
  write(1, 4096, 4096, 1);
  write(2, 4096, 4096, 2);
  write(3, 128 * 1024, 300 * 1024, 3);
  for (let i = 0; i < 40; i++) write(10 + i, 600 * 1024 + i * 4096, 4096, 10 + i);
  core.effects.push(EFFECT.FlushVolume, 0, 3);
  host.touched = true;
  t.ok(run(() => core.calls.filter((call) => call.startsWith('metaDone')).length === 43 && said('epochFlushed 3 0 0')));
  t.equal(content()[4096], 2, 'the later of two overlapping writes wins');
  t.ok(core.calls.indexOf('metaDone 1 0') < core.calls.indexOf('metaDone 2 0'));
  t.ok(
    content()
      .subarray(128 * 1024, 428 * 1024)
      .equals(Buffer.alloc(300 * 1024, 3)),
    'a long write in pieces',
  );
  t.equal(content()[600 * 1024 + 39 * 4096], 49);
});

t.test('a disk is closed when its last operation has come back', async (t) => {
  const { core, host, posted, run, said, attach } = setUp(t);
  attach();
  core.effects.push(EFFECT.FlushVolume, 0, 7);
  host.touched = true;
  host.settle();
  core.effects.cold.push({ type: 'closeDisk', volume: 0 });
  host.touched = true;
  host.settle();
  t.notOk(posted.some((m) => m.type === 'disk-closed'));
  t.ok(run(() => posted.some((m) => m.type === 'disk-closed')));
  t.ok(said('epochFlushed 7 0 0'));
  const slot = core.requests.acquirePeer();
  core.effects.push(EFFECT.DiskFlush, slot, 0);
  host.touched = true;
  t.ok(
    run(() => said(`diskDone ${slot} 5`)),
    'I/O without a disk fails',
  );
});

t.test('a disk that hangs is given up; what it may still touch is used again when it has answered', async (t) => {
  const { path: file, core, host, reactor, frontEnd, run, said, attach } = setUp(t);
  // A read of an empty pipe waits, and so does a write to a full one.
  const path = `${file}-pipe`;
  execFileSync('mkfifo', [path]);
  const pipe = openSync(path, 'r+');
  t.teardown(() => closeSync(pipe));
  attach(pipe);
  const free = reactor.memory.freeBytes(0);
  const submit = (op: number, effect: number): number => {
    const slot = host.acquire(0, frontEnd);
    core.requests.op[slot] = op;
    core.requests.sector[slot] = 0;
    core.requests.lengthBytes[slot] = 4096;
    host.allocate(slot, 4096);
    core.onSubmit = (s) => core.effects.push(effect as never, s, 0);
    host.submit(slot);
    return slot;
  };
  const pages: number[] = [];
  frontEnd.onComplete = (slot) => pages.push(host.takePage(slot));
  const slot = submit(OP.Read, EFFECT.DiskRead);
  const old = host.pageOf(slot);
  run(() => false);
  t.notOk(frontEnd.completions.includes(`complete ${slot} 5`));
  core.effects.cold.push({ type: 'abandonDisk', volume: 0, token: 77 });
  host.touched = true;
  t.ok(run(() => frontEnd.completions.includes(`complete ${slot} 5`)));
  t.equal(pages.length, 1);
  t.not(pages[0], old, 'what comes from elsewhere gets another buffer');
  const fresh = pages.pop()!;
  reactor.memory.view(fresh, 4096).fill(1);
  const again = submit(OP.Read, EFFECT.DiskRead);
  t.equal(again, slot, 'the slot is free');
  t.ok(
    run(() => frontEnd.completions.filter((line) => line === `complete ${slot} 5`).length === 2),
    'and fails at once',
  );
  reactor.memory.release(pages.pop()!);
  t.notOk(said('metaDone 77 0'));
  writeSync(pipe, Buffer.alloc(4096, 9));
  t.ok(
    run(() => said('metaDone 77 0')),
    'the disk has answered after all',
  );
  t.ok(
    reactor.memory.view(fresh, 4096).every((byte) => byte === 1),
    'into the old buffer',
  );
  reactor.memory.release(fresh);
  t.equal(reactor.memory.freeBytes(0), free, 'all memory is back');
  t.equal(reactor.strayCompletions, 0);
});

t.test('meta-data that hang are answered with an error, and others are written meanwhile', async (t) => {
  const { path: file, core, host, reactor, frontEnd, run, said, attach } = setUp(t);
  const path = `${file}-pipe`;
  execFileSync('mkfifo', [path]);
  const pipe = openSync(path, 'r+');
  t.teardown(() => closeSync(pipe));
  writeSync(pipe, Buffer.alloc(65_536));
  attach(pipe);
  const slot = host.acquire(0, frontEnd);
  core.requests.op[slot] = OP.Write;
  core.requests.sector[slot] = 0;
  core.requests.lengthBytes[slot] = 4096;
  host.allocate(slot, 4096);
  core.onSubmit = (s) => core.effects.push(EFFECT.DiskWrite, s, 0);
  const free = reactor.memory.freeBytes(0);
  frontEnd.onComplete = (s) => reactor.memory.release(host.takePage(s));
  host.submit(slot);
  const write = (token: number) =>
    core.metaWrite({ token, volume: 0, offsetBytes: token * 4096, bytes: new Uint8Array(4096), preflush: false, fua: false });
  // More than there are staging buffers.
  for (let token = 1; token <= 6; token++) write(token);
  host.touched = true;
  run(() => false);
  core.effects.cold.push({ type: 'abandonDisk', volume: 0, token: 77 });
  host.touched = true;
  t.ok(run(() => [1, 2, 3, 4, 5, 6].every((token) => said(`metaDone ${token} 5`)) && said(`diskDone ${slot} 5`)));
  t.equal(reactor.memory.freeBytes(0), free, 'the disk still has the buffer of the write');
  write(7);
  host.touched = true;
  t.ok(run(() => said('metaDone 7 5')));
  t.notOk(said('metaDone 77 0'));
  const drain = Buffer.alloc(65_536);
  for (let i = 0; i < 8 && !said('metaDone 77 0'); i++) {
    readSync(pipe, drain, 0, 4096, null);
    run(() => said('metaDone 77 0'));
  }
  t.ok(said('metaDone 77 0'));
  t.equal(reactor.memory.freeBytes(0), free + 4096);
  t.equal(reactor.strayCompletions, 0);
});

t.test('a peer request waits for memory', async (t) => {
  const { core, host, reactor, run, said, attach } = setUp(t);
  attach();
  const blocks = [reactor.memory.allocate(2, MIB)];
  const slot = core.requests.acquirePeer();
  core.requests.lengthBytes[slot] = 4096;
  core.effects.push(EFFECT.AllocateBuffer, slot, 4096);
  core.effects.push(EFFECT.DiskRead, slot, 0);
  host.touched = true;
  reactor.turn(0);
  t.equal(host.pageOf(slot), -1);
  reactor.memory.release(blocks[0]!);
  t.ok(
    run(() => said(`diskDone ${slot} 0`)),
    'and goes on when there is some',
  );
});

t.test('who hands over submits nothing more, and the device above stays what it was', async (t) => {
  const { core, host, frontEnd, run, attach } = setUp(t);
  attach();
  const slot = host.acquire(0, frontEnd);
  let submitted = 0;
  core.onSubmit = () => {
    submitted++;
  };
  frontEnd.completions.length = 0;
  host.isHolding = true;
  host.submit(slot);
  t.equal(submitted, 0, 'whose payload has just arrived');
  t.equal(host.acquire(0, frontEnd), -1);
  core.effects.cold.push({ type: 'volumeChanged', volume: 0, sizeSectors: 2048, writable: false });
  host.touched = true;
  run(() => core.effects.cold.length === 0);
  t.equal(core.effects.cold.length, 0);
  t.strictSame(frontEnd.completions, [], 'nobody sees that this engine steps down');
});

t.test('a bug stops the resource, not the reactor', async (t) => {
  const { core, host, frontEnd, posted, run, attach } = setUp(t);
  attach();
  const slot = host.acquire(0, frontEnd);
  core.onSubmit = () => undefined;
  host.submit(slot);
  core.settle = () => {
    throw new Error('a bug');
  };
  t.ok(run(() => posted.some((m) => m.type === 'failed')));
  t.ok(frontEnd.completions.includes(`complete ${slot} 5`), 'what was submitted fails');
  t.ok(
    run(() => posted.some((m) => m.type === 'disk-closed')),
    'its disk is closed',
  );
  t.equal(host.acquire(0, frontEnd), -1);
  host.control(9, { command: 'primary', force: false });
  t.ok(posted.some((m) => m.type === 'reply' && m.operation === 9 && m.error !== undefined));
  host.control(10, { command: 'del-minor', volume: 0 });
  t.ok(
    posted.some((m) => m.type === 'reply' && m.operation === 10 && m.error === undefined),
    'it can be taken down',
  );
  let isRemoved = false;
  host.remove(() => {
    isRemoved = true;
  });
  t.ok(run(() => isRemoved));
});
