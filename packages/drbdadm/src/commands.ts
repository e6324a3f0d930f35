/**
 * The commands of drbdadm, in the order of stock's table. `run` names the function that does it (`actions.ts`), so that the table
 * itself costs no loading.
 */
import type { ContextName } from './contexts.js';

export interface Command {
  readonly name: string;
  /** 1 normal help; 2 scripts, 3 handlers, 4 experts: only in `hidden-commands`; 0 nowhere. */
  readonly level: 0 | 1 | 2 | 3 | 4;
  /** Whether resources are named: needed, optional, or ignored. */
  readonly resources: 'required' | 'optional' | 'none';
  /** What it loops over when the argument does not say which one. */
  readonly each: readonly ('volume' | 'peer' | 'path')[];
  /** A volume in the argument: an error, allowed, required; `plain` = allowed, but no loop over volumes. */
  readonly volume: 'no' | 'yes' | 'plain' | 'required';
  readonly needsDisk?: boolean;
  readonly verifyIps?: boolean;
  /** Its options; absent = none. */
  readonly context?: ContextName;
  readonly action: ActionName;
}

export type ActionName =
  | 'attach'
  | 'minor-command'
  | 'disk-options'
  | 'detach'
  | 'new-peer'
  | 'peer-command'
  | 'path-command'
  | 'net-options'
  | 'up'
  | 'resource-command'
  | 'down'
  | 'peer-device-options'
  | 'peer-device-command'
  | 'invalidate'
  | 'outdate'
  | 'resize'
  | 'adjust'
  | 'adjust-with-progress'
  | 'wait'
  | 'wait-con-int'
  | 'role'
  | 'dstate'
  | 'status'
  | 'dump'
  | 'dump-xml'
  | 'create-md'
  | 'gi'
  | 'meta-command'
  | 'forget-peer'
  | 'hidden-commands'
  | 'sh-nop'
  | 'sh-resources'
  | 'sh-resource'
  | 'sh-mod-parms'
  | 'sh-list-config-file'
  | 'sh-list-adjustable'
  | 'sh-dev'
  | 'sh-udev'
  | 'sh-minor'
  | 'sh-ll-dev'
  | 'sh-md-dev'
  | 'sh-md-idx'
  | 'sh-ip'
  | 'sh-lr-of'
  | 'proxy-up'
  | 'proxy-down'
  | 'new-resource'
  | 'new-minor'
  | 'handler'
  | 'set-gi'
  | 'check-resize';

type Traits = Partial<Omit<Command, 'name' | 'level' | 'action'>>;

const V = ['volume'] as const;
const P = ['peer'] as const;
const PH = ['peer', 'path'] as const;
const VP = ['volume', 'peer'] as const;
const VPH = ['volume', 'peer', 'path'] as const;

const command = (level: Command['level'], name: string, action: ActionName, traits: Traits = {}): Command => {
  const each = traits.each ?? [];
  return { name, level, action, resources: 'required', each, volume: each.includes('volume') ? 'yes' : 'no', ...traits };
};
const handler = (name: string): Command => command(3, name, 'handler');

