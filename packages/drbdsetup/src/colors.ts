/** Colours of state words, as stock gives them: a class per word, and a code per class for local and for peer objects. */
import { type ConnectionState, type DiskState, type ReplicationState, type Role, replicationStateNumber } from '@udrbd/control';

type ColorClass = 'transitional' | 'normal' | 'primary' | 'good' | 'bad';

const LOCAL: Readonly<Record<ColorClass, string>> = {
  transitional: '\x1b[1m',
  normal: '',
  primary: '\x1b[1;36m',
  good: '\x1b[1;32m',
  bad: '\x1b[1;31m',
};
const PEER: Readonly<Record<ColorClass, string>> = { transitional: '', normal: '', primary: '\x1b[36m', good: '\x1b[32m', bad: '\x1b[31m' };
const END = '\x1b[0m';

const ROLE_CLASS: Readonly<Record<Role, ColorClass>> = { Primary: 'primary', Secondary: 'normal', Unknown: 'transitional' };
const CONNECTION_CLASS: Partial<Record<ConnectionState, ColorClass>> = { StandAlone: 'bad', Connecting: 'bad', Connected: 'normal' };
const REPLICATION_CLASS: Partial<Record<ReplicationState, ColorClass>> = {
  Established: 'normal',
  SyncSource: 'bad',
  SyncTarget: 'bad',
  VerifyS: 'normal',
  VerifyT: 'normal',
  PausedSyncS: 'normal',
  PausedSyncT: 'bad',
  Ahead: 'normal',
};
const DISK_CLASS: Partial<Record<DiskState, ColorClass>> = { Diskless: 'bad', Inconsistent: 'bad', Outdated: 'bad', UpToDate: 'good' };

/** Paints words, or leaves them alone. */
export interface Palette {
  role(role: Role, side: 'local' | 'peer'): string;
  connection(state: ConnectionState): string;
  replication(state: ReplicationState): string;
  disk(state: DiskState, intentionalDiskless: boolean, side: 'local' | 'peer'): string;
  /** `yes` is good, `no` is bad, or the other way round. */
  verdict(word: 'yes' | 'no', good: 'yes' | 'no'): string;
  open(word: 'yes' | 'no'): string;
}

export function createPalette(colored: boolean): Palette {
  const paint = (word: string, cls: ColorClass, side: 'local' | 'peer' = 'local'): string => {
    const start = colored ? (side === 'local' ? LOCAL : PEER)[cls] : '';
    return start === '' ? word : start + word + END;
  };
  return {
    role: (role, side) => paint(role, ROLE_CLASS[role], side),
    connection: (state) => paint(state, CONNECTION_CLASS[state] ?? 'transitional'),
    replication: (state) =>
      paint(state, REPLICATION_CLASS[state] ?? 'transitional', ['SyncTarget', 'PausedSyncT', 'Behind'].includes(state) ? 'local' : 'peer'),
    disk: (state, intentionalDiskless, side) => {
      const cls = state === 'Diskless' && intentionalDiskless ? 'good' : (DISK_CLASS[state] ?? 'transitional');
      return paint(state, cls, side);
    },
    verdict: (word, good) => paint(word, word === good ? 'good' : 'bad'),
    open: (word) => paint(word, word === 'yes' ? 'primary' : 'normal'),
  };
}

/** `> Established`: something between the two nodes is going on. */
export const isBeyondEstablished = (state: ReplicationState): boolean => replicationStateNumber(state) > 10;
