/**
 * From the tree of a file to the model: what each statement means, how often it may stand, what it includes. Walks in the order of
 * the text, so messages come in the order in which stock, which acts while it parses, gives them. Specification: docs/configuration.md.
 */
import { isLoopback } from './address.js';
import type { AddressNode, Node, ParsedFile, Word } from './ast.js';
import { checkDevice, isDeviceName } from './device.js';
import { parse, shown } from './grammar.js';
import {
  type Address,
  type Config,
  type Connection,
  DEFAULT_GLOBALS,
  type Endpoint,
  type GlobalSettings,
  type Host,
  hostNamesEqual,
  newConnection,
  newHost,
  newPath,
  newResource,
  newVolume,
  type OptionEntry,
  type OptionList,
  type Path,
  type ProxySection,
  type Resource,
  type Volume,
} from './model.js';
import { expectedIn, lookUp } from './option-sections.js';
import { checkValue } from './option-values.js';
import type { Option, OptionGroup } from './options.js';
import { EXIT, Fatal, type Report } from './report.js';
import { Uniqueness } from './uniqueness.js';

export type SourceText = { readonly text: string } | { readonly error: 'missing' | 'directory' | 'unreadable'; readonly reason: string };

/** Where files come from. Names are relative to `directory` unless absolute. */
export interface ConfigSource {
  read(directory: string, name: string): SourceText;
  /** The files a pattern stands for, sorted by byte value, in the form of the pattern. A plain name stands for itself if it exists. */
  glob(directory: string, pattern: string): string[];
  /** Absolute path with the directory part resolved and the last component as it is. */
  canonical(directory: string, name: string): string;
  /** Equal for all names of one file. */
  identity(directory: string, name: string): string;
}

/** What the reader has to know about the world. */
export interface ReadContext {
  readonly source: ConfigSource;
  readonly report: Report;
  readonly nodeName: string;
  isLocalAddress(address: Address): boolean;
  /** Whether the path is a block special file with DRBD's major number. */
  isDrbdDevice?(path: string): boolean;
  /** Version `M.m.p` that `require-drbd-module-version` compares with; undefined = not known. */
  readonly moduleVersion: string | undefined;
  readonly verbose: number;
  /** Both stdin and stdout are terminals. */
  readonly isTty: boolean;
}

const SYNCER_ALIASES: Readonly<Record<string, string>> = { rate: 'resync-rate', after: 'resync-after', 'outdate-peer': 'fence-peer' };
const RANGES: Readonly<Record<string, readonly [keyof GlobalSettings, number, number]>> = {
  'minor-count': ['minorCount', 1, 255],
  'dialog-refresh': ['dialogRefresh', 0, 600],
  'cmd-timeout-short': ['cmdTimeoutShort', 0, 900],
  'cmd-timeout-medium': ['cmdTimeoutMedium', 0, 900],
  'cmd-timeout-long': ['cmdTimeoutLong', 0, 900],
};
/** One suffix of a plain number: K, M, G, or s for sectors. */
const SUFFIX: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, s: 512 };

/** A number token as a number; C's atoi would leave the suffix out. */
function numberOf(word: Word): number {
  const digits = Number.parseInt(word.text, 10);
  return digits * (SUFFIX[word.text.at(-1) ?? ''] ?? 1);
}

interface OpenFile {
  /** As given on the command line or by include, for messages while parsing. */
  readonly name: string;
  readonly canonical: string;
  readonly directory: string;
  readonly problem: ParsedFile['problem'];
}

export class Reader {
  readonly config: Config;
  readonly #context: ReadContext;
  readonly unique: Uniqueness;
  readonly #seen = new Set<string>();
  #file: OpenFile = { name: '', canonical: '', directory: '.', problem: undefined };
  #show = false;
  /** The class of syntax of the whole configuration, decided by the first statement that tells. */
  syntax: '8' | '9' | undefined;

  constructor(context: ReadContext, mainFile: string) {
    this.#context = context;
    this.unique = new Uniqueness(context.report);
    this.config = { file: mainFile, global: { ...DEFAULT_GLOBALS }, common: undefined, resources: [], valid: true };
  }

  /** Counts a file as read, so that includes pass over it. */
  exclude(directory: string, name: string): void {
    this.#seen.add(this.#context.source.identity(directory, name));
  }

