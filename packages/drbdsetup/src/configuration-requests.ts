/** From a configuration command's words to the request it sends. */
import { accessSync, constants, statSync } from 'node:fs';
import { resolve as resolvePath } from 'node:path';
import {
  type Command,
  type DeviceOptions,
  type DiskOptions,
  META_INDEX_FLEXIBLE,
  META_INDEX_INTERNAL,
  type NetOptions,
  type PeerDeviceOptions,
  type RequestParameters,
  type ResourceOptions,
} from '@udrbd/control';
import { parseEndpoint } from './addresses.js';
import { CommandExit, EXIT_USAGE } from './command-io.js';
import { givenFields } from './given-options.js';
import { type Invocation, isGiven, widthOf } from './invocation.js';
import { parseS32, parseU32 } from './numbers.js';
import { commandUsage } from './usage.js';

type ConfigurationCommand = Exclude<Command, 'events'>;

export interface ConfigurationRequest {
  readonly command: ConfigurationCommand;
  readonly parameters: RequestParameters[ConfigurationCommand];
}

const NODE_ID_NONE = 0xffff_ffff;

const request = <C extends ConfigurationCommand>(command: C, parameters: RequestParameters[C]): ConfigurationRequest => ({
  command,
  parameters,
});

/** @throws CommandExit with the stock text for anything that is missing, too much, or not understood */
export async function configurationRequest(invocation: Invocation): Promise<ConfigurationRequest> {
  const { io, row, peerNodeId, volume, minor } = invocation;
  const resource = invocation.resource ?? '';
  const wanted = row.payload ?? [];
  const isWithoutNodeId = row.name === 'new-resource' && invocation.rest.length === 0;
  if (isWithoutNodeId) {
    io.stderr('new-resource called without node-id: enabling drbd8 compat mode\n');
  } else if (invocation.rest.length < wanted.length) {
    throw new CommandExit(EXIT_USAGE, {
      stderr: `Missing argument '${wanted[invocation.rest.length]}'\n`,
      stdout: commandUsage(row, widthOf(io)),
    });
  }
  const payload = invocation.rest.slice(0, wanted.length);
  const argument = (index: number): string => payload[index] ?? '';
  const endpoints = async () => ({
    local: await parseEndpoint(argument(0), io.stderr),
    remote: await parseEndpoint(argument(1), io.stderr),
  });
  const paths = row.name === 'new-path' || row.name === 'del-path' ? await endpoints() : undefined;
  const disk = row.name === 'attach' ? attachArguments(argument(0), argument(1), argument(2)) : undefined;
  const nodeId = row.name === 'new-resource' ? (isWithoutNodeId ? NODE_ID_NONE : parseU32(argument(0))) : 0;

  const fields = givenFields(invocation);
  if (invocation.rest.length > wanted.length) {
    throw new CommandExit(EXIT_USAGE, { stderr: `Excess arguments: ${invocation.rest.slice(wanted.length).join(' ')}\n` });
  }
  const flag = (name: string, preset = false): boolean => (fields[name] ?? preset) === true;
  const number = (name: string): number | undefined => fields[name] as number | undefined;
  const optional = <K extends string>(key: K, value: number | undefined) =>
    (value === undefined ? {} : { [key]: value }) as { readonly [P in K]?: number };
  const ofResource = { resource };
  const ofConnection = { resource, peerNodeId };
  const ofPeerDevice = { resource, peerNodeId, volume };
  const force = { force: flag('force') };
  /** The fields of this command are those of the one option group that it takes, and the catalogue has parsed them. */
  const options = <T>(): Partial<T> => fields as Partial<T>;
  const change = <T>() => ({ options: options<T>(), setDefaults: isGiven(invocation, 'set-defaults') });

  switch (row.name) {
    case 'new-resource':
      return request('new-resource', { resource, nodeId, options: options<ResourceOptions>() });
    case 'resource-options':
      return request('resource-options', { resource, ...change<ResourceOptions>() });
    case 'rename-resource':
      return request('rename-resource', { resource, newName: argument(0) });
    case 'del-resource':
      return request('del-resource', ofResource);
    case 'primary':
    case 'secondary':
      return request(row.name, { resource, ...force });

    case 'new-minor':
      return request('new-minor', { resource, minor, volume, options: options<DeviceOptions>() });
    case 'del-minor':
    case 'outdate':
    case 'resume-io':
      return request(row.name, { minor });
    case 'attach':
      return request('attach', { minor, ...disk!, options: options<DiskOptions>() });
    case 'detach':
      return request('detach', { minor, ...force, diskless: flag('diskless') });
    case 'disk-options':
      return request('disk-options', { minor, ...change<DiskOptions>() });
    case 'resize':
      return request('resize', {
        minor,
        ...optional('size', number('size')),
        assumePeerHasSpace: flag('assume-peer-has-space'),
        assumeClean: flag('assume-clean'),
        ...optional('alStripes', number('al-stripes')),
        ...optional('alStripeSizeKiB', number('al-stripe-size-kB')),
      });
    case 'new-current-uuid':
      return request('new-current-uuid', { minor, clearBitmap: flag('clear-bitmap'), forceResync: flag('force-resync') });
    case 'invalidate': {
      const source = number('sync-from-peer-node-id') ?? -1;
      return request('invalidate', {
        minor,
        ...optional('syncFromPeerNodeId', source === -1 ? undefined : source),
        resetBitmap: flag('reset-bitmap', true),
      });
    }
    case 'suspend-io':
      return request('suspend-io', { minor, bdevFreeze: flag('bdev-freeze', true) });

    case 'new-peer':
      return request('new-peer', { ...ofConnection, options: options<NetOptions>() });
    case 'net-options':
      return request('net-options', { ...ofConnection, ...change<NetOptions>() });
    case 'del-peer':
    case 'disconnect':
      return request(row.name, { ...ofConnection, ...force });
    case 'forget-peer':
      return request('forget-peer', { resource, peerNodeId: parseU32(argument(0)) });
    case 'new-path':
    case 'del-path':
      return request(row.name, { ...ofConnection, ...paths! });
    case 'connect':
      return request('connect', { ...ofConnection, tentative: flag('tentative'), discardMyData: flag('discard-my-data') });

    case 'peer-device-options':
      return request('peer-device-options', { ...ofPeerDevice, ...change<PeerDeviceOptions>() });
    case 'invalidate-remote':
      return request('invalidate-remote', { ...ofPeerDevice, resetBitmap: flag('reset-bitmap', true) });
    case 'pause-sync':
    case 'resume-sync':
      return request(row.name, ofPeerDevice);
    case 'verify':
      return request('verify', { ...ofPeerDevice, ...optional('start', number('start')), ...optional('stop', number('stop')) });
    default:
      throw new Error(`${row.name} is no configuration command`);
  }
}

