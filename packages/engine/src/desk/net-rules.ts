/** Rules between the options of a connection, and between the paths of all connections. Source: drbd_nl.c, check_net_options. */
import { type Endpoint, NET_OPTIONS, type Outcome, refuse, succeed } from '@udrbd/control';
import type { Options } from '@udrbd/replication';
import type { PathSetup } from '../reactor/messages.js';

/** @param options - given ones; others have their defaults */
export function checkNetOptions(options: Options): Outcome {
  const of = (name: keyof typeof NET_OPTIONS) => options[name] ?? NET_OPTIONS[name].default;
  if (of('allow-two-primaries') === true && of('protocol') !== 'C') return refuse('ERR_NOT_PROTO_C');
  if (of('fencing') === 'resource-and-stonith' && of('protocol') === 'A') return refuse('ERR_STONITH_AND_PROT_A');
  if (of('on-congestion') !== 'block' && of('protocol') !== 'A') return refuse('ERR_CONG_NOT_PROTO_A');
  // Better no connection than one that is not what it was said to be.
  if (of('tls') === true) return refuse('ERR_INVALID_REQUEST', 'tls: this engine has no TLS');
  return succeed();
}

const same = (a: Endpoint, b: Endpoint): boolean => a.family === b.family && a.address === b.address && a.port === b.port;

export interface ConfiguredPath extends PathSetup {
  readonly resource: string;
  readonly peerNodeId: number;
}

/** Whether a new path can be told apart from all others. */
export function checkNewPath(path: ConfiguredPath, others: readonly ConfiguredPath[]): Outcome {
  for (const other of others) {
    if (same(other.local, path.local) && same(other.remote, path.remote)) return refuse('ERR_LOCAL_AND_PEER_ADDR');
  }
  for (const other of others) {
    if (other.resource === path.resource) continue;
    if (same(other.local, path.local)) return refuse('ERR_LOCAL_ADDR');
    if (same(other.remote, path.remote)) return refuse('ERR_PEER_ADDR');
  }
  for (const other of others) {
    if (other.resource !== path.resource || other.peerNodeId === path.peerNodeId) continue;
    if (same(other.local, path.local) && other.remote.address === path.remote.address) {
      return refuse('ERR_PATH_COLLISION', 'path indistinguishable from path in another connection');
    }
  }
  return succeed();
}

export const samePath = (a: PathSetup, b: PathSetup): boolean => same(a.local, b.local) && same(a.remote, b.remote);
