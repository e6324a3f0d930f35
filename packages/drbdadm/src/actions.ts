/** What each command does with one target: a resource and, if the command loops over them, one volume, peer and path. */
import { findEntry, hasDisk, type OptionList } from '@udrbd/config';
import type { ActionName, Command } from './commands.js';
import type { ContextName } from './contexts.js';
import { backendOptions, callTool, run } from './helper.js';
import { attachCall, configuredOptions, metaCall, minorOf, pathArguments, peerNodeId, setupCall } from './lines.js';
import type { Session, Target } from './session.js';

export type Action = (session: Session, target: Target, command: Command) => Promise<number>;

const nodeId = (target: Target): string => peerNodeId(target.connection!);
const own = (session: Session, command: Command): string[] => backendOptions(session, command.context);

/** Commands that the kernel may take its time for. */
const MEDIUM = new Set(['down', 'primary', 'secondary', 'detach', 'invalidate-remote']);
const limitOf = (command: Command) => (MEDIUM.has(command.name) ? 'medium' : 'short');

/** Repairs and replays the activity log, then attaches; the first step that fails ends it. */
export const attach: Action = async (session, target, command) => {
  const volume = target.volume!;
  for (const step of ['repair-md', 'apply-al'] as const) {
    const context: ContextName = step === 'repair-md' ? 'repair-md' : 'meta';
    const code = await run(session, metaCall(target.res.name, volume, [step, ...backendOptions(session, context)]));
    if (code !== 0) return code;
  }
  return run(session, attachCall(session, target, volume, command.context));
};

const newResource: Action = (session, { res }, command) => {
  const context = command.name === 'new-resource' ? 'options' : undefined;
  const options = configuredOptions(session, res.options, context ?? 'options');
  return run(
    session,
    setupCall(res.name, 'short', 'new-resource', res.name, res.me?.nodeId ?? '', ...options, ...backendOptions(session, 'options')),
  );
};

const newMinor: Action = (session, { res, volume }) => {
  const diskless = hasDisk(volume!) ? [] : ['--diskless'];
  const options = configuredOptions(session, volume!.deviceOptions, 'device');
  return run(session, setupCall(res.name, 'short', 'new-minor', res.name, minorOf(volume!), String(volume!.vnr), ...diskless, ...options));
};

const newPeer: Action = (session, target) => {
  const { res, connection } = target;
  const options = configuredOptions(session, connection!.net, 'new-peer');
  return run(
    session,
    setupCall(res.name, 'short', 'new-peer', res.name, nodeId(target), ...options, ...backendOptions(session, 'new-peer')),
  );
};

const netOptions: Action = (session, target) => {
  const { res, connection } = target;
  const net = connection!.net.filter((o) => o.name !== 'transport');
  const options = configuredOptions(session, net, 'net');
  return run(session, setupCall(res.name, 'short', 'net-options', res.name, nodeId(target), ...options, ...backendOptions(session, 'net')));
};

const peerDeviceOptions: Action = (session, target) => {
  const { res, connection, volume } = target;
  const device = connection!.peerDevices.find((d) => d.vnr === volume!.vnr);
  const options = configuredOptions(session, device?.options ?? [], 'peer-device');
  const given = backendOptions(session, 'peer-device');
  return run(
    session,
    setupCall(res.name, 'short', 'peer-device-options', res.name, nodeId(target), String(volume!.vnr), ...options, ...given),
  );
};

/** Stock shows the configured size as well, and then fails: drbdsetup takes one only with attach. */
const diskOptions: Action = (session, { res, volume }, command) => {
  const call = (list: OptionList) =>
    setupCall(
      res.name,
      'medium',
      'disk-options',
      minorOf(volume!),
      ...configuredOptions(session, list, 'disk-options'),
      ...own(session, command),
    );
  const taken = call(volume!.diskOptions.filter((o) => o.name !== 'size'));
  return run(session, { ...call(volume!.diskOptions), inProcessArgs: taken.args });
};

const minorCommand: Action = (session, { res, volume }, command) =>
  run(session, setupCall(res.name, limitOf(command), command.name, minorOf(volume!), ...own(session, command)));