  /** Reads a file with all that it includes into the configuration. @throws Fatal */
  readFile(directory: string, name: string, text: string): void {
    const { source } = this.#context;
    this.#seen.add(source.identity(directory, name));
    const canonical = source.canonical(directory, name);
    this.#readText(text, { name, canonical, directory: parentOf(canonical) });
  }

  /** Reads a text that is no file, like stdin. @throws Fatal */
  readStdin(directory: string, name: string, text: string): void {
    this.#readText(text, { name, canonical: name, directory });
  }

  /** Reads the output of `drbdsetup show`. @throws Fatal */
  readShow(text: string): void {
    this.#show = true;
    this.unique.enabled = false;
    const parsed = parse(text, 'show');
    this.#file = { name: 'drbdsetup show', canonical: 'drbdsetup show', directory: '.', problem: parsed.problem };
    for (const node of parsed.root.body) this.#resource(node);
  }

  #readText(text: string, file: Omit<OpenFile, 'problem'>): void {
    const saved = this.#file;
    const parsed = parse(text);
    this.#file = { ...file, problem: parsed.problem };
    for (const node of parsed.root.body) this.#topLevel(node);
    if (parsed.problem !== undefined) this.#syntaxError();
    this.#file = saved;
  }

  // Messages

  #syntaxError(): never {
    const { problem, name } = this.#file;
    if (problem === undefined) throw new Error('a section without an end in a file without a problem');
    return this.#fatal(problem.line, problem.message, EXIT.configInvalid, name);
  }

  #fatal(line: number, message: string, exitCode: number = EXIT.configInvalid, file = this.#file.name): never {
    this.#context.report(`${file}:${line}: ${message}\n`);
    throw new Fatal(exitCode);
  }

  #error(line: number, message: string, file = this.#file.name): void {
    this.#context.report(`${file}:${line}: ${message}\n`);
    this.config.valid = false;
  }

  #warn(line: number, message: string): void {
    this.#context.report(`${this.#file.name}:${line}: ${message}\n`);
  }

  #onceInRun(line: number, what: string, key: string): void {
    this.unique.inRun(this.#file.name, line, what, key);
  }

  #once(line: number, what: string, key: string): void {
    this.unique.inResource(this.#file.name, line, what, key);
  }

  /** Stops here if the text broke off inside this statement. */
  #complete(node: Node): void {
    if (node.endLine === undefined) this.#syntaxError();
  }

  // Top level

  #topLevel(node: Node): void {
    switch (node.type) {
      case 'global':
        this.#global(node);
        return;
      case 'common':
        this.#onceInRun(node.at.line, 'resource section', 'common');
        if (node.openLine === undefined) this.#syntaxError();
        this.config.common = this.#common(node);
        return;
      case 'resource':
        this.#resource(node);
        return;
      case 'include':
        this.#include(node);
        return;
      case 'require-version':
        this.#requireVersion(node);
        return;
      case 'skip':
        this.#syntaxError();
    }
  }

  #global(node: Node): void {
    this.#onceInRun(node.at.line, 'global section', 'global');
    if (this.config.resources.length > 0)
      this.#warn(node.at.line, 'You should put the global {} section\n\tin front of any resource {} section');
    if (node.openLine === undefined) this.#syntaxError();
    const { global } = this.config;
    for (const setting of node.body) {
      const value = setting.words[0];
      const range = RANGES[setting.at.text];
      if (range !== undefined) {
        if (value === undefined) this.#syntaxError();
        this.#range(value, setting.at.text, range[1], range[2]);
        this.#complete(setting);
        Object.assign(global, { [range[0]]: Number.parseInt(value.text, 10) });
        continue;
      }
      this.#complete(setting);
      if (setting.at.text === 'disable-ip-verification') global.disableIpVerification = true;
      else if (setting.at.text === 'udev-always-use-vnr') global.udevAlwaysUseVnr = true;
      else global.usageCount = value!.text as GlobalSettings['usageCount'];
    }
    this.#complete(node);
  }

  #range(word: Word, name: string, min: number, max: number): void {
    const value = numberOf(word);
    if (value < min || value > max) this.#error(word.line, `${name} ${word.text} => ${value} out of range [${min}..${max}].`);
  }

  #include(node: Node): void {
    this.#complete(node);
    const { source, report, verbose } = this.#context;
    const pattern = node.words[0]!.text;
    const line = node.endLine!;
    const where = `${this.#file.canonical}:${line}: `;
    const isGlob = /[*?[]/.test(pattern);
    const { directory } = this.#file;
    const names = source.glob(directory, pattern);
    if (names.length === 0) {
      if (!isGlob) this.#error(line, `Failed to open include file '${pattern}'.`, this.#file.canonical);
      else if (verbose > 0) report(`${where}no match for include pattern '${pattern}'.\n`);
      return;
    }
    for (const name of names) {
      if (this.#seen.has(source.identity(directory, name))) continue;
      const content = source.read(directory, name);
      if ('text' in content) this.readFile(directory, name, content.text);
      else if (content.error === 'directory') {
        report(`Cannot parse directory '${name}' as config file.\n`);
        throw new Fatal(EXIT.exec);
      } else if (content.error === 'missing' && isGlob)
        this.#error(line, `include file vanished after glob expansion '${name}'.`, this.#file.canonical);
      else this.#error(line, `Failed to open include file '${name}'.`, this.#file.canonical);
    }
  }

  #requireVersion(node: Node): void {
    this.#complete(node);
    this.syntax ??= '9';
    const { moduleVersion, report } = this.#context;
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
    if (!holds) this.#fatal(wanted.line, `Validation error: drbd-module-version ${moduleVersion} ${sign} ${wanted.text} not true`);
  }

  // Resources

  /** @param node - the section, in whatever file it stands */
  #common(node: Node): Resource {
    const common = newResource('common', this.#file.canonical, this.#file.name, node.openLine ?? node.at.line);
    this.unique.nextResource();
    this.#resourceBody(common, node);
    if (common.hosts.length > 0) this.#error(lastSectionLine(node), 'in the common section, there are no host sections allowed.');
    return common;
  }

  #resource(node: Node): void {
    const name = node.words[0];
    if (name === undefined) this.#syntaxError();
    const bad = resourceNameProblem(name.text);
    if (bad !== undefined) {
      this.#context.report(`${bad}\n`);
      throw new Fatal(EXIT.usage);
    }
    if (node.openLine === undefined) this.#syntaxError();
    this.unique.nextResource();
    this.#onceInRun(name.line, 'resource section', name.text);
    const resource = newResource(name.text, this.#file.canonical, this.#file.name, node.openLine);
    this.config.resources.push(resource);
    this.#resourceBody(resource, node);
  }

  #resourceBody(res: Resource, node: Node): void {
    for (const child of node.body) this.#resourceStatement(res, child);
    this.#complete(node);
  }

  #resourceStatement(res: Resource, node: Node): void {
    const { line } = node.at;
    switch (node.type) {
      case 'protocol':
        this.#once(line, 'protocol statement', `${res.name}: protocol`);
        this.#option(node, 'net', [[res.net, ['net']]]);
        return;
      case 'on':
      case 'floating':
      case 'this-host':
        this.#host(res, node);
        return;
      case 'stacked':
        this.#stacked(res, node);
        return;
      case 'disk': {
        this.#diskStatement(this.#implicitVolume(res.volumes, node.words[0]?.line ?? line), node, 0);
        return;
      }
      case 'device': {
        this.#once(line, 'device statement', `${res.name}:device`);
        this.#device(this.#implicitVolume(res.volumes, line), node, true);
        return;
      }
      case 'meta-disk':
        this.#metaDisk(this.#implicitVolume(res.volumes, line), node);
        return;
      case 'volume':
        this.#volume(res.volumes, node, (volume, child) => this.#volumeStatement(volume, child, true));
        return;
      case 'disk-options':
        this.#once(node.openLine ?? line, 'disk section', `${res.name}:disk`);
        this.#optionSection(node, [
          [res.disk, ['disk']],
          [res.peerDevice, ['peer-device']],
          [res.device, ['device']],
          [res.net, ['net'], (name) => name === 'fencing'],
        ]);
        return;
      case 'net':
        this.#once(line, 'net section', `${res.name}:net`);
        this.#optionSection(node, [[res.net, ['net']]]);
        return;
      case 'options':
        this.#once(line, 'resource options section', `${res.name}:res_options`);
        this.#optionSection(node, [[res.options, ['options']]]);
        return;
      case 'handlers':
        this.#once(line, 'handlers section', `${res.name}:handlers`);
        this.#optionSection(node, [[res.handlers, ['handlers']]]);
        return;
      case 'startup':
        this.#once(line, 'startup section', `${res.name}:startup`);
        this.#startup(res, node);
        return;
      case 'syncer':
        this.#once(line, 'syncer section', `${res.name}:syncer`);
        this.#optionSection(node, [
          [res.net, ['net']],
          [res.disk, ['disk']],
          [res.options, ['options']],
          [res.peerDevice, ['peer-device']],
        ]);
        return;
      case 'proxy-options':
        this.#once(line, 'proxy section', `${res.name}:proxy`);
        this.#proxyOptions(node, res.proxy, res.plugins);
        return;
      case 'connection':
        this.syntax ??= this.#show ? undefined : '9';
        this.#connection(res, node);
        return;
      case 'connection-mesh':
        this.syntax ??= '9';
        this.#mesh(res, node);
        return;
      case 'template-file':
        this.syntax ??= '9';
        this.#template(res, node);
        return;
      default:
        this.#syntaxError();
    }
  }

  #template(res: Resource, node: Node): void {
    this.#complete(node);
    const name = node.words[0]!.text;
    const { source } = this.#context;
    const saved = this.#file;
    const content = source.read(saved.directory, name);
    res.templateFile = name;
    if (!('text' in content)) {
      this.#error(node.endLine!, `Failed to open template file '${name}'.`, saved.canonical);
      return;
    }
    const parsed = parse(content.text, 'template');
    const canonical = source.canonical(saved.directory, name);
    this.#file = { name, canonical, directory: parentOf(canonical), problem: parsed.problem };
    const common = parsed.root.body.find((child) => child.type === 'common');
    // The text behind the section is not read, so a problem there is none.
    if (common === undefined || common.openLine === undefined) this.#syntaxError();
    res.template = newResource('common', canonical, name, common.openLine);
    this.#resourceBody(res.template, common);
    if (res.template.hosts.length > 0) this.#error(lastSectionLine(common), 'in the common section, there are no host sections allowed.');
    this.#file = saved;
  }

  // Volumes

  /** The volume that statements outside of a volume section are about. */
  #implicitVolume(volumes: Volume[], line: number): Volume {
    let volume = volumes.find((v) => v.vnr === 0);
    if (volume === undefined && volumes.length === 0) {
      volume = newVolume(0, true);
      volumes.push(volume);
    }
    if (volume === undefined || !volume.implicit) {
      this.#error(line, 'mixing explicit and implicit volumes is not allowed');
      volume ??= newVolume(0, true);
    }
    return volume;
  }

  /** A `volume` section; the volumes stay sorted by number. */
  #volume(volumes: Volume[], node: Node, statement: (volume: Volume, child: Node) => void): void {
    const number = node.words[0];
    if (number === undefined || node.openLine === undefined) this.#syntaxError();
    const volume = newVolume(numberOf(number));
    const after = volumes.findIndex((v) => v.vnr > volume.vnr);
    if (after < 0) volumes.push(volume);
    else volumes.splice(after, 0, volume);
    for (const child of node.body) statement(volume, child);
    this.#complete(node);
  }

  #volumeStatement(volume: Volume, node: Node, checkDeviceName: boolean): void {
    switch (node.type) {
      case 'device':
        this.#device(volume, node, checkDeviceName);
        return;
      case 'disk':
        this.#diskStatement(volume, node, node.at.line);
        return;
      case 'meta-disk':
        this.#metaDisk(volume, node);
        return;
      case 'disk-options':
        this.#volumeOptions(volume, node);
        return;
      case 'tiebreaker':
        this.#complete(node);
        volume.tiebreaker = node.words[0]!.text === 'yes';
        volume.tiebreakerHere = true;
        return;
      default:
        this.#syntaxError();
    }
  }

  #volumeOptions(volume: Volume, node: Node): void {
    // Options alone make stock show the disk, too, as if it were written here.
    volume.diskHere = true;
    this.#optionSection(node, [
      [volume.diskOptions, ['disk']],
      [volume.peerDeviceOptions, ['peer-device']],
      [volume.deviceOptions, ['device']],
    ]);
  }

  #diskStatement(volume: Volume, node: Node, line: number): void {
    this.#complete(node);
    volume.disk = node.words[0]!.text;
    volume.diskHere = true;
    volume.diskLine = line;
  }

  #metaDisk(volume: Volume, node: Node): void {
    this.#complete(node);
    const device = node.words[0]!.text;
    volume.metaDisk = device;
    volume.metaIndex = device === 'internal' ? 'internal' : (node.index?.text ?? 'flexible');
    volume.metaDiskHere = true;
    volume.metaDiskLine = node.at.line;
  }

  #device(volume: Volume, node: Node, isLocal: boolean): void {
    const given = node.words[0]?.text;
    const device = given?.startsWith('drbd') ? `/dev/${given}` : given;
    if (device !== undefined && isLocal && !isDeviceName(device))
      this.#error(node.at.line, 'device name must start with /dev/drbd\n\t(/dev/ is optional, but drbd is required)');
    this.#complete(node);
    volume.deviceHere = true;
    volume.deviceLine = node.at.line;
    const minor = node.minor === undefined ? undefined : numberOf(node.minor);
    if (device === undefined) {
      if (minor !== undefined) volume.minor = minor;
      return;
    }
    volume.device = device;
    const verdict = checkDevice(device, minor, isLocal, this.#context.isDrbdDevice);
    if (verdict.minor !== undefined) volume.minor = verdict.minor;
    for (const problem of verdict.errors) this.#error(node.at.line, problem);
    if (verdict.warning !== undefined) this.#warn(node.at.line, verdict.warning);
  }

  // Hosts

  #host(res: Resource, node: Node): void {
    const { line } = node.at;
    const { canonical, name: file } = this.#file;
    let host: Host;
    if (node.type === 'floating') {
      const address = this.#address(node.address, node);
      host = newHost([floatingName(address)], canonical, line, { byAddress: true, address });
      if (node.openLine === undefined) {
        res.hosts.push(host);
        this.#complete(node);
        return;
      }
    } else {
      const names = node.type === 'this-host' ? ['_this_host'] : node.words.map((w) => w.text);
      for (const w of node.words) this.#once(w.line, 'host section', `${res.name}: on ${w.text}`);
      host = newHost(names, canonical, line);
    }
    if (node.openLine === undefined) this.#syntaxError();
    res.hosts.push(host);
    const isLocal = host.names.some((n) => hostNamesEqual(n, this.#context.nodeName));
    for (const child of node.body) this.#hostStatement(res, host, child, isLocal, file);
    this.#complete(node);
  }

  #hostStatement(res: Resource, host: Host, node: Node, isLocal: boolean, file: string): void {
    const { line } = node.at;
    const key = `${res.name}:${host.names[0]}`;
    switch (node.type) {
      case 'address':
        if (host.byAddress) this.#fatal(line, 'address statement not allowed for floating {} host sections');
        this.#hostAddress(key, host, node);
        return;
      case 'node-id':
        this.#nodeId(res, host, node);
        return;
      case 'device': {
        if (!host.byAddress) this.#once(line, 'device statement', `${key}:device`);
        const volume = this.#implicitVolume(host.volumes, line);
        this.#device(volume, node, isLocal);
        this.#minorOnce(host, volume, file, 0);
        return;
      }
      case 'disk':
        if (!host.byAddress) this.#once(line, 'disk statement', `${key}:disk`);
        this.#diskStatement(this.#implicitVolume(host.volumes, line), node, 0);
        return;
      case 'disk-options':
        if (!host.byAddress) this.#once(node.openLine ?? line, 'disk statement', `${key}:disk`);
        this.#volumeOptions(this.#implicitVolume(host.volumes, line), node);
        return;
      case 'meta-disk':
        if (!host.byAddress) this.#once(line, 'meta-disk statement', `${key}:meta-disk`);
        this.#metaDisk(this.#implicitVolume(host.volumes, line), node);
        return;
      case 'volume':
        this.#volume(host.volumes, node, (volume, child) => {
          this.#volumeStatement(volume, child, isLocal);
          if (child.type === 'device') this.#minorOnce(host, volume, file, 0);
        });
        return;
      case 'options':
        this.#optionSection(node, [[host.options, ['options']]]);
        return;
      case 'proxy':
        host.proxy = this.#proxy(node);
        return;
      default:
        this.#syntaxError();
    }
  }

  /** Minor and device name belong to one volume of a host only. */
  #minorOnce(host: Host, volume: Volume, file: string, line: number): void {
    for (const name of host.names) {
      if (volume.minor !== undefined) this.unique.inRun(file, line, 'device-minor', `device-minor:${name}:${volume.minor}`);
      if (volume.device !== undefined) this.unique.inRun(file, line, 'device', `device:${name}:${volume.device}`);
    }
  }

  #hostAddress(key: string | undefined, host: Host, node: Node): void {
    if (key !== undefined) this.#once(node.at.line, 'address statement', `${key}:address`);
    host.address = this.#address(node.address, node);
    this.#complete(node);
    // Stock looks a second time when the statement is complete.
    this.#range(node.address!.port!, 'port', 1, 65535);
  }

  #nodeId(res: Resource, host: Host, node: Node): void {
    const { line } = node.at;
    if (!host.byAddress && host.lowerName === undefined) this.#once(line, 'node-id statement', `${res.name}:${host.names[0]}:node-id`);
    const id = node.words[0];
    if (id === undefined) this.#syntaxError();
    this.#range(id, 'node-id', 0, 32);
    this.#once(id.line, 'node-id', `${res.name}:${id.text}`);
    this.#complete(node);
    if (!this.#show) this.syntax ??= '9';
    host.nodeId = id.text;
  }

  #stacked(res: Resource, node: Node): void {
    const lower = node.words[0];
    if (lower === undefined) this.#syntaxError();
    this.#onceInRun(lower.line, 'stacked-on-top-of', `stacked:${lower.text}`);
    if (node.openLine === undefined) this.#syntaxError();
    const host = newHost([], this.#file.canonical, node.at.line, { lowerName: lower.text });
    res.hosts.push(host);
    for (const child of node.body) {
      switch (child.type) {
        case 'device': {
          const volume = this.#implicitVolume(host.volumes, child.at.line);
          this.#device(volume, child, true);
          break;
        }
        case 'volume':
          this.#volume(host.volumes, child, (volume, statement) => {
            if (statement.type === 'device') this.#device(volume, statement, true);
            else this.#volumeOptions(volume, statement);
          });
          break;
        case 'address': {
          this.#hostAddress(undefined, host, child);
          break;
        }
        case 'node-id':
          this.#nodeId(res, host, child);
          break;
        case 'proxy':
          host.proxy = this.#proxy(child);
          break;
        default:
          this.#syntaxError();
      }
    }
    this.#complete(node);
    for (const volume of host.volumes) {
      volume.metaDisk = 'internal';
      volume.metaIndex = 'internal';
    }
  }

  #address(node: AddressNode | undefined, owner: Node): Address {
    if (node?.address === undefined || node.port === undefined) this.#syntaxError();
    this.#range(node.port, 'port', 1, 65535);
    const family = node.family?.text === 'sci' ? 'ssocks' : (node.family?.text ?? 'ipv4');
    if (owner.endLine === undefined && owner.openLine === undefined && owner.body.length === 0) this.#syntaxError();
    const address = node.address.text;
    return { family, address, port: node.port.text, isLoopback: isLoopback(family, address) };
  }

  // Options

  /**
   * A section of options: each goes to the first list whose groups know it.
   * @param lists - list, groups, and which names of them are meant if not all
   */
  #optionSection(node: Node, lists: readonly Target[]): void {
    if (node.openLine === undefined) this.#syntaxError();
    for (const child of node.body) this.#option(child, node.type, lists);
    this.#complete(node);
  }

  #option(node: Node, section: Node['type'], lists: readonly Target[]): void {
    const written = node.at.text;
    if (this.#show) {
      if (written === '_unknown') {
        this.#unknownOption(node, lists);
        return;
      }
      if (written === 'discard-my-data' && section === 'net') return;
    }
    const negated = written.startsWith('no-');
    const plain = negated ? written.slice(3) : written;
    const target = findTarget(lists, section === 'syncer' ? (SYNCER_ALIASES[written] ?? written) : written);
    const found = target ?? (negated ? findTarget(lists, section === 'syncer' ? (SYNCER_ALIASES[plain] ?? plain) : plain) : undefined);
    if (found === undefined) this.#fatal(node.at.line, `Parse error: '${expectedIn(section)}' expected,\n\tbut got '${shown(written)}'`);
    const [list, option] = found;
    const value = this.#optionValue(node, option);
    const fallback = target === undefined ? 'no' : 'yes';
    list.push({ name: option.name, value: value ?? fallback, option, inherited: false });
  }

  /** Checks the value, then that the statement is complete, in this order. @returns undefined when there is no value */
  #optionValue(node: Node, option: Option): string | undefined {
    const word = node.words[0];
    const atEnd = word === undefined && node.endLine === undefined;
    const text = word?.text ?? (atEnd ? '' : undefined);
    if (text !== undefined) {
      const refusal = checkValue(option, text);
      if (refusal !== null) {
        let message = `Parse error: while parsing value ('${shown(text)}')\nfor ${option.name}. Value is ${refusal}.`;
        if (option.kind === 'enum') message += `\nAllowed values are: ${option.values.join(' | ')}`;
        if (refusal === 'too long' && 'maxLength' in option) message += `\nmax len: ${option.maxLength}`;
        this.#error(word?.line ?? this.#file.problem?.line ?? node.at.line, message);
      }
    }
    this.#complete(node);
    return text;
  }

  /** `_unknown NAME;` of show: the running module does not know the option. */
  #unknownOption(node: Node, lists: readonly Target[]): void {
    this.#complete(node);
    const name = node.words[0]?.text ?? '';
    const found = findTarget(lists, name);
    if (found === undefined) this.#warn(node.at.line, `Warning: Ignoring ${name}`);
    else found[0].push({ name, value: UNKNOWN, option: found[1], inherited: false });
  }

  #startup(res: Resource, node: Node): void {
    if (node.openLine === undefined) this.#syntaxError();
    for (const child of node.body) {
      if (child.at.text === 'become-primary-on') {
        this.#complete(child);
      } else if (child.at.text === 'stacked-timeouts') {
        const extra = child.words[0];
        if (extra !== undefined) {
          this.#fatal(extra.line, `Parse error: ';' expected,\n\tbut got '${shown(extra.text)}' (TK ${extra.number})`);
        }
        this.#complete(child);
        res.stackedTimeouts = true;
      } else this.#option(child, 'startup', [[res.startup, ['startup']]]);
    }
    this.#complete(node);
  }

  #proxyOptions(node: Node, options: OptionList, plugins: string[]): void {
    if (node.openLine === undefined) this.#syntaxError();
    for (const child of node.body) {
      if (child.type === 'plugin') {
        for (const line of child.body) {
          this.#complete(line);
          plugins.push(line.words.map((w) => w.text).join(' '));
        }
        this.#complete(child);
      } else this.#option(child, 'proxy-options', [[options, ['proxy']]]);
    }
    this.#complete(node);
  }

  #proxy(node: Node): ProxySection {
    if (node.openLine === undefined) this.#syntaxError();
    const proxy: ProxySection = { names: node.words.map((w) => w.text), inside: undefined, outside: undefined, options: [], plugins: [] };
    for (const child of node.body) {
      if (child.type === 'proxy-options') this.#proxyOptions(child, proxy.options, proxy.plugins);
      else {
        const address = this.#address(child.address, child);
        this.#complete(child);
        if (child.type === 'inside') proxy.inside = address;
        else proxy.outside = address;
      }
    }
    this.#complete(node);
    for (const side of ['inside', 'outside'] as const) {
      if (proxy[side] === undefined)
        this.#error(node.at.line, `in section: proxy on ${proxy.names.join(' ')} { ... } }: '${side}' keyword missing.`);
    }
    return proxy;
  }

  // Connections

  #connection(res: Resource, node: Node): void {
    const name = node.words[0];
    if (name !== undefined)
      this.#warn(name.line, `explicitly named connections are deprecated!\n\tits name ('${name.text}') will be ignored`);
    if (node.openLine === undefined) this.#syntaxError();
    const connection = newConnection(this.#file.canonical, node.at.line);
    res.connections.push(connection);
    let explicitPath = false;
    let implicit: Path | undefined;
    for (const child of node.body) {
      switch (child.type) {
        case 'host':
        case 'address': {
          const isMixed = explicitPath && implicit === undefined;
          if (isMixed) this.#error(child.at.line, 'Explicit and implicit paths not allowed');
          const endpoint = this.#endpoint(child);
          if (isMixed) break;
          if (implicit === undefined) {
            implicit = newPath(node.at.line, true);
            connection.paths.push(implicit);
          }
          if (implicit.endpoints.length >= 2)
            this.#error(child.endLine ?? child.at.line, "only two 'host' keywords per connection allowed");
          else implicit.endpoints.push(endpoint);
          break;
        }
        case 'path':
          explicitPath = true;
          this.#path(connection, child);
          break;
        case 'net': {
          if (connection.net.length > 0) this.#error(child.at.line, "only one 'net' section per connection allowed");
          const net: OptionList = [];
          this.#optionSection(child, [[net, ['net']]]);
          connection.net = net;
          break;
        }
        case 'disk-options':
          this.#optionSection(child, [[connection.peerDeviceOptions, ['peer-device']]]);
          break;
        case 'volume': {
          const number = child.words[0];
          const section = child.body[0];
          if (number === undefined || section === undefined) this.#syntaxError();
          const options: OptionList = [];
          this.#optionSection(section, [[options, ['peer-device']]]);
          this.#complete(child);
          connection.peerDevices.push({ vnr: numberOf(number), implicit: false, options, volume: undefined, peerVolume: undefined });
          break;
        }
        case 'peer-node-id':
          this.#complete(child);
          connection.peerNodeId = child.words[0]!.text;
          break;
        case 'cstate':
          this.#complete(child);
          connection.cstate = child.words[0]!.text;
          break;
        default:
          this.#syntaxError();
      }
    }
    this.#complete(node);
    if (connection.paths.length === 0 && !this.#show)
      this.#error(node.endLine!, 'connection without a single path (maybe empty?) not allowed');
  }

  #path(connection: Connection, node: Node): void {
    if (node.openLine === undefined) this.#syntaxError();
    const path = newPath(node.at.line, false);
    for (const child of node.body) {
      const endpoint = this.#endpoint(child);
      if (path.endpoints.length >= 2) this.#error(child.endLine ?? child.at.line, "only two 'host' keywords per path allowed");
      else path.endpoints.push(endpoint);
      if (child.at.text === '_this_host') path.me = endpoint;
      if (child.at.text === '_remote_host') {
        path.peer = endpoint;
        path.connectTo = endpoint.address;
      }
    }
    this.#complete(node);
    connection.paths.push(path);
  }

  #endpoint(node: Node): Endpoint {
    const name = node.words[0]?.text;
    const endpoint: Endpoint = {
      name,
      byAddress: node.type === 'address',
      line: node.at.line,
      address: undefined,
      port: undefined,
      addressHere: false,
      host: undefined,
      proxy: undefined,
      proxyFromHost: false,
      outsideAddress: undefined,
    };
    if (node.type === 'host' && name === undefined) this.#syntaxError();
    if (node.address !== undefined) {
      endpoint.address = this.#address(node.address, node);
      endpoint.addressHere = true;
    }
    endpoint.port = node.port?.text;
    for (const child of node.body) {
      if (child.type === 'proxy') endpoint.proxy = this.#proxy(child);
      else {
        endpoint.outsideAddress = this.#address(child.address, child);
        this.#complete(child);
      }
    }
    this.#complete(node);
    return endpoint;
  }

  #mesh(res: Resource, node: Node): void {
    if (node.openLine === undefined) this.#syntaxError();
    const mesh = { hosts: [] as string[], net: [] as OptionList };
    res.meshes.push(mesh);
    for (const child of node.body) {
      if (child.type === 'net') {
        if (mesh.net.length > 0) this.#error(child.at.line, "only one 'net' section allowed");
        const net: OptionList = [];
        this.#optionSection(child, [[net, ['net']]]);
        mesh.net = net;
      } else {
        this.#complete(child);
        mesh.hosts.push(...child.words.map((w) => w.text));
      }
    }
    this.#complete(node);
  }
}

