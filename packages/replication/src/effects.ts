/**
 * What the core asks of its host. The core never calls the host: it queues effects, the host drains them after each call
 * (or each batch of calls) and answers with later calls.
 *
 * Hot effects are rows of parallel arrays; `slot` names the request, whose other columns stand in {@link Requests}.
 * Cold effects (rare, with objects in them) are a plain array beside it. Both are in order of issue; the two queues are
 * independent of each other.
 */
import type { Refusal } from '@udrbd/control';
import type { ResyncPlace } from './resync-order.js';

export const EFFECT = {
  /** Read `lengthBytes` at `sector` of the slot's volume into the slot's buffer. Answer: `diskDone(slot, errno)`. */
  DiskRead: 0,
  /** Write the slot's buffer; with REQ_FUA / REQ_PREFLUSH in `flags`. Answer: `diskDone`. */
  DiskWrite: 1,
  /** Make everything completed on the slot's volume durable. Answer: `diskDone`. */
  DiskFlush: 2,
  /** Discard the range. Answer: `diskDone`. */
  DiskDiscard: 3,
  /** Write zeroes to the range; REQ_NOUNMAP keeps it allocated. Answer: `diskDone`. */
  DiskWriteZeroes: 4,
  /**
   * The application request is finished: `value` is 0 or an errno. No answer. The slot's buffer goes back to the front end;
   * the slot itself may stay in use inside the core (until the peer's barrier ack), the host forgets it.
   */
  Complete: 5,
  /** Give the slot's buffer (of a peer request) a size of `value` bytes before the payload is received or read into it. */
  AllocateBuffer: 6,
  /** The peer request's buffer is not needed any more. */
  FreeBuffer: 7,
  /** The outbox of connection `slot`, stream `value` (0 data, 1 meta) has new entries. */
  Send: 8,
  /** The core can take data of connection `slot` again: offer the unconsumed bytes of the data stream once more. */
  ResumeReceive: 9,
  /** Make all that was completed on volume `slot` durable, on behalf of the receiver of connection `value`. Answer: `epochFlushed`. */
  FlushVolume: 10,
  /** Write meta-data: `core.metaWriteOf(slot)`. Answer: `metaDone(token, errno)`. */
  MetaWrite: 11,
} as const;
export type EffectKind = (typeof EFFECT)[keyof typeof EFFECT];

export class Effects {
  kind: Uint8Array;
  slot: Int32Array;
  value: Float64Array;
  count = 0;
  readonly cold: ColdEffect[] = [];

  constructor(capacity = 1024) {
    this.kind = new Uint8Array(capacity);
    this.slot = new Int32Array(capacity);
    this.value = new Float64Array(capacity);
  }

  push(kind: EffectKind, slot: number, value: number): void {
    const at = this.count++;
    if (at === this.kind.length) this.#grow();
    this.kind[at] = kind;
    this.slot[at] = slot;
    this.value[at] = value;
  }

  #grow(): void {
    const kind = new Uint8Array(this.kind.length * 2);
    const slot = new Int32Array(this.kind.length * 2);
    const value = new Float64Array(this.kind.length * 2);
    kind.set(this.kind);
    slot.set(this.slot);
    value.set(this.value);
    this.kind = kind;
    this.slot = slot;
    this.value = value;
  }
}

/** Severity of a log line, as syslog has it. */
export type LogLevel = 'err' | 'warning' | 'notice' | 'info';

export type ColdEffect =
  /** Look how large the devices of a volume's disk are now. Answer: `diskMeasured(token, backing, meta)`. */
  | { readonly type: 'measureDisk'; readonly volume: number; readonly token: number }
  /**
   * The disk of a volume is given up: answer everything it has not answered, and all that still comes, with EIO at once, and keep the
   * memory that it may still touch until it has. Then: `metaDone(token, 0)`.
   */
  | { readonly type: 'abandonDisk'; readonly volume: number; readonly token: number }
  /** Where the volume stands in the order of resyncs has changed; a `place` of undefined: nowhere any more. */
  | { readonly type: 'resyncPlace'; readonly volume: number; readonly minor: number; readonly place: ResyncPlace | undefined }
  /** Establish both streams (wire protocol: conn_connect) and say `linkUp`; goes on until `closeLink`. */
  | { readonly type: 'openLink'; readonly connection: number }
  /** Stop connecting, or shut both streams down. Answer: `linkDown` once no I/O of the streams is in flight any more. */
  | { readonly type: 'closeLink'; readonly connection: number }
  /** The outcome of control operation `operation`. `value` depends on the command. */
  | { readonly type: 'reply'; readonly operation: number; readonly error?: Refusal; readonly info?: readonly string[] }
  /** Run a handler (`drbdadm before-resync-target r0` …). Answer: `helperDone(token, exitCode)`; synchronous ones only. */
  | {
      readonly type: 'helper';
      readonly name: string;
      readonly volume: number | undefined;
      readonly connection: number | undefined;
      readonly token: number;
    }
  /** A volume lost its disk for good: close the backing devices once all its I/O has come back. */
  | { readonly type: 'closeDisk'; readonly volume: number }
  /** The exported size of a volume changed, or whether it may be written (Primary) did. */
  | { readonly type: 'volumeChanged'; readonly volume: number; readonly sizeSectors: number; readonly writable: boolean }
  /** Something that `events2` shows may have changed: compare a new snapshot with the last one. */
  | { readonly type: 'stateChanged' }
  | { readonly type: 'log'; readonly level: LogLevel; readonly text: string };