const peerCommand: Action = (session, target, command) =>
  run(session, setupCall(target.res.name, limitOf(command), command.name, target.res.name, nodeId(target), ...own(session, command)));

const pathCommand: Action = (session, target, command) => {
  const { res } = target;
  return run(session, setupCall(res.name, 'short', command.name, res.name, nodeId(target), ...pathArguments(target)));
};

const peerDeviceCommand: Action = (session, target, command) => {
  const { res, volume } = target;
  const args = [res.name, nodeId(target), String(volume!.vnr), ...own(session, command)];
  return run(session, setupCall(res.name, limitOf(command), command.name, ...args));
};

const resourceCommand: Action = (session, { res }, command) =>
  run(session, setupCall(res.name, limitOf(command), command.name, res.name, ...own(session, command)));

const down: Action = async (session, target, command) => {
  const code = await resourceCommand(session, target, command);
  if (code === 0 && !session.settings.dryRun) {
    session.io.unregister(`drbd-resource-${target.res.name}.conf`);
    for (const volume of target.res.me?.volumes ?? [])
      for (const kind of ['conf', 'unnumbered']) session.io.unregister(`drbd-minor-${volume.minor}.${kind}`);
  }
  return code;
};

const role: Action = (session, target, command) => {
  if (target.connection === undefined) return resourceCommand(session, target, command);
  return run(session, setupCall(target.res.name, 'short', 'peer-role', target.res.name, nodeId(target)));
};

/** Exit codes of drbdsetup that say more than that the engine does not know the volume. */
const ANSWERED = new Set([0, 11, 17]);

/** Asks the engine; if it does not know, the meta-data. The engine's complaint is shown only when it is the answer. */
async function engineElseMeta(
  session: Session,
  setupArgs: string[],
  target: Target,
  meta: () => Promise<number>,
  shows: readonly number[],
  limit: 'short' | 'medium' = 'short',
): Promise<number> {
  const { exitCode, heldBack } = await callTool(session, { ...setupCall(target.res.name, limit, ...setupArgs), stderr: 'buffer' });
  if (!session.settings.dryRun && ANSWERED.has(exitCode)) {
    if (shows.includes(exitCode)) session.io.stderr(heldBack.slice(0, 4096));
    return exitCode;
  }
  return meta();
}

const dstate: Action = (session, target, command) => {
  const { res, volume } = target;
  return engineElseMeta(
    session,
    ['dstate', minorOf(volume!)],
    target,
    async () => (hasDisk(volume!) ? run(session, metaCall(res.name, volume!, ['dstate', ...own(session, command)])) : 0),
    [11, 17],
  );
};

const gi: Action = (session, target, command) => {
  const { res, volume } = target;
  const peer = nodeId(target);
  return engineElseMeta(
    session,
    [command.name, res.name, peer, String(volume!.vnr)],
    target,
    async () => (hasDisk(volume!) ? run(session, metaCall(res.name, volume!, [command.name, ...own(session, command)], peer)) : 0),
    [11, 17],
  );
};

const invalidate: Action = (session, target) => {
  const { res, volume, connection } = target;
  const from = connection === undefined ? [] : [`--sync-from-peer-node-id=${nodeId(target)}`];
  return engineElseMeta(
    session,
    ['invalidate', minorOf(volume!), ...backendOptions(session, 'setup-invalidate'), ...from],
    target,
    () => run(session, metaCall(res.name, volume!, ['invalidate', ...backendOptions(session, 'meta')])),
    [17],
  );
};

const forgetPeer: Action = (session, target, command) => {
  const { res } = target;
  const peer = nodeId(target);
  return engineElseMeta(
    session,
    ['forget-peer', res.name, peer],
    target,
    async () => {
      for (const volume of res.me?.volumes ?? []) {
        if (!hasDisk(volume)) {
          session.io.stderr('The forget-peer command requires a local disk, but the configuration gives none.\n');
          return 10;
        }
        const code = await run(session, metaCall(res.name, volume, ['forget-peer', ...own(session, command)], peer));
        if (code !== 0) return code;
      }
      return 0;
    },
    [11, 17],
  );
};

