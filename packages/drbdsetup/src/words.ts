/** Words that several outputs share. */
import type { DeviceStatistics, Endpoint, PeerDeviceState, ResourceState } from '@udrbd/control';

export const yesNo = (value: boolean): 'yes' | 'no' => (value ? 'yes' : 'no');

/** Byte order, as strcmp sorts. */
export const compareBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

const listOrNo = (words: readonly (string | false)[]): string => words.filter((word) => word !== false).join(',') || 'no';

export const suspendedWord = (state: ResourceState): string =>
  listOrNo([
    state.suspendedUser && 'user',
    state.suspendedNoData && 'no-data',
    state.suspendedFencing && 'fencing',
    state.suspendedQuorum && 'quorum',
  ]);

export const resyncSuspendedWord = (state: PeerDeviceState): string =>
  listOrNo([
    state.resyncSuspendedUser && 'user',
    state.resyncSuspendedPeer && 'peer',
    state.resyncSuspendedDependency && 'dependency',
    state.resyncSuspendedMaxParallel && 'max-parallel',
  ]);

export const blockedWord = (statistics: DeviceStatistics): string =>
  listOrNo([statistics.upperBlocked && 'upper', statistics.lowerBlocked && 'lower']);

/** Sectors to KiB, as stock rounds. */
export const kibibytes = (sectors: number): number => Math.floor(sectors / 2);

/** `192.0.2.1:7788`, `[2001:db8::1]:7788` */
export const addressAndPort = ({ family, address, port }: Endpoint): string =>
  family === 'ipv6' ? `[${address}]:${port}` : `${address}:${port}`;

/** `ipv4:192.0.2.1:7788` */
export const endpointWord = (endpoint: Endpoint): string => `${endpoint.family}:${addressAndPort(endpoint)}`;
