/** The 32-bit state word of P_STATE and of state change requests. Source: drbd.h, union drbd_state. */

/** Masks and shifts of the word's fields, least significant first. */
export const STATE_FIELD = {
  role: { shift: 0, mask: 0x0000_0003 },
  peer: { shift: 2, mask: 0x0000_000c },
  conn: { shift: 4, mask: 0x0000_01f0 },
  disk: { shift: 9, mask: 0x0000_1e00 },
  pdsk: { shift: 13, mask: 0x0001_e000 },
  susp: { shift: 17, mask: 0x0002_0000 },
  aftr_isp: { shift: 18, mask: 0x0004_0000 },
  peer_isp: { shift: 19, mask: 0x0008_0000 },
  user_isp: { shift: 20, mask: 0x0010_0000 },
  susp_nod: { shift: 21, mask: 0x0020_0000 },
  susp_fen: { shift: 22, mask: 0x0040_0000 },
  quorum: { shift: 23, mask: 0x0080_0000 },
} as const;
export type StateField = keyof typeof STATE_FIELD;

/** Values of a field that is covered by a mask. */
export const WHOLE = {
  conn: STATE_FIELD.conn.mask >>> STATE_FIELD.conn.shift,
  disk: STATE_FIELD.disk.mask >>> STATE_FIELD.disk.shift,
} as const;

/** Values of `role` and `peer`. */
export const R = { Unknown: 0, Primary: 1, Secondary: 2 } as const;

/** Values of `conn`: the connection state below Connected, the replication state from there on. */
export const C = {
  StandAlone: 0,
  Disconnecting: 1,
  Unconnected: 2,
  Timeout: 3,
  BrokenPipe: 4,
  NetworkFailure: 5,
  ProtocolError: 6,
  TearDown: 7,
  WFConnection: 8,
  WFReportParams: 9,
  Connected: 10,
  StartingSyncS: 11,
  StartingSyncT: 12,
  WFBitMapS: 13,
  WFBitMapT: 14,
  WFSyncUUID: 15,
  SyncSource: 16,
  SyncTarget: 17,
  VerifyS: 18,
  VerifyT: 19,
  PausedSyncS: 20,
  PausedSyncT: 21,
  Ahead: 22,
  Behind: 23,
} as const;

/** Values of `disk` and `pdsk` from version 110 on, and inside this project. */
export const D = {
  Diskless: 0,
  Attaching: 1,
  Detaching: 2,
  Failed: 3,
  Negotiating: 4,
  Inconsistent: 5,
  Outdated: 6,
  DUnknown: 7,
  Consistent: 8,
  UpToDate: 9,
} as const;

/** The same below version 110, where Detaching does not exist. */
export const D84 = {
  Diskless: 0,
  Attaching: 1,
  Failed: 2,
  Negotiating: 3,
  Inconsistent: 4,
  Outdated: 5,
  DUnknown: 6,
  Consistent: 7,
  UpToDate: 8,
} as const;

const namesOf = (table: Readonly<Record<string, number>>): readonly string[] => {
  const names: string[] = [];
  for (const [name, value] of Object.entries(table)) names[value] = name;
  return names;
};
const roleNames = namesOf(R);
const connNames = namesOf(C);
const diskNames = namesOf(D);
const disk84Names = namesOf(D84);

export const roleName = (role: number): string => roleNames[role] ?? `role ${role}`;
export const connName = (conn: number): string => connNames[conn] ?? `conn ${conn}`;
/** @param apv - decides which of the two numberings `disk` is in */
export const diskName = (disk: number, apv: number): string => (apv < 110 ? disk84Names : diskNames)[disk] ?? `disk ${disk}`;

/** One field of a word. */
export const stateGet = (word: number, field: StateField): number => (word & STATE_FIELD[field].mask) >>> STATE_FIELD[field].shift;

/** The word with one field replaced. */
export const stateSet = (word: number, field: StateField, value: number): number =>
  ((word & ~STATE_FIELD[field].mask) | ((value << STATE_FIELD[field].shift) & STATE_FIELD[field].mask)) >>> 0;

export type State = { readonly [K in StateField]: number };

export function unpackState(word: number): State {
  const state: Record<string, number> = {};
  for (const field of Object.keys(STATE_FIELD)) state[field] = stateGet(word, field as StateField);
  return state as State;
}

/** Builds a word; fields that are left out are zero. */
export function packState(state: Partial<State>): number {
  let word = 0;
  for (const [field, value] of Object.entries(state)) word = stateSet(word, field as StateField, value);
  return word;
}

/** `Primary/Secondary SyncSource UpToDate/Inconsistent`, with the names of the set flags behind it. */
export function stateText(word: number, apv: number): string {
  const state = unpackState(word);
  const flags = (['susp', 'aftr_isp', 'peer_isp', 'user_isp', 'susp_nod', 'susp_fen', 'quorum'] as const).filter(
    (flag) => state[flag] === 1,
  );
  const text = `${roleName(state.role)}/${roleName(state.peer)} ${connName(state.conn)} ${diskName(state.disk, apv)}/${diskName(state.pdsk, apv)}`;
  return flags.length === 0 ? text : `${text} ${flags.join(' ')}`;
}

