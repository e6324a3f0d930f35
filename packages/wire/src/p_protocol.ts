/** P_PROTOCOL and P_PROTOCOL_UPDATE: the settings that must be equal on both nodes. Source: drbd_protocol.h, struct p_protocol. */
import { layout, type StructOf } from './layout.js';

/** From 87 on the integrity algorithm follows as a string with its NUL; only the NUL when none is used. */
export const P_PROTOCOL = layout('p_protocol', 24, {
  protocol: { type: 'u32', doc: '1: A, 2: B, 3: C' },
  after_sb_0p: { type: 'u32', doc: 'AFTER_SB value' },
  after_sb_1p: { type: 'u32', doc: 'AFTER_SB value' },
  after_sb_2p: { type: 'u32', doc: 'AFTER_SB value' },
  conn_flags: { type: 'u32', doc: 'CF bits' },
  two_primaries: { type: 'u32', doc: '0 or 1' },
});
export type PProtocol = StructOf<typeof P_PROTOCOL>;

export const DRBD_PROT = { A: 1, B: 2, C: 3 } as const;

/** Bits of `conn_flags`. */
export const CF = { DISCARD_MY_DATA: 1, DRY_RUN: 2 } as const;

export const AFTER_SB = {
  disconnect: 0,
  'discard-younger-primary': 1,
  'discard-older-primary': 2,
  'discard-zero-changes': 3,
  'discard-least-changes': 4,
  'discard-local': 5,
  'discard-remote': 6,
  consensus: 7,
  'discard-secondary': 8,
  'call-pri-lost-after-sb': 9,
  'violently-as0p': 10,
  'retry-connect': 11,
  'auto-discard': 12,
} as const;

/** The peer's after-sb value from our point of view: local and remote change places, everything else stays. */
export const convertAfterSb = (peerValue: number): number =>
  peerValue === AFTER_SB['discard-local']
    ? AFTER_SB['discard-remote']
    : peerValue === AFTER_SB['discard-remote']
      ? AFTER_SB['discard-local']
      : peerValue;
