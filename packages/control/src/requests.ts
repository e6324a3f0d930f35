/**
 * What drbdsetup asks of the engine: DRBD 9's administrative operations, one request a line.
 *
 * A request is `{ id, command, ...parameters }`, its answer `{ id, code, info, data? }` with the number the kernel's DRBD would
 * have put into its netlink reply. docs/control-socket.md describes the language for people.
 */
import type { Notification } from './notifications.js';
import type { DeviceOptions, DiskOptions, NetOptions, PeerDeviceOptions, ResourceOptions } from './options.js';
import type { Endpoint, Snapshot } from './snapshot.js';

/** Version of this language; the engine names it in its answer to `version`. */
export const CONTROL_VERSION = 1;

interface OfResource {
  readonly resource: string;
}
interface OfConnection extends OfResource {
  readonly peerNodeId: number;
}
interface OfPeerDevice extends OfConnection {
  readonly volume: number;
}
interface OfMinor {
  readonly minor: number;
}
interface OfPath extends OfConnection {
  readonly local: Endpoint;
  readonly remote: Endpoint;
}
interface Force {
  readonly force: boolean;
}
/** Only the options named change; with `setDefaults` all others go back to their defaults first. */
interface Change<T> {
  readonly options: Partial<T>;
  readonly setDefaults: boolean;
}

/** Parameters of every command. */
export interface RequestParameters {
  ping: object;
  version: object;
  /** The objects of one resource, or all. */
  snapshot: { readonly resource?: string };
  /** The initial state as `exists` notifications; with `subscribe` followed by every change until the connection closes. */
  events: { readonly subscribe: boolean };
  /** The text of the classic /proc/drbd. */
  proc: object;
  /** Which of the three wait-for-connection time-outs holds for this peer device. */
  'timeout-type': OfPeerDevice;

  /** Node id 0xFFFFFFFF: none given, the syntax of DRBD 8.4. An existing resource of that name is a success. */
  'new-resource': OfResource & { readonly nodeId: number; readonly options: Partial<ResourceOptions> };
  'resource-options': OfResource & Change<ResourceOptions>;
  'rename-resource': OfResource & { readonly newName: string };
  'del-resource': OfResource;
  primary: OfResource & Force;
  secondary: OfResource & Force;
  down: OfResource;

  'new-minor': OfResource & OfMinor & { readonly volume: number; readonly options: Partial<DeviceOptions> };
  'del-minor': OfMinor;
  attach: OfMinor & {
    readonly backingDev: string;
    readonly metaDev: string;
    /** A slot number, META_INDEX_FLEXIBLE or META_INDEX_INTERNAL. */
    readonly metaIndex: number;
    readonly options: Partial<DiskOptions>;
  };
  detach: OfMinor & Force & { readonly diskless: boolean };
  'disk-options': OfMinor & Change<DiskOptions>;
  /** `size` in sectors; 0 or absent: as much as there is. */
  resize: OfMinor & {
    readonly size?: number;
    readonly assumePeerHasSpace: boolean;
    readonly assumeClean: boolean;
    readonly alStripes?: number;
    readonly alStripeSizeKiB?: number;
  };
  'new-current-uuid': OfMinor & { readonly clearBitmap: boolean; readonly forceResync: boolean };
  invalidate: OfMinor & { readonly syncFromPeerNodeId?: number; readonly resetBitmap: boolean };
  outdate: OfMinor;
  'suspend-io': OfMinor & { readonly bdevFreeze: boolean };
  'resume-io': OfMinor;

  'new-peer': OfConnection & { readonly options: Partial<NetOptions> };
  'net-options': OfConnection & Change<NetOptions>;
  'del-peer': OfConnection & Force;
  'forget-peer': OfConnection;
  'new-path': OfPath;
  'del-path': OfPath;
  connect: OfConnection & { readonly tentative: boolean; readonly discardMyData: boolean };
  disconnect: OfConnection & Force;

  'peer-device-options': OfPeerDevice & Change<PeerDeviceOptions>;
  'invalidate-remote': OfPeerDevice & { readonly resetBitmap: boolean };
  'pause-sync': OfPeerDevice;
  'resume-sync': OfPeerDevice;
  /** Sectors; without `start` where the last one stopped, without `stop` to the end. */
  verify: OfPeerDevice & { readonly start?: number; readonly stop?: number };
}

export type Command = keyof RequestParameters;
export type RequestOf<C extends Command> = C extends Command
  ? { readonly id: number; readonly command: C } & Readonly<RequestParameters[C]>
  : never;
/** Any request; `command` discriminates. */
export type Request = RequestOf<Command>;

/** 0: wfc-timeout, 1: degr-wfc-timeout, 2: outdated-wfc-timeout. */
export type TimeoutType = 0 | 1 | 2;

/** What a successful answer carries in `data`; commands not named here carry nothing. */
export interface ReplyData {
  version: { readonly control: number; readonly engine: string; readonly pid: number };
  snapshot: Snapshot;
  proc: { readonly text: string };
  'timeout-type': { readonly timeoutType: TimeoutType };
}
export type ReplyDataOf<C extends Command> = C extends keyof ReplyData ? ReplyData[C] : undefined;

export interface Reply<C extends Command = Command> {
  readonly id: number;
  /** DRBD's number: 101, an ERR_*, or an SS_*. */
  readonly code: number;
  /** Texts that go below `additional info from kernel:` or `warnings from kernel:`. */
  readonly info: readonly string[];
  readonly data?: ReplyDataOf<C>;
}

/** A line of the answer to `events`. */
export interface EventLine {
  readonly id: number;
  readonly event: Notification;
}

export type ServerLine = Reply | EventLine;