/** Disk state as sent below 110, from our numbering. Detaching travels as Failed; the mask stays. */
export const diskTo84 = (disk: number): number =>
  disk === WHOLE.disk || disk < D.Detaching ? disk : disk === D.Detaching ? D84.Failed : disk - 1;
/** Our numbering from one received below 110. */
export const diskFrom84 = (disk: number): number => (disk >= WHOLE.disk || disk < D84.Failed ? disk : disk + 1);

/**
 * A received word in our disk numbering; unchanged from version 110 on.
 * @param cover - for the `val` of a change request its `mask`: only covered disk fields are renumbered
 */
export function stateFromWire(word: number, apv: number, cover = 0xffff_ffff): number {
  if (apv >= 110) return word;
  let result = word;
  if ((cover & STATE_FIELD.disk.mask) !== 0) result = stateSet(result, 'disk', diskFrom84(stateGet(word, 'disk')));
  if ((cover & STATE_FIELD.pdsk.mask) !== 0) result = stateSet(result, 'pdsk', diskFrom84(stateGet(word, 'pdsk')));
  return result >>> 0;
}

/** The inverse of {@link stateFromWire}; below 110 the quorum bit is not sent either. */
export function stateToWire(word: number, apv: number, cover = 0xffff_ffff): number {
  if (apv >= 110) return word;
  let result = word & ~STATE_FIELD.quorum.mask;
  if ((cover & STATE_FIELD.disk.mask) !== 0) result = stateSet(result, 'disk', diskTo84(stateGet(word, 'disk')));
  if ((cover & STATE_FIELD.pdsk.mask) !== 0) result = stateSet(result, 'pdsk', diskTo84(stateGet(word, 'pdsk')));
  return result >>> 0;
}

/** Whether every enumeration of the state that a peer tells holds a value of a state, no mask. Quorum and reserved bits are not looked at. */
export function isStateValid(word: number, apv: number): boolean {
  const conn = stateGet(word, 'conn');
  const diskMax = apv < 110 ? D84.UpToDate : D.UpToDate;
  const disk = stateGet(word, 'disk');
  const pdsk = stateGet(word, 'pdsk');
  return (
    conn <= C.Behind && disk <= diskMax && pdsk <= diskMax && stateGet(word, 'role') <= R.Secondary && stateGet(word, 'peer') <= R.Secondary
  );
}

/** The peer's `conn` of a change request as ours; anything not listed becomes 0. */
export function convertConn(peerConn: number, apv: number): number {
  switch (peerConn) {
    case C.WFReportParams:
    case C.Connected:
    case WHOLE.conn:
      return peerConn;
    case C.StartingSyncS:
      return C.StartingSyncT;
    case C.StartingSyncT:
      return C.StartingSyncS;
    case C.Disconnecting:
      return C.TearDown;
    case C.VerifyS:
      return C.VerifyT;
    case C.WFConnection:
      return apv >= 110 ? C.WFConnection : 0;
    case C.WFBitMapS:
      return apv >= 110 ? C.WFBitMapT : 0;
    case C.WFBitMapT:
      return apv >= 110 ? C.WFBitMapS : 0;
    default:
      return 0;
  }
}

/** A mask or val word of a state change request from the other side's point of view. Disk numbers are not touched. */
export function convertState(peerWord: number, apv: number): number {
  let word = peerWord;
  word = stateSet(word, 'conn', convertConn(stateGet(peerWord, 'conn'), apv));
  word = stateSet(word, 'peer', stateGet(peerWord, 'role'));
  word = stateSet(word, 'role', stateGet(peerWord, 'peer'));
  word = stateSet(word, 'pdsk', stateGet(peerWord, 'disk'));
  word = stateSet(word, 'disk', stateGet(peerWord, 'pdsk'));
  word = stateSet(word, 'peer_isp', stateGet(peerWord, 'aftr_isp') | stateGet(peerWord, 'user_isp'));
  return word;
}

/** Return codes in P_STATE_CHG_REPLY and P_CONN_ST_CHG_REPLY; 1 and above agree. */
export const SS = {
  CW_NO_NEED: 4,
  CW_SUCCESS: 3,
  NOTHING_TO_DO: 2,
  SUCCESS: 1,
  UNKNOWN_ERROR: 0,
  TWO_PRIMARIES: -1,
  NO_UP_TO_DATE_DISK: -2,
  NO_LOCAL_DISK: -4,
  NO_REMOTE_DISK: -5,
  CONNECTED_OUTDATES: -6,
  PRIMARY_NOP: -7,
  RESYNC_RUNNING: -8,
  ALREADY_STANDALONE: -9,
  CW_FAILED_BY_PEER: -10,
  IS_DISKLESS: -11,
  DEVICE_IN_USE: -12,
  NO_NET_CONFIG: -13,
  NO_VERIFY_ALG: -14,
  NEED_CONNECTION: -15,
  LOWER_THAN_OUTDATED: -16,
  NOT_SUPPORTED: -17,
  IN_TRANSIENT_STATE: -18,
  CONCURRENT_ST_CHG: -19,
  O_VOL_PEER_PRI: -20,
  OUTDATE_WO_CONN: -21,
} as const;
