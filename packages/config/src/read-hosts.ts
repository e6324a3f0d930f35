/** Host sections: on, floating, stacked-on-top-of, and the proxy sections in them. */
import { isLoopback } from './address.js';
import type { AddressNode, Node } from './ast.js';
import { type Address, type Host, hostNamesEqual, newHost, type ProxySection, type Resource, type Volume } from './model.js';
import { readOptionSection, readProxyOptions } from './read-options.js';
import type { ReadState } from './read-state.js';
import { implicitVolume, readDevice, readDisk, readMetaDisk, readVolume, readVolumeOptions, readVolumeStatement } from './read-volumes.js';

export function readHost(state: ReadState, res: Resource, node: Node): void {
  const { line } = node.at;
  const { canonical, name: file } = state.file;
  let host: Host;
  if (node.type === 'floating') {
    const address = readAddress(state, node.address, node);
    host = newHost([floatingName(address)], canonical, line, { byAddress: true, address });
    if (node.openLine === undefined) {
      res.hosts.push(host);
      state.complete(node);
      return;
    }
  } else {
    const names = node.type === 'this-host' ? ['_this_host'] : node.words.map((w) => w.text);
    for (const w of node.words) state.once(w.line, 'host section', `${res.name}: on ${w.text}`);
    host = newHost(names, canonical, node.openLine ?? line);
  }
  if (node.openLine === undefined) state.syntaxError();
  state.sectionLine = host.byAddress ? line : node.openLine;
  res.hosts.push(host);
  const isLocal = host.names.some((n) => hostNamesEqual(n, state.context.nodeName));
  for (const child of node.body) readHostStatement(state, res, host, child, isLocal, file);
  state.complete(node);
}

export function readHostStatement(state: ReadState, res: Resource, host: Host, node: Node, isLocal: boolean, file: string): void {
  const { line } = node.at;
  const key = `${res.name}:${host.names[0]}`;
  switch (node.type) {
    case 'address':
      if (host.byAddress) state.fatal(line, 'address statement not allowed for floating {} host sections');
      readHostAddress(state, key, host, node);
      return;
    case 'node-id':
      readNodeId(state, res, host, node);
      return;
    case 'device': {
      if (!host.byAddress) state.once(line, 'device statement', `${key}:device`);
      const volume = implicitVolume(state, host.volumes, line);
      readDevice(state, volume, node, isLocal, line);
      checkMinorOnce(state, host, volume, file, 0);
      return;
    }
    case 'disk':
      if (!host.byAddress) state.once(line, 'disk statement', `${key}:disk`);
      readDisk(state, implicitVolume(state, host.volumes, line), node, 0);
      return;
    case 'disk-options':
      if (!host.byAddress) state.once(line, 'disk statement', `${key}:disk`);
      readVolumeOptions(state, implicitVolume(state, host.volumes, line), node);
      return;
    case 'meta-disk':
      if (!host.byAddress) state.once(line, 'meta-disk statement', `${key}:meta-disk`);
      readMetaDisk(state, implicitVolume(state, host.volumes, line), node, line);
      return;
    case 'volume':
      readVolume(state, host.volumes, node, (volume, child, at) => {
        const before = volume.deviceLine;
        readVolumeStatement(state, volume, child, isLocal, at);
        if (child.type === 'device') checkMinorOnce(state, host, volume, file, before);
      });
      return;
    case 'options':
      host.options = [];
      readOptionSection(state, node, [[host.options, ['options']]]);
      return;
    case 'proxy':
      host.proxy = readProxy(state, node);
      return;
    default:
      state.syntaxError();
  }
}

/**
 * Minor and device name belong to one volume of a host only.
 * @param line - of the volume's device statement before this one; stock looks before it takes note of the new one
 */
export function checkMinorOnce(state: ReadState, host: Host, volume: Volume, file: string, line: number): void {
  if (host.byAddress) return;
  for (const name of host.names) {
    if (volume.minor !== undefined) state.unique.inRun(file, line, 'device-minor', `device-minor:${name}:${volume.minor}`);
    if (volume.device !== undefined) state.unique.inRun(file, line, 'device', `device:${name}:${volume.device}`);
  }
}

