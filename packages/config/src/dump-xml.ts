/** `drbdadm dump-xml`: the configuration as XML, byte for byte as stock writes it. */
import type { Address, Config, Connection, Endpoint, OptionList, ProxySection, Resource, Volume } from './model.js';

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&apos;' };
const escapeXml = (text: string): string => text.replace(/[&<>"']/g, (c) => ENTITIES[c]!);

/** printf's way to show what is not there. */
const NOTHING = '(null)';

class XmlPrinter {
  text = '';
  #level: number;

  constructor(level: number) {
    this.#level = level;
  }

  line(text: string): void {
    this.text += `${' '.repeat(4 * this.#level)}${text}\n`;
  }

  element(open: string, name: string, body: () => void): void {
    this.line(`<${open}>`);
    this.#level++;
    body();
    this.#level--;
    this.line(`</${name}>`);
  }

  inside(body: () => void): void {
    this.#level++;
    body();
    this.#level--;
  }

  section(name: string, list: OptionList, more: () => void = () => {}): void {
    this.element(`section name="${name}"`, 'section', () => {
      for (const { name, value } of list) this.option(name, value);
      more();
    });
  }

  option(name: string, value?: string): void {
    this.line(`<option name="${escapeXml(name)}"${value === undefined ? '' : ` value="${escapeXml(value)}"`}/>`);
  }

  sectionIfAny(name: string, list: OptionList): void {
    if (list.length > 0) this.section(name, list);
  }
}

const addressElement = (name: string, a: Address | undefined): string =>
  `<${name} family="${a?.family ?? NOTHING}" port="${a?.port ?? NOTHING}">${a?.address ?? NOTHING}</${name}>`;

/** Everything before the resources. */
export function dumpXmlHead(config: Config): string {
  const out = new XmlPrinter(0);
  out.line(`<config file="${escapeXml(config.file)}">`);
  out.inside(() => {
    const { disableIpVerification, minorCount, dialogRefresh } = config.global;
    const lines: string[] = [];
    if (disableIpVerification) lines.push('<disable-ip-verification/>');
    if (minorCount !== 0) lines.push(`<minor-count count="${minorCount}"/>`);
    if (dialogRefresh !== 1) lines.push(`<dialog-refresh refresh="${dialogRefresh}"/>`);
    if (lines.length > 0)
      out.element('global', 'global', () => {
        for (const line of lines) out.line(line);
      });
    const { common } = config;
    if (common !== undefined) out.element('common', 'common', () => resourceSections(out, common));
  });
  return out.text;
}

/** What closes the document that `dumpXmlHead` opened. */
export const XML_TAIL = '</config>\n';

/** @param level - depth of indentation: 1 inside of a document, 0 on its own */
export function dumpXmlResource(res: Resource, level: 0 | 1, verbose: boolean): string {
  const out = new XmlPrinter(level);
  const where = `${res.file}:${res.line}`;
  out.element(`resource name="${escapeXml(res.name)}" conf-file-line="${escapeXml(where)}"`, 'resource', () => {
    // Stock never closes this element.
    if (res.templateFile !== undefined) out.line(`<template file="${escapeXml(res.template?.file ?? res.templateFile)}">`);
    for (const host of res.hosts) {
      const name = host.byAddress ? 'floating="1"' : `name="${escapeXml(host.names.join(' '))}"`;
      out.element(`host ${name}`, 'host', () => {
        out.sectionIfAny('options', host.options);
        for (const volume of host.volumes) dumpVolume(out, volume);
        out.line(addressElement('address', host.address));
      });
    }
    for (const connection of res.connections) dumpConnection(out, connection, verbose);
    resourceSections(out, res);
  });
  return out.text;
}

function resourceSections(out: XmlPrinter, res: Resource): void {
  out.sectionIfAny('options', res.options);
  out.sectionIfAny('net', res.net);
  out.sectionIfAny('disk', [...res.device, ...res.disk, ...res.peerDevice]);
  if (res.startup.length > 0 || res.stackedTimeouts)
    out.section('startup', res.startup, () => {
      if (res.stackedTimeouts) out.option('stacked-timeouts');
    });
  if (res.proxy.length > 0 || res.plugins.length > 0)
    out.section('proxy', res.proxy, () => {
      if (res.plugins.length > 0)
        out.section('plugin', [], () => {
          for (const line of res.plugins) out.option(line);
        });
    });
  out.sectionIfAny('handlers', res.handlers);
}

function dumpVolume(out: XmlPrinter, volume: Volume): void {
  out.element(`volume vnr="${volume.vnr}"`, 'volume', () => {
    out.sectionIfAny('disk', [...volume.deviceOptions, ...volume.diskOptions, ...volume.peerDeviceOptions]);
    out.line(`<device minor="${volume.minor ?? 0}">${escapeXml(volume.device ?? '')}</device>`);
    out.line(`<disk>${escapeXml(volume.disk ?? '')}</disk>`);
    if (volume.metaDisk === undefined) return;
    const { metaIndex } = volume;
    const index = metaIndex === 'internal' || metaIndex === 'flexible' ? '' : ` index="${metaIndex}"`;
    out.line(`<meta-disk${index}>${escapeXml(volume.metaDisk)}</meta-disk>`);
  });
}

function dumpConnection(out: XmlPrinter, connection: Connection, verbose: boolean): void {
  out.element('connection', 'connection', () => {
    for (const path of connection.paths) {
      const body = () => {
        for (const endpoint of path.endpoints) dumpEndpoint(out, endpoint);
      };
      if (path.implicit && !verbose) body();
      else out.element('path', 'path', body);
    }
    out.sectionIfAny('net', connection.net);
    out.sectionIfAny('disk', connection.peerDeviceOptions);
    for (const device of connection.peerDevices) {
      if (device.implicit && !verbose) continue;
      out.element(`volume vnr="${device.vnr}"`, 'volume', () => out.sectionIfAny('disk', device.options));
    }
  });
}

function dumpEndpoint(out: XmlPrinter, endpoint: Endpoint): void {
  const address = addressElement('address', endpoint.address);
  const open = `host name="${escapeXml(endpoint.name ?? '')}"`;
  if (endpoint.proxy === undefined) {
    out.line(`<${open}>${address}</host>`);
    return;
  }
  out.element(open, 'host', () => {
    out.line(address);
    dumpProxy(out, endpoint.proxy!);
  });
}

function dumpProxy(out: XmlPrinter, proxy: ProxySection): void {
  out.element(`proxy hostname="${escapeXml(proxy.names.join(' '))}"`, 'proxy', () => {
    out.line(addressElement('inside', proxy.inside));
    out.line(addressElement('outside', proxy.outside));
    if (proxy.options.length > 0 || proxy.plugins.length > 0)
      out.section('options', proxy.options, () => {
        for (const line of proxy.plugins) out.option(line);
      });
  });
}
