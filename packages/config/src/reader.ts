/**
 * From the text of files to the model: what each statement means, how often it may stand, what it includes. Walks the tree of each
 * file in the order of the text, so messages come in the order in which stock, which acts while it parses, gives them.
 * Specification: docs/configuration.md.
 */
import type { Node } from './ast.js';
import { parse } from './grammar.js';
import type { GlobalSettings } from './model.js';
import { readCommon, readResource } from './read-resources.js';
import { type OpenFile, parentOf, type ReadState } from './read-state.js';
import { EXIT, Fatal } from './report.js';

const RANGES: Readonly<Record<string, readonly [keyof GlobalSettings, number, number]>> = {
  'minor-count': ['minorCount', 1, 255],
  'dialog-refresh': ['dialogRefresh', 0, 600],
  'cmd-timeout-short': ['cmdTimeoutShort', 0, 900],
  'cmd-timeout-medium': ['cmdTimeoutMedium', 0, 900],
  'cmd-timeout-long': ['cmdTimeoutLong', 0, 900],
};
/** Counts a file as read, so that includes pass over it. */
export function excludeFile(state: ReadState, directory: string, name: string): void {
  state.seen.add(state.context.source.identity(directory, name));
}

/** Reads a file with all that it includes into the configuration. @throws Fatal */
export function readFile(state: ReadState, directory: string, name: string, text: string, identity?: string): void {
  const { source } = state.context;
  state.seen.add(identity ?? source.identity(directory, name));
  const canonical = source.canonical(directory, name);
  readText(state, text, { name, canonical, directory: parentOf(canonical) });
}

/** Reads a text that is no file, like stdin. @throws Fatal */
export function readStdin(state: ReadState, directory: string, name: string, text: string): void {
  readText(state, text, { name, canonical: name, directory });
}

/** Reads the output of `drbdsetup show`; what is found wrong with it later is ascribed to the configuration. @throws Fatal */
export function readShow(state: ReadState, text: string, configFile: string): void {
  const parsed = parse(text, 'show');
  state.file = { name: 'drbdsetup show', canonical: configFile, directory: '.', problem: parsed.problem, text };
  for (const node of parsed.root.body) readResource(state, node);
}

function readText(state: ReadState, text: string, file: Omit<OpenFile, 'problem' | 'text'>): void {
  const saved = state.file;
  const parsed = parse(text);
  state.file = { ...file, problem: parsed.problem, text };
  for (const node of parsed.root.body) readTopLevel(state, node);
  if (parsed.problem !== undefined) state.syntaxError();
  state.file = saved;
}

function readTopLevel(state: ReadState, node: Node): void {
  switch (node.type) {
    case 'global':
      readGlobal(state, node);
      return;
    case 'common':
      state.onceInRun(node.at.line, 'resource section', 'common');
      if (node.openLine === undefined) state.syntaxError();
      state.config.common = readCommon(state, node);
      return;
    case 'resource':
      readResource(state, node);
      return;
    case 'include':
      readInclude(state, node);
      return;
    case 'require-version':
      checkModuleVersion(state, node);
      return;
    case 'skip':
      state.syntaxError();
  }
}

function readGlobal(state: ReadState, node: Node): void {
  state.onceInRun(node.at.line, 'global section', 'global');
  if (state.config.resources.length > 0)
    state.warn(node.at.line, 'You should put the global {} section\n\tin front of any resource {} section');
  if (node.openLine === undefined) state.syntaxError();
  const { global } = state.config;
  for (const setting of node.body) {
    const value = setting.words[0];
    const range = RANGES[setting.at.text];
    if (range !== undefined) {
      if (value === undefined) state.syntaxError();
      state.range(value, setting.at.text, range[1], range[2]);
      state.complete(setting);
      Object.assign(global, { [range[0]]: Number.parseInt(value.text, 10) });
      continue;
    }
    state.complete(setting);
    if (setting.at.text === 'disable-ip-verification') global.disableIpVerification = true;
    else if (setting.at.text === 'udev-always-use-vnr') global.udevAlwaysUseVnr = true;
    else global.usageCount = value!.text as GlobalSettings['usageCount'];
  }
  state.complete(node);
}

function readInclude(state: ReadState, node: Node): void {
  state.complete(node);
  const { source, report, verbose } = state.context;
  const pattern = node.words[0]!.text;
  const line = node.endLine!;
  const where = `${state.file.canonical}:${line}: `;
  const isGlob = /[*?[]/.test(pattern);
  const { directory } = state.file;
  const names = source.glob(directory, pattern);
  if (names.length === 0) {
    if (!isGlob) state.error(line, `Failed to open include file '${pattern}'.`, state.file.canonical);
    else if (verbose > 0) report(`${where}no match for include pattern '${pattern}'.\n`);
    return;
  }
  for (const name of names) {
    const identity = source.identity(directory, name);
    if (state.seen.has(identity)) continue;
    const content = source.read(directory, name);
    if ('text' in content) readFile(state, directory, name, content.text, identity);
    else if (content.error === 'directory') {
      report(`Cannot parse directory '${name}' as config file.\n`);
      throw new Fatal(EXIT.exec);
    } else if (content.error === 'missing' && isGlob)
      state.error(line, `include file vanished after glob expansion '${name}'.`, state.file.canonical);
    else state.error(line, `Failed to open include file '${name}'.`, state.file.canonical);
  }
}

function checkModuleVersion(state: ReadState, node: Node): void {
  state.complete(node);
  state.syntax ??= '9';
  const { moduleVersion, report } = state.context;
  if (moduleVersion === undefined) {
    report('Could not get drbd-module-version, Module not loaded?\n');
    throw new Fatal(EXIT.configInvalid);
  }
  const wanted = node.words[0]!;
  const code = (version: string) => version.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
  // The difference of two unsigned numbers, as stock computes it: never below zero.
  const same = code(moduleVersion) === code(wanted.text);
  const operator = node.at.text.slice(-2);
  const [sign, holds] = {
    eq: ['==', same],
    ne: ['!=', !same],
    gt: ['>', !same],
    ge: ['>=', true],
    lt: ['<', false],
    le: ['<=', same],
  }[operator] as [string, boolean];
  if (!holds) state.fatal(wanted.line, `Validation error: drbd-module-version ${moduleVersion} ${sign} ${wanted.text} not true`);
}
