/** What a protocol version can and cannot do: one place for every difference between those that we agree to (wire protocol: versions). */
import { FF, requestBytesMax } from '@udrbd/wire';
import type { Connection } from './connection.js';
import { OP, type Requests } from './requests.js';

/** Several volumes, two Primaries that get over crossing writes, changes of the network options: all from 100 on. */
const APV_VOLUMES = 100;
/** P_OUT_OF_SYNC, and with it Ahead/Behind and writes during the exchange of the bitmaps. */
const APV_OUT_OF_SYNC = 96;

/** The header names a volume. */
export const hasVolumes = (apv: number): boolean => apv >= APV_VOLUMES;
/** A write says itself which ack it wants; before, the protocol of the connection does. */
export const hasAckFlags = (apv: number): boolean => apv >= 100;
/** Changes of the connection have packets of their own: P_CONN_ST_CHG_REQ, P_CONN_ST_CHG_REPLY. */
export const hasConnectionRequests = (apv: number): boolean => apv >= 100;
/** P_PROTOCOL_UPDATE. */
export const hasProtocolUpdate = (apv: number): boolean => apv >= 100;
export const hasOutOfSync = (apv: number): boolean => apv >= APV_OUT_OF_SYNC;
/** VerifyS tells when it has come to its stop sector; 100 knows nothing of it. */
export const hasStopSector = (apv: number): boolean => apv >= 97 && apv !== 100;

/** P_TRIM and P_ZEROES; not a matter of the version. A kernel that does not know them offers no discards while it has such a peer. */
export const takesDiscards = ({ features }: Connection): boolean => (features & FF.TRIM) !== 0;

/** A request above this goes to a peer below 100 in parts. */
export const PART_BYTES = requestBytesMax(95);
const PART_SECTORS = PART_BYTES / 512;

/** How many packets carry a write or ask for a read: 8 at most. */
export function partsOf(apv: number, { op, lengthBytes }: Requests, slot: number): number {
  const length = lengthBytes[slot]!;
  if (length <= requestBytesMax(apv) || (op[slot] !== OP.Write && op[slot] !== OP.Read)) return 1;
  return Math.ceil(length / PART_BYTES);
}

/** Which part of a request that begins at `first` begins at `sector`; -1: none. */
export const partAt = (first: number, sector: number): number =>
  sector >= first && (sector - first) % PART_SECTORS === 0 ? (sector - first) / PART_SECTORS : -1;

/** @returns why this connection cannot be at `apv`, undefined when it can */
export function dialectProblem(c: Connection, apv: number): string | undefined {
  if (hasVolumes(apv)) return undefined;
  const beyond = c.peerDevices.find((pd) => pd.volume.number !== 0);
  if (beyond !== undefined)
    return `the peer's protocol version ${apv} knows volume 0 only: volume ${beyond.volume.number} needs ${APV_VOLUMES}`;
  // It answers every crossing write with P_SUPERSEDED, also one that is not replaced as a whole: the copies would differ.
  if (c.options['allow-two-primaries']) return `allow-two-primaries needs protocol version ${APV_VOLUMES}, the peer's is ${apv}`;
  return undefined;
}
