/** What the front desk and a reactor say to each other. Both directions carry plain values that can be cloned between threads. */
import type { Endpoint, Refusal } from '@udrbd/control';
import type { BackingDisk, ControlRequest, LogLevel, Options, ResourceSnapshot } from '@udrbd/replication';

import type { UblkDeviceSetup } from '../front-ends/ublk-front-end.js';

/** Which front end serves the volumes. */
export type FrontEndKind = 'ublk' | 'nbd' | 'none';

export interface PathSetup {
  readonly local: Endpoint;
  readonly remote: Endpoint;
}

/** Descriptors that the front desk has opened; it closes them after `disk-closed`. */
export interface DiskHandles {
  readonly dataFd: number;
  /** Equal to `dataFd` for internal meta-data. */
  readonly metaFd: number;
  readonly isBlockDevice: boolean;
  /** Bytes; requests are multiples of it. */
  readonly logicalBlockBytes: number;
}

export type DeskMessage =
  /** `isHeld`: its volumes are not served before `release`. */
  | {
      readonly type: 'add-resource';
      readonly host: number;
      readonly name: string;
      readonly nodeId: number;
      readonly options: Options;
      readonly isHeld: boolean;
    }
  /** Nothing is submitted any more: what the front ends have is for the next engine. */
  | { readonly type: 'hold'; readonly host: number }
  | { readonly type: 'release'; readonly host: number; readonly volumes: readonly number[] }
  | { readonly type: 'remove-resource'; readonly host: number; readonly operation: number }
  | { readonly type: 'control'; readonly host: number; readonly operation: number; readonly request: ControlRequest }
  | {
      readonly type: 'attach';
      readonly host: number;
      readonly operation: number;
      readonly volume: number;
      readonly disk: BackingDisk;
      readonly handles: DiskHandles;
    }
  | { readonly type: 'paths'; readonly host: number; readonly connection: number; readonly paths: readonly PathSetup[] }
  | { readonly type: 'snapshot'; readonly host: number; readonly operation: number }
  | { readonly type: 'helper-done'; readonly host: number; readonly token: number; readonly exitCode: number }
  /** The device exists: serve it. Answered with `reply` once every tag is armed. */
  | {
      readonly type: 'ublk-serve';
      readonly host: number;
      readonly operation: number;
      readonly volume: number;
      readonly setup: UblkDeviceSetup;
    }
  /** The device is stopped: answered when every tag is retired and the character device closed. */
  | { readonly type: 'ublk-drain'; readonly host: number; readonly operation: number; readonly volume: number }
  | { readonly type: 'stop' };

/** A resource as its reactor sees it, with what only the host knows. */
export interface HostSnapshot {
  readonly core: ResourceSnapshot;
  /** Volumes that somebody holds open through the front end. */
  readonly openVolumes: readonly number[];
  /** Connections whose path number `path` carries the two streams. */
  readonly established: readonly { readonly connection: number; readonly path: number }[];
}

export type ReactorMessage =
  | { readonly type: 'ready' }
  | { readonly type: 'stopped' }
  | {
      readonly type: 'reply';
      readonly host: number;
      readonly operation: number;
      readonly error?: Refusal;
      readonly info?: readonly string[];
    }
  | { readonly type: 'snapshot'; readonly host: number; readonly operation: number; readonly snapshot: HostSnapshot }
  | { readonly type: 'state'; readonly host: number; readonly snapshot: HostSnapshot }
  | {
      readonly type: 'helper';
      readonly host: number;
      readonly name: string;
      readonly volume: number | undefined;
      readonly connection: number | undefined;
      readonly token: number;
    }
  | { readonly type: 'disk-closed'; readonly host: number; readonly volume: number; readonly dataFd: number }
  /** With ublk: what the block device has to be like. */
  | {
      readonly type: 'volume';
      readonly host: number;
      readonly volume: number;
      readonly minor: number;
      readonly sizeSectors: number;
      readonly writable: boolean;
    }
  | { readonly type: 'failed'; readonly host: number; readonly text: string }
  | { readonly type: 'log'; readonly level: LogLevel; readonly text: string };

export type PostToDesk = (message: ReactorMessage) => void;