function attachArguments(
  lowerDevice: string,
  metaDevice: string,
  index: string,
): { backingDev: string; metaDev: string; metaIndex: number } {
  const [backingDev, metaDev] = [lowerDevice, metaDevice].map(usableDevice) as [string, string];
  const metaIndex = index === 'internal' ? META_INDEX_INTERNAL : index === 'flexible' ? META_INDEX_FLEXIBLE : parseS32(index);
  return { backingDev, metaDev, metaIndex };
}

/** A block device, or a regular file: the engine takes image files, which the kernel's DRBD does not. */
function usableDevice(path: string): string {
  const absolute = resolvePath('/', path);
  try {
    accessSync(absolute, constants.R_OK | constants.W_OK);
    const stat = statSync(absolute);
    if (stat.isBlockDevice() || stat.isFile()) return absolute;
  } catch (error) {
    const errno = (error as NodeJS.ErrnoException).code ?? 'EIO';
    throw new CommandExit(EXIT_USAGE, { stderr: `Can not open device '${path}': ${ERRNO_TEXT[errno] ?? errno}\n` });
  }
  throw new CommandExit(EXIT_USAGE, { stderr: `${path} is not a block device!\n` });
}

const ERRNO_TEXT: Readonly<Record<string, string>> = {
  ENOENT: 'No such file or directory',
  EACCES: 'Permission denied',
  ENOTDIR: 'Not a directory',
  EROFS: 'Read-only file system',
  ELOOP: 'Too many levels of symbolic links',
};
