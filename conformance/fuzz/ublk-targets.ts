/** What only the kernel hands over, when it hands over something else than it may: request descriptors, answers of the control device. */
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { markOf, minorOfMark } from '../../packages/engine/src/desk/ublk-marks.js';
import type { FrontEnd, FrontEndHost } from '../../packages/engine/src/front-ends/front-end.js';
import { RANGE_BYTES_MAX, UblkFrontEnd } from '../../packages/engine/src/front-ends/ublk-front-end.js';
import { ARENA, BLOCK_BYTES_MAX, PayloadMemory } from '../../packages/engine/src/reactor/payload-memory.js';
import type { Reactor } from '../../packages/engine/src/reactor/reactor.js';
import { FakeCore } from '../../packages/engine/src/testing/fake-core.js';
import { OP } from '../../packages/replication/src/index.js';

import {
  UBLK_F,
  UBLK_IO,
  UBLK_OP,
  UBLK_PARAMS,
  UBLK_STATES,
  UBLKSRV_CTRL_DEV_INFO,
  UBLKSRV_IO_DESC,
} from '../../packages/ublk-napi/src/ublk-abi.js';
import * as commands from '../../packages/ublk-napi/src/ublk-commands.js';
import { mutateBytes, type Prng } from './mutate.js';
import { asText, Broken, fuzzer, holds, type Target } from './target.js';

// --- requests ---

const DEPTH = 16;
const EIO = 5;
const ENODEV = 19;
const SECTORS = [0, 1, 8, 2047, 2048, 2049, 32_768, 32_769, 0x7f_ffff, 0x80_0000, 0xffff_ffff];
const PLACES = [0n, 1n, 8n, 2n ** 21n - 8n, 2n ** 32n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];

type Step =
  | { readonly what: 'request'; readonly tag: number; readonly opFlags: number; readonly sectors: number; readonly place: bigint }
  /** The oldest request that the resource has ends. */
  | { readonly what: 'end'; readonly errno: number }
  /** The oldest copy of a payload ends; undefined: as it should. */
  | { readonly what: 'copied'; readonly result: number | undefined }
  | { readonly what: 'writable' | 'fails' | 'resume' };

function step(prng: Prng): Step {
  switch (prng.below(8)) {
    case 0:
    case 1:
    case 2:
      return {
        what: 'request',
        tag: prng.below(DEPTH),
        opFlags: (prng.chance(80) ? prng.below(6) : prng.below(256)) + (prng.chance(50) ? prng.below(1 << 24) * 256 : 0),
        sectors: prng.chance(60) ? 8 * (1 + prng.below(16)) : prng.pick(SECTORS),
        place: prng.chance(60) ? BigInt(prng.below(1 << 20)) : prng.pick(PLACES),
      };
    case 3:
    case 4:
      return { what: 'end', errno: prng.pick([0, 0, 0, EIO, 28]) };
    case 5:
      return { what: 'copied', result: prng.pick([undefined, undefined, undefined, 0, 4096, -EIO, -14]) };
    case 6:
      return { what: 'resume' };
    default:
      return { what: prng.chance(80) ? 'writable' : 'fails' };
  }
}

/** Takes down what goes into the ring. */
class Commands {
  readonly sqe128 = false;
  /** Result of each commit, by tag. */
  readonly commits: { readonly tag: number; readonly result: number }[] = [];
  /** Tags whose payload is being copied, and how much of it. */
  readonly copies: { readonly tag: number; readonly length: number }[] = [];
  #op = 0;
  #words = [0, 0];
  #length = 0;

