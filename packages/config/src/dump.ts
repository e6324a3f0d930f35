/**
 * `drbdadm dump`: the configuration as drbd.conf text, byte for byte as stock lays it out. Without inheritance it shows what is
 * written; with it, and verbose, everything that was derived.
 */
import { addressText } from './address.js';
import type { Address, Config, Connection, Endpoint, Host, OptionList, ProxySection, Resource, Volume } from './model.js';

export interface DumpStyle {
  readonly nodeName: string;
  readonly verbose: boolean;
}

/** Text as it stands in a configuration: bare when it can be, quoted otherwise. */
export function quote(text: string): string {
  if (text === '') return '""';
  if (text.length <= 80 && /^[a-zA-Z0-9/._-]+$/.test(text)) return text;
  return `"${text.replace(/["\\]/g, '\\$&')}"`;
}

class Printer {
  text = '';
  #level = 0;

  get indent(): string {
    return ' '.repeat(4 * this.#level);
  }

  line(text: string): void {
    this.text += `${this.indent}${text}\n`;
  }

  /** Name in the columns up to 24, value right-justified behind. */
  setting(name: string, value: string): void {
    this.line(`${name.padEnd(24 - this.indent.length)} ${value.padStart(3)};`);
  }

  address(keyword: string, address: Address, end = ';'): void {
    this.line(`${keyword.padEnd(16)} ${address.family} ${addressText(address)}${end}`);
  }

  section(head: string, body: () => void): void {
    this.line(`${head} {`);
    this.inside(body);
    this.line('}');
  }

  inside(body: () => void): void {
    this.#level++;
    body();
    this.#level--;
  }

  options(list: OptionList): void {
    for (const { name, value } of list) {
      if (value === undefined) this.line(`${name};`);
      else this.setting(name, quote(value));
    }
  }

  optionSection(name: string, list: OptionList): void {
    if (list.length > 0) this.section(name, () => this.options(list));
  }
}

/** The `# file` line and the global section. */
export function dumpGlobal(config: Config, { verbose }: DumpStyle): string {
  const out = new Printer();
  out.line(`# ${config.file}`);
  const { disableIpVerification, minorCount, dialogRefresh, usageCount } = config.global;
  const lines: string[] = [];
  if (disableIpVerification) lines.push('disable-ip-verification;');
  if (minorCount !== 0) lines.push(`minor-count ${minorCount};`);
  if (dialogRefresh !== 1) lines.push(`dialog-refresh ${dialogRefresh};`);
  if (usageCount !== 'ask') lines.push(`usage-count ${usageCount};`);
  if (lines.length > 0 || verbose) {
    out.section('global', () => {
      for (const line of lines) out.line(line);
    });
    out.text += '\n';
  }
  return out.text;
}

export function dumpCommon(common: Resource): string {
  const out = new Printer();
  out.section('common', () => resourceSections(out, common));
  return `${out.text}\n`;
}

/** One resource with the two comment lines above it. */
export function dumpResource(res: Resource, style: DumpStyle): string {
  const out = new Printer();
  const name = quote(res.name);
  out.line(
    `# resource ${name} on ${style.nodeName}: ${res.ignore ? 'ignored' : 'not ignored'}, ${res.stacked ? 'stacked' : 'not stacked'}`,
  );
  out.line(`# defined at ${res.file}:${res.line}`);
  out.section(`resource ${name}`, () => {
    if (res.templateFile !== undefined) out.line(`template-file ${quote(res.template?.file ?? res.templateFile)};`);
    if (!style.verbose) for (const volume of res.volumes) dumpVolume(out, volume, style, false);
    for (const host of res.hosts) dumpHost(out, host, style);
    for (const connection of res.connections) dumpConnection(out, connection, style);
    if (!style.verbose) {
      for (const mesh of res.meshes) {
        out.section('connection-mesh', () => {
          if (mesh.hosts.length > 0) out.line(`hosts ${mesh.hosts.map(quote).join(' ')};`);
          out.optionSection('net', mesh.net);
        });
      }
    }
    resourceSections(out, res);
  });
  return `${out.text}\n`;
}

function resourceSections(out: Printer, res: Resource): void {
  out.optionSection('options', res.options);
  out.optionSection('net', res.net);
  out.optionSection('disk', [...res.device, ...res.disk, ...res.peerDevice]);
  if (res.startup.length > 0 || res.stackedTimeouts) {
    out.section('startup', () => {
      out.options(res.startup);
      if (res.stackedTimeouts) out.line('stacked-timeouts;');
    });
  }
  if (res.proxy.length > 0 || res.plugins.length > 0) out.section('proxy', () => proxyOptions(out, res.proxy, res.plugins));
  out.optionSection('handlers', res.handlers);
}

function proxyOptions(out: Printer, options: OptionList, plugins: readonly string[]): void {
  out.options(options);
  if (plugins.length > 0)
    out.section('plugin', () => {
      for (const line of plugins) out.line(`${line};`);
    });
}

function dumpVolume(out: Printer, volume: Volume, { verbose }: DumpStyle, stacked: boolean): void {
  const body = () => {
    out.optionSection('disk', [...volume.deviceOptions, ...volume.diskOptions, ...volume.peerDeviceOptions]);
    if (volume.deviceHere || verbose) {
      const device = volume.device === undefined ? '' : `${quote(volume.device)} `;
      if (volume.minor !== undefined || volume.device !== undefined)
        out.line(`device${' '.repeat(19 - out.indent.length)}${device}minor ${volume.minor ?? 0};`);
    }
    if (stacked) return;
    if (verbose || (volume.diskHere && (volume.disk !== undefined || isDerived(volume)))) out.setting('disk', quote(volume.disk ?? 'none'));
    if (volume.metaDisk !== undefined && (volume.metaDiskHere || verbose)) {
      if (volume.metaDisk === 'internal') out.setting('meta-disk', 'internal');
      else {
        const index = volume.metaIndex === 'flexible' ? '' : ` [${volume.metaIndex}]`;
        out.line(`${'meta-disk'.padEnd(16)} ${quote(volume.metaDisk)}${index};`);
      }
    }
    if (volume.tiebreakerHere) out.setting('tiebreaker', volume.tiebreaker ? 'yes' : 'no');
  };
  if (volume.implicit) body();
  else out.section(`volume ${volume.vnr}`, body);
}

/** Inheritance leaves a volume that is to have no disk without one. */
const isDerived = (volume: Volume): boolean => volume.disk === undefined && volume.device !== undefined;

function dumpHost(out: Printer, host: Host, style: DumpStyle): void {
  const isStacked = host.lowerName !== undefined;
  if (isStacked) {
    out.line(`stacked-on-top-of ${quote(host.lowerName!)} {`);
    out.inside(() => out.line(`# on ${host.names.map(quote).join(' ')} `));
  } else if (host.byAddress) out.address('floating', host.address!, ' {');
  else out.line(`on ${host.names.map(quote).join(' ')} {`);
  out.inside(() => {
    if (host.nodeId !== undefined) out.line(`node-id ${host.nodeId};`);
    out.optionSection('options', host.options);
    for (const volume of host.volumes) {
      const written = !isStacked && (volume.deviceHere || volume.diskHere || volume.metaDiskHere);
      if (written || style.verbose) dumpVolume(out, volume, style, isStacked);
    }
    if (host.address !== undefined && !host.byAddress) out.address('address', host.address);
    if (host.proxy !== undefined && !style.verbose) dumpProxy(out, 'proxy on', host.proxy);
  });
  out.line('}');
}

function dumpProxy(out: Printer, head: string, proxy: ProxySection): void {
  out.section(`${head} ${proxy.names.map(quote).join(' ')}`, () => {
    if (proxy.inside !== undefined) out.address('inside', proxy.inside);
    if (proxy.outside !== undefined) out.address('outside', proxy.outside);
    if (proxy.options.length > 0 || proxy.plugins.length > 0) out.section('options', () => proxyOptions(out, proxy.options, proxy.plugins));
  });
}

function dumpEndpoint(out: Printer, endpoint: Endpoint, { verbose }: DumpStyle): void {
  const { address, proxy, outsideAddress } = endpoint;
  const { indent } = out;
  const name = quote(endpoint.name ?? '');
  let text = `${indent}`;
  if (endpoint.byAddress) {
    // Stock puts the comment before the end of the statement, so this cannot be read again.
    const shown = address === undefined ? '' : `${address.family} ${addressText(address)}`;
    text += `${'address'.padEnd(16)} ${shown}; # on ${name}\n`;
  } else if (address !== undefined && (endpoint.addressHere || verbose)) {
    text += `host ${name}${indent}${' address'.padEnd(16)} ${address.family} ${addressText(address)}`;
  } else if (endpoint.port !== undefined && !verbose) text += `host ${name} port ${endpoint.port}`;
  else text += `host ${name}`;
  out.text += text;
  const showProxy = proxy !== undefined && (verbose || !endpoint.proxyFromHost);
  if (showProxy) {
    dumpProxy(out, ' via proxy on', proxy);
    return;
  }
  if (outsideAddress !== undefined) out.text += `${indent} via outside-address ${outsideAddress.family} ${addressText(outsideAddress)}`;
  out.text += ';\n';
}

function dumpConnection(out: Printer, connection: Connection, style: DumpStyle): void {
  if (connection.implicit && !style.verbose) return;
  out.section('connection', () => {
    for (const path of connection.paths) {
      const body = () => {
        for (const endpoint of path.endpoints) dumpEndpoint(out, endpoint, style);
      };
      if (path.implicit && !style.verbose) body();
      else out.section('path', body);
    }
    out.optionSection('net', connection.net);
    out.optionSection('disk', connection.peerDeviceOptions);
    for (const device of connection.peerDevices) {
      if (device.implicit && !style.verbose) continue;
      out.section(`volume ${device.vnr}`, () => out.optionSection('disk', device.options));
    }
  });
}
