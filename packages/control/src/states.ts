/**
 * The state words of DRBD 9 in their numeric order, spelled as `drbdsetup status` prints them.
 *
 * The numbers matter: rules compare them (`> Established`, `< Unconnected`). Connection and replication states share one
 * number line: 0 to 9 are states of a connection, 9 to 23 of a peer device. Source: drbd.h, drbd_strings.c.
 */
export const ROLES = ['Unknown', 'Primary', 'Secondary'] as const;
export type Role = (typeof ROLES)[number];

export const DISK_STATES = [
  'Diskless',
  'Attaching',
  'Detaching',
  'Failed',
  'Negotiating',
  'Inconsistent',
  'Outdated',
  'DUnknown',
  'Consistent',
  'UpToDate',
] as const;
export type DiskState = (typeof DISK_STATES)[number];

export const CONNECTION_STATES = [
  'StandAlone',
  'Disconnecting',
  'Unconnected',
  'Timeout',
  'BrokenPipe',
  'NetworkFailure',
  'ProtocolError',
  'TearDown',
  'Connecting',
  'Connected',
] as const;
export type ConnectionState = (typeof CONNECTION_STATES)[number];

/** In numeric order, the first one being number {@link REPLICATION_STATE_BASE}. */
export const REPLICATION_STATES = [
  'Off',
  'Established',
  'StartingSyncS',
  'StartingSyncT',
  'WFBitMapS',
  'WFBitMapT',
  'WFSyncUUID',
  'SyncSource',
  'SyncTarget',
  'VerifyS',
  'VerifyT',
  'PausedSyncS',
  'PausedSyncT',
  'Ahead',
  'Behind',
] as const;
export type ReplicationState = (typeof REPLICATION_STATES)[number];

/** Number of `Off`. */
export const REPLICATION_STATE_BASE = 9;

const numbersOf = <T extends string>(words: readonly T[], base: number): ReadonlyMap<T, number> =>
  new Map(words.map((word, index) => [word, base + index]));

const ROLE_NUMBERS = numbersOf(ROLES, 0);
const DISK_STATE_NUMBERS = numbersOf(DISK_STATES, 0);
const CONNECTION_STATE_NUMBERS = numbersOf(CONNECTION_STATES, 0);
const REPLICATION_STATE_NUMBERS = numbersOf(REPLICATION_STATES, REPLICATION_STATE_BASE);

export const roleNumber = (role: Role): number => ROLE_NUMBERS.get(role)!;
export const diskStateNumber = (state: DiskState): number => DISK_STATE_NUMBERS.get(state)!;
export const connectionStateNumber = (state: ConnectionState): number => CONNECTION_STATE_NUMBERS.get(state)!;
export const replicationStateNumber = (state: ReplicationState): number => REPLICATION_STATE_NUMBERS.get(state)!;

/** @returns the word for a number, or undefined when the number is out of range */
export const roleFromNumber = (number: number): Role | undefined => ROLES[number];
export const diskStateFromNumber = (number: number): DiskState | undefined => DISK_STATES[number];
export const connectionStateFromNumber = (number: number): ConnectionState | undefined => CONNECTION_STATES[number];
export const replicationStateFromNumber = (number: number): ReplicationState | undefined =>
  REPLICATION_STATES[number - REPLICATION_STATE_BASE];
