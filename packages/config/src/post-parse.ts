/**
 * What follows from the text of a configuration and whether it makes sense: volumes of every host, stacking, connections, node ids,
 * who this node is, peer devices. The steps and their order are stock's; later steps are left out when an earlier one failed.
 */
import { canonicalAddress } from './address.js';
import {
  assignImplicitNodeIds,
  type ConnectionChecks,
  checkEndpointCount,
  createImplicitConnection,
  expandMeshes,
  findMyPaths,
  findProxiedHost,
  resolveEndpoints,
} from './connections.js';
import { type Address, type Config, type Endpoint, type Host, hostNamesEqual, namesOf, type Resource } from './model.js';
import type { ReadContext } from './read-state.js';
import type { Uniqueness } from './uniqueness.js';
import { checkComplete, checkImplicitVolumes, checkMetaDisks, compareVolumes, inheritVolumes, type VolumeChecks } from './volumes.js';

/**
 * Derives and validates. Errors are reported and mark the configuration invalid.
 * @returns whether node ids were made up, which tells an 8.4 style configuration
 * @throws Fatal
 */
export function postParse(config: Config, context: ReadContext, unique: Uniqueness): boolean {
  const invalid = () => {
    config.valid = false;
  };
  const checks: VolumeChecks & ConnectionChecks = {
    report: context.report,
    unique,
    invalid,
    get isTty() {
      return context.isTty;
    },
  };
  for (const res of config.resources) deriveVolumes(res, checks);
  for (const res of config.resources) for (const host of res.hosts) findLower(config, res, host, checks);
  let madeUp = false;
  for (const res of config.resources) madeUp = connect(config, res, checks) || madeUp;
  if (config.valid) checkAddressConflicts(config.resources, checks);
  for (const stacked of [false, true]) {
    for (const res of config.resources) {
      if (isStackedSomewhere(res) === stacked) findMe(res, context, checks);
    }
  }
  for (const res of config.resources) {
    for (const host of res.hosts) stackDisks(res, host, checks);
    addPeerDevices(res, checks);
  }
  return madeUp;
}

const isStackedSomewhere = (res: Resource): boolean => res.hosts.some((host) => host.lowerName !== undefined);

function deriveVolumes(res: Resource, checks: VolumeChecks): void {
  for (const host of res.hosts) {
    inheritVolumes(res, host, checks);
    checkMetaDisks(res, host, checks);
    checkComplete(res, host, checks);
  }
  const [first, ...others] = res.hosts;
  if (first === undefined) return;
  for (const host of others) compareVolumes(res, first, host.volumes, namesOf(host), checks);
  for (const host of res.hosts.slice(0, 1)) checkImplicitVolumes(res, host, checks);
}

function findLower(config: Config, res: Resource, host: Host, { report, unique, invalid }: VolumeChecks): void {
  if (host.lowerName === undefined) return;
  const lower = config.resources.find((r) => r.name === host.lowerName);
  if (lower === undefined) {
    report(`${res.file}:${res.line}: in resource ${res.name}, referenced resource '${host.lowerName}' not defined.\n`);
    invalid();
    return;
  }
  host.lower = lower;
  host.names = lower.hosts.filter((h) => h.lowerName === undefined).flatMap((h) => h.names);
  for (const volume of host.volumes) {
    const [file, line] = volume.isInherited ? [res.fileAsGiven, volume.deviceLine] : ['(null)', 0];
    for (const name of host.names) {
      if (volume.minor !== undefined) unique.inRun(file, line, 'device-minor', `device-minor:${name}:${volume.minor}`);
      if (volume.device !== undefined) unique.inRun(file, line, 'device', `device:${name}:${volume.device}`);
    }
  }
  if (host.address?.isLoopback)
    for (const name of host.names) unique.inRun(res.fileAsGiven, res.line, 'IP', `${name}:${host.address.address}:${host.address.port}`);
}

/** Connections, endpoints, node ids. */
function connect(config: Config, res: Resource, checks: VolumeChecks & ConnectionChecks): boolean {
  checkEndpointCount(res, checks);
  let madeUp = false;
  if (config.valid) {
    expandMeshes(res, checks);
    createImplicitConnection(res, config.valid, checks);
    resolveEndpoints(res, checks);
    madeUp = assignImplicitNodeIds(res, checks.report);
    checkNodeIds(res, checks);
  }
  return madeUp;
}

function checkNodeIds(res: Resource, { report, invalid }: VolumeChecks): void {
  for (const host of res.hosts) {
    if (host.nodeId !== undefined) continue;
    report(`${host.file}:${host.line}: in resource ${res.name}, on ${namesOf(host)} { ... }: 'node-id' keyword missing.\n`);
    invalid();
  }
}

const conflictKey = (a: Address): string => `${a.family}:${canonicalAddress(a.family, a.address)}:${a.port}`;
const conflictText = (a: Address): string => `${a.family}:${a.address}:${a.port}`;

