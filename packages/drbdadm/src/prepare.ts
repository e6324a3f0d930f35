/** What a resource needs before a command works on it: names for its connections, options that follow from the peers, checks. */
import { type Connection, findEntry, findOption, hasDisk, type OptionEntry, type Resource } from '@udrbd/config';
import type { Session } from './session.js';

const entry = (name: string, value: string): OptionEntry => ({ name, value, option: findOption('peer-device', name), inherited: false });

/** Names each connection after its peer and tells the engine what it does not keep track of there. Doing it twice does no harm. */
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
    if (!hasDisk(peerVolume) && findEntry(options, 'bitmap')?.value !== 'no') options.push(entry('bitmap', 'no'));
    if (peerVolume.tiebreaker === false && findEntry(options, 'peer-tiebreaker') === undefined)
      options.push(entry('peer-tiebreaker', 'no'));
  }
}

/** Checks what only matters to those who use the resource. @returns whether it is fit for use */
export function validateResource(session: Session, res: Resource): boolean {
  const { io, nodeName } = session;
  const { config } = session;
  if (res.hosts.length === 0) {
    io.stderr(`${res.file}:${res.line}: in resource ${res.name}:\n\ta host sections ('on ${nodeName} { ... }') is missing.\n`);
    config.valid = false;
  }
  checkProxies(session, res);
  return config.valid;
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

/** Replaces the targets of `resync-after` by minor numbers. @returns whether the resource can be used */
export function resolveResyncAfter(session: Session, res: Resource, isTty: boolean): boolean {
  const { config, io } = session;
  const where = `${res.file}:${res.line}: in resource ${res.name}:\n\t`;
  let reported = false;
  for (const volume of res.me?.volumes ?? []) {
    const at = volume.diskOptions.findIndex((o) => o.name === 'resync-after');
    const wanted = volume.diskOptions[at]?.value;
    if (wanted === undefined || wanted === '-1' || RESOLVED.has(volume.diskOptions[at]!)) continue;
    const slash = wanted.lastIndexOf('/');
    const name = slash < 0 ? wanted : wanted.slice(0, slash);
    const other = config.resources.find((r) => r.name === name);
    const vnr = slash < 0 ? undefined : Number(wanted.slice(slash + 1));
    const volumes = other?.me?.volumes ?? [];
    const after = vnr === undefined ? (volumes.length === 1 ? volumes[0] : undefined) : volumes.find((v) => v.vnr === vnr);
    if (other !== undefined && !other.ignore && vnr === undefined && volumes.length > 1) {
      io.stderr(`${where}resync-after contains '${wanted}', which is ambiguous, since it contains ${volumes.length} volumes\n`);
      config.valid = false;
      return false;
    }
    if (other === undefined || other.ignore || after === undefined) {
      const how = other === undefined || !other.ignore ? 'is not known.' : 'is not known on this host.';
      if (!reported) io.stderr(`${where}resource '${wanted}' mentioned in 'resync-after' option ${how}\n`);
      reported = true;
      // Somebody at a terminal can correct it; at boot it is better to sync unordered than not at all.
      if (isTty) {
        config.valid = false;
        return false;
      }
      volume.diskOptions.splice(at, 1);
      continue;
    }
    const resolved = { ...volume.diskOptions[at]!, value: String(after.minor) };
    RESOLVED.add(resolved);
    volume.diskOptions[at] = resolved;
  }
  return true;
}

/** Entries that hold a minor number already. */
const RESOLVED = new WeakSet<OptionEntry>();