// biome-ignore format: a table, one command a line
export const COMMANDS: readonly Command[] = [
  command(1, 'attach', 'attach', { each: V, needsDisk: true, verifyIps: true, context: 'disk' }),
  command(1, 'disk-options', 'disk-options', { each: V, needsDisk: true, context: 'disk-options' }),
  command(1, 'detach', 'detach', { each: V, needsDisk: true, context: 'detach' }),
  command(1, 'new-peer', 'new-peer', { each: P, verifyIps: true, context: 'new-peer' }),
  command(1, 'del-peer', 'peer-command', { each: P, context: 'del-peer' }),
  command(1, 'new-path', 'path-command', { each: PH, verifyIps: true, context: 'path' }),
  command(1, 'del-path', 'path-command', { each: PH, verifyIps: true, context: 'path' }),
  command(1, 'connect', 'peer-command', { each: P, verifyIps: true, context: 'connect' }),
  command(1, 'net-options', 'net-options', { each: P, verifyIps: true, context: 'net' }),
  command(1, 'disconnect', 'peer-command', { each: P, context: 'disconnect' }),
  command(1, 'up', 'up', { verifyIps: true }),
  command(1, 'resource-options', 'resource-command', { context: 'options' }),
  command(1, 'peer-device-options', 'peer-device-options', { each: VP, context: 'peer-device' }),
  command(1, 'down', 'down'),
  command(1, 'primary', 'resource-command', { context: 'primary' }),
  command(1, 'secondary', 'resource-command', { context: 'secondary' }),
  command(1, 'invalidate', 'invalidate', { each: V, needsDisk: true, context: 'invalidate' }),
  command(1, 'invalidate-remote', 'peer-device-command', { each: VP, context: 'invalidate-remote' }),
  command(1, 'outdate', 'outdate', { each: V }),
  command(1, 'resize', 'resize', { each: V, needsDisk: true, context: 'resize' }),
  command(1, 'verify', 'peer-device-command', { each: VP, context: 'verify' }),
  command(1, 'pause-sync', 'peer-device-command', { each: VP }),
  command(1, 'resume-sync', 'peer-device-command', { each: VP }),
  command(1, 'adjust', 'adjust', { volume: 'plain', verifyIps: true, context: 'adjust' }),
  command(1, 'adjust-with-progress', 'adjust-with-progress', { verifyIps: true }),
  command(1, 'wait-connect', 'wait', { volume: 'plain', verifyIps: true }),
  command(1, 'wait-sync', 'wait', { volume: 'plain', verifyIps: true }),
  command(1, 'wait-con-int', 'wait-con-int', { resources: 'none', verifyIps: true }),
  command(1, 'role', 'role'),
  command(0, 'peer-role', 'peer-command', { each: P }),
  command(1, 'cstate', 'peer-command', { each: P }),
  command(1, 'dstate', 'dstate', { each: V, context: 'meta' }),
  command(1, 'status', 'status', { resources: 'optional', context: 'status' }),
  command(1, 'dump', 'dump', { resources: 'optional', volume: 'plain', verifyIps: true }),
  command(1, 'dump-xml', 'dump-xml', { resources: 'optional', verifyIps: true }),
  command(1, 'create-md', 'create-md', { each: V, needsDisk: true, context: 'create-md' }),
  command(1, 'show-gi', 'gi', { each: VP, needsDisk: true, context: 'meta' }),
  command(1, 'get-gi', 'gi', { each: VP, needsDisk: true, context: 'meta' }),
  command(1, 'dump-md', 'meta-command', { each: V, needsDisk: true, context: 'meta' }),
  command(1, 'dump-superblock', 'meta-command', { each: V, needsDisk: true, context: 'dump-superblock' }),
  command(1, 'wipe-md', 'meta-command', { each: V, needsDisk: true, context: 'meta' }),
  command(1, 'apply-al', 'meta-command', { each: V, needsDisk: true, context: 'meta' }),
  command(1, 'repair-md', 'meta-command', { each: V, needsDisk: true, context: 'repair-md' }),
  command(1, 'forget-peer', 'forget-peer', { each: P, context: 'meta' }),
  command(1, 'hidden-commands', 'hidden-commands', { resources: 'none' }),
  command(2, 'sh-nop', 'sh-nop', { resources: 'none' }),
  command(2, 'sh-resources', 'sh-resources', { resources: 'none' }),
  command(2, 'sh-resource', 'sh-resource', { volume: 'plain' }),
  command(2, 'sh-mod-parms', 'sh-mod-parms', { resources: 'none' }),
  command(2, 'sh-list-config-file', 'sh-list-config-file', { volume: 'plain' }),
  command(2, 'sh-list-adjustable', 'sh-list-adjustable', { volume: 'plain', context: 'sh-list-adjustable' }),
  command(2, 'sh-dev', 'sh-dev', { each: V }),
  command(2, 'sh-udev', 'sh-udev', { volume: 'required' }),
  command(2, 'sh-minor', 'sh-minor', { each: V }),
  command(2, 'sh-ll-dev', 'sh-ll-dev', { each: V }),
  command(2, 'sh-md-dev', 'sh-md-dev', { each: V, needsDisk: true }),
  command(2, 'sh-md-idx', 'sh-md-idx', { each: V, needsDisk: true }),
  command(2, 'sh-ip', 'sh-ip', { each: VPH }),
  command(2, 'sh-lr-of', 'sh-lr-of', { each: V }),
  command(2, 'proxy-up', 'proxy-up', { each: P }),
  command(2, 'proxy-down', 'proxy-down', { each: P }),
  command(2, 'new-resource', 'new-resource', { context: 'new-resource' }),
  command(4, 'new-minor', 'new-minor', { each: V, context: 'device' }),
  command(4, 'del-minor', 'minor-command', { each: V }),
  handler('before-resync-target'),
  handler('after-resync-target'),
  handler('before-resync-source'),
  handler('pri-on-incon-degr'),
  handler('pri-lost-after-sb'),
  handler('fence-peer'),
  handler('local-io-error'),
  handler('pri-lost'),
  handler('initial-split-brain'),
  handler('split-brain'),
  handler('out-of-sync'),
  handler('unfence-peer'),
  handler('quorum-lost'),
  handler('disconnected'),
  command(4, 'suspend-io', 'minor-command', { each: V, context: 'suspend-io' }),
  command(4, 'resume-io', 'minor-command', { each: V }),
  command(4, 'set-gi', 'set-gi', { each: VP, volume: 'required', needsDisk: true, context: 'anything' }),
  command(4, 'new-current-uuid', 'minor-command', { each: V, volume: 'required', context: 'new-current-uuid' }),
  command(4, 'check-resize', 'check-resize', { each: V }),
];

const byName = new Map(COMMANDS.map((c) => [c.name, c]));

/** Old names that still do, with a message. */
export const DEPRECATED: Readonly<Record<string, string>> = { state: 'role', 'outdate-peer': 'fence-peer' };

export const findCommand = (name: string): Command | undefined => byName.get(name);
export const isProxyCommand = (command: Command): boolean => command.name.startsWith('proxy-');
export const isHandler = (command: Command): boolean => command.action === 'handler';