export function readHostAddress(state: ReadState, key: string | undefined, host: Host, node: Node): void {
  if (key !== undefined) state.once(node.at.line, 'address statement', `${key}:address`);
  host.address = readAddress(state, node.address, node);
  state.complete(node);
  // Stock looks a second time when the statement is complete.
  state.range(node.address!.port!, 'port', 1, 65535);
}

export function readNodeId(state: ReadState, res: Resource, host: Host, node: Node): void {
  const { line } = node.at;
  if (!host.byAddress && host.lowerName === undefined) state.once(line, 'node-id statement', `${res.name}:${host.names[0]}:node-id`);
  const id = node.words[0];
  if (id === undefined) state.syntaxError();
  state.range(id, 'node-id', 0, 32);
  state.once(id.line, 'node-id', `${res.name}:${id.text}`);
  state.complete(node);
  if (!state.isShow) state.syntax ??= '9';
  host.nodeId = id.text;
}

export function readStacked(state: ReadState, res: Resource, node: Node): void {
  const lower = node.words[0];
  if (lower === undefined) state.syntaxError();
  state.onceInRun(lower.line, 'stacked-on-top-of', `stacked:${lower.text}`);
  if (node.openLine === undefined) state.syntaxError();
  state.sectionLine = node.at.line;
  const host = newHost([], state.file.canonical, node.at.line, { lowerName: lower.text });
  res.hosts.push(host);
  for (const child of node.body) {
    switch (child.type) {
      case 'device': {
        const volume = implicitVolume(state, host.volumes, child.at.line);
        readDevice(state, volume, child, true, node.at.line, true);
        break;
      }
      case 'volume':
        readVolume(
          state,
          host.volumes,
          child,
          (volume, statement, line) => {
            if (statement.type === 'device') readDevice(state, volume, statement, true, line);
            else readVolumeOptions(state, volume, statement);
          },
          node.at.line,
        );
        break;
      case 'address': {
        readHostAddress(state, undefined, host, child);
        break;
      }
      case 'node-id':
        readNodeId(state, res, host, child);
        break;
      case 'proxy':
        host.proxy = readProxy(state, child);
        break;
      default:
        state.syntaxError();
    }
  }
  state.complete(node);
  for (const volume of host.volumes) {
    volume.metaDisk = 'internal';
    volume.metaIndex = 'internal';
  }
}

export function readAddress(state: ReadState, node: AddressNode | undefined, owner: Node): Address {
  if (node?.address === undefined || node.port === undefined) state.syntaxError();
  state.range(node.port, 'port', 1, 65535);
  const family = node.family?.text === 'sci' ? 'ssocks' : (node.family?.text ?? 'ipv4');
  if (owner.endLine === undefined && owner.openLine === undefined && owner.body.length === 0) state.syntaxError();
  const address = node.address.text;
  return { family, address, port: node.port.text, isLoopback: isLoopback(family, address) };
}

export function readProxy(state: ReadState, node: Node): ProxySection {
  if (node.openLine === undefined) state.syntaxError();
  const proxy: ProxySection = { names: node.words.map((w) => w.text), inside: undefined, outside: undefined, options: [], plugins: [] };
  for (const child of node.body) {
    if (child.type === 'proxy-options') readProxyOptions(state, child, proxy.options, proxy.plugins);
    else {
      const address = readAddress(state, child.address, child);
      state.complete(child);
      if (child.type === 'inside') proxy.inside = address;
      else proxy.outside = address;
    }
  }
  state.complete(node);
  for (const side of ['inside', 'outside'] as const) {
    if (proxy[side] === undefined)
      state.error(state.sectionLine, `in section: proxy on ${proxy.names.join(' ')} { ... } }: '${side}' keyword missing.`);
  }
  return proxy;
}

/** The name made up for a host that is known by its address. */
function floatingName(address: Address): string {
  return `${address.address}:${address.port}`.replace(/[^0-9A-Za-z+\-._]/g, '_');
}