  getSqe(): number {
    return 0;
  }
  submit(): number {
    return 0;
  }
  prepUringCmd(_slot: number, _fd: number, op: number): void {
    this.#op = op;
  }
  setCommand32(_slot: number, word: number, value: number): void {
    if (word < 2) this.#words[word] = value;
  }
  prepRead(_slot: number, _fd: number, _address: number, length: number): void {
    this.#op = 0;
    this.#length = length;
  }
  prepWrite(slot: number, fd: number, address: number, length: number): void {
    this.prepRead(slot, fd, address, length);
  }
  setUserData(_slot: number, low: number): void {
    if (this.#op === UBLK_IO.COMMIT_AND_FETCH_REQ) this.commits.push({ tag: low, result: this.#words[1]! });
    else if (this.#op === 0) this.copies.push({ tag: low, length: this.#length });
  }
}

/** A resource that does what the test says. */
class Host implements FrontEndHost {
  readonly core = new FakeCore();
  readonly memory = new PayloadMemory([2 << 20, 1, 1], false);
  touched = false;
  hasFailed = false;
  readonly submitted: number[] = [];
  readonly #pages = new Map<number, number>();

  fail(error: unknown): void {
    throw error;
  }
  acquire(): number {
    return this.core.requests.acquireApplication();
  }
  allocate(slot: number, lengthBytes: number): number {
    const page = this.memory.allocate(ARENA.Application, lengthBytes);
    if (page >= 0) this.#pages.set(slot, page);
    return page;
  }
  pageOf(slot: number): number {
    return this.#pages.get(slot) ?? -1;
  }
  release(slot: number): void {
    const page = this.takePage(slot);
    if (page >= 0) this.memory.release(page);
    this.core.requests.release(slot);
  }
  takePage(slot: number): number {
    const page = this.pageOf(slot);
    this.#pages.delete(slot);
    return page;
  }
  submit(slot: number): void {
    const { op, sector, lengthBytes } = this.core.requests;
    holds(sector[slot]! >= 0, 'a place');
    const hasPayload = op[slot] === OP.Read || op[slot] === OP.Write;
    const length = lengthBytes[slot]!;
    holds(hasPayload === this.pageOf(slot) >= 0, 'a buffer for a payload, and only for one');
    holds(
      (length === 0) === (op[slot] === OP.Flush) && length <= (hasPayload ? BLOCK_BYTES_MAX : RANGE_BYTES_MAX),
      'a length that the device has',
    );
    this.submitted.push(slot);
  }
  wantResume(_frontEnd: FrontEnd): void {
    // The test resumes when it likes.
  }
  log(): void {
    // Nobody reads it.
  }
  openChanged(): void {
    // Nobody asks.
  }
}

export const ublkRequests: Target = {
  name: 'ublk-requests',
  what: 'request descriptors of a ublk device, and what becomes of their copies: any operation, flags, length and place',
  short: 2000,
  open: () => {
    const folder = mkdtempSync(`${tmpdir()}/fuzz-ublk-`);
    const path = `${folder}/ublkc0`;
    const fd = openSync(path, 'w+');
    ftruncateSync(fd, 4096 * UBLKSRV_IO_DESC.size);
    const descriptor = new DataView(new ArrayBuffer(UBLKSRV_IO_DESC.size));
    const describe = (tag: number, opFlags: number, sectors: number, place: bigint): void => {
      const { at } = UBLKSRV_IO_DESC;
      descriptor.setUint32(at.op_flags, opFlags, true);
      descriptor.setUint32(at.nr_sectors, sectors, true);
      descriptor.setBigUint64(at.start_sector, place, true);
      writeSync(fd, descriptor, 0, UBLKSRV_IO_DESC.size, tag * UBLKSRV_IO_DESC.size);
    };
    const host = new Host();
    const check = (steps: readonly Step[]): void => {
      const ring = new Commands();
      const reactor = { ring, sqe: () => 0, addTagOwner: () => 0, removeTagOwner: () => undefined } as unknown as Reactor;
      const frontEnd = new UblkFrontEnd(reactor, host, 0, () => undefined);
      const free = host.memory.freeBytes(ARENA.Application);
      const [slots] = freeSlots(host);
      host.core.failIo = false;
      frontEnd.serve({ id: 0, depth: DEPTH, flags: UBLK_F.USER_COPY, path });
      let isWritable = true;
      frontEnd.update(1 << 21, isWritable);
      /** What each tag that is with us was asked for. */
      const asked = new Map<number, { readonly op: number; readonly length: number }>();
      const settle = (): void => {
        for (const { tag, result } of ring.commits.splice(0)) {
          const request = asked.get(tag);
          if (request === undefined) throw new Broken(`tag ${tag} is answered twice`);
          asked.delete(tag);
          const hasPayload = request.op === UBLK_OP.READ || request.op === UBLK_OP.WRITE;
          holds(
            result === (hasPayload ? request.length : 0) || (result < 0 && result > -4096),
            `an answer that the kernel takes, not ${result}`,
          );
        }
      };
      const end = (errno: number): void => {
        const slot = host.submitted.shift();
        if (slot === undefined) return;
        host.core.requests.release(slot);
        frontEnd.complete(slot, errno);
      };
      const copied = (result: number | undefined): void => {
        const copy = ring.copies.shift();
        if (copy !== undefined) frontEnd.copyDone(copy.tag, result ?? copy.length);
      };
      for (const each of steps) {
        switch (each.what) {
          case 'request':
            if (asked.has(each.tag)) break;
            describe(each.tag, each.opFlags, each.sectors, each.place);
            asked.set(each.tag, { op: each.opFlags & 0xff, length: each.sectors * 512 });
            frontEnd.tagDone(each.tag, 0);
            break;
          case 'end':
            end(each.errno);
            break;
          case 'copied':
            copied(each.result);
            break;
          case 'writable':
            isWritable = !isWritable;
            frontEnd.update(1 << 21, isWritable);
            break;
          case 'fails':
            host.core.failIo = !host.core.failIo;
            break;
          case 'resume':
            frontEnd.resume();
            break;
        }
        settle();
      }
      for (let turn = 0; turn < 4 * DEPTH && asked.size > 0; turn++) {
        copied(undefined);
        end(0);
        frontEnd.resume();
        settle();
      }
      holds(asked.size === 0, 'every request is answered');
      let drained = 0;
      frontEnd.whenDrained(() => drained++);
      for (let tag = 0; tag < DEPTH; tag++) frontEnd.tagDone(tag, -ENODEV);
      holds(drained === 1, 'the device is let go once');
      holds(host.memory.freeBytes(ARENA.Application) === free && freeSlots(host)[0] === slots, 'all memory and all slots are back');
    };
    const inner = fuzzer((prng: Prng) => Array.from({ length: 1 + prng.below(60) }, () => step(prng)), check, asText);
    return {
      ...inner,
      close: () => {
        closeSync(fd);
        rmSync(folder, { recursive: true });
      },
    };
  },
};

/** By taking them all. */
function freeSlots({ core: { requests } }: Host): [count: number] {
  const slots: number[] = [];
  for (let slot = requests.acquireApplication(); slot >= 0; slot = requests.acquireApplication()) slots.push(slot);
  for (const slot of slots.reverse()) requests.release(slot);
  return [slots.length];
}

// --- answers of the control device ---

const RUN_DIR = '/run/udrbd';
const ANSWER_BYTES = 1024;

const ANSWERS = {
  features: commands.getFeatures(),
  device: commands.getDeviceInfo(5),
  added: commands.addDevice({ id: 5, queues: 1, depth: 128, maxIoBytes: 1 << 20, flags: UBLK_F.USER_COPY, mark: markOf(RUN_DIR, 5) }),
  params: commands.getParams(5),
  affinity: commands.getQueueAffinity(5, 0),
} as const;
type Answer = keyof typeof ANSWERS;

const CONTROL_FIELDS = [
  ...Object.values(UBLKSRV_CTRL_DEV_INFO.at).map((offset) => ({ offset, width: 4 })),
  ...Object.values(UBLK_PARAMS.at).map((offset) => ({ offset, width: 4 })),
];

export const ublkControl: Target = {
  name: 'ublk-control',
  what: 'answers of the ublk control device: features, what a device is like, its parameters, whose it is',
  short: 5000,
  open: () =>
    fuzzer(
      (prng: Prng) => {
        const answer = prng.pick(Object.keys(ANSWERS) as Answer[]);
        const asked = new Uint8Array(ANSWER_BYTES);
        ANSWERS[answer].encode(new DataView(asked.buffer), 0);
        const bytes = prng.chance(20) ? prng.bytes(ANSWER_BYTES) : mutateBytes(prng, asked, CONTROL_FIELDS, ANSWER_BYTES);
        const answered = new Uint8Array(ANSWER_BYTES);
        answered.set(bytes);
        return { answer, bytes: answered };
      },
      ({ answer, bytes }) => {
        const view = new DataView(bytes.buffer);
        const lowFlags = (at: number, flags: number): void =>
          holds(
            Number.isSafeInteger(flags) && flags % 2 ** 32 === view.getUint32(at, true),
            'the flags that are known are read as they are',
          );
        switch (answer) {
          case 'features':
            return lowFlags(0, ANSWERS.features.decode(view, 0));
          case 'device':
          case 'added': {
            const info = ANSWERS[answer].decode(view, 0);
            lowFlags(UBLKSRV_CTRL_DEV_INFO.at.flags, info.flags);
            holds(UBLK_STATES.includes(info.state), 'a state');
            const minor = minorOfMark(info.mark, RUN_DIR);
            holds(minor === undefined || (minor < 1 << 20 && markOf(RUN_DIR, minor) === info.mark), 'only what bears our mark is ours');
            return;
          }
          case 'params': {
            const params = ANSWERS.params.decode(view, 0);
            holds(params.sectors >= 0 && params.maxSectors >= 0, 'sizes');
            return;
          }
          case 'affinity':
            holds(
              ANSWERS.affinity.decode(view, 0).every((cpu) => cpu >= 0 && cpu < ANSWER_BYTES * 8),
              'processors',
            );
        }
      },
      ({ bytes }) => bytes,
    ),
};
