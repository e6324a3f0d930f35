/** The arguments of drbdsetup and drbdmeta, from the configuration. */
import { addressArgument, type Config, type Host, type OptionList, type Volume } from '@udrbd/config';
import type { ContextName } from './contexts.js';
import { backendOptions, type Call } from './helper.js';
import type { Session, Target } from './session.js';

/** Texts in the kernel interface are cut to this many bytes, terminator included. */
const VALUE_MAX = 512;

/** The names of the device leave out the volume number. */
export const isUnnumbered = (config: Config, volume: Volume): boolean => volume.implicit && !config.global.udevAlwaysUseVnr;

/**
 * Options of the configuration as `--name=value`, in list order. One that is also given on the command line is left out.
 * @param context - decides which options of the command line count
 */
export function configuredOptions(session: Session, list: OptionList, context: ContextName | undefined): string[] {
  const given = context === undefined ? [] : backendOptions(session, context).map((text) => text.slice(2).split('=', 1)[0]!);
  return list
    .filter(({ name }) => !given.some((g) => g.startsWith(name)))
    .map(({ name, value, option }) => {
      if (value === undefined) return `--${name}`;
      const limit = option !== undefined && 'maxLength' in option && option.maxLength !== undefined ? option.maxLength : VALUE_MAX - 1;
      return `--${name}=${value.slice(0, limit)}`;
    });
}

export const setupCall = (res: string, limit: Call['limit'], ...args: string[]): Call => ({
  tool: 'drbdsetup',
  args,
  resource: res,
  limit,
});

export const minorOf = (volume: Volume): string => String(volume.minor ?? 0);

/** The peer's node id; a running configuration knows nothing else about the peer. */
export const peerNodeId = (connection: { readonly peer: Host | undefined; readonly peerNodeId: string | undefined }): string =>
  connection.peer?.nodeId ?? connection.peerNodeId ?? '0';

/** Whether this volume's meta-data lies on the disk itself. */
export const isInternal = (volume: Volume): boolean => volume.metaDisk === undefined || volume.metaDisk === 'internal';

/** The device that holds the meta-data. */
export const metaDevice = (volume: Volume): string => (isInternal(volume) ? (volume.disk ?? '') : volume.metaDisk!);

/** `drbdmeta MINOR v09 DEVICE INDEX [--node-id=N] COMMAND ...` */
export function metaCall(res: string, volume: Volume, command: readonly string[], nodeId?: string): Call {
  const index = volume.metaIndex === 'flexible' ? 'flex-external' : (volume.metaIndex ?? 'internal');
  const node = nodeId === undefined ? [] : [`--node-id=${nodeId}`];
  return { tool: 'drbdmeta', args: [minorOf(volume), 'v09', metaDevice(volume), index, ...node, ...command], resource: res, limit: 'long' };
}

export function attachCall(session: Session, { res }: Target, volume: Volume, context: ContextName | undefined): Call {
  const options = configuredOptions(session, volume.diskOptions, context);
  const args = [minorOf(volume), volume.disk ?? '', metaDevice(volume), volume.metaIndex ?? 'internal'];
  return setupCall(res.name, 'medium', 'attach', ...args, ...options, ...backendOptions(session, context));
}

/** Both addresses of a path, ours first. */
export function pathArguments(target: Target): string[] {
  const mine = target.path?.me?.address;
  const theirs = target.path?.connectTo;
  return [mine, theirs].map((a) => (a === undefined ? '' : addressArgument(a)));
}
