/** What a resource needs before a command works on it: names for its connections, options that follow from the peers, checks. */
import {
  type Config,
  type Connection,
  findEntry,
  findOption,
  hasDisk,
  type OptionEntry,
  type OptionList,
  type Resource,
} from '@udrbd/config';
import { isTty, type Session } from './session.js';

const entry = (name: string, value: string): OptionEntry => ({ name, value, option: findOption('peer-device', name), inherited: false });

/** Names each connection after its peer and tells the engine what it does not keep track of there. */
export function preparePeers(res: Resource): void {
  for (const connection of res.connections) {
    if (connection.ignore || connection.peer === undefined) continue;
    if (findEntry(connection.net, '_name') === undefined) {
      const value = connection.peer.names.join('_');
      connection.net.unshift({ name: '_name', value, option: findOption('net', '_name'), inherited: false });
    }
    preparePeerDevices(connection);
  }
}

function preparePeerDevices(connection: Connection): void {
  for (const device of connection.peerDevices) {
    const { peerVolume, options } = device;
    if (peerVolume === undefined) continue;
    if (!hasDisk(peerVolume)) options.push(entry('bitmap', 'no'));
    if (peerVolume.tiebreaker === false && findEntry(options, 'peer-tiebreaker') === undefined)
      options.push(entry('peer-tiebreaker', 'no'));
  }
}

/** Checks what only matters to those who use the resource; marks the configuration invalid if it is not fit for use. */
export function validateResource(session: Session, res: Resource): void {
  const { io, nodeName, config } = session;
  if (res.hosts.length === 0) {
    io.stderr(`${where(res)}a host sections ('on ${nodeName} { ... }') is missing.\n`);
    config.valid = false;
  }
  if (!res.ignore) checkProxies(session, res);
}

function checkProxies({ io, config }: Session, res: Resource): void {
  const withProxy = res.hosts.filter((host) => host.proxy !== undefined).length;
  if (withProxy > 0 && withProxy < res.hosts.length) {
    io.stderr(`${res.file}:${res.line}: in resource ${res.name}:\n\tEither all 'on' sections must contain a proxy subsection, or none.\n`);
    config.valid = false;
  }
  for (const connection of res.connections) {
    for (const path of connection.paths) {
      const proxied = path.endpoints.filter((e) => e.proxy !== undefined).length;
      if (proxied === 0 || proxied === path.endpoints.length) continue;
      io.stderr(
        `${res.file}:${connection.line}: in connection in resource ${res.name}:\nEither all 'host' statements must have a proxy subsection, or none.\n`,
      );
      config.valid = false;
    }
  }
}

/** Where a message about a resource points to. */
const where = (res: Resource): string => `${res.file}:${res.line}: in resource ${res.name}:\n\t`;

/** Replaces the targets of `resync-after` on this node by minor numbers, which is what drbdsetup takes. An ambiguous one is an error. */
export function convertResyncAfter(session: Session, res: Resource): void {
  for (const { diskOptions } of res.me?.volumes ?? []) {
    const found = findEntry(diskOptions, 'resync-after');
    if (found?.value !== undefined) convertTarget(session, res, diskOptions, found, found.value);
  }
}

function convertTarget({ io, config }: Session, res: Resource, list: OptionList, found: OptionEntry, value: string): void {
  const at = list.indexOf(found);
  const target = findTarget(config, value);
  if (target.kind === 'unknown') {
    io.stderr(`${where(res)}resource '${value}' mentioned in 'resync-after' option is not known.\n`);
    // Somebody at a terminal can correct it; at boot it is better to sync unordered than not at all.
    if (isTty(io)) config.valid = false;
    else list.splice(at, 1);
    return;
  }
  if (target.missingVolume !== undefined)
    io.stderr(`Resource '${value.slice(0, value.lastIndexOf('/'))}' has no volume ${target.missingVolume}\n`);
  if (target.kind === 'found') {
    list[at] = { ...found, value: String(target.minor) };
    return;
  }
  io.stderr(`${where(res)}resync-after contains '${value}', which is ambiguous, since it contains ${target.count} volumes\n`);
  config.valid = false;
}

type ResyncTarget =
  | { readonly kind: 'found'; readonly minor: number; readonly missingVolume: number | undefined }
  | { readonly kind: 'ambiguous'; readonly count: number; readonly missingVolume: number | undefined }
  | { readonly kind: 'unknown' };

/** What `RES` or `RES/VOLUME` stands for on this node. A volume that is not there is as good as none named. */
function findTarget(config: Config, text: string): ResyncTarget {
  const slash = text.lastIndexOf('/');
  const res = config.resources.find((r) => r.name === (slash < 0 ? text : text.slice(0, slash)));
  if (res === undefined || res.ignore) return { kind: 'unknown' };
  const volumes = res.me?.volumes ?? [];
  const vnr = slash < 0 ? undefined : Number(text.slice(slash + 1));
  const named = volumes.find((v) => v.vnr === vnr);
  const missingVolume = vnr !== undefined && named === undefined ? vnr : undefined;
  const volume = named ?? (volumes.length === 1 ? volumes[0] : undefined);
  if (volume?.minor === undefined) return { kind: 'ambiguous', count: volumes.length, missingVolume };
  return { kind: 'found', minor: volume.minor, missingVolume };
}
