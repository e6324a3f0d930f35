/** Connections with their paths and endpoints, and meshes. */
import type { Node } from './ast.js';
import { type Connection, type Endpoint, newConnection, newPath, type OptionList, type Path, REMOTE_HOST, type Resource } from './model.js';
import { readAddress, readProxy } from './read-hosts.js';
import { readOptionSection } from './read-options.js';
import { numberOf, type ReadState } from './read-state.js';

export function readConnection(state: ReadState, res: Resource, node: Node): void {
  const name = node.words[0];
  if (name !== undefined)
    state.warn(name.line, `explicitly named connections are deprecated!\n\tits name ('${name.text}') will be ignored`);
  if (node.openLine === undefined) state.syntaxError();
  const connection = newConnection(state.file.canonical, node.at.line);
  res.connections.push(connection);
  state.connectionLine = node.at.line;
  let explicitPath = false;
  let implicit: Path | undefined;
  for (const child of node.body) {
    switch (child.type) {
      case 'host':
      case 'address': {
        const isMixed = explicitPath && implicit === undefined;
        if (isMixed) state.error(child.at.line, 'Explicit and implicit paths not allowed');
        const endpoint = readEndpoint(state, child);
        if (isMixed) break;
        if (implicit === undefined) {
          implicit = newPath(child.at.line, true);
          connection.paths.push(implicit);
        }
        if (implicit.endpoints.length >= 2) state.error(state.connectionLine, "only two 'host' keywords per connection allowed");
        else implicit.endpoints.push(endpoint);
        break;
      }
      case 'path':
        explicitPath = true;
        readPath(state, connection, child);
        break;
      case 'net': {
        if (connection.net.length > 0) state.error(state.sectionLine, "only one 'net' section per connection allowed");
        const net: OptionList = [];
        readOptionSection(state, child, [[net, ['net']]]);
        connection.net = net;
        break;
      }
      case 'disk-options':
        connection.peerDeviceOptions = [];
        readOptionSection(state, child, [[connection.peerDeviceOptions, ['peer-device']]]);
        break;
      case 'volume': {
        const number = child.words[0];
        const section = child.body[0];
        if (number === undefined || section === undefined) state.syntaxError();
        const options: OptionList = [];
        readOptionSection(state, section, [[options, ['peer-device']]]);
        state.complete(child);
        connection.peerDevices.push({
          vnr: numberOf(number),
          line: number.line,
          implicit: false,
          options,
          volume: undefined,
          peerVolume: undefined,
        });
        break;
      }
      case 'peer-node-id':
        state.complete(child);
        connection.peerNodeId = child.words[0]!.text;
        break;
      case 'cstate':
        state.complete(child);
        connection.cstate = child.words[0]!.text;
        break;
      default:
        state.syntaxError();
    }
  }
  state.complete(node);
  if (connection.paths.length === 0 && !state.isShow)
    state.error(state.connectionLine, 'connection without a single path (maybe empty?) not allowed');
}

function readPath(state: ReadState, connection: Connection, node: Node): void {
  if (node.openLine === undefined) state.syntaxError();
  const path = newPath(node.at.line, false);
  for (const child of node.body) {
    const endpoint = readEndpoint(state, child);
    if (path.endpoints.length >= 2) state.error(state.connectionLine, "only two 'host' keywords per path allowed");
    else path.endpoints.push(endpoint);
    if (child.at.text === '_this_host') path.me = endpoint;
    if (child.at.text === REMOTE_HOST) {
      path.peer = endpoint;
      path.connectTo = endpoint.address;
    }
  }
  state.complete(node);
  connection.paths.push(path);
}

/** Ends as `drbdsetup show` writes them, which may be kept as a configuration. */
const SHOWN: ReadonlySet<string> = new Set(['_this_host', REMOTE_HOST]);

export function readEndpoint(state: ReadState, node: Node): Endpoint {
  const isShown = SHOWN.has(node.at.text);
  const name = isShown ? node.at.text : node.words[0]?.text;
  const endpoint: Endpoint = {
    name,
    byAddress: node.type === 'address' && !isShown,
    line: node.at.line,
    address: undefined,
    port: undefined,
    addressHere: false,
    host: undefined,
    proxy: undefined,
    proxyFromHost: false,
    outsideAddress: undefined,
  };
  if (node.type === 'host' && name === undefined) state.syntaxError();
  if (node.address !== undefined) {
    endpoint.address = readAddress(state, node.address, node);
    endpoint.addressHere = true;
  }
  endpoint.port = node.port?.text;
  for (const child of node.body) {
    if (child.type === 'proxy') endpoint.proxy = readProxy(state, child);
    else {
      endpoint.outsideAddress = readAddress(state, child.address, child);
      state.complete(child);
    }
  }
  state.complete(node);
  return endpoint;
}

export function readMesh(state: ReadState, res: Resource, node: Node): void {
  if (node.openLine === undefined) state.syntaxError();
  const mesh = { hosts: [] as string[], net: [] as OptionList };
  res.meshes.push(mesh);
  for (const child of node.body) {
    if (child.type === 'net') {
      if (mesh.net.length > 0) state.error(state.sectionLine, "only one 'net' section allowed");
      const net: OptionList = [];
      readOptionSection(state, child, [[net, ['net']]]);
      mesh.net = net;
    } else {
      state.complete(child);
      mesh.hosts.push(...child.words.map((w) => w.text));
    }
  }
  state.complete(node);
}
