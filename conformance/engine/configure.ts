/** What `drbdadm up` does, through the control socket, for tests with two engines on this host. */
import { dirname } from 'node:path';
import type { DiskOptions, NetOptions } from '@udrbd/control';
import { run as drbdmeta } from '@udrbd/drbdmeta';
import type { EngineProcess } from './engine-process.js';

/** What is different from a resource r0 with a minor that is the node id, and a fast resync. */
export interface Variation {
  readonly resource?: string;
  readonly minor?: number;
  /** KiB/s. */
  readonly resyncRate?: number;
  readonly diskOptions?: Partial<DiskOptions>;
}

/**
 * A resource with one volume, attached, not yet connected. The node id is 0 or 1.
 * @param local - port on the loopback address, as is `remote`
 */
export async function configure(
  engine: Pick<EngineProcess, 'ask'>,
  nodeId: 0 | 1,
  image: string,
  local: number,
  remote: number,
  net: Partial<NetOptions> = {},
  { resource = 'r0', minor = nodeId, resyncRate = 200_000, diskOptions = {} }: Variation = {},
): Promise<void> {
  const peerNodeId = 1 - nodeId;
  await engine.ask('new-resource', { resource, nodeId, options: {} });
  await engine.ask('new-minor', { resource, minor, volume: 0, options: {} });
  await engine.ask('new-peer', {
    resource,
    peerNodeId,
    options: { _name: `node${peerNodeId}`, protocol: 'C', 'connect-int': 1, ...net },
  });
  // A fixed rate, also beside an application: the controller would begin slowly.
  await engine.ask('peer-device-options', {
    resource,
    peerNodeId,
    volume: 0,
    options: { 'c-plan-ahead': 0, 'resync-rate': resyncRate, 'c-min-rate': 0 },
    setDefaults: false,
  });
  await engine.ask('new-path', {
    resource,
    peerNodeId,
    local: { family: 'ipv4', address: '127.0.0.1', port: local },
    remote: { family: 'ipv4', address: '127.0.0.1', port: remote },
  });
  await applyActivityLog(minor, image);
  await engine.ask('attach', { minor, backingDev: image, metaDev: image, metaIndex: -3, options: diskOptions });
}

/** As `drbdadm attach` does it first. */
export const applyActivityLog = (minor: number, image: string): Promise<void> => metaData(minor, image, 'apply-al');

/** A command of drbdmeta on internal meta-data. */
export async function metaData(minor: number, image: string, command: string): Promise<void> {
  let said = '';
  const status = await drbdmeta(['--force', String(minor), 'v09', image, 'internal', command], {
    stdout: (text) => {
      said += String(text);
    },
    stderr: (text) => {
      said += text;
    },
    env: { UDRBD_LOCK_DIR: dirname(image), UDRBD_STATE_DIR: dirname(image) },
    stdinIsTty: false,
    stdoutIsTty: false,
    readLine: async () => null,
    acceptsFiles: true,
  });
  if (status !== 0) throw new Error(`${command}: ${status}\n${said}`);
}
