/**
 * The memory that payloads live in: one locked mapping, allocated once, cut into arenas that cannot starve each other.
 *
 * Each arena is a buddy allocator over 4 KiB pages, blocks of 4 KiB to 1 MiB. A block is named by the number of its first
 * page in the whole mapping and has a reference count: a request gives its buffer up while a send of it may still be in
 * flight, and only the last release makes it free.
 *
 * Why three for requests: a write above waits for the peer, which waits for room to receive ours; a resync read waits for the socket.
 * With one common pool two nodes could fill each other's memory and wait for ever. A fourth one is for what sockets receive into
 * before it is known what it is.
 */
import { BufferPool } from 'ublk-napi';

export const PAGE_BYTES = 4096;
const PAGE_SHIFT = 12;
const ORDERS = 9;
/** Largest block: also the largest request a front end may submit in one piece. */
export const BLOCK_BYTES_MAX = PAGE_BYTES << (ORDERS - 1);
const BLOCK_PAGES_MAX = 1 << (ORDERS - 1);

export const ARENA = { Application: 0, Incoming: 1, Outgoing: 2, Receiving: 3 } as const;
export type Arena = (typeof ARENA)[keyof typeof ARENA];

export class PayloadMemory {
  readonly pool: BufferPool;
  readonly bytes: Uint8Array;
  readonly #arenaOf: Uint8Array;
  /** Order of the block that begins at a page; 255 elsewhere. */
  readonly #order: Uint8Array;
  readonly #isFree: Uint8Array;
  readonly #references: Uint16Array;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  /** First free block, by arena and order. */
  readonly #head: Int32Array;
  readonly #freeBytes: Float64Array;

  /**
   * @param arenaBytes - sizes of the application, incoming and outgoing arenas; rounded up to 1 MiB
   * @param receivingBytes - of the receiving arena, likewise; it may be empty
   */
  constructor(arenaBytes: readonly [number, number, number], lock = true, receivingBytes = 0) {
    const blocks = arenaBytes.map((bytes) => Math.max(1, Math.ceil(bytes / BLOCK_BYTES_MAX)));
    blocks.push(Math.ceil(receivingBytes / BLOCK_BYTES_MAX));
    const pages = blocks.reduce((sum, count) => sum + count, 0) * BLOCK_PAGES_MAX;
    this.pool = BufferPool.create({ count: 1, size: pages * PAGE_BYTES, lock });
    this.bytes = this.pool.bytes;
    this.#arenaOf = new Uint8Array(pages);
    this.#order = new Uint8Array(pages).fill(255);
    this.#isFree = new Uint8Array(pages);
    this.#references = new Uint16Array(pages);
    this.#next = new Int32Array(pages).fill(-1);
    this.#previous = new Int32Array(pages).fill(-1);
    this.#head = new Int32Array(blocks.length * ORDERS).fill(-1);
    this.#freeBytes = new Float64Array(blocks.length);
    let page = 0;
    blocks.forEach((count, arena) => {
      for (let i = 0; i < count; i++, page += BLOCK_PAGES_MAX) {
        this.#arenaOf.fill(arena, page, page + BLOCK_PAGES_MAX);
        this.#push(arena, ORDERS - 1, page);
      }
      this.#freeBytes[arena] = count * BLOCK_BYTES_MAX;
    });
  }

  /** Free bytes of an arena; they may be in pieces. */
  freeBytes(arena: Arena): number {
    return this.#freeBytes[arena]!;
  }

  /** A block of at least `bytes` (at most BLOCK_BYTES_MAX) with one reference, or -1 when the arena has none. */
  allocate(arena: Arena, bytes: number): number {
    if (bytes > BLOCK_BYTES_MAX) return -1;
    let wanted = 0;
    while (PAGE_BYTES << wanted < bytes) wanted++;
    let order = wanted;
    while (order < ORDERS && this.#head[arena * ORDERS + order]! < 0) order++;
    if (order === ORDERS) return -1;
    const page = this.#head[arena * ORDERS + order]!;
    this.#unlink(arena, order, page);
    while (order > wanted) {
      order--;
      this.#push(arena, order, page + (1 << order));
    }
    this.#order[page] = order;
    this.#references[page] = 1;
    this.#freeBytes[arena] = this.#freeBytes[arena]! - (PAGE_BYTES << order);
    return page;
  }

  retain(page: number): void {
    this.#references[page] = this.#references[page]! + 1;
  }

  /**
   * Drops one reference.
   * @returns whether the block is free now
   */
  release(page: number): boolean {
    const left = this.#references[page]! - 1;
    if (left < 0) throw new Error(`payload page ${page} released twice`);
    this.#references[page] = left;
    if (left > 0) return false;
    const arena = this.#arenaOf[page]!;
    let order = this.#order[page]!;
    this.#freeBytes[arena] = this.#freeBytes[arena]! + (PAGE_BYTES << order);
    this.#order[page] = 255;
    let block = page;
    while (order < ORDERS - 1) {
      const buddy = block ^ (1 << order);
      if (this.#isFree[buddy] !== 1 || this.#order[buddy] !== order) break;
      this.#unlink(arena, order, buddy);
      this.#order[buddy] = 255;
      block = Math.min(block, buddy);
      order++;
    }
    this.#push(arena, order, block);
    return true;
  }

  address(page: number): number {
    return this.pool.address + page * PAGE_BYTES;
  }

  offset(page: number): number {
    return page * PAGE_BYTES;
  }

  blockBytes(page: number): number {
    return PAGE_BYTES << this.#order[page]!;
  }

  /** A view of the first `length` bytes of a block. Allocates. */
  view(page: number, length: number): Uint8Array {
    return this.bytes.subarray(page << PAGE_SHIFT, (page << PAGE_SHIFT) + length);
  }

  close(): void {
    this.pool.close();
  }

  #push(arena: number, order: number, page: number): void {
    const at = arena * ORDERS + order;
    const head = this.#head[at]!;
    this.#order[page] = order;
    this.#isFree[page] = 1;
    this.#next[page] = head;
    this.#previous[page] = -1;
    if (head >= 0) this.#previous[head] = page;
    this.#head[at] = page;
  }

  #unlink(arena: number, order: number, page: number): void {
    const next = this.#next[page]!;
    const previous = this.#previous[page]!;
    if (next >= 0) this.#previous[next] = previous;
    if (previous >= 0) this.#next[previous] = next;
    else this.#head[arena * ORDERS + order] = next;
    this.#isFree[page] = 0;
  }
}