/** A list of options, the groups it takes, and which names of them if not all. */
type Target = readonly [OptionList, readonly OptionGroup[], ((name: string) => boolean)?];

/** Value of an entry that only says that the running module does not know the option. */
export const UNKNOWN = '\u0000unknown';
export const isUnknown = (entry: OptionEntry): boolean => entry.value === UNKNOWN;

function findTarget(lists: readonly Target[], name: string): [OptionList, Option] | undefined {
  for (const [list, groups, only] of lists) {
    if (only !== undefined && !only(name)) continue;
    const option = lookUp(groups, name);
    if (option !== undefined) return [list, option];
  }
  return undefined;
}

const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/')) || '/';

/** Line of the last section with options or hosts, where stock points when a host has no business in `common`. */
function lastSectionLine(node: Node): number {
  const last = node.body.filter((child) => child.type !== 'skip').at(-1);
  return last?.at.line ?? node.at.line;
}

/** The name made up for a host that is known by its address. */
function floatingName(address: Address): string {
  return `${address.address}:${address.port}`.replace(/[^0-9A-Za-z+\-._]/g, '_');
}

/** @returns what is wrong with a resource name, as stock says it */
export function resourceNameProblem(name: string): string | undefined {
  if (name === '') return 'Resource name is empty.';
  if (/[\x00-\x1f\x7f]/.test(name)) return "Resource name is invalid - please don't use control characters.";
  return undefined;
}
