// Two directories with the same images: in one the stock drbdmeta works, in the other ours. After every command outputs, exit
// statuses, records of device sizes and all bytes have to be equal.

import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { type Result, runOurs, withoutKnownDifferences } from './capture.js';
import type { Life, Operation } from './operations.js';
import { scratchDirectory } from './scratch.js';
import { Stock } from './stock.js';

/** Spares a process that would find no drbdsetup; the recorded scenarios ask one. */
const NOT_ATTACHED = { isAttached: () => Promise.resolve(false) };
const SIDES = ['stock', 'ours'] as const;

export class SideBySide {
  /** Commands that were compared. */
  commands = 0;
  /** How the commands of the last life ended. */
  exits: number[] = [];
  /** Lives that ended because a signal ended stock. */
  crashes = 0;
  readonly #root = scratchDirectory();
  readonly #dirs = { stock: `${this.#root}/stock`, ours: `${this.#root}/ours` };
  readonly #state = { stock: `${this.#root}/oracle/state`, ours: `${this.#root}/state` };
  readonly #stock: Stock;
  /** When the images that were compared last had been written. */
  readonly #written = new Map<string, string>();
  readonly #env: Record<string, string | undefined>;

  constructor() {
    for (const dir of [...Object.values(this.#dirs), this.#state.ours]) mkdirSync(dir);
    this.#stock = new Stock(`${this.#root}/oracle`);
    this.#env = {
      PATH: '/nonexistent',
      UDRBD_STATE_DIR: this.#state.ours,
      UDRBD_LOCK_DIR: `${this.#root}/lock`,
      UDRBD_UTILS_VERSION: '9.22',
    };
  }

  close(): void {
    this.#stock.close();
    process.chdir('/');
    rmSync(this.#root, { recursive: true });
  }

  /** @returns the first difference in words */
  async live(life: Life): Promise<string | undefined> {
    this.exits = [];
    for (const dir of [...Object.values(this.#dirs), ...Object.values(this.#state)]) {
      for (const name of readdirSync(dir)) rmSync(`${dir}/${name}`, { recursive: true });
    }
    for (const side of SIDES) for (const [name, bytes] of Object.entries(life.images)) resize(`${this.#dirs[side]}/${name}`, bytes);
    for (const [n, operation] of life.operations.entries()) {
      if (operation.type !== 'run' && operation.type !== 'dump') {
        for (const side of SIDES) change(this.#dirs[side], this.#state[side], operation);
        continue;
      }
      const { argv } = operation;
      if (argv.includes('dump') && !existsSync(`${this.#dirs.stock}/dump`)) continue;
      const { theirs, ours } = await this.#both(argv);
      this.exits.push(theirs.exit);
      const at = `operation ${n}: drbdmeta ${argv.join(' ')}\n`;
      if (theirs.exit > 128) {
        // Stock gave up on an assertion or crashed; there is nothing left to compare with.
        this.crashes++;
        return undefined;
      }
      const difference = this.#compareOutputs(theirs, ours);
      if (difference !== undefined) return at + difference;
      // 9.22 refuses to check what it has no record of; ours makes the record.
      if (argv.includes('check-resize') && ours.exit === 0 && theirs.exit === 1) return undefined;
      if (ours.exit !== theirs.exit) return `${at}exit ${ours.exit} instead of ${theirs.exit}: ${theirs.stderr}`;
      // A dump whose super block is refused: stock has written the bitmap by then, ours nothing.
      if (argv.includes('restore-md') && ours.stderr.includes('Writing failed')) return undefined;
      if (operation.type === 'dump' && theirs.exit === 0) {
        for (const side of SIDES) writeFileSync(`${this.#dirs[side]}/dump`, theirs.stdout, 'latin1');
      }
      const byte = this.#compareImages(Object.keys(life.images)) ?? this.#compareRecords();
      if (byte !== undefined) return at + byte;
    }
    return undefined;
  }

  async #both(argv: readonly string[]): Promise<{ theirs: Result; ours: Result }> {
    this.commands++;
    const theirs = await this.#stock.run(argv, this.#dirs.stock);
    process.chdir(this.#dirs.ours);
    return { theirs, ours: await runOurs([...argv], this.#env, undefined, NOT_ATTACHED) };
  }

  #compareOutputs(theirs: Result, ours: Result): string | undefined {
    const masked = (text: string): string => withoutKnownDifferences(text).replaceAll(this.#state.ours, '/var/lib/drbd');
    for (const what of ['stdout', 'stderr'] as const) {
      const [is, was] = [masked(ours[what]), masked(theirs[what])];
      if (is !== was) return `${what}: ${firstDifference(is, was)}`;
    }
    return undefined;
  }

  #compareImages(names: readonly string[]): string | undefined {
    for (const name of names) {
      const [ours, stock] = [`${this.#dirs.ours}/${name}`, `${this.#dirs.stock}/${name}`];
      // Most commands only read.
      const written = [ours, stock].map((path) => statSync(path, { bigint: true }).mtimeNs).join();
      if (this.#written.get(name) === written) continue;
      this.#written.set(name, written);
      const byte = firstByteThatDiffers(ours, stock);
      if (byte !== undefined) return `${name}: ${byte}`;
    }
    return undefined;
  }

  #compareRecords(): string | undefined {
    const { ours, stock } = this.#state;
    for (const name of new Set([...readdirSync(ours), ...readdirSync(stock)])) {
      const text = (dir: string): string => (existsSync(`${dir}/${name}`) ? readFileSync(`${dir}/${name}`, 'latin1') : 'absent');
      if (text(ours) !== text(stock)) return `${name}: ${text(ours)} instead of ${text(stock)}`;
    }
    return undefined;
  }
}

function change(dir: string, state: string, operation: Exclude<Operation, { type: 'run' | 'dump' }>): void {
  switch (operation.type) {
    case 'resize':
      return resize(`${dir}/${operation.image}`, operation.bytes);
    case 'edit':
      return rewriteDump(dir, (text) => {
        const at = Math.floor((text.length * operation.perMille) / 1000);
        return text.slice(0, at) + operation.insert + text.slice(at + operation.cut);
      });
    case 'renumber':
      return rewriteDump(dir, (text) => text.replace(new RegExp(`(${operation.keyword} ?)-?\\d+`), `$1${operation.value}`));
    case 'record':
      return writeFileSync(`${state}/drbd-minor-${operation.minor}.lkbd`, operation.text, 'latin1');
    case 'write':
    case 'flip': {
      const path = `${dir}/${operation.image}`;
      if (statSync(path).size <= operation.offset) return;
      const fd = openSync(path, 'r+');
      if (operation.type === 'write') {
        writeSync(fd, operation.bytes, 0, null, operation.offset);
      } else {
        const byte = new Uint8Array(1);
        readSync(fd, byte, 0, 1, operation.offset);
        byte[0]! ^= operation.mask;
        writeSync(fd, byte, 0, 1, operation.offset);
      }
      return closeSync(fd);
    }
  }
}

function rewriteDump(dir: string, edit: (text: string) => string): void {
  if (existsSync(`${dir}/dump`)) writeFileSync(`${dir}/dump`, edit(readFileSync(`${dir}/dump`, 'latin1')), 'latin1');
}

function resize(path: string, bytes: number): void {
  const fd = openSync(path, existsSync(path) ? 'r+' : 'w');
  ftruncateSync(fd, bytes);
  closeSync(fd);
}

function firstDifference(is: string, was: string): string {
  const [a, b] = [is.split('\n'), was.split('\n')];
  const line = a.findIndex((text, i) => text !== b[i]);
  const at = line < 0 ? a.length : line;
  return `line ${at + 1}: ${JSON.stringify(a.slice(at, at + 3))} instead of ${JSON.stringify(b.slice(at, at + 3))}`;
}

const BUFFERS = [Buffer.alloc(1 << 20), Buffer.alloc(1 << 20)] as const;
/** Of larger images only both ends are compared: nothing but meta-data is written, and the tests leave long bitmaps out. */
const WHOLE_MAX = 1 << 30;
const END_BYTES = 8 << 20;

function firstByteThatDiffers(ours: string, stock: string): string | undefined {
  const [size, stockSize] = [ours, stock].map((path) => statSync(path).size) as [number, number];
  if (size !== stockSize) return `${size} bytes instead of ${stockSize}`;
  const [a, b] = BUFFERS;
  const files = [openSync(ours, 'r'), openSync(stock, 'r')] as const;
  try {
    for (let offset = 0; offset < size; offset += a.length) {
      if (size > WHOLE_MAX && offset === END_BYTES) offset = size - END_BYTES;
      const [gotA, gotB] = [readSync(files[0], a, 0, a.length, offset), readSync(files[1], b, 0, b.length, offset)];
      if (a.compare(b, 0, gotB, 0, gotA) === 0) continue;
      const at = a.subarray(0, gotA).findIndex((byte, i) => byte !== b[i]);
      return `byte ${offset + at} is ${a[at]} instead of ${b[at]}`;
    }
    return undefined;
  } finally {
    for (const fd of files) closeSync(fd);
  }
}
