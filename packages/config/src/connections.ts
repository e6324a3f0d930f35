/** Connections: made from a mesh or for two lone hosts, and their endpoints tied to hosts and addresses. */
import { addressesEqual } from './address.js';
import {
  type Connection,
  type Endpoint,
  type Host,
  hostNamesEqual,
  type Mesh,
  newConnection,
  newPath,
  type OptionEntry,
  type Path,
  REMOTE_HOST,
  type Resource,
} from './model.js';
import { firstNode } from './node-ids.js';
import { EXIT, Fatal, type Report } from './report.js';

export interface ConnectionChecks {
  readonly report: Report;
  invalid(): void;
}

export const hostNamed = (res: Resource, name: string): Host | undefined =>
  res.hosts.find((host) => host.names.some((n) => hostNamesEqual(n, name)));

/** The name by which an endpoint stands for its host. */
const endpointName = (host: Host): string => host.names.join('_');

const newEndpoint = (host: Host, byName: boolean, line: number): Endpoint => ({
  name: byName && host.lowerName === undefined ? host.names[0] : endpointName(host),
  byAddress: host.lowerName !== undefined,
  line,
  address: host.address,
  port: host.address?.port,
  addressHere: false,
  host,
  proxy: host.proxy,
  proxyFromHost: host.proxy !== undefined,
  outsideAddress: undefined,
});

/** Every path needs two ends. */
export function checkEndpointCount(res: Resource, { report, invalid }: ConnectionChecks): void {
  for (const connection of res.connections) {
    for (const path of connection.paths) {
      if (path.endpoints.length === 2) continue;
      const what = path.implicit ? 'connection' : 'path';
      report(`${res.file}:${path.line}: Resource ${res.name}: ${what} needs to have two endpoints\n`);
      invalid();
    }
  }
}

/** As every inherited list, the other way round. */
const inherited = (list: readonly OptionEntry[]): OptionEntry[] => list.map((entry) => ({ ...entry, inherited: true })).reverse();

/** Appends a connection for each pair of the hosts of each mesh, up to the first host that is not there. */
export function expandMeshes(res: Resource, checks: ConnectionChecks): void {
  const told = { proxy: false };
  for (const mesh of res.meshes) expandMesh(res, mesh, told, checks);
}

function expandMesh(res: Resource, mesh: Mesh, told: { proxy: boolean }, checks: ConnectionChecks): void {
  for (const [i, name] of mesh.hosts.entries()) {
    const a = meshHost(res, name, told, checks);
    if (a === undefined) return;
    for (const other of mesh.hosts.slice(i + 1)) {
      const b = meshHost(res, other, told, checks);
      if (b === undefined) return;
      if (a !== b) res.connections.push(meshConnection(res, a, b, mesh));
    }
  }
}

function meshConnection(res: Resource, a: Host, b: Host, mesh: Mesh): Connection {
  const connection = newConnection(res.file, 0, { fromMesh: true, implicit: true, net: inherited(mesh.net) });
  const path = newPath(0, true);
  path.endpoints = [newEndpoint(a, true, 0), newEndpoint(b, true, 0)];
  connection.paths.push(path);
  return connection;
}

/** @returns undefined, with a message, for a host that is not there; one with a proxy of its own is told of once */
function meshHost(res: Resource, name: string, told: { proxy: boolean }, { report, invalid }: ConnectionChecks): Host | undefined {
  const host = hostNamed(res, name);
  if (host === undefined) {
    report(
      `${res.file}:${res.line}: in resource ${res.name}:\n\tThere is no 'on' section for hostname '${name}' named in the connection-mesh\n`,
    );
    invalid();
  } else if (host.proxy !== undefined && !told.proxy) {
    report(
      `${res.file}:${host.line}: in resource ${res.name}:\n\tThere is a drbd-8.x proxy config syntax within an 'on' section and you are using\n\tthe 'mesh' keyword from drbd-9.x syntax. That does not work together.\n\n\tUse an explicit connection to configure a proxy and omit that pair of hosts\n\tfrom the mesh.\n`,
    );
    invalid();
    told.proxy = true;
  }
  return host;
}

/**
 * Two hosts with addresses and nothing said about connections: they are connected.
 * @param isValid - false when it is known already why there is no connection
 */
export function createImplicitConnection(res: Resource, isValid: boolean, { report, invalid }: ConnectionChecks): void {
  if (res.connections.length > 0) return;
  if (res.hosts.length > 2) {
    report(
      `Resource ${res.name}:\n\tUse explicit 'connection' sections (or a 'connection-mesh' section) with more than two 'on' sections.\n`,
    );
    return;
  }
  if (res.hosts.length < 2) return;
  const addressed = res.hosts.filter((host) => host.address !== undefined);
  if (addressed.length === 0) {
    if (isValid) for (const host of res.hosts) cannotDetermine(res, host.line, endpointName(host), 'address and port', { report, invalid });
    return;
  }
  if (addressed.length === 1) return;
  const connection = newConnection(res.file, 0, { implicit: true });
  const path = newPath(0, true);
  path.endpoints = addressed.map((host) => newEndpoint(host, true, 0));
  connection.paths.push(path);
  res.connections.push(connection);
}

function cannotDetermine(res: Resource, line: number, host: string, what: string, { report, invalid }: ConnectionChecks): void {
  report(`${res.file}:${line}: Resource ${res.name}, host ${host}: cannot determine which ${what} to use\n`);
  invalid();
}

