/**
 * Meta-data writes on their way to the host: rows that are used again and again, each with room for one page of its own, for a
 * transaction of the activity log may not allocate anything.
 */
import type { MetaWrite } from './host.js';
import type { QueuedMetaWrite } from './meta-write-queue.js';
import { ShortList } from './short-list.js';
import type { Volume } from './volume.js';

const PAGE_BYTES = 4096;
/** Rows that a token has room for; below, tokens are those of other questions. */
const ROWS_MAX = 1 << 12;
const GENERATIONS = 1 << 16;

/** Asked, when it is not a value, at the moment of issue. */
export type Preflush = boolean | (() => boolean);

const NOTHING = new Uint8Array();
const nobody = (): void => undefined;

export class MetaWriteRow implements MetaWrite, QueuedMetaWrite {
  readonly row: number;
  token = 0;
  volume = -1;
  offsetBytes = 0;
  lengthBytes = 0;
  bytes: Uint8Array = NOTHING;
  preflush = false;
  fua = false;
  issuedAt = 0;
  /** Whose queue it is in. */
  of: Volume | undefined;
  done: (errno: number) => void = nobody;
  #source: Uint8Array = NOTHING;
  #from = 0;
  #preflush: Preflush = false;
  readonly #page = new Uint8Array(PAGE_BYTES);
  readonly #issue: (row: MetaWriteRow) => void;

  constructor(row: number, issue: (row: MetaWriteRow) => void) {
    this.row = row;
    this.#issue = issue;
  }

  /** `lengthBytes` of the source, from `from` on, go to `offsetBytes` of the meta-data device. */
  set(
    of: Volume,
    offsetBytes: number,
    source: Uint8Array,
    preflush: Preflush,
    fua: boolean,
    done: (errno: number) => void,
    from: number,
    lengthBytes: number,
  ): void {
    this.of = of;
    this.volume = of.number;
    this.offsetBytes = offsetBytes;
    this.lengthBytes = lengthBytes;
    this.#source = source;
    this.#from = from;
    this.#preflush = preflush;
    this.fua = fua;
    this.done = done;
  }

  /** What is written is what stands there now, whatever it becomes later. */
  issue(): void {
    const source = this.#source;
    const from = this.#from;
    if (this.lengthBytes === PAGE_BYTES) {
      if (source.length === PAGE_BYTES) this.#page.set(source);
      // A view of the page would be garbage.
      else for (let i = 0; i < PAGE_BYTES; i++) this.#page[i] = source[from + i]!;
      this.bytes = this.#page;
    } else this.bytes = source.slice(from, from + this.lengthBytes);
    this.preflush = typeof this.#preflush === 'boolean' ? this.#preflush : this.#preflush();
    this.#issue(this);
  }

  /** Forgets what it was about. */
  clear(): void {
    this.of = undefined;
    this.bytes = NOTHING;
    this.#source = NOTHING;
    this.#preflush = false;
    this.done = nobody;
  }
}

export class MetaWriteRows {
  readonly #rows: MetaWriteRow[] = [];
  readonly #free = new ShortList<MetaWriteRow>();
  readonly #issue: (row: MetaWriteRow) => void;
  #generation = 0;

  constructor(issue: (row: MetaWriteRow) => void) {
    this.#issue = issue;
  }

  at(row: number): MetaWriteRow {
    return this.#rows[row]!;
  }

  /** A row with a token below 0, which no question of another kind has, and which is not soon used again. */
  acquire(): MetaWriteRow {
    let row = this.#free.pop();
    if (row === undefined) {
      if (this.#rows.length === ROWS_MAX) throw new Error('too many meta-data writes');
      row = new MetaWriteRow(this.#rows.length, this.#issue);
      this.#rows.push(row);
    }
    this.#generation = (this.#generation + 1) % GENERATIONS;
    row.token = -1 - (this.#generation * ROWS_MAX + row.row);
    return row;
  }

  /** The row whose write has this token; undefined for one that was answered already. */
  find(token: number): MetaWriteRow | undefined {
    const row = this.#rows[(-1 - token) % ROWS_MAX];
    return row?.token === token ? row : undefined;
  }

  release(row: MetaWriteRow): void {
    row.token = 0;
    row.clear();
    this.#free.push(row);
  }
}
