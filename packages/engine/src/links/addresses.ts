/** Endpoints of the configuration as socket addresses. */
import type { Endpoint } from '@udrbd/control';
import { encodeAddress, type SocketAddress } from 'ublk-napi';

/** `sdp` and `ssocks` speak the same protocol over IPv4; there is no such hardware below a user-space engine. */
export function socketAddress(endpoint: Endpoint, port = endpoint.port): SocketAddress {
  return { family: endpoint.family === 'ipv6' ? 'ipv6' : 'ipv4', address: endpoint.address, port };
}

/** The numeric address alone, normalised through its bytes, so that two spellings of one address are equal. */
export function endpointText(address: SocketAddress): string {
  if (address.family === 'unix') return address.path;
  return addressText(encodeAddress({ ...address, port: 0 }));
}

const addressText = (bytes: Uint8Array): string => Array.from(bytes.subarray(bytes.length === 16 ? 4 : 8)).join('.');

/** `ipv4:192.0.2.1:7788`, as DRBD's messages have it. */
export function describeEndpoint(endpoint: Endpoint): string {
  return endpoint.family === 'ipv6'
    ? `ipv6:[${endpoint.address}]:${endpoint.port}`
    : `${endpoint.family}:${endpoint.address}:${endpoint.port}`;
}

/** Key of a listening socket. */
export const listenerKey = (endpoint: Endpoint): string =>
  describeEndpoint({ ...endpoint, family: socketAddress(endpoint).family as 'ipv4' });

/**
 * DRBD 9's rule for who opens which stream: the node with the greater socket address opens the data stream first, the other
 * one the meta stream, so that two nodes that start together do not cross.
 */
export function opensDataFirst(local: Endpoint, remote: Endpoint): boolean {
  const a = encodeAddress(socketAddress(local));
  const b = encodeAddress(socketAddress(remote));
  for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) return a[i]! > b[i]!;
  return true;
}
