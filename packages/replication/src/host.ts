/**
 * What passes between the core and its host besides the hot effects: set-up, meta-data writes, the outbox.
 * The engine and the simulator are the two hosts.
 */
import type { MetaData } from '@udrbd/metadata';

/** Milliseconds from a monotonic clock with an arbitrary start; given by the host, never read by the core. */
export type Millis = number;

/** The two byte streams of a connection. */
export const STREAM = { Data: 0, Meta: 1 } as const;
export type Stream = (typeof STREAM)[keyof typeof STREAM];

/** What the core may not invent: pure functions that the host passes in. */
export interface HostFunctions {
  /** A random 64-bit value (generation UUIDs, challenges). */
  random64(): bigint;
  /** HMAC of `data` under `key`; undefined when the algorithm is not known. Names as the kernel's crypto API has them. */
  hmac(algorithm: string, key: Uint8Array, data: Uint8Array): Uint8Array | undefined;
}

/** A range of protocol versions, ends included. */
export interface ProtocolVersions {
  readonly min: number;
  readonly max: number;
}

/** From 95 on a kernel may be trusted with a discard: below, it crashes when it has to send one. */
export const PROTOCOL_VERSIONS: ProtocolVersions = { min: 95, max: 101 };

export interface ResourceSetup extends HostFunctions {
  readonly name: string;
  readonly nodeId: number;
  readonly options: ResourceOptions;
  /** Slots for application requests and for work on behalf of peers; fixed for the life of the resource. */
  readonly applicationSlots: number;
  readonly peerSlots: number;
  /** Bytes of packet headers that may wait in one outbox. */
  readonly outboxBytes: number;
  /** Protocol versions to be offered to peers; all that we know by default. */
  readonly protocolVersions?: ProtocolVersions;
}

/** The options of a resource, a disk, a connection and a peer device, names and units as in drbdsetup's `show`. */
export type OptionValue = string | number | boolean;
export type Options = Readonly<Record<string, OptionValue>>;
export type ResourceOptions = Options;

/** One piece of meta-data to be written. Offsets are bytes from the start of the meta-data device. */
export interface MetaWrite {
  readonly token: number;
  readonly volume: number;
  readonly offsetBytes: number;
  /** A multiple of 4096 bytes, or of 512 for the last piece of a bitmap. They stay as they are until `metaDone`. */
  readonly bytes: Uint8Array;
  /** Flush the data and meta-data devices before this write. */
  readonly preflush: boolean;
  /** The write has to be durable when it is reported done. */
  readonly fua: boolean;
}

/** A backing disk that the host opened and whose meta-data it read; given to `attach`. */
export interface BackingDisk {
  /** Names as the administrator gave them; echoed in snapshots. */
  readonly backingDevice: string;
  readonly metaDevice: string;
  readonly metaIndex: number | 'internal' | 'flexible';
  /** Capacity of the backing device and of the meta-data device, sectors. */
  readonly backingSectors: number;
  readonly metaSectors: number;
  /** The decoded super block, already checked (magic, clean activity log, offsets). */
  readonly metaData: MetaData;
  /** Where its parts lie, bytes from the start of the meta-data device. */
  readonly superblockOffsetBytes: number;
  readonly activityLogOffsetBytes: number;
  readonly bitmapOffsetBytes: number;
  /** Capacity for data that the placement of the meta-data leaves, sectors (internal: up to the meta-data area). */
  readonly usableSectors: number;
  /** The whole bitmap area as it lies on disk (all slots interleaved by 4-byte words); the core takes it over. */
  readonly bitmap: Uint8Array;
  readonly options: Options;
  /** The device has a volatile write cache: barriers need flushes. */
  readonly hasWriteCache: boolean;
}

/**
 * Packets of one stream waiting to be sent. An entry is a run of header bytes in `arena` followed by payload out of a slot's buffer
 * (`payloadSlot` -1 for none). The host sends entries in order and reports `sendDone` with how many have been handed over
 * completely. Entry `n` lives in row `n % capacity`.
 */
export interface Outbox {
  readonly arena: Uint8Array;
  readonly capacity: number;
  readonly headerOffset: Uint32Array;
  readonly headerBytes: Uint32Array;
  readonly payloadSlot: Int32Array;
  /** The part of the slot's buffer that is the payload. */
  readonly payloadOffset: Uint32Array;
  readonly payloadBytes: Uint32Array;
  /** Number of the digest of the payload that the host puts into the last header bytes as it sends the entry; 0: none. */
  readonly digest: Uint8Array;
  /** Running numbers: entries queued so far, and entries reported done. Reset with each new link. */
  readonly queued: number;
  readonly done: number;
}
