/** Resources, `common`, and templates. */
import type { Node } from './ast.js';
import { parse } from './grammar.js';
import { newResource, type Resource } from './model.js';
import { readConnection, readMesh } from './read-connections.js';
import { readHost, readStacked } from './read-hosts.js';
import { readOption, readOptionSection, readProxyOptions, readStartup } from './read-options.js';
import { parentOf, type ReadState } from './read-state.js';
import { implicitVolume, readDevice, readDisk, readMetaDisk, readVolume, readVolumeStatement } from './read-volumes.js';
import { EXIT, Fatal } from './report.js';

/** @param node - the section, in whatever file it stands */
export function readCommon(state: ReadState, node: Node): Resource {
  const common = newResource('common', state.file.canonical, state.file.name, node.openLine ?? node.at.line);
  state.unique.nextResource();
  readResourceBody(state, common, node);
  if (common.hosts.length > 0) state.error(state.sectionLine, 'in the common section, there are no host sections allowed.');
  return common;
}

export function readResource(state: ReadState, node: Node): void {
  const name = node.words[0];
  if (name === undefined) state.syntaxError();
  const bad = resourceNameProblem(name.text);
  if (bad !== undefined) {
    state.context.report(`${bad}\n`);
    throw new Fatal(EXIT.usage);
  }
  if (node.openLine === undefined) state.syntaxError();
  state.unique.nextResource();
  state.onceInRun(name.line, 'resource section', name.text);
  const resource = newResource(name.text, state.file.canonical, state.file.name, node.openLine);
  state.config.resources.push(resource);
  readResourceBody(state, resource, node);
}

export function readResourceBody(state: ReadState, res: Resource, node: Node): void {
  for (const child of node.body) readResourceStatement(state, res, child);
  state.complete(node);
}

export function readResourceStatement(state: ReadState, res: Resource, node: Node): void {
  const { line } = node.at;
  switch (node.type) {
    case 'protocol':
      state.once(line, 'protocol statement', `${res.name}: protocol`);
      readOption(state, node, 'net', [[res.net, ['net']]]);
      return;
    case 'on':
    case 'floating':
    case 'this-host':
      readHost(state, res, node);
      return;
    case 'stacked':
      readStacked(state, res, node);
      return;
    case 'disk': {
      const path = node.words[0];
      if (path === undefined) state.syntaxError();
      readDisk(state, implicitVolume(state, res.volumes, path.line), node, 0);
      return;
    }
    case 'device': {
      state.once(line, 'device statement', `${res.name}:device`);
      readDevice(state, implicitVolume(state, res.volumes, line), node, true, line);
      return;
    }
    case 'meta-disk':
      readMetaDisk(state, implicitVolume(state, res.volumes, line), node, line);
      return;
    case 'volume':
      readVolume(state, res.volumes, node, (volume, child, at) => readVolumeStatement(state, volume, child, true, at));
      return;
    case 'disk-options':
      state.once(line, 'disk section', `${res.name}:disk`);
      readOptionSection(state, node, [
        [res.disk, ['disk']],
        [res.peerDevice, ['peer-device']],
        [res.device, ['device']],
        [res.net, ['net'], (name) => name === 'fencing'],
      ]);
      return;
    case 'net':
      state.once(line, 'net section', `${res.name}:net`);
      readOptionSection(state, node, [[res.net, ['net']]]);
      return;
    case 'options':
      state.once(line, 'resource options section', `${res.name}:res_options`);
      readOptionSection(state, node, [[res.options, ['options']]]);
      return;
    case 'handlers':
      state.once(line, 'handlers section', `${res.name}:handlers`);
      readOptionSection(state, node, [[res.handlers, ['handlers']]]);
      return;
    case 'startup':
      state.once(line, 'startup section', `${res.name}:startup`);
      readStartup(state, res, node);
      return;
    case 'syncer':
      state.once(line, 'syncer section', `${res.name}:syncer`);
      readOptionSection(state, node, [
        [res.net, ['net']],
        [res.disk, ['disk']],
        [res.options, ['options']],
        [res.peerDevice, ['peer-device']],
      ]);
      return;
    case 'proxy-options':
      state.once(line, 'proxy section', `${res.name}:proxy`);
      readProxyOptions(state, node, res.proxy, res.plugins);
      return;
    case 'connection':
      state.syntax ??= state.isShow ? undefined : '9';
      readConnection(state, res, node);
      return;
    case 'connection-mesh':
      state.syntax ??= '9';
      readMesh(state, res, node);
      return;
    case 'template-file':
      state.syntax ??= '9';
      readTemplate(state, res, node);
      return;
    default:
      state.syntaxError();
  }
}

export function readTemplate(state: ReadState, res: Resource, node: Node): void {
  state.complete(node);
  const name = node.words[0]!.text;
  const { source } = state.context;
  const saved = state.file;
  const content = source.read(saved.directory, name);
  res.templateFile = name;
  if (!('text' in content)) {
    state.error(node.endLine!, `Failed to open template file '${name}'.`, saved.canonical);
    return;
  }
  const parsed = parse(content.text, 'template');
  const canonical = source.canonical(saved.directory, name);
  state.file = { name, canonical, directory: parentOf(canonical), problem: parsed.problem, text: content.text };
  const common = parsed.root.body.find((child) => child.type === 'common');
  // The text behind the section is not read, so a problem there is none.
  if (common === undefined || common.openLine === undefined) state.syntaxError();
  res.template = newResource('common', canonical, name, common.openLine);
  readResourceBody(state, res.template, common);
  if (res.template.hosts.length > 0) state.error(state.sectionLine, 'in the common section, there are no host sections allowed.');
  state.file = saved;
}

/** @returns what is wrong with a resource name, as stock says it */
export function resourceNameProblem(name: string): string | undefined {
  if (name === '') return 'Resource name is empty.';
  if (/[\x00-\x1f\x7f]/.test(name)) return "Resource name is invalid - please don't use control characters.";
  return undefined;
}