/** An address and port belong to one resource only, loopback addresses excepted. */
export function checkAddressConflicts(resources: readonly Resource[], { report, invalid }: ConnectionChecks): void {
  const seen = new Map<string, { res: Resource; endpoint: Endpoint }>();
  for (const res of resources) {
    for (const path of res.connections.flatMap((c) => c.paths)) {
      const [a, b] = path.endpoints;
      if (a?.address === undefined || b?.address === undefined) continue;
      if (!a.address.isLoopback && conflictKey(a.address) === conflictKey(b.address)) {
        report(`${res.file}:${a.line}: in resource ${res.name} ${conflictText(a.address)} is used for both endpoints\n`);
        invalid();
      }
      for (const endpoint of [a, b]) {
        const address = endpoint.address!;
        if (address.isLoopback) continue;
        const key = conflictKey(address);
        const first = seen.get(key);
        if (first === undefined) seen.set(key, { res, endpoint });
        else if (first.res !== res) {
          report(
            `${res.file}:${endpoint.line}: in resource ${res.name}\n    ${conflictText(address)} is also used ${first.res.file}:${first.endpoint.line} (resource ${first.res.name})\n`,
          );
          invalid();
        }
      }
    }
  }
}

function isMyHost(host: Host, context: ReadContext): boolean {
  if (host.lowerName !== undefined) return host.lower?.me !== undefined;
  if (host.byAddress) return host.address!.address === context.nodeName || context.isLocalAddress(host.address!);
  return host.names.some((name) => name === '_this_host' || hostNamesEqual(name, context.nodeName));
}

/** Finds the host section of this node; a resource without one is ignored. */
function findMe(res: Resource, context: ReadContext, { report, invalid }: VolumeChecks): void {
  if (context.proxiesOnly && findProxiedHost(res, context.nodeName) === undefined) {
    res.ignore = true;
    return;
  }
  const mine = res.hosts.filter((host) => isMyHost(host, context));
  for (const [i, further] of mine.slice(1).entries()) {
    report(
      `${res.file}:${further.line}: in resource ${res.name}, on ${namesOf(mine[i]!)} { ... } ... on ${namesOf(further)} { ... }:\n\tThere are multiple host sections for this node.\n`,
    );
    invalid();
  }
  const [me] = mine;
  if (me === undefined) {
    res.me = findProxiedHost(res, context.nodeName);
    res.proxyOnly = res.me !== undefined;
    if (res.proxyOnly) findMyPaths(res, context.nodeName);
    else res.ignore = true;
    return;
  }
  me.isMe = true;
  res.me = me;
  res.stacked = me.lowerName !== undefined;
  findMyPaths(res, context.nodeName);
}

/** A stacked volume lies on the lower resource's device of the same number. */
function stackDisks(res: Resource, host: Host, checks: VolumeChecks): void {
  const { lower } = host;
  if (lower === undefined || res.ignore) return;
  const lowerHost = lower.me ?? lower.hosts[0];
  if (lowerHost === undefined) return;
  const missing = host.volumes.filter((v) => !lowerHost.volumes.some((l) => l.vnr === v.vnr));
  for (const volume of missing) {
    checks.report(
      `${res.file}:${res.line}: in resource ${res.name}, on ${namesOf(host)} { ... }: volume ${volume.vnr} not defined on ${lower.me === undefined ? namesOf(lowerHost) : lower.name}\n`,
    );
    checks.invalid();
  }
  for (const volume of host.volumes) {
    const below = lowerHost.volumes.find((v) => v.vnr === volume.vnr);
    if (below !== undefined) volume.disk = below.device ?? `/dev/drbd${below.minor}`;
    volume.metaDisk = 'internal';
    volume.metaIndex = 'internal';
  }
  for (const other of lower.hosts.slice(-1)) compareVolumes(res, host, other.volumes, namesOf(other), checks, missing.length === 0);
}

export const unknownVolume = (vnr: number, host: string): string =>
  `There is a reference to a volume ${vnr} that is not known in this resource on host ${host}`;

/** Each connection has a peer device for each volume; those that it declares come first. */
function addPeerDevices(res: Resource, { report, invalid }: VolumeChecks): void {
  for (const connection of res.connections) {
    const hosts = connection.paths[0]?.endpoints.map((e) => e.host) ?? [];
    for (const device of connection.peerDevices) {
      for (const host of hosts) {
        if (host === undefined || host.volumes.some((v) => v.vnr === device.vnr)) continue;
        report(`${res.file}:${device.line}: Resource ${res.name}: ${unknownVolume(device.vnr, namesOf(host))}\n`);
        invalid();
      }
    }
    for (const volume of hosts[0]?.volumes ?? []) {
      if (connection.peerDevices.some((d) => d.vnr === volume.vnr)) continue;
      connection.peerDevices.push({ vnr: volume.vnr, line: 0, implicit: true, options: [], volume: undefined, peerVolume: undefined });
    }
    for (const device of connection.peerDevices) {
      device.volume = res.me?.volumes.find((v) => v.vnr === device.vnr);
      device.peerVolume = connection.peer?.volumes.find((v) => v.vnr === device.vnr);
    }
  }
}
