/**
 * The configuration as objects: resources with their hosts, volumes, connections and peer devices. The reader fills in what the
 * file says; post-parse (`post-parse.ts`) derives the rest and inheritance (`inheritance.ts`) spreads the options.
 */
import type { Option } from './options.js';

/** A setting in an option list. Lists keep the order of the file; inherited entries go to the front. */
export interface OptionEntry {
  readonly name: string;
  /** Text as written; undefined for an option without a value. */
  readonly value: string | undefined;
  /** The catalogue row; undefined for what only DRBD's tools set (`_name`) . */
  readonly option: Option | undefined;
  readonly inherited: boolean;
}
export type OptionList = OptionEntry[];

/** `family` is ipv4, ipv6, ssocks or sdp; all texts as written. */
export interface Address {
  readonly family: string;
  readonly address: string;
  readonly port: string;
  /** 127/8 or ::1, exempt from conflict checks. */
  readonly isLoopback: boolean;
}

export interface Volume {
  readonly vnr: number;
  /** Written without a `volume` section around it. */
  implicit: boolean;
  /** All of it was taken over from the resource. */
  isInherited: boolean;
  device: string | undefined;
  minor: number | undefined;
  /** Path of the backing device or `none`; undefined = no disk. */
  disk: string | undefined;
  /** Device path or `internal`. */
  metaDisk: string | undefined;
  /** `internal`, `flexible` or a number as written. */
  metaIndex: string | undefined;
  tiebreaker: boolean | undefined;
  diskOptions: OptionList;
  deviceOptions: OptionList;
  peerDeviceOptions: OptionList;
  /** Which statements stand in this very section; the others were derived. */
  deviceHere: boolean;
  diskHere: boolean;
  metaDiskHere: boolean;
  tiebreakerHere: boolean;
  deviceLine: number;
  diskLine: number;
  metaDiskLine: number;
}

export interface ProxySection {
  names: string[];
  inside: Address | undefined;
  outside: Address | undefined;
  options: OptionList;
  plugins: string[];
}

/** A host section: `on`, `floating` or `stacked-on-top-of`. */
export interface Host {
  names: string[];
  readonly file: string;
  readonly line: number;
  nodeId: string | undefined;
  implicitNodeId: boolean;
  address: Address | undefined;
  readonly byAddress: boolean;
  /** Name of the resource below, for a stacked section. */
  readonly lowerName: string | undefined;
  lower: Resource | undefined;
  volumes: Volume[];
  options: OptionList;
  proxy: ProxySection | undefined;
  isMe: boolean;
}

/** The other end of a path in the words of `drbdsetup show`; no host section goes with it. */
export const REMOTE_HOST = '_remote_host';

/** One end of a path. */
export interface Endpoint {
  /** The name given; for an endpoint by address the matching host's, once found. */
  name: string | undefined;
  readonly byAddress: boolean;
  readonly line: number;
  address: Address | undefined;
  port: string | undefined;
  /** The address was written here, not taken from the host section. */
  addressHere: boolean;
  host: Host | undefined;
  proxy: ProxySection | undefined;
  /** The proxy came from the host section. */
  proxyFromHost: boolean;
  outsideAddress: Address | undefined;
}

export interface Path {
  readonly line: number;
  readonly implicit: boolean;
  endpoints: Endpoint[];
  ignore: boolean;
  me: Endpoint | undefined;
  peer: Endpoint | undefined;
  /** Where to connect to: the peer's address, its outside address, or the inside of the local proxy. */
  connectTo: Address | undefined;
}

export interface PeerDevice {
  readonly vnr: number;
  readonly line: number;
  readonly implicit: boolean;
  options: OptionList;
  /** The local and the peer's volume, when the connection is resolved. */
  volume: Volume | undefined;
  peerVolume: Volume | undefined;
}

export interface Connection {
  readonly line: number;
  readonly file: string;
  /** Made up for two hosts without a connection section. */
  readonly implicit: boolean;
  readonly fromMesh: boolean;
  paths: Path[];
  net: OptionList;
  peerDeviceOptions: OptionList;
  peerDevices: PeerDevice[];
  peer: Host | undefined;
  /** Does not concern this node. */
  ignore: boolean;
  /** Left out for this run, because another peer was named. */
  ignoreForNow: boolean;
  /** Only in running configurations. */
  peerNodeId: string | undefined;
  cstate: string;
}

export interface Mesh {
  hosts: string[];
  net: OptionList;
}