/** Code 5 of drbdsetup: the disk is outdated already, as far as it knows. */
const outdate: Action = async (session, { res, volume }) => {
  const shown = setupCall(res.name, 'short', 'outdate', res.name, minorOf(volume!));
  // Stock shows the resource's name here, which drbdsetup does not take: its own falls back to the meta-data every time.
  const code = await run(session, { ...shown, stderr: 'hide', inProcessArgs: ['outdate', minorOf(volume!)] });
  if (!session.settings.dryRun && (code === 0 || code === 17)) return code;
  if (!hasDisk(volume!)) return code;
  const meta = await run(session, metaCall(res.name, volume!, ['outdate']));
  return code === 5 && meta !== 0 ? 5 : meta;
};

const metaCommand: Action = (session, { res, volume }, command) => {
  const format = backendOptions(session, command.context).some((o) => o.startsWith('--output-format'));
  const extra = command.name === 'dump-superblock' && !format ? ['--output-format=json'] : [];
  return run(session, metaCall(res.name, volume!, [command.name, ...own(session, command), ...extra]));
};

const setGi: Action = (session, target, command) => {
  const { res, volume, connection } = target;
  const node = connection === undefined ? res.me?.nodeId : nodeId(target);
  return run(session, metaCall(res.name, volume!, [command.name, ...own(session, command)], node));
};

const status: Action = (session, { res }, command) =>
  run(session, setupCall(res.name, 'short', 'status', res.name, ...verboseFlags(session), ...own(session, command)));

/** `--verbose` once for each -v. */
export const verboseFlags = (session: Session): string[] => new Array<string>(session.settings.verbose).fill('--verbose');

/** The size that the configuration wants for a volume. */
export const configuredSize = (target: Target): string | undefined =>
  (findEntry(target.volume?.diskOptions ?? [], 'size') ?? findEntry(target.res.disk, 'size'))?.value;

type Loader = () => Promise<Action>;
const here =
  (action: Action): Loader =>
  () =>
    Promise.resolve(action);

/** The function of each action; those in other modules are loaded when needed. */
const ACTIONS: Readonly<Partial<Record<ActionName, Loader>>> = {
  attach: here(attach),
  'minor-command': here(minorCommand),
  detach: here(minorCommand),
  'disk-options': here(diskOptions),
  'new-peer': here(newPeer),
  'peer-command': here(peerCommand),
  'path-command': here(pathCommand),
  'net-options': here(netOptions),
  'resource-command': here(resourceCommand),
  down: here(down),
  'peer-device-options': here(peerDeviceOptions),
  'peer-device-command': here(peerDeviceCommand),
  invalidate: here(invalidate),
  outdate: here(outdate),
  role: here(role),
  dstate: here(dstate),
  status: here(status),
  gi: here(gi),
  'meta-command': here(metaCommand),
  'forget-peer': here(forgetPeer),
  'new-resource': here(newResource),
  'new-minor': here(newMinor),
  'set-gi': here(setGi),
  up: async () => (await import('./up.js')).up,
  adjust: async () => (await import('./adjust.js')).adjust,
  'adjust-with-progress': async () => (await import('./adjust.js')).adjust,
  'sh-list-adjustable': async () => (await import('./adjust.js')).listAdjustable,
  wait: async () => (await import('./wait.js')).wait,
  resize: async () => (await import('./resize.js')).resize,
  'check-resize': async () => (await import('./resize.js')).checkResize,
  'create-md': async () => (await import('./create-md.js')).createMd,
  'proxy-up': async () => (await import('./proxy.js')).proxyUp,
  'proxy-down': async () => (await import('./proxy.js')).proxyDown,
  handler: async () => (await import('./handlers.js')).handler,
};

export async function actionOf(command: Command): Promise<Action> {
  const load = ACTIONS[command.action];
  if (load !== undefined) return load();
  const { PRINTERS } = await import('./print-commands.js');
  const print = PRINTERS[command.action];
  if (print === undefined) throw new Error(`command ${command.name} has no action for a resource`);
  return print;
}