/** Ties the endpoints of all paths to hosts, and completes their addresses from the host sections. */
export function resolveEndpoints(res: Resource, checks: ConnectionChecks): void {
  for (const connection of res.connections)
    for (const path of connection.paths) path.endpoints.every((endpoint) => resolveEndpoint(res, endpoint, checks));
}

/** @returns false when there is no such host or address, which makes the other end of the path pointless */
function resolveEndpoint(res: Resource, endpoint: Endpoint, checks: ConnectionChecks): boolean {
  if (endpoint.host !== undefined) return hasMeshAddress(res, endpoint, checks);
  if (endpoint.byAddress) {
    endpoint.host = res.hosts.find((host) => host.address !== undefined && addressesEqual(host.address, endpoint.address));
    if (endpoint.host === undefined) {
      const { family, address, port } = endpoint.address!;
      checks.report(
        `${res.file}:${endpoint.line}: in resource ${res.name}, no host section has the address ${family} ${address}:${port}\n`,
      );
      checks.invalid();
      return false;
    }
    endpoint.name = endpointName(endpoint.host);
    endpoint.port ??= endpoint.address?.port;
    takeProxy(endpoint, endpoint.host);
    return true;
  }
  if (endpoint.name === REMOTE_HOST) return true;
  const host = hostNamed(res, endpoint.name ?? '');
  if (host === undefined) {
    checks.report(
      `${res.file}:${endpoint.line}: in resource ${res.name} a hostname ("${endpoint.name}") is given\nwith a "host" keyword, has no "address" keyword, and no matching\nhost section ("on" keyword)\n`,
    );
    checks.invalid();
    return false;
  }
  endpoint.host = host;
  takeProxy(endpoint, host);
  if (endpoint.address !== undefined) return true;
  const port = endpoint.port ?? host.address?.port;
  if (host.address === undefined) {
    const what = port === undefined ? 'address and port' : 'address';
    cannotDetermine(res, endpoint.line, endpoint.name ?? '', what, checks);
    return true;
  }
  endpoint.address = { ...host.address, port: port! };
  return true;
}

function hasMeshAddress(res: Resource, { host, address }: Endpoint, { report, invalid }: ConnectionChecks): boolean {
  if (address !== undefined) return true;
  report(`"connection-mesh" (for "${res.name}") with a host ("${host!.names[0]}") that has no "address" defined\n`);
  invalid();
  return false;
}

function takeProxy(endpoint: Endpoint, host: Host): void {
  if (endpoint.proxy !== undefined || host.proxy === undefined) return;
  endpoint.proxy = host.proxy;
  endpoint.proxyFromHost = true;
}

/**
 * Gives the hosts of implicit connections their node ids. @returns whether it gave any
 * @throws Fatal when the addresses have the same hash
 */
export function assignImplicitNodeIds(res: Resource, report: Report): boolean {
  let assigned = false;
  for (const connection of res.connections.filter((c) => c.implicit)) {
    const [a, b] = connection.paths[0]!.endpoints as [Endpoint, Endpoint];
    if (a.host === undefined || b.host === undefined || a.host.nodeId !== undefined || b.host.nodeId !== undefined) continue;
    const first = firstNode(a, b);
    if (first === undefined) {
      report('BAD LUCK, equal hashes\n');
      throw new Fatal(EXIT.exec);
    }
    for (const end of [a, b]) {
      end.host!.nodeId = end === first ? '0' : '1';
      end.host!.implicitNodeId = true;
    }
    assigned = true;
  }
  return assigned;
}

/** Whether an endpoint of a stacked resource stands on another of the lower resource's nodes. */
function isElsewhere(endpoint: Endpoint, nodeName: string): boolean {
  const { host } = endpoint;
  if (host?.lowerName === undefined || endpoint.byAddress || endpoint.name === undefined) return false;
  return !hostNamesEqual(endpoint.name, nodeName);
}

/** Whether the proxy of this end of a path runs on the node. */
export const isProxyHere = ({ proxy }: Endpoint, nodeName: string): boolean =>
  proxy?.names.some((name) => hostNamesEqual(name, nodeName)) ?? false;

/** For a node that is none of the hosts: whether it runs a proxy for one of them. @returns the last such host */
export function findProxiedHost(res: Resource, nodeName: string): Host | undefined {
  const ends = res.connections.flatMap((c) => c.paths).flatMap((path) => path.endpoints);
  return ends.filter((end) => isProxyHere(end, nodeName)).at(-1)?.host;
}

/** Finds out which end of each path is this node and where to connect to; what does not concern this node is ignored. */
export function findMyPaths(res: Resource, nodeName: string): void {
  for (const connection of res.connections) {
    for (const path of connection.paths) findMyPath(path, nodeName, res.proxyOnly);
    const usable = connection.paths.filter((path) => path.me !== undefined);
    if (usable.length < connection.paths.length || usable.length === 0) connection.ignore = true;
    else connection.peer = usable[0]!.peer?.host;
  }
}

function findMyPath(path: Path, nodeName: string, proxyOnly: boolean): void {
  const me = path.endpoints.find((e) => (proxyOnly ? isProxyHere(e, nodeName) : e.host?.isMe));
  if (me === undefined) return;
  path.me = me;
  path.ignore = isElsewhere(me, nodeName);
  const peer = path.endpoints.find((e) => e !== me);
  if (peer === undefined) return;
  path.peer = peer;
  path.connectTo = me.proxy?.inside ?? peer.outsideAddress ?? peer.address;
}

/** Whether the connection is left out of everything, for this node or for this run. */
export const isIgnored = (connection: Connection): boolean => connection.ignore || connection.ignoreForNow;