export interface Resource {
  readonly name: string;
  /** Canonical path of the file. */
  readonly file: string;
  /** The path by which the file was read, which errors met while parsing show. */
  readonly fileAsGiven: string;
  /** Line of the opening brace. */
  readonly line: number;
  hosts: Host[];
  volumes: Volume[];
  connections: Connection[];
  meshes: Mesh[];
  options: OptionList;
  net: OptionList;
  disk: OptionList;
  device: OptionList;
  peerDevice: OptionList;
  startup: OptionList;
  handlers: OptionList;
  proxy: OptionList;
  plugins: string[];
  stackedTimeouts: boolean;
  /** This node only runs proxies for it. */
  proxyOnly: boolean;
  templateFile: string | undefined;
  /** The template's `common`, which takes the place of the global one. */
  template: Resource | undefined;
  me: Host | undefined;
  ignore: boolean;
  stacked: boolean;
}

export interface GlobalSettings {
  disableIpVerification: boolean;
  udevAlwaysUseVnr: boolean;
  minorCount: number;
  dialogRefresh: number;
  cmdTimeoutShort: number;
  cmdTimeoutMedium: number;
  cmdTimeoutLong: number;
  usageCount: 'yes' | 'no' | 'ask';
}

export interface Config {
  /** Canonical path of the main file, or `STDIN`. */
  readonly file: string;
  global: GlobalSettings;
  common: Resource | undefined;
  resources: Resource[];
  /** False once an error was reported. */
  valid: boolean;
}

export const newVolume = (vnr: number, implicit = false): Volume => ({
  vnr,
  implicit,
  isInherited: false,
  device: undefined,
  minor: undefined,
  disk: undefined,
  metaDisk: undefined,
  metaIndex: undefined,
  tiebreaker: undefined,
  diskOptions: [],
  deviceOptions: [],
  peerDeviceOptions: [],
  deviceHere: false,
  diskHere: false,
  metaDiskHere: false,
  tiebreakerHere: false,
  deviceLine: 0,
  diskLine: 0,
  metaDiskLine: 0,
});

export const newHost = (names: string[], file: string, line: number, more: Partial<Host> = {}): Host => ({
  names,
  file,
  line,
  nodeId: undefined,
  implicitNodeId: false,
  address: undefined,
  byAddress: false,
  lowerName: undefined,
  lower: undefined,
  volumes: [],
  options: [],
  proxy: undefined,
  isMe: false,
  ...more,
});

export const newPath = (line: number, implicit: boolean): Path => ({
  line,
  implicit,
  endpoints: [],
  ignore: false,
  me: undefined,
  peer: undefined,
  connectTo: undefined,
});

export const newConnection = (file: string, line: number, more: Partial<Connection> = {}): Connection => ({
  line,
  file,
  implicit: false,
  fromMesh: false,
  paths: [],
  net: [],
  peerDeviceOptions: [],
  peerDevices: [],
  peer: undefined,
  ignore: false,
  ignoreForNow: false,
  peerNodeId: undefined,
  cstate: 'StandAlone',
  ...more,
});

export const newResource = (name: string, file: string, fileAsGiven: string, line: number): Resource => ({
  name,
  file,
  fileAsGiven,
  line,
  hosts: [],
  volumes: [],
  connections: [],
  meshes: [],
  options: [],
  net: [],
  disk: [],
  device: [],
  peerDevice: [],
  startup: [],
  handlers: [],
  proxy: [],
  plugins: [],
  stackedTimeouts: false,
  proxyOnly: false,
  templateFile: undefined,
  template: undefined,
  me: undefined,
  ignore: false,
  stacked: false,
});

export const DEFAULT_GLOBALS: Readonly<GlobalSettings> = {
  disableIpVerification: false,
  udevAlwaysUseVnr: false,
  minorCount: 0,
  dialogRefresh: 1,
  cmdTimeoutShort: 5,
  cmdTimeoutMedium: 600,
  cmdTimeoutLong: 0,
  usageCount: 'ask',
};

/** The node names of a host section as one text. */
export const namesOf = (host: { names: readonly string[] }): string => host.names.join(' ');

/** `device` as DRBD calls it, whether or not the file names it. */
export const deviceOf = (volume: Volume): string => volume.device ?? `/dev/drbd${volume.minor ?? 0}`;

export const hasDisk = (volume: Volume): boolean => volume.disk !== undefined && volume.disk !== 'none';

export function findEntry(list: readonly OptionEntry[], name: string): OptionEntry | undefined {
  return list.find((o) => o.name === name);
}

/**
 * Host names are equal ignoring case; only when both have a dot is the domain compared too.
 */
export function hostNamesEqual(a: string, b: string): boolean {
  const x = a.toLowerCase();
  const y = b.toLowerCase();
  if (x.includes('.') && y.includes('.')) return x === y;
  return x.split('.', 1)[0] === y.split('.', 1)[0];
}
