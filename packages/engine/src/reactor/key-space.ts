/**
 * The key space of a reactor's ring: who owns which `user_data`, written down once.
 *
 * ```text
 *   high word   31..28 kind | 27..0 generation of the index's owner (Tag, TagCopy: the device's row)
 *   low word    index
 *
 *   kind        index                           meaning
 *   Ignored     0                               cancel and close: nobody waits for the result
 *   Wake        0                               the eventfd by which the front desk wakes the reactor
 *   SlotIo      host << 14 | slot               disk I/O of a request slot
 *   Operation   row of the operation table      a long-lived operation: accept, receive, send, meta-data write, ...
 *   Tag         queue << 16 | tag               a ublk tag: FETCH or COMMIT_AND_FETCH came back
 *   TagCopy     queue << 16 | tag               the user copy of a ublk tag's payload
 * ```
 *
 * Every submitted operation completes exactly once. Its owner may not give the index back before that, so a generation that
 * does not match means a bug in the owner; the completion is dropped and counted. A ublk device keeps its row until all its
 * tags are retired.
 */
export const KIND = { Ignored: 0, Wake: 1, SlotIo: 2, Operation: 3, Tag: 4, TagCopy: 5 } as const;

export const KIND_SHIFT = 28;
export const GENERATION_MASK = 0xfff_ffff;
export const SLOT_BITS = 14;
export const SLOT_MASK = (1 << SLOT_BITS) - 1;
/** Resources of one reactor, and request slots of one resource. */
export const HOSTS_MAX = 1 << 10;
export const SLOTS_MAX = 1 << SLOT_BITS;
export const TAG_MASK = 0xffff;

/** The high word of a key, as an unsigned number. */
export const keyOf = (kind: number, generation: number): number => ((kind << KIND_SHIFT) | generation) >>> 0;
