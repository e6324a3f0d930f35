/**
 * The deliberate mistakes: what a host with one bug in it would do to the disk, the flushes and the meta-data of its node. They show
 * that the checks would notice; see docs/simulator.md. Without a canary every method lets everything pass.
 */
import { decodeSuperblock, encodeSuperblock, MDF } from '@udrbd/metadata';
import type { Canary } from './life-plan.js';
import type { Prng } from './prng.js';

const SLOT_OF_PEER = 0;

export type MetaPart = 'activity log' | 'bitmap' | 'superblock';

export class Saboteur {
  readonly #canary: Canary | undefined;
  readonly #prng: Prng;
  readonly #format: 'v08' | 'v09';
  #lastPayload: Uint8Array | undefined;

  constructor(canary: Canary | undefined, prng: Prng, format: 'v08' | 'v09') {
    this.#canary = canary;
    this.#prng = prng;
    this.#format = format;
  }

  get forgetsActivityLog(): boolean {
    return this.#canary === 'skip-apply-al';
  }

  // --- data ---

  /** @returns where the write goes */
  sector(sector: number): number {
    return this.#canary === 'misdirect-write' && sector >= 8 && this.#prng.chance(1, 50) ? sector - 8 : sector;
  }

  /** The write is answered and never happens. */
  drops(isMirrored: boolean, isZeroing: boolean): boolean {
    if (!isMirrored) return false;
    if (this.#canary === 'drop-mirrored-zeroes') return isZeroing;
    return this.#canary === 'drop-mirrored-write' && this.#prng.chance(1, 50);
  }

  /** The write is answered before the disk has it. */
  answersEarly(isMirrored: boolean): boolean {
    return this.#canary === (isMirrored ? 'early-peer-answer' : 'early-answer') && this.#prng.chance(1, 5);
  }

  /** @returns what is written: a buffer may have been given to somebody else too early */
  payload(isMirrored: boolean, bytes: Uint8Array): Uint8Array {
    if (this.#canary !== 'mixed-payload' || !isMirrored) return bytes;
    const other = this.#lastPayload;
    this.#lastPayload = bytes.slice();
    return other?.length === bytes.length && this.#prng.chance(1, 20) ? other : bytes;
  }

  // --- flushes ---

  /** A flush is answered and nothing becomes durable by it. */
  get skipsFlush(): boolean {
    return this.#canary === 'flush-lies';
  }

  /** So are those for the barriers of the peer and for the meta-data. */
  get skipsEpochFlush(): boolean {
    return this.#canary === 'flush-lies' || this.#canary === 'skip-epoch-flush';
  }

  /** Meta-data are written without what has to be durable before them. */
  get skipsPreflush(): boolean {
    return this.#canary === 'skip-preflush';
  }

  // --- meta-data ---

  losesMetaWrite(part: MetaPart): boolean {
    if (this.#canary === 'skip-al-write') return part === 'activity log';
    if (this.#canary === 'forget-bitmap-page') return part === 'bitmap';
    return this.#canary === 'stale-superblock' && part === 'superblock' && this.#prng.chance(1, 3);
  }

  answersMetaWriteEarly(part: MetaPart): boolean {
    return this.#canary === 'answer-before-al' && part === 'activity log';
  }

  metaBytes(part: MetaPart, bytes: Uint8Array): Uint8Array {
    if (this.#canary === 'forget-bitmap-bit' && part === 'bitmap') return this.#withoutABit(bytes);
    if (part !== 'superblock' || (this.#canary !== 'swap-uuids' && this.#canary !== 'forget-primary-flag')) return bytes;
    const decoded = decodeSuperblock(this.#format, bytes);
    if (!decoded.ok) return bytes;
    const md = decoded.value;
    if (this.#canary === 'forget-primary-flag') md.flags &= ~MDF.PRIMARY_IND;
    else {
      const peer = md.peers.find((p) => p.bitmap_index === SLOT_OF_PEER);
      if (peer === undefined || peer.bitmap_uuid === 0n || !this.#prng.chance(1, 4)) return bytes;
      [md.current_uuid, peer.bitmap_uuid] = [peer.bitmap_uuid, md.current_uuid];
    }
    return encodeSuperblock(md);
  }

  #withoutABit(bytes: Uint8Array): Uint8Array {
    const marked = bytes.findIndex((byte) => byte !== 0);
    if (marked < 0) return bytes;
    const result = bytes.slice();
    // The lowest bit of the first byte that has one.
    result[marked]! &= result[marked]! - 1;
    return result;
  }
}
